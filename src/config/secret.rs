//! Texts that are never shown.

use std::fmt;

/// A text that never shows in `Debug` or logs.
#[derive(Clone)]
pub struct Secret {
    text: String,
    variable: Option<&'static str>,
}

impl Secret {
    /// The secret that a variable has, or that stands in the file which a variable names.
    pub(super) fn new(variable: &'static str, text: String) -> Self {
        Self { text, variable: Some(variable) }
    }

    /// The text, to connect with.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// The variable to look at when it is wrong, if it came from one.
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

/// Secrets with the same text are the same, wherever they come from.
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

/// Longest value of a variable that an error repeats, in bytes.
const SHOWN_MAX_BYTES: usize = 64;

/// Whether a value has letters and digits and is neither a number nor a web page, so that it may have a password in it:
/// the rest of a line that was broken in two.
pub(super) fn looks_like_a_password(value: &str) -> bool {
    value.contains(|c: char| c.is_ascii_digit())
        && value.contains(char::is_alphabetic)
        && value.parse::<f64>().is_err()
        && !is_page(value)
}

/// Whether a value that is no secret by its name may have a connection string or a password in it, because it was put
/// into the wrong variable or two lines became one.
pub(super) fn may_be_in(value: &str) -> bool {
    value.len() > SHOWN_MAX_BYTES && !value.starts_with("arn:")
        || value.contains(['@', '='])
        || value.contains("://") && !is_page(value)
}

fn is_page(value: &str) -> bool {
    value.starts_with("http://") || value.starts_with("https://")
}
