//! The steps of retention.

use async_trait::async_trait;
use mongodb::ClientSession;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};

use super::transaction::{self, Verdict, Work};
use crate::core::cursor::Position;
use crate::core::decide::pushed_id;
use crate::core::names::{FromStore as _, OperationId, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::retention::{Bisection, Expiry};
use crate::store::integers::signed;
use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::database::Database;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::{Row, entries_between, entry_key, head_of, learned_key};
use crate::store::{ExpireStep, Expired};

/// See [`crate::store::Store::aged_place`].
///
/// The time of reception never runs backwards in the log, so the place is found by bisection. An entry never becomes
/// younger, so the entries may be of different moments.
pub(crate) async fn aged_place(
    database: &Database,
    tenant: &TenantId,
    received_until_ms: UnixMs,
    up_to: Seq,
) -> Result<Option<Position>, Failure> {
    let collections = database.ready().await?;
    let head = collections.heads.find_one(head_of(tenant)).max_time(collections.time_limit);
    let Some(head) = collections.in_time(head).await? else { return Ok(None) };
    let newest: Seq = Row(&head).integer("seq")?;
    let mut places = Bisection::up_to(up_to.min(newest));
    while let Some(seq) = places.asks() {
        let entry = find_entry(collections, tenant, seq).await?;
        let received_at_ms = entry.map(|entry| Row(&entry).optional_integer("receivedAtMs")).transpose()?.flatten();
        places.answer(seq, received_at_ms.is_none_or(|received_at_ms: UnixMs| received_at_ms <= received_until_ms));
    }
    match places.found() {
        Seq::START => Ok(None),
        seq => find_entry(collections, tenant, seq).await?.map(|entry| Row(&entry).position()).transpose(),
    }
}

/// The number, fingerprint and time of an entry, compacted or not.
async fn find_entry(collections: &Collections, tenant: &TenantId, seq: Seq) -> Result<Option<RawDocumentBuf>, Failure> {
    let entry = doc! { "_id": entry_key(tenant, seq), "tenant": tenant.as_str() };
    let find = collections.operations.find_one(entry);
    let find = find.projection(doc! { "_id": 0, "seq": 1, "fingerprint": 1, "receivedAtMs": 1 });
    collections.in_time(find.max_time(collections.time_limit)).await
}

/// The tombstones up to a number. The index of documents serves it.
fn old_tombstones(tenant: &TenantId, up_to: Seq) -> Bson {
    doc! { "tenant": tenant.as_str(), "deleted": true, "seq": { "$lte": signed(up_to) } }
}

/// The remains of entries before a number.
fn old_remains(tenant: &TenantId, before: Seq) -> Bson {
    entries_between(tenant, Seq::START, before.previous())
}

/// See [`crate::store::Store::expire`].
pub(crate) async fn expire(database: &Database, tenant: &TenantId, step: ExpireStep) -> Result<Expired, Failure> {
    let expired = transaction::run(database, tenant, &Expiring { tenant, step }).await?;
    database.tails.missed(tenant);
    Ok(expired)
}

/// Removes rows of a tenant. A commit that comes meanwhile waits for the head, or is repeated.
struct Expiring<'a> {
    tenant: &'a TenantId,
    step: ExpireStep,
}

#[async_trait]
impl Work for Expiring<'_> {
    type Outcome = Expired;

    async fn run(&self, collections: &Collections, session: &mut ClientSession) -> Result<Verdict<Expired>, Failure> {
        let ExpireStep { expiry: Expiry { floor, tombstones_up_to, remains_before }, max_rows } = self.step;
        // A statement that changes nothing would not lock the head.
        let lock = collections.heads.find_one_and_update(head_of(self.tenant), doc! { "$inc": { "expiries": 1_i64 } });
        let Some(head) = collections.in_time(lock.session(&mut *session).into_future()).await? else {
            return Ok(Verdict::Undo(Expired::default()));
        };
        let head = Row(&head).head()?;
        // The log may be another one by now, which is shorter.
        if floor.seq > head.horizon {
            return Ok(Verdict::Undo(Expired::default()));
        }
        let floor = if floor.seq > head.floor.seq { floor } else { head.floor };

        let (tombstones, bytes) =
            remove_tombstones(collections, session, self.tenant, (tombstones_up_to, max_rows)).await?;
        let max_rows = max_rows - tombstones;
        let remains = remove_remains(collections, session, self.tenant, (remains_before, max_rows)).await?;

        let change = doc! {
            "$set": {
                "floor": signed(floor.seq),
                "floorFingerprint": signed(floor.fingerprint.to_number()),
            },
            "$max": { "tombstonesGone": signed(tombstones_up_to) },
            "$inc": { "bytes": -bytes },
        };
        let update = collections.heads.update_one(head_of(self.tenant), change).session(&mut *session);
        collections.in_time(update).await?;
        Ok(Verdict::Keep(Expired { tombstones: tombstones as u64, remains: remains as u64 }))
    }
}

