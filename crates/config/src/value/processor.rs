use std::fmt;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// How many workers (`servers[0].processor`): a number, a number in quotes, or any other text for
/// "as many as there are cores".
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Processor {
    /// Absent, `null`, or below 1.
    #[default]
    Default,
    /// This many, at least 1.
    Count(usize),
    /// `"auto"` or other text.
    Auto(String),
}

impl Processor {
    fn of_number(number: i64) -> Self {
        match usize::try_from(number) {
            Ok(count) if count > 0 => Self::Count(count),
            _ => Self::Default,
        }
    }
}

impl Serialize for Processor {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Default => serializer.serialize_unit(),
            Self::Count(count) => serializer.serialize_u64(*count as u64),
            Self::Auto(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Processor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl Visitor<'_> for Any {
            type Value = Processor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of workers, or \"auto\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Processor, E> {
                Ok(match text.parse::<i64>() {
                    Ok(number) => Processor::of_number(number),
                    Err(_) => Processor::Auto(text.to_owned()),
                })
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Processor, E> {
                Ok(Processor::of_number(i64::try_from(number).unwrap_or(i64::MAX)))
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Processor, E> {
                Ok(Processor::of_number(number))
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Processor, E> {
                Ok(Processor::of_number(number as i64))
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Processor, E> {
                Ok(Processor::Default)
            }
        }

        deserializer.deserialize_any(Any)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_text_say_how_many_workers() {
        for (json, processor) in [
            ("4", Processor::Count(4)),
            ("4.0", Processor::Count(4)),
            ("\"4\"", Processor::Count(4)),
            ("0", Processor::Default),
            ("-1", Processor::Default),
            ("null", Processor::Default),
            ("\"AUTO\"", Processor::Auto("AUTO".to_owned())),
        ] {
            assert_eq!(serde_json::from_str::<Processor>(json).unwrap(), processor, "{json}");
        }
        assert!(serde_json::from_str::<Processor>("true").is_err());
        assert!(serde_json::from_str::<Processor>("{}").is_err());
    }
}
