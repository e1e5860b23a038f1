//! YAML, rewritten as JSON text node for node.
//!
//! Aliases are written out, `<<` merges are applied, and plain scalars become null, booleans (also
//! `yes`, `no`, `on` and `off`), numbers or strings, as in the converter that MOSN uses.

use std::collections::HashMap;
use std::fmt::Write as _;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};

use super::{MAX_DEPTH, Place, SyntaxError};

/// Most JSON text that aliases may make of a document.
const MAX_EXPANSION: usize = 64 * 1024 * 1024;

/// The JSON text of a YAML document, and where each of its nodes (keys included) stood.
///
/// # Errors
/// The first thing that is not YAML, or that JSON has no word for.
pub(crate) fn to_json(text: &str) -> Result<(String, Vec<Place>), SyntaxError> {
    let mut events = Vec::new();
    let mut anchors = HashMap::new();
    let mut open = Vec::new();
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|error| error_at(*error.marker(), error.info()))?;
        let index = events.len();
        match &event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(error_at(span.start, "a second document; only one is read"));
                }
                continue;
            }
            Event::Scalar(_, _, anchor, _) => {
                anchors.insert(*anchor, index);
            }
            Event::SequenceStart(anchor, _) | Event::MappingStart(anchor, _) => {
                anchors.insert(*anchor, index);
                open.push(index);
                if open.len() > MAX_DEPTH {
                    return Err(error_at(span.start, &format!("nested more than {MAX_DEPTH} deep")));
                }
            }
            Event::SequenceEnd | Event::MappingEnd => {
                open.pop();
            }
            Event::Alias(_) => {}
            _ => continue,
        }
        events.push((event, span));
    }
    let ends = ends_of(&events);
    let mut writer = Writer { events, ends, anchors, json: String::new(), places: Vec::new() };
    if writer.events.is_empty() {
        return Ok(("null".to_owned(), vec![Place { line: 1, column: 1 }]));
    }
    writer.value(0, None, 0)?;
    Ok((writer.json, writer.places))
}

