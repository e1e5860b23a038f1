//! Rewriting the path and the host of a request that is forwarded.

use bytes::Bytes;
use mosn_config::model::Name;
use mosn_core::RequestHead;
use regex::bytes::Regex;

use crate::{
    Forward, authority,
    path::{self, Buffer},
};

/// The header that keeps the path as it was.
const ORIGINAL_PATH: &str = "x-mosn-original-path";

#[derive(Debug, Default)]
pub(crate) struct Rewrite {
    pub(crate) path: Option<PathRewrite>,
    pub(crate) host: Option<HostRewrite>,
}

#[derive(Debug)]
pub(crate) enum PathRewrite {
    Prefix {
        /// What the route matched: its prefix or its path.
        matched: Name,
        /// What takes its place, percent-encoded where needed.
        replacement: Box<[u8]>,
    },
    Regex {
        pattern: Box<Regex>,
        substitution: Name,
    },
}

#[derive(Debug)]
pub(crate) enum HostRewrite {
    Literal(Bytes),
    Header(Name),
    HostName,
}

impl Forward {
    /// Rewrites path and host as far as that does not depend on the host that is chosen. Where the
    /// path changes, `x-mosn-original-path` is set to the old one, without its query; the query
    /// stays as it is.
    pub fn rewrite(&self, head: &mut RequestHead) {
        let Some(rewrite) = &self.rewrite else { return };
        match &rewrite.host {
            None | Some(HostRewrite::HostName) => {}
            Some(HostRewrite::Literal(host)) => head.authority = host.clone(),
            Some(HostRewrite::Header(name)) => {
                if let Some(host) = head.headers.get(name).filter(|host| authority::valid(host)) {
                    head.authority = Bytes::copy_from_slice(host);
                }
            }
        }
        if let Some(path) = rewrite.path.as_ref().and_then(|rewrite| rewrite.apply(head.path_only())) {
            replace_path(head, &path);
        }
    }

    /// Whether the request's host becomes the chosen host's name, where hosts are found by name; see
    /// [`Self::rewrite_to_hostname`].
    #[must_use]
    pub fn rewrites_to_hostname(&self) -> bool {
        self.rewrite.as_ref().is_some_and(|rewrite| matches!(rewrite.host, Some(HostRewrite::HostName)))
    }

    /// Makes the chosen host's name the request's host; a name that can be none changes nothing. Each
    /// try has a host of its own.
    pub fn rewrite_to_hostname(&self, head: &mut RequestHead, hostname: &str) {
        if authority::valid(hostname.as_bytes()) {
            head.authority = Bytes::copy_from_slice(hostname.as_bytes());
        }
    }
}

impl PathRewrite {
    /// The new path as it goes on the wire; `None` if it stays.
    fn apply(&self, raw: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = Buffer::new();
        let canonical = path::canonical(raw, &mut buffer);
        match self {
            Self::Prefix { matched, replacement } => {
                // What follows the prefix stays byte for byte, unless its dots would climb out of
                // the replacement.
                let direct = raw.strip_prefix(matched.as_bytes()).filter(|_| !canonical.had_dots);
                let rest = match direct {
                    Some(rest) => rest.into(),
                    None => path::encode(canonical.path.strip_prefix(matched.as_bytes())?),
                };
                Some([replacement, &rest[..]].concat())
            }
            Self::Regex { pattern, substitution } => {
                let new = pattern.replace_all(canonical.path, substitution.as_bytes());
                match new {
                    std::borrow::Cow::Borrowed(_) => None,
                    std::borrow::Cow::Owned(new) => Some(path::encode(&new).into_owned()),
                }
            }
        }
        .map(|path| if path.first() == Some(&b'/') { path } else { [b"/", &path[..]].concat() })
    }
}

fn replace_path(head: &mut RequestHead, path: &[u8]) {
    let old = head.path.slice(..head.path_only().len());
    head.headers.set(ORIGINAL_PATH, &old);
    let query = &head.path[old.len()..];
    head.path = [path, query].concat().into();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(matched: &str, replacement: &str, raw: &str) -> Option<String> {
        let rewrite = PathRewrite::Prefix {
            matched: matched.into(),
            replacement: path::encode(replacement.as_bytes()).into(),
        };
        rewrite.apply(raw.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    fn regex(pattern: &str, substitution: &str, raw: &str) -> Option<String> {
        let rewrite = PathRewrite::Regex {
            pattern: Box::new(Regex::new(pattern).unwrap()),
            substitution: substitution.into(),
        };
        rewrite.apply(raw.as_bytes()).map(|path| String::from_utf8(path).unwrap())
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_is_left_as_it_came() {
        assert_eq!(prefix("/a", "/b", "/a/x").as_deref(), Some("/b/x"));
        assert_eq!(prefix("/a", "/b", "/a/%e4%2Fx//y").as_deref(), Some("/b/%e4%2Fx//y"));
        assert_eq!(prefix("/a/", "/", "/a/x").as_deref(), Some("/x"));
        assert_eq!(prefix("/a", "/b?c d", "/a").as_deref(), Some("/b%3Fc%20d"));
    }

    #[test]
    fn a_prefix_that_came_encoded_is_replaced_too() {
        assert_eq!(prefix("/a", "/b", "/%61/%20x").as_deref(), Some("/b/%20x"));
    }

    #[test]
    fn dots_cannot_climb_out_of_the_replacement() {
        assert_eq!(prefix("/a", "/b", "/a/../a/x").as_deref(), Some("/b/x"));
        assert_eq!(prefix("/a", "/b", "/a/%2e%2e/a/x").as_deref(), Some("/b/x"));
    }

    #[test]
    fn an_exact_path_in_another_case_stays() {
        assert_eq!(prefix("/Foo", "/bar", "/foo"), None);
    }

    #[test]
    fn a_rewritten_path_starts_with_a_slash() {
        assert_eq!(prefix("/a/", "", "/a/x").as_deref(), Some("/x"));
        assert_eq!(regex("^/(.*)$", "$1", "/x").as_deref(), Some("/x"));
    }

    #[test]
    fn every_match_of_a_regex_is_replaced() {
        assert_eq!(regex("/v([0-9]+)", "/${1}x$1", "/v1/v2").as_deref(), Some("/1x1/2x2"));
        assert_eq!(regex("/v([0-9]+)", "/$1", "/w"), None);
        assert_eq!(regex("b", "c d", "/a%20b").as_deref(), Some("/a%20c%20d"));
    }
}
