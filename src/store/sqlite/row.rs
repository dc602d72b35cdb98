//! Rows of the tables as values of the core, and back.

use std::fmt;

use rusqlite::Row;
use rusqlite::types::{Type, ValueRef};

use crate::core::access::labels::{DamagedLabels, FormerLabels};
use crate::core::clock::VectorClock;
use crate::core::cursor::{Head, Position};
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::resolution_of;
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, FromStore as _, OperationId, Subject};
use crate::core::operation::{Change, LogEntry, OperationKind};
use crate::core::text::{Text, TextPool, copy_texts};
use crate::store::integers::unsigned;

/// The columns of `operations` that [`read_log_entry`] reads, without the subject.
pub(super) const LOG_ENTRY_COLUMNS: &str = "seq, id, kind, collection, document_id, data, timestamp, client_id, clock, \
                                     NULL AS rev, NULL AS subject, NULL AS former_labels, NULL AS kept";

/// The same with the subject, and with what is kept beside a resolution.
pub(super) const AUDIT_COLUMNS: &str = "seq, id, kind, collection, document_id, data, timestamp, client_id, clock, \
                                     NULL AS rev, subject, NULL AS former_labels, kept";

/// The columns of `documents` that [`read_log_entry`] reads: the state in the form of an operation.
pub(super) const STATE_COLUMNS: &str = "seq, operation_id, CASE WHEN is_deleted THEN 'delete' ELSE 'insert' END AS kind, collection, id, \
                                 data, timestamp, client_id, clock, rev, NULL AS subject, former_labels, NULL AS kept";

/// The columns of `documents` that [`read_live_document`] reads, before the clock or a null.
pub(super) const LIVE_DOCUMENT_COLUMNS: &str = "collection, id, rev, seq, operation_id, data";

/// A sequence number and its fingerprint, from two columns that follow each other.
pub(super) fn read_position(row: &Row<'_>, first_column: usize) -> rusqlite::Result<Position> {
    Ok(Position {
        seq: integer(row, first_column)?,
        fingerprint: Fingerprint::from_number(integer(row, first_column + 1)?),
    })
}

/// The columns of a head that [`read_head_row`] reads.
pub(super) const HEAD_COLUMNS: &str = "seq, fingerprint, horizon, floor, floor_fingerprint, tombstones_gone";

/// A head, from the first columns.
pub(super) fn read_head_row(row: &Row<'_>) -> rusqlite::Result<Head> {
    let (horizon, tombstones_gone) = (integer(row, 2)?, integer(row, 5)?);
    Ok(Head { position: read_position(row, 0)?, horizon, floor: read_position(row, 3)?, tombstones_gone })
}

/// A number that is never negative.
pub(super) fn integer<N: From<u64>>(row: &Row<'_>, column: usize) -> rusqlite::Result<N> {
    unsigned(row.get(column)?).map_err(|negative| damaged(row, column, negative))
}

/// A number that is never negative, or null.
fn optional_integer<N: From<u64>>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<N>> {
    if row.get_ref(column)? == ValueRef::Null { Ok(None) } else { integer(row, column).map(Some) }
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<&'row str> {
    Ok(row.get_ref(column)?.as_str()?)
}

/// The bytes of a text. Several texts are checked together.
fn bytes<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<&'row [u8]> {
    Ok(row.get_ref(column)?.as_bytes()?)
}

fn optional_json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Object>> {
    let object = row.get_ref(column)?.as_str_or_null()?.map(Object::from_store);
    object.transpose().map_err(|_| damaged(row, column, "no object"))
}

fn key(collection: impl Into<Text>, id: impl Into<Text>) -> DocumentKey {
    DocumentKey { collection: Collection::from_store(collection), id: DocumentId::from_store(id) }
}

