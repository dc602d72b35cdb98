//! Reads the fields of a request. A fault is recorded under its field's name, and reading continues.

use std::borrow::Cow;
use std::fmt::{self, Display};

use super::error::{ApiError, Faults, excerpt};
use crate::core::json::{self, BadJson, List, Picked};
use crate::core::names::{BadName, ClientId};
use crate::core::text::{Text, part_of};

/// The path of a field in a request, such as `operations[3].data`. Its text is made only if there is a fault.
#[derive(Clone, Copy)]
pub(super) struct Path<'p> {
    parent: Option<&'p Path<'p>>,
    part: Part<'p>,
}

#[derive(Clone, Copy)]
enum Part<'p> {
    Body,
    Key(&'p str),
    Index(usize),
}

impl<'p> Path<'p> {
    /// The path of the body itself.
    pub(super) const BODY: Self = Self { parent: None, part: Part::Body };

    /// The path of a member of this object.
    pub(super) fn key(&'p self, key: &'p str) -> Self {
        Self { parent: Some(self), part: Part::Key(key) }
    }

    /// The path of an element of this array.
    pub(super) fn index(&'p self, index: usize) -> Self {
        Self { parent: Some(self), part: Part::Index(index) }
    }
}

impl Display for Path<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_at_top = self.parent.is_none_or(|parent| matches!(parent.part, Part::Body));
        if let Some(parent) = self.parent {
            write!(formatter, "{parent}")?;
        }
        match self.part {
            Part::Body => Ok(()),
            Part::Key(key) if is_at_top => formatter.write_str(&excerpt(key)),
            Part::Key(key) => write!(formatter, ".{}", excerpt(key)),
            Part::Index(index) => write!(formatter, "[{index}]"),
        }
    }
}

/// Some members of an object in a request, and the faults that were found so far.
pub(super) struct Fields<'a, 'f, const N: usize> {
    members: Picked<'a, N>,
    path: Path<'f>,
    faults: &'f mut Faults,
}

impl<'a, 'f, const N: usize> Fields<'a, 'f, N> {
    /// Parses the body of a request and keeps its members with these keys.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(super) fn of_body(
        text: &'a str,
        keys: &'static [&'static str; N],
        faults: &'f mut Faults,
    ) -> Result<Self, ApiError> {
        let members = Picked::parse(text, keys).map_err(|problem| not_an_object(&problem))?;
        Ok(Self { members, path: Path::BODY, faults })
    }

    /// Parses the body of a request, and keeps its members with these keys and one of its arrays.
    ///
    /// # Errors
    /// If it is not a JSON object.
    pub(super) fn of_body_with_list(
        text: &'a str,
        keys: &'static [&'static str; N],
        list_key: &'static str,
        max: usize,
        faults: &'f mut Faults,
    ) -> Result<(Self, List<'a>), ApiError> {
        let found = json::pick_with_list(text, keys, list_key, max);
        let (members, list) = found.map_err(|problem| not_an_object(&problem))?;
        Ok((Self { members, path: Path::BODY, faults }, list))
    }

    /// The elements of a list that is required, which are called `name` if there are more than `max`.
    pub(super) fn elements(&mut self, key: &str, list: List<'a>, (max, name): (usize, &str)) -> Option<Vec<&'a str>> {
        match list {
            List::Elements(elements) => return Some(elements),
            List::TooMany => self.fault(key, format_args!("must have at most {max} {name}")),
            List::NotAnArray => self.fault(key, "must be an array"),
            List::Missing => self.fault(key, "is missing"),
        }
        None
    }

    /// The names in a list of at most `max` names.
    pub(super) fn names<T>(
        &mut self,
        key: &str,
        list: List<'a>,
        max: usize,
        parse: fn(&str) -> Result<T, BadName>,
    ) -> Option<Vec<T>> {
        let texts = self.elements(key, list, (max, "names"))?;
        let path = self.path.key(key);
        let names = texts.into_iter().enumerate().map(|(index, text)| {
            let name = name(parse)(text);
            name.map_err(|problem| self.faults.add(path.index(index), problem)).ok()
        });
        // Every faulty name is found, not only the first one.
        let names: Vec<Option<T>> = names.collect();
        names.into_iter().collect()
    }

    /// Parses an object inside a request, or records a fault if it is not one.
    pub(super) fn of_object(
        text: &'a str,
        keys: &'static [&'static str; N],
        path: Path<'f>,
        faults: &'f mut Faults,
    ) -> Option<Self> {
        match Picked::parse(text, keys) {
            Ok(members) => Some(Self { members, path, faults }),
            Err(_) => {
                faults.add(path, "must be an object");
                None
            }
        }
    }

    /// The unparsed value of a key, if the object has it.
    pub(super) fn raw(&self, key: &str) -> Option<&'a str> {
        self.members.get(key)
    }

    /// Reads a value that is required.
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

    /// Reads a value that is optional.
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

    /// Reads a value that is required. `read` records the faults inside it.
    pub(super) fn required_inside<T>(
        &mut self,
        key: &str,
        read: impl FnOnce(&'a str, Path<'_>, &mut Faults) -> Option<T>,
    ) -> Option<T> {
        match self.raw(key) {
            Some(text) => read(text, self.path.key(key), self.faults),
            None => {
                self.fault(key, "is missing");
                None
            }
        }
    }

    /// The value of a check, or a fault.
    pub(super) fn checked<T, E: Display>(&mut self, key: &str, value: Result<T, E>) -> Option<T> {
        self.noting(key, value)
    }

    /// Records a fault.
    pub(super) fn fault(&mut self, key: &str, problem: impl Display) {
        self.faults.add(self.path.key(key), problem);
    }

    fn noting<T, E: Display>(&mut self, key: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|problem| self.fault(key, problem)).ok()
    }
}

fn not_an_object(problem: &BadJson) -> ApiError {
    ApiError::bad_request(format!("the body must be a JSON object: {}", excerpt(&problem.to_string())))
}

/// Reads a string that is a name.
pub(super) fn name<T>(parse: fn(&str) -> Result<T, BadName>) -> impl Fn(&str) -> Result<T, String> {
    move |text| parse(&string(text)?).map_err(|problem| problem.to_string())
}

/// A client id of a request, which is not one of the server's own.
pub(super) fn not_of_server(client_id: ClientId) -> Result<ClientId, String> {
    if client_id.is_server() { Err("is reserved for the server".to_owned()) } else { Ok(client_id) }
}

/// Reads a string that is a name. It shares the memory of the body if it has no escapes.
pub(super) fn name_in<T: TryFrom<Text, Error = BadName>>(body: &Text) -> impl Fn(&str) -> Result<T, String> {
    |text| T::try_from(part_of(body, string(text)?)).map_err(|problem| problem.to_string())
}

/// Reads a string.
pub(super) fn string(text: &str) -> Result<Cow<'_, str>, String> {
    if !text.starts_with('"') {
        return Err("must be a string".to_owned());
    }
    json::string(text).map_err(|problem| problem.to_string())
}

/// Reads `true` or `false`.
pub(super) fn boolean(text: &str) -> Result<bool, &'static str> {
    match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err("must be true or false"),
    }
}

/// Reads the limit for the rows of a page: an integer from 1, clamped to `max`.
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
    fn a_path_names_a_field_from_the_body_on() {
        let operations = Path::BODY.key("operations");
        let operation = operations.index(3);
        let clock = operation.key("vectorClock");
        assert_eq!(clock.key("a").to_string(), "operations[3].vectorClock.a");
        assert_eq!((Path::BODY.to_string(), operation.to_string()), (String::new(), "operations[3]".to_owned()));
    }

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
