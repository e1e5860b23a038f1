//! An authority, taken apart: the host for the domain index, the port for its priorities.

/// Host and port of an authority or a domain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Split<'a> {
    /// Without brackets if there is a port, as it stands otherwise.
    pub(crate) host: &'a [u8],
    /// Empty if there is none.
    pub(crate) port: &'a [u8],
}

/// Splits at the port's colon; `None` where that is not clear (`::1`, `[::1`, `a:b:c`).
pub(crate) fn split(authority: &[u8]) -> Option<Split<'_>> {
    let whole = Split { host: authority, port: b"" };
    if authority.first() == Some(&b'[') {
        let end = memchr::memchr(b']', authority)?;
        return match &authority[end + 1..] {
            [] => Some(whole),
            [b':', port @ ..] if !port.contains(&b':') => Some(Split { host: &authority[1..end], port }),
            _ => None,
        };
    }
    match memchr::memchr(b':', authority) {
        None => Some(whole),
        Some(at) if memchr::memchr(b':', &authority[at + 1..]).is_some() => None,
        Some(at) => Some(Split { host: &authority[..at], port: &authority[at + 1..] }),
    }
}

pub(crate) use mosn_core::is_authority as valid;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_ports_come_apart() {
        let split = |text: &'static str| {
            split(text.as_bytes())
                .map(|split| (str::from_utf8(split.host).unwrap(), str::from_utf8(split.port).unwrap()))
        };
        assert_eq!(split("a.com"), Some(("a.com", "")));
        assert_eq!(split("a.com:80"), Some(("a.com", "80")));
        assert_eq!(split("a.com:"), Some(("a.com", "")));
        assert_eq!(split("[::1]:80"), Some(("::1", "80")));
        assert_eq!(split("[::1]"), Some(("[::1]", "")));
        assert_eq!(split("::1"), None);
        assert_eq!(split("[::1"), None);
        assert_eq!(split("a:1:2"), None);
        assert_eq!(split("[::1]x"), None);
    }
}
