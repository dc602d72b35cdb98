//! The error for a text that is not JSON, or not JSON that every store can keep.

use std::fmt;

/// Why a text is not JSON that this server accepts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadJson(pub(super) String);

impl BadJson {
    pub(super) fn not_an_object() -> Self {
        Self("must be an object".to_owned())
    }

    pub(in crate::core) fn of_member(key: &str, problem: &dyn fmt::Display) -> Self {
        Self(format!("the key {key:?} {problem}"))
    }
}

impl From<serde_json::Error> for BadJson {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string())
    }
}
