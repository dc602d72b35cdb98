//! Operations for checks, in a short notation.

use crate::core::clock::VectorClock;
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::numbers::UnixMs;
use crate::core::operation::{Change, Operation, OperationKind};

/// The collection of all documents for which a check names no other.
pub const COLLECTION: &str = "todos";

/// A document of [`COLLECTION`].
#[must_use]
pub fn key(document: &str) -> DocumentKey {
    key_in(COLLECTION, document)
}

/// A document of a collection.
#[must_use]
pub fn key_in(collection: &str, document: &str) -> DocumentKey {
    DocumentKey { collection: Collection::literal(collection), id: DocumentId::literal(document) }
}

/// A vector clock.
#[must_use]
pub fn clock(entries: &[(&str, u64)]) -> VectorClock {
    entries.iter().map(|(client, counter)| (ClientId::literal(client), *counter)).collect()
}

/// An insert of `{}` by client `a` with the clock `{"a":1}` at the timestamp 1.
///
/// Several operations on one document with this clock are all applied, because equal clocks do not conflict.
#[must_use]
pub fn insert(id: &str, document: &str) -> Draft {
    Draft::new(id, Change::Insert(Object::literal("{}")), document)
}

/// Like [`insert`], but an update.
#[must_use]
pub fn update(id: &str, document: &str) -> Draft {
    Draft::new(id, Change::Update(Object::literal("{}")), document)
}

/// Like [`insert`], but a delete without data.
#[must_use]
pub fn delete(id: &str, document: &str) -> Draft {
    Draft::new(id, Change::Delete, document)
}

/// Inserts of `count` documents, `op-1` into `doc-1` and so on, at the timestamps 1, 2, 3 ….
#[must_use]
pub fn inserts(count: u64) -> Vec<Draft> {
    (1..=count).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).at(number)).collect()
}

/// An operation that is being built.
#[derive(Debug, Clone)]
pub struct Draft(Operation);

impl Draft {
    fn new(id: &str, change: Change, document: &str) -> Self {
        Self(Operation {
            id: OperationId::literal(id),
            change,
            key: key(document),
            timestamp: UnixMs::new(1),
            client_id: ClientId::literal("a"),
            clock: clock(&[("a", 1)]),
        })
    }

    /// Sets the data.
    ///
    /// # Panics
    /// When it is a delete.
    #[must_use]
    pub fn data(mut self, json: &str) -> Self {
        let data = Object::literal(json);
        self.0.change = match self.0.kind() {
            OperationKind::Insert => Change::Insert(data),
            OperationKind::Update => Change::Update(data),
            OperationKind::Delete => panic!("a delete has no data"),
        };
        self
    }

    /// Sets the clock, and makes the client of its first entry the author.
    #[must_use]
    pub fn clock(mut self, entries: &[(&str, u64)]) -> Self {
        if let Some((client, _)) = entries.first() {
            self.0.client_id = ClientId::literal(client);
        }
        self.0.clock = clock(entries);
        self
    }

    /// Sets the author and keeps the clock.
    #[must_use]
    pub fn client(mut self, client: &str) -> Self {
        self.0.client_id = ClientId::literal(client);
        self
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn at(mut self, timestamp: impl Into<UnixMs>) -> Self {
        self.0.timestamp = timestamp.into();
        self
    }

    /// Sets the collection.
    #[must_use]
    pub fn in_collection(mut self, collection: &str) -> Self {
        self.0.key.collection = Collection::literal(collection);
        self
    }

    /// The same operation with a different id, which begins with `name`, on another document.
    #[must_use]
    pub fn renamed(mut self, name: &str, document: &str) -> Self {
        self.0.id = OperationId::literal(&format!("{name}-{}", self.0.id));
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
