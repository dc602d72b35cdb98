//! The faults of a request's fields, and how much of a client's text an error repeats.

use std::fmt::{self, Write as _};

use tracing::Span;

use crate::limits::api::{ERROR_MAX_FAULTS, EXCERPT_MAX_CHARACTERS, LOG_FIELDS_MAX_CHARACTERS};

/// The field of a log span for the names of faulty fields. It is set if the span has it.
const FAULTS_FIELD: &str = "error.fields";

/// The faults of a request's fields. The names of the first ones are kept, and the rest are counted.
#[derive(Debug)]
pub(in crate::api) struct Faults {
    named: Vec<(String, String)>,
    count: usize,
    max_named: usize,
}

impl Default for Faults {
    fn default() -> Self {
        Self::at_most(ERROR_MAX_FAULTS)
    }
}

impl Faults {
    /// No faults yet. The names of the first `max_named` will be kept.
    pub(in crate::api) fn at_most(max_named: usize) -> Self {
        Self { named: Vec::new(), count: 0, max_named }
    }

    pub(in crate::api) fn add(&mut self, field: impl fmt::Display, problem: impl fmt::Display) {
        self.count += 1;
        if self.named.len() < self.max_named {
            self.named.push((field.to_string(), excerpt(&problem.to_string())));
        }
    }

    /// Whether there is none.
    pub(in crate::api) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value that was read, if there is one and the request has no faults.
    ///
    /// # Errors
    /// The faults.
    pub(in crate::api) fn into_result<T>(self, value: Option<T>) -> Result<T, Self> {
        match value {
            Some(value) if self.is_empty() => Ok(value),
            _ => Err(self),
        }
    }

    /// The same names as [`Self::names`], which the log of the request has from now on.
    pub(in crate::api) fn logged_names(&self) -> impl Iterator<Item = &str> {
        let names: Vec<&str> = self.names().collect();
        let names: String = names.join(",").chars().take(LOG_FIELDS_MAX_CHARACTERS).collect();
        // A client may have chosen a part of a name, so it is written in quotes.
        Span::current().record(FAULTS_FIELD, tracing::field::debug(names));
        self.names()
    }

    /// The names of the fields, as far as they are kept. A fault of the whole has no name.
    pub(in crate::api) fn names(&self) -> impl Iterator<Item = &str> {
        self.named.iter().map(|(field, _)| field.as_str()).filter(|field| !field.is_empty())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (field, problem)) in self.named.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let colon = if field.is_empty() { "" } else { ": " };
            write!(formatter, "{separator}{field}{colon}{problem}")?;
        }
        match self.count - self.named.len() {
            0 => Ok(()),
            more => write!(formatter, "; and {more} more"),
        }
    }
}

/// The beginning of a client's text, short enough to be repeated in an error.
pub(in crate::api) fn excerpt(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(EXCERPT_MAX_CHARACTERS).collect();
    if characters.next().is_some() {
        // Writing to a string cannot fail.
        let _ = short.write_char('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_faults_are_named_up_to_the_limit_and_the_rest_counted() {
        let mut faults = Faults::default();
        for index in 0..ERROR_MAX_FAULTS + 3 {
            faults.add(format_args!("f[{index}]"), "is missing");
        }
        let text = faults.to_string();
        assert!(text.starts_with("f[0]: is missing; f[1]: is missing;"), "{text}");
        assert!(text.ends_with("f[19]: is missing; and 3 more"), "{text}");
        assert_eq!(faults.names().count(), ERROR_MAX_FAULTS);
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_what_a_client_sent() {
        assert_eq!(excerpt("short"), "short");
        let long = excerpt(&"é".repeat(1_000_000));
        assert_eq!(long.chars().count(), EXCERPT_MAX_CHARACTERS + 1);
    }
}
