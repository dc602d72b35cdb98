//! The jobs of an operator: the whole log, transfers, and erasing.

pub(super) mod file;

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::read::read_fingerprint;
use super::row::{
    AUDIT_COLUMNS, HEAD_COLUMNS, damaged, integer, read_head_row, read_log_entry, read_owner, resolution,
};
use super::write::{Durability, begin};
use crate::core::cursor::Head;
use crate::core::decide::RESERVED_IDS;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, FromStore as _, OperationId, Subject, TenantId};
use crate::core::numbers::Seq;
use crate::core::operation::LogEntry;
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::core::text::TextPool;
use crate::store::integers::signed;
use crate::store::operator::{AuditBuilder, merge_client_rows};
use crate::store::{Audit, AuditEntry, ClientRow, Counters, Erased, Lesson, ScrubStep};

/// A number of rows for a `LIMIT`.
fn limit_of(rows: usize) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

/// See [`crate::store::Store::audit`].
pub(super) fn audit(
    connection: &mut Connection,
    tenant: &TenantId,
    after: Seq,
    max_entries: usize,
) -> rusqlite::Result<Audit> {
    let transaction = connection.transaction()?;
    let (head, counters) = read_counted_head(&transaction, tenant)?;
    let fingerprint_before = read_fingerprint(&transaction, tenant, head, after)?;
    // The columns of a log entry, and four more.
    let mut find = transaction.prepare_cached(&format!(
        "SELECT {AUDIT_COLUMNS}, fingerprint, received_at_ms,
             EXISTS (
                 SELECT 1 FROM operation_ids
                 WHERE tenant = operations.tenant
                     AND id IN (operations.id, substr(operations.id, CASE WHEN operations.id >= ?4
                         AND operations.id < ?5 THEN length(?4) + 1 ELSE 1 END))
             ) AS is_known,
             octet_length(coalesce(kept, '')) AS kept_bytes
         FROM operations WHERE tenant = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3"
    ))?;
    let parameters =
        params![tenant.as_str(), signed(after), limit_of(max_entries), RESERVED_IDS.start, RESERVED_IDS.end];
    let mut rows = find.query(parameters)?;
    let (mut audit, mut pool) = (AuditBuilder::new(max_entries), TextPool::default());
    while let Some(row) = rows.next()? {
        let entry = AuditEntry {
            entry: LogEntry { resolution: resolution(row)?, ..read_log_entry(row, &mut pool)? },
            fingerprint: Fingerprint::from_number(integer(row, 13)?),
            received_at_ms: integer(row, 14)?,
            is_id_known: row.get(15)?,
            kept_bytes: integer(row, 16)?,
        };
        if !audit.push(entry) {
            break;
        }
    }
    Ok(audit.finish(head, counters, fingerprint_before))
}

fn read_counted_head(transaction: &Transaction<'_>, tenant: &TenantId) -> rusqlite::Result<(Head, Counters)> {
    let read = |row: &Row<'_>| {
        let counters = Counters {
            operations: integer(row, 6)?,
            documents: integer(row, 7)?,
            bytes: integer(row, 8)?,
            received_at_ms: integer(row, 9)?,
        };
        Ok((read_head_row(row)?, counters))
    };
    let head = transaction
        .prepare_cached(&format!(
            "SELECT {HEAD_COLUMNS}, operations, documents, bytes, received_at_ms FROM heads WHERE tenant = ?1"
        ))?
        .query_row([tenant.as_str()], read)
        .optional()?;
    Ok(head.unwrap_or_default())
}

/// See [`crate::store::Store::operation_ids`].
pub(super) fn operation_ids(
    connection: &mut Connection,
    tenant: &TenantId,
    after: Option<&OperationId>,
    limit: usize,
) -> rusqlite::Result<Vec<OperationId>> {
    // No name is empty, so all names come after the empty text.
    let after = after.map_or("", OperationId::as_str);
    connection
        .prepare_cached(
            "SELECT id FROM operation_ids WHERE tenant = ?1 AND id > ?2 AND (id < ?4 OR id >= ?5) ORDER BY id LIMIT ?3",
        )?
        .query_map(params![tenant.as_str(), after, limit_of(limit), RESERVED_IDS.start, RESERVED_IDS.end], |row| {
            Ok(OperationId::from_store(row.get_ref(0)?.as_str()?))
        })?
        .collect()
}