/// Removes the oldest tombstones. Returns their number, and how many bytes they had.
async fn remove_tombstones(
    collections: &Collections,
    session: &mut ClientSession,
    tenant: &TenantId,
    (up_to, max_rows): (Seq, usize),
) -> Result<(usize, i64), Failure> {
    // A limit of 0 would mean no limit.
    if up_to == Seq::START || max_rows == 0 {
        return Ok((0, 0));
    }
    let length = |field: &str| {
        let is_text = doc! { "$eq": [{ "$type": field }, "string"] };
        doc! { "$cond": [is_text, { "$strLenBytes": field }, 0] }
    };
    let length = doc! { "$add": [length("$clock"), length("$stamps")] };
    let find = collections.documents.find(old_tombstones(tenant, up_to)).sort(doc! { "seq": 1 });
    let find = find.projection(doc! { "_id": 1, "bytes": length }).limit(signed(max_rows as u64));
    let mut found = collections.in_time(find.session(&mut *session).into_future()).await?;
    let (mut keys, mut bytes): (Vec<String>, i64) = (Vec::new(), 0);
    while collections.in_time(found.advance(session)).await? {
        let row = Row(found.current());
        keys.push(row.text("_id")?.to_owned());
        bytes += signed(row.integer::<u64>("bytes")?);
    }
    if keys.is_empty() {
        return Ok((0, 0));
    }
    let removed = keys.len();
    let those = doc! { "_id": { "$in": keys }, "tenant": tenant.as_str() };
    let deleted = collections.in_time(collections.documents.delete_many(those).session(session)).await?;
    if deleted.deleted_count != removed as u64 {
        return Err(Failure::Answer("another number of removed tombstones than were found"));
    }
    Ok((removed, bytes))
}

/// Removes the remains of the oldest entries, and the ids of the operations of which they are resolutions. Returns the
/// number of entries.
async fn remove_remains(
    collections: &Collections,
    session: &mut ClientSession,
    tenant: &TenantId,
    (before, max_rows): (Seq, usize),
) -> Result<usize, Failure> {
    if before <= Seq::START.next() || max_rows == 0 {
        return Ok(0);
    }
    let find = collections.operations.find(old_remains(tenant, before)).sort(doc! { "_id": 1 });
    let find = find.projection(doc! { "_id": 1, "id": 1 }).limit(signed(max_rows as u64));
    let mut found = collections.in_time(find.session(&mut *session).into_future()).await?;
    let (mut keys, mut pushed_keys): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    while collections.in_time(found.advance(session)).await? {
        let row = Row(found.current());
        keys.push(row.text("_id")?.to_owned());
        let id = OperationId::from_store(row.text("id")?);
        let pushed = pushed_id(&id);
        if pushed != id.as_str() {
            pushed_keys.push(learned_key(tenant, pushed));
        }
    }
    let removed = keys.len();
    for keys in [keys, pushed_keys] {
        if !keys.is_empty() {
            let those = doc! { "_id": { "$in": keys }, "tenant": tenant.as_str() };
            collections.in_time(collections.operations.delete_many(those).session(&mut *session)).await?;
        }
    }
    Ok(removed)
}

/// See [`crate::store::Store::count_expired`].
pub(crate) async fn count_expired(database: &Database, tenant: &TenantId, expiry: Expiry) -> Result<Expired, Failure> {
    let collections = database.ready().await?;
    let tombstones = old_tombstones(tenant, expiry.tombstones_up_to);
    let tombstones = collections.documents.count_documents(tombstones).max_time(collections.time_limit);
    let tombstones = collections.in_time(tombstones).await?;
    let remains = old_remains(tenant, expiry.remains_before);
    let remains = collections.operations.count_documents(remains).max_time(collections.time_limit);
    Ok(Expired { tombstones, remains: collections.in_time(remains).await? })
}
