//! The commit of a batch: a transaction that begins with the tenant's head.
//!
//! If no other process has written for the tenant lately, one command writes everything. Its guard is the end of the
//! log that this process remembers. Otherwise the head is read first, and each collection gets its own command.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::options::{InsertOneModel, ReplaceOneModel, ReturnDocument, UpdateOneModel, WriteModel};
use mongodb::{ClientSession, Namespace};

use super::tails::Tail;
use super::transaction::{self, Verdict, Work};
use crate::core::clock::VectorClock;
use crate::core::cursor::Position;
use crate::core::decide::owners::OwnerWrite;
use crate::core::decide::{Batch, DocumentWrite};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::TenantId;
use crate::core::numbers::UnixMs;
use crate::limits::store::mongodb::{AT_ONCE_MAX_OPERATIONS, COMMAND_MAX_BYTES};
use crate::store::integers::signed;
use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::database::Database;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::{Row, document_row, entry_key, entry_row, owner_filter, owner_row, pushed_id_row};
use crate::store::{Commit, ErrorKind};

/// The modulus of fingerprints.
const FINGERPRINTS: i64 = 1 << 48;

/// See [`crate::store::Store::commit`].
pub(crate) async fn commit(database: &Database, tenant: &TenantId, batch: &Batch) -> Result<Commit, Failure> {
    let committing =
        Committing { database, tenant, batch, may_be_at_once: AtomicBool::new(true), missed: Mutex::new(None) };
    match transaction::run(database, tenant, &committing).await? {
        Some(Moved { before, tail }) => {
            database.tails.moved(tenant, before, tail);
            Ok(Commit::Done)
        }
        None => Ok(Commit::Contended),
    }
}

struct Committing<'a> {
    database: &'a Database,
    tenant: &'a TenantId,
    batch: &'a Batch,
    /// Whether one command for everything was not tried yet.
    may_be_at_once: AtomicBool,
    /// The remembered end of the log that one command for everything did not find.
    missed: Mutex<Option<Tail>>,
}

/// How a commit has moved the end of the log.
#[derive(Debug, Clone, Copy)]
struct Moved {
    before: Position,
    tail: Tail,
}

#[async_trait]
impl Work for Committing<'_> {
    /// `None` if the batch is contended.
    type Outcome = Option<Moved>;

    async fn run(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Verdict<Option<Moved>>, Failure> {
        match self.likely_tail(collections) {
            Some(tail) => self.write_at_once(collections, session, tail).await,
            None => self.write_step_by_step(collections, session).await,
        }
    }
}