/// See [`crate::store::Store::client_rows`].
pub(super) fn client_rows(
    connection: &mut Connection,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> rusqlite::Result<Vec<ClientRow>> {
    let transaction = connection.transaction()?;
    let after = after.map_or("", ClientId::as_str);
    let parameters = params![tenant.as_str(), after, limit_of(limit)];
    let owners = transaction
        .prepare_cached(
            "SELECT subject, counter, client_id FROM client_owners WHERE tenant = ?1 AND client_id > ?2
             ORDER BY client_id LIMIT ?3",
        )?
        .query_map(parameters, |row| Ok((ClientId::from_store(row.get_ref(2)?.as_str()?), read_owner(row)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let pulls = transaction
        .prepare_cached(
            "SELECT id, places, pulled_seq, seen_at_ms FROM clients WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3",
        )?
        .query_map(parameters, |row| {
            let places = Places::parse(row.get_ref(1)?.as_str()?);
            let places = places.ok_or_else(|| damaged(row, 1, "not the places of a client"))?;
            let progress = Progress { pulled_seq: integer(row, 2)?, seen_at_ms: integer(row, 3)? };
            Ok((ClientId::from_store(row.get_ref(0)?.as_str()?), progress, places))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok(merge_client_rows(owners, pulls, limit))
}

/// See [`crate::store::Store::learn`].
pub(super) fn learn(connection: &mut Connection, tenant: &TenantId, lesson: &Lesson) -> rusqlite::Result<()> {
    let transaction = begin(connection, Durability::Machine)?;
    let mut insert_id =
        transaction.prepare_cached("INSERT INTO operation_ids (tenant, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for id in &lesson.ids {
        insert_id.execute([tenant.as_str(), id.as_str()])?;
    }
    let mut write_owner = transaction.prepare_cached(
        "INSERT INTO client_owners (tenant, client_id, subject, counter) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (tenant, client_id) DO UPDATE SET
             subject = coalesce(client_owners.subject, ?3), counter = max(client_owners.counter, ?4)",
    )?;
    for (client_id, owner) in &lesson.owners {
        let subject = owner.subject.as_ref().map(Subject::as_str);
        write_owner.execute(params![tenant.as_str(), client_id.as_str(), subject, signed(owner.counter)])?;
    }
    drop((insert_id, write_owner));
    transaction.commit()
}

/// See [`crate::store::Store::scrub`].
pub(super) fn scrub(connection: &mut Connection, tenant: &TenantId, step: &ScrubStep) -> rusqlite::Result<u64> {
    let transaction = begin(connection, Durability::Machine)?;
    let (tenant, collection, id) = (tenant.as_str(), step.key.collection.as_str(), step.key.id.as_str());
    let part = params![tenant, signed(step.after), signed(step.up_to), collection, id];
    let (entries, bytes): (u64, u64) = transaction
        .prepare_cached(
            "SELECT count(*), coalesce(sum(max(octet_length(coalesce(data, '')) - 2, 0)
                 + octet_length(coalesce(kept, ''))), 0)
             FROM operations
             WHERE tenant = ?1 AND seq > ?2 AND seq <= ?3 AND collection = ?4 AND document_id = ?5
                 AND (data <> '{}' OR kept IS NOT NULL)",
        )?
        .query_row(part, |row| Ok((integer(row, 0)?, integer(row, 1)?)))?;
    transaction
        .prepare_cached(
            "UPDATE operations SET data = CASE WHEN data IS NOT NULL THEN '{}' END, kept = NULL
             WHERE tenant = ?1 AND seq > ?2 AND seq <= ?3 AND collection = ?4 AND document_id = ?5
                 AND (data <> '{}' OR kept IS NOT NULL)",
        )?
        .execute(part)?;
    transaction
        .prepare_cached("UPDATE heads SET bytes = max(bytes - ?2, 0) WHERE tenant = ?1")?
        .execute(params![tenant, signed(bytes)])?;
    transaction.commit()?;
    Ok(entries)
}

/// See [`crate::store::Store::erase_tenant`].
///
/// Documents go first, since a page of documents needs the fingerprints of the log.
pub(super) fn erase_tenant(
    connection: &mut Connection,
    tenant: &TenantId,
    max_rows: usize,
) -> rusqlite::Result<Erased> {
    let transaction = begin(connection, Durability::Machine)?;
    let mut rows_left = limit_of(max_rows);
    let documents = erase_documents(&transaction, tenant, rows_left)?;
    rows_left -= signed(documents);
    let entries = erase_entries(&transaction, tenant, rows_left)?;
    rows_left -= signed(entries);
    let mut erase = |table: &str, key: &str| -> rusqlite::Result<u64> {
        let removed = transaction
            .prepare_cached(&format!(
                "DELETE FROM {table} WHERE tenant = ?1 AND {key} IN
                     (SELECT {key} FROM {table} WHERE tenant = ?1 ORDER BY {key} LIMIT ?2)"
            ))?
            .execute(params![tenant.as_str(), rows_left])?;
        rows_left -= limit_of(removed);
        Ok(removed as u64)
    };
    let ids = erase("operation_ids", "id")?;
    erase("fingerprints", "seq")?;
    let clients = erase("clients", "id")? + erase("client_owners", "client_id")?;
    let is_finished = rows_left > 0;
    if is_finished {
        transaction.prepare_cached("DELETE FROM heads WHERE tenant = ?1")?.execute([tenant.as_str()])?;
    }
    transaction.commit()?;
    Ok(Erased { documents, entries, ids, clients, is_finished })
}

fn erase_documents(transaction: &Transaction<'_>, tenant: &TenantId, max_rows: i64) -> rusqlite::Result<u64> {
    let (documents, live, bytes): (u64, u64, u64) = transaction
        .prepare_cached(
            "SELECT count(*), coalesce(sum(is_deleted = 0), 0), coalesce(sum(bytes), 0) FROM (
                 SELECT is_deleted, octet_length(coalesce(data, '')) + octet_length(clock)
                     + octet_length(coalesce(stamps, '')) AS bytes
                 FROM documents WHERE tenant = ?1 ORDER BY collection, id LIMIT ?2
             )",
        )?
        .query_row(params![tenant.as_str(), max_rows], |row| {
            Ok((integer(row, 0)?, integer(row, 1)?, integer(row, 2)?))
        })?;
    transaction
        .prepare_cached(
            "DELETE FROM documents WHERE tenant = ?1 AND (collection, id) IN
                 (SELECT collection, id FROM documents WHERE tenant = ?1 ORDER BY collection, id LIMIT ?2)",
        )?
        .execute(params![tenant.as_str(), max_rows])?;
    transaction
        .prepare_cached(
            "UPDATE heads SET documents = max(documents - ?2, 0), bytes = max(bytes - ?3, 0) WHERE tenant = ?1",
        )?
        .execute(params![tenant.as_str(), signed(live), signed(bytes)])?;
    Ok(documents)
}

fn erase_entries(transaction: &Transaction<'_>, tenant: &TenantId, max_rows: i64) -> rusqlite::Result<u64> {
    let (entries, bytes, last): (u64, u64, Seq) = transaction
        .prepare_cached(
            "SELECT count(*), coalesce(sum(bytes), 0), coalesce(max(seq), 0) FROM (
                 SELECT seq, octet_length(coalesce(data, '')) + octet_length(clock)
                     + octet_length(coalesce(kept, '')) AS bytes
                 FROM operations WHERE tenant = ?1 ORDER BY seq LIMIT ?2
             )",
        )?
        .query_row(params![tenant.as_str(), max_rows], |row| {
            Ok((integer(row, 0)?, integer(row, 1)?, integer(row, 2)?))
        })?;
    transaction
        .prepare_cached("DELETE FROM operations WHERE tenant = ?1 AND seq <= ?2")?
        .execute(params![tenant.as_str(), signed(last)])?;
    transaction
        .prepare_cached(
            "UPDATE heads SET horizon = max(horizon, ?2), operations = max(operations - ?3, 0),
                 bytes = max(bytes - ?4, 0) WHERE tenant = ?1",
        )?
        .execute(params![tenant.as_str(), signed(last), signed(entries), signed(bytes)])?;
    Ok(entries)
}
