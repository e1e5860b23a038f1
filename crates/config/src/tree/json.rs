//! Strict JSON: no comments, no byte order mark, nothing after the value.

use super::{Kind, MAX_DEPTH, MAX_TEXT, Node, Place, SyntaxError, Tree};

/// Reads a document.
///
/// # Errors
/// The first thing in `text` that is not JSON, and where.
pub(crate) fn parse(text: &str) -> Result<Tree<'_>, SyntaxError> {
    if text.len() > MAX_TEXT {
        return Err(SyntaxError {
            place: Place { line: 1, column: 1 },
            message: format!("the file has {} bytes; at most {MAX_TEXT} are read", text.len()),
        });
    }
    // A node needs at least two bytes of text; real files have one for every dozen or more.
    let mut reader =
        Reader { text, bytes: text.as_bytes(), at: 0, nodes: Vec::with_capacity(text.len() / 12) };
    match reader.document() {
        Ok(()) => {
            reader.nodes.shrink_to_fit();
            Ok(Tree { text, nodes: reader.nodes, places: None })
        }
        Err(fault) => {
            Err(SyntaxError { place: Place::of_offset(text, fault.at), message: fault.what.into_owned() })
        }
    }
}

struct Fault {
    at: usize,
    what: std::borrow::Cow<'static, str>,
}

fn fault<T>(at: usize, what: impl Into<std::borrow::Cow<'static, str>>) -> Result<T, Fault> {
    Err(Fault { at, what: what.into() })
}

