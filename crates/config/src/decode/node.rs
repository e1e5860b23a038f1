use std::borrow::Cow;
use std::rc::Rc;

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer as _, Visitor};
use smallvec::SmallVec;

use super::object::{MapEntries, StructEntries};
use super::{DecodeError, Decoder, Notice};
use crate::tree::{Elements, Kind, NodeId};

/// The name of the newtype whose values have no effect.
pub(crate) const NO_EFFECT: &str = "mosn::NoEffect";

/// One value, or several objects under the same key that count as one.
pub(super) struct NodeDecoder<'d, 't, 'a> {
    decoder: &'d Decoder<'t, 'a>,
    node: NodeId,
    /// Objects that came before under the same key.
    earlier: Option<Rc<Vec<NodeId>>>,
}

impl<'d, 't, 'a> NodeDecoder<'d, 't, 'a> {
    pub(super) fn new(decoder: &'d Decoder<'t, 'a>, node: NodeId) -> Self {
        Self { decoder, node, earlier: None }
    }

    pub(super) fn merged(decoder: &'d Decoder<'t, 'a>, node: NodeId, earlier: Rc<Vec<NodeId>>) -> Self {
        Self { decoder, node, earlier: Some(earlier) }
    }

    /// A value that was left out reads as null.
    fn kind(&self) -> Kind {
        if self.decoder.is_pruned(self.node) { Kind::Null } else { self.decoder.tree.kind(self.node) }
    }

    fn raw(&self) -> &'a str {
        self.decoder.tree.raw(self.node)
    }

    fn wrong<T>(&self, expected: &str) -> Result<T, DecodeError> {
        let found = describe(self.decoder, self.node);
        Err(DecodeError::at(self.node, format!("expected {expected}, found {found}")))
    }

    fn integer<T: TryFrom<i128>>(&self, min: i128, max: i128) -> Result<T, DecodeError> {
        let value = match self.kind() {
            Kind::Null => Some(0),
            Kind::Number => self.raw().parse::<i128>().ok(),
            _ => None,
        };
        match value.filter(|value| (min..=max).contains(value)).and_then(|value| T::try_from(value).ok()) {
            Some(value) => Ok(value),
            None => self.wrong(&format!("an integer from {min} to {max}")),
        }
    }

    /// The objects to merge, in order; none if the value reads as null.
    fn objects(&self, expected: &str) -> Result<SmallVec<[NodeId; 1]>, DecodeError> {
        match self.kind() {
            Kind::Object => {
                let earlier = self.earlier.iter().flat_map(|list| list.iter().copied());
                Ok(earlier.chain([self.node]).collect())
            }
            Kind::Null => Ok(SmallVec::new()),
            _ => self.wrong(expected),
        }
    }

    fn located<T>(node: NodeId, result: Result<T, DecodeError>) -> Result<T, DecodeError> {
        result.map_err(|error| error.or_at(node))
    }
}

/// A value as an error message quotes it.
pub(super) fn describe(decoder: &Decoder<'_, '_>, node: NodeId) -> Cow<'static, str> {
    const LONGEST: usize = 40;
    match decoder.tree.kind(node) {
        Kind::Array => Cow::Borrowed("an array"),
        Kind::Object => Cow::Borrowed("an object"),
        Kind::Null => Cow::Borrowed("null"),
        Kind::True => Cow::Borrowed("true"),
        Kind::False => Cow::Borrowed("false"),
        Kind::Number => Cow::Owned(decoder.tree.raw(node).chars().take(LONGEST).collect()),
        Kind::Text | Kind::Escaped => {
            let text = decoder.tree.string(node);
            if text.chars().count() > LONGEST {
                Cow::Owned(format!("{:?}...", text.chars().take(LONGEST).collect::<String>()))
            } else {
                Cow::Owned(format!("{text:?}"))
            }
        }
    }
}

macro_rules! integers {
    ($($method:ident $visit:ident $type:ty;)*) => {
        $(
            fn $method<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
                let value = self.integer::<$type>(<$type>::MIN.into(), <$type>::MAX.into())?;
                Self::located(self.node, visitor.$visit(value))
            }
        )*
    };
}