impl Committing<'_> {
    /// The likely end of the log, if it is worth trying to write everything with one command.
    fn likely_tail(&self, collections: &Collections) -> Option<Tail> {
        let is_small = self.batch.operations.len() <= AT_ONCE_MAX_OPERATIONS && self.bytes() <= COMMAND_MAX_BYTES;
        let may_be = is_small
            && collections.has_bulk_writes.load(Ordering::Relaxed)
            && self.may_be_at_once.swap(false, Ordering::Relaxed);
        may_be.then(|| self.database.tails.likely(self.tenant)).flatten()
    }

    /// The size of all data and clocks to write, in bytes.
    fn bytes(&self) -> usize {
        let Batch { operations, documents, .. } = self.batch;
        let operations = operations.iter().map(|operation| (operation.data(), &operation.clock));
        let documents = documents.iter().map(|write| (write.document.data.as_ref(), &write.document.clock));
        let kept: usize = self.batch.kept().map(|(_, kept)| kept.as_str().len()).sum();
        let stamps: usize = self.batch.documents.iter().map(stamps_bytes).sum();
        operations.chain(documents).map(|(data, clock)| bytes_of(data, clock)).sum::<usize>() + kept + stamps
    }

    /// Writes everything with one command, if the log still ends where this process remembers. If any guard fails,
    /// nothing is written, and [`Self::write_step_by_step`] finds out the reason.
    async fn write_at_once(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
        before: Tail,
    ) -> Result<Verdict<Option<Moved>>, Failure> {
        let positions = self.positions(before.position);
        let tail = Tail {
            position: positions.last().copied().unwrap_or(before.position),
            received_at_ms: before.received_at_ms.max(self.batch.received_at_ms),
        };
        let models = self.models(collections, before, &positions, tail);
        let expected = models.len();
        let done = collections.in_time(collections.client.bulk_write(models).session(session)).await;
        match done {
            Ok(done) if done.matched_count.saturating_add(done.inserted_count) == signed(expected as u64) => {
                return Ok(Verdict::Keep(Some(Moved { before: before.position, tail })));
            }
            Err(failure) if failure.is_write_conflict() => return Err(failure),
            // This happens on a replica set whose upgrade to MongoDB 8.0 is not complete.
            Err(failure) if failure.is_unknown_command() => {
                tracing::warn!(error = %failure, "the server takes no bulk writes; commits take a few commands more");
                collections.has_bulk_writes.store(false, Ordering::Relaxed);
            }
            Ok(_) => *self.missed.lock().unwrap_or_else(PoisonError::into_inner) = Some(before),
            Err(failure) if failure.kind() == ErrorKind::Failed => {
                tracing::debug!(error = %failure, "a commit at once has failed, and is made step by step");
            }
            Err(failure) => {
                self.database.tails.missed(self.tenant);
                return Err(failure);
            }
        }
        self.database.tails.missed(self.tenant);
        Ok(Verdict::Again)
    }

    /// All statements of the commit, beginning with the one for the head.
    fn models(&self, collections: &Collections, before: Tail, positions: &[Position], tail: Tail) -> Vec<WriteModel> {
        let head = doc! {
            "_id": self.tenant.as_str(),
            "tenant": self.tenant.as_str(),
            "seq": signed(before.position.seq),
            "fingerprint": signed(before.position.fingerprint.to_number()),
            "receivedAtMs": signed(before.received_at_ms),
        };
        let change = doc! {
            "$set": {
                "seq": signed(tail.position.seq),
                "fingerprint": signed(tail.position.fingerprint.to_number()),
                "receivedAtMs": signed(tail.received_at_ms),
            },
            "$inc": { "liveDocuments": self.batch.live_documents_delta, "bytes": self.batch.bytes_delta },
        };
        let head = UpdateOneModel::builder().namespace(collections.heads.namespace()).filter(head).update(change);
        let insert = |namespace: Namespace, row: Bson| {
            WriteModel::from(InsertOneModel::builder().namespace(namespace).document(row).build())
        };
        let entries = self.entries(positions, tail.received_at_ms);
        let entries = entries.map(|row| insert(collections.operations.namespace(), row));
        let owners = self.batch.owners.iter().map(|write| {
            let namespace = collections.owners.namespace();
            match self.owner_replacement(write) {
                None => insert(namespace, owner_row(self.tenant, write)),
                Some((guard, row)) => {
                    ReplaceOneModel::builder().namespace(namespace).filter(guard).replacement(row).build().into()
                }
            }
        });
        let documents = self.batch.documents.iter().map(|write| {
            let namespace = collections.documents.namespace();
            match self.replacement(write, positions) {
                None => insert(namespace, self.row(write, positions)),
                Some((guard, row)) => {
                    ReplaceOneModel::builder().namespace(namespace).filter(guard).replacement(row).build().into()
                }
            }
        });
        // This changes nothing, but must find the last entry. It fails if the log was dropped, and its indexes with it.
        let last = doc! { "_id": entry_key(self.tenant, before.position.seq), "tenant": self.tenant.as_str() };
        let touch = doc! { "$set": { "tenant": self.tenant.as_str() } };
        let last = UpdateOneModel::builder().namespace(collections.operations.namespace()).filter(last).update(touch);
        let guards = [WriteModel::from(head.build()), WriteModel::from(last.build())];
        guards.into_iter().chain(entries).chain(owners).chain(documents).collect()
    }

    /// Whether the database and its log still exist, and were not dropped.
    ///
    /// This is checked if the head is missing, as for a new tenant, and once for a log to which this process has not
    /// written. It is also checked if the head is as expected but the last entry of the log is missing.
    async fn is_as_it_was(&self, collections: &Collections, before: Position) -> Result<bool, Failure> {
        if before == Position::START {
            return self.database.is_still_ours(collections, self.tenant).await;
        }
        let missed = *self.missed.lock().unwrap_or_else(PoisonError::into_inner);
        if missed.is_some_and(|tail| tail.position == before) || !self.database.tails.knows(self.tenant) {
            return self.database.still_has_unique_ids(collections).await;
        }
        Ok(true)
    }

    /// Reads the head, and then writes with one command for each collection.
    async fn write_step_by_step(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Verdict<Option<Moved>>, Failure> {
        let (before, received_at_ms) = self.take_numbers(collections, session).await?;
        if !self.is_as_it_was(collections, before).await? {
            self.database.forget();
            return Ok(Verdict::Undo(None));
        }
        let positions = self.positions(before);
        let written = async {
            self.insert_entries(collections, session, &positions, received_at_ms).await?;
            self.insert_documents(collections, session, &positions).await?;
            self.insert_owners(collections, session).await?;
            if !self.replace_owners(collections, session).await? {
                return Ok(false);
            }
            self.replace_documents(collections, session, &positions).await
        };
        match written.await {
            Ok(true) => {
                let tail = Tail { position: positions.last().copied().unwrap_or(before), received_at_ms };
                Ok(Verdict::Keep(Some(Moved { before, tail })))
            }
            Ok(false) => Ok(Verdict::Undo(None)),
            // An id is known already, or a document or an owner exists that the decision did not see.
            Err(failure) if failure.is_duplicate_key() => Ok(Verdict::Undo(None)),
            Err(failure) => Err(failure),
        }
    }

    /// Moves the head by the batch. Returns the place before it, and the time of reception of the batch.
    async fn take_numbers(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<(Position, UnixMs), Failure> {
        let count = signed(self.batch.operations.len() as u64);
        let fingerprint = self.batch.fingerprints(Fingerprint::START).last().unwrap_or_default();
        let fingerprint = signed(fingerprint.to_number());
        let plus = |field: &str, more: i64| doc! { "$add": [{ "$ifNull": [field, 0_i64] }, more] };
        let change = doc! { "$set": {
            "seq": plus("$seq", count),
            "fingerprint": { "$mod": [plus("$fingerprint", fingerprint), FINGERPRINTS] },
            "horizon": plus("$horizon", 0),
            "liveDocuments": plus("$liveDocuments", self.batch.live_documents_delta),
            "bytes": plus("$bytes", self.batch.bytes_delta),
            "receivedAtMs": { "$max": ["$receivedAtMs", signed(self.batch.received_at_ms)] },
        } };
        let filter = doc! { "_id": self.tenant.as_str(), "tenant": self.tenant.as_str() };
        let update = collections.heads.find_one_and_update(filter, vec![change]);
        let update = update.upsert(true).return_document(ReturnDocument::Before).session(session);
        match collections.in_time(update).await? {
            None => Ok((Position::START, self.batch.received_at_ms)),
            Some(head) => {
                let head = Row(&head);
                Ok((head.position()?, head.integer::<UnixMs>("receivedAtMs")?.max(self.batch.received_at_ms)))
            }
        }
    }

    /// The places that the operations take.
    fn positions(&self, before: Position) -> Vec<Position> {
        let fingerprints = self.batch.fingerprints(before.fingerprint);
        before.seq.following().zip(fingerprints).map(|(seq, fingerprint)| Position { seq, fingerprint }).collect()
    }

    /// Appends the operations to the log. A known id causes a duplicate key.
    async fn insert_entries(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
        positions: &[Position],
        received_at_ms: UnixMs,
    ) -> Result<(), Failure> {
        let rows: Vec<RawDocumentBuf> =
            self.entries(positions, received_at_ms).map(|row| raw(&row)).collect::<Result<_, _>>()?;
        collections.in_time(collections.operations.insert_many(rows).session(session)).await.map(drop)
    }

    /// The log entries as they are stored, and the ids of operations that were resolved.
    fn entries(&self, positions: &[Position], received_at_ms: UnixMs) -> impl Iterator<Item = Bson> {
        let mut kept = self.batch.kept().peekable();
        let entries =
            self.batch.operations.iter().zip(positions).enumerate().map(move |(index, (operation, position))| {
                let mut row = entry_row(self.tenant, (operation, self.batch.subject(index)), *position, received_at_ms);
                if let Some((_, kept)) = kept.next_if(|(of, _)| *of == index) {
                    row.insert("kept", kept.as_str());
                }
                row
            });
        entries.chain(self.batch.resolutions.iter().map(|resolution| pushed_id_row(self.tenant, &resolution.pushed_id)))
    }

    /// Inserts the owners of client ids that had none. One that exists already causes a duplicate key.
    async fn insert_owners(&self, collections: &Collections, session: &mut ClientSession) -> Result<(), Failure> {
        let new = self.batch.owners.iter().filter(|write| write.seen.is_none());
        let rows: Vec<RawDocumentBuf> =
            new.map(|write| raw(&owner_row(self.tenant, write))).collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        collections.in_time(collections.owners.insert_many(rows).session(session)).await.map(drop)
    }

    /// Replaces the existing owners. Returns false if one is another than the decision saw.
    async fn replace_owners(&self, collections: &Collections, session: &mut ClientSession) -> Result<bool, Failure> {
        let mut updates = Updates::of(collections.owners.name());
        for (guard, row) in self.batch.owners.iter().filter_map(|write| self.owner_replacement(write)) {
            if updates.are_full_with(0) && !updates.run(collections, session).await? {
                return Ok(false);
            }
            updates.push(doc! { "q": guard, "u": row }, 0);
        }
        updates.run(collections, session).await
    }

    /// The filter for an owner as the decision saw it, and its replacement.
    fn owner_replacement(&self, write: &OwnerWrite) -> Option<(Bson, Bson)> {
        let guard = owner_filter(self.tenant, &write.client_id, write.seen.as_ref()?);
        let mut row = owner_row(self.tenant, write);
        row.remove("_id");
        Some((guard, row))
    }

    /// Inserts the new documents. One that exists already causes a duplicate key.
    async fn insert_documents(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
        positions: &[Position],
    ) -> Result<(), Failure> {
        let new = self.batch.documents.iter().filter(|write| write.seen_rev.is_none());
        let rows: Vec<RawDocumentBuf> = new.map(|write| raw(&self.row(write, positions))).collect::<Result<_, _>>()?;
        if rows.is_empty() {
            return Ok(());
        }
        collections.in_time(collections.documents.insert_many(rows).session(session)).await.map(drop)
    }

    /// Replaces the existing documents. Returns false if one has another revision than the decision saw.
    async fn replace_documents(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
        positions: &[Position],
    ) -> Result<bool, Failure> {
        let mut updates = Updates::of(collections.documents.name());
        for write in &self.batch.documents {
            let Some((guard, row)) = self.replacement(write, positions) else { continue };
            let bytes = bytes_of(write.document.data.as_ref(), &write.document.clock) + stamps_bytes(write);
            if updates.are_full_with(bytes) && !updates.run(collections, session).await? {
                return Ok(false);
            }
            updates.push(doc! { "q": guard, "u": row }, bytes);
        }
        updates.run(collections, session).await
    }

    /// The filter for an existing document with the revision that the decision saw, and its replacement.
    fn replacement(&self, write: &DocumentWrite, positions: &[Position]) -> Option<(Bson, Bson)> {
        let seen_rev = write.seen_rev?;
        let mut row = self.row(write, positions);
        let key = row.remove("_id").unwrap_or_default();
        Some((doc! { "_id": key, "tenant": self.tenant.as_str(), "rev": signed(seen_rev) }, row))
    }

    fn row(&self, write: &DocumentWrite, positions: &[Position]) -> Bson {
        // A decision refers only to operations of its own batch.
        document_row(self.tenant, write, positions.get(write.operation_index).copied().unwrap_or_default())
    }
}

/// Statements that replace one document each, and are sent as one command.
struct Updates<'a> {
    collection: &'a str,
    statements: Vec<Bson>,
    bytes: usize,
}

