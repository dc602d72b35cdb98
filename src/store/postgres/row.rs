//! Rows as values of the core.

use std::error::Error;
use std::fmt;

use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Column, Row};

use super::failure::Failure;
use crate::core::access::labels::FormerLabels;
use crate::core::clock::VectorClock;
use crate::core::cursor::{Head, Position};
use crate::core::decide::resolution_of;
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, FromStore as _, OperationId, Subject};
use crate::core::operation::{Change, LogEntry, OperationKind};
use crate::core::text::{Text, TextPool, copy_texts};
use crate::store::integers::unsigned;

const NO_TEXT: Failure = Failure::Answer("a text that is not UTF-8");

/// The bytes of a text. Several texts are checked together.
struct TextBytes<'a>(&'a [u8]);

impl<'a> FromSql<'a> for TextBytes<'a> {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(bytes))
    }

    fn accepts(of: &Type) -> bool {
        <&str as FromSql>::accepts(of)
    }
}

fn key(collection: impl Into<Text>, id: impl Into<Text>) -> DocumentKey {
    DocumentKey { collection: Collection::from_store(collection), id: DocumentId::from_store(id) }
}

/// An object that was kept as a text.
fn object(text: impl Into<Text>) -> Result<Object, Failure> {
    Object::from_store(text).map_err(|_| Failure::Answer("a text that is not an object"))
}

/// Reads the columns of a row one after the other.
pub(super) struct Columns<'a> {
    row: &'a Row,
    next: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn of(row: &'a Row) -> Self {
        Self { row, next: 0 }
    }

    /// The columns of a row after its first ones.
    pub(super) fn behind(row: &'a Row, columns: usize) -> Self {
        Self { row, next: columns }
    }

    pub(super) fn take<T: FromSql<'a>>(&mut self) -> Result<T, Failure> {
        let column = self.next;
        self.next += 1;
        Ok(self.row.try_get(column)?)
    }

    /// The failure of a row whose column that was taken last is damaged.
    pub(super) fn damaged(&self, what: impl fmt::Display) -> Failure {
        let column = self.next.checked_sub(1).and_then(|last| self.row.columns().get(last));
        Failure::Damaged(format!("column {}: {what}", column.map_or("?", Column::name)))
    }

    pub(super) fn integer<N: From<u64>>(&mut self) -> Result<N, Failure> {
        let integer = self.take()?;
        unsigned(integer).map_err(|negative| self.damaged(negative))
    }

    pub(super) fn optional_integer<N: From<u64>>(&mut self) -> Result<Option<N>, Failure> {
        let integer = self.take::<Option<i64>>()?;
        integer.map(unsigned).transpose().map_err(|negative| self.damaged(negative))
    }

    pub(super) fn optional_fingerprint(&mut self) -> Result<Option<Fingerprint>, Failure> {
        Ok(self.optional_integer()?.map(Fingerprint::from_number))
    }

    fn fingerprint(&mut self) -> Result<Fingerprint, Failure> {
        self.integer().map(Fingerprint::from_number)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Failure> {
        self.take()
    }

    fn bytes(&mut self) -> Result<&'a [u8], Failure> {
        self.take().map(|TextBytes(bytes)| bytes)
    }

    fn optional_json(&mut self) -> Result<Option<Object>, Failure> {
        self.take::<Option<&str>>()?.map(object).transpose()
    }

    /// `head_seq, head_fingerprint, horizon`.
    pub(super) fn head(&mut self) -> Result<Head, Failure> {
        Ok(Head { position: self.position()?, horizon: self.integer()?, ..Head::default() })
    }

    /// `seq, fingerprint`.
    pub(super) fn position(&mut self) -> Result<Position, Failure> {
        Ok(Position { seq: self.integer()?, fingerprint: self.fingerprint()? })
    }

    /// `collection, doc_id`.
    pub(super) fn key(&mut self) -> Result<DocumentKey, Failure> {
        Ok(key(self.text()?, self.text()?))
    }

    /// `seq, fingerprint, id, kind, collection, doc_id, data, timestamp, client_id, clock`.
    pub(super) fn log_entry(&mut self, pool: &mut TextPool) -> Result<(LogEntry, Fingerprint), Failure> {
        let (seq, fingerprint) = (self.integer()?, self.fingerprint()?);
        let (id, kind, collection, document_id) = (self.bytes()?, self.text()?, self.bytes()?, self.bytes()?);
        let (data, timestamp) = (self.take::<Option<TextBytes<'_>>>()?.map(|TextBytes(bytes)| bytes), self.integer()?);
        let (client_id, clock) = (self.bytes()?, self.bytes()?);
        let texts = pool.copy_texts([id, collection, document_id, data.unwrap_or_default(), client_id, clock]);
        let [id, collection, document_id, kept_data, client_id, clock] = texts.map_err(|_| NO_TEXT)?;
        let kind = OperationKind::parse(kind).map_err(|_| Failure::Answer("an unknown kind of operation"))?;
        let data = data.map(|_| object(kept_data)).transpose()?;
        let entry = LogEntry {
            seq,
            id: OperationId::from_store(id),
            change: Change::new(kind, data).ok_or(Failure::Answer("data that the kind of operation does not have"))?,
            key: key(collection, document_id),
            timestamp,
            client_id: ClientId::from_store(client_id),
            clock: object(clock)?,
            rev: None,
            subject: None,
            resolution: None,
        };
        Ok((entry, fingerprint))
    }

    /// A subject, if there is one.
    pub(super) fn subject(&mut self) -> Result<Option<Subject>, Failure> {
        Ok(self.take::<Option<&str>>()?.map(Subject::from_store))
    }

    /// The record of a conflict, if the text that is kept beside an entry has one.
    pub(super) fn resolution(&mut self) -> Result<Option<Object>, Failure> {
        let kept = self.take::<Option<&str>>()?.map(resolution_of);
        kept.transpose().map(Option::flatten).map_err(|problem| self.damaged(problem))
    }

    /// `rev, body, operation_id, client_id, timestamp, clock`.
    pub(super) fn document(&mut self) -> Result<Document, Failure> {
        Ok(Document {
            rev: self.integer()?,
            data: self.optional_json()?,
            operation_id: OperationId::from_store(self.text()?),
            client_id: ClientId::from_store(self.text()?),
            timestamp: self.integer()?,
            clock: VectorClock::from_store(self.text()?).map_err(|_| Failure::Answer("a damaged vector clock"))?,
            former_labels: FormerLabels::default(),
        })
    }

    /// A vector clock, which is kept as a text.
    pub(super) fn clock(&mut self) -> Result<Object, Failure> {
        object(self.text()?)
    }

    /// `collection, doc_id, rev, seq, operation_id, body`, not of a tombstone.
    pub(super) fn live_document(&mut self) -> Result<LiveDocument, Failure> {
        let (collection, id, rev, seq) = (self.bytes()?, self.bytes()?, self.integer()?, self.integer()?);
        let texts = copy_texts([collection, id, self.bytes()?, self.bytes()?]);
        let [collection, id, operation_id, data] = texts.map_err(|_| NO_TEXT)?;
        Ok(LiveDocument {
            key: key(collection, id),
            rev,
            seq,
            operation_id: OperationId::from_store(operation_id),
            data: object(data)?,
            clock: None,
        })
    }
}