impl<'a> Deserializer<'a> for NodeDecoder<'_, '_, 'a> {
    type Error = DecodeError;

    fn deserialize_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let node = self.node;
        match self.kind() {
            Kind::Null => Self::located(node, visitor.visit_unit()),
            Kind::True => Self::located(node, visitor.visit_bool(true)),
            Kind::False => Self::located(node, visitor.visit_bool(false)),
            Kind::Number => {
                let raw = self.raw();
                let result = if let Ok(value) = raw.parse::<u64>() {
                    visitor.visit_u64(value)
                } else if let Ok(value) = raw.parse::<i64>() {
                    visitor.visit_i64(value)
                } else {
                    visitor.visit_f64(raw.parse().unwrap_or(f64::NAN))
                };
                Self::located(node, result)
            }
            Kind::Text | Kind::Escaped => self.deserialize_str(visitor),
            Kind::Array => self.deserialize_seq(visitor),
            Kind::Object => self.deserialize_map(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = match self.kind() {
            Kind::True => true,
            Kind::False | Kind::Null => false,
            _ => return self.wrong("true or false"),
        };
        Self::located(self.node, visitor.visit_bool(value))
    }

    integers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_f32<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let value = match self.kind() {
            Kind::Null => Some(0.0),
            Kind::Number => self.raw().parse::<f64>().ok().filter(|value| value.is_finite()),
            _ => None,
        };
        match value {
            Some(value) => Self::located(self.node, visitor.visit_f64(value)),
            None => self.wrong("a number"),
        }
    }

    fn deserialize_char<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_str<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let result = match self.kind() {
            Kind::Text => visitor.visit_borrowed_str(self.raw()),
            Kind::Escaped => visitor.visit_string(self.decoder.tree.string(self.node).into_owned()),
            Kind::Null => visitor.visit_borrowed_str(""),
            _ => return self.wrong("a string"),
        };
        Self::located(self.node, result)
    }

    fn deserialize_string<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bytes<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let node = self.node;
        match self.kind() {
            Kind::Null => Self::located(node, visitor.visit_none()),
            _ => Self::located(node, visitor.visit_some(self)),
        }
    }

    fn deserialize_unit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        Self::located(self.node, visitor.visit_unit())
    }

    fn deserialize_unit_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'a>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let node = self.node;
        if name == NO_EFFECT {
            self.decoder.notice(node, || Notice::NoEffect { value: node });
        }
        Self::located(node, visitor.visit_newtype_struct(self))
    }

    fn deserialize_seq<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let hidden = self.decoder.hidden.borrow().contains(&self.node);
        let elements = match self.kind() {
            Kind::Array if !hidden => Some(self.decoder.tree.elements(self.node)),
            Kind::Array | Kind::Null => None,
            _ => return self.wrong("an array"),
        };
        Self::located(self.node, visitor.visit_seq(Sequence { decoder: self.decoder, elements }))
    }

    fn deserialize_tuple<V: Visitor<'a>>(self, _: usize, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        let entries = MapEntries::new(self.decoder, self.objects("an object")?);
        Self::located(self.node, visitor.visit_map(entries))
    }

    fn deserialize_struct<V: Visitor<'a>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        let entries = StructEntries::new(self.decoder, fields, self.objects("an object")?);
        Self::located(self.node, visitor.visit_map(entries))
    }

    fn deserialize_enum<V: Visitor<'a>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DecodeError> {
        match self.kind() {
            Kind::Text | Kind::Escaped => {
                let value = self.decoder.tree.string(self.node);
                let result = visitor.visit_enum::<de::value::StrDeserializer<'_, DecodeError>>(
                    value.as_ref().into_deserializer(),
                );
                Self::located(self.node, result)
            }
            _ => self.wrong(&format!("one of {}", variants.join(", "))),
        }
    }

    fn deserialize_identifier<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, DecodeError> {
        visitor.visit_unit()
    }
}

struct Sequence<'d, 't, 'a> {
    decoder: &'d Decoder<'t, 'a>,
    elements: Option<Elements<'t, 'a>>,
}

impl<'a> de::SeqAccess<'a> for Sequence<'_, '_, 'a> {
    type Error = DecodeError;

    fn next_element_seed<T: DeserializeSeed<'a>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, DecodeError> {
        match self.elements.as_mut().and_then(Iterator::next) {
            Some(node) => seed.deserialize(NodeDecoder::new(self.decoder, node)).map(Some),
            None => Ok(None),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        // Counting is a walk over the nodes, far cheaper than growing a vector of large structs.
        self.elements.as_ref().map(|elements| elements.clone().count())
    }
}
