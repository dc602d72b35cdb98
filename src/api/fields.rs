//! Reading the fields of a request: every fault is noted under its field's name, and reading goes on.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::error::{ApiError, Faults, excerpt};
use crate::core::json::{self, Members};
use crate::core::names::BadName;

/// One object of a request, with the faults that were found so far.
pub(super) struct Fields<'a, 'f> {
    members: Members<'a>,
    prefix: String,
    faults: &'f mut Faults,
}

impl<'a, 'f> Fields<'a, 'f> {
    /// Opens the body of a request.
    ///
    /// # Errors
    /// When it is not a JSON object.
    pub(super) fn of_body(text: &'a str, faults: &'f mut Faults) -> Result<Self, ApiError> {
        let members = Members::parse(text).map_err(|problem| {
            ApiError::bad_request(format!("the body must be a JSON object: {}", excerpt(&problem.to_string())))
        })?;
        Ok(Self { members, prefix: String::new(), faults })
    }

    /// Opens an object inside a request, or notes that it is none.
    pub(super) fn of_object(text: &'a str, name: &str, faults: &'f mut Faults) -> Option<Self> {
        match Members::parse(text) {
            Ok(members) => Some(Self { members, prefix: format!("{name}."), faults }),
            Err(_) => {
                faults.add(name, "must be an object");
                None
            }
        }
    }

    /// The unopened value of a key, if the object has it.
    pub(super) fn raw(&self, key: &str) -> Option<&'a str> {
        self.members.get(key)
    }

    /// All values by their keys; of equal keys the last one.
    pub(super) fn last_of_each(&self) -> BTreeMap<String, &'a str> {
        self.members.iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Reads a value that must be there.
    pub(super) fn required<T, E: Display>(
        &mut self,
        key: &str,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        match self.raw(key) {
            Some(text) => self.noting(key, read(text)),
            None => {
                self.fault(key, "is missing");
                None
            }
        }
    }

    /// Reads a value that may be left out.
    pub(super) fn optional<T, E: Display>(
        &mut self,
        key: &str,
        default: T,
        read: impl FnOnce(&'a str) -> Result<T, E>,
    ) -> Option<T> {
        match self.raw(key) {
            Some(text) => self.noting(key, read(text)),
            None => Some(default),
        }
    }

    /// Notes a fault of one of the fields.
    pub(super) fn fault(&mut self, key: &str, problem: impl Display) {
        let field = self.name_of(key);
        self.faults.add(&field, problem);
    }

    /// The name of a field in errors, and the faults for reading what is inside it.
    pub(super) fn inside(&mut self, key: &str) -> (String, &mut Faults) {
        (self.name_of(key), self.faults)
    }

    fn name_of(&self, key: &str) -> String {
        format!("{}{}", self.prefix, excerpt(key))
    }

    fn noting<T, E: Display>(&mut self, key: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|problem| self.fault(key, problem)).ok()
    }
}

/// Reads a string that is a name.
pub(super) fn name<T>(parse: fn(&str) -> Result<T, BadName>) -> impl Fn(&str) -> Result<T, String> {
    move |text| parse(&string(text)?).map_err(|problem| problem.to_string())
}

/// Reads a string.
pub(super) fn string(text: &str) -> Result<String, String> {
    if !text.starts_with('"') {
        return Err("must be a string".to_owned());
    }
    json::string(text).map(String::from).map_err(|problem| problem.to_string())
}

/// Reads how many rows a page may have: an integer from 1, clamped to `max`.
pub(super) fn limit(max: usize) -> impl Fn(&str) -> Result<usize, &'static str> {
    move |text| {
        if let Ok(limit) = json::integer(text, max as u64) {
            // It is at most `max`, so it fits.
            return if limit == 0 { Err(NO_LIMIT) } else { Ok(usize::try_from(limit).unwrap_or(max)) };
        }
        let number: f64 = serde_json::from_str(text).map_err(|_| NO_LIMIT)?;
        if number >= 1.0 && number.fract() == 0.0 { Ok(max) } else { Err(NO_LIMIT) }
    }
}

const NO_LIMIT: &str = "must be an integer from 1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_an_integer_from_one_by_value_and_clamped() {
        let limit = limit(1_000);
        for (text, rows) in [
            ("1", 1),
            ("5.0", 5),
            ("1e3", 1_000),
            ("1001", 1_000),
            ("1e30", 1_000),
            ("99999999999999999999999", 1_000),
            ("18446744073709551616", 1_000),
        ] {
            assert_eq!(limit(text), Ok(rows), "{text}");
        }
        for bad in ["0", "-1", "-0", "0.5", "1001.5", "\"5\"", "null", "true", "[]", "1e400", "-1e30"] {
            assert_eq!(limit(bad), Err(NO_LIMIT), "{bad}");
        }
    }
}
