//! Whatever the text, loading ends with a configuration or with problems, never with a panic.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use mosn_config::{Format, Options, parse};
use proptest::prelude::*;

const SEEDS: [&str; 4] = [
    include_str!("../../../examples/http1.json"),
    include_str!("../../../examples/http2.json"),
    include_str!("../../../examples/conversion.json"),
    include_str!("../../../examples/weighted.json"),
];

/// Pieces that a mutation puts in: structure, extremes, and halves of things.
const PIECES: [&str; 20] = [
    "null",
    "{}",
    "[]",
    "\"\"",
    "0",
    "-1",
    "1e400",
    "99999999999999999999999",
    "true",
    "\"5s\"",
    "\"\\ud800\"",
    ",",
    ":",
    "[",
    "{",
    "\"",
    "}",
    "\u{0}",
    "é",
    "*a",
];

fn load(text: &str) {
    for format in [Format::Json, Format::Yaml] {
        for strict in [false, true] {
            match parse(text, format, Path::new("/opt/mosn/conf/c.json"), Options { strict }) {
                Ok(loaded) => {
                    loaded.effective.dump("").unwrap();
                    for format in [Format::Json, Format::Yaml] {
                        let file = loaded.effective.to_file(format);
                        let again =
                            parse(&file, format, Path::new("/opt/mosn/conf/c.json"), Options::default());
                        let again = again.unwrap_or_else(|problems| panic!("{problems}\n{file}"));
                        assert_eq!(format!("{:?}", again.model), format!("{:?}", loaded.model));
                    }
                }
                Err(problems) => {
                    assert!(problems.errors().next().is_some());
                    assert!(!problems.to_string().is_empty());
                }
            }
        }
    }
}

/// Replaces the token at the given place, counted over all tokens, by a piece.
fn mutate(seed: &str, place: usize, piece: &str) -> String {
    let starts: Vec<usize> = seed
        .char_indices()
        .filter(|&(_, c)| matches!(c, '"' | '{' | '[' | ':' | ',') || c.is_ascii_digit())
        .map(|(index, _)| index)
        .collect();
    let start = starts[place % starts.len()];
    let rest = &seed[start..];
    let length = match rest.chars().next() {
        Some('"') => rest[1..].find('"').map_or(1, |end| end + 2),
        _ => 1,
    };
    format!("{}{piece}{}", &seed[..start], &rest[length..])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn mutated_configurations_never_panic(
        seed in 0..SEEDS.len(),
        mutations in proptest::collection::vec((any::<usize>(), 0..PIECES.len()), 1..4),
    ) {
        let mut text = SEEDS[seed].to_owned();
        for (place, piece) in mutations {
            text = mutate(&text, place, PIECES[piece]);
        }
        load(&text);
    }

    #[test]
    fn cut_configurations_never_panic(seed in 0..SEEDS.len(), at in any::<proptest::sample::Index>()) {
        let text = SEEDS[seed];
        let end = (0..=at.index(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap();
        load(&text[..end]);
    }

    #[test]
    fn any_text_never_panics(text in "[\\[\\]{}\",:0-9a-z\\\\ \n*&<>|!%#-]{0,64}") {
        load(&text);
    }
}
