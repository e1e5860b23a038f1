//! Whatever is wrong with a configuration is found while it is read: what is accepted can be built.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use mosn_config::{Format, Options, parse};
use serde_json::{Value, json};

const MUTANTS: usize = 60;

fn examples() -> Vec<(PathBuf, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).unwrap();
        (file, serde_json::from_str(&text).unwrap())
    };
    files.into_iter().map(read).collect()
}

/// A JSON pointer to every value but the root.
fn pointers(value: &Value, at: &str, found: &mut Vec<String>) {
    let mut visit = |key: &str, inner: &Value| {
        let at = format!("{at}/{}", key.replace('~', "~0").replace('/', "~1"));
        found.push(at.clone());
        pointers(inner, &at, found);
    };
    match value {
        Value::Object(entries) => entries.iter().for_each(|(key, inner)| visit(key, inner)),
        Value::Array(elements) => {
            elements.iter().enumerate().for_each(|(index, inner)| visit(&index.to_string(), inner));
        }
        _ => {}
    }
}

fn mutate(document: &mut Value, random: &mut fastrand::Rng) {
    let mut places = Vec::new();
    pointers(document, "", &mut places);
    let place = random.choice(&places).unwrap();
    let other = document.pointer(random.choice(&places).unwrap()).unwrap().clone();
    let strings = [
        "(",
        "%nope%",
        "a b",
        "*",
        "[::1]:x",
        "bolt",
        "Http2",
        "-1s",
        "request.path",
        "a:b:c",
        "/",
        "",
        "é\n",
    ];
    let new = match random.u8(..6) {
        0 => {
            let (owner, key) = place.rsplit_once('/').unwrap();
            match document.pointer_mut(owner).unwrap() {
                Value::Object(entries) => drop(entries.remove(key)),
                Value::Array(elements) => drop(elements.remove(key.parse().unwrap())),
                _ => {}
            }
            return;
        }
        1 => other,
        2 => json!([other]),
        3 => json!(random.i64(-1..70_000)),
        4 => random.choice([Value::Null, json!({}), json!([]), json!(true), json!(u64::MAX)]).unwrap(),
        _ => json!(random.choice(strings).unwrap()),
    };
    *document.pointer_mut(place).unwrap() = new;
}

#[test]
fn what_is_accepted_can_be_built_and_the_rest_is_explained() {
    let seed = std::env::var("MOSN_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_127);
    let mut random = fastrand::Rng::with_seed(seed);
    let (mut accepted, mut refused) = (0, 0);
    for (file, document) in examples() {
        for _ in 0..MUTANTS {
            let mut mutant = document.clone();
            for _ in 0..random.usize(1..4) {
                mutate(&mut mutant, &mut random);
            }
            let text = serde_json::to_string_pretty(&mutant).unwrap();
            match parse(&text, Format::Json, &file, Options::default()) {
                Ok(loaded) => {
                    accepted += 1;
                    let built = mosn_server::check(loaded.model);
                    assert!(built.is_ok(), "seed {seed}: {}\n{text}", built.unwrap_err());
                }
                Err(problems) => {
                    refused += 1;
                    for error in problems.errors() {
                        let placed =
                            error.line > 0 && !(error.message.is_empty() || error.message.contains('\n'));
                        assert!(placed, "seed {seed}: {error:?}\n{text}");
                    }
                }
            }
        }
    }
    assert!(accepted > 100 && refused > 100, "{accepted} accepted, {refused} refused");
}
