//! Operations, as clients push them and as the log keeps them.

use super::clock::VectorClock;
use super::json::{RawJson, escape_bytes};
use super::names::{ClientId, DocumentKey, OperationId};

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

    /// Reads the name in the protocol.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "insert" => Some(Self::Insert),
            "update" => Some(Self::Update),
            "delete" => Some(Self::Delete),
            _ => None,
        }
    }
}

/// One insert, update or delete of one document, made by one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// The id, which identifies the operation for ever.
    pub id: OperationId,
    /// The effect on the document.
    pub kind: OperationKind,
    /// The changed document.
    pub key: DocumentKey,
    /// A JSON object as it was sent, or `None` for a delete.
    pub data: Option<RawJson>,
    /// The client's time of the operation, in milliseconds or in any unit of the client, from 1.
    pub timestamp: u64,
    /// The author.
    pub client_id: ClientId,
    /// All that the author had seen, this operation included.
    pub clock: VectorClock,
}

/// An operation in the log, or the state of a document in the form of an operation, as a pull returns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The place in the log of its tenant.
    pub seq: u64,
    /// The id, which identifies the operation for ever.
    pub id: OperationId,
    /// The effect on the document. An update that revived a tombstone is an insert here.
    pub kind: OperationKind,
    /// The changed document.
    pub key: DocumentKey,
    /// The data as they were pushed, or the whole document if the entry stands for a state.
    pub data: Option<RawJson>,
    /// The author's time.
    pub timestamp: u64,
    /// The author.
    pub client_id: ClientId,
    /// The vector clock as the text of a JSON object, because a pull does not need to parse it.
    pub clock: RawJson,
}

impl LogEntry {
    /// The size of the entry in an answer, in bytes. It counts the most digits that a timestamp may have.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes_unescaped() + self.names().into_iter().map(escape_bytes).sum::<usize>()
    }

    /// The same size if no name needs escapes. It does not look at the names.
    #[must_use]
    pub fn wire_bytes_unescaped(&self) -> usize {
        // {"id":"","type":"insert","collection":"","docId":"","data":null,"timestamp":9007199254740991,"clientId":"",
        // "synced":true,"vectorClock":},
        const FRAME_BYTES: usize = 136 + 4 * 2;
        let names_bytes: usize = self.names().into_iter().map(str::len).sum();
        let data_bytes = self.data.as_ref().map_or(0, |data| data.as_str().len());
        FRAME_BYTES + names_bytes + data_bytes + self.clock.as_str().len()
    }

    fn names(&self) -> [&str; 4] {
        [self.id.as_str(), self.key.collection.as_str(), self.key.id.as_str(), self.client_id.as_str()]
    }
}
