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

use std::{iter::Peekable, str::Chars};

use regex::bytes::Regex;

/// Compiles `pattern`; an error is one line.
///
/// # Errors
/// What is wrong with it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&translate(pattern)).map_err(|error| {
        let text = error.to_string();
        text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned()
    })
}

/// The same pattern in the dialect of the `regex` crates. What is wrong with it stays wrong.
#[must_use]
pub fn translate(pattern: &str) -> String {
    let bytes = pattern.is_ascii()
        && !pattern.contains("\\p")
        && !pattern.contains("\\P")
        && !pattern.contains("\\x");
    let mut translator =
        Translator { rest: pattern.chars().peekable(), out: String::with_capacity(pattern.len() + 8), bytes };
    if bytes {
        translator.out.push_str("(?-u:");
    }
    translator.run();
    if bytes {
        translator.out.push(')');
    }
    translator.out
}

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
    /// Whether the whole matches bytes, where Perl's classes are ASCII anyway.
    bytes: bool,
}

impl Translator<'_> {
    fn run(&mut self) {
        while let Some(char) = self.rest.next() {
            match char {
                '\\' => self.escape(),
                '[' => self.class(),
                '{' if !self.is_repetition() => self.out.push_str("\\{"),
                _ => self.out.push(char),
            }
        }
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
        match self.rest.next() {
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
        while let Some(char) = self.rest.next() {
            if char == '\\' && self.rest.peek() == Some(&'E') {
                self.rest.next();
                return;
            }
            self.literal(char);
        }
    }

    /// After its `[`.
    fn class(&mut self) {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        while let Some(char) = self.rest.next() {
            match char {
                ']' if !first => {
                    self.out.push(']');
                    return;
                }
                '[' if self.rest.peek() == Some(&':') => self.posix(),
                '\\' => self.class_escape(),
                // A dash between two items makes a range; at the ends it is itself.
                '-' if !first && self.rest.peek().is_some_and(|&next| next != ']' && next != '-') => {
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
        let ascii = match self.rest.next() {
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
        for pattern in ["(", "[a", "a)", r"\", "*a", "[z-a]"] {
            let error = compile(pattern).unwrap_err();
            assert!(!error.is_empty() && !error.contains('\n'), "{pattern}: {error}");
        }
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
