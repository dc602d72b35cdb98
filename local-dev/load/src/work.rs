//! The pushed operations: mostly new versions of a fixed set of documents, as from devices that share a list.

use std::cell::Cell;
use std::fmt::Write as _;

use axum::body::Bytes;

/// The collection of all documents.
pub(crate) const COLLECTION: &str = "todos";

/// The author of all operations.
pub(crate) const AUTHOR: &str = "device-7c1f";

/// Another client in the author's clocks.
pub(crate) const OTHER: &str = "device-02ab";

/// A field of all documents has this value.
pub(crate) const LIST: &str = "as the last time";

/// The time of the first operation, in milliseconds since 1970.
const FIRST_TIMESTAMP: u64 = 1_700_000_000_000;

/// One in this many operations creates a new document, if any does.
const NEW_DOCUMENT_EVERY: u64 = 20;

/// One operation, as a push and as a row.
#[derive(Debug, Clone)]
pub(crate) struct Made {
    pub(crate) id: String,
    pub(crate) document: String,
    /// The author's counter, which is greater than that of every earlier operation on this document.
    pub(crate) counter: u64,
    pub(crate) data: String,
}

impl Made {
    pub(crate) fn timestamp(&self) -> u64 {
        FIRST_TIMESTAMP + self.counter
    }

    pub(crate) fn clock(&self) -> String {
        format!(r#"{{"{OTHER}":3,"{AUTHOR}":{}}}"#, self.counter)
    }

    fn write(&self, text: &mut String) {
        // Writing to a string cannot fail.
        let _ = write!(
            text,
            r#"{{"id":"{}","type":"update","collection":"{COLLECTION}","docId":"{}","data":{},"timestamp":{},"clientId":"{AUTHOR}","synced":false,"vectorClock":{}}}"#,
            self.id,
            self.document,
            self.data,
            self.timestamp(),
            self.clock(),
        );
    }
}

/// The body of a push.
pub(crate) fn body(batch: &[Made]) -> Bytes {
    let mut text = format!(r#"{{"clientId":"{AUTHOR}","operations":["#);
    for (index, made) in batch.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        made.write(&mut text);
    }
    text.push_str("]}");
    text.into()
}

/// Makes the operations of one database.
#[derive(Debug)]
pub(crate) struct Work {
    /// The number of documents in the beginning.
    pub(crate) documents: u64,
    makes_documents: bool,
    made: Cell<u64>,
}

/// The documents that a connection writes. Each connection has its own, so that no decision depends on the order of two
/// connections.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Share {
    pub(crate) connection: u64,
    pub(crate) connections: u64,
}

impl Work {
    pub(crate) fn new(documents: u64, makes_documents: bool) -> Self {
        Self { documents, makes_documents, made: Cell::new(0) }
    }

    /// The next operation on an existing document.
    pub(crate) fn version_of(&self, index: u64) -> Made {
        self.make(document_name(index))
    }

    /// The next operations of a connection.
    pub(crate) fn batch(&self, share: Share, operations: usize) -> Vec<Made> {
        let make = |_| {
            let turn = self.made.get();
            let is_new = self.makes_documents && turn.is_multiple_of(NEW_DOCUMENT_EVERY);
            if is_new { self.make(format!("new-{}", identifier(turn))) } else { self.version_in(share) }
        };
        (0..operations).map(make).collect()
    }

    /// Operations that conflict with their documents, because their author has not seen them.
    pub(crate) fn conflicts(&self, share: Share, operations: usize) -> Vec<Made> {
        (0..operations).map(|_| Made { counter: 0, ..self.version_in(share) }).collect()
    }

    /// The next operation on a document of a connection's share. The documents are visited in a mixed order, all of
    /// them before one comes again.
    fn version_in(&self, Share { connection, connections }: Share) -> Made {
        let turn = self.made.get();
        self.version_of(connection + connections * (turn * 7_919 % (self.documents / connections)))
    }

    fn make(&self, document: String) -> Made {
        let counter = self.made.get() + 1;
        self.made.set(counter);
        let data = format!(
            r#"{{"title":"Buy milk and {} other things","done":{},"list":"list-{}","rank":{},"note":"{LIST}"}}"#,
            counter % 1_000,
            counter.is_multiple_of(2),
            counter % 50,
            counter * 17 % 100_000,
        );
        Made { id: identifier(counter), document, counter, data }
    }
}

/// The name of one of the initial documents.
pub(crate) fn document_name(index: u64) -> String {
    format!("todo-{:016x}", mixed(index))
}

/// An identifier like those of devices: 128 bits without an order.
fn identifier(number: u64) -> String {
    format!("{:016x}{:016x}", mixed(number), mixed(!number))
}

/// Spreads a number over all 64 bits, one to one (the finalizer of SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
