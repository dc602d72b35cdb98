//! Labels: the texts by which rules say who may see a document.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::core::numbers::Seq;

/// Replaces a text by the label of a name and a value.
pub(super) fn write_label(text: &mut String, name: &str, value: &str) {
    text.clear();
    text.extend([name, ":", value]);
}

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
        let mut label = String::with_capacity(name.len() + 1 + value.len());
        write_label(&mut label, name, value);
        self.0.insert(label);
    }

    pub(super) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    /// Whether there is a label of this name.
    pub(super) fn have(&self, name: &str) -> bool {
        self.0.iter().any(|label| label.strip_prefix(name).is_some_and(|value| value.starts_with(':')))
    }

    pub(super) fn contain(&self, label: &str) -> bool {
        self.0.contains(label)
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
/// Their holders may still have the document on their devices, so they are told to remove it. This is told only to
/// devices that were last in sync before the label was lost. Others never had the document, and learn nothing of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FormerLabels {
    /// The labels of a deleted document at the time of its deletion. Their holders may see the tombstone.
    last: Labels,
    /// The labels that were lost with the write that stored this.
    earlier: Labels,
    /// The labels that were lost before, each with a sequence number: it was lost there or sooner.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    placed: BTreeMap<String, u64>,
    /// The sequence number of the write that stored this, if it was read from a store.
    #[serde(skip)]
    stored_at: Option<Seq>,
}

/// The text of former labels is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("no former labels")]
pub struct DamagedLabels;

impl FormerLabels {
    /// The labels after a write. `before` are those that the document had, or `None` if there was no document or a
    /// tombstone. `after` are those that it has now, or `None` for a tombstone.
    ///
    /// The last labels of a document that is deleted are those that it had before. If the tombstone is written again,
    /// they stay.
    #[must_use]
    pub fn after_write(&self, before: Option<&Labels>, after: Option<&Labels>) -> Self {
        let (mut earlier, mut placed) = (self.earlier.clone(), self.placed.clone());
        if let Some(seq) = self.stored_at {
            // The sequence number of the new write is not known yet, but the one of the last write is.
            placed.extend(std::mem::take(&mut earlier.0).into_iter().map(|label| (label, seq.get())));
        }
        let last = match (before, after) {
            (None, None) => self.last.clone(),
            (Some(before), None) => before.clone(),
            (_, Some(_)) => Labels::default(),
        };
        // A document that was written without rules for a while may still have the last labels of its tombstone.
        for labels in [Some(&self.last), before].into_iter().flatten() {
            earlier.extend(labels.clone());
        }
        let held = after.unwrap_or(&last);
        earlier.0.retain(|label| !held.0.contains(label));
        placed.retain(|label, _| !held.0.contains(label) && !earlier.0.contains(label));
        Self { last, earlier, placed, stored_at: None }
    }

    /// Whether a holder of some labels may see the tombstone.
    pub(super) fn show_tombstone_to(&self, labels: &Labels) -> bool {
        self.last.intersects(labels)
    }

    /// Whether the document has lost one of some labels after a place, or perhaps has.
    pub(super) fn lost_after(&self, place: Seq, labels: &Labels) -> bool {
        let was_lately = self.stored_at.is_none_or(|seq| seq > place) && self.earlier.intersects(labels);
        let is_lost = |label: &String, seq: u64| seq > place.get() && labels.0.contains(label);
        was_lately || self.placed.iter().any(|(label, seq)| is_lost(label, *seq))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.last.is_empty() && self.lost_len() == 0
    }

    /// How many there are, without those of the document at the time of its deletion.
    #[must_use]
    pub fn lost_len(&self) -> usize {
        self.earlier.len() + self.placed.len()
    }

    /// How many labels the document had at the time of its deletion.
    #[must_use]
    pub(crate) fn last_len(&self) -> usize {
        self.last.len()
    }

    /// The text to store, or `None` if there are none.
    ///
    /// # Panics
    /// Never: texts can always be written.
    #[must_use]
    pub fn to_stored(&self) -> Option<String> {
        (!self.is_empty()).then(|| serde_json::to_string(self).expect("labels are texts"))
    }

    /// Reads a text that was stored with a document. `seq` is the sequence number of the document's last operation.
    ///
    /// # Errors
    /// If it is damaged.
    pub fn from_stored(text: Option<&str>, seq: Seq) -> Result<Self, DamagedLabels> {
        let Some(text) = text else { return Ok(Self::default()) };
        let read: Self = serde_json::from_str(text).map_err(|_| DamagedLabels)?;
        Ok(read.stored_at(seq))
    }

    /// The labels that a document takes along into another log. Its readers begin there with nothing, so nobody has to
    /// be told of a label that was lost before. The labels of a tombstone still say who may see it.
    #[must_use]
    pub(crate) fn in_another_log(self) -> Self {
        Self { last: self.last, ..Self::default() }
    }

