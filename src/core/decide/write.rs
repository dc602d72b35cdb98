//! Writes that the server makes itself, and the operation that each of them is.

use serde::Serialize;

use super::base::Bases;
use crate::core::document::Document;
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey, OperationId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::{Change, Operation};
use crate::limits::protocol::{CLOCK_MAX_BYTES, CLOCK_MAX_ENTRIES, DATA_MAX_BYTES, INTEGER_MAX};

/// A change of one document by the server itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    key: DocumentKey,
    change: Change,
    if_revision: Option<Rev>,
}

/// Why a value is not the data of a document.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadData(String);

impl Write {
    /// Creates the document, or replaces its data.
    ///
    /// # Errors
    /// When the data is not an object, or is larger or deeper than a push may have it.
    pub fn put(key: DocumentKey, data: &impl Serialize) -> Result<Self, BadData> {
        Ok(Self { key, change: Change::Insert(object(data)?), if_revision: None })
    }

    /// Puts these keys over those of the document, which must exist.
    ///
    /// # Errors
    /// When the data is not an object, or is larger or deeper than a push may have it.
    pub fn patch(key: DocumentKey, data: &impl Serialize) -> Result<Self, BadData> {
        Ok(Self { key, change: Change::Update(object(data)?), if_revision: None })
    }

    /// Deletes the document, which must exist.
    #[must_use]
    pub fn delete(key: DocumentKey) -> Self {
        Self { key, change: Change::Delete, if_revision: None }
    }

    /// Writes only if the document has this revision; [`Rev::NONE`] if there must be no document.
    #[must_use]
    pub fn if_revision(self, revision: Rev) -> Self {
        Self { if_revision: Some(revision), ..self }
    }

    /// The document that is written.
    #[must_use]
    pub fn key(&self) -> &DocumentKey {
        &self.key
    }

    /// The operation that the write is: it has seen everything that the document has.
    ///
    /// # Errors
    /// When the write does not fit the document.
    pub(crate) fn operation(&self, current: Option<&Document>, author: Author) -> Result<Operation, Written> {
        let live = current.filter(|document| !document.is_deleted());
        let revision = live.map_or(Rev::NONE, |document| document.rev);
        if self.if_revision.is_some_and(|expected| expected != revision) {
            return Err(Written::OtherRevision(revision));
        }
        if live.is_none() && !matches!(self.change, Change::Insert(_)) {
            return Err(Written::Missing);
        }
        let Author { client_id, id, counter, now_ms } = author;
        let mut clock = current.map(|document| document.clock.clone()).unwrap_or_default();
        let counter = counter.max(clock.get(&client_id).saturating_add(1));
        clock.set(client_id.clone(), counter);
        let is_too_large = clock.len() > CLOCK_MAX_ENTRIES || clock.json().as_str().len() > CLOCK_MAX_BYTES;
        if is_too_large || counter > INTEGER_MAX {
            return Err(Written::ClockFull);
        }
        let (change, key) = (self.change.clone(), self.key.clone());
        Ok(Operation { id, change, key, timestamp: timestamp(now_ms), client_id, clock })
    }
}

/// The delete of a document that an operator erases. `None` if there is no document that is not deleted.
///
/// It is that of [`Write::delete`], unless the clock of the document has no room for the server. Then the operation has
/// this clock and names the revision of the document. The decision raises an entry for which every clock has a place.
pub(crate) fn erasure(key: &DocumentKey, current: Option<&Document>, author: Author) -> Option<(Operation, Bases)> {
    let current = current.filter(|document| !document.is_deleted())?;
    let Author { client_id, id, now_ms, .. } = author.clone();
    let made = Write::delete(key.clone()).operation(Some(current), author);
    let bases = Bases { revisions: vec![made.is_err().then_some(current.rev)], places: Vec::new() };
    let operation = made.unwrap_or_else(|_| Operation {
        id,
        change: Change::Delete,
        key: key.clone(),
        timestamp: timestamp(now_ms),
        client_id,
        clock: current.clock.clone(),
    });
    Some((operation, bases))
}

/// The time of an operation of the server.
fn timestamp(now_ms: UnixMs) -> UnixMs {
    now_ms.clamp(UnixMs::new(1), UnixMs::new(INTEGER_MAX))
}

/// The author of an operation of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Author {
    /// The client id of the server.
    pub(crate) client_id: ClientId,
    /// The id of the operation.
    pub(crate) id: OperationId,
    /// A counter greater than all that this server used in the tenant before.
    pub(crate) counter: u64,
    /// The time, in milliseconds since 1970.
    pub(crate) now_ms: UnixMs,
}

