//! The whole log for an operator.

use std::collections::HashMap;

use mongodb::bson::{Document, doc};

use crate::core::cursor::Head;
use crate::core::decide::{pushed_id, tells_pushed_id};
use crate::core::fingerprint::Fingerprint;
use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::core::operation::LogEntry;
use crate::core::text::TextPool;
use crate::limits::store::mongodb::{LIST_MAX_VALUES, READ_MAX_ATTEMPTS};
use crate::store::integers::signed;
use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::database::Database;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::read::rows::{Isolation, Rows, batch_of};
use crate::store::mongodb::row::{Row, entries_after, entries_between, head_of};
use crate::store::operator::AuditBuilder;
use crate::store::{Audit, AuditEntry, Counters};

/// See [`crate::store::Store::audit`].
pub(in crate::store::mongodb) async fn audit(
    database: &Database,
    tenant: &TenantId,
    after: Seq,
    max_entries: usize,
) -> Result<Audit, Failure> {
    let collections = database.ready().await?;
    let mut isolation = Isolation::Snapshot;
    for _ in 0..READ_MAX_ATTEMPTS {
        let found = collections.in_time(collections.heads.find_one(head_of(tenant))).await?;
        let Some(found) = found else {
            let there = (after == Seq::START).then_some(Fingerprint::START);
            return Ok(AuditBuilder::new(0).finish(Head::default(), Counters::default(), there));
        };
        // Compaction leaves a part of each entry, and these parts are passed over.
        let from = after.max(Row(&found).head()?.horizon);
        if let Some(mut audit) = read_audit(collections, tenant, (after, from), max_entries, isolation).await? {
            find_pushed_ids(collections, tenant, &mut audit).await?;
            return Ok(audit);
        }
        isolation = Isolation::Transaction;
    }
    Err(Failure::Crowded)
}

/// Reads the head, the entry at a place, the entries after another place, and the head again. `None` if the head moved
/// meanwhile.
async fn read_audit(
    collections: &Collections,
    tenant: &TenantId,
    (after, from): (Seq, Seq),
    max_entries: usize,
    isolation: Isolation,
) -> Result<Option<Audit>, Failure> {
    let head = || doc! { "$match": head_of(tenant) };
    let lookup = |pipeline: Vec<Document>| {
        doc! { "$lookup": { "from": collections.operations.name(), "pipeline": pipeline, "as": "row" } }
    };
    let limit = doc! { "$limit": signed(max_entries as u64).max(1) };
    let entries = vec![doc! { "$match": entries_after(tenant, from) }, doc! { "$sort": { "_id": 1 } }, limit];
    let there = doc! { "$match": entries_between(tenant, after.previous(), after) };
    let looked_up = |pipeline: Vec<Document>| {
        let rows =
            vec![head(), lookup(pipeline), doc! { "$unwind": "$row" }, doc! { "$replaceRoot": { "newRoot": "$row" } }];
        doc! { "$unionWith": { "coll": collections.heads.name(), "pipeline": rows } }
    };
    let again = doc! { "$unionWith": { "coll": collections.heads.name(), "pipeline": [head()] } };
    let pipeline = vec![head(), looked_up(vec![there]), looked_up(entries), again];
    let batch_rows = max_entries.saturating_add(3);
    let mut rows = Rows::of(collections, &collections.heads, pipeline, batch_rows, isolation).await?;
    let Some(first) = rows.next(collections).await? else { return Ok(None) };
    let (head, counters) = counted_head(first)?;
    let mut fingerprint_before = (after == Seq::START).then_some(Fingerprint::START);
    let (mut audit, mut pool) = (AuditBuilder::new(max_entries), TextPool::default());
    while let Some(row) = rows.next(collections).await? {
        if row.has("liveDocuments")? {
            return Ok(
                (counted_head(row)? == (head, counters)).then(|| audit.finish(head, counters, fingerprint_before))
            );
        }
        let position = row.position()?;
        if position.seq <= after {
            fingerprint_before = Some(position.fingerprint);
            continue;
        }
        if position.seq > head.position.seq || !row.has("clock")? {
            return Ok(None);
        }
        let entry = AuditEntry {
            entry: LogEntry { subject: row.subject()?, resolution: row.resolution()?, ..row.log_entry(&mut pool)? },
            fingerprint: position.fingerprint,
            received_at_ms: row.integer("receivedAtMs")?,
            // The index of known ids is one of the log itself. The other ids of resolutions are looked up later.
            is_id_known: true,
            kept_bytes: row.optional_text("kept")?.map_or(0, str::len) as u64,
        };
        if !audit.push(entry) {
            return Ok(Some(audit.finish(head, counters, fingerprint_before)));
        }
    }
    Ok(None)
}

/// Finds out which of the operations are known that are resolved in the log. Known ids stay known, so this need not be
/// of the same moment.
async fn find_pushed_ids(collections: &Collections, tenant: &TenantId, audit: &mut Audit) -> Result<(), Failure> {
    let is_told = |entry: &&mut AuditEntry| tells_pushed_id(&entry.entry.id);
    let mut resolutions: HashMap<String, &mut AuditEntry> = HashMap::new();
    for entry in audit.entries.iter_mut().filter(is_told) {
        entry.is_id_known = false;
        resolutions.insert(pushed_id(&entry.entry.id).to_owned(), entry);
    }
    let ids: Vec<String> = resolutions.keys().cloned().collect();
    for ids in ids.chunks(LIST_MAX_VALUES) {
        let known = doc! { "tenant": tenant.as_str(), "id": { "$in": ids.to_vec() } };
        let find = collections.operations.find(known).projection(doc! { "_id": 0, "id": 1 });
        let find = find.batch_size(batch_of(ids.len())).max_time(collections.time_limit);
        let mut found = collections.in_time(find).await?;
        while collections.in_time(found.advance()).await? {
            if let Some(entry) = resolutions.get_mut(Row(found.current()).text("id")?) {
                entry.is_id_known = true;
            }
        }
    }
    Ok(())
}

fn counted_head(row: Row<'_>) -> Result<(Head, Counters), Failure> {
    let head = row.head()?;
    let counters = Counters {
        operations: head.position.seq.entries_since(head.horizon),
        documents: row.integer("liveDocuments")?,
        bytes: row.counter("bytes")?,
        received_at_ms: row.integer("receivedAtMs")?,
    };
    Ok((head, counters))
}