/// For each event, the index after the value that it begins.
fn ends_of(events: &[(Event<'_>, Span)]) -> Vec<usize> {
    let mut ends: Vec<usize> = (1..=events.len()).collect();
    let mut open = Vec::new();
    for (index, (event, _)) in events.iter().enumerate() {
        match event {
            Event::SequenceStart(..) | Event::MappingStart(..) => open.push(index),
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(slot) = open.pop().and_then(|start: usize| ends.get_mut(start)) {
                    *slot = index + 1;
                }
            }
            _ => {}
        }
    }
    ends
}

fn place(marker: Marker) -> Place {
    Place { line: marker.line() as u32, column: marker.col() as u32 + 1 }
}

fn error_at(marker: Marker, message: &str) -> SyntaxError {
    SyntaxError { place: place(marker), message: message.to_owned() }
}

struct Writer<'a> {
    events: Vec<(Event<'a>, Span)>,
    ends: Vec<usize>,
    anchors: HashMap<usize, usize>,
    json: String,
    places: Vec<Place>,
}

impl Writer<'_> {
    fn marker(&self, index: usize) -> Marker {
        self.events.get(index).map_or_else(|| Marker::new(0, 1, 0), |(_, span)| span.start)
    }

    fn end(&self, index: usize) -> usize {
        self.ends.get(index).copied().unwrap_or(index + 1)
    }

    /// The value that an alias stands for.
    fn target(&self, index: usize) -> Result<usize, SyntaxError> {
        match self.events.get(index) {
            Some((Event::Alias(anchor), span)) => match self.anchors.get(anchor) {
                Some(&target) if self.end(target) <= index => Ok(target),
                _ => Err(error_at(span.start, "an alias for a value that is not complete here")),
            },
            _ => Ok(index),
        }
    }

    /// Writes the value at `index`; `seen_at` is where the reader finds it if that is an alias.
    fn value(&mut self, index: usize, seen_at: Option<Place>, depth: usize) -> Result<(), SyntaxError> {
        let marker = self.marker(index);
        let here = seen_at.unwrap_or_else(|| place(marker));
        if depth > MAX_DEPTH {
            return Err(SyntaxError { place: here, message: format!("nested more than {MAX_DEPTH} deep") });
        }
        if self.json.len() > MAX_EXPANSION {
            return Err(SyntaxError {
                place: here,
                message: format!("aliases expand to more than {MAX_EXPANSION} bytes"),
            });
        }
        let target = self.target(index)?;
        if target != index {
            return self.value(target, Some(here), depth + 1);
        }
        let Some((event, _)) = self.events.get(index) else { return Ok(()) };
        match event {
            Event::Scalar(text, style, _, tag) => {
                let forced = tag.as_ref().is_some_and(|tag| tag.suffix == "str");
                let scalar = match style {
                    ScalarStyle::Plain if !forced => resolve(text),
                    _ => None,
                };
                self.places.push(here);
                match scalar {
                    Some(json) => self.json.push_str(&json),
                    None => push_string(&mut self.json, text),
                }
                Ok(())
            }
            Event::SequenceStart(..) => {
                self.places.push(here);
                self.json.push('[');
                let end = self.end(index) - 1;
                let mut at = index + 1;
                while at < end {
                    if at > index + 1 {
                        self.json.push(',');
                    }
                    self.value(at, seen_at, depth + 1)?;
                    at = self.end(at);
                }
                self.json.push(']');
                Ok(())
            }
            Event::MappingStart(..) => {
                let mut entries = Vec::new();
                self.entries(index, &mut entries, 0)?;
                self.places.push(here);
                self.json.push('{');
                for (position, (key, value)) in entries.into_iter().enumerate() {
                    if position > 0 {
                        self.json.push(',');
                    }
                    let text = self.key(key)?;
                    self.places.push(seen_at.unwrap_or_else(|| place(self.marker(key))));
                    push_string(&mut self.json, &text);
                    self.json.push(':');
                    self.value(value, seen_at, depth + 1)?;
                }
                self.json.push('}');
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn key(&self, index: usize) -> Result<String, SyntaxError> {
        match self.events.get(self.target(index)?) {
            Some((Event::Scalar(text, ..), _)) => Ok(text.to_string()),
            _ => Err(error_at(self.marker(index), "a key must be a plain value")),
        }
    }

    /// A mapping's own entries, then those it merges and does not have itself.
    fn entries(
        &self,
        mapping: usize,
        entries: &mut Vec<(usize, usize)>,
        depth: usize,
    ) -> Result<(), SyntaxError> {
        if depth > MAX_DEPTH {
            return Err(error_at(self.marker(mapping), "merges nested too deep"));
        }
        let end = self.end(mapping) - 1;
        let mut merges = Vec::new();
        let mut own = Vec::new();
        let mut at = mapping + 1;
        while at < end {
            let value = self.end(at);
            let plain = matches!(self.events.get(at), Some((Event::Scalar(_, ScalarStyle::Plain, ..), _)));
            if plain && self.key(at)? == "<<" {
                merges.push(value);
            } else {
                own.push((at, value));
            }
            at = self.end(value);
        }
        let mut known = std::collections::HashSet::new();
        for &(key, _) in entries.iter() {
            known.insert(self.key(key)?);
        }
        for (key, value) in own {
            if !known.contains(&self.key(key)?) {
                entries.push((key, value));
            }
        }
        for merge in merges {
            let target = self.target(merge)?;
            match self.events.get(target) {
                Some((Event::MappingStart(..), _)) => self.entries(target, entries, depth + 1)?,
                Some((Event::SequenceStart(..), _)) => {
                    let end = self.end(target) - 1;
                    let mut at = target + 1;
                    while at < end {
                        let element = self.target(at)?;
                        if !matches!(self.events.get(element), Some((Event::MappingStart(..), _))) {
                            return Err(error_at(self.marker(at), "`<<` merges mappings only"));
                        }
                        self.entries(element, entries, depth + 1)?;
                        at = self.end(at);
                    }
                }
                _ => return Err(error_at(self.marker(merge), "`<<` merges mappings only")),
            }
        }
        Ok(())
    }
}

/// What a plain scalar is in JSON, if not a string.
fn resolve(text: &str) -> Option<String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Some("null".to_owned()),
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => {
            return Some("true".to_owned());
        }
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => {
            return Some("false".to_owned());
        }
        _ => {}
    }
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let sign = if negative { "-" } else { "" };
    let radix = |prefix: &str, radix| {
        let digits = digits.strip_prefix(prefix).filter(|digits| !digits.starts_with('+'))?;
        u64::from_str_radix(digits, radix).ok()
    };
    if let Some(value) = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)) {
        return Some(format!("{sign}{value}"));
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        // MOSN's converter still reads a leading 0 as octal.
        if digits.len() > 1 && digits.starts_with('0') {
            return u64::from_str_radix(digits, 8).ok().map(|value| format!("{sign}{value}"));
        }
        return Some(format!("{sign}{digits}"));
    }
    let float = digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-'));
    let value = digits.parse::<f64>().ok().filter(|value| float && value.is_finite())?;
    // `{:?}` keeps `1.0` a float, so that it is no integer to the checks either.
    Some(format!("{sign}{value:?}"))
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            c if c < ' ' => {
                let _ = write!(json, "\\u{:04x}", c as u32);
            }
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::super::parse_json;
    use super::*;

    #[test]
    fn yaml_becomes_the_same_json() {
        let yaml = "\
servers:
  - default_log_level: DEBUG   # a comment
    processor: 2
    ratio: 1.0
    empty:
    text: '2'
    block: |
      a
      \"b\"
    flow: {a: [1, yes, ~], b: -0x10}
";
        let (json, places) = to_json(yaml).unwrap();
        assert_eq!(
            json,
            r#"{"servers":[{"default_log_level":"DEBUG","processor":2,"ratio":1.0,"empty":null,"text":"2","block":"a\u000a\"b\"\u000a","flow":{"a":[1,true,null],"b":-16}}]}"#
        );
        let tree = parse_json(&json).ok().unwrap().with_places(places);
        let servers = tree.entries(0).next().unwrap();
        let server = tree.elements(servers.1).next().unwrap();
        let (key, value) = tree.entries(server).nth(1).unwrap();
        assert_eq!(tree.place(key), Place { line: 3, column: 5 });
        assert_eq!(tree.place(value), Place { line: 3, column: 16 });
    }

    #[test]
    fn aliases_and_merges_are_written_out() {
        let yaml = "\
base: &base {a: 1, b: 2}
list: [*base]
merged:
  <<: *base
  b: 3
";
        let (json, _) = to_json(yaml).unwrap();
        assert_eq!(json, r#"{"base":{"a":1,"b":2},"list":[{"a":1,"b":2}],"merged":{"b":3,"a":1}}"#);
    }

    #[test]
    fn aliases_cannot_blow_up() {
        let mut yaml = String::from("a0: &a0 [xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx]\n");
        for level in 1..30 {
            let _ = writeln!(yaml, "a{level}: &a{level} [*a{0}, *a{0}]", level - 1);
        }
        let error = to_json(&yaml).unwrap_err();
        assert!(error.message.starts_with("aliases expand to more than"), "{}", error.message);
    }

    #[test]
    fn what_is_not_yaml_is_refused_with_its_place() {
        let error = to_json("a: 1\nb: [1\n").unwrap_err();
        assert!(error.place.line >= 2, "{error:?}");
        let error = to_json("a: 1\n---\nb: 2\n").unwrap_err();
        assert_eq!(error.message, "a second document; only one is read");
        let error = to_json("? [1]\n: 2\n").unwrap_err();
        assert_eq!(error.message, "a key must be a plain value");
    }
}
