//! Rows of the tables as values of the core, and back.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::core::clock::VectorClock;
use crate::core::cursor::Position;
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::RawJson;
use crate::core::names::{ClientId, DocumentKey, OperationId};
use crate::core::operation::{LogEntry, OperationKind};
use crate::core::text::{TextPool, together};
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

/// The bytes of a text. Several texts are checked together.
fn bytes<'row>(row: &'row Row<'_>, column: usize) -> rusqlite::Result<&'row [u8]> {
    Ok(row.get_ref(column)?.as_bytes()?)
}

fn optional_json(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<RawJson>> {
    Ok(row.get_ref(column)?.as_str_or_null()?.map(RawJson::trusted))
}

/// A row of [`LOG_ENTRY_COLUMNS`] or [`STATE_COLUMNS`].
pub(super) fn read_log_entry(row: &Row<'_>, pool: &mut TextPool) -> rusqlite::Result<LogEntry> {
    let data = row.get_ref(5)?.as_bytes_or_null()?;
    let (id, collection, document_id) = (bytes(row, 1)?, bytes(row, 3)?, bytes(row, 4)?);
    let (client_id, clock) = (bytes(row, 7)?, bytes(row, 8)?);
    let [id, collection, document_id, kept_data, client_id, clock] =
        pool.keep([id, collection, document_id, data.unwrap_or_default(), client_id, clock])?;
    Ok(LogEntry {
        seq: unsigned(row.get(0)?),
        id: OperationId::shared(id),
        kind: OperationKind::parse(text(row, 2)?).ok_or_else(|| damaged(2, "no kind of an operation"))?,
        key: DocumentKey::shared(collection, document_id),
        data: data.map(|_| RawJson::shared(kept_data)),
        timestamp: unsigned(row.get(6)?),
        client_id: ClientId::shared(client_id),
        clock: RawJson::shared(clock),
    })
}

/// A row of [`LIVE_DOCUMENT_COLUMNS`] that is not a tombstone.
pub(super) fn read_live_document(row: &Row<'_>) -> rusqlite::Result<LiveDocument> {
    let [collection, id, operation_id, data] =
        together([bytes(row, 0)?, bytes(row, 1)?, bytes(row, 4)?, bytes(row, 5)?])?;
    Ok(LiveDocument {
        key: DocumentKey::shared(collection, id),
        rev: unsigned(row.get(2)?),
        seq: unsigned(row.get(3)?),
        operation_id: OperationId::shared(operation_id),
        data: RawJson::shared(data),
    })
}

/// A row of `rev, data, clock, operation_id, client_id, timestamp`: the state for a decision.
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

/// The error for a column with a value that this store never writes.
pub(super) fn damaged(column: usize, what: &'static str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}