impl<'a> Updates<'a> {
    /// No statements yet, for a collection.
    fn of(collection: &'a str) -> Self {
        Self { collection, statements: Vec::new(), bytes: 0 }
    }

    fn push(&mut self, statement: Bson, bytes: usize) {
        self.statements.push(statement);
        self.bytes += bytes;
    }

    fn are_full_with(&self, more_bytes: usize) -> bool {
        const STATEMENT_MAX_BYTES: usize = 4 * 1024;
        let bytes = self.bytes + more_bytes + self.statements.len() * STATEMENT_MAX_BYTES;
        !self.statements.is_empty() && bytes > COMMAND_MAX_BYTES
    }

    /// Sends the collected statements. Returns whether each found its document.
    async fn run(&mut self, collections: &Collections, session: &mut ClientSession) -> Result<bool, Failure> {
        let Self { collection, statements, .. } = std::mem::replace(self, Self::of(self.collection));
        if statements.is_empty() {
            return Ok(true);
        }
        let expected = statements.len();
        let command = doc! { "update": collection, "updates": statements };
        let answer = collections.in_time(collections.database.run_command(command).session(session)).await?;
        if let Some(refused) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            let refused = refused.as_document().ok_or(Failure::Answer("a write error that is not a document"))?;
            let code = refused.get_i32("code").map_err(|_| Failure::Answer("a write error without a code"))?;
            let message = refused.get_str("errmsg").unwrap_or_default().to_owned();
            return Err(Failure::Statement { code, message });
        }
        let found = answer.get_i32("n").map(i64::from).or_else(|_| answer.get_i64("n"));
        Ok(found.is_ok_and(|found| found == signed(expected as u64)))
    }
}

/// The size of data and a clock in a message, in bytes.
fn bytes_of(data: Option<&Object>, clock: &VectorClock) -> usize {
    data.map_or(0, |data| data.as_str().len()) + clock.json().as_str().len()
}

fn stamps_bytes(write: &DocumentWrite) -> usize {
    write.stamps.as_ref().map_or(0, String::len)
}

fn raw(row: &Bson) -> Result<RawDocumentBuf, Failure> {
    Ok(RawDocumentBuf::try_from(row).map_err(mongodb::error::Error::from)?)
}
