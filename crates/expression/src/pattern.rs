//! Regular expressions as configurations write them: RE2 in Go's dialect, for a crate whose dialect
//! differs in a few places.
//!
//! | Go | here |
//! |---|---|
//! | `{` that is no repetition is itself, as in `/users/{id}` | must be escaped |
//! | `\Q...\E` quotes | unknown |
//! | `[` within a class is itself; `&&`, `--`, `~~` mean nothing | nested classes and set operations |
//! | `\<` is `<` | start of a word |
//! | `\d`, `\w`, `\s`, `\b` are ASCII | Unicode |
//! | a byte that is no UTF-8 counts as a character | matches nothing in Unicode mode |
//!
//! The last row matters: `.` must match whatever was percent-encoded, or an encoding would go
//! around the rule. So patterns in ASCII match bytes, and only the others match characters.

use std::{fmt, str::Chars};

use regex::bytes::Regex;

/// Why a text is no regular expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatternError {
    /// Where, in bytes; `None` where it is the whole.
    pub offset: Option<usize>,
    /// Why, in one line.
    pub reason: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

impl std::error::Error for PatternError {}

/// Compiles `pattern`.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, PatternError> {
    let translated = Translator::run(pattern);
    Regex::new(&translated.out).map_err(|error| explain(&translated, &error))
}

/// Says in terms of the text as it was written what is wrong with its translation.
fn explain(translated: &Translator<'_>, error: &regex::Error) -> PatternError {
    use regex_syntax::{Error, ParserBuilder};

    let mut parser = ParserBuilder::new().utf8(false).build();
    let parsed = parser.parse(&translated.out);
    let (start, reason) = match parsed {
        Err(Error::Parse(error)) => (error.span().start.offset, error.kind().to_string()),
        Err(Error::Translate(error)) => (error.span().start.offset, error.kind().to_string()),
        _ => {
            let reason = match error {
                regex::Error::CompiledTooBig(most) => format!("it needs more than {most} bytes of memory"),
                other => other.to_string(),
            };
            return PatternError { offset: None, reason: reason.replace('\n', " ") };
        }
    };
    let piece = translated.pieces.partition_point(|&(out, _)| out <= start);
    let offset = piece.checked_sub(1).map_or(0, |piece| translated.pieces[piece].1);
    PatternError { offset: Some(offset), reason: reason.replace('\n', " ") }
}

/// A pattern on its way into the dialect of the `regex` crates. What is wrong with it stays wrong.
struct Translator<'a> {
    pattern: &'a str,
    rest: Chars<'a>,
    out: String,
    /// Where pieces of `out` begin, and where in the pattern they come from.
    pieces: Vec<(usize, usize)>,
    /// Whether the whole matches bytes, where Perl's classes are ASCII anyway.
    bytes: bool,
}

impl<'a> Translator<'a> {
    fn run(pattern: &'a str) -> Self {
        let bytes = pattern.is_ascii()
            && !pattern.contains("\\p")
            && !pattern.contains("\\P")
            && !pattern.contains("\\x");
        let out = String::with_capacity(pattern.len() + 8);
        let mut translator = Self { pattern, rest: pattern.chars(), out, pieces: Vec::new(), bytes };
        translator.translate();
        translator
    }

    fn translate(&mut self) {
        if self.bytes {
            self.out.push_str("(?-u)");
        }
        while let Some(char) = self.next() {
            match char {
                '\\' => self.escape(),
                '[' => self.class(),
                '{' if !self.is_repetition() => self.out.push_str("\\{"),
                _ => self.out.push(char),
            }
        }
    }

    fn next(&mut self) -> Option<char> {
        self.pieces.push((self.out.len(), self.pattern.len() - self.rest.as_str().len()));
        self.rest.next()
    }

