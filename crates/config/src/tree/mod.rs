//! A document as a flat, compact tree that remembers where everything stood.
//!
//! Nodes lie in document order, eight bytes each; strings and numbers stay in the text and are
//! borrowed from it. A YAML document is first rewritten as JSON text, node for node, with a table of
//! where each node stood in the original.

mod emit;
mod json;
mod place;
mod write;
mod yaml;

use std::borrow::Cow;

pub(crate) use emit::{Emitter, Layout};
pub(crate) use json::parse as parse_json;
pub(crate) use place::Place;
pub(crate) use yaml::to_json as yaml_to_json;

/// The index of a node: 0 is the root.
pub(crate) type NodeId = u32;

/// Deepest nesting that is read; a MOSN configuration needs about 20.
pub(crate) const MAX_DEPTH: usize = 128;

/// Longest text that is read: what 28 bits can count.
pub(crate) const MAX_TEXT: usize = (1 << 28) - 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    False,
    True,
    Number,
    /// A string without escapes.
    Text,
    /// A string with escapes.
    Escaped,
    Array,
    Object,
}

/// What kind it is, where it starts in the text, and how far it reaches: in bytes for a string or a
/// number, in nodes (itself included) for an array or an object.
#[derive(Clone, Copy)]
struct Node {
    start: u32,
    kind_and_extent: u32,
}

const EXTENT_BITS: u32 = 28;
const EXTENT_MASK: u32 = (1 << EXTENT_BITS) - 1;

impl Node {
    const fn new(kind: Kind, start: u32, extent: u32) -> Self {
        Self { start, kind_and_extent: (kind as u32) << EXTENT_BITS | (extent & EXTENT_MASK) }
    }

    const fn kind(self) -> Kind {
        match self.kind_and_extent >> EXTENT_BITS {
            0 => Kind::Null,
            1 => Kind::False,
            2 => Kind::True,
            3 => Kind::Number,
            4 => Kind::Text,
            5 => Kind::Escaped,
            6 => Kind::Array,
            _ => Kind::Object,
        }
    }

    const fn extent(self) -> u32 {
        self.kind_and_extent & EXTENT_MASK
    }
}

/// Text that is not a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    /// Where in the text.
    pub(crate) place: Place,
    /// What is wrong.
    pub(crate) message: String,
}

/// A document.
pub(crate) struct Tree<'a> {
    text: &'a str,
    nodes: Vec<Node>,
    /// Where each node stood, if not where it stands in `text`.
    places: Option<Vec<Place>>,
}

impl<'a> Tree<'a> {
    pub(crate) const ROOT: NodeId = 0;

    /// Replaces the places that `text` gives by those of the document it was made from, one for
    /// each node.
    pub(crate) fn with_places(mut self, places: Vec<Place>) -> Self {
        self.places = Some(places);
        self
    }

    fn node(&self, id: NodeId) -> Node {
        self.nodes.get(id as usize).copied().unwrap_or(Node::new(Kind::Null, 0, 0))
    }

    pub(crate) fn kind(&self, id: NodeId) -> Kind {
        self.node(id).kind()
    }

    /// The node after `id` and everything in it.
    pub(crate) fn after(&self, id: NodeId) -> NodeId {
        let node = self.node(id);
        match node.kind() {
            Kind::Array | Kind::Object => id + node.extent().max(1),
            _ => id + 1,
        }
    }

    /// The text of a number, or of a string with its escapes as written.
    pub(crate) fn raw(&self, id: NodeId) -> &'a str {
        let node = self.node(id);
        match node.kind() {
            Kind::Number | Kind::Text | Kind::Escaped => {
                let start = node.start as usize;
                self.text.get(start..start + node.extent() as usize).unwrap_or("")
            }
            Kind::Null => "null",
            Kind::False => "false",
            Kind::True => "true",
            Kind::Array | Kind::Object => "",
        }
    }

    /// A string's value.
    pub(crate) fn string(&self, id: NodeId) -> Cow<'a, str> {
        let raw = self.raw(id);
        if self.kind(id) == Kind::Escaped { Cow::Owned(json::unescape(raw)) } else { Cow::Borrowed(raw) }
    }

    /// The value of an object's key: the last of the entries that the decoder would take.
    pub(crate) fn find(&self, object: NodeId, key: &str) -> Option<NodeId> {
        let entries = self.entries(object).filter(|&(name, _)| same_key(&self.string(name), key));
        entries.last().map(|(_, value)| value)
    }

    /// The elements of an array.
    pub(crate) fn elements(&self, id: NodeId) -> Elements<'_, 'a> {
        let end = if self.kind(id) == Kind::Array { self.after(id) } else { id + 1 };
        Elements { tree: self, next: id + 1, end }
    }

    /// The keys and values of an object, duplicates included.
    pub(crate) fn entries(&self, id: NodeId) -> Entries<'_, 'a> {
        let end = if self.kind(id) == Kind::Object { self.after(id) } else { id + 1 };
        Entries { tree: self, next: id + 1, end }
    }
}

/// See [`Tree::elements`].
#[derive(Clone)]
pub(crate) struct Elements<'t, 'a> {
    tree: &'t Tree<'a>,
    next: NodeId,
    end: NodeId,
}

impl Iterator for Elements<'_, '_> {
    type Item = NodeId;

    fn next(&mut self) -> Option<NodeId> {
        let id = self.next;
        if id >= self.end {
            return None;
        }
        self.next = self.tree.after(id);
        Some(id)
    }
}

/// See [`Tree::entries`].
#[derive(Clone)]
pub(crate) struct Entries<'t, 'a> {
    tree: &'t Tree<'a>,
    next: NodeId,
    end: NodeId,
}

impl Iterator for Entries<'_, '_> {
    type Item = (NodeId, NodeId);

    fn next(&mut self) -> Option<(NodeId, NodeId)> {
        let key = self.next;
        if key >= self.end {
            return None;
        }
        self.next = self.tree.after(key + 1);
        Some((key, key + 1))
    }
}

/// Whether two keys are the same to MOSN: without regard to case, under Unicode's simple folding.
pub(crate) fn same_key(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
        || (!(a.is_ascii() && b.is_ascii()) && a.chars().map(fold).eq(b.chars().map(fold)))
}

/// Folds the two letters beyond ASCII that fold to ASCII ones, besides ASCII itself: no key has
/// others.
fn fold(c: char) -> char {
    match c {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        c => c.to_ascii_lowercase(),
    }
}
