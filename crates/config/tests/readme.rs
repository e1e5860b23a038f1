//! What the README shows is a configuration that runs.

use std::path::Path;

use mosn_config::{Format, Options, parse};

fn first_configuration(page: &str) -> &str {
    let start = page.find("```json\n").expect("a JSON block") + "```json\n".len();
    &page[start..start + page[start..].find("```").expect("its end")]
}

#[test]
fn the_first_configuration_loads_without_a_warning_and_is_the_same_in_both_languages() {
    let english = first_configuration(include_str!("../../../README.md"));
    let chinese = first_configuration(include_str!("../../../README_ZH.md"));
    assert_eq!(english, chinese);
    let loaded = parse(english, Format::Json, Path::new("/srv/web/conf/mosn.json"), Options { strict: true })
        .unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{:?}", loaded.warnings);
    assert_eq!((loaded.model.listeners.len(), loaded.model.clusters.len()), (1, 1));
}
