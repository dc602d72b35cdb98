//! What writes: a transaction, or one command.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::options::{ReturnDocument, WriteConcern};

use super::database::{Collections, Database};
use super::failure::Failure;
use super::row::{COMPACTED_FIELDS, Row, client_key, document_row, entries_after, entries_between, entry_row};
use super::transaction::{self, Verdict, Work};
use crate::core::cursor::Position;
use crate::core::decide::{Batch, DocumentWrite};
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, TenantId};
use crate::store::integers::{signed, unsigned};
use crate::store::{Commit, CompactStep, Compaction, NewMemory, Remember, Seen};

/// Most bytes of the statements of one command: well below the 16 MiB that the server takes.
const UPDATE_MAX_BYTES: usize = 8 * 1024 * 1024;

/// The modulus of fingerprints.
const FINGERPRINTS: i64 = 1 << 48;

/// See [`crate::store::Store::commit`].
pub(super) async fn commit(database: &Database, tenant: &TenantId, batch: &Batch) -> Result<Commit, Failure> {
    transaction::run(database, tenant, &Committing { tenant, batch }).await
}

struct Committing<'a> {
    tenant: &'a TenantId,
    batch: &'a Batch,
}

#[async_trait]
impl Work for Committing<'_> {
    type Outcome = Commit;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<Commit>, Failure> {
        let (before, received_at_ms) = self.take_numbers(collections, session).await?;
        let positions = self.positions(before);
        let written = async {
            self.insert_entries(collections, session, &positions, received_at_ms).await?;
            self.insert_documents(collections, session, &positions).await?;
            self.update_documents(collections, session, &positions).await
        };
        match written.await {
            Ok(true) => Ok(Verdict::Keep(Commit::Done)),
            Ok(false) => Ok(Verdict::Undo(Commit::Contended)),
            // An id that is known, or a document that the decision did not see.
            Err(failure) if failure.is_duplicate_key() => Ok(Verdict::Undo(Commit::Contended)),
            Err(failure) => Err(failure),
        }
    }
}

impl Committing<'_> {
    /// Moves the head on by the batch; gives the place before it, and when the batch counts as received.
    async fn take_numbers(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<(Position, u64), Failure> {
        let count = signed(self.batch.entries.len() as u64);
        let fingerprint = self.batch.fingerprints(Fingerprint::START).last().unwrap_or_default();
        let fingerprint = signed(fingerprint.to_number());
        let plus = |field: &str, more: i64| doc! { "$add": [{ "$ifNull": [field, 0_i64] }, more] };
        let change = doc! { "$set": {
            "seq": plus("$seq", count),
            "fingerprint": { "$mod": [plus("$fingerprint", fingerprint), FINGERPRINTS] },
            "horizon": plus("$horizon", 0),
            "liveDocuments": plus("$liveDocuments", self.batch.live_documents_delta),
            "receivedAtMs": { "$max": ["$receivedAtMs", signed(self.batch.received_at_ms)] },
        } };
        let filter = doc! { "_id": self.tenant.as_str(), "tenant": self.tenant.as_str() };
        let update = collections.heads.find_one_and_update(filter, vec![change]);
        let update = update.upsert(true).return_document(ReturnDocument::Before).session(session);
        match collections.in_time(update).await? {
            None => Ok((Position::START, self.batch.received_at_ms)),
            Some(head) => {
                let head = Row(&head);
                Ok((head.position()?, head.integer("receivedAtMs")?.max(self.batch.received_at_ms)))
            }
        }
    }

    /// The places that the operations take.
    fn positions(&self, before: Position) -> Vec<Position> {
        let fingerprints = self.batch.fingerprints(before.fingerprint);
        (before.seq + 1..).zip(fingerprints).map(|(seq, fingerprint)| Position { seq, fingerprint }).collect()
    }

    /// Appends to the log; an id that is known is a duplicate key.
    async fn insert_entries(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
        positions: &[Position],
        received_at_ms: u64,
    ) -> Result<(), Failure> {
        let row = |(entry, position): (_, &Position)| raw(&entry_row(self.tenant, entry, *position, received_at_ms));
        let rows: Vec<RawDocumentBuf> = self.batch.entries.iter().zip(positions).map(row).collect::<Result<_, _>>()?;
        collections.in_time(collections.operations.insert_many(rows).session(session)).await.map(drop)
    }

    /// Writes the documents that are new; one that is there already is a duplicate key.
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

    /// Writes the documents that are there; false where one has another revision than the decision saw.
    async fn update_documents(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
        positions: &[Position],
    ) -> Result<bool, Failure> {
        let mut updates = Updates::default();
        for write in &self.batch.documents {
            let Some(seen_rev) = write.seen_rev else { continue };
            let mut row = self.row(write, positions);
            let key = row.remove("_id").unwrap_or_default();
            let guard = doc! { "_id": key, "tenant": self.tenant.as_str(), "rev": signed(seen_rev) };
            let bytes = write.document.data.as_ref().map_or(0, |data| data.as_str().len())
                + row.get_str("clock").map_or(0, str::len);
            if updates.are_full_with(bytes) && !updates.run(collections, session).await? {
                return Ok(false);
            }
            updates.push(doc! { "q": guard, "u": row }, bytes);
        }
        updates.run(collections, session).await
    }

    fn row(&self, write: &DocumentWrite, positions: &[Position]) -> Bson {
        // A decision names no entry that it does not have.
        document_row(self.tenant, write, positions.get(write.entry_index).copied().unwrap_or_default())
    }
}

