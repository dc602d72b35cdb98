//! Rows of the tables as values of the core, and back.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::core::clock::VectorClock;
use crate::core::cursor::Position;
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::RawJson;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::operation::{LogEntry, OperationKind};
use crate::store::integers::unsigned;

/// The columns of `operations` that [`read_log_entry`] reads.
pub(super) const LOG_ENTRY_COLUMNS: &str = "seq, id, kind, collection, document_id, data, timestamp, client_id, clock";

/// The columns of `documents` that [`read_log_entry`] reads: the state in the form of an operation.
pub(super) const STATE_COLUMNS: &str = "seq, operation_id, CASE WHEN is_deleted THEN 'delete' ELSE 'insert' END, collection, id, \
                                 data, timestamp, client_id, clock";

/// The columns of `documents` that [`read_live_document`] reads.
pub(super) const LIVE_DOCUMENT_COLUMNS: &str = "collection, id, rev, seq, operation_id, data";

/// A sequence number and its fingerprint, from two columns that follow each other.
pub(super) fn read_position(row: &Row<'_>, first_column: usize) -> rusqlite::Result<Position> {
    Ok(Position {
        seq: unsigned(row.get(first_column)?),
        fingerprint: Fingerprint::from_number(unsigned(row.get(first_column + 1)?)),
    })
}

fn text<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<&'row str> {
    Ok(row.get_ref(column)?.as_str()?)
}

fn optional_json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RawJson>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(RawJson::trusted))
}

fn read_key(row: &Row<'_>, first_column: usize) -> rusqlite::Result<DocumentKey> {
    Ok(DocumentKey {
        collection: Collection::trusted(text(row, first_column)?),
        id: DocumentId::trusted(text(row, first_column + 1)?),
    })
}

/// A row of [`LOG_ENTRY_COLUMNS`] or [`STATE_COLUMNS`].
pub(super) fn read_log_entry(row: &Row<'_>) -> rusqlite::Result<LogEntry> {
    Ok(LogEntry {
        seq: unsigned(row.get(0)?),
        id: OperationId::trusted(text(row, 1)?),
        kind: OperationKind::parse(text(row, 2)?).ok_or_else(|| damaged(2, "no kind of an operation"))?,
        key: read_key(row, 3)?,
        data: optional_json(row, 5)?,
        timestamp: unsigned(row.get(6)?),
        client_id: ClientId::trusted(text(row, 7)?),
        clock: RawJson::trusted(text(row, 8)?),
    })
}

/// A row of [`LIVE_DOCUMENT_COLUMNS`] that is not a tombstone.
pub(super) fn read_live_document(row: &Row<'_>) -> rusqlite::Result<LiveDocument> {
    Ok(LiveDocument {
        key: read_key(row, 0)?,
        rev: unsigned(row.get(2)?),
        seq: unsigned(row.get(3)?),
        operation_id: OperationId::trusted(text(row, 4)?),
        data: RawJson::trusted(text(row, 5)?),
    })
}

/// A row of `rev, data, clock, operation_id, client_id, timestamp`: the state that a decision works on.
pub(super) fn read_document(row: &Row<'_>) -> rusqlite::Result<Document> {
    Ok(Document {
        rev: unsigned(row.get(0)?),
        data: optional_json(row, 1)?,
        clock: VectorClock::parse(text(row, 2)?).ok_or_else(|| damaged(2, "no vector clock"))?,
        operation_id: OperationId::trusted(text(row, 3)?),
        client_id: ClientId::trusted(text(row, 4)?),
        timestamp: unsigned(row.get(5)?),
    })
}

/// The error of a column that holds what we never wrote.
pub(super) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}
