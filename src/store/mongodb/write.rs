//! All writes except commits: the memory of clients, and compaction.

pub(super) mod commit;
pub(super) mod retention;
pub(super) mod tails;
pub(super) mod transaction;
pub(super) mod writers;

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Bson as Value, Document as Bson, doc};
use mongodb::options::WriteConcern;

use self::transaction::{Verdict, Work};
use super::collections::Collections;
use super::database::Database;
use super::failure::Failure;
use super::row::{COMPACTED_FIELDS, Row, client_key, entries_after, entries_between, entry_key};
use crate::core::names::{ClientId, Subject, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::progress::Progress;
use crate::store::integers::signed;
use crate::store::{CompactStep, Compaction, FORGOTTEN_PULLED_SEQ, NewMemory, Remember};

/// See [`crate::store::Store::note_pulled`].
pub(super) async fn note_pulled(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
    progress: Progress,
) -> Result<(), Failure> {
    let collections = database.ready().await?;
    let filter = doc! { "_id": client_key(tenant, client), "tenant": tenant.as_str() };
    let change = doc! {
        "$set": { "pulledSeq": signed(progress.pulled_seq), "seenAtMs": signed(progress.seen_at_ms) },
        "$setOnInsert": { "revision": 0_i64, "places": "" },
    };
    // Only the statistics use it, so it need not reach a disk before the answer.
    let note = || {
        let update = collections.clients.update_one(filter.clone(), change.clone()).upsert(true);
        collections.in_time(update.write_concern(WriteConcern::majority()))
    };
    match note().await {
        // Two requests created the client at the same time, so the second one must become an update.
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
    // If there is no memory with revision 0, one is inserted. If there is one with another revision, that fails with a
    // duplicate key.
    let update = collections.clients.update_one(filter, change).upsert(memory.seen_revision == Rev::NONE);
    match collections.in_time(update).await {
        Ok(updated) if updated.matched_count == 1 || updated.upserted_id.is_some() => Ok(Remember::Done),
        Ok(_) => Ok(Remember::Contended),
        Err(failure) if failure.is_duplicate_key() => Ok(Remember::Contended),
        Err(failure) => Err(failure),
    }
}

/// See [`crate::store::Store::claim`].
pub(super) async fn claim(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
    subject: &Subject,
) -> Result<(), Failure> {
    let collections = database.ready().await?;
    let nobody_s = doc! { "$exists": false };
    let filter = doc! { "_id": client_key(tenant, client), "tenant": tenant.as_str(), "subject": nobody_s };
    let change = doc! {
        "$set": { "subject": subject.as_str() },
        "$setOnInsert": { "clientId": client.as_str(), "counter": 0_i64 },
    };
    // If the client belongs to a subject already, one more is inserted, which fails with a duplicate key.
    match collections.in_time(collections.owners.update_one(filter, change).upsert(true)).await {
        Err(failure) if failure.is_duplicate_key() => Ok(()),
        claimed => claimed.map(drop),
    }
}

/// See [`crate::store::Store::compact`].
pub(super) async fn compact(database: &Database, tenant: &TenantId, step: CompactStep) -> Result<Compaction, Failure> {
    let collections = database.ready().await?;
    let silent_are_left = forget_clients(collections, tenant, step).await?;
    let clients_are_left = recall_clients(collections, tenant, step).await? || silent_are_left;
    if end_the_future(database, collections, tenant, step).await? {
        return Ok(Compaction { deleted_entries: 0, is_finished: false });
    }
    let Some(part) = find_old_entries(collections, tenant, step).await? else {
        return Ok(Compaction { deleted_entries: 0, is_finished: !clients_are_left });
    };
    let is_moved = transaction::run(database, tenant, &Compacting { tenant, part }).await?;
    // If another step was faster, the next step continues after it.
    Ok(Compaction {
        deleted_entries: if is_moved { part.new_horizon.entries_since(part.horizon) } else { 0 },
        is_finished: is_moved && part.is_last && !clients_are_left,
    })
}

/// Forgets silent clients. Their places are kept, in documents that this function and the statistics skip from then on.
/// Returns whether some clients are left for the next step.
async fn forget_clients(collections: &Collections, tenant: &TenantId, step: CompactStep) -> Result<bool, Failure> {
    let before_ms = signed(step.forget_clients_before_ms);
    let silent = doc! { "tenant": tenant.as_str(), "seenAtMs": { "$gt": 0_i64, "$lt": before_ms } };
    let fields = doc! { "_id": 1, "revision": 1 };
    let find = collections.clients.find(silent.clone()).sort(doc! { "seenAtMs": 1 }).projection(fields);
    let mut found = collections.in_time(find.limit(signed(step.max_entries as u64).saturating_add(1))).await?;
    let (mut with_places, mut noted) = (Vec::new(), Vec::new());
    let mut are_left = false;
    while collections.in_time(found.advance()).await? {
        are_left = with_places.len() + noted.len() >= step.max_entries;
        if are_left {
            break;
        }
        let row = Row(found.current());
        let keys = if row.integer::<Rev>("revision")? > Rev::NONE { &mut with_places } else { &mut noted };
        keys.push(row.text("_id")?.to_owned());
    }
    let those = |keys: Vec<String>, revision: Bson| {
        let mut those = silent.clone();
        those.insert("_id", doc! { "$in": keys });
        those.insert("revision", revision);
        those
    };
    if !with_places.is_empty() {
        let forgotten = doc! { "$set": { "seenAtMs": 0_i64, "pulledSeq": signed(FORGOTTEN_PULLED_SEQ) } };
        let those = those(with_places, doc! { "$gt": 0_i64 });
        collections.in_time(collections.clients.update_many(those, forgotten)).await?;
    }
    if !noted.is_empty() {
        let those = those(noted, doc! { "$eq": 0_i64 });
        collections.in_time(collections.clients.delete_many(those)).await?;
    }
    Ok(are_left)
}

/// Sets the times in the future at which clients were seen to now. Returns whether some clients are left for the next
/// step.
async fn recall_clients(collections: &Collections, tenant: &TenantId, step: CompactStep) -> Result<bool, Failure> {
    let later = doc! { "tenant": tenant.as_str(), "seenAtMs": { "$gt": signed(step.future_after_ms) } };
    let find = collections.clients.find(later.clone()).sort(doc! { "seenAtMs": 1 }).projection(doc! { "_id": 1 });
    let mut found = collections.in_time(find.limit(signed(step.max_entries as u64).saturating_add(1))).await?;
    let mut keys = Vec::new();
    let mut are_left = false;
    while collections.in_time(found.advance()).await? {
        are_left = keys.len() >= step.max_entries;
        if are_left {
            break;
        }
        keys.push(Row(found.current()).text("_id")?.to_owned());
    }
    if !keys.is_empty() {
        let mut those = later;
        those.insert("_id", doc! { "$in": keys });
        let to_now = doc! { "$set": { "seenAtMs": signed(step.now_ms) } };
        collections.in_time(collections.clients.update_many(those, to_now)).await?;
    }
    Ok(are_left)
}

/// Sets times of reception in the future to now. Returns whether entries are left for the next step.
///
/// These entries are the newest ones. The head keeps the greatest time until all are done, because new entries must not
/// be older.
async fn end_the_future(
    database: &Database,
    collections: &Collections,
    tenant: &TenantId,
    step: CompactStep,
) -> Result<bool, Failure> {
    let (now_ms, future_after_ms) = (signed(step.now_ms), signed(step.future_after_ms));
    let filter = doc! { "_id": tenant.as_str(), "tenant": tenant.as_str(), "receivedAtMs": { "$gt": future_after_ms } };
    let Some(head) = collections.in_time(collections.heads.find_one(filter)).await? else { return Ok(false) };
    let (horizon, newest) = (Row(&head).integer::<Seq>("horizon")?, Row(&head).integer::<Seq>("seq")?);
    // Finds the first of them by bisection. It lies after the newest entry if compaction has removed all of them.
    let (mut first, mut behind) = (horizon.next(), newest.next());
    while first < behind {
        let middle = first.plus(behind.entries_since(first) / 2);
        let entry = doc! { "_id": entry_key(tenant, middle), "tenant": tenant.as_str() };
        let found = collections.in_time(collections.operations.find_one(entry)).await?;
        let received_at_ms = found.map(|found| Row(&found).optional_integer("receivedAtMs")).transpose()?.flatten();
        if received_at_ms.is_some_and(|time: UnixMs| time > step.now_ms) {
            behind = middle;
        } else {
            first = middle.next();
        }
    }
    let last = newest.min(first.plus(step.max_entries as u64).previous());
    if last < newest {
        // Other processes write after the newest entry meanwhile. The entries are updated in the order of their keys.
        let mut entries = entries_between(tenant, first.previous(), last);
        entries.insert("receivedAtMs", doc! { "$gt": now_ms });
        let to_now = doc! { "$set": { "receivedAtMs": now_ms } };
        let update = collections.operations.update_many(entries, to_now);
        collections.in_time(update).await?;
        return Ok(true);
    }
    let is_done = transaction::run(database, tenant, &EndingTheFuture { tenant, now_ms, first, newest }).await?;
    Ok(!is_done)
}

/// Sets the last times in the future to now, together with that of the head.
struct EndingTheFuture<'a> {
    tenant: &'a TenantId,
    now_ms: i64,
    first: Seq,
    newest: Seq,
}

#[async_trait]
impl Work for EndingTheFuture<'_> {
    /// Whether no other process has written to the log meanwhile. If one has, the next step checks again.
    type Outcome = bool;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<bool>, Failure> {
        let to_now = doc! { "$set": { "receivedAtMs": self.now_ms } };
        let tenant = self.tenant.as_str();
        let later = doc! { "$gt": self.now_ms };
        let head = doc! { "_id": tenant, "tenant": tenant, "seq": signed(self.newest), "receivedAtMs": later.clone() };
        let moved = collections.heads.update_one(head, to_now.clone()).session(&mut *session);
        if collections.in_time(moved).await?.matched_count == 0 {
            return Ok(Verdict::Undo(false));
        }
        let mut entries = entries_between(self.tenant, self.first.previous(), self.newest);
        entries.insert("receivedAtMs", later);
        collections.in_time(collections.operations.update_many(entries, to_now).session(session)).await?;
        Ok(Verdict::Keep(true))
    }
}

