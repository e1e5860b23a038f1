use std::borrow::Cow;
use std::collections::HashMap;
use std::rc::Rc;

use serde::de::value::{BorrowedStrDeserializer, StringDeserializer};
use serde::de::{DeserializeSeed, IntoDeserializer as _, MapAccess};
use smallvec::SmallVec;

use super::node::NodeDecoder;
use super::{DecodeError, Decoder, Notice, nearest};
use crate::tree::{Kind, NodeId, Tree, same_key};

/// The values that one key was given, the last of which counts, unless they are objects.
#[derive(Clone)]
struct Given {
    value: NodeId,
    /// The objects before it that it merges with.
    earlier: Option<Rc<Vec<NodeId>>>,
}

impl Given {
    fn again(&mut self, tree: &Tree<'_>, value: NodeId) {
        if tree.kind(self.value) == Kind::Object && tree.kind(value) == Kind::Object {
            Rc::make_mut(self.earlier.get_or_insert_default()).push(self.value);
        } else {
            self.earlier = None;
        }
        self.value = value;
    }

    fn decode<'a, S: DeserializeSeed<'a>>(
        self,
        decoder: &Decoder<'_, 'a>,
        seed: S,
    ) -> Result<S::Value, DecodeError> {
        let node = match self.earlier {
            None => NodeDecoder::new(decoder, self.value),
            Some(earlier) => NodeDecoder::merged(decoder, self.value, earlier),
        };
        seed.deserialize(node)
    }
}

/// The fields of a struct that were given, in the struct's order.
pub(super) struct StructEntries<'d, 't, 'a> {
    decoder: &'d Decoder<'t, 'a>,
    fields: &'static [&'static str],
    given: SmallVec<[Option<Given>; 24]>,
    next: usize,
}

impl<'d, 't, 'a> StructEntries<'d, 't, 'a> {
    pub(super) fn new(
        decoder: &'d Decoder<'t, 'a>,
        fields: &'static [&'static str],
        objects: impl IntoIterator<Item = NodeId>,
    ) -> Self {
        let tree = decoder.tree;
        let mut given: SmallVec<[Option<Given>; 24]> = smallvec::smallvec![None; fields.len()];
        let any_pruned = !decoder.pruned.borrow().is_empty();
        for object in objects {
            for (key, value) in tree.entries(object) {
                if any_pruned && decoder.is_pruned(value) {
                    continue;
                }
                let name = tree.string(key);
                let field = fields
                    .iter()
                    .position(|&field| field == name)
                    .or_else(|| fields.iter().position(|&field| same_key(field, &name)));
                match field.and_then(|field| given.get_mut(field)) {
                    Some(Some(slot)) => slot.again(tree, value),
                    Some(slot) => *slot = Some(Given { value, earlier: None }),
                    None => decoder.notice(key, || Notice::UnknownKey {
                        key,
                        nearest: nearest(&name, fields.iter().copied()),
                    }),
                }
            }
        }
        Self { decoder, fields, given, next: 0 }
    }
}

impl<'a> MapAccess<'a> for StructEntries<'_, '_, 'a> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        while self.given.get(self.next).is_some_and(Option::is_none) {
            self.next += 1;
        }
        match self.fields.get(self.next) {
            Some(field) => seed.deserialize(BorrowedStrDeserializer::new(field)).map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        let given = self.given.get_mut(self.next).and_then(Option::take);
        self.next += 1;
        match given {
            Some(given) => given.decode(self.decoder, seed),
            None => Err(serde::de::Error::custom("a value was asked for before its key")),
        }
    }
}

/// The entries of a free-form map, in order, each key once.
pub(super) struct MapEntries<'d, 't, 'a> {
    decoder: &'d Decoder<'t, 'a>,
    entries: std::vec::IntoIter<(Cow<'a, str>, Given)>,
    value: Option<Given>,
}

impl<'d, 't, 'a> MapEntries<'d, 't, 'a> {
    pub(super) fn new(decoder: &'d Decoder<'t, 'a>, objects: impl IntoIterator<Item = NodeId>) -> Self {
        let tree = decoder.tree;
        let mut entries: Vec<(Cow<'a, str>, Given)> = Vec::new();
        let mut index: HashMap<Cow<'a, str>, usize> = HashMap::new();
        for object in objects {
            for (key, value) in tree.entries(object) {
                if decoder.is_pruned(value) {
                    continue;
                }
                let name = tree.string(key);
                match index.get(&name).and_then(|&at| entries.get_mut(at)) {
                    Some((_, given)) => given.again(tree, value),
                    None => {
                        index.insert(name.clone(), entries.len());
                        entries.push((name, Given { value, earlier: None }));
                    }
                }
            }
        }
        Self { decoder, entries: entries.into_iter(), value: None }
    }
}

impl<'a> MapAccess<'a> for MapEntries<'_, '_, 'a> {
    type Error = DecodeError;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, DecodeError> {
        let Some((name, given)) = self.entries.next() else { return Ok(None) };
        self.value = Some(given);
        match name {
            Cow::Borrowed(name) => seed.deserialize(BorrowedStrDeserializer::new(name)),
            Cow::Owned(name) => {
                let name: StringDeserializer<DecodeError> = name.into_deserializer();
                seed.deserialize(name)
            }
        }
        .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'a>>(&mut self, seed: S) -> Result<S::Value, DecodeError> {
        match self.value.take() {
            Some(given) => given.decode(self.decoder, seed),
            None => Err(serde::de::Error::custom("a value was asked for before its key")),
        }
    }
}
