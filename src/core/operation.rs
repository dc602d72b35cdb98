//! Operations: as clients push them, and as the log keeps them.

use super::clock::VectorClock;
use super::json::{RawJson, escape_bytes};
use super::names::{ClientId, DocumentKey, OperationId};

/// What an operation does to its document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OperationKind {
    /// Creates the document, or replaces its data.
    Insert,
    /// Puts the keys of its data over those of the document; creates the document where there is none.
    Update,
    /// Drops the document's data and leaves a tombstone.
    Delete,
}

impl OperationKind {
    /// The word of the protocol.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Insert => "insert",
            Self::Update => "update",
            Self::Delete => "delete",
        }
    }

    /// Reads the word of the protocol.
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
    /// What identifies it for ever.
    pub id: OperationId,
    /// What it does.
    pub kind: OperationKind,
    /// The document that it changes.
    pub key: DocumentKey,
    /// An object, as sent; nothing for a delete.
    pub data: Option<RawJson>,
    /// When the client made it, by the client's own clock, in milliseconds or whatever the client counts in; from 1.
    pub timestamp: u64,
    /// Who made it.
    pub client_id: ClientId,
    /// What its author had seen, itself included.
    pub clock: VectorClock,
}

/// An operation in the log, or a document's state in the form of one, as a pull delivers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in its tenant's log.
    pub seq: u64,
    /// What identifies it for ever.
    pub id: OperationId,
    /// What it did to the document: an update that revived a tombstone is an insert here.
    pub kind: OperationKind,
    /// The document that it changed.
    pub key: DocumentKey,
    /// The data as it was pushed; the whole document where the entry stands for a state.
    pub data: Option<RawJson>,
    /// The author's time.
    pub timestamp: u64,
    /// The author.
    pub client_id: ClientId,
    /// The vector clock as the text of a JSON object: a pull has no need to open it.
    pub clock: RawJson,
}

impl LogEntry {
    /// How many bytes the entry takes in an answer, to within the digits of its timestamp.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        self.wire_bytes_unescaped() + self.names().into_iter().map(escape_bytes).sum::<usize>()
    }

    /// The same as long as nothing in its names has to be escaped, without a look at them.
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
