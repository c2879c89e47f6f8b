//! Errors that the control plane sees.

use thiserror::Error;

/// Codes of `lkpy.errors.Code` that the engine uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// A parameter cannot be right.
    InvalidArgument,
    /// The id names nothing.
    NotFound,
    /// The object is in a state, or on a worker, that does not allow it.
    FailedPrecondition,
    /// A bound was reached.
    ResourceExhausted,
    /// The engine is closed, its queue is full, or the system refused a resource.
    Unavailable,
    /// A defect of the engine.
    Internal,
}

impl Code {
    /// The code's name on the boundary.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidArgument => "invalid_argument",
            Self::NotFound => "not_found",
            Self::FailedPrecondition => "failed_precondition",
            Self::ResourceExhausted => "resource_exhausted",
            Self::Unavailable => "unavailable",
            Self::Internal => "internal",
        }
    }
}

/// An error with a code and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct EngineError {
    /// What kind of error.
    pub code: Code,
    /// What happened, to what.
    pub message: String,
}

impl EngineError {
    /// An error with `code`.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }
}
