use std::{borrow::Cow, cmp::Ordering, net::IpAddr};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use crate::{
    EvaluateError, GoDuration, Value,
    attributes::{Attribute, Attributes, Effect},
    check::{Comparison, Node},
    functions::{Function, Part},
    names, pattern, strings,
    syntax::Binary,
    value::{Map, Type},
};

type Evaluated<'a> = Result<Value<'a>, EvaluateError>;

/// Patterns that come with the request are not compiled if they are longer, in bytes.
const LONGEST_PATTERN: usize = 256;

impl Node {
    pub(crate) fn evaluate<'a, A: Attributes + ?Sized>(&'a self, of: &'a A) -> Evaluated<'a> {
        Ok(match self {
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(number) => Value::Int(*number),
            Self::Double(number) => Value::Double(*number),
            Self::String(text) => Value::String(Cow::Borrowed(text)),
            Self::Duration(nanos) => Value::Duration(*nanos),
            Self::Attribute(attribute, kind) => match (attribute, kind) {
                (Attribute::Context, _) => Value::Context,
                (_, Type::Map) => Value::Map(Map::Attribute(*attribute)),
                _ => of.get(*attribute).unwrap_or(Value::zero(*kind)),
            },
            Self::Entry(map, key) => Value::String(entry(map, key, of)?.ok_or(EvaluateError::MissingKey)?),
            Self::Element(list, index) => match (list.evaluate(of)?, index.evaluate(of)?) {
                (Value::List(mut list), Value::Int(index)) => {
                    let index = usize::try_from(index).ok().filter(|&index| index < list.len());
                    let index = index.ok_or(EvaluateError::OutOfRange)?;
                    Value::String(Cow::Owned(list.swap_remove(index)))
                }
                _ => return Err(EvaluateError::Conversion),
            },
            Self::Not(operand) => Value::Bool(!operand.truth(of)?),
            Self::Minus(operand) => match operand.evaluate(of)? {
                Value::Int(number) => Value::Int(number.checked_neg().ok_or(EvaluateError::Overflow)?),
                Value::Double(number) => Value::Double(-number),
                _ => return Err(EvaluateError::Conversion),
            },
            Self::And(a, b) => Value::Bool(either(a, b, of, false)?),
            Self::Or(a, b) => Value::Bool(either(a, b, of, true)?),
            Self::Compare(comparison, a, b) => {
                Value::Bool(comparison.holds(&a.evaluate(of)?, &b.evaluate(of)?))
            }
            Self::Arithmetic(operator, a, b) => compute(*operator, a.evaluate(of)?, b.evaluate(of)?)?,
            Self::If(condition, yes, no) => {
                if condition.truth(of)? {
                    yes.evaluate(of)?
                } else {
                    no.evaluate(of)?
                }
            }
            Self::HasAttribute(attribute, Type::Map) => Value::Bool(of.entries(*attribute).is_some()),
            Self::HasAttribute(attribute, _) => Value::Bool(of.get(*attribute).is_some()),
            Self::HasEntry(map, key) => Value::Bool(entry(map, key, of)?.is_some()),
            Self::Matches(regex, text) => Value::Bool(regex.is_match(&text.text(of)?)),
            Self::Call(function, arguments) => call(*function, arguments, of)?,
        })
    }

    fn truth<A: Attributes + ?Sized>(&self, of: &A) -> Result<bool, EvaluateError> {
        match self.evaluate(of)? {
            Value::Bool(value) => Ok(value),
            _ => Err(EvaluateError::Conversion),
        }
    }

    fn text<'a, A: Attributes + ?Sized>(&'a self, of: &'a A) -> Result<Cow<'a, [u8]>, EvaluateError> {
        match self.evaluate(of)? {
            Value::String(text) => Ok(text),
            _ => Err(EvaluateError::Conversion),
        }
    }

    fn int<A: Attributes + ?Sized>(&self, of: &A) -> Result<i64, EvaluateError> {
        match self.evaluate(of)? {
            Value::Int(number) => Ok(number),
            _ => Err(EvaluateError::Conversion),
        }
    }
}

fn entry<'a, A: Attributes + ?Sized>(
    map: &'a Node,
    key: &'a Node,
    of: &'a A,
) -> Result<Option<Cow<'a, [u8]>>, EvaluateError> {
    match (map.evaluate(of)?, key.text(of)?) {
        (Value::Map(Map::Attribute(map)), key) => {
            Ok(str::from_utf8(&key).ok().and_then(|key| of.entry(map, key)))
        }
        _ => Ok(None),
    }
}

