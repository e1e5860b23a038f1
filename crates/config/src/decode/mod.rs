//! From a tree to typed structs, in MOSN's dialect, with every problem found in one run.
//!
//! Keys match without regard to case (an exact match first), objects under a repeated key merge,
//! `null` is a value's zero, and numbers are exact. A key that no struct knows is a warning. A value of
//! the wrong type is an error; the value is then left out and decoding starts over, so that the next
//! problem shows as well.

mod error;
mod node;
mod object;

use std::cell::RefCell;
use std::collections::HashSet;

use serde::Deserialize;

use crate::tree::{NodeId, Tree};

pub(crate) use error::DecodeError;
pub(crate) use mosn_expression::nearest;
pub(crate) use node::NO_EFFECT;

use node::NodeDecoder;

/// Most problems that are reported of one kind.
pub(crate) const MAX_PROBLEMS: usize = 100;

/// Something that decoding noticed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Notice {
    /// A key that the struct does not have, and the nearest that it has.
    UnknownKey { key: NodeId, nearest: Option<&'static str> },
    /// A key that is known to do nothing.
    NoEffect { value: NodeId },
}

/// Decodes parts of one tree.
pub(crate) struct Decoder<'t, 'a> {
    pub(crate) tree: &'t Tree<'a>,
    /// Values that are left out because they are wrong.
    pruned: RefCell<HashSet<NodeId>>,
    /// Values that are left out because they are decoded on their own.
    hidden: RefCell<HashSet<NodeId>>,
    notices: RefCell<Notices>,
}

#[derive(Default)]
struct Notices {
    seen: HashSet<NodeId>,
    list: Vec<Notice>,
    /// How many were ever in the list.
    listed: usize,
    more: usize,
}

impl<'t, 'a> Decoder<'t, 'a> {
    pub(crate) fn new(tree: &'t Tree<'a>) -> Self {
        Self { tree, pruned: RefCell::default(), hidden: RefCell::default(), notices: RefCell::default() }
    }

    /// Leaves an array's elements out of what is decoded from now on.
    pub(crate) fn hide(&self, array: NodeId) {
        self.hidden.borrow_mut().insert(array);
    }

    /// Whether a value was found wrong.
    pub(crate) fn is_pruned(&self, node: NodeId) -> bool {
        self.pruned.borrow().contains(&node)
    }

    /// Decodes the value at `root`; what is wrong in it goes to `report`, which says whether to go on.
    /// `None` if nothing could be made of it.
    pub(crate) fn decode<T: Deserialize<'a>>(
        &self,
        root: NodeId,
        mut report: impl FnMut(NodeId, String) -> bool,
    ) -> Option<T> {
        loop {
            match T::deserialize(NodeDecoder::new(self, root)) {
                Ok(value) => return Some(value),
                Err(error) => {
                    let node = error.node().unwrap_or(root);
                    // A value that is wrong even when it is left out takes its owner with it.
                    let mut prune = node;
                    let mut known = false;
                    while !self.pruned.borrow_mut().insert(prune) {
                        known = true;
                        prune = self.tree.parent(root, prune)?;
                    }
                    let go_on = known || report(node, error.into_message());
                    if !go_on || prune == root {
                        return None;
                    }
                }
            }
        }
    }

    /// What was noticed since the last time, in order, and how many more notices there were than fit.
    pub(crate) fn take_notices(&self) -> (Vec<Notice>, usize) {
        let mut notices = self.notices.borrow_mut();
        (std::mem::take(&mut notices.list), std::mem::take(&mut notices.more))
    }

    fn notice(&self, node: NodeId, notice: impl FnOnce() -> Notice) {
        let mut notices = self.notices.borrow_mut();
        if notices.listed >= MAX_PROBLEMS {
            notices.more += 1;
        } else if notices.seen.insert(node) {
            notices.listed += 1;
            notices.list.push(notice());
        }
    }
}
