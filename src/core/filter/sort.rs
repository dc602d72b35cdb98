//! The order in which a query sorts documents.

use std::cmp::{Ordering, Reverse};
use std::fmt;

use super::paths::Paths;
use super::value::Rank;
use crate::core::cursor::NotACursor;
use crate::core::document::LiveDocument;
use crate::core::json;
use crate::core::numbers::Seq;
use crate::limits::protocol::{INTEGER_MAX, SORT_VALUE_MAX_BYTES};

/// An order by the value at a path.
///
/// The types come in this order: `null` and missing values, numbers, texts, objects, arrays, booleans. Numbers are
/// compared by their exact value, texts by their characters. All objects are equal to each other here, and so are all
/// arrays. A text is compared by its first [`SORT_VALUE_MAX_BYTES`], and a number by as many digits. Equal documents
/// come in the order of their last changes, newest first, in either direction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sort {
    /// The keys of nested objects with dots between them.
    pub path: String,
    /// Whether the greatest value comes first.
    pub is_descending: bool,
    /// The page begins behind this place.
    pub after: Option<SortPlace>,
}

/// The place of a document in an order: its value, and its sequence number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortPlace {
    rank: Rank,
    seq: Seq,
}

impl SortPlace {
    /// Reads the text that a client sent.
    ///
    /// # Errors
    /// If it is not a text that `Display` writes.
    pub fn parse(text: &str) -> Result<Self, NotACursor> {
        let (seq, value) = text.strip_prefix("o.").and_then(|rest| rest.split_once('.')).ok_or(NotACursor)?;
        let seq = u64::from_str_radix(seq, 16).map_err(|_| NotACursor)?;
        json::check(value).map_err(|_| NotACursor)?;
        let rank = Rank::of(value).ok_or(NotACursor)?;
        let place = Self { rank: rank.shortened(SORT_VALUE_MAX_BYTES), seq: Seq::new(seq) };
        if seq <= INTEGER_MAX && place.to_string() == text { Ok(place) } else { Err(NotACursor) }
    }
}

impl fmt::Display for SortPlace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "o.{:x}.{}", self.seq, self.rank.to_json())
    }
}

/// Finds the places of documents in an order.
#[derive(Debug)]
pub(crate) struct Sorter {
    paths: Paths,
    key: Key,
    is_descending: bool,
    after: Option<OrderedPlace>,
}

#[derive(Debug)]
enum Key {
    Id,
    Rev,
    Data,
}

/// A place that is compared in the direction of its order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OrderedPlace {
    place: SortPlace,
    is_descending: bool,
}

impl Sorter {
    pub(crate) fn new(sort: &Sort) -> Self {
        let mut paths = Paths::default();
        let key = match sort.path.as_str() {
            "_id" => Key::Id,
            "_rev" => Key::Rev,
            path => {
                paths.place_of(path);
                Key::Data
            }
        };
        let is_descending = sort.is_descending;
        let after = sort.after.clone().map(|place| OrderedPlace { place, is_descending });
        Self { paths, key, is_descending, after }
    }

    /// Whether the page begins before a place.
    pub(crate) fn begins_before(&self, place: &OrderedPlace) -> bool {
        self.after.as_ref().is_none_or(|after| place > after)
    }

    /// The place of a document. `None` if its data is damaged.
    pub(crate) fn place_of(&self, document: &LiveDocument) -> Option<OrderedPlace> {
        let rank = match self.key {
            Key::Id => Rank::Text(document.key.id.as_str().to_owned()),
            Key::Rev => Rank::of(&document.rev.to_string())?,
            Key::Data => match self.paths.values_in(document.data.as_str())?.first()? {
                Some(value) => Rank::of(value)?,
                None => Rank::Null,
            },
        };
        let place = SortPlace { rank: rank.shortened(SORT_VALUE_MAX_BYTES), seq: document.seq };
        Some(OrderedPlace { place, is_descending: self.is_descending })
    }
}

impl OrderedPlace {
    pub(crate) fn into_place(self) -> SortPlace {
        self.place
    }
}

impl Ord for OrderedPlace {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_value = self.place.rank.cmp(&other.place.rank);
        let by_value = if self.is_descending { by_value.reverse() } else { by_value };
        by_value.then_with(|| Reverse(self.place.seq).cmp(&Reverse(other.place.seq)))
    }
}

impl PartialOrd for OrderedPlace {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_was_written_and_nothing_else_is() {
        for text in ["o.1.null", "o.ff.0", "o.1.-12e-3", "o.1.\"a.b\\n\"", "o.1.{}", "o.1.[]", "o.1.true"] {
            assert_eq!(SortPlace::parse(text).map(|place| place.to_string()), Ok(text.to_owned()), "{text}");
        }
        let long = format!("o.1.\"{}\"", "x".repeat(SORT_VALUE_MAX_BYTES + 1));
        for text in
            ["", "o.", "o.1", "o.1.", "o.01.null", "o.1.1", "o.1.10e0", "o.1.[1]", "o.1. null", "q.1", "o.1.\"", &long]
        {
            assert_eq!(SortPlace::parse(text), Err(NotACursor), "{text}");
        }
        assert_eq!(SortPlace::parse("o.20000000000000.null"), Err(NotACursor), "beyond the greatest number");
    }

    #[test]
    fn long_values_are_compared_by_their_beginning() {
        let rank = |value: &str| Rank::of(value).expect("a value").shortened(SORT_VALUE_MAX_BYTES);
        let text = |last: &str| format!("\"{}{last}\"", "é".repeat(SORT_VALUE_MAX_BYTES / 2));
        assert_eq!(rank(&text("a")), rank(&text("b")));
        let number = |last: &str| format!("{}{last}", "1".repeat(SORT_VALUE_MAX_BYTES));
        assert_eq!(rank(&number("1")), rank(&number("2")));
        assert!(rank(&number("")) < rank(&number("1")), "a digit more is ten times as much");
        assert!(rank(&format!("-{}", number("1"))) < rank(&format!("-{}", number(""))));
    }
}
