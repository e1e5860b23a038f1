//! Field names that mean something to HTTP/2 itself, or stand in the static table.

/// What a field's name says about the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "named after the fields")]
pub enum Known {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    Protocol,
    /// A pseudo-header field that no RFC knows.
    UnknownPseudo,
    /// A field that says something about the connection, which HTTP/2 says otherwise (RFC 9113 8.2.2).
    Connection,
    Te,
    Host,
    ContentLength,
    Cookie,
    Expect,
    Date,
    Other,
}

impl Known {
    /// Whether it is a pseudo-header field.
    #[must_use]
    pub const fn is_pseudo(self) -> bool {
        (self as u8) <= Self::UnknownPseudo as u8
    }
}

const OTHER: (Known, u8) = (Known::Other, 0);

/// What a lower-case name is, and its place in the static table; 0 = it is not there.
#[rustfmt::skip]
pub(super) fn look_up(name: &[u8]) -> (Known, u8) {
    let found = match name.len() {
        2 => match name {
            b"te" => (Known::Te, 0),
            _ => OTHER,
        },
        3 => match name {
            b"age" => (Known::Other, 21),
            b"via" => (Known::Other, 60),
            _ => OTHER,
        },
        4 => match name {
            b"date" => (Known::Date, 33),
            b"etag" => (Known::Other, 34),
            b"from" => (Known::Other, 37),
            b"host" => (Known::Host, 38),
            b"link" => (Known::Other, 45),
            b"vary" => (Known::Other, 59),
            _ => OTHER,
        },
        5 => match name {
            b":path" => (Known::Path, 4),
            b"allow" => (Known::Other, 22),
            b"range" => (Known::Other, 50),
            _ => OTHER,
        },
        6 => match name {
            b"accept" => (Known::Other, 19),
            b"cookie" => (Known::Cookie, 32),
            b"expect" => (Known::Expect, 35),
            b"server" => (Known::Other, 54),
            _ => OTHER,
        },
        7 => match name {
            b":method" => (Known::Method, 2),
            b":scheme" => (Known::Scheme, 6),
            b":status" => (Known::Status, 8),
            b"expires" => (Known::Other, 36),
            b"referer" => (Known::Other, 51),
            b"refresh" => (Known::Other, 52),
            b"upgrade" => (Known::Connection, 0),
            _ => OTHER,
        },
        8 => match name {
            b"if-match" => (Known::Other, 39),
            b"if-range" => (Known::Other, 42),
            b"location" => (Known::Other, 46),
            _ => OTHER,
        },
        9 => match name {
            b":protocol" => (Known::Protocol, 0),
            _ => OTHER,
        },
        10 => match name {
            b":authority" => (Known::Authority, 1),
            b"set-cookie" => (Known::Other, 55),
            b"user-agent" => (Known::Other, 58),
            b"connection" => (Known::Connection, 0),
            b"keep-alive" => (Known::Connection, 0),
            _ => OTHER,
        },
        11 => match name {
            b"retry-after" => (Known::Other, 53),
            _ => OTHER,
        },
        12 => match name {
            b"content-type" => (Known::Other, 31),
            b"max-forwards" => (Known::Other, 47),
            _ => OTHER,
        },
        13 => match name {
            b"accept-ranges" => (Known::Other, 18),
            b"authorization" => (Known::Other, 23),
            b"cache-control" => (Known::Other, 24),
            b"content-range" => (Known::Other, 30),
            b"if-none-match" => (Known::Other, 41),
            b"last-modified" => (Known::Other, 44),
            _ => OTHER,
        },
        14 => match name {
            b"accept-charset" => (Known::Other, 15),
            b"content-length" => (Known::ContentLength, 28),
            _ => OTHER,
        },
        15 => match name {
            b"accept-encoding" => (Known::Other, 16),
            b"accept-language" => (Known::Other, 17),
            _ => OTHER,
        },
        16 => match name {
            b"content-encoding" => (Known::Other, 26),
            b"content-language" => (Known::Other, 27),
            b"content-location" => (Known::Other, 29),
            b"www-authenticate" => (Known::Other, 61),
            b"proxy-connection" => (Known::Connection, 0),
            _ => OTHER,
        },
        17 => match name {
            b"if-modified-since" => (Known::Other, 40),
            b"transfer-encoding" => (Known::Connection, 57),
            _ => OTHER,
        },
        18 => match name {
            b"proxy-authenticate" => (Known::Other, 48),
            _ => OTHER,
        },
        19 => match name {
            b"content-disposition" => (Known::Other, 25),
            b"if-unmodified-since" => (Known::Other, 43),
            b"proxy-authorization" => (Known::Other, 49),
            _ => OTHER,
        },
        25 => match name {
            b"strict-transport-security" => (Known::Other, 56),
            _ => OTHER,
        },
        27 => match name {
            b"access-control-allow-origin" => (Known::Other, 20),
            _ => OTHER,
        },
        _ => OTHER,
    };
    if found == OTHER && name.first() == Some(&b':') { (Known::UnknownPseudo, 0) } else { found }
}

/// Whether a name is a lower-case token (RFC 9110 5.1, RFC 9113 8.2.1), after a colon if it is a
/// pseudo-header field's.
pub(super) fn is_valid_name(name: &[u8]) -> bool {
    let token = name.strip_prefix(b":").unwrap_or(name);
    !token.is_empty() && token.iter().all(|&byte| TOKEN[usize::from(byte)])
}

/// Whether a value has no control character but tab (RFC 9110 5.5).
pub(super) fn is_valid_value(value: &[u8]) -> bool {
    value.iter().fold(true, |valid, &byte| valid & ((byte >= b' ' && byte != 0x7f) | (byte == b'\t')))
}

const TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let signs = b"!#$%&'*+-.^_`|~";
    let mut at = 0;
    while at < signs.len() {
        table[signs[at] as usize] = true;
        at += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        let lower = (byte as u8).is_ascii_lowercase() || (byte as u8).is_ascii_digit();
        table[byte] |= lower;
        byte += 1;
    }
    table
};

#[cfg(test)]
mod tests {
    use super::{super::statics::STATIC, *};

    #[test]
    fn every_static_name_is_found_where_it_first_stands() {
        for (at, (text, name, known)) in STATIC.iter().enumerate() {
            let name = &text.as_bytes()[..*name];
            let first = STATIC.iter().position(|(text, length, _)| &text.as_bytes()[..*length] == name);
            assert!(is_valid_name(name) && first.is_some_and(|first| first <= at));
            assert_eq!(look_up(name), (*known, first.map_or(0, |first| first as u8 + 1)));
        }
    }

    #[test]
    fn names_are_lower_case_tokens() {
        for name in [&b"x-a"[..], b":path", b"a!b", b"0"] {
            assert!(is_valid_name(name));
        }
        for name in [&b""[..], b":", b"X-a", b"a b", b"a:b", b"::a", b"a\r\n", b"\xe9"] {
            assert!(!is_valid_name(name), "{name:?}");
        }
        assert_eq!(look_up(b":unknown"), (Known::UnknownPseudo, 0));
        assert!(!Known::Connection.is_pseudo() && Known::Protocol.is_pseudo());
    }
}