/// `&&` and `||`: where one operand alone decides (`decides`), it does not matter whether the other has a
/// value, on whichever side it stands.
fn either<A: Attributes + ?Sized>(a: &Node, b: &Node, of: &A, decides: bool) -> Result<bool, EvaluateError> {
    let left = a.truth(of);
    if left == Ok(decides) {
        return Ok(decides);
    }
    match b.truth(of) {
        Ok(value) if value == decides => Ok(decides),
        Ok(_) => left,
        Err(error) => Err(left.err().unwrap_or(error)),
    }
}

impl Comparison {
    fn holds(self, a: &Value<'_>, b: &Value<'_>) -> bool {
        let ordering = match (a, b) {
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            (Value::Int(a), Value::Int(b)) | (Value::Duration(a), Value::Duration(b)) => Some(a.cmp(b)),
            (Value::Double(a), Value::Double(b)) => a.partial_cmp(b),
            (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
            (Value::Timestamp(a), Value::Timestamp(b)) => Some(a.cmp(b)),
            (a, b) => a.equals(b).then_some(Ordering::Equal),
        };
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::LessOrEqual => ordering.is_some_and(Ordering::is_le),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::GreaterOrEqual => ordering.is_some_and(Ordering::is_ge),
        }
    }
}

fn compute<'a>(operator: Binary, a: Value<'a>, b: Value<'a>) -> Evaluated<'a> {
    use Binary as B;
    let int = |value: Option<i64>| value.map(Value::Int).ok_or(EvaluateError::Overflow);
    let duration = |value: Option<i64>| value.map(Value::Duration).ok_or(EvaluateError::Overflow);
    match (operator, a, b) {
        (B::Divide | B::Remainder, Value::Int(_), Value::Int(0)) => Err(EvaluateError::DivisionByZero),
        (B::Add, Value::Int(a), Value::Int(b)) => int(a.checked_add(b)),
        (B::Subtract, Value::Int(a), Value::Int(b)) => int(a.checked_sub(b)),
        (B::Multiply, Value::Int(a), Value::Int(b)) => int(a.checked_mul(b)),
        (B::Divide, Value::Int(a), Value::Int(b)) => int(a.checked_div(b)),
        (B::Remainder, Value::Int(a), Value::Int(b)) => int(a.checked_rem(b)),
        (B::Add, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a + b)),
        (B::Subtract, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a - b)),
        (B::Multiply, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a * b)),
        (B::Divide, Value::Double(a), Value::Double(b)) => Ok(Value::Double(a / b)),
        (B::Add, Value::String(a), Value::String(b)) => {
            let mut joined = a.into_owned();
            joined.extend_from_slice(&b);
            Ok(Value::String(Cow::Owned(joined)))
        }
        (B::Add, Value::Duration(a), Value::Duration(b)) => duration(a.checked_add(b)),
        (B::Subtract, Value::Duration(a), Value::Duration(b)) => duration(a.checked_sub(b)),
        (B::Subtract, Value::Timestamp(a), Value::Timestamp(b)) => {
            duration(i64::try_from(a.duration_since(b).as_nanos()).ok())
        }
        (B::Add, Value::Timestamp(at), Value::Duration(nanos))
        | (B::Add, Value::Duration(nanos), Value::Timestamp(at)) => {
            moved(at, SignedDuration::from_nanos(nanos))
        }
        (B::Subtract, Value::Timestamp(at), Value::Duration(nanos)) => {
            moved(at, -SignedDuration::from_nanos(nanos))
        }
        _ => Err(EvaluateError::Conversion),
    }
}

fn moved<'a>(at: Timestamp, by: SignedDuration) -> Evaluated<'a> {
    at.checked_add(by).map(Value::Timestamp).map_err(|_| EvaluateError::Overflow)
}

