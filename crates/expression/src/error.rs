/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at column {column}: {reason}")]
pub struct CompileError {
    /// Where, counted in bytes from 1.
    pub column: usize,
    /// Why.
    pub reason: String,
}

impl CompileError {
    pub(crate) fn at(offset: usize, reason: impl Into<String>) -> Self {
        Self { column: offset + 1, reason: reason.into() }
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
