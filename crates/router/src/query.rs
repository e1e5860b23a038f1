//! Query parameters, decoded without allocating.

use smallvec::SmallVec;

/// Calls `take` with the decoded value of the first parameter called `name`; `None` without one.
pub(crate) fn argument<T>(query: &[u8], name: &str, take: impl FnOnce(&[u8]) -> T) -> Option<T> {
    let pair = query.split(|&byte| byte == b'&').find(|pair| {
        let key = &pair[..pair.iter().position(|&byte| byte == b'=').unwrap_or(pair.len())];
        !pair.is_empty() && decoded(key).eq(name.bytes())
    })?;
    let value = match memchr::memchr(b'=', pair) {
        Some(at) => &pair[at + 1..],
        None => b"",
    };
    if value.iter().any(|byte| b"%+".contains(byte)) {
        Some(take(&decoded(value).collect::<SmallVec<[u8; 256]>>()))
    } else {
        Some(take(value))
    }
}

/// `%XX` and `+` decoded. A `%` without two hexadecimal digits stands for itself.
fn decoded(encoded: &[u8]) -> impl Iterator<Item = u8> + '_ {
    let mut rest = encoded;
    std::iter::from_fn(move || {
        let (&first, tail) = rest.split_first()?;
        rest = tail;
        if let (b'%', [high, low, ..]) = (first, tail)
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            rest = &tail[2..];
            return Some(high << 4 | low);
        }
        Some(if first == b'+' { b' ' } else { first })
    })
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_parameter_of_a_name_counts_decoded() {
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
            let found = argument(query, name, |value| String::from_utf8(value.to_vec()).unwrap());
            assert_eq!(found.as_deref(), value, "{name}");
        }
        assert_eq!(argument(b"", "", |_| ()), None);
    }
}
