//! Operations for checks, written as briefly as a check wants to say them.

use crate::core::clock::VectorClock;
use crate::core::json::RawJson;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::operation::{Operation, OperationKind};

/// The collection of every document that a check does not place elsewhere.
pub const COLLECTION: &str = "todos";

/// A document of [`COLLECTION`].
#[must_use]
pub fn key(document: &str) -> DocumentKey {
    key_in(COLLECTION, document)
}

/// A document of a collection.
#[must_use]
pub fn key_in(collection: &str, document: &str) -> DocumentKey {
    DocumentKey { collection: Collection::trusted(collection), id: DocumentId::trusted(document) }
}

/// A vector clock.
#[must_use]
pub fn clock(entries: &[(&str, u64)]) -> VectorClock {
    entries.iter().map(|(client, counter)| (ClientId::trusted(client), *counter)).collect()
}

/// An insert of `{}` by client `a` with the clock `{"a":1}` at the timestamp 1.
///
/// Operations of one document that leave the clock as it is are all applied, for equal clocks do not conflict.
#[must_use]
pub fn insert(id: &str, document: &str) -> Draft {
    Draft::new(id, OperationKind::Insert, document)
}

/// As [`insert`], but an update.
#[must_use]
pub fn update(id: &str, document: &str) -> Draft {
    Draft::new(id, OperationKind::Update, document)
}

/// As [`insert`], but a delete, and without data.
#[must_use]
pub fn delete(id: &str, document: &str) -> Draft {
    Draft::new(id, OperationKind::Delete, document)
}

/// So many inserts into as many documents, `op-1` into `doc-1` and so on, at the timestamps 1, 2, 3 ….
#[must_use]
pub fn inserts(count: u64) -> Vec<Draft> {
    (1..=count).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).at(number)).collect()
}

/// An operation in the making.
#[derive(Debug, Clone)]
pub struct Draft(Operation);

impl Draft {
    fn new(id: &str, kind: OperationKind, document: &str) -> Self {
        Self(Operation {
            id: OperationId::trusted(id),
            kind,
            key: key(document),
            data: (kind != OperationKind::Delete).then(|| RawJson::trusted("{}")),
            timestamp: 1,
            client_id: ClientId::trusted("a"),
            clock: clock(&[("a", 1)]),
        })
    }

    /// With this data.
    #[must_use]
    pub fn data(mut self, json: &str) -> Self {
        self.0.data = Some(RawJson::trusted(json));
        self
    }

    /// By the client of the clock's first entry, with this clock.
    #[must_use]
    pub fn clock(mut self, entries: &[(&str, u64)]) -> Self {
        if let Some((client, _)) = entries.first() {
            self.0.client_id = ClientId::trusted(client);
        }
        self.0.clock = clock(entries);
        self
    }

    /// By this client, the clock as it is.
    #[must_use]
    pub fn client(mut self, client: &str) -> Self {
        self.0.client_id = ClientId::trusted(client);
        self
    }

    /// At this timestamp.
    #[must_use]
    pub fn at(mut self, timestamp: u64) -> Self {
        self.0.timestamp = timestamp;
        self
    }

    /// In this collection.
    #[must_use]
    pub fn within(mut self, collection: &str) -> Self {
        self.0.key.collection = Collection::trusted(collection);
        self
    }

    /// The same under another id, which begins with `name`, on another document.
    #[must_use]
    pub fn again(mut self, name: &str, document: &str) -> Self {
        self.0.id = OperationId::trusted(&format!("{name}-{}", self.0.id));
        self.0.key = key(document);
        self
    }

    /// The operation.
    #[must_use]
    pub fn done(self) -> Operation {
        self.0
    }
}

impl From<Draft> for Operation {
    fn from(draft: Draft) -> Self {
        draft.0
    }
}