struct Reader<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    nodes: Vec<Node>,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        if self.text.starts_with('\u{feff}') {
            return fault(0, "the file starts with a byte order mark; save it as UTF-8 without one");
        }
        let mut open: Vec<u32> = Vec::with_capacity(32);
        self.skip_space();
        self.value(&mut open)?;
        while let Some(&container) = open.last() {
            self.skip_space();
            let is_object = self.kind_at(container) == Kind::Object;
            let is_first = container as usize + 1 == self.nodes.len();
            match self.peek() {
                Some(b']') if !is_object => self.close(&mut open),
                Some(b'}') if is_object => self.close(&mut open),
                Some(b',') if !is_first => {
                    self.at += 1;
                    self.skip_space();
                    if matches!(self.peek(), Some(b']' | b'}')) {
                        return fault(self.at, "a comma before the closing bracket is not allowed");
                    }
                    self.member(is_object, &mut open)?;
                }
                Some(_) if is_first => self.member(is_object, &mut open)?,
                Some(_) => {
                    let closing = if is_object { '}' } else { ']' };
                    return fault(self.at, format!("expected `,` or `{closing}`, found {}", self.found()));
                }
                None => {
                    let what = if is_object { "object" } else { "array" };
                    let opened = Place::of_offset(self.text, self.start_of(container));
                    return fault(
                        self.at,
                        format!("the file ends inside the {what} that was opened on line {}", opened.line),
                    );
                }
            }
        }
        self.skip_space();
        match self.peek() {
            None => Ok(()),
            Some(_) => fault(self.at, format!("expected the end of the file, found {}", self.found())),
        }
    }

    fn kind_at(&self, id: u32) -> Kind {
        self.nodes.get(id as usize).map_or(Kind::Null, |node| node.kind())
    }

    fn start_of(&self, id: u32) -> usize {
        self.nodes.get(id as usize).map_or(0, |node| node.start as usize)
    }

    fn close(&mut self, open: &mut Vec<u32>) {
        self.at += 1;
        if let Some(id) = open.pop() {
            let extent = self.nodes.len() as u32 - id;
            if let Some(node) = self.nodes.get_mut(id as usize) {
                *node = Node::new(node.kind(), node.start, extent);
            }
        }
    }

    fn member(&mut self, is_object: bool, open: &mut Vec<u32>) -> Result<(), Fault> {
        if is_object {
            if self.peek() != Some(b'"') {
                return fault(self.at, format!("expected a key in quotes, found {}", self.found()));
            }
            self.string()?;
            self.skip_space();
            if self.peek() != Some(b':') {
                return fault(self.at, format!("expected `:` after the key, found {}", self.found()));
            }
            self.at += 1;
            self.skip_space();
        }
        self.value(open)
    }

    /// Reads a scalar, or opens a container.
    fn value(&mut self, open: &mut Vec<u32>) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'{') => self.open(Kind::Object, open),
            Some(b'[') => self.open(Kind::Array, open),
            Some(b't') => self.word("true", Kind::True),
            Some(b'f') => self.word("false", Kind::False),
            Some(b'n') => self.word("null", Kind::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'/' | b'#') => fault(self.at, "JSON has no comments"),
            Some(_) => fault(self.at, format!("expected a value, found {}", self.found())),
            None => fault(self.at, "expected a value, but the file ends"),
        }
    }

    fn open(&mut self, kind: Kind, open: &mut Vec<u32>) -> Result<(), Fault> {
        if open.len() >= MAX_DEPTH {
            return fault(self.at, format!("nested more than {MAX_DEPTH} deep"));
        }
        open.push(self.nodes.len() as u32);
        self.nodes.push(Node::new(kind, self.at as u32, 0));
        self.at += 1;
        Ok(())
    }

    fn word(&mut self, word: &str, kind: Kind) -> Result<(), Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return fault(self.at, format!("expected a value, found {}", self.found()));
        }
        self.nodes.push(Node::new(kind, self.at as u32, word.len() as u32));
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        match self.peek() {
            Some(b'0') => {
                self.at += 1;
                if matches!(self.peek(), Some(b'0'..=b'9')) {
                    return fault(start, "a number must not start with 0");
                }
            }
            _ => self.digits("a digit")?,
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits("a digit after the decimal point")?;
        }
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits("a digit in the exponent")?;
        }
        self.nodes.push(Node::new(Kind::Number, start as u32, (self.at - start) as u32));
        Ok(())
    }

    fn digits(&mut self, expected: &str) -> Result<(), Fault> {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == start {
            return fault(start, format!("expected {expected}, found {}", self.found()));
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Fault> {
        self.at += 1;
        let start = self.at;
        let mut kind = Kind::Text;
        loop {
            self.at = plain_until(self.bytes, self.at);
            match self.peek() {
                Some(b'"') => break,
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                Some(0..=0x1f) => {
                    return fault(self.at, "a control character in a string; write it as an escape");
                }
                Some(_) => self.at += 1,
                None => return fault(start - 1, "a string that is not closed"),
            }
        }
        self.nodes.push(Node::new(kind, start as u32, (self.at - start) as u32));
        self.at += 1;
        Ok(())
    }

    fn escape(&mut self) -> Result<(), Fault> {
        match self.bytes.get(self.at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                Ok(())
            }
            Some(b'u') => match self.bytes.get(self.at + 2..self.at + 6) {
                Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => {
                    self.at += 6;
                    Ok(())
                }
                _ => fault(self.at, "`\\u` must be followed by four hexadecimal digits"),
            },
            _ => fault(self.at, "an unknown escape in a string"),
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn found(&self) -> String {
        match self.text.get(self.at..).and_then(|rest| rest.chars().next()) {
            Some(c) => format!("`{}`", c.escape_default()),
            None => "the end of the file".to_owned(),
        }
    }
}

/// The first byte at or after `at` that may be a quote, a backslash or a control character.
fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|chunk| <[u8; 8]>::try_from(chunk).ok()) {
        let word = u64::from_le_bytes(chunk);
        let zero = |x: u64| x.wrapping_sub(ONES) & !x & HIGHS;
        let quote = zero(word ^ (ONES * u64::from(b'"')));
        let slash = zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let hits = quote | slash | control;
        if hits != 0 {
            // The lowest hit is exact; those above it may be carries.
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
        at += 1;
    }
    at
}

/// Resolves the escapes of a string that was read; half a surrogate pair becomes U+FFFD, as in Go.
pub(super) fn unescape(raw: &str) -> String {
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(slash) = rest.find('\\') {
        value.push_str(&rest[..slash]);
        rest = &rest[slash + 1..];
        let mut chars = rest.chars();
        let escape = chars.next();
        rest = chars.as_str();
        match escape {
            Some('b') => value.push('\u{8}'),
            Some('f') => value.push('\u{c}'),
            Some('n') => value.push('\n'),
            Some('r') => value.push('\r'),
            Some('t') => value.push('\t'),
            Some('u') => {
                let (c, after) = unicode_escape(rest);
                value.push(c);
                rest = after;
            }
            Some(c) => value.push(c),
            None => {}
        }
    }
    value.push_str(rest);
    value
}

fn unicode_escape(text: &str) -> (char, &str) {
    let unit = |text: &str| text.get(..4).and_then(|hex| u32::from_str_radix(hex, 16).ok());
    let Some(first) = unit(text) else { return (char::REPLACEMENT_CHARACTER, text) };
    let rest = &text[4..];
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = rest.strip_prefix("\\u").and_then(unit)
        && (0xdc00..0xe000).contains(&second)
    {
        let c = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(c).unwrap_or(char::REPLACEMENT_CHARACTER), &rest[6..]);
    }
    (char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error_of(text: &str) -> (u32, u32, String) {
        let error = parse(text).err().unwrap();
        (error.place.line, error.place.column, error.message)
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let tree = parse(r#" {"a":[null,true,false,-1.5e3,"x\ny"],"b":{}} "#).ok().unwrap();
        let entries: Vec<_> = tree.entries(0).collect();
        assert_eq!(tree.string(entries[0].0), "a");
        let kinds: Vec<_> = tree.elements(entries[0].1).map(|id| tree.kind(id)).collect();
        assert_eq!(kinds, [Kind::Null, Kind::True, Kind::False, Kind::Number, Kind::Escaped]);
        assert_eq!(tree.kind(entries[1].1), Kind::Object);
        assert_eq!(tree.entries(entries[1].1).count(), 0);
    }

    #[test]
    fn escapes_become_what_they_stand_for() {
        let tree = parse(r#""\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\ud800x""#).ok().unwrap();
        assert_eq!(tree.string(0), "\"\\/\u{8}\u{c}\n\r\té😀\u{fffd}x");
    }

    #[test]
    fn strings_end_at_their_quote_wherever_it_falls() {
        for length in 0..40 {
            let inner = "é".repeat(length / 2) + &"x".repeat(length % 2);
            let text = format!("[\"{inner}\",\"{inner}\\n\"]");
            let tree = parse(&text).ok().unwrap();
            let strings: Vec<_> = tree.elements(0).map(|id| tree.string(id).into_owned()).collect();
            assert_eq!(strings, [inner.clone(), inner + "\n"]);
        }
    }

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        for (text, line, column, message) in [
            ("", 1, 1, "expected a value, but the file ends"),
            ("{\n  \"a\": 1,\n}", 3, 1, "a comma before the closing bracket is not allowed"),
            ("{\"a\" 1}", 1, 6, "expected `:` after the key, found `1`"),
            ("{a: 1}", 1, 2, "expected a key in quotes, found `a`"),
            ("[1 2]", 1, 4, "expected `,` or `]`, found `2`"),
            ("[1}", 1, 3, "expected `,` or `]`, found `}`"),
            ("{} x", 1, 4, "expected the end of the file, found `x`"),
            ("// c\n{}", 1, 1, "JSON has no comments"),
            ("{\n\"a\": [", 2, 7, "the file ends inside the array that was opened on line 2"),
            ("\"ab", 1, 1, "a string that is not closed"),
            ("\"a\tb\"", 1, 3, "a control character in a string; write it as an escape"),
            ("\"\\x\"", 1, 2, "an unknown escape in a string"),
            ("01", 1, 1, "a number must not start with 0"),
            ("1.", 1, 3, "expected a digit after the decimal point, found the end of the file"),
            ("-", 1, 2, "expected a digit, found the end of the file"),
            ("nul", 1, 1, "expected a value, found `n`"),
            ("\u{feff}{}", 1, 1, "the file starts with a byte order mark; save it as UTF-8 without one"),
        ] {
            assert_eq!(error_of(text), (line, column, message.to_owned()), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let deep = |n: usize| "[".repeat(n) + &"]".repeat(n);
        assert!(parse(&deep(MAX_DEPTH)).is_ok());
        assert!(parse(&deep(MAX_DEPTH + 1)).is_err());
    }
}
