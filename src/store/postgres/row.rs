//! Rows as values of the core.

use tokio_postgres::Row;
use tokio_postgres::types::FromSql;

use super::failure::Failure;
use crate::core::clock::VectorClock;
use crate::core::cursor::{Head, Position};
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::RawJson;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::operation::{LogEntry, OperationKind};
use crate::store::integers::unsigned;

/// Takes the columns of a row one after the other.
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// Those of a row behind its first ones.
    pub(super) fn behind(row: &'a Row, columns: usize) -> Self {
        Self { row, next: columns }
    }

    pub(super) fn take<T: FromSql<'a>>(&mut self) -> Result<T, Failure> {
        let column = self.next;
        self.next += 1;
        Ok(self.row.try_get(column)?)
    }

    pub(super) fn integer(&mut self) -> Result<u64, Failure> {
        self.take().map(unsigned)
    }

    pub(super) fn optional_integer(&mut self) -> Result<Option<u64>, Failure> {
        Ok(self.take::<Option<i64>>()?.map(unsigned))
    }

    pub(super) fn optional_fingerprint(&mut self) -> Result<Option<Fingerprint>, Failure> {
        Ok(self.optional_integer()?.map(Fingerprint::from_number))
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, Failure> {
        self.integer().map(Fingerprint::from_number)
    }

    fn text(&mut self) -> Result<&'a str, Failure> {
        self.take()
    }

    fn optional_json(&mut self) -> Result<Option<RawJson>, Failure> {
        Ok(self.take::<Option<&str>>()?.map(RawJson::trusted))
    }

    /// `head_seq, head_fingerprint, horizon`.
    pub(super) fn head(&mut self) -> Result<Head, Failure> {
        let position = Position { seq: self.integer()?, fingerprint: self.fingerprint()? };
        Ok(Head { position, horizon: self.integer()? })
    }

    /// `collection, doc_id`.
    pub(super) fn key(&mut self) -> Result<DocumentKey, Failure> {
        Ok(DocumentKey { collection: Collection::trusted(self.text()?), id: DocumentId::trusted(self.text()?) })
    }

    /// `seq, fingerprint, id, kind, collection, doc_id, data, timestamp, client_id, clock`.
    pub(super) fn log_entry(&mut self) -> Result<(LogEntry, Fingerprint), Failure> {
        let seq = self.integer()?;
        let fingerprint = self.fingerprint()?;
        let entry = LogEntry {
            seq,
            id: OperationId::trusted(self.text()?),
            kind: OperationKind::parse(self.text()?).ok_or(Failure::Answer("an unknown kind of operation"))?,
            key: self.key()?,
            data: self.optional_json()?,
            timestamp: self.integer()?,
            client_id: ClientId::trusted(self.text()?),
            clock: RawJson::trusted(self.text()?),
        };
        Ok((entry, fingerprint))
    }

    /// `rev, body, operation_id, client_id, timestamp, clock`.
    pub(super) fn document(&mut self) -> Result<Document, Failure> {
        Ok(Document {
            rev: self.integer()?,
            data: self.optional_json()?,
            operation_id: OperationId::trusted(self.text()?),
            client_id: ClientId::trusted(self.text()?),
            timestamp: self.integer()?,
            clock: VectorClock::parse(self.text()?).ok_or(Failure::Answer("a damaged vector clock"))?,
        })
    }

    /// `collection, doc_id, rev, seq, operation_id, body`, not of a tombstone.
    pub(super) fn live_document(&mut self) -> Result<LiveDocument, Failure> {
        Ok(LiveDocument {
            key: self.key()?,
            rev: self.integer()?,
            seq: self.integer()?,
            operation_id: OperationId::trusted(self.text()?),
            data: RawJson::trusted(self.text()?),
        })
    }
}
