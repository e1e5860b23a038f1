use std::fmt::Write as _;

use super::{Kind, NodeId, Tree};

/// A place in a file, counted from 1; the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u32,
    pub(crate) column: u32,
}

impl Place {
    /// Of the byte at `offset` in `text`.
    pub(crate) fn of_offset(text: &str, offset: usize) -> Self {
        let before = text.get(..offset.min(text.len())).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let line = memchr::memchr_iter(b'\n', before.as_bytes()).count() + 1;
        Self { line: line as u32, column: before[line_start..].chars().count() as u32 + 1 }
    }
}

impl Tree<'_> {
    /// Where a node stands in the file.
    pub(crate) fn place(&self, id: NodeId) -> Place {
        if let Some(places) = &self.places {
            return places.get(id as usize).copied().unwrap_or(Place { line: 1, column: 1 });
        }
        let start = self.node(id).start as usize;
        let quote = usize::from(matches!(self.kind(id), Kind::Text | Kind::Escaped));
        Place::of_offset(self.text, start - quote)
    }

    /// The JSON path from `from` to `to`, which lies in it: `servers[0].listeners[1].name`. A
    /// key's path is that of its value.
    pub(crate) fn path(&self, from: NodeId, to: NodeId) -> String {
        let mut path = String::new();
        let mut at = from;
        while at != to {
            let step = match self.kind(at) {
                Kind::Array => {
                    self.elements(at).enumerate().find(|&(_, id)| id <= to && to < self.after(id)).map(
                        |(index, id)| {
                            let _ = write!(path, "[{index}]");
                            id
                        },
                    )
                }
                Kind::Object => {
                    self.entries(at).find(|&(key, id)| key <= to && to < self.after(id)).map(|(key, id)| {
                        push_key(&mut path, &self.string(key));
                        if to == key { to } else { id }
                    })
                }
                _ => None,
            };
            match step {
                Some(id) => at = id,
                None => break,
            }
        }
        path
    }

    /// The node that holds `id`, within `root`; `None` for `root` itself.
    pub(crate) fn parent(&self, root: NodeId, id: NodeId) -> Option<NodeId> {
        let mut at = root;
        while at < id {
            let child = match self.kind(at) {
                Kind::Array => self.elements(at).find(|&child| child <= id && id < self.after(child)),
                Kind::Object => self
                    .entries(at)
                    .find(|&(key, child)| key <= id && id < self.after(child))
                    .map(|(key, child)| if id == key { key } else { child }),
                _ => None,
            }?;
            if child == id {
                return Some(at);
            }
            at = child;
        }
        None
    }
}

/// Appends a key to a path, in brackets and quotes if it is not a plain word.
pub(crate) fn push_key(path: &mut String, key: &str) {
    let plain = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !plain {
        let _ = write!(path, "[{key:?}]");
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

#[cfg(test)]
mod tests {
    use super::super::parse_json;

    #[test]
    fn paths_name_keys_and_indices() {
        let tree = parse_json("{\"a\": [1, {\"b c\": 2,\n  \"d\": [3]}]}").ok().unwrap();
        let paths: Vec<_> = (0..10).map(|id| tree.path(0, id)).collect();
        assert_eq!(
            paths,
            ["", "a", "a", "a[0]", "a[1]", "a[1][\"b c\"]", "a[1][\"b c\"]", "a[1].d", "a[1].d", "a[1].d[0]"]
                .map(str::to_owned)
        );
        let place = tree.place(7);
        assert_eq!((place.line, place.column), (2, 3));
        assert_eq!(tree.parent(0, 9), Some(8));
        assert_eq!(tree.parent(0, 8), Some(4));
        assert_eq!(tree.parent(0, 0), None);
    }
}
