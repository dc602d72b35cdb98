//! The requests of an operator: the whole log, transfers, and erasing.

mod audit;

use async_trait::async_trait;
use futures_util::future::try_join;
use mongodb::bson::{Bson, Document, RawDocumentBuf, doc};
use mongodb::{ClientSession, Collection};

pub(super) use self::audit::audit;
use super::collections::Collections;
use super::database::Database;
use super::failure::Failure;
use super::read::rows::batch_of;
use super::row::{Row, client_key, entries_after, entries_between, head_of, learned_key};
use super::write::transaction::{self, Verdict, Work};
use crate::core::decide::RESERVED_IDS;
use crate::core::decide::owners::ClientOwner;
use crate::core::names::{ClientId, FromStore as _, OperationId, Subject, TenantId};
use crate::core::numbers::Seq;
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::limits::store::mongodb::{LEARN_MAX_ATTEMPTS, LIST_MAX_VALUES, SCRUB_MAX_ATTEMPTS};
use crate::store::integers::signed;
use crate::store::operator::merge_client_rows;
use crate::store::{ClientRow, Erased, Lesson, ScrubStep};

/// The range of the ids that a tenant has learned. Names have no control characters.
fn learned_ids(tenant: &TenantId) -> Document {
    doc! { "_id": { "$gt": learned_key(tenant, ""), "$lt": format!("{tenant}\u{2}") }, "tenant": tenant.as_str() }
}

/// The range of the keys of a tenant's documents, clients or owners.
fn keys_of(tenant: &TenantId) -> Document {
    doc! { "_id": { "$gt": format!("{tenant}\0"), "$lt": format!("{tenant}\u{1}") }, "tenant": tenant.as_str() }
}

/// The bytes of the data, the clock, and the stamps or what else is kept beside a row, for a projection.
fn bytes_of_row() -> Document {
    let length = |field: &str| doc! { "$strLenBytes": { "$ifNull": [field, ""] } };
    doc! { "$add": [length("$data"), length("$clock"), length("$kept"), length("$stamps")] }
}

/// See [`crate::store::Store::operation_ids`].
pub(super) async fn operation_ids(
    database: &Database,
    tenant: &TenantId,
    after: Option<&OperationId>,
    limit: usize,
) -> Result<Vec<OperationId>, Failure> {
    let collections = database.ready().await?;
    // A limit of 0 would mean no limit.
    if limit == 0 {
        return Ok(Vec::new());
    }
    // The index of known ids is one of the log itself, which has the ids of resolutions too.
    let after = after.map_or("", OperationId::as_str).to_owned();
    let ranges =
        [doc! { "$lt": RESERVED_IDS.start }, doc! { "$gte": RESERVED_IDS.end }].map(|range| doc! { "id": range });
    let behind = doc! { "tenant": tenant.as_str(), "id": { "$gt": after }, "$or": ranges.to_vec() };
    let find = collections.operations.find(behind).sort(doc! { "id": 1 }).projection(doc! { "_id": 0, "id": 1 });
    let find = find.limit(signed(limit as u64)).batch_size(batch_of(limit)).max_time(collections.time_limit);
    let mut found = collections.in_time(find).await?;
    let mut ids = Vec::new();
    while collections.in_time(found.advance()).await? {
        ids.push(OperationId::from_store(Row(found.current()).text("id")?));
    }
    Ok(ids)
}

/// See [`crate::store::Store::client_rows`].
pub(super) async fn client_rows(
    database: &Database,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<ClientRow>, Failure> {
    let collections = database.ready().await?;
    if limit == 0 {
        return Ok(Vec::new());
    }
    let (owners, pulls) = try_join(
        first_rows(collections, &collections.owners, tenant, after, limit),
        first_rows(collections, &collections.clients, tenant, after, limit),
    )
    .await?;
    let client_of = |row: Row<'_>| -> Result<ClientId, Failure> {
        let client = row.text("_id")?.split_once('\0').ok_or(Failure::Answer("a client without an id"))?.1;
        Ok(ClientId::from_store(client))
    };
    let owner = |row: &RawDocumentBuf| -> Result<_, Failure> {
        let row = Row(row);
        Ok((client_of(row)?, ClientOwner { subject: row.subject()?, counter: row.integer("counter")? }))
    };
    let memory = |row: &RawDocumentBuf| -> Result<_, Failure> {
        let row = Row(row);
        let places = Places::parse(row.text("places")?).ok_or(Failure::Answer("damaged places of a client"))?;
        let progress = Progress { pulled_seq: row.integer("pulledSeq")?, seen_at_ms: row.integer("seenAtMs")? };
        Ok((client_of(row)?, progress, places))
    };
    let owners = owners.iter().map(owner).collect::<Result<_, _>>()?;
    let pulls = pulls.iter().map(memory).collect::<Result<_, _>>()?;
    Ok(merge_client_rows(owners, pulls, limit))
}