/// Statements that replace one document each, to be run as one command.
#[derive(Default)]
struct Updates {
    statements: Vec<Bson>,
    bytes: usize,
}

impl Updates {
    fn push(&mut self, statement: Bson, bytes: usize) {
        self.statements.push(statement);
        self.bytes += bytes;
    }

    fn are_full_with(&self, more_bytes: usize) -> bool {
        const STATEMENT_MAX_BYTES: usize = 4 * 1024;
        let bytes = self.bytes + more_bytes + self.statements.len() * STATEMENT_MAX_BYTES;
        !self.statements.is_empty() && bytes > UPDATE_MAX_BYTES
    }

    /// Runs what has been gathered; whether every statement found its document.
    async fn run(&mut self, collections: &Collections, session: &mut ClientSession) -> Result<bool, Failure> {
        let Self { statements, .. } = std::mem::take(self);
        if statements.is_empty() {
            return Ok(true);
        }
        let expected = statements.len();
        let command = doc! { "update": collections.documents.name(), "updates": statements };
        let answer = collections.in_time(collections.database.run_command(command).session(session)).await?;
        if let Some(refused) = answer.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            let refused = refused.as_document().ok_or(Failure::Answer("a write error that is none"))?;
            let code = refused.get_i32("code").map_err(|_| Failure::Answer("a write error without a code"))?;
            let message = refused.get_str("errmsg").unwrap_or_default().to_owned();
            return Err(Failure::Statement { code, message });
        }
        let found = answer.get_i32("n").map(i64::from).or_else(|_| answer.get_i64("n"));
        Ok(found.is_ok_and(|found| unsigned(found) == expected as u64))
    }
}

fn raw(row: &Bson) -> Result<RawDocumentBuf, Failure> {
    Ok(RawDocumentBuf::try_from(row).map_err(mongodb::error::Error::from)?)
}

/// Notes how far a client has pulled; see [`crate::store::Store::changes`].
pub(super) async fn note_pulled(
    database: &Database,
    tenant: &TenantId,
    seen: &Seen,
    pulled_seq: u64,
) -> Result<(), Failure> {
    let collections = database.ready().await?;
    let filter = doc! { "_id": client_key(tenant, &seen.client_id), "tenant": tenant.as_str() };
    let change = doc! {
        "$set": { "pulledSeq": signed(pulled_seq), "seenAtMs": signed(seen.now_ms) },
        "$setOnInsert": { "revision": 0_i64, "places": "" },
    };
    // Only the statistics use it, so nobody waits for it to reach a disk.
    let note = || {
        let update = collections.clients.update_one(filter.clone(), change.clone()).upsert(true);
        collections.in_time(update.write_concern(WriteConcern::majority()))
    };
    match note().await {
        // Two notes made the client at once, and one of them has to be an update.
        Err(failure) if failure.is_duplicate_key() => note().await.map(drop),
        noted => noted.map(drop),
    }
}

/// See [`crate::store::Store::remember`].
pub(super) async fn remember(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
    memory: &NewMemory,
) -> Result<Remember, Failure> {
    let collections = database.ready().await?;
    let seen_revision = signed(memory.seen_revision);
    let filter = doc! { "_id": client_key(tenant, client), "tenant": tenant.as_str(), "revision": seen_revision };
    let change = doc! { "$set": {
        "revision": seen_revision.saturating_add(1),
        "places": memory.places.to_text(),
        "pulledSeq": signed(memory.pulled_seq),
        "seenAtMs": signed(memory.seen_at_ms),
    } };
    // Where no memory has revision 0, one is made, unless there is one with another revision: that is a duplicate key.
    let update = collections.clients.update_one(filter, change).upsert(memory.seen_revision == 0);
    match collections.in_time(update).await {
        Ok(updated) if updated.matched_count == 1 || updated.upserted_id.is_some() => Ok(Remember::Done),
        Ok(_) => Ok(Remember::Contended),
        Err(failure) if failure.is_duplicate_key() => Ok(Remember::Contended),
        Err(failure) => Err(failure),
    }
}