/// A row of [`LOG_ENTRY_COLUMNS`], [`AUDIT_COLUMNS`] or [`STATE_COLUMNS`].
pub(super) fn read_log_entry(row: &Row<'_>, pool: &mut TextPool) -> rusqlite::Result<LogEntry> {
    let kind = OperationKind::parse(text(row, 2)?).map_err(|_| damaged(row, 2, "no kind of an operation"))?;
    let data = row.get_ref(5)?.as_bytes_or_null()?;
    let (id, collection, document_id) = (bytes(row, 1)?, bytes(row, 3)?, bytes(row, 4)?);
    let (client_id, clock) = (bytes(row, 7)?, bytes(row, 8)?);
    let [id, collection, document_id, kept_data, client_id, clock] =
        pool.copy_texts([id, collection, document_id, data.unwrap_or_default(), client_id, clock])?;
    let data = data.map(|_| Object::from_store(kept_data)).transpose().map_err(|_| damaged(row, 5, "no object"))?;
    Ok(LogEntry {
        seq: integer(row, 0)?,
        id: OperationId::from_store(id),
        change: Change::new(kind, data).ok_or_else(|| damaged(row, 5, "data that the kind does not have"))?,
        key: key(collection, document_id),
        timestamp: integer(row, 6)?,
        client_id: ClientId::from_store(client_id),
        clock: Object::from_store(clock).map_err(|_| damaged(row, 8, "no vector clock"))?,
        rev: optional_integer(row, 9)?,
        subject: row.get_ref(10)?.as_str_or_null()?.map(Subject::from_store),
        resolution: None,
    })
}

/// The record of a conflict, in a row of [`AUDIT_COLUMNS`].
pub(super) fn resolution(row: &Row<'_>) -> rusqlite::Result<Option<Object>> {
    let kept = row.get_ref(12)?.as_str_or_null()?.map(resolution_of);
    kept.transpose().map(Option::flatten).map_err(|problem| damaged(row, 12, problem))
}

/// A row of [`LIVE_DOCUMENT_COLUMNS`] and a clock, that is not a tombstone.
pub(super) fn read_live_document(row: &Row<'_>) -> rusqlite::Result<LiveDocument> {
    let clock = row.get_ref(6)?.as_str_or_null()?.map(Object::from_store);
    let [collection, id, operation_id, data] =
        copy_texts([bytes(row, 0)?, bytes(row, 1)?, bytes(row, 4)?, bytes(row, 5)?])?;
    Ok(LiveDocument {
        key: key(collection, id),
        rev: integer(row, 2)?,
        seq: integer(row, 3)?,
        operation_id: OperationId::from_store(operation_id),
        data: Object::from_store(data).map_err(|_| damaged(row, 5, "no object"))?,
        clock: clock.transpose().map_err(|_| damaged(row, 6, "no vector clock"))?,
    })
}

/// The former labels in a row of [`LOG_ENTRY_COLUMNS`] or [`STATE_COLUMNS`].
pub(super) fn former_labels<'row>(row: &'row Row<'_>) -> rusqlite::Result<Option<&'row str>> {
    Ok(row.get_ref(FORMER_LABELS)?.as_str_or_null()?)
}

/// The error for damaged former labels in such a row.
pub(super) fn damaged_labels(row: &Row<'_>, problem: DamagedLabels) -> rusqlite::Error {
    damaged(row, FORMER_LABELS, problem)
}

const FORMER_LABELS: usize = 11;

/// A row of `rev, data, clock, operation_id, client_id, timestamp, former_labels, seq`: the state for a decision.
pub(super) fn read_document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        rev: integer(row, 0)?,
        data: optional_json(row, 1)?,
        clock: VectorClock::from_store(text(row, 2)?).map_err(|_| damaged(row, 2, "no vector clock"))?,
        operation_id: OperationId::from_store(text(row, 3)?),
        client_id: ClientId::from_store(text(row, 4)?),
        timestamp: integer(row, 5)?,
        former_labels: FormerLabels::from_stored(row.get_ref(6)?.as_str_or_null()?, integer(row, 7)?)
            .map_err(|problem| damaged(row, 6, problem))?,
    })
}

/// A row of `subject, counter`.
pub(super) fn read_owner(row: &Row<'_>) -> rusqlite::Result<ClientOwner> {
    Ok(ClientOwner { subject: row.get_ref(0)?.as_str_or_null()?.map(Subject::from_store), counter: integer(row, 1)? })
}

/// The error for a column with a value that this store never writes. It names the column and the problem, but not the
/// value.
pub(super) fn damaged(row: &Row<'_>, column: usize, what: impl fmt::Display) -> rusqlite::Error {
    let name = row.as_ref().column_name(column).unwrap_or("?");
    let why = format!("a row is damaged, column {name}: {what}");
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, why.into())
}