/// The outcome of a write of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
#[must_use]
pub enum Written {
    /// It is durable, and the document has this revision now.
    Done(Rev),
    /// The document has another revision than the write asked for, which is this one; [`Rev::NONE`] if there is no
    /// document. Nothing has changed.
    OtherRevision(Rev),
    /// There is no document to patch or delete. Nothing has changed.
    Missing,
    /// The document would be too large. Nothing has changed.
    TooLarge,
    /// The clock of the document has no room for the server. Nothing has changed.
    ClockFull,
    /// The data or the operation is not allowed, for this reason. Nothing has changed.
    Invalid(String),
}

fn object(data: &impl Serialize) -> Result<Object, BadData> {
    let text = serde_json::to_string(data).map_err(|problem| BadData(problem.to_string()))?;
    if !text.starts_with('{') {
        return Err(BadData("must be an object".to_owned()));
    }
    if text.len() > DATA_MAX_BYTES {
        return Err(BadData(format!("must have at most {DATA_MAX_BYTES} bytes")));
    }
    Object::parse(text).map_err(|problem| BadData(problem.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::core::access::labels::FormerLabels;
    use crate::core::clock::{Relation, VectorClock};

    fn key() -> DocumentKey {
        DocumentKey::parse("todos", "doc").unwrap()
    }

    fn author(counter: u64) -> Author {
        Author { client_id: ClientId::server(), id: OperationId::literal("op"), counter, now_ms: UnixMs::new(5) }
    }

    fn document(clock: VectorClock, data: Option<&str>) -> Document {
        let (operation_id, client_id) = (OperationId::literal("before"), ClientId::literal("a"));
        Document {
            rev: Rev::new(3),
            data: data.map(Object::literal),
            clock,
            operation_id,
            client_id,
            timestamp: UnixMs::new(9),
            former_labels: FormerLabels::default(),
        }
    }

    fn clock(entries: &[(ClientId, u64)]) -> VectorClock {
        entries.iter().cloned().collect()
    }

    #[test]
    fn a_write_has_seen_everything_that_the_document_has() {
        let before = document(clock(&[(ClientId::literal("a"), 4), (ClientId::server(), 9)]), Some("{}"));
        for (counter, expected) in [(1, 10), (20, 20)] {
            let write = Write::patch(key(), &json!({"a": 1})).unwrap();
            let operation = write.operation(Some(&before), author(counter)).unwrap();
            assert_eq!(operation.clock.get(&ClientId::server()), expected);
            assert_eq!(operation.clock.compare(&before.clock), Relation::HappensAfter);
        }
    }

    #[test]
    fn a_write_asks_for_a_document_or_a_revision() {
        let gone = document(VectorClock::default(), None);
        let there = document(VectorClock::default(), Some("{}"));
        let put = || Write::put(key(), &json!({})).unwrap();
        let outcome = |write: Write, current| write.operation(current, author(1)).map(drop);
        for missing in [None, Some(&gone)] {
            assert_eq!(outcome(Write::delete(key()), missing), Err(Written::Missing));
            assert_eq!(outcome(put(), missing), Ok(()));
            assert_eq!(outcome(put().if_revision(Rev::NONE), missing), Ok(()));
            assert_eq!(outcome(put().if_revision(Rev::new(3)), missing), Err(Written::OtherRevision(Rev::NONE)));
        }
        assert_eq!(outcome(put().if_revision(Rev::new(3)), Some(&there)), Ok(()));
        assert_eq!(outcome(put().if_revision(Rev::NONE), Some(&there)), Err(Written::OtherRevision(Rev::new(3))));
        assert_eq!(
            outcome(Write::delete(key()).if_revision(Rev::new(2)), Some(&there)),
            Err(Written::OtherRevision(Rev::new(3)))
        );
    }

    #[test]
    fn a_clock_without_room_is_left_as_it_is() {
        let full = (0..CLOCK_MAX_ENTRIES as u64).map(|client| (ClientId::literal(&client.to_string()), 1));
        let full = document(full.collect(), Some("{}"));
        let spent = document(clock(&[(ClientId::server(), INTEGER_MAX)]), Some("{}"));
        for document in [full, spent] {
            let written = Write::delete(key()).operation(Some(&document), author(1));
            assert_eq!(written, Err(Written::ClockFull));
        }
    }

    #[test]
    fn data_is_an_object_within_the_limits() {
        assert!(Write::put(key(), &json!([])).is_err());
        assert!(Write::put(key(), &json!({"a": "x".repeat(DATA_MAX_BYTES)})).is_err());
        assert!(Write::put(key(), &json!({"a": "\u{0}"})).is_err());
    }
}
