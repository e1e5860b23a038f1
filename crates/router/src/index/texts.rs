use std::collections::HashMap;

use hashbrown::HashTable;

use super::{List, Search};
use crate::{Route, Subject};

/// Routes by a text that requests must have. A look-up reads the table and the texts, which lie
/// together; of the routes it reads only those that ask for more.
#[derive(Debug)]
pub(super) struct Texts {
    slots: HashTable<Slot>,
    text: Box<str>,
}

#[derive(Clone, Copy, Debug)]
struct Slot {
    /// A range of `text`.
    text: List,
    /// The first route that asks for nothing else.
    first: u32,
    /// The routes before it that ask for more; empty if there are none.
    conditional: List,
}

impl Texts {
    /// `texts` are the routes of each, ascending; their lists are added to `lists`. `plain` says of which routes
    /// the text is all that they ask for.
    pub(super) fn build<T: AsRef<str>>(
        texts: HashMap<T, Vec<u32>>,
        lists: &mut Vec<u32>,
        plain: impl Fn(u32) -> bool,
        hash: impl Fn(&str) -> u64,
    ) -> Self {
        let mut slots = HashTable::with_capacity(texts.len());
        let mut text = String::with_capacity(texts.keys().map(|text| text.as_ref().len()).sum());
        for (one, ids) in &texts {
            let one = one.as_ref();
            let start = text.len() as u32;
            text.push_str(one);
            let before = ids.iter().position(|&id| plain(id)).unwrap_or(ids.len());
            let slot = Slot {
                text: List { start, end: text.len() as u32 },
                first: ids.get(before).copied().unwrap_or(u32::MAX),
                conditional: List::add(lists, &ids[..before]),
            };
            slots.insert_unique(hash(one), slot, |slot| hash(&text[slot.text.range()]));
        }
        Self { slots, text: text.into_boxed_str() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// Looks among the routes of the text that is the `same` as the request's. `matches` says of those
    /// that ask for more whether they get it.
    pub(super) fn find<S: Subject + ?Sized>(
        &self,
        hash: u64,
        same: impl Fn(&str) -> bool,
        matches: impl Fn(&Route, &[u8], &S) -> bool,
        lists: &[u32],
        search: &mut Search<'_, S>,
    ) {
        let Some(slot) = self.slots.find(hash, |slot| same(&self.text[slot.text.range()])) else { return };
        search.best = search.best.min(slot.first);
        search.first(&lists[slot.conditional.range()], matches);
    }
}
