//! The state that a document of an Express server gets: its row, and the operations in the log that the row has missed.
//!
//! The row is the truth. But that server writes an operation to its log first, and may be stopped or overtaken before
//! it writes the document. Clients have such operations, so they are completed here as that server would have.

use super::row::{Kind, ListedOperation, StoredDocument, check_size};
use crate::core::access::labels::FormerLabels;
use crate::core::clock::{Relation, VectorClock};
use crate::core::decide::fits;
use crate::core::document::{Document, merge};
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey, OperationId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::text::sha256_hex;
use crate::service::operator::line::DocumentLine;

/// The beginning of the ids of the entries that have the states of documents. No client has such an entry, so every one
/// takes the state.
const PREFIX: &str = "syncflow-server::express::";

/// The state of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DocumentState {
    data: Option<Object>,
    rev: u64,
    /// The clock of the operation that wrote it last.
    written: VectorClock,
    /// The clock of all operations that the document has met, also of those that others have overwritten. A client that
    /// has such an operation takes the state only with this clock.
    met: VectorClock,
    timestamp: UnixMs,
    /// The author of the operation that wrote it last, if the log has this operation.
    author: Option<ClientId>,
}

/// The relation of an operation of the log to a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// The document has its effect, or a later one.
    Covered,
    /// It was written at the same time as another one, and the document has the effect of the other.
    Overwritten,
    /// The document has missed it.
    Missed,
}

impl DocumentState {
    /// The state in a row.
    pub(super) fn stored(row: StoredDocument) -> Self {
        let StoredDocument { data, rev, clock, timestamp } = row;
        Self { data, rev, met: clock.clone(), written: clock, timestamp, author: None }
    }

    /// The state after the first operation of a document that has no row.
    pub(super) fn begun_by(operation: &ListedOperation, data: Option<Object>) -> Result<Self, String> {
        if operation.kind == Kind::Update {
            return Err("its document is missing, and an update is only a part of a document".to_owned());
        }
        let data = (operation.kind == Kind::Insert).then(|| data.unwrap_or_else(empty));
        let (clock, timestamp) = (operation.clock.clone(), operation.timestamp);
        let begun = Self::stored(StoredDocument { data, rev: 1, clock, timestamp });
        Ok(Self { author: Some(operation.client_id.clone()), ..begun })
    }

    /// The relation of an operation to this state. Operations come in the order in which they arrived.
    pub(super) fn place_of(&self, operation: &ListedOperation) -> Place {
        match operation.clock.compare(&self.written) {
            Relation::HappensBefore | Relation::Equal => Place::Covered,
            Relation::HappensAfter => Place::Missed,
            Relation::Concurrent => Place::Overwritten,
        }
    }

    /// Notes an operation whose effect the document has.
    pub(super) fn note_covered(&mut self, operation: &ListedOperation) {
        if operation.clock == self.written {
            self.author = Some(operation.client_id.clone());
        }
    }

    /// Notes an operation whose effect another one has overwritten. Returns whether the state is another one now.
    pub(super) fn note_overwritten(&mut self, operation: &ListedOperation) -> bool {
        let mut met = self.met.clone();
        met.merge(&operation.clock);
        let is_news = met != self.met && fits(&met);
        if is_news {
            self.met = met;
            self.rev += 1;
        }
        is_news
    }

    /// Does an operation that the document has missed, as the Express server would have.
    pub(super) fn complete(&mut self, operation: &ListedOperation, data: Option<Object>) -> Result<(), String> {
        let data = match (operation.kind, &self.data) {
            (Kind::Delete, _) => None,
            (Kind::Update, Some(before)) => {
                let merged = merge(before, &data.unwrap_or_else(empty)).map_err(|problem| format!("data {problem}"))?;
                check_size(&merged)?;
                Some(merged)
            }
            (Kind::Insert | Kind::Update, _) => Some(data.unwrap_or_else(empty)),
        };
        let mut met = self.met.clone();
        met.merge(&operation.clock);
        *self = Self {
            data,
            rev: self.rev + 1,
            written: operation.clock.clone(),
            met: if fits(&met) { met } else { operation.clock.clone() },
            timestamp: operation.timestamp,
            author: Some(operation.client_id.clone()),
        };
        Ok(())
    }

    /// The clients in its clock.
    pub(super) fn clients(&self) -> impl Iterator<Item = &ClientId> {
        self.met.iter().map(|(client, _)| client)
    }

    /// The document. Its id is the same whenever the state is.
    pub(super) fn line(&self, key: &DocumentKey) -> DocumentLine {
        let data = self.data.as_ref().map_or("", Object::as_str);
        let client_id = self.author.clone().or_else(|| self.likely_author()).unwrap_or_else(ClientId::server);
        // The author is not a part of it, because a compaction may have removed the operation meanwhile.
        let parts = [key.collection.as_str(), key.id.as_str(), self.met.json().as_str(), data];
        let state = format!("{}\0{}\0{}", self.rev, self.timestamp, parts.join("\0"));
        let document = Document {
            rev: Rev::new(self.rev),
            data: self.data.clone(),
            clock: self.met.clone(),
            operation_id: OperationId::literal(&format!("{PREFIX}{}", sha256_hex(&state))),
            client_id,
            timestamp: self.timestamp,
            former_labels: FormerLabels::default(),
        };
        DocumentLine { document, stamps: None }
    }