/// See [`crate::store::Store::compact`].
pub(super) async fn compact(database: &Database, tenant: &TenantId, step: CompactStep) -> Result<Compaction, Failure> {
    let collections = database.ready().await?;
    forget_clients(collections, tenant, step).await?;
    let Some(part) = find_old_entries(collections, tenant, step).await? else {
        return Ok(Compaction { deleted_entries: 0, is_finished: true });
    };
    let is_moved = transaction::run(database, tenant, &Compacting { tenant, part }).await?;
    // Where another step was faster, the next one sees what that has left.
    Ok(Compaction {
        deleted_entries: if is_moved { part.new_horizon - part.horizon } else { 0 },
        is_finished: is_moved && part.is_last,
    })
}

async fn forget_clients(collections: &Collections, tenant: &TenantId, step: CompactStep) -> Result<(), Failure> {
    let silent = doc! { "tenant": tenant.as_str(), "seenAtMs": { "$lt": signed(step.forget_clients_before_ms) } };
    let find = collections.clients.find(silent.clone()).sort(doc! { "seenAtMs": 1 }).projection(doc! { "_id": 1 });
    let mut found = collections.in_time(find.limit(signed(step.max_entries as u64))).await?;
    let mut keys = Vec::new();
    while collections.in_time(found.advance()).await? {
        keys.push(Row(found.current()).text("_id")?.to_owned());
    }
    if keys.is_empty() {
        return Ok(());
    }
    let mut those = silent;
    those.insert("_id", doc! { "$in": keys });
    collections.in_time(collections.clients.delete_many(those)).await.map(drop)
}

/// The log entries that a step removes: those behind the horizon up to the new one.
#[derive(Debug, Clone, Copy)]
struct Part {
    horizon: u64,
    new_horizon: u64,
    is_last: bool,
}

/// Finds what a step may remove. Entries never change before they are removed, so no transaction is needed for this.
async fn find_old_entries(
    collections: &Collections,
    tenant: &TenantId,
    step: CompactStep,
) -> Result<Option<Part>, Failure> {
    let filter = doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() };
    let Some(head) = collections.in_time(collections.heads.find_one(filter)).await? else { return Ok(None) };
    let horizon = Row(&head).integer("horizon")?;
    let find = collections.operations.find(entries_after(tenant, horizon)).sort(doc! { "_id": 1 });
    let find = find.projection(doc! { "seq": 1, "receivedAtMs": 1 }).limit(signed(step.max_entries as u64 + 1));
    let mut found = collections.in_time(find).await?;
    // The time of reception never runs backwards in the log, so the old entries are those up to some number.
    let mut part = Part { horizon, new_horizon: horizon, is_last: true };
    let mut entries = 0;
    while collections.in_time(found.advance()).await? {
        let row = Row(found.current());
        // An entry without its time was removed since the horizon was read: it goes with this step in any case.
        let is_old = row.optional_integer("receivedAtMs")?.is_none_or(|time| time <= step.received_until_ms);
        if !is_old {
            break;
        }
        if entries == step.max_entries {
            part.is_last = false;
            break;
        }
        entries += 1;
        part.new_horizon = row.integer("seq")?;
    }
    Ok((part.new_horizon > horizon).then_some(part))
}

struct Compacting<'a> {
    tenant: &'a TenantId,
    part: Part,
}

#[async_trait]
impl Work for Compacting<'_> {
    /// Whether the horizon was still where the step begins.
    type Outcome = bool;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<bool>, Failure> {
        let Part { horizon, new_horizon, .. } = self.part;
        let guard = doc! { "_id": self.tenant.as_str(), "tenant": self.tenant.as_str(), "horizon": signed(horizon) };
        let move_on = doc! { "$set": { "horizon": signed(new_horizon) } };
        let moved = collections.in_time(collections.heads.update_one(guard, move_on).session(&mut *session)).await?;
        if moved.matched_count == 0 {
            return Ok(Verdict::Undo(false));
        }
        let fields: Bson = COMPACTED_FIELDS.iter().map(|field| ((*field).to_owned(), "".into())).collect();
        let entries = entries_between(self.tenant, horizon, new_horizon);
        let strip = collections.operations.update_many(entries, doc! { "$unset": fields });
        let stripped = collections.in_time(strip.session(session)).await?;
        if stripped.matched_count != new_horizon - horizon {
            return Err(Failure::Answer("another number of log entries than the head says"));
        }
        Ok(Verdict::Keep(true))
    }
}
