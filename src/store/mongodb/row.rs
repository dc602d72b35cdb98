//! Stored documents as values of the core. The names of all fields are here.
//!
//! `data` and vector clocks are stored as texts, so that BSON does not change numbers or the order of keys.

use std::fmt;

use mongodb::bson::{Document as Bson, RawBsonRef, RawDocument, doc};

use super::failure::Failure;
use crate::core::access::labels::FormerLabels;
use crate::core::clock::VectorClock;
use crate::core::cursor::{Head, Position};
use crate::core::decide::owners::{ClientOwner, OwnerWrite};
use crate::core::decide::{DocumentWrite, resolution_of};
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{
    ClientId, Collection, DocumentId, DocumentKey, FromStore as _, OperationId, Subject, TenantId,
};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::{Change, LogEntry, Operation, OperationKind};
use crate::core::text::{Text, TextPool, copy_texts};
use crate::store::integers::{signed, unsigned};

/// The `_id` of a log entry: the tenant, and the number in a form whose texts have the same order.
pub(super) fn entry_key(tenant: &TenantId, seq: Seq) -> String {
    format!("{tenant}\0{seq:016x}")
}

/// The range of a tenant's log entries after a number. Names have no control characters.
pub(super) fn entries_after(tenant: &TenantId, seq: Seq) -> Bson {
    doc! { "_id": { "$gt": entry_key(tenant, seq), "$lt": format!("{tenant}\u{1}") }, "tenant": tenant.as_str() }
}

/// The range of a tenant's log entries after one number and up to another.
pub(super) fn entries_between(tenant: &TenantId, after: Seq, up_to: Seq) -> Bson {
    doc! {
        "_id": { "$gt": entry_key(tenant, after), "$lte": entry_key(tenant, up_to) },
        "tenant": tenant.as_str(),
    }
}

/// The `_id` of a document.
pub(super) fn document_key(tenant: &TenantId, key: &DocumentKey) -> String {
    format!("{tenant}\0{}\0{}", key.collection, key.id)
}

/// The `_id` of the memory of a client, and of its owner.
pub(super) fn client_key(tenant: &TenantId, client: &ClientId) -> String {
    format!("{tenant}\0{client}")
}

/// A log entry as it is stored.
pub(super) fn entry_row(
    tenant: &TenantId,
    (operation, subject): (&Operation, Option<&Subject>),
    position: Position,
    received_at_ms: UnixMs,
) -> Bson {
    let mut row = doc! {
        "_id": entry_key(tenant, position.seq),
        "tenant": tenant.as_str(),
        "seq": signed(position.seq),
        "fingerprint": signed(position.fingerprint.to_number()),
        "id": operation.id.as_str(),
        "kind": operation.kind().as_str(),
        "collection": operation.key.collection.as_str(),
        "docId": operation.key.id.as_str(),
        "timestamp": signed(operation.timestamp),
        "clientId": operation.client_id.as_str(),
        "clock": operation.clock.json().as_str(),
        "receivedAtMs": signed(received_at_ms),
    };
    if let Some(data) = operation.data() {
        row.insert("data", data.as_str());
    }
    if let Some(subject) = subject {
        row.insert("subject", subject.as_str());
    }
    row
}

/// The `_id` of an id that a tenant knows without a log entry. It comes after those of all entries.
pub(super) fn learned_key(tenant: &TenantId, id: &str) -> String {
    format!("{tenant}\u{1}{id}")
}

/// The id of an operation that was resolved, as it is stored among the log entries. It is behind all of them, and the
/// unique index of ids has it.
pub(super) fn pushed_id_row(tenant: &TenantId, pushed: &OperationId) -> Bson {
    doc! { "_id": learned_key(tenant, pushed.as_str()), "tenant": tenant.as_str(), "id": pushed.as_str() }
}

/// The head of a tenant, as a filter.
pub(super) fn head_of(tenant: &TenantId) -> Bson {
    doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() }
}

/// The owner of a client id as it is stored.
pub(super) fn owner_row(tenant: &TenantId, OwnerWrite { client_id, owner, .. }: &OwnerWrite) -> Bson {
    let mut row = owner_fields(tenant, client_id, owner);
    row.insert("clientId", client_id.as_str());
    row
}

/// The owner that a decision saw, as a filter.
pub(super) fn owner_filter(tenant: &TenantId, client_id: &ClientId, seen: &ClientOwner) -> Bson {
    let mut filter = owner_fields(tenant, client_id, seen);
    if seen.subject.is_none() {
        filter.insert("subject", doc! { "$exists": false });
    }
    filter
}

fn owner_fields(tenant: &TenantId, client_id: &ClientId, owner: &ClientOwner) -> Bson {
    let mut fields = doc! {
        "_id": client_key(tenant, client_id),
        "tenant": tenant.as_str(),
        "counter": signed(owner.counter),
    };
    if let Some(subject) = &owner.subject {
        fields.insert("subject", subject.as_str());
    }
    fields
}

