use std::fmt;

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError {
    /// Where, counted in bytes from 1.
    pub column: usize,
    /// Why.
    pub reason: String,
    /// What was probably meant in the place of a name that there is not.
    pub meant: Option<&'static str>,
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at column {}: {}", self.column, self.reason)?;
        match self.meant {
            Some(meant) => write!(f, "; did you mean {meant}?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for CompileError {}

impl CompileError {
    pub(crate) fn at(offset: usize, reason: impl Into<String>) -> Self {
        Self { column: offset + 1, reason: reason.into(), meant: None }
    }

    pub(crate) fn or_meant(self, meant: Option<&'static str>) -> Self {
        Self { meant, ..self }
    }
}

/// Why an expression has no value for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A map does not have the key.
    #[error("there is no such key")]
    MissingKey,
    /// A list is shorter.
    #[error("there is no such place")]
    OutOfRange,
    /// A number is too large.
    #[error("the number is too large")]
    Overflow,
    /// Something was divided by 0.
    #[error("division by 0")]
    DivisionByZero,
    /// A text is not what it should be turned into.
    #[error("the text cannot be converted")]
    Conversion,
    /// A text is no regular expression.
    #[error("not a regular expression")]
    Pattern,
}
