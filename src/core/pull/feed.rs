//! The form in which a pull by a cursor returns changes.

use std::collections::BTreeSet;
use std::collections::btree_set::Iter;

use twox_hash::XxHash64;

use crate::core::names::Collection;
use crate::limits::protocol::{FEED_MAX_PLACES, PULL_MAX_COLLECTIONS};

/// The form in which a pull by a cursor returns changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Feed {
    /// Every operation, in the order of the log. Operations that compaction has removed are replaced by the documents
    /// that they resulted in.
    #[default]
    Operations,
    /// Every document that was changed, once and whole, in the order of the last changes.
    Documents {
        /// The collections whose documents are returned; the place moves over the others. `None` for all collections.
        collections: Option<Collections>,
    },
}

impl Feed {
    /// All documents.
    pub const DOCUMENTS: Self = Self::Documents { collections: None };

    /// The collections to which the feed is limited.
    #[must_use]
    pub fn collections(&self) -> Option<&Collections> {
        match self {
            Self::Operations => None,
            Self::Documents { collections } => collections.as_ref(),
        }
    }

    /// Whether an entry of this collection is part of the feed.
    #[must_use]
    pub fn includes(&self, collection: &Collection) -> bool {
        self.collections().is_none_or(|collections| collections.0.contains(collection))
    }

    /// How many entries a page may have of which a client asked for so many.
    ///
    /// A store may read a page of places for each collection and then choose among them, so pages of many collections
    /// are smaller.
    #[must_use]
    pub fn page_limit(&self, asked: usize) -> usize {
        self.collections().map_or(asked, |collections| asked.min(FEED_MAX_PLACES / collections.0.len()))
    }
}

/// Some collections, at least one and at most [`PULL_MAX_COLLECTIONS`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collections(BTreeSet<Collection>);

/// There are too many collections, or not even one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must have 1 to {PULL_MAX_COLLECTIONS} different names")]
pub struct BadCollections;

impl Collections {
    /// The collections with these names. A name may be there twice.
    ///
    /// # Errors
    /// If there are none or too many.
    pub fn new(names: impl IntoIterator<Item = Collection>) -> Result<Self, BadCollections> {
        let names: BTreeSet<Collection> = names.into_iter().collect();
        if (1..=PULL_MAX_COLLECTIONS).contains(&names.len()) { Ok(Self(names)) } else { Err(BadCollections) }
    }

    /// The collections, each once.
    pub fn iter(&self) -> Iter<'_, Collection> {
        self.0.iter()
    }

    /// A hash of the names. Other collections probably have another one, which is not true of names that were chosen to
    /// have the same.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        // No name contains a control character.
        let names: Vec<&str> = self.0.iter().map(Collection::as_str).collect();
        XxHash64::oneshot(0, names.join("\0").as_bytes())
    }
}

impl<'a> IntoIterator for &'a Collections {
    type Item = &'a Collection;
    type IntoIter = Iter<'a, Collection>;

    fn into_iter(self) -> Iter<'a, Collection> {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collections(names: &[&str]) -> Result<Collections, BadCollections> {
        Collections::new(names.iter().map(|name| Collection::literal(name)))
    }

    #[test]
    fn collections_are_told_apart_by_their_names_in_any_order() {
        let fingerprint = |names: &[&str]| collections(names).expect("some names").fingerprint();
        assert_eq!(fingerprint(&["a", "b"]), fingerprint(&["b", "a", "b"]));
        assert_ne!(fingerprint(&["a", "b"]), fingerprint(&["ab"]));
        assert_ne!(fingerprint(&["a"]), fingerprint(&["a", "b"]));
    }

    #[test]
    fn there_are_one_to_a_hundred_collections_and_many_of_them_have_small_pages() {
        assert_eq!(collections(&[]), Err(BadCollections));
        let names: Vec<String> = (0..=PULL_MAX_COLLECTIONS).map(|number| number.to_string()).collect();
        let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(collections(&names), Err(BadCollections));
        names.pop();
        let feed = |names: &[&str]| Feed::Documents { collections: Some(collections(names).expect("some names")) };
        assert_eq!((feed(&names).page_limit(1_000), feed(&names).page_limit(5)), (200, 5));
        assert_eq!((feed(&["a"]).page_limit(1_000), Feed::DOCUMENTS.page_limit(1_000)), (1_000, 1_000));
    }
}