/// The fields that compaction removes from a log entry. Its number, fingerprint, id and time of reception stay.
pub(super) const COMPACTED_FIELDS: [&str; 9] =
    ["kind", "collection", "docId", "timestamp", "clientId", "clock", "data", "subject", "kept"];

/// A document as it is stored. `position` is that of its last operation.
pub(super) fn document_row(tenant: &TenantId, write: &DocumentWrite, position: Position) -> Bson {
    let DocumentWrite { key, document, .. } = write;
    let mut row = doc! {
        "_id": document_key(tenant, key),
        "tenant": tenant.as_str(),
        "collection": key.collection.as_str(),
        "docId": key.id.as_str(),
        "rev": signed(document.rev),
        "seq": signed(position.seq),
        "fingerprint": signed(position.fingerprint.to_number()),
        "deleted": document.is_deleted(),
        "operationId": document.operation_id.as_str(),
        "clientId": document.client_id.as_str(),
        "timestamp": signed(document.timestamp),
        "clock": document.clock.json().as_str(),
    };
    if let Some(data) = &document.data {
        row.insert("data", data.as_str());
    }
    if let Some(labels) = document.former_labels.to_stored() {
        row.insert("formerLabels", labels);
    }
    if let Some(stamps) = write.stamps.as_ref().filter(|text| !text.is_empty()) {
        row.insert("stamps", stamps.as_str());
    }
    row
}

const NO_TEXT: Failure = Failure::Answer("a text that is not UTF-8");

fn key(collection: impl Into<Text>, id: impl Into<Text>) -> DocumentKey {
    DocumentKey { collection: Collection::from_store(collection), id: DocumentId::from_store(id) }
}

/// An object that was kept as a text.
fn object(text: impl Into<Text>) -> Result<Object, Failure> {
    Object::from_store(text).map_err(|_| Failure::Answer("a text that is not an object"))
}

/// The failure of a row with a damaged field.
fn damaged(field: &str, what: impl fmt::Display) -> Failure {
    Failure::Damaged(format!("field {field}: {what}"))
}

/// A row of an answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a>(pub(super) &'a RawDocument);