/// The first rows about clients after one of them, in the order of their ids.
async fn first_rows(
    collections: &Collections,
    collection: &Collection<RawDocumentBuf>,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<RawDocumentBuf>, Failure> {
    let after = after.map_or_else(|| format!("{tenant}\0"), |after| client_key(tenant, after));
    let those = doc! { "_id": { "$gt": after, "$lt": format!("{tenant}\u{1}") }, "tenant": tenant.as_str() };
    let find = collection.find(those).sort(doc! { "_id": 1 }).limit(signed(limit as u64));
    let find = find.batch_size(batch_of(limit)).max_time(collections.time_limit);
    let mut found = collections.in_time(find).await?;
    let mut rows = Vec::new();
    while collections.in_time(found.advance()).await? {
        rows.push(found.current().to_owned());
    }
    Ok(rows)
}

/// See [`crate::store::Store::learn`].
pub(super) async fn learn(database: &Database, tenant: &TenantId, lesson: &Lesson) -> Result<(), Failure> {
    let collections = database.ready().await?;
    for ids in lesson.ids.chunks(LIST_MAX_VALUES) {
        learn_ids(collections, tenant, ids).await?;
    }
    for (client_id, owner) in &lesson.owners {
        learn_owner(collections, tenant, client_id, owner).await?;
    }
    Ok(())
}

/// Inserts the ids that are not known. Another process may learn or push the same ids meanwhile.
async fn learn_ids(collections: &Collections, tenant: &TenantId, ids: &[OperationId]) -> Result<(), Failure> {
    let texts: Vec<&str> = ids.iter().map(OperationId::as_str).collect();
    for attempt in 1..=LEARN_MAX_ATTEMPTS {
        let known = doc! { "tenant": tenant.as_str(), "id": { "$in": texts.clone() } };
        let find = collections.operations.find(known).projection(doc! { "_id": 0, "id": 1 });
        let mut found = collections.in_time(find.batch_size(batch_of(LIST_MAX_VALUES))).await?;
        let mut unknown = texts.clone();
        while collections.in_time(found.advance()).await? {
            let id = Row(found.current()).text("id")?;
            unknown.retain(|unknown| *unknown != id);
        }
        if unknown.is_empty() {
            return Ok(());
        }
        let row = |id: &&str| raw(&doc! { "_id": learned_key(tenant, id), "tenant": tenant.as_str(), "id": *id });
        let rows: Vec<RawDocumentBuf> = unknown.iter().map(row).collect::<Result<_, _>>()?;
        match collections.in_time(collections.operations.insert_many(rows)).await {
            Err(failure) if failure.is_duplicate_key() && attempt < LEARN_MAX_ATTEMPTS => {}
            inserted => return inserted.map(drop),
        }
    }
    Err(Failure::Crowded)
}

fn raw(row: &Document) -> Result<RawDocumentBuf, Failure> {
    Ok(RawDocumentBuf::try_from(row).map_err(mongodb::error::Error::from)?)
}

async fn learn_owner(
    collections: &Collections,
    tenant: &TenantId,
    client_id: &ClientId,
    owner: &ClientOwner,
) -> Result<(), Failure> {
    let filter = || doc! { "_id": client_key(tenant, client_id), "tenant": tenant.as_str() };
    let change = doc! {
        "$max": { "counter": signed(owner.counter) },
        "$setOnInsert": { "clientId": client_id.as_str() },
    };
    let learn = || collections.in_time(collections.owners.update_one(filter(), change.clone()).upsert(true));
    match learn().await {
        // Two processes created the owner at the same time, so the second one must become an update.
        Err(failure) if failure.is_duplicate_key() => learn().await.map(drop)?,
        learned => learned.map(drop)?,
    }
    let Some(subject) = owner.subject.as_ref().map(Subject::as_str) else { return Ok(()) };
    let mut of_nobody = filter();
    of_nobody.insert("subject", doc! { "$exists": false });
    let claim = collections.owners.update_one(of_nobody, doc! { "$set": { "subject": subject } });
    collections.in_time(claim).await.map(drop)
}

/// See [`crate::store::Store::scrub`].
pub(super) async fn scrub(database: &Database, tenant: &TenantId, step: &ScrubStep) -> Result<u64, Failure> {
    let collections = database.ready().await?;
    for _ in 0..SCRUB_MAX_ATTEMPTS {
        let mut those = entries_between(tenant, step.after, step.up_to);
        those.insert("collection", step.key.collection.as_str());
        those.insert("docId", step.key.id.as_str());
        let has_data = doc! { "data": { "$exists": true, "$ne": "{}" } };
        those.insert("$or", vec![has_data, doc! { "kept": { "$exists": true } }]);
        // A delete has no data.
        let of_data = doc! { "$max": [0, { "$subtract": [{ "$strLenBytes": { "$ifNull": ["$data", ""] } }, 2] }] };
        let length = doc! { "$add": [of_data, { "$strLenBytes": { "$ifNull": ["$kept", ""] } }] };
        let find = collections.operations.find(those.clone()).projection(doc! { "_id": 1, "bytes": length });
        let mut found = collections.in_time(find).await?;
        let (mut keys, mut bytes): (Vec<String>, i64) = (Vec::new(), 0);
        while collections.in_time(found.advance()).await? {
            let row = Row(found.current());
            keys.push(row.text("_id")?.to_owned());
            bytes += signed(row.integer::<u64>("bytes")?);
        }
        if keys.is_empty() {
            return Ok(0);
        }
        let scrubbed = keys.len() as u64;
        those.insert("_id", doc! { "$in": keys });
        if transaction::run(database, tenant, &Scrubbing { tenant, those, scrubbed, bytes }).await? {
            return Ok(scrubbed);
        }
    }
    Err(Failure::Crowded)
}

struct Scrubbing<'a> {
    tenant: &'a TenantId,
    those: Document,
    scrubbed: u64,
    bytes: i64,
}

