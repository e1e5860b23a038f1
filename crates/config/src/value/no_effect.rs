use serde::de::{Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::decode::NO_EFFECT;

/// The value of a key that is read and written back, but does nothing; loading warns of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NoEffect(pub Value);

impl Serialize for NoEffect {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for NoEffect {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Inner;

        impl<'de> Visitor<'de> for Inner {
            type Value = NoEffect;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }

            fn visit_newtype_struct<D: Deserializer<'de>>(self, inner: D) -> Result<NoEffect, D::Error> {
                Value::deserialize(inner).map(NoEffect)
            }
        }

        deserializer.deserialize_newtype_struct(NO_EFFECT, Inner)
    }
}