    /// The client with the greatest counter, if the operation that wrote the state last was compacted.
    fn likely_author(&self) -> Option<ClientId> {
        self.written.iter().max_by_key(|(_, counter)| *counter).map(|(client, _)| client.clone())
    }
}

fn empty() -> Object {
    Object::literal("{}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clock(entries: &[(&str, u64)]) -> VectorClock {
        entries.iter().map(|(client, counter)| (ClientId::literal(client), *counter)).collect()
    }

    fn operation(kind: Kind, client: &str, entries: &[(&str, u64)]) -> ListedOperation {
        ListedOperation {
            place: "operations".to_owned(),
            id: OperationId::literal("op"),
            kind,
            key: key(),
            timestamp: UnixMs::new(9),
            client_id: ClientId::literal(client),
            clock: clock(entries),
        }
    }

    fn key() -> DocumentKey {
        DocumentKey::parse("todos", "milk").expect("names")
    }

    fn stored() -> DocumentState {
        let data = Some(Object::literal(r#"{"a":1,"b":1}"#));
        let (clock, timestamp) = (clock(&[("a", 2), ("b", 1)]), UnixMs::new(5));
        DocumentState::stored(StoredDocument { data, rev: 3, clock, timestamp })
    }

    #[test]
    fn an_operation_is_covered_overwritten_or_missed() {
        for (entries, expected) in [
            (&[("a", 1)][..], Place::Covered),
            (&[("a", 2), ("b", 1)], Place::Covered),
            (&[("b", 2)], Place::Overwritten),
            (&[("a", 2), ("b", 2)], Place::Missed),
        ] {
            assert_eq!(stored().place_of(&operation(Kind::Update, "b", entries)), expected, "{entries:?}");
        }
    }

    #[test]
    fn the_author_is_the_one_of_the_last_operation_or_a_likely_one() {
        let mut state = stored();
        assert_eq!(state.line(&key()).document.client_id.as_str(), "a");
        let id = state.line(&key()).document.operation_id;
        state.note_covered(&operation(Kind::Insert, "b", &[("b", 1)]));
        assert_eq!(state.line(&key()).document.client_id.as_str(), "a");
        state.note_covered(&operation(Kind::Update, "b", &[("a", 2), ("b", 1)]));
        assert_eq!(state.line(&key()).document.client_id.as_str(), "b");
        assert_eq!(state.line(&key()).document.operation_id, id);
    }

    #[test]
    fn an_operation_that_was_missed_takes_effect_as_at_the_express_server() {
        let complete = |kind, data: Option<&str>| {
            let mut state = stored();
            let missed = operation(kind, "b", &[("a", 2), ("b", 2)]);
            state.complete(&missed, data.map(Object::literal)).expect("it is small");
            let DocumentLine { document, .. } = state.line(&key());
            assert_eq!((document.rev.get(), document.timestamp.get(), &document.clock), (4, 9, &missed.clock));
            document.data.map(|data| data.as_str().to_owned())
        };
        assert_eq!(complete(Kind::Update, Some(r#"{"b":2}"#)).as_deref(), Some(r#"{"a":1,"b":2}"#));
        assert_eq!(complete(Kind::Insert, Some(r#"{"b":2}"#)).as_deref(), Some(r#"{"b":2}"#));
        assert_eq!(complete(Kind::Insert, None).as_deref(), Some("{}"));
        assert_eq!(complete(Kind::Delete, None), None);
    }

    #[test]
    fn a_document_without_a_row_begins_with_an_insert_or_a_delete() {
        let begun = |kind| DocumentState::begun_by(&operation(kind, "a", &[("a", 1)]), Some(empty()));
        assert!(begun(Kind::Insert).is_ok_and(|state| state.data.is_some()));
        assert!(begun(Kind::Delete).is_ok_and(|state| state.data.is_none()));
        assert!(begun(Kind::Update).is_err());
    }

    #[test]
    fn a_client_with_an_overwritten_operation_takes_the_state() {
        let mut state = stored();
        let overwritten = operation(Kind::Update, "b", &[("b", 2)]);
        assert!(state.note_overwritten(&overwritten));
        assert!(!state.note_overwritten(&overwritten), "it is known already");
        let DocumentLine { document, .. } = state.line(&key());
        assert_eq!(overwritten.clock.compare(&document.clock), Relation::HappensBefore);
        assert_eq!(document.data, stored().data);
        assert_eq!(document.rev.get(), 4, "an import of the state before does not come back");
    }
}