    fn next_if(&mut self, char: char) -> bool {
        let is = self.peek() == Some(char);
        if is {
            self.next();
        }
        is
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    /// Whether `{` begins `{n}`, `{n,}` or `{n,m}`.
    fn is_repetition(&self) -> bool {
        let text: String = self.rest.clone().take_while(|&char| char != '}').take(16).collect();
        let (least, most) = text.split_once(',').unwrap_or((&text, ""));
        let closed = self.rest.clone().nth(text.len()) == Some('}');
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        closed && !least.is_empty() && digits(least) && digits(most)
    }

    fn escape(&mut self) {
        match self.next() {
            Some('Q') => self.quoted(),
            Some(char @ ('<' | '>')) => self.out.push(char),
            Some(char @ ('d' | 'D' | 'w' | 'W' | 's' | 'S' | 'b' | 'B')) if !self.bytes => {
                self.out.push_str("(?-u:\\");
                self.out.push(char);
                self.out.push(')');
            }
            Some(char) => self.out.extend(['\\', char]),
            None => self.out.push('\\'),
        }
    }

    fn quoted(&mut self) {
        while let Some(char) = self.next() {
            if char == '\\' && self.next_if('E') {
                return;
            }
            self.literal(char);
        }
    }

    /// After its `[`.
    fn class(&mut self) {
        self.out.push('[');
        if self.next_if('^') {
            self.out.push('^');
        }
        let mut first = true;
        while let Some(char) = self.next() {
            match char {
                ']' if !first => {
                    self.out.push(']');
                    return;
                }
                '[' if self.peek() == Some(':') => self.posix(),
                '\\' => self.class_escape(),
                // A dash between two items makes a range; at the ends it is itself.
                '-' if !first && self.peek().is_some_and(|next| next != ']' && next != '-') => {
                    self.out.push('-');
                }
                _ => self.literal(char),
            }
            first = false;
        }
    }

    /// `[:name:]`, after its `[`; where it is not closed, the `[` is itself.
    fn posix(&mut self) {
        let name: String =
            self.rest.clone().skip(1).take_while(|char| char.is_ascii_lowercase() || *char == '^').collect();
        let closed = self.rest.clone().skip(1 + name.len()).take(2).eq([':', ']']);
        if closed {
            self.out.push('[');
            self.out.extend(self.rest.by_ref().take(name.len() + 3));
        } else {
            self.literal('[');
        }
    }

    fn class_escape(&mut self) {
        let ascii = match self.next() {
            Some('d') => "0-9",
            Some('D') => "[^0-9]",
            Some('w') => "0-9A-Za-z_",
            Some('W') => "[^0-9A-Za-z_]",
            Some('s') => "\\t\\n\\f\\r ",
            Some('S') => "[^\\t\\n\\f\\r ]",
            Some(char @ ('<' | '>')) => return self.out.push(char),
            Some(char) => return self.out.extend(['\\', char]),
            None => return self.out.push('\\'),
        };
        self.out.push_str(ascii);
    }

    fn literal(&mut self, char: char) {
        if char.is_ascii_punctuation() && !matches!(char, '<' | '>') {
            self.out.push('\\');
        }
        self.out.push(char);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(pattern: &str, text: &[u8]) -> bool {
        compile(pattern).unwrap().is_match(text)
    }

    #[test]
    fn braces_that_repeat_nothing_are_themselves() {
        assert!(matches("^/users/{id}$", b"/users/{id}"));
        assert!(matches("^a{,2}$", b"a{,2}"));
        assert!(matches("^a{2,3}$", b"aa") && !matches("^a{2,3}$", b"aaaa"));
        assert!(matches("^a{2,}$", b"aaaa") && matches("^a{2}$", b"aa"));
        assert!(matches("^{$", b"{"));
    }

    #[test]
    fn quotes_end_or_last_to_the_end() {
        assert!(matches(r"^\Qa.b[\E.$", b"a.b[x") && !matches(r"^\Qa.b\E$", b"axb"));
        assert!(matches(r"^\Qa+", b"a+"));
    }

    #[test]
    fn classes_are_flat() {
        assert!(matches("^[a[b]$", b"[") && matches("^[[]$", b"["));
        assert!(matches("^[a&&b]$", b"&") && matches("^[a&&b]$", b"a"));
        assert!(matches("^[a~~b]$", b"~"));
        assert!(matches("^[]a]$", b"]") && matches("^[^]a]$", b"b"));
        assert!(matches("^[+-]$", b"-") && matches("^[-+]$", b"-") && matches("^[a-c]$", b"b"));
        assert!(matches("^[[:alpha:]_]$", b"x") && matches("^[[:alpha:]_]$", b"_"));
        assert!(matches(r"^[\d\-x]$", b"7") && matches(r"^[\d\-x]$", b"-"));
        assert!(matches(r"^[^\s]$", b"x") && !matches(r"^[^\s]$", b" "));
    }

    #[test]
    fn perl_classes_are_ascii() {
        assert!(!matches(r"\d", "٣".as_bytes()) && !matches(r"é\d", "é٣".as_bytes()));
        assert!(matches(r"é\d", "é3".as_bytes()));
        assert!(matches(r"\<a\>", b"<a>"));
    }

    #[test]
    fn a_dot_matches_bytes_that_are_no_text() {
        assert!(matches("^/a/.*/b$", b"/a/\xff\xfe/b"));
        assert!(matches("^/[^/]+$", b"/\xff"));
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        for pattern in ["(", "[a", "a)", "a)(b", r"\", "*a", "[z-a]"] {
            let error = compile(pattern).unwrap_err();
            assert!(!error.reason.is_empty() && !error.reason.contains('\n'), "{pattern}: {error}");
        }
    }

    #[test]
    fn an_error_names_the_place_in_the_text_as_written() {
        for (pattern, offset) in [
            ("^/a/(b$", 4),
            (r"\Q...\E{id}a)", 13),
            ("^/[a-z&&b]/[z-a]", 12),
            (r"é\d\d\z[", 10),
            ("ab{2,1}", 2),
            ("x(?<n", 5),
        ] {
            let error = compile(pattern).unwrap_err();
            let near = error.offset.is_some_and(|found| found.abs_diff(offset) <= 2);
            assert!(near, "{pattern}: {error:?}");
        }
        let large = compile("(((a{100}){100}){100}){100}").unwrap_err();
        assert!(large.offset.is_none() && large.reason.contains("memory"), "{large:?}");
    }

    proptest::proptest! {
        #[test]
        fn no_pattern_makes_the_translator_panic(pattern in r"\PC{0,20}") {
            let _ = compile(&pattern);
        }

        #[test]
        fn what_is_quoted_matches_itself(text in r"[ -~]{0,20}") {
            proptest::prop_assume!(!text.contains("\\E") && !text.ends_with('\\'));
            let pattern = format!(r"^\Q{text}\E$");
            proptest::prop_assert!(matches(&pattern, text.as_bytes()));
        }
    }
}