/// The log entries that a step removes: those after the horizon, up to the new one.
#[derive(Debug, Clone, Copy)]
struct Part {
    horizon: Seq,
    new_horizon: Seq,
    /// The bytes of their data and clocks.
    bytes: u64,
    /// How often entries of the log were overwritten before.
    scrubs: Option<u64>,
    is_last: bool,
}

/// Finds the entries that a step may remove. Entries change before they are removed only if a document is erased, which
/// the head counts. So this needs no transaction.
async fn find_old_entries(
    collections: &Collections,
    tenant: &TenantId,
    step: CompactStep,
) -> Result<Option<Part>, Failure> {
    let filter = doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() };
    let Some(head) = collections.in_time(collections.heads.find_one(filter)).await? else { return Ok(None) };
    let horizon: Seq = Row(&head).integer("horizon")?;
    let scrubs = Row(&head).optional_integer("scrubs")?;
    let find = collections.operations.find(entries_after(tenant, horizon)).sort(doc! { "_id": 1 });
    let length = |field: &str| doc! { "$strLenBytes": { "$ifNull": [field, ""] } };
    let bytes = doc! { "$add": [length("$data"), length("$clock"), length("$kept")] };
    let fields = doc! { "seq": 1, "receivedAtMs": 1, "bytes": bytes };
    let find = find.projection(fields).limit(signed(step.max_entries as u64 + 1));
    let mut found = collections.in_time(find).await?;
    // The time of reception never runs backwards in the log, so the old entries are those up to a certain number.
    let mut part = Part { horizon, new_horizon: horizon, bytes: 0, scrubs, is_last: true };
    let mut entries = 0;
    while collections.in_time(found.advance()).await? {
        let row = Row(found.current());
        // An entry without a time was removed after the horizon was read, so it belongs to this step.
        let is_old = row.optional_integer("receivedAtMs")?.is_none_or(|time: UnixMs| time <= step.received_until_ms);
        if !is_old {
            break;
        }
        if entries == step.max_entries {
            part.is_last = false;
            break;
        }
        entries += 1;
        part.new_horizon = row.integer("seq")?;
        part.bytes += row.integer::<u64>("bytes")?;
    }
    Ok((part.new_horizon > horizon).then_some(part))
}

