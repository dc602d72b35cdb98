//! Conditions: a path, an operator and a value, and how they are put together.

use super::scan::Scanner;
use super::value::{Expected, Rank};
use crate::core::text::Text;

/// Conditions that are put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// All parts must hold. It holds if there are none.
    All(Vec<Expression>),
    /// At least one part must hold.
    Any(Vec<Expression>),
    /// The part must not hold.
    Not(Box<Expression>),
    /// A condition on the value at a path.
    Condition(Condition),
}

impl Expression {
    /// The conditions that hold whenever the expression does.
    pub(super) fn into_required(self, required: &mut Vec<Condition>) {
        match self {
            Self::All(parts) => parts.into_iter().for_each(|part| part.into_required(required)),
            Self::Condition(condition) => required.push(condition),
            Self::Any(_) | Self::Not(_) => {}
        }
    }
}

/// How a value of a document is compared.
///
/// All operators but `Exists` also hold for an array of which one element meets them by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// It equals the value. `null` also equals a missing value.
    Equal,
    /// It equals one of the values in an array.
    In,
    /// It has the type of the value and comes after it. The value is not an object or array.
    Greater,
    /// The same, or it equals the value.
    GreaterOrEqual,
    /// It has the type of the value and comes before it. The value is not an object or array.
    Less,
    /// The same, or it equals the value.
    LessOrEqual,
    /// It exists, even as `null`, if the value is `true`. It does not exist if the value is `false`.
    Exists,
}

/// A path, an operator, and the value that is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    path: String,
    operator: Operator,
    value: Text,
}

impl Condition {
    /// A condition that the value at a path equals this one. The path has the keys of nested objects with dots between
    /// them.
    ///
    /// `value` is the text of a JSON value that [`crate::core::json::check`] has accepted. Any other text matches
    /// nothing.
    #[must_use]
    pub fn new(path: &str, value: &str) -> Self {
        Self::with(path, Operator::Equal, value)
    }

    /// A condition with any operator. A value that the operator does not have matches nothing.
    #[must_use]
    pub fn with(path: &str, operator: Operator, value: &str) -> Self {
        Self { path: path.to_owned(), operator, value: value.into() }
    }

    /// The keys of nested objects with dots between them.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How the value at the path is compared.
    #[must_use]
    pub fn operator(&self) -> Operator {
        self.operator
    }

    /// The text of the value that is compared.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The condition with its value parsed.
    pub(super) fn test(&self) -> Test {
        let order = |relation| match Rank::of(&self.value) {
            None | Some(Rank::Object | Rank::Array) => Test::Nothing,
            Some(than) => Test::Order { relation, than },
        };
        match self.operator {
            Operator::Equal => Test::Equal(Expected::parse(&self.value)),
            Operator::In => OneOf::parse(&self.value).map_or(Test::Nothing, Test::OneOf),
            Operator::Greater => order(Relation { less: false, equal: false }),
            Operator::GreaterOrEqual => order(Relation { less: false, equal: true }),
            Operator::Less => order(Relation { less: true, equal: false }),
            Operator::LessOrEqual => order(Relation { less: true, equal: true }),
            Operator::Exists => match Rank::of(&self.value) {
                Some(Rank::Bool(is_wanted)) => Test::Exists(is_wanted),
                _ => Test::Nothing,
            },
        }
    }
}

/// A condition with its value parsed, so that many others can be compared with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Test {
    Equal(Expected),
    OneOf(OneOf),
    Order { relation: Relation, than: Rank },
    Exists(bool),
    Nothing,
}

/// Which values an operator of order accepts: smaller or greater ones, and perhaps equal ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Relation {
    less: bool,
    equal: bool,
}

/// A list of values. Scalars are searched by their order, and the others one by one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OneOf {
    ranks: Vec<Rank>,
    composites: Vec<Expected>,
}

impl Test {
    /// How often a value is read at most for the test, more or less.
    pub(super) fn comparisons(&self) -> usize {
        match self {
            Self::OneOf(list) => list.composites.len().saturating_add(1),
            Self::Equal(_) | Self::Order { .. } => 1,
            Self::Exists(_) | Self::Nothing => 0,
        }
    }

    /// Whether a value, or a missing one, passes. `None` if the value is damaged.
    pub(super) fn accepts(&self, value: Option<&str>) -> Option<bool> {
        match (self, value) {
            (Self::Nothing, _) | (Self::Order { .. }, None) => Some(false),
            (Self::Exists(is_wanted), value) => Some(value.is_some() == *is_wanted),
            (Self::Equal(expected), None) => Some(*expected == Expected::Null),
            (Self::Equal(expected), Some(value)) => expected.is_at(&mut Scanner::new(value)),
            (Self::OneOf(list), None) => Some(list.ranks.first() == Some(&Rank::Null)),
            (Self::OneOf(list), Some(value)) => any_value(value, |value| list.has(value)),
            (Self::Order { relation, than }, Some(value)) => any_value(value, |value| {
                let rank = Rank::of(value)?;
                Some(rank.has_type_of(than) && relation.accepts(&rank, than))
            }),
        }
    }
}

impl Relation {
    fn accepts(self, value: &Rank, than: &Rank) -> bool {
        match value.cmp(than) {
            std::cmp::Ordering::Equal => self.equal,
            std::cmp::Ordering::Less => self.less,
            std::cmp::Ordering::Greater => !self.less,
        }
    }
}

impl OneOf {
    fn parse(text: &str) -> Option<Self> {
        let mut list = Self::default();
        let mut scanner = Scanner::new(text);
        scanner.elements(|scanner, _| {
            let begin = scanner.clone();
            scanner.skip()?;
            let value = begin.text_until(scanner);
            match Rank::of(value)? {
                Rank::Object | Rank::Array => list.composites.push(Expected::parse(value)),
                rank => list.ranks.push(rank),
            }
            Some(())
        })?;
        list.ranks.sort_unstable();
        Some(list)
    }

    fn has(&self, value: &str) -> Option<bool> {
        match Rank::of(value)? {
            Rank::Object | Rank::Array => {
                for composite in &self.composites {
                    if composite.is_next(&mut Scanner::new(value))? {
                        return Some(true);
                    }
                }
                Some(false)
            }
            rank => Some(self.ranks.binary_search(&rank).is_ok()),
        }
    }
}

/// Whether a value passes a test, or one of its elements if it is an array.
fn any_value(value: &str, mut passes: impl FnMut(&str) -> Option<bool>) -> Option<bool> {
    if passes(value)? {
        return Some(true);
    }
    let mut scanner = Scanner::new(value);
    let mut is_found = false;
    if scanner.peek()? == b'[' {
        scanner.elements(|scanner, _| {
            scanner.peek()?;
            let begin = scanner.clone();
            scanner.skip()?;
            is_found = is_found || passes(begin.text_until(scanner))?;
            Some(())
        })?;
    }
    Some(is_found)
}
