use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Visitor};
use serde::ser::{Serialize, Serializer};

/// A duration in Go's text form: `500ms`, `1.5s`, `1h30m`, `-2s`.
///
/// Units are `ns`, `us` (or `µs`), `ms`, `s`, `m` and `h`; a bare `0` needs none. Written back in Go's
/// canonical form: `0s`, `1.5s`, `1m0s`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoDuration {
    nanoseconds: i64,
}

impl GoDuration {
    /// Of this many nanoseconds.
    #[must_use]
    pub const fn from_nanos(nanoseconds: i64) -> Self {
        Self { nanoseconds }
    }

    /// In nanoseconds.
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.nanoseconds
    }

    /// As a length of time; `None` if it is 0 or negative, which MOSN takes for "not set".
    #[must_use]
    pub fn positive(self) -> Option<Duration> {
        u64::try_from(self.nanoseconds).ok().filter(|&nanos| nanos > 0).map(Duration::from_nanos)
    }
}

/// Text that is not a Go duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// Not of the form number, unit, number, unit...
    #[error("not a duration")]
    Syntax,
    /// A number that no unit follows.
    #[error("the unit is missing")]
    MissingUnit,
    /// A unit that Go does not have; it has no days either.
    #[error("unknown unit {0:?}; the units are ns, us, ms, s, m and h")]
    UnknownUnit(String),
    /// More than 292 years.
    #[error("too long")]
    Overflow,
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        let (negative, mut rest) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err(DurationError::Syntax);
        }
        let mut total: i128 = 0;
        while !rest.is_empty() {
            let (whole, after) = digits(rest);
            let (fraction, after) = match after.strip_prefix('.') {
                Some(after) => digits(after),
                None => ("", after),
            };
            if whole.is_empty() && fraction.is_empty() {
                return Err(DurationError::Syntax);
            }
            let unit_end = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
            let (unit, after) = after.split_at(unit_end);
            let scale: i128 = match unit {
                "ns" => 1,
                "us" | "µs" | "μs" => 1_000,
                "ms" => 1_000_000,
                "s" => 1_000_000_000,
                "m" => 60_000_000_000,
                "h" => 3_600_000_000_000,
                "" => return Err(DurationError::MissingUnit),
                _ => return Err(DurationError::UnknownUnit(unit.to_owned())),
            };
            total += scaled(whole, fraction, scale).ok_or(DurationError::Overflow)?;
            if total > i128::from(i64::MAX) {
                return Err(DurationError::Overflow);
            }
            rest = after;
        }
        let total = i64::try_from(total).map_err(|_| DurationError::Overflow)?;
        Ok(Self { nanoseconds: if negative { -total } else { total } })
    }
}

fn digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// `whole.fraction` of a unit of `scale` nanoseconds.
fn scaled(whole: &str, fraction: &str, scale: i128) -> Option<i128> {
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut nanos = whole.checked_mul(scale)?;
    let mut unit = scale;
    for digit in fraction.bytes() {
        // Thirteen digits reach below a nanosecond of any unit; what is left of them is dropped.
        let numerator = i128::from(digit - b'0') * unit;
        nanos += numerator / 10;
        unit /= 10;
        if unit == 0 {
            break;
        }
    }
    Some(nanos)
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.nanoseconds.unsigned_abs();
        if nanos == 0 {
            return f.write_str("0s");
        }
        if self.nanoseconds < 0 {
            f.write_str("-")?;
        }
        let (value, unit, decimals) = match nanos {
            0..1_000 => (nanos, "ns", 0),
            1_000..1_000_000 => (nanos, "µs", 3),
            1_000_000..1_000_000_000 => (nanos, "ms", 6),
            _ => {
                let minutes = nanos / 60_000_000_000;
                if minutes >= 60 {
                    write!(f, "{}h", minutes / 60)?;
                }
                if minutes > 0 {
                    write!(f, "{}m", minutes % 60)?;
                }
                (nanos % 60_000_000_000, "s", 9)
            }
        };
        let divisor = 10_u64.pow(decimals);
        write!(f, "{}", value / divisor)?;
        if value % divisor != 0 {
            let fraction = format!("{:0width$}", value % divisor, width = decimals as usize);
            write!(f, ".{}", fraction.trim_end_matches('0'))?;
        }
        f.write_str(unit)
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = GoDuration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"5s\", \"500ms\" or \"1m30s\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<GoDuration, E> {
                text.parse().map_err(|error| {
                    E::custom(format_args!(
                        "expected a duration such as \"5s\", \"500ms\" or \"1m30s\", found {text:?}: {error}"
                    ))
                })
            }

            fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<GoDuration, E> {
                self.number(number)
            }

            fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<GoDuration, E> {
                self.number(number)
            }

            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<GoDuration, E> {
                self.number(number)
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<GoDuration, E> {
                Err(E::custom("expected a duration such as \"5s\", \"500ms\" or \"1m30s\", found null"))
            }
        }

        impl Text {
            /// Only a bare 0 is a duration.
            fn number<E: serde::de::Error>(self, number: impl fmt::Display) -> Result<GoDuration, E> {
                let number = number.to_string();
                if number == "0" {
                    return Ok(GoDuration::default());
                }
                Err(E::custom(format_args!(
                    "expected a duration such as \"5s\", \"500ms\" or \"1m30s\", found the number \
                     {number}: the unit is missing"
                )))
            }
        }

        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read_and_written_canonically() {
        for (text, nanos, written) in [
            ("0", 0, "0s"),
            ("0s", 0, "0s"),
            ("5s", 5_000_000_000, "5s"),
            ("1.5s", 1_500_000_000, "1.5s"),
            (".5s", 500_000_000, "500ms"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1h", 3_600_000_000_000, "1h0m0s"),
            ("1h30m", 5_400_000_000_000, "1h30m0s"),
            ("500ms", 500_000_000, "500ms"),
            ("1500us", 1_500_000, "1.5ms"),
            ("2µs", 2_000, "2µs"),
            ("3ns", 3, "3ns"),
            ("-2s", -2_000_000_000, "-2s"),
            ("+1m", 60_000_000_000, "1m0s"),
            ("1.0000000001s", 1_000_000_000, "1s"),
        ] {
            let duration: GoDuration = text.parse().unwrap();
            assert_eq!(duration.as_nanos(), nanos, "{text}");
            assert_eq!(duration.to_string(), written);
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for (text, error) in [
            ("", DurationError::Syntax),
            ("-", DurationError::Syntax),
            ("s", DurationError::Syntax),
            (".s", DurationError::Syntax),
            ("5", DurationError::MissingUnit),
            ("1d", DurationError::UnknownUnit("d".to_owned())),
            ("5 s", DurationError::UnknownUnit(" s".to_owned())),
            ("1s2", DurationError::MissingUnit),
            ("2562048h", DurationError::Overflow),
            ("99999999999999999999999999999999999999999999h", DurationError::Overflow),
        ] {
            assert_eq!(text.parse::<GoDuration>(), Err(error), "{text}");
        }
    }

    #[test]
    fn only_positive_durations_are_lengths_of_time() {
        assert_eq!(GoDuration::from_nanos(-5).positive(), None);
        assert_eq!(GoDuration::default().positive(), None);
        assert_eq!(GoDuration::from_nanos(5).positive(), Some(Duration::from_nanos(5)));
    }
}
