//! The example configurations load without a word.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mosn_config::{Options, load};

#[test]
fn every_example_loads_strictly_and_without_warnings() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "json") {
            continue;
        }
        let loaded = load(&path, Options { strict: true });
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(loaded.warnings, [], "{}", path.display());
        assert!(loaded.model.server.admin.is_some(), "{}", path.display());
        seen.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
    }
    for name in [
        "http1",
        "http2",
        "conversion",
        "weighted",
        "matching",
        "hashing",
        "subset",
        "dns",
        "health",
        "outlier",
    ] {
        assert!(seen.iter().any(|known| known == name), "{name} is missing from {seen:?}");
    }
}
