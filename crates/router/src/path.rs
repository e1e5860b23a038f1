//! The path that rules see: percent-decoded and normalised, so that an encoding cannot go around
//! a rule.

use std::borrow::Cow;

use smallvec::SmallVec;

/// Where a path is decoded to if it must be. Paths of up to 512 bytes need no allocation, and the
/// rest only if there is something to decode.
pub(crate) type Buffer = SmallVec<[u8; 512]>;

/// A path as rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Canonical<'a> {
    /// Decoded once; without empty, `.` and `..` segments. Not necessarily UTF-8.
    pub(crate) path: &'a [u8],
    /// Whether it is what came, byte for byte.
    pub(crate) untouched: bool,
    /// Whether there were `.` or `..` segments, encoded or not.
    pub(crate) had_dots: bool,
}

/// Path and query, the `?` in neither; without a query `None`.
pub(crate) fn split(path: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr::memchr(b'?', path) {
        Some(at) => (&path[..at], Some(&path[at + 1..])),
        None => (path, None),
    }
}

/// The canonical form of `raw`, a path without its query, kept in `buffer` where it differs.
///
/// `%2F` becomes a slash like any other and is not told apart from one, as in Go MOSN. A `%`
/// without two hexadecimal digits stands for itself. What does not start with a slash (`*`, and
/// the empty path of a CONNECT) is left alone.
pub(crate) fn canonical<'a>(raw: &'a [u8], buffer: &'a mut Buffer) -> Canonical<'a> {
    if raw.first() != Some(&b'/') || !needs_work(raw) {
        return Canonical { path: raw, untouched: true, had_dots: false };
    }
    buffer.clear();
    decode(raw, buffer);
    let had_dots = normalise(buffer);
    Canonical { path: buffer, untouched: buffer.as_slice() == raw, had_dots }
}

/// Whether there is a `%`, a `//` or a `/.`. Written without early exit so that it vectorises.
fn needs_work(raw: &[u8]) -> bool {
    raw.iter().zip(raw.iter().skip(1)).fold(false, |found, (&before, &byte)| {
        found | (byte == b'%') | ((before == b'/') & ((byte == b'/') | (byte == b'.')))
    })
}

fn decode(raw: &[u8], out: &mut Buffer) {
    let mut rest = raw;
    while let Some(at) = memchr::memchr(b'%', rest) {
        out.extend_from_slice(&rest[..at]);
        match (rest.get(at + 1).and_then(hex), rest.get(at + 2).and_then(hex)) {
            (Some(high), Some(low)) => {
                out.push(high << 4 | low);
                rest = &rest[at + 3..];
            }
            _ => {
                out.push(b'%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

fn hex(digit: &u8) -> Option<u8> {
    (*digit as char).to_digit(16).map(|value| value as u8)
}

/// Removes empty, `.` and `..` segments in place; whether there were dots. RFC 3986 5.2.4, with
/// slashes merged first: `/a/b/..` is `/a/`, `/..` is `/`.
fn normalise(path: &mut Buffer) -> bool {
    let (mut read, mut write, mut had_dots) = (0, 0, false);
    while read < path.len() {
        while path.get(read) == Some(&b'/') {
            read += 1;
        }
        let start = read;
        while read < path.len() && path[read] != b'/' {
            read += 1;
        }
        let last = read == path.len();
        match &path[start..read] {
            b"." => {
                had_dots = true;
                if !last {
                    continue;
                }
            }
            b".." => {
                had_dots = true;
                write = path[..write].iter().rposition(|&byte| byte == b'/').unwrap_or(0);
                if !last {
                    continue;
                }
            }
            _ => {}
        }
        // Never ahead of `start`: every segment has a slash before it.
        path[write] = b'/';
        write += 1;
        if !matches!(&path[start..read], b"." | b"..") {
            path.copy_within(start..read, write);
            write += read - start;
        }
    }
    path.truncate(write);
    had_dots
}

/// Percent-encodes what cannot stand in a path on the wire, `%` and `?` included.
pub(crate) fn encode(path: &[u8]) -> Cow<'_, [u8]> {
    if path.iter().all(|&byte| plain(byte)) {
        return Cow::Borrowed(path);
    }
    let mut out = Vec::with_capacity(path.len() + 16);
    for &byte in path {
        if plain(byte) {
            out.push(byte);
        } else {
            const DIGITS: [u8; 16] = *b"0123456789ABCDEF";
            out.extend([b'%', DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
        }
    }
    Cow::Owned(out)
}

/// RFC 3986 pchar and `/`.
fn plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@/".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(raw: &str) -> String {
        let mut buffer = Buffer::new();
        String::from_utf8_lossy(canonical(raw.as_bytes(), &mut buffer).path).into_owned()
    }

    #[test]
    fn encodings_and_dot_segments_disappear() {
        for (raw, expected) in [
            ("/", "/"),
            ("/a/b", "/a/b"),
            ("//a///b//", "/a/b/"),
            ("/a/./b/.", "/a/b/"),
            ("/a/../b", "/b"),
            ("/a/b/..", "/a/"),
            ("/../../a", "/a"),
            ("/..", "/"),
            ("/.", "/"),
            ("/a/%2e%2E/admin", "/admin"),
            ("/a%2F..%2fb", "/b"),
            ("/%61dmin", "/admin"),
            ("/a%", "/a%"),
            ("/a%4", "/a%4"),
            ("/a%zz%41", "/a%zzA"),
            ("/a%2541", "/a%41"),
            ("/.a/..b/c..", "/.a/..b/c.."),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(of(raw), expected, "{raw}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        let mut buffer = Buffer::new();
        let raw = b"/a.b/c-d/e";
        let canonical = canonical(raw, &mut buffer);
        assert!(canonical.untouched && std::ptr::eq(canonical.path, raw.as_slice()));
    }

    /// By segments and a stack, the obvious way.
    fn naive(raw: &str) -> String {
        let segments: Vec<&str> = raw.split('/').skip(1).collect();
        let mut stack: Vec<&str> = Vec::new();
        for segment in &segments {
            match *segment {
                "" | "." => {}
                ".." => {
                    stack.pop();
                }
                other => stack.push(other),
            }
        }
        let open = matches!(segments.last(), Some(&("" | "." | "..")));
        let joined = stack.join("/");
        if open && !joined.is_empty() { format!("/{joined}/") } else { format!("/{joined}") }
    }

    proptest! {
        #[test]
        fn normalising_agrees_with_a_stack_of_segments(raw in "/[a./]{0,24}") {
            prop_assert_eq!(of(&raw), naive(&raw));
        }

        #[test]
        fn what_was_encoded_decodes_to_itself(path in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut decoded = Buffer::new();
            let encoded = encode(&path);
            prop_assert!(encoded.iter().all(u8::is_ascii_graphic));
            decode(&encoded, &mut decoded);
            prop_assert_eq!(decoded.as_slice(), path.as_slice());
        }
    }
}
