//! Comparing paths without regard to case, as exact path rules do: simple Unicode folding.

use std::hash::Hasher;

/// Whether the two are equal apart from case. Bytes that are no UTF-8 equal nothing.
pub(crate) fn eq(path: &[u8], text: &str) -> bool {
    if path.eq_ignore_ascii_case(text.as_bytes()) {
        return true;
    }
    if path.is_ascii() && text.is_ascii() {
        return false;
    }
    match std::str::from_utf8(path) {
        Ok(path) => path.chars().map(fold).eq(text.chars().map(fold)),
        Err(_) => false,
    }
}

/// One text for all that are [`eq`].
pub(crate) fn text(text: &str) -> String {
    text.chars().map(fold).collect()
}

/// Hashes so that what is [`eq`] has the same hash.
pub(crate) fn hash(path: &[u8], hasher: &mut impl Hasher) {
    let mut block = Block { bytes: [0; 64], len: 0 };
    if path.is_ascii() {
        for chunk in path.chunks(64) {
            block.bytes[..chunk.len()].copy_from_slice(chunk);
            block.bytes[..chunk.len()].make_ascii_lowercase();
            hasher.write(&block.bytes[..chunk.len()]);
        }
        return;
    }
    match std::str::from_utf8(path) {
        Ok(path) => {
            for char in path.chars().map(fold) {
                for &byte in char.encode_utf8(&mut [0; 4]).as_bytes() {
                    block.push(byte, hasher);
                }
            }
            if block.len > 0 {
                hasher.write(&block.bytes[..block.len]);
            }
        }
        Err(_) => hasher.write(path),
    }
}

/// Hashers need not give one hash to the same bytes in different pieces, so both ways of hashing
/// must cut them alike: every 64 bytes of folded text.
struct Block {
    bytes: [u8; 64],
    len: usize,
}

impl Block {
    fn push(&mut self, byte: u8, hasher: &mut impl Hasher) {
        self.bytes[self.len] = byte;
        self.len += 1;
        if self.len == self.bytes.len() {
            hasher.write(&self.bytes);
            self.len = 0;
        }
    }
}

/// One character for all that differ in case only. Going through upper case first brings the likes
/// of `ſ`, `ς` and the Kelvin sign to the letter they are a form of.
fn fold(char: char) -> char {
    if char.is_ascii() {
        return char.to_ascii_lowercase();
    }
    single(single(char, char.to_uppercase()), single(char, char.to_uppercase()).to_lowercase())
}

fn single(otherwise: char, mut mapped: impl Iterator<Item = char>) -> char {
    match (mapped.next(), mapped.next()) {
        (Some(char), None) => char,
        _ => otherwise,
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;

    use super::*;

    fn hash_of(state: &RandomState, path: &[u8]) -> u64 {
        let mut hasher = state.build_hasher();
        hash(path, &mut hasher);
        hasher.finish()
    }

    #[test]
    fn case_does_not_count_in_any_script() {
        for (path, text) in [("/FOO", "/foo"), ("/ΣΊΣΥΦΟΣ", "/σίσυφος"), ("/\u{212a}", "/k"), ("/ſ", "/S")]
        {
            assert!(eq(path.as_bytes(), text), "{path} {text}");
            let state = RandomState::new();
            assert_eq!(hash_of(&state, path.as_bytes()), hash_of(&state, text.as_bytes()), "{path} {text}");
        }
        assert!(!eq(b"/foo/", "/foo"));
        assert!(!eq(b"/\xff", "/\u{fffd}"));
    }

    #[test]
    fn folding_twice_is_folding_once() {
        for char in char::MIN..=char::MAX {
            assert_eq!(fold(fold(char)), fold(char), "{char}");
        }
    }

    proptest! {
        #[test]
        fn equal_paths_hash_alike(path in "[a-zK\u{212a}ſßẞ/]{0,150}") {
            let state = RandomState::new();
            for other in [path.to_uppercase(), path.to_lowercase()] {
                if eq(path.as_bytes(), &other) {
                    prop_assert_eq!(hash_of(&state, path.as_bytes()), hash_of(&state, other.as_bytes()));
                }
            }
        }
    }
}
