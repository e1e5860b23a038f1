//! Query arguments and cookies, decoded without allocating.

/// The bytes of `encoded` with `%XX` decoded, and `+` as a space where `form` says so. A `%` without
/// two hexadecimal digits stands for itself.
fn decoded(encoded: &[u8], form: bool) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        Some(match (first, tail) {
            (b'%', [high, low, ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = &tail[2..];
                    high << 4 | low
                }
                _ => b'%',
            },
            (b'+', _) if form => b' ',
            _ => first,
        })
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

pub(super) fn write_decoded(encoded: &[u8], form: bool, out: &mut Vec<u8>) {
    if encoded.contains(&b'%') || (form && encoded.contains(&b'+')) {
        out.extend(decoded(encoded, form));
    } else {
        out.extend_from_slice(encoded);
    }
}

/// Appends the decoded value of the first argument called `name`; whether there is one.
pub(super) fn write_argument(query: &[u8], name: &str, out: &mut Vec<u8>) -> bool {
    for pair in query.split(|&byte| byte == b'&') {
        let at = pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len());
        if !pair.is_empty() && decoded(&pair[..at], true).eq(name.bytes()) {
            write_decoded(pair.get(at + 1..).unwrap_or_default(), true, out);
            return true;
        }
    }
    false
}

/// Appends the value of the cookie called `name` in one `Cookie` field; whether there is one.
pub(super) fn write_cookie(cookies: &[u8], name: &str, out: &mut Vec<u8>) -> bool {
    for cookie in cookies.split(|&byte| byte == b';') {
        let cookie = cookie.trim_ascii();
        if let Some(value) = cookie.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"=")) {
            out.extend_from_slice(value.trim_ascii());
            return true;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut Vec<u8>) -> bool) -> Option<String> {
        let mut out = Vec::new();
        write(&mut out).then(|| String::from_utf8(out).unwrap())
    }

    #[test]
    fn arguments_are_decoded_and_the_first_wins() {
        let query = b"a=1&b=x%20y+z&a=2&empty=&bare&%63=c&bad=%4&&=nameless";
        for (name, value) in [
            ("a", Some("1")),
            ("b", Some("x y z")),
            ("empty", Some("")),
            ("bare", Some("")),
            ("c", Some("c")),
            ("bad", Some("%4")),
            ("missing", None),
        ] {
            assert_eq!(text(|out| write_argument(query, name, out)).as_deref(), value, "{name}");
        }
        assert_eq!(text(|out| write_argument(b"", "", out)), None);
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let cookies = b"sid=abc; lang=de ;theme=dark=1; x";
        for (name, value) in
            [("sid", Some("abc")), ("lang", Some("de")), ("theme", Some("dark=1")), ("si", None), ("x", None)]
        {
            assert_eq!(text(|out| write_cookie(cookies, name, out)).as_deref(), value, "{name}");
        }
    }

    #[test]
    fn a_plus_in_a_path_stays_a_plus() {
        let mut out = Vec::new();
        write_decoded(b"/a+b%2fc%zz%", false, &mut out);
        assert_eq!(out, b"/a+b/c%zz%");
    }
}
