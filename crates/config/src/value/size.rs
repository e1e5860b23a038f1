use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A number of bytes, written with a unit: `"10MB"`, `"64kb"`, `"4097B"`.
///
/// Units count in powers of 1024 and ignore case, except that a lower-case `b` after an upper-case
/// prefix (`Mb`) would mean bits and is refused. Written back with the largest unit that is exact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [&str; 7] = ["B", "KB", "MB", "GB", "TB", "PB", "EB"];

/// Text that is not a byte size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Does not start with a digit.
    #[error("not a size")]
    Syntax,
    /// A unit that is not one of bytes.
    #[error("unknown unit {0:?}; the units are B, KB, MB, GB, TB, PB and EB")]
    UnknownUnit(String),
    /// More than 64 bits can count.
    #[error("too large")]
    Overflow,
}

impl FromStr for ByteSize {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text.is_empty() {
            return Ok(Self(0));
        }
        let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()));
        if digits.is_empty() {
            return Err(SizeError::Syntax);
        }
        let unit = unit.trim();
        let power = power_of(unit).ok_or_else(|| SizeError::UnknownUnit(unit.to_owned()))?;
        let number: u64 = digits.parse().map_err(|_| SizeError::Overflow)?;
        number.checked_mul(1 << (10 * power)).map(Self).ok_or(SizeError::Overflow)
    }
}

fn power_of(unit: &str) -> Option<u32> {
    if let [b'K' | b'M' | b'G' | b'T' | b'P' | b'E', b'b'] = unit.as_bytes() {
        return None;
    }
    Some(match unit.to_ascii_lowercase().as_str() {
        "" | "b" | "byte" => 0,
        "k" | "kb" | "kilo" | "kilobyte" | "kilobytes" => 1,
        "m" | "mb" | "mega" | "megabyte" | "megabytes" => 2,
        "g" | "gb" | "giga" | "gigabyte" | "gigabytes" => 3,
        "t" | "tb" | "tera" | "terabyte" | "terabytes" => 4,
        "p" | "pb" | "peta" | "petabyte" | "petabytes" => 5,
        "e" | "eb" | "exa" | "exabyte" | "exabytes" => 6,
        _ => return None,
    })
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let power = if self.0 == 0 { 0 } else { (self.0.trailing_zeros() / 10).min(6) };
        write!(f, "{}{}", self.0 >> (10 * power), UNITS[power as usize])
    }
}

impl Serialize for ByteSize {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size in quotes such as \"10MB\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(|error| {
                    E::custom(format_args!("expected a size such as \"10MB\", found {text:?}: {error}"))
                })
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<ByteSize, E> {
                Ok(ByteSize(0))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_with_the_largest_exact_unit() {
        for (text, bytes, written) in [
            ("10MB", 10 << 20, "10MB"),
            ("10mb", 10 << 20, "10MB"),
            ("10 megabytes", 10 << 20, "10MB"),
            ("64k", 64 << 10, "64KB"),
            ("1024KB", 1 << 20, "1MB"),
            ("4097", 4097, "4097B"),
            ("0", 0, "0B"),
            ("", 0, "0B"),
            ("15EB", 15 << 60, "15EB"),
        ] {
            let size: ByteSize = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), written);
        }
    }

    #[test]
    fn bits_and_nonsense_are_refused() {
        for (text, error) in [
            ("10Mb", SizeError::UnknownUnit("Mb".to_owned())),
            ("10x", SizeError::UnknownUnit("x".to_owned())),
            ("1.5MB", SizeError::UnknownUnit(".5MB".to_owned())),
            ("MB", SizeError::Syntax),
            ("-1MB", SizeError::Syntax),
            ("16EB", SizeError::Overflow),
            ("99999999999999999999", SizeError::Overflow),
        ] {
            assert_eq!(text.parse::<ByteSize>(), Err(error), "{text}");
        }
    }
}
