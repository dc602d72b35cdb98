//! Labels: the texts by which rules say who may see a document.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Some labels, each a name and a value with a colon between them, such as `list:42`.
///
/// The labels of a document come from its fields, those of a principal from its claims. A principal may see a document
/// if both have a label in common.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Labels(BTreeSet<String>);

impl Labels {
    /// The label of a name and a value.
    pub(super) fn insert(&mut self, name: &str, value: &str) {
        self.0.insert(format!("{name}:{value}"));
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether both have a label in common.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        let (few, many) = if self.0.len() <= other.0.len() { (self, other) } else { (other, self) };
        few.0.iter().any(|label| many.0.contains(label))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// The labels in their order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl FromIterator<String> for Labels {
    fn from_iter<T: IntoIterator<Item = String>>(labels: T) -> Self {
        Self(labels.into_iter().collect())
    }
}

/// The labels that a document had and no longer has. They are stored with it.
///
/// Their holders may still have the document on their devices, so they are told to remove it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerLabels {
    /// The labels of a deleted document at the time of its deletion. Their holders may see the tombstone.
    pub last: Labels,
    /// The labels that the document had earlier.
    pub earlier: Labels,
}

/// The text of former labels is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no former labels")]
pub struct DamagedLabels;

impl FormerLabels {
    /// The labels after a write. `before` are those that the document had, `after` those that it has now.
    ///
    /// A document that is deleted has none, and `last` keeps those that it had before. If the tombstone is written
    /// again, they stay.
    #[must_use]
    pub fn after_write(&self, before: &Labels, after: &Labels, is_deleted: bool) -> Self {
        if is_deleted {
            let last = if before.is_empty() { self.last.clone() } else { before.clone() };
            let earlier = self.earlier.0.difference(&last.0).cloned().collect();
            return Self { last, earlier };
        }
        let held = [&self.earlier, &self.last, before].into_iter().flat_map(|labels| &labels.0);
        let earlier = held.filter(|label| !after.0.contains(*label)).cloned().collect();
        Self { last: Labels::default(), earlier }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty() && self.earlier.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.last.len() + self.earlier.len()
    }

    /// The text to store, or `None` if there are none.
    ///
    /// # Panics
    /// Never: texts can always be written.
    #[must_use]
    pub fn to_stored(&self) -> Option<String> {
        (!self.is_empty()).then(|| serde_json::to_string(self).expect("labels are texts"))
    }

    /// Reads a text that was stored.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_stored(text: Option<&str>) -> Result<Self, DamagedLabels> {
        text.map_or(Ok(Self::default()), |text| serde_json::from_str(text).map_err(|_| DamagedLabels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Labels {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn former(last: &[&str], earlier: &[&str]) -> FormerLabels {
        FormerLabels { last: labels(last), earlier: labels(earlier) }
    }

    #[test]
    fn a_document_remembers_the_labels_that_it_lost() {
        let (a, b, none) = (labels(&["l:a"]), labels(&["l:b"]), labels(&[]));
        let new = FormerLabels::default().after_write(&none, &a, false);
        assert_eq!(new, former(&[], &[]));
        assert_eq!(new.after_write(&a, &a, false), former(&[], &[]));
        let moved = new.after_write(&a, &b, false);
        assert_eq!(moved, former(&[], &["l:a"]));
        assert_eq!(moved.after_write(&b, &a, false), former(&[], &["l:b"]), "it has the first one again");
        let deleted = moved.after_write(&b, &none, true);
        assert_eq!(deleted, former(&["l:b"], &["l:a"]));
        assert_eq!(deleted.after_write(&none, &none, true), deleted, "a second deletion");
        assert_eq!(deleted.after_write(&none, &a, false), former(&[], &["l:b"]), "it lives again elsewhere");
    }

    #[test]
    fn former_labels_are_stored_as_text() {
        assert_eq!(FormerLabels::default().to_stored(), None);
        assert_eq!(FormerLabels::from_stored(None), Ok(FormerLabels::default()));
        let some = former(&["l:\"1\""], &["owner:é"]);
        assert_eq!(FormerLabels::from_stored(some.to_stored().as_deref()), Ok(some));
        for damaged in ["", "[]", "{}", r#"{"last":[],"earlier":[5]}"#, r#"{"last":[],"earlier":[],"x":1}"#] {
            assert_eq!(FormerLabels::from_stored(Some(damaged)), Err(DamagedLabels), "{damaged}");
        }
    }
}