#[async_trait]
impl Work for Scrubbing<'_> {
    /// Whether all entries were still there.
    type Outcome = bool;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<bool>, Failure> {
        // A step of a compaction that has summed up the entries before must not count these bytes again.
        let fewer = doc! { "$inc": { "bytes": -self.bytes, "scrubs": 1_i64 } };
        let head = collections.heads.update_one(head_of(self.tenant), fewer).session(&mut *session);
        collections.in_time(head).await?;
        let mut modified = 0;
        let nothing = doc! { "$set": { "data": "{}" }, "$unset": { "kept": "" } };
        for (has_data, change) in [(true, nothing), (false, doc! { "$unset": { "kept": "" } })] {
            let mut those = self.those.clone();
            those.insert("data", doc! { "$exists": has_data });
            let update = collections.operations.update_many(those, change).session(&mut *session);
            modified += collections.in_time(update).await?.modified_count;
        }
        let is_whole = modified == self.scrubbed;
        Ok(if is_whole { Verdict::Keep(true) } else { Verdict::Undo(false) })
    }
}

/// See [`crate::store::Store::erase_tenant`].
pub(super) async fn erase_tenant(database: &Database, tenant: &TenantId, max_rows: usize) -> Result<Erased, Failure> {
    let erased = transaction::run(database, tenant, &Erasing { tenant, max_rows }).await?;
    database.tails.missed(tenant);
    Ok(erased)
}

/// Removes rows of a tenant. A commit that comes meanwhile waits for the head, or is repeated.
struct Erasing<'a> {
    tenant: &'a TenantId,
    max_rows: usize,
}

