//! Texts that are never shown.

pub(super) mod file;

use std::fmt;

use crate::limits::config::SHOWN_VALUE_MAX_BYTES;

/// A text that is never shown in `Debug` or logs.
#[derive(Clone)]
pub struct Secret {
    text: String,
    variable: Option<&'static str>,
}

impl Secret {
    /// The secret in a variable, or in the file that a variable names.
    pub(super) fn new(variable: &'static str, text: String) -> Self {
        Self { text, variable: Some(variable) }
    }

    /// The text itself, which is needed to connect.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The variable to check if the secret is wrong, if it came from one.
    #[must_use]
    pub fn variable(&self) -> Option<&'static str> {
        self.variable
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self { text, variable: None }
    }
}

/// Two secrets are equal if their texts are, whatever their variables.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Secret {}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("[redacted]")
    }
}

/// Whether a value has letters and digits and is neither a number nor a web address. It may then contain a password, if
/// a line was broken in two.
pub(super) fn looks_like_a_password(value: &str) -> bool {
    value.contains(|c: char| c.is_ascii_digit())
        && value.contains(char::is_alphabetic)
        && value.parse::<f64>().is_err()
        && !is_page(value)
}

/// Whether the value of a variable without a secret may contain a connection string or a password. This happens if it
/// was set in the wrong variable, or if two lines were joined.
pub(super) fn may_be_in(value: &str) -> bool {
    value.len() > SHOWN_VALUE_MAX_BYTES && !value.starts_with("arn:")
        || value.contains(['@', '='])
        || value.contains("://") && !is_page(value)
}

fn is_page(value: &str) -> bool {
    value.starts_with("http://") || value.starts_with("https://")
}
