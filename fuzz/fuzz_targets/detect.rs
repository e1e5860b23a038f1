#![no_main]
//! Once detection has decided, more bytes do not change its mind; an empty list knows nothing.

use libfuzzer_sys::fuzz_target;
use mosn_codec::detect::{Candidate, Detect, Detection, detect};

fuzz_target!(|bytes: &[u8]| {
    let bytes = &bytes[..bytes.len().min(64)];
    for candidate in Candidate::all() {
        let mut decided = None;
        for len in 0..=bytes.len() {
            let verdict = candidate.detect(&bytes[..len]);
            if let Some(decided) = decided {
                assert_eq!(verdict, decided, "{} of {:02x?}", candidate.name(), &bytes[..len]);
            } else if verdict != Detect::NeedMore {
                decided = Some(verdict);
            }
        }
    }
    let all: Vec<_> = Candidate::all().collect();
    let _ = detect(&all, bytes);
    assert!(matches!(detect(&[], bytes), Detection::Unknown));
});