fn call<'a, A: Attributes + ?Sized>(function: Function, of: &'a [Node], with: &'a A) -> Evaluated<'a> {
    use Function as F;
    let text = |index: usize| of.get(index).ok_or(EvaluateError::Conversion)?.text(with);
    let int = |index: usize| of.get(index).map(|node| node.int(with)).transpose();
    let owned = |text: strings::Text| Value::String(Cow::Owned(text));
    let string =
        |bytes: Cow<'a, [u8]>| String::from_utf8(bytes.into_owned()).map_err(|_| EvaluateError::Conversion);
    Ok(match function {
        F::Match => Value::Bool(strings::wildcard(&text(0)?, &text(1)?)),
        F::Matches => {
            let pattern = text(0)?;
            let pattern = str::from_utf8(&pattern).map_err(|_| EvaluateError::Pattern)?;
            if pattern.len() > LONGEST_PATTERN {
                return Err(EvaluateError::Pattern);
            }
            let regex = pattern::compile(pattern).map_err(|_| EvaluateError::Pattern)?;
            Value::Bool(regex.is_match(&text(1)?))
        }
        F::Reverse => owned(strings::reverse(&text(0)?)),
        F::ToLower => owned(strings::lower(&text(0)?)),
        F::ToUpper => owned(strings::upper(&text(0)?)),
        F::StartsWith => Value::Bool(text(0)?.starts_with(&text(1)?)),
        F::EndsWith => Value::Bool(text(0)?.ends_with(&text(1)?)),
        F::Contains => Value::Bool(memchr::memmem::find(&text(0)?, &text(1)?).is_some()),
        F::Size => match of.first().ok_or(EvaluateError::Conversion)?.evaluate(with)? {
            Value::String(text) => Value::Int(strings::size(&text)),
            Value::Map(Map::Attribute(map)) => Value::Int(with.entries(map).unwrap_or(0) as i64),
            Value::List(list) => Value::Int(list.len() as i64),
            _ => Value::Int(0),
        },
        F::CharAt => owned(strings::char_at(&text(0)?, int(1)?.unwrap_or(0))?.to_vec()),
        F::IndexOf => Value::Int(strings::index_of(&text(0)?, &text(1)?, int(2)?.unwrap_or(0))?),
        F::LastIndexOf => Value::Int(strings::last_index_of(&text(0)?, &text(1)?, int(2)?)?),
        F::Replace => owned(strings::replace(&text(0)?, &text(1)?, &text(2)?, int(3)?.unwrap_or(-1))),
        F::Split => Value::List(strings::split(&text(0)?, &text(1)?, int(2)?.unwrap_or(-1))),
        F::Substring => owned(strings::substring(&text(0)?, int(1)?.unwrap_or(0), int(2)?)?.to_vec()),
        F::Trim => owned(strings::trim(&text(0)?).to_vec()),
        F::Email => {
            let (local, domain) = names::email(&string(text(0)?)?).ok_or(EvaluateError::Conversion)?;
            Value::Email(local, domain)
        }
        F::DnsName => {
            let name = string(text(0)?)?;
            Value::DnsName(
                Some(name).filter(|name| names::is_dns_name(name)).ok_or(EvaluateError::Conversion)?,
            )
        }
        F::Uri => Value::Uri(names::uri(&string(text(0)?)?).ok_or(EvaluateError::Conversion)?),
        F::Ip => Value::Ip(str::from_utf8(&text(0)?).ok().and_then(|text| text.parse::<IpAddr>().ok())),
        F::EmptyMap => Value::Map(Map::Empty),
        F::ConditionalString => {
            let condition = of.first().ok_or(EvaluateError::Conversion)?.truth(with)?;
            // Both must have a value, as arguments of any function.
            let (yes, no) = (text(1)?, text(2)?);
            Value::String(if condition { yes } else { no })
        }
        F::ToBool | F::ToInt | F::ToDouble | F::ToString | F::ToTimestamp | F::ToDuration => {
            convert(function, of.first().ok_or(EvaluateError::Conversion)?.evaluate(with)?)?
        }
        F::Part(part) => match of.first().ok_or(EvaluateError::Conversion)?.evaluate(with)? {
            Value::Duration(nanos) => part_of_duration(part, nanos),
            Value::Timestamp(at) => {
                let zone = if of.len() > 1 { zone(&text(1)?)? } else { TimeZone::UTC };
                part_of_moment(part, at, zone)
            }
            _ => return Err(EvaluateError::Conversion),
        },
        F::RewriteUrl => Value::Bool(with.change(Effect::RewriteUrl(&text(1)?))),
        F::SetRequestHeader => Value::Bool(with.change(Effect::SetRequestHeader(&text(1)?, &text(2)?))),
        F::RemoveRequestHeader => Value::Bool(with.change(Effect::RemoveRequestHeader(&text(1)?))),
        F::SetResponseHeader => Value::Bool(with.change(Effect::SetResponseHeader(&text(1)?, &text(2)?))),
        F::RemoveResponseHeader => Value::Bool(with.change(Effect::RemoveResponseHeader(&text(1)?))),
    })
}

