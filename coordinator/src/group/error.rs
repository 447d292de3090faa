//! Why a group refuses an operation: Kafka's code, and a text where the answer has room for one.

use protocol::ErrorCode;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {}", code.name(), message.as_deref().unwrap_or_else(|| code.message()))]
pub struct GroupError {
    /// The error code.
    pub code: ErrorCode,
    /// More than the code's own text, if there is more.
    pub message: Option<String>,
}

impl GroupError {
    /// A refusal that says more than its code.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: Some(message.into()) }
    }

    /// The group does not exist.
    #[must_use]
    pub fn not_found(group_id: &str) -> Self {
        Self::new(ErrorCode::GroupIdNotFound, format!("Group {group_id} not found."))
    }
}

impl From<ErrorCode> for GroupError {
    fn from(code: ErrorCode) -> Self {
        Self { code, message: None }
    }
}