impl<'a> Row<'a> {
    fn field(self, name: &str) -> Result<Option<RawBsonRef<'a>>, Failure> {
        self.0.get(name).map_err(|_| Failure::Answer("damaged BSON"))
    }

    /// Whether the row has a field.
    pub(super) fn has(self, name: &str) -> Result<bool, Failure> {
        Ok(self.field(name)?.is_some())
    }

    pub(super) fn optional_text(self, name: &str) -> Result<Option<&'a str>, Failure> {
        match self.field(name)? {
            Some(RawBsonRef::String(text)) => Ok(Some(text)),
            None => Ok(None),
            Some(_) => Err(damaged(name, "not a text")),
        }
    }

    /// The bytes of a text that may be missing or damaged.
    pub(super) fn length(self, name: &str) -> Result<usize, Failure> {
        Ok(if let Some(RawBsonRef::String(text)) = self.field(name)? { text.len() } else { 0 })
    }

    pub(super) fn text(self, name: &str) -> Result<&'a str, Failure> {
        self.optional_text(name)?.ok_or_else(|| damaged(name, "missing"))
    }

    pub(super) fn optional_integer<N: From<u64>>(self, name: &str) -> Result<Option<N>, Failure> {
        let integer = match self.field(name)? {
            Some(RawBsonRef::Int64(integer)) => unsigned(integer),
            // The server may return a computed integer in a shorter type.
            Some(RawBsonRef::Int32(integer)) => unsigned(integer.into()),
            None => return Ok(None),
            Some(_) => return Err(damaged(name, "not an integer")),
        };
        integer.map(Some).map_err(|negative| damaged(name, negative))
    }

    /// A counter that an earlier version did not keep. It is 0 if more was removed than counted.
    pub(super) fn counter(self, name: &str) -> Result<u64, Failure> {
        let counter = match self.field(name)? {
            Some(RawBsonRef::Int64(counter)) => counter,
            Some(RawBsonRef::Int32(counter)) => counter.into(),
            None => 0,
            Some(_) => return Err(damaged(name, "not an integer")),
        };
        Ok(u64::try_from(counter).unwrap_or(0))
    }

    pub(super) fn integer<N: From<u64>>(self, name: &str) -> Result<N, Failure> {
        self.optional_integer(name)?.ok_or_else(|| damaged(name, "missing"))
    }

    pub(super) fn fingerprint(self) -> Result<Fingerprint, Failure> {
        self.integer("fingerprint").map(Fingerprint::from_number)
    }

    /// The row that was looked up into a field, if there is one.
    pub(super) fn looked_up(self, name: &str) -> Result<Option<Self>, Failure> {
        let Some(RawBsonRef::Array(rows)) = self.field(name)? else { return Ok(None) };
        match rows.into_iter().next() {
            None => Ok(None),
            Some(Ok(RawBsonRef::Document(row))) => Ok(Some(Self(row))),
            Some(_) => Err(Failure::Answer("a joined row that is not a document")),
        }
    }

    /// The place of a log entry, or of the last operation of a document.
    pub(super) fn position(self) -> Result<Position, Failure> {
        Ok(Position { seq: self.integer("seq")?, fingerprint: self.fingerprint()? })
    }

    pub(super) fn head(self) -> Result<Head, Failure> {
        // Retention has written the fields of the floor, if it ever removed anything.
        let floor = Position {
            seq: self.optional_integer("floor")?.unwrap_or_default(),
            fingerprint: Fingerprint::from_number(self.optional_integer("floorFingerprint")?.unwrap_or_default()),
        };
        let tombstones_gone = self.optional_integer("tombstonesGone")?.unwrap_or_default();
        Ok(Head { position: self.position()?, horizon: self.integer("horizon")?, floor, tombstones_gone })
    }

    pub(super) fn key(self) -> Result<DocumentKey, Failure> {
        Ok(key(self.text("collection")?, self.text("docId")?))
    }

    fn data(self) -> Result<Option<Object>, Failure> {
        self.optional_text("data")?.map(object).transpose()
    }

    /// A log entry, or a document in the form of one.
    pub(super) fn log_entry(self, pool: &mut TextPool) -> Result<LogEntry, Failure> {
        let data = self.optional_text("data")?;
        let (id, kind) = match self.optional_text("operationId")? {
            None => (self.text("id")?, self.kind()?),
            Some(id) if data.is_some() => (id, OperationKind::Insert),
            Some(id) => (id, OperationKind::Delete),
        };
        let (collection, document_id) = (self.text("collection")?, self.text("docId")?);
        let (client_id, clock) = (self.text("clientId")?, self.text("clock")?);
        let texts = [id, collection, document_id, data.unwrap_or_default(), client_id, clock].map(str::as_bytes);
        let [id, collection, document_id, kept_data, client_id, clock] = pool.copy_texts(texts).map_err(|_| NO_TEXT)?;
        let data = data.map(|_| object(kept_data)).transpose()?;
        Ok(LogEntry {
            seq: self.integer("seq")?,
            id: OperationId::from_store(id),
            change: Change::new(kind, data).ok_or(Failure::Answer("data that the kind of operation does not have"))?,
            key: key(collection, document_id),
            timestamp: self.integer("timestamp")?,
            client_id: ClientId::from_store(client_id),
            clock: object(clock)?,
            rev: if self.has("rev")? { Some(self.integer("rev")?) } else { None },
            subject: None,
            resolution: None,
        })
    }

    /// The subject that pushed a log entry, or that owns a client id.
    pub(super) fn subject(self) -> Result<Option<Subject>, Failure> {
        Ok(self.optional_text("subject")?.map(Subject::from_store))
    }

    /// The record of a conflict, if the log entry is a resolution.
    pub(super) fn resolution(self) -> Result<Option<Object>, Failure> {
        let kept = self.optional_text("kept")?.map(resolution_of);
        kept.transpose().map(Option::flatten).map_err(|problem| damaged("kept", problem))
    }

    /// The owner of a client id, and the client id.
    pub(super) fn owner(self) -> Result<(ClientId, ClientOwner), Failure> {
        let owner = ClientOwner { subject: self.subject()?, counter: self.integer("counter")? };
        Ok((ClientId::from_store(self.text("clientId")?), owner))
    }

    fn kind(self) -> Result<OperationKind, Failure> {
        OperationKind::parse(self.text("kind")?).map_err(|_| Failure::Answer("an unknown kind of operation"))
    }

    pub(super) fn document(self) -> Result<Document, Failure> {
        Ok(Document {
            rev: self.integer("rev")?,
            data: self.data()?,
            clock: VectorClock::from_store(self.text("clock")?)
                .map_err(|_| Failure::Answer("a damaged vector clock"))?,
            operation_id: OperationId::from_store(self.text("operationId")?),
            client_id: ClientId::from_store(self.text("clientId")?),
            timestamp: self.integer("timestamp")?,
            former_labels: FormerLabels::from_stored(self.optional_text("formerLabels")?, self.integer("seq")?)?,
        })
    }

    /// A document that is not deleted, with its clock or without.
    pub(super) fn live_document(self, with_clock: bool) -> Result<LiveDocument, Failure> {
        let data = self.optional_text("data")?.ok_or(Failure::Answer("a document without data"))?;
        let texts = [self.text("collection")?, self.text("docId")?, self.text("operationId")?, data];
        let [collection, id, operation_id, data] = copy_texts(texts.map(str::as_bytes)).map_err(|_| NO_TEXT)?;
        Ok(LiveDocument {
            key: key(collection, id),
            rev: self.integer("rev")?,
            seq: self.integer("seq")?,
            operation_id: OperationId::from_store(operation_id),
            data: object(data)?,
            clock: if with_clock { Some(object(self.text("clock")?)?) } else { None },
        })
    }
}
