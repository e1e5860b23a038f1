//! E-mail addresses, DNS names and URIs, as far as comparing them goes.

/// What stands before and behind the `@` of `a@b` or `Name <a@b>`.
pub(crate) fn email(text: &str) -> Option<(String, String)> {
    let text = text.trim();
    let address = match text.strip_suffix('>') {
        Some(named) => named.rsplit_once('<')?.1,
        None => text,
    };
    let (local, domain) = address.rsplit_once('@')?;
    let atoms = |part: &str| {
        part.split('.').all(|atom| {
            !atom.is_empty()
                && atom
                    .chars()
                    .all(|c| !c.is_ascii() || c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c))
        })
    };
    (atoms(local) && atoms(domain)).then(|| (local.to_owned(), domain.to_owned()))
}

/// Whether it is a name that DNS could have.
pub(crate) fn is_dns_name(name: &str) -> bool {
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '-' || (!c.is_ascii() && c.is_alphanumeric());
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(inner)
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(label)
}

pub(crate) fn same_name(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b) || a.to_lowercase() == b.to_lowercase()
}

/// Scheme and, for HTTP, the host compare without case; the rest byte for byte.
pub(crate) fn same_uri(a: &str, b: &str) -> bool {
    let split = |uri: &str| -> (String, String) {
        match uri.split_once(':') {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest.to_owned()),
            None => (String::new(), uri.to_owned()),
        }
    };
    let ((scheme, a), (other, b)) = (split(a), split(b));
    if scheme != other {
        return false;
    }
    if scheme != "http" && scheme != "https" {
        return a == b;
    }
    let split = |rest: &str| -> (String, String) {
        let rest = rest.strip_prefix("//").unwrap_or(rest);
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        (rest[..end].to_lowercase(), rest[end..].to_owned())
    };
    split(&a) == split(&b)
}

/// With its scheme in lower case; `None` for what holds control characters or a broken escape.
pub(crate) fn uri(text: &str) -> Option<String> {
    let escapes = text.match_indices('%').all(|(at, _)| {
        text.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    if text.contains(|c: char| c.is_ascii_control()) || !escapes {
        return None;
    }
    let scheme = text.split_once(':').map(|(scheme, _)| scheme).filter(|scheme| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
    });
    match scheme {
        Some(scheme) => Some(scheme.to_ascii_lowercase() + &text[scheme.len()..]),
        None => Some(text.to_owned()),
    }
}