struct Compacting<'a> {
    tenant: &'a TenantId,
    part: Part,
}

#[async_trait]
impl Work for Compacting<'_> {
    /// Whether the horizon was still where the step begins, and no entry was overwritten meanwhile.
    type Outcome = bool;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<bool>, Failure> {
        let Part { horizon, new_horizon, bytes, scrubs, .. } = self.part;
        let scrubs: Value = scrubs.map_or_else(|| doc! { "$exists": false }.into(), |scrubs| signed(scrubs).into());
        let tenant = self.tenant.as_str();
        let guard = doc! { "_id": tenant, "tenant": tenant, "horizon": signed(horizon), "scrubs": scrubs };
        let move_on = doc! { "$set": { "horizon": signed(new_horizon) }, "$inc": { "bytes": -signed(bytes) } };
        let moved = collections.in_time(collections.heads.update_one(guard, move_on).session(&mut *session)).await?;
        if moved.matched_count == 0 {
            return Ok(Verdict::Undo(false));
        }
        let fields: Bson = COMPACTED_FIELDS.iter().map(|field| ((*field).to_owned(), "".into())).collect();
        let entries = entries_between(self.tenant, horizon, new_horizon);
        let strip = collections.operations.update_many(entries, doc! { "$unset": fields });
        let stripped = collections.in_time(strip.session(session)).await?;
        if stripped.matched_count != new_horizon.entries_since(horizon) {
            return Err(Failure::Answer("another number of log entries than the head says"));
        }
        Ok(Verdict::Keep(true))
    }
}