#[async_trait]
impl Work for Erasing<'_> {
    type Outcome = Erased;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<Erased>, Failure> {
        // A statement that changes nothing would not lock the head.
        let lock = collections.heads.update_one(head_of(self.tenant), doc! { "$inc": { "erasures": 1_i64 } });
        let has_head = collections.in_time(lock.session(&mut *session)).await?.matched_count > 0;
        let mut step = EraseStep { collections, session, rows_left: self.max_rows, change: Document::new() };
        let mut erased = Erased::default();
        if has_head {
            // Documents go first, as in every store.
            erased.documents = step.erase_documents(self.tenant).await?;
            (erased.entries, erased.ids) = step.erase_entries(self.tenant).await?;
        }
        erased.ids += step.erase(&collections.operations, learned_ids(self.tenant), |_| Ok(())).await?;
        for of_clients in [&collections.clients, &collections.owners] {
            erased.clients += step.erase(of_clients, keys_of(self.tenant), |_| Ok(())).await?;
        }
        erased.is_finished = step.rows_left > 0;
        let EraseStep { session, change, .. } = step;
        if has_head && erased.is_finished {
            let delete = collections.heads.delete_one(head_of(self.tenant)).session(session);
            collections.in_time(delete).await?;
        } else if has_head && !change.is_empty() {
            let update = collections.heads.update_one(head_of(self.tenant), change).session(session);
            collections.in_time(update).await?;
        }
        Ok(Verdict::Keep(erased))
    }
}

/// A step that removes rows within a transaction.
struct EraseStep<'a, 's> {
    collections: &'a Collections,
    session: &'s mut ClientSession,
    rows_left: usize,
    /// The change of the head.
    change: Document,
}

impl EraseStep<'_, '_> {
    /// Removes documents and returns their number.
    async fn erase_documents(&mut self, tenant: &TenantId) -> Result<u64, Failure> {
        let (mut live, mut bytes) = (0_i64, 0_i64);
        let those = keys_of(tenant);
        let documents = &self.collections.documents;
        let removed = self.erase(documents, those, |row| {
            live += i64::from(!row.0.get_bool("deleted").unwrap_or(true));
            bytes += signed(row.integer::<u64>("bytes")?);
            Ok(())
        });
        let removed = removed.await?;
        if removed > 0 {
            self.change.insert("$inc", doc! { "liveDocuments": -live, "bytes": -bytes });
        }
        Ok(removed)
    }

    /// Removes log entries. Returns how many were whole, and the number of all, with those of which compaction has left
    /// a part.
    async fn erase_entries(&mut self, tenant: &TenantId) -> Result<(u64, u64), Failure> {
        let (mut whole, mut bytes, mut last) = (0, 0_i64, Seq::START);
        let operations = &self.collections.operations;
        let removed = self.erase(operations, entries_after(tenant, Seq::START), |row| {
            whole += u64::from(row.has("kind")?);
            bytes += signed(row.integer::<u64>("bytes")?);
            last = last.max(row.integer("seq")?);
            Ok(())
        });
        let removed = removed.await?;
        if removed > 0 {
            let before = self.change.get_document("$inc").ok().cloned().unwrap_or_default();
            let bytes = before.get_i64("bytes").unwrap_or(0) - bytes;
            let mut inc = before;
            inc.insert("bytes", Bson::Int64(bytes));
            self.change.insert("$inc", inc);
            self.change.insert("$max", doc! { "horizon": signed(last) });
        }
        Ok((whole, removed))
    }

    /// Removes the first rows that a filter finds, in the order of their keys, and returns their number.
    async fn erase(
        &mut self,
        collection: &Collection<RawDocumentBuf>,
        those: Document,
        mut count: impl FnMut(Row<'_>) -> Result<(), Failure> + Send,
    ) -> Result<u64, Failure> {
        if self.rows_left == 0 {
            return Ok(0);
        }
        let Self { collections, session, rows_left, .. } = self;
        let fields = doc! { "_id": 1, "seq": 1, "bytes": bytes_of_row(), "deleted": 1, "kind": 1 };
        let find = collection.find(those.clone()).sort(doc! { "_id": 1 }).projection(fields);
        let find = find.limit(signed(*rows_left as u64)).session(&mut **session).into_future();
        let mut found = collections.in_time(find).await?;
        let mut keys: Vec<String> = Vec::new();
        while collections.in_time(found.advance(session)).await? {
            let row = Row(found.current());
            count(row)?;
            keys.push(row.text("_id")?.to_owned());
        }
        if keys.is_empty() {
            return Ok(0);
        }
        let removed = keys.len();
        let mut those = those;
        those.insert("_id", doc! { "$in": keys });
        let deleted = collections.in_time(collection.delete_many(those).session(&mut **session)).await?;
        if deleted.deleted_count != removed as u64 {
            return Err(Failure::Answer("another number of removed rows than were found"));
        }
        *rows_left -= removed;
        Ok(removed as u64)
    }
}