    /// The same, read from a store where the last operation of the document has this sequence number.
    #[must_use]
    pub(crate) fn stored_at(self, seq: Seq) -> Self {
        let stored_at = (!self.is_empty()).then_some(seq);
        Self { stored_at, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(texts: &[&str]) -> Labels {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn former(last: &[&str], earlier: &[&str], placed: &[(&str, u64)]) -> FormerLabels {
        let placed = placed.iter().map(|(label, seq)| ((*label).to_owned(), *seq)).collect();
        FormerLabels { last: labels(last), earlier: labels(earlier), placed, stored_at: None }
    }

    #[test]
    fn a_document_remembers_the_labels_that_it_lost() {
        let (a, b) = (&labels(&["l:a"]), &labels(&["l:b"]));
        let new = FormerLabels::default().after_write(None, Some(a));
        assert_eq!(new, former(&[], &[], &[]));
        assert_eq!(new.after_write(Some(a), Some(a)), former(&[], &[], &[]));
        let moved = new.after_write(Some(a), Some(b));
        assert_eq!(moved, former(&[], &["l:a"], &[]));
        assert_eq!(moved.after_write(Some(b), Some(a)), former(&[], &["l:b"], &[]), "it has the first one again");
        let deleted = moved.after_write(Some(b), None);
        assert_eq!(deleted, former(&["l:b"], &["l:a"], &[]));
        assert_eq!(deleted.after_write(None, None), deleted, "a second deletion");
        assert_eq!(deleted.after_write(None, Some(a)), former(&[], &["l:b"], &[]), "it lives again elsewhere");
    }

    #[test]
    fn a_tombstone_has_the_labels_of_its_own_deletion() {
        // While there were no rules, the document was created again and its labels were not kept.
        let stale = former(&["l:a"], &[], &[]).stored_at(Seq::new(3));
        assert_eq!(stale.after_write(Some(&labels(&[])), None), former(&[], &["l:a"], &[]));
        assert_eq!(stale.after_write(Some(&labels(&["l:b"])), None), former(&["l:b"], &["l:a"], &[]));
    }

    #[test]
    fn a_label_that_was_lost_keeps_the_place_where_it_was_lost() {
        let (a, b) = (&labels(&["l:a"]), &labels(&["l:b"]));
        let moved = former(&[], &["l:a"], &[]).stored_at(Seq::new(5));
        let changed = moved.after_write(Some(b), Some(b));
        assert_eq!(changed, former(&[], &[], &[("l:a", 5)]));
        assert_eq!(changed.clone().stored_at(Seq::new(9)).after_write(Some(b), Some(b)), changed, "nothing new");
        let deleted = changed.clone().stored_at(Seq::new(9)).after_write(Some(b), None);
        assert_eq!(deleted, former(&["l:b"], &[], &[("l:a", 5)]));
        let back = deleted.stored_at(Seq::new(11)).after_write(None, Some(a));
        assert_eq!(back, former(&[], &["l:b"], &[]));
        let again = back.stored_at(Seq::new(12)).after_write(Some(a), Some(&labels(&[])));
        assert_eq!(again, former(&[], &["l:a"], &[("l:b", 12)]));
    }

    #[test]
    fn a_label_is_lost_for_devices_that_were_in_sync_before() {
        let (a, b) = (labels(&["l:a", "l:x"]), labels(&["l:b"]));
        let former = former(&[], &["l:a"], &[("l:b", 5)]).stored_at(Seq::new(9));
        let lost = |place: u64, labels: &Labels| former.lost_after(Seq::new(place), labels);
        assert_eq!([4, 5, 8, 9].map(|place| lost(place, &a)), [true, true, true, false]);
        assert_eq!([4, 5, 8, 9].map(|place| lost(place, &b)), [true, false, false, false]);
        assert!(!lost(0, &labels(&["l:x"])));
    }

    #[test]
    fn former_labels_are_stored_as_text() {
        let read = |text: Option<&str>| FormerLabels::from_stored(text, Seq::new(7));
        assert_eq!(FormerLabels::default().to_stored(), None);
        assert_eq!(read(None), Ok(FormerLabels::default()));
        for some in [former(&["l:\"1\""], &["owner:é"], &[]), former(&[], &[], &[("l:a", 3)])] {
            assert_eq!(read(some.to_stored().as_deref()), Ok(some.stored_at(Seq::new(7))));
        }
        assert_eq!(read(Some(r#"{"last":[],"earlier":["l:a"]}"#)).map(|labels| labels.lost_len()), Ok(1));
        for damaged in [
            "",
            "[]",
            "{}",
            r#"{"last":[],"earlier":[5]}"#,
            r#"{"last":[],"earlier":[],"x":1}"#,
            r#"{"last":[],"earlier":[],"placed":{"l:a":-1}}"#,
        ] {
            assert_eq!(read(Some(damaged)), Err(DamagedLabels), "{damaged}");
        }
    }
}
