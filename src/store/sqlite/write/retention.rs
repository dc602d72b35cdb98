//! The jobs of retention.

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};

use super::{Durability, begin};
use crate::core::cursor::Position;
use crate::core::decide::pushed_id;
use crate::core::names::{FromStore as _, OperationId, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::retention::{Bisection, Expiry};
use crate::store::integers::signed;
use crate::store::sqlite::read::{read_fingerprint, read_head};
use crate::store::sqlite::row::integer;
use crate::store::{ExpireStep, Expired};

/// See [`crate::store::Store::aged_place`].
///
/// The time of reception never runs backwards in the log, so the place is found by bisection.
pub(in crate::store::sqlite) fn aged_place(
    connection: &mut Connection,
    tenant: &TenantId,
    received_until_ms: UnixMs,
    up_to: Seq,
) -> rusqlite::Result<Option<Position>> {
    let transaction = connection.transaction()?;
    let head = read_head(&transaction, tenant)?;
    let mut in_log =
        transaction.prepare_cached("SELECT received_at_ms FROM operations WHERE tenant = ?1 AND seq = ?2")?;
    let mut compacted =
        transaction.prepare_cached("SELECT received_at_ms FROM fingerprints WHERE tenant = ?1 AND seq = ?2")?;
    let mut places = Bisection::up_to(up_to.min(head.position.seq));
    while let Some(seq) = places.asks() {
        let find = if seq > head.horizon { &mut in_log } else { &mut compacted };
        let received_at_ms: Option<i64> =
            find.query_row(params![tenant.as_str(), signed(seq)], |row| row.get(0)).optional()?.flatten();
        places.answer(seq, received_at_ms.is_none_or(|received_at_ms| received_at_ms <= signed(received_until_ms)));
    }
    match places.found() {
        Seq::START => Ok(None),
        seq => {
            let fingerprint = read_fingerprint(&transaction, tenant, head, seq)?;
            Ok(fingerprint.map(|fingerprint| Position { seq, fingerprint }))
        }
    }
}

/// See [`crate::store::Store::expire`].
pub(in crate::store::sqlite) fn expire(
    connection: &mut Connection,
    tenant: &TenantId,
    step: ExpireStep,
) -> rusqlite::Result<Expired> {
    let transaction = begin(connection, Durability::Machine)?;
    let Expiry { floor, tombstones_up_to, remains_before } = step.expiry;
    // A step for a floor after the horizon is one for another log.
    let heads = transaction
        .prepare_cached(
            "UPDATE heads SET
                 floor_fingerprint = CASE WHEN floor < ?2 THEN ?3 ELSE floor_fingerprint END,
                 floor = max(floor, ?2), tombstones_gone = max(tombstones_gone, ?4)
             WHERE tenant = ?1 AND horizon >= ?2",
        )?
        .execute(params![
            tenant.as_str(),
            signed(floor.seq),
            signed(floor.fingerprint.to_number()),
            signed(tombstones_up_to),
        ])?;
    if heads == 0 {
        return Ok(Expired::default());
    }
    let max_rows = step.max_rows as u64;
    let tombstones = remove_tombstones(&transaction, tenant, tombstones_up_to, max_rows)?;
    let remains = remove_remains(&transaction, tenant, remains_before, max_rows - tombstones)?;
    transaction.commit()?;
    Ok(Expired { tombstones, remains })
}

/// The sequence numbers of the oldest tombstones. The index of tombstones serves it.
pub(in crate::store::sqlite) const OLD_TOMBSTONES_QUERY: &str =
    "SELECT seq, octet_length(clock) + octet_length(coalesce(stamps, '')) FROM documents
     WHERE tenant = ?1 AND is_deleted = 1 AND seq <= ?2 ORDER BY seq LIMIT ?3";

/// Removes tombstones up to a sequence number.
pub(in crate::store::sqlite) const REMOVE_TOMBSTONES: &str =
    "DELETE FROM documents WHERE tenant = ?1 AND is_deleted = 1 AND seq <= ?2";

/// The remains of the oldest entries.
pub(in crate::store::sqlite) const OLD_REMAINS_QUERY: &str =
    "SELECT seq, id FROM fingerprints WHERE tenant = ?1 AND seq < ?2 ORDER BY seq LIMIT ?3";

/// Removes remains up to a sequence number.
pub(in crate::store::sqlite) const REMOVE_REMAINS: &str = "DELETE FROM fingerprints WHERE tenant = ?1 AND seq <= ?2";

fn remove_tombstones(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    up_to: Seq,
    max_rows: u64,
) -> rusqlite::Result<u64> {
    let old: Vec<(i64, u64)> = transaction
        .prepare_cached(OLD_TOMBSTONES_QUERY)?
        .query_map(params![tenant.as_str(), signed(up_to), signed(max_rows)], |row| {
            Ok((row.get(0)?, integer(row, 1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let Some((last, _)) = old.last() else { return Ok(0) };
    let removed = transaction.prepare_cached(REMOVE_TOMBSTONES)?.execute(params![tenant.as_str(), last])?;
    let bytes: u64 = old.iter().map(|(_, bytes)| bytes).sum();
    transaction
        .prepare_cached("UPDATE heads SET bytes = max(bytes - ?2, 0) WHERE tenant = ?1")?
        .execute(params![tenant.as_str(), signed(bytes)])?;
    Ok(removed as u64)
}

/// Removes fingerprints, and the ids of their entries.
fn remove_remains(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    before: Seq,
    max_rows: u64,
) -> rusqlite::Result<u64> {
    let old: Vec<(i64, Option<String>)> = transaction
        .prepare_cached(OLD_REMAINS_QUERY)?
        .query_map(params![tenant.as_str(), signed(before), signed(max_rows)], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let Some((last, _)) = old.last() else { return Ok(0) };
    let mut forget = transaction.prepare_cached("DELETE FROM operation_ids WHERE tenant = ?1 AND id = ?2")?;
    for id in old.iter().filter_map(|(_, id)| id.as_deref()) {
        let id = OperationId::from_store(id);
        forget.execute([tenant.as_str(), id.as_str()])?;
        let pushed = pushed_id(&id);
        if pushed != id.as_str() {
            forget.execute([tenant.as_str(), pushed])?;
        }
    }
    let removed = transaction.prepare_cached(REMOVE_REMAINS)?.execute(params![tenant.as_str(), last])?;
    Ok(removed as u64)
}

/// See [`crate::store::Store::count_expired`].
pub(in crate::store::sqlite) fn count_expired(
    connection: &mut Connection,
    tenant: &TenantId,
    expiry: Expiry,
) -> rusqlite::Result<Expired> {
    let Expiry { tombstones_up_to, remains_before, .. } = expiry;
    connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM documents WHERE tenant = ?1 AND is_deleted = 1 AND seq <= ?2),
                 (SELECT count(*) FROM fingerprints WHERE tenant = ?1 AND seq < ?3)
                     + (SELECT count(*) FROM operations WHERE tenant = ?1 AND seq < ?3)",
        )?
        .query_row(params![tenant.as_str(), signed(tombstones_up_to), signed(remains_before)], |row| {
            Ok(Expired { tombstones: integer(row, 0)?, remains: integer(row, 1)? })
        })
}
