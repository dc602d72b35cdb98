//! Filters: the conditions of a query, and the order in which it sorts.

mod condition;
mod paths;
pub(super) mod scan;
mod sort;
mod value;

use super::document::LiveDocument;
use super::json::Sink as _;
use crate::limits::protocol::QUERY_COMPARISON_OVERHEAD_BYTES;

pub use condition::{Condition, Expression, Operator};
pub(crate) use sort::{OrderedPlace, Sorter};
pub use sort::{Sort, SortPlace};
#[cfg(feature = "postgres")]
pub(crate) use value::Decimal;
pub(crate) use value::Expected;

use condition::Test;
use paths::Paths;

/// The conditions of a query. A filter without conditions matches every document.
///
/// Values are compared by type and objects regardless of the order of their keys. Numbers are compared by their exact
/// decimal value: `1`, `1.0` and `10e-1` are equal, while `1` and `"1"` are not, nor are `12345678901234567890` and
/// `12345678901234567000`. An array also matches if it contains the value. `null` matches `null` and a missing value.
/// [`Operator`] has the other comparisons.
///
/// The paths of all conditions are kept as a tree of keys. So a document is read once to find its values, and then each
/// condition reads its value.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The conditions that every match meets: all of them, except those inside of `or` and `not`.
    required: Vec<Condition>,
    compiled: Compiled,
    paths: Paths,
}

/// An expression with parsed values, and with places in the list of a document's values instead of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Compiled {
    All(Vec<Compiled>),
    Any(Vec<Compiled>),
    Not(Box<Compiled>),
    Id(Test),
    Rev(Test),
    Data(usize, Test),
}

impl Default for Compiled {
    fn default() -> Self {
        Self::All(Vec::new())
    }
}

/// The data of a stored document is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the data of a document is damaged")]
pub struct DamagedData;

impl Filter {
    /// Builds a filter from conditions that must all hold.
    #[must_use]
    pub fn new(conditions: Vec<Condition>) -> Self {
        Self::of(Expression::All(conditions.into_iter().map(Expression::Condition).collect()))
    }

    /// Builds a filter from an expression.
    #[must_use]
    pub fn of(expression: Expression) -> Self {
        let mut paths = Paths::default();
        let mut compiled = Compiled::of(&expression, &mut paths);
        if let Compiled::All(parts) = &mut compiled {
            // Conditions on the key of a document are checked first, because its data need not be read for them.
            parts.sort_by_key(|part| !matches!(part, Compiled::Id(_) | Compiled::Rev(_)));
        }
        let mut required = Vec::new();
        expression.into_required(&mut required);
        Self { required, compiled, paths }
    }

    /// Conditions that every match meets. There may be others.
    #[must_use]
    pub fn required(&self) -> &[Condition] {
        &self.required
    }

    /// Whether it matches every document, because it has no conditions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(&self.compiled, Compiled::All(parts) if parts.is_empty())
    }

    /// Whether a document meets every condition. `_id` and `_rev` are those of the server, not those in `data`.
    ///
    /// # Errors
    /// If the conditions are about the document's data, and it is damaged.
    pub fn matches(&self, document: &LiveDocument) -> Result<bool, DamagedData> {
        self.examine(document).map(|examined| examined.is_match)
    }

    /// The same, with the bytes that were compared.
    ///
    /// # Errors
    /// If the conditions are about the document's data, and it is damaged.
    pub(crate) fn examine(&self, document: &LiveDocument) -> Result<Examined, DamagedData> {
        let mut examination = Examination { filter: self, document, values: None, compared_bytes: 0 };
        let is_match = examination.meets(&self.compiled).ok_or(DamagedData)?;
        Ok(Examined { is_match, compared_bytes: examination.compared_bytes })
    }
}

/// The result of comparing a document with a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Examined {
    pub(crate) is_match: bool,
    /// The bytes of the compared values, each as often as it was compared.
    pub(crate) compared_bytes: usize,
}

impl Compiled {
    fn of(expression: &Expression, paths: &mut Paths) -> Self {
        let mut all = |parts: &[Expression]| parts.iter().map(|part| Self::of(part, paths)).collect();
        match expression {
            Expression::All(parts) => Self::All(all(parts)),
            Expression::Any(parts) => Self::Any(all(parts)),
            Expression::Not(part) => Self::Not(Box::new(Self::of(part, paths))),
            Expression::Condition(condition) => match condition.path() {
                "_id" => Self::Id(condition.test()),
                "_rev" => Self::Rev(condition.test()),
                path => Self::Data(paths.place_of(path), condition.test()),
            },
        }
    }
}

/// A document while it is compared.
struct Examination<'a> {
    filter: &'a Filter,
    document: &'a LiveDocument,
    /// The values at the paths of the filter, once they are needed.
    values: Option<Vec<Option<&'a str>>>,
    compared_bytes: usize,
}

impl Examination<'_> {
    /// Whether the document meets a part of the filter. `None` if its data is damaged.
    fn meets(&mut self, part: &Compiled) -> Option<bool> {
        match part {
            Compiled::All(parts) => {
                for part in parts {
                    if !self.meets(part)? {
                        return Some(false);
                    }
                }
                Some(true)
            }
            Compiled::Any(parts) => {
                for part in parts {
                    if self.meets(part)? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            Compiled::Not(part) => Some(!self.meets(part)?),
            Compiled::Id(test) => {
                let mut id = String::new();
                id.push_string(self.document.key.id.as_str());
                self.accepts(test, Some(&id))
            }
            Compiled::Rev(test) => self.accepts(test, Some(&self.document.rev.to_string())),
            Compiled::Data(place, test) => {
                if self.values.is_none() {
                    self.values = Some(self.filter.paths.values_in(self.document.data.as_str())?);
                }
                let value = *self.values.as_ref()?.get(*place)?;
                self.accepts(test, value)
            }
        }
    }

    fn accepts(&mut self, test: &Test, value: Option<&str>) -> Option<bool> {
        let bytes = value.map_or(0, str::len).saturating_add(QUERY_COMPARISON_OVERHEAD_BYTES);
        self.compared_bytes = self.compared_bytes.saturating_add(bytes.saturating_mul(test.comparisons()));
        test.accepts(value)
    }
}

#[cfg(test)]
mod tests;
