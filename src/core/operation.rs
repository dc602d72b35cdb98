//! Operations, as clients push them and as the log keeps them.

use std::str::FromStr;

use super::clock::VectorClock;
use super::json::Object;
use super::names::{ClientId, DocumentKey, FromStore as _, OperationId, Subject};
use super::numbers::{Rev, Seq, UnixMs};

/// The effect of an operation on its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Creates the document, or replaces its data.
    Insert,
    /// Adds its data to those of the document, and replaces equal keys. Creates the document if there is none.
    Update,
    /// Removes the document's data and leaves a tombstone.
    Delete,
}

impl OperationKind {
    /// The name in the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// The name in the protocol as a JSON string.
    pub(super) fn as_json(self) -> &'static str {
        match self {
            Self::Insert => "\"insert\"",
            Self::Update => "\"update\"",
            Self::Delete => "\"delete\"",
        }
    }

    /// Reads the name in the protocol.
    ///
    /// # Errors
    /// If the text is not one of the three names.
    pub fn parse(text: &str) -> Result<Self, UnknownKind> {
        match text {
            "insert" => Ok(Self::Insert),
            "update" => Ok(Self::Update),
            "delete" => Ok(Self::Delete),
            _ => Err(UnknownKind),
        }
    }
}

impl FromStr for OperationKind {
    type Err = UnknownKind;

    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        Self::parse(text)
    }
}

/// Why a text is not a kind of operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be insert, update or delete")]
pub struct UnknownKind;

/// The effect of an operation on its document, with the data that it needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Creates the document, or replaces its data by these.
    Insert(Object),
    /// Adds these data to those of the document, and replaces equal keys. Creates the document if there is none.
    Update(Object),
    /// Removes the document's data and leaves a tombstone.
    Delete,
}

impl Change {
    /// Makes a change. `None` if a delete has data, or an insert or update has none.
    #[must_use]
    pub fn new(kind: OperationKind, data: Option<Object>) -> Option<Self> {
        match (kind, data) {
            (OperationKind::Insert, Some(data)) => Some(Self::Insert(data)),
            (OperationKind::Update, Some(data)) => Some(Self::Update(data)),
            (OperationKind::Delete, None) => Some(Self::Delete),
            (OperationKind::Insert | OperationKind::Update, None) | (OperationKind::Delete, Some(_)) => None,
        }
    }

    /// The change that results in a document's state: an insert of its data, or a delete.
    #[must_use]
    pub fn to_state(data: Option<Object>) -> Self {
        data.map_or(Self::Delete, Self::Insert)
    }

    /// The kind of the change, without its data.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        match self {
            Self::Insert(_) => OperationKind::Insert,
            Self::Update(_) => OperationKind::Update,
            Self::Delete => OperationKind::Delete,
        }
    }

    /// The data of an insert or update.
    #[must_use]
    pub fn data(&self) -> Option<&Object> {
        match self {
            Self::Insert(data) | Self::Update(data) => Some(data),
            Self::Delete => None,
        }
    }
}

/// One insert, update or delete of one document, made by one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The id, which identifies the operation for ever.
    pub id: OperationId,
    /// The change of the document, with its data as they were sent.
    pub change: Change,
    /// The changed document.
    pub key: DocumentKey,
    /// The client's time of the operation, in milliseconds or in any unit of the client, from 1.
    pub timestamp: UnixMs,
    /// The author.
    pub client_id: ClientId,
    /// All that the author had seen, this operation included.
    pub clock: VectorClock,
}

impl Operation {
    /// The kind of the operation, without its data.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        self.change.kind()
    }

    /// The bytes that its entry in the log adds to [`Usage::bytes`](super::decide::quota::Usage::bytes).
    #[must_use]
    pub fn kept_bytes(&self) -> usize {
        self.data().map_or(0, |data| data.as_str().len()) + self.clock.json().as_str().len()
    }

    /// The data of an insert or update.
    #[must_use]
    pub fn data(&self) -> Option<&Object> {
        self.change.data()
    }
}

/// An operation in the log, or the state of a document in the form of an operation, as a pull returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The place in the log of its tenant.
    pub seq: Seq,
    /// The id, which identifies the operation for ever.
    pub id: OperationId,
    /// The change of the document, with the data as they were pushed. An update that revived a tombstone is an insert
    /// here, and so is the whole document if the entry stands for a state.
    pub change: Change,
    /// The changed document.
    pub key: DocumentKey,
    /// The author's time.
    pub timestamp: UnixMs,
    /// The author.
    pub client_id: ClientId,
    /// The vector clock as the text of a JSON object, because a pull does not need to parse it.
    pub clock: Object,
    /// The revision of the document if the entry stands for its state. `None` for an operation.
    pub rev: Option<Rev>,
    /// The subject that pushed the operation, if that was asked for and the log has it.
    pub subject: Option<Subject>,
    /// How a conflict was resolved, if the entry is a resolution and that was asked for. The object has the outcome,
    /// the relation of the clocks, the winner, and the operation if a part of it is lost.
    pub resolution: Option<Object>,
}

impl LogEntry {
    /// The kind of the change, without its data.
    #[must_use]
    pub fn kind(&self) -> OperationKind {
        self.change.kind()
    }

    /// The data of an insert or update.
    #[must_use]
    pub fn data(&self) -> Option<&Object> {
        self.change.data()
    }

    /// The entry that tells a reader to remove this document, which it may no longer see. It says nothing of the
    /// document but its key.
    #[must_use]
    pub(crate) fn removed(self) -> Self {
        Self {
            seq: self.seq,
            id: OperationId::from_store(format!("{REMOVAL}{:x}", self.seq)),
            change: Change::Delete,
            key: self.key,
            timestamp: UnixMs::new(1),
            client_id: ClientId::server(),
            clock: Object::literal("{}"),
            rev: None,
            subject: None,
            resolution: None,
        }
    }

    /// Whether the entry tells a reader to remove a document that it may no longer see. No client can push such an
    /// entry, because its author is the server.
    #[must_use]
    pub fn is_removal(&self) -> bool {
        self.client_id.is_server() && self.id.as_str().starts_with(REMOVAL)
    }
}

/// The beginning of the ids of removals. The sequence number of the document follows.
const REMOVAL: &str = "removed:";