fn convert(function: Function, value: Value<'_>) -> Evaluated<'_> {
    use Function as F;
    let text =
        |bytes: Cow<'_, [u8]>| String::from_utf8(bytes.into_owned()).map_err(|_| EvaluateError::Conversion);
    let failed = EvaluateError::Conversion;
    Ok(match (function, value) {
        (F::ToBool, Value::String(bytes)) => match text(bytes)?.as_str() {
            "1" | "t" | "T" | "true" | "TRUE" | "True" => Value::Bool(true),
            "0" | "f" | "F" | "false" | "FALSE" | "False" => Value::Bool(false),
            _ => return Err(failed),
        },
        (F::ToInt, Value::String(bytes)) => Value::Int(text(bytes)?.parse().map_err(|_| failed)?),
        (F::ToInt, Value::Double(number)) => {
            // To the nearest, as the release of CEL that MOSN has; 2^63 is the first that does not fit.
            let number = number.round();
            if !(-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
                return Err(EvaluateError::Overflow);
            }
            Value::Int(number as i64)
        }
        (F::ToInt, Value::Timestamp(at)) => Value::Int(at.as_second()),
        (F::ToInt, Value::Duration(nanos)) => Value::Int(nanos),
        (F::ToDouble, Value::Int(number)) => Value::Double(number as f64),
        (F::ToDouble, Value::String(bytes)) => Value::Double(text(bytes)?.parse().map_err(|_| failed)?),
        (F::ToString, Value::Bool(value)) => value.to_string().into(),
        (F::ToString, Value::Int(number)) => number.to_string().into(),
        (F::ToString, Value::Double(number)) => number.to_string().into(),
        (F::ToString, Value::Timestamp(at)) => at.to_string().into(),
        (F::ToString, Value::Duration(nanos)) => seconds(nanos).into(),
        (F::ToString, Value::Ip(ip)) => {
            ip.map_or_else(|| "<nil>".to_owned(), |ip| ip.to_canonical().to_string()).into()
        }
        (F::ToString, Value::Uri(uri)) => uri.into(),
        (F::ToTimestamp, Value::String(bytes)) => Value::Timestamp(text(bytes)?.parse().map_err(|_| failed)?),
        (F::ToDuration, Value::String(bytes)) => {
            let duration: GoDuration = text(bytes)?.parse().map_err(|_| failed)?;
            Value::Duration(duration.as_nanos())
        }
        // What has the type already.
        (_, value) => value,
    })
}

/// As CEL writes a duration: `1.5s`.
fn seconds(nanos: i64) -> String {
    let (sign, nanos) = (if nanos < 0 { "-" } else { "" }, nanos.unsigned_abs());
    let text = format!("{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
    format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
}

fn zone(name: &[u8]) -> Result<TimeZone, EvaluateError> {
    let name = str::from_utf8(name).map_err(|_| EvaluateError::Conversion)?;
    // An offset: `+02:00`.
    if name.starts_with(['+', '-']) || name.starts_with(|c: char| c.is_ascii_digit()) {
        let (negative, offset) = match name.strip_prefix('-') {
            Some(offset) => (true, offset),
            None => (false, name.strip_prefix('+').unwrap_or(name)),
        };
        let seconds = offset.split_once(':').and_then(|(hours, minutes)| {
            let (hours, minutes) = (hours.parse::<u8>().ok()?, minutes.parse::<u8>().ok()?);
            Some(i32::from(hours) * 3600 + i32::from(minutes) * 60)
        });
        let seconds = seconds.ok_or(EvaluateError::Conversion)?;
        let offset = jiff::tz::Offset::from_seconds(if negative { -seconds } else { seconds });
        return offset.map(TimeZone::fixed).map_err(|_| EvaluateError::Conversion);
    }
    TimeZone::get(name).map_err(|_| EvaluateError::Conversion)
}

fn part_of_duration<'a>(part: Part, nanos: i64) -> Value<'a> {
    Value::Int(match part {
        Part::Hours => nanos / 3_600_000_000_000,
        Part::Minutes => nanos / 60_000_000_000,
        Part::Seconds => nanos / 1_000_000_000,
        _ => nanos / 1_000_000,
    })
}

fn part_of_moment<'a>(part: Part, at: Timestamp, zone: TimeZone) -> Value<'a> {
    let at = at.to_zoned(zone);
    Value::Int(match part {
        Part::FullYear => at.year().into(),
        Part::Month => i64::from(at.month()) - 1,
        Part::Date => at.day().into(),
        Part::DayOfMonth => i64::from(at.day()) - 1,
        Part::DayOfWeek => at.weekday().to_sunday_zero_offset().into(),
        Part::DayOfYear => i64::from(at.day_of_year()) - 1,
        Part::Hours => at.hour().into(),
        Part::Minutes => at.minute().into(),
        Part::Seconds => at.second().into(),
        Part::Milliseconds => at.millisecond().into(),
    })
}
