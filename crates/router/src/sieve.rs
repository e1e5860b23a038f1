//! Which of a few routes can have matched, from eight bytes of each.
//!
//! Asking ten routes in a row reads ten routes and ten texts, most of which are in no cache where
//! there are 100,000. Their lengths and last bytes lie together and rule nearly all of them out.

use crate::{Route, route::PathRule};

/// In the order of the routes.
pub(crate) type Sieve = Box<[Mesh]>;

/// What a path must look like for a route to be worth asking.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mesh {
    /// Length of the rule's text, and above it the kind; 0 lets everything through.
    kind_len: u16,
    /// The text's last bytes if it has as many; of exact paths in lower case.
    tail: [u8; 6],
}

const LEN: u16 = 0x3fff;
const EXACT: u16 = 0x8000;

impl Mesh {
    pub(crate) fn of(route: &Route) -> Self {
        let ask = Self { kind_len: 0, tail: [0; 6] };
        let (kind, text) = match &route.path {
            PathRule::Any | PathRule::Regex(_) => return ask,
            PathRule::Prefix(text) => (0, text),
            // The case of other letters may change their length.
            PathRule::Exact(text) if !text.is_ascii() => return ask,
            PathRule::Exact(text) => (EXACT, text),
        };
        if text.is_empty() || text.len() > usize::from(LEN) {
            return ask;
        }
        let mut mesh = Self { kind_len: kind | text.len() as u16, tail: [0; 6] };
        mesh.tail = text.as_bytes().last_chunk().copied().unwrap_or_default();
        if kind == EXACT {
            mesh.tail.make_ascii_lowercase();
        }
        mesh
    }

    /// `false` if the route cannot match. `ascii` says whether the path is ASCII.
    #[inline]
    pub(crate) fn lets_through(self, path: &[u8], ascii: bool) -> bool {
        let len = usize::from(self.kind_len & LEN);
        let exact = self.kind_len & EXACT != 0;
        if exact && !ascii {
            return true;
        }
        if path.len() < len || (exact && path.len() != len) {
            return false;
        }
        // A fixed length compares in two instructions, and shorter texts are few.
        let Some(mut tail) = path[..len].last_chunk::<6>().copied() else { return true };
        if exact {
            tail.make_ascii_lowercase();
        }
        tail == self.tail
    }
}
