use std::fmt;
use std::path::{Path, PathBuf};

/// Something that is wrong with a configuration, or that its author may want to know.
///
/// Shown as `conf.json:12:9: servers[0].listeners[0].adress: unknown key; did you mean "address"?`, and with
/// `{:#}` followed by its excerpt, if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// JSON path within the file; empty for the whole of it.
    pub path: String,
    /// Line, from 1; 0 if the file could not be read.
    pub line: u32,
    /// Column in characters, from 1; 0 if the file could not be read.
    pub column: u32,
    /// Whether it stops the start.
    pub severity: Severity,
    /// What is wrong, and what was expected.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<String>,
    /// The value around the place that is wrong, where it is a text with parts.
    pub excerpt: Option<Box<Excerpt>>,
}

/// Part of a text, and a place in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Excerpt {
    /// One line of at most about 80 characters; `...` stands for what was cut.
    pub text: String,
    /// The place, in characters from 0.
    pub mark: usize,
}

impl Excerpt {
    /// Characters that are shown on either side of the place.
    const SIDE: usize = 38;

    /// What stands around the byte at `offset`.
    pub(crate) fn around(text: &str, offset: usize) -> Self {
        let offset = (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        let (before, after) = text.split_at(offset);
        let visible = |char: char| if char.is_control() { ' ' } else { char };
        let mut shown: Vec<char> = before.chars().rev().take(Self::SIDE).map(visible).collect();
        if shown.iter().map(|char| char.len_utf8()).sum::<usize>() < before.len() {
            shown.extend("... ".chars().rev());
        }
        let mark = shown.len();
        let mut text: String = shown.into_iter().rev().collect();
        text.extend(after.chars().take(Self::SIDE).map(visible));
        if after.chars().nth(Self::SIDE).is_some() {
            text.push_str(" ...");
        }
        Self { text, mark }
    }
}

impl Problem {
    /// One of a file as a whole.
    pub(crate) fn of_file(file: &Path, severity: Severity, message: String) -> Self {
        Self {
            file: file.to_owned(),
            path: String::new(),
            line: 0,
            column: 0,
            severity,
            message,
            suggestion: None,
            excerpt: None,
        }
    }
}

/// A message with at most 160 characters of what it quotes first, and 80 of what comes last.
pub(crate) fn shortened(message: String) -> String {
    const FIRST: usize = 160;
    const LAST: usize = 80;
    let byte = |place: Option<(usize, char)>| place.map_or(0, |(at, _)| at);
    if message.len() <= FIRST + LAST || message.chars().count() <= FIRST + LAST {
        return message;
    }
    let (first, last) =
        (byte(message.char_indices().nth(FIRST)), byte(message.char_indices().rev().nth(LAST - 1)));
    format!("{} ... {}", &message[..first], &message[last..])
}

/// How bad a [`Problem`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration works, perhaps not as meant.
    Warning,
    /// The configuration is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if self.line > 0 {
            write!(f, "{}:{}:", self.line, self.column)?;
        }
        if !self.path.is_empty() {
            write!(f, " {}:", self.path)?;
        }
        write!(f, " {}", self.message)?;
        if let Some(suggestion) = &self.suggestion {
            write!(f, "; did you mean {suggestion:?}?")?;
        }
        match &self.excerpt {
            Some(excerpt) if f.alternate() => {
                let Excerpt { text, mark } = &**excerpt;
                write!(f, "\n    {text}\n    {:mark$}^", "")
            }
            _ => Ok(()),
        }
    }
}

/// Why a configuration was refused: everything that was found, errors first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Those that stop the start.
    pub fn errors(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Error)
    }

    /// Those that do not.
    pub fn warnings(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter().filter(|problem| problem.severity == Severity::Warning)
    }
}

impl fmt::Display for Problems {
    /// One line each, with its severity, and an excerpt below it where there is one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{}: {problem:#}", problem.severity)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_is_one_short_line_with_the_place_marked() {
        let text = format!("{}é\tFAULT{}", "a".repeat(500), "b".repeat(500));
        let excerpt = Excerpt::around(&text, 503);
        assert!(excerpt.text.contains("aé FAULTbb") && excerpt.text.chars().count() < 90, "{excerpt:?}");
        assert_eq!(excerpt.text.chars().nth(excerpt.mark), Some('F'));
        assert!(excerpt.text.starts_with("... a") && excerpt.text.ends_with("b ..."));
        // Within a character, at the end, and beyond it.
        assert_eq!(Excerpt::around("é", 1), Excerpt { text: "é".to_owned(), mark: 0 });
        assert_eq!(Excerpt::around("(a", 9), Excerpt { text: "(a".to_owned(), mark: 2 });
        assert_eq!(Excerpt::around("", 0), Excerpt { text: String::new(), mark: 0 });
    }

    #[test]
    fn a_message_keeps_its_ends() {
        let message = format!("expected a port, found {:?}: write 80", "é".repeat(5000));
        let short = shortened(message);
        assert!(
            short.starts_with("expected a port, found \"é") && short.ends_with("é\": write 80"),
            "{short}"
        );
        assert!(short.chars().count() < 260);
        assert_eq!(shortened("as it is".to_owned()), "as it is");
    }
}
