//! The guide to the configuration knows every key there is, and no other.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

/// The keys of the typed structs: their public fields, by the names that files use.
fn keys_of_structs() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/mosn");
    let mut keys = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let source = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let mut renamed = None;
        for line in source.lines().map(str::trim) {
            if let Some((_, rest)) = line.split_once("rename = \"") {
                renamed = rest.split('"').next().map(str::to_owned);
            } else if let Some((name, _)) = line
                .strip_prefix("pub ")
                .and_then(|field| field.split_once(": "))
                .filter(|_| line.ends_with(','))
            {
                let key = renamed.take().unwrap_or_else(|| name.to_owned());
                // A filter's type is a field of its own, `kind`, written by hand.
                keys.insert(if key == "kind" { "type".to_owned() } else { key });
            }
        }
    }
    keys
}

/// The first column of the guide's tables of keys.
fn keys_of_guide() -> BTreeSet<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text = std::fs::read_to_string(guide).unwrap();
    let (_, tables) = text.split_once("## Keys").unwrap();
    let rows = tables.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split('`').next().map(str::to_owned)).collect()
}

#[test]
fn every_key_is_in_the_guide() {
    let structs = keys_of_structs();
    assert!(structs.len() > 200, "only {} keys were found", structs.len());
    let guide = keys_of_guide();
    let missing: Vec<_> = structs.difference(&guide).collect();
    assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
    let unknown: Vec<_> = guide.difference(&structs).collect();
    assert!(unknown.is_empty(), "in docs/configuration.md, but no key: {unknown:?}");
}
