//! The jobs of the writing thread. Each is one transaction.

pub(super) mod retention;
pub(super) mod together;

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::row::{integer, read_position};
use crate::core::cursor::Position;
use crate::core::decide::owners::OwnerWrite;
use crate::core::decide::{Batch, DocumentWrite};
use crate::core::json::Object;
use crate::core::names::{ClientId, Subject, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::progress::Progress;
use crate::store::integers::signed;
use crate::store::{Commit, CompactStep, Compaction, FORGOTTEN_PULLED_SEQ, NewMemory, Remember};

/// The failure that a transaction must survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Durability {
    /// The death of the machine: the write-ahead log is flushed to the disk.
    Machine,
    /// The death of the process. The next transaction that is flushed includes it.
    Process,
}

/// Begins a transaction of the only writer in this process.
///
/// The level of durability is set each time, so that it does not depend on how an earlier transaction ended.
pub(super) fn begin(connection: &mut Connection, durability: Durability) -> rusqlite::Result<Transaction<'_>> {
    let synchronous = match durability {
        Durability::Machine => "FULL",
        Durability::Process => "NORMAL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    connection.transaction_with_behavior(TransactionBehavior::Immediate)
}

/// Writes a batch. If a guard fails, what it has written must be undone.
///
/// The counter of bytes stays at 0 or more, because a process of an earlier version may write without counting.
fn write_batch(transaction: &Transaction<'_>, tenant: &TenantId, batch: &Batch) -> rusqlite::Result<Commit> {
    let Log { position: before, received_at_ms } = read_log(transaction, tenant)?;
    let received_at_ms = received_at_ms.max(batch.received_at_ms);
    let holds = write_ids(transaction, tenant, batch)?
        && write_owners(transaction, tenant, batch)?
        && write_documents(transaction, tenant, batch, before.seq)?;
    if !holds {
        return Ok(Commit::Contended);
    }
    let after = write_operations(transaction, tenant, batch, before, received_at_ms)?;
    transaction
        .prepare_cached(
            "INSERT INTO heads (tenant, seq, fingerprint, horizon, operations, documents, received_at_ms, bytes)
             VALUES (?1, ?2, ?3, 0, ?4, ?5, ?6, ?7)
             ON CONFLICT (tenant) DO UPDATE SET seq = ?2, fingerprint = ?3, operations = operations + ?4,
                 documents = documents + ?5, received_at_ms = ?6, bytes = max(bytes + ?7, 0)",
        )?
        .execute(params![
            tenant.as_str(),
            signed(after.seq),
            signed(after.fingerprint.to_number()),
            signed(after.seq.entries_since(before.seq)),
            batch.live_documents_delta,
            signed(received_at_ms),
            batch.bytes_delta,
        ])?;
    Ok(Commit::Done)
}

/// The end of a tenant's log.
struct Log {
    position: Position,
    received_at_ms: UnixMs,
}

fn read_log(transaction: &Transaction<'_>, tenant: &TenantId) -> rusqlite::Result<Log> {
    let log = transaction
        .prepare_cached("SELECT seq, fingerprint, received_at_ms FROM heads WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| {
            Ok(Log { position: read_position(row, 0)?, received_at_ms: integer(row, 2)? })
        })
        .optional()?;
    Ok(log.unwrap_or(Log { position: Position::START, received_at_ms: UnixMs::EPOCH }))
}

/// Makes the ids known. Returns false if one is known already.
fn write_ids(transaction: &Transaction<'_>, tenant: &TenantId, batch: &Batch) -> rusqlite::Result<bool> {
    let mut insert =
        transaction.prepare_cached("INSERT INTO operation_ids (tenant, id) VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
    for id in batch.known_ids() {
        if insert.execute([tenant.as_str(), id.as_str()])? == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the owners of client ids. Returns false if one has changed since the decision.
fn write_owners(transaction: &Transaction<'_>, tenant: &TenantId, batch: &Batch) -> rusqlite::Result<bool> {
    if batch.owners.is_empty() {
        return Ok(true);
    }
    let mut insert = transaction.prepare_cached(
        "INSERT INTO client_owners (tenant, client_id, subject, counter) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT DO NOTHING",
    )?;
    let mut update = transaction.prepare_cached(
        "UPDATE client_owners SET subject = ?3, counter = ?4
         WHERE tenant = ?1 AND client_id = ?2 AND subject IS ?5 AND counter = ?6",
    )?;
    for OwnerWrite { client_id, seen, owner } in &batch.owners {
        let (tenant, client_id, counter) = (tenant.as_str(), client_id.as_str(), signed(owner.counter));
        let subject = owner.subject.as_ref().map(Subject::as_str);
        let written = match seen {
            None => insert.execute(params![tenant, client_id, subject, counter])?,
            Some(seen) => {
                let seen_subject = seen.subject.as_ref().map(Subject::as_str);
                update.execute(params![tenant, client_id, subject, counter, seen_subject, signed(seen.counter)])?
            }
        };
        if written == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the documents. Returns false if one has changed since the decision.
fn write_documents(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    batch: &Batch,
    seq_before: Seq,
) -> rusqlite::Result<bool> {
    // Both statements take the same parameters. The condition of the first one is there only to use the last parameter.
    let mut insert = transaction.prepare_cached(
        "INSERT INTO documents
             (tenant, collection, id, rev, seq, is_deleted, operation_id, timestamp, client_id, clock, data,
              former_labels, stamps)
         SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?14 WHERE ?13 IS NULL
         ON CONFLICT DO NOTHING",
    )?;
    let mut update = transaction.prepare_cached(
        "UPDATE documents SET rev = ?4, seq = ?5, is_deleted = ?6, operation_id = ?7, timestamp = ?8, client_id = ?9,
             clock = ?10, data = ?11, former_labels = ?12, stamps = ?14
         WHERE tenant = ?1 AND collection = ?2 AND id = ?3 AND rev = ?13",
    )?;
    for DocumentWrite { key, seen_rev, document, operation_index, changes_labels: _, stamps } in &batch.documents {
        let write = if seen_rev.is_none() { &mut insert } else { &mut update };
        let written = write.execute(params![
            tenant.as_str(),
            key.collection.as_str(),
            key.id.as_str(),
            signed(document.rev),
            signed(seq_before.next().plus(*operation_index as u64)),
            document.is_deleted(),
            document.operation_id.as_str(),
            signed(document.timestamp),
            document.client_id.as_str(),
            document.clock.json().as_str(),
            document.data.as_ref().map(Object::as_str),
            document.former_labels.to_stored(),
            seen_rev.map(signed),
            stamps.as_deref().filter(|text| !text.is_empty()),
        ])?;
        if written == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Appends the operations to the log and returns the new end.
fn write_operations(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    batch: &Batch,
    before: Position,
    received_at_ms: UnixMs,
) -> rusqlite::Result<Position> {
    let mut insert = transaction.prepare_cached(
        "INSERT INTO operations
             (tenant, seq, fingerprint, id, kind, collection, document_id, data, timestamp, client_id, clock,
              received_at_ms, subject, kept)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
    )?;
    let mut after = before;
    let mut kept = batch.kept().peekable();
    let fingerprints = batch.fingerprints(before.fingerprint);
    for (index, (operation, fingerprint)) in batch.operations.iter().zip(fingerprints).enumerate() {
        after = Position { seq: after.seq.next(), fingerprint };
        insert.execute(params![
            tenant.as_str(),
            signed(after.seq),
            signed(fingerprint.to_number()),
            operation.id.as_str(),
            operation.kind().as_str(),
            operation.key.collection.as_str(),
            operation.key.id.as_str(),
            operation.data().map(Object::as_str),
            signed(operation.timestamp),
            operation.client_id.as_str(),
            operation.clock.json().as_str(),
            signed(received_at_ms),
            batch.subject(index).map(Subject::as_str),
            kept.next_if(|(of, _)| *of == index).map(|(_, kept)| kept.as_str()),
        ])?;
    }
    Ok(after)
}

/// See [`crate::store::Store::note_pulled`].
pub(super) fn note_pulled(
    connection: &mut Connection,
    tenant: &TenantId,
    client: &ClientId,
    progress: Progress,
) -> rusqlite::Result<()> {
    let transaction = begin(connection, Durability::Process)?;
    transaction
        .prepare_cached(
            "INSERT INTO clients (tenant, id, revision, places, pulled_seq, seen_at_ms) VALUES (?1, ?2, 0, '', ?3, ?4)
             ON CONFLICT (tenant, id) DO UPDATE SET pulled_seq = ?3, seen_at_ms = ?4",
        )?
        .execute(
            params![tenant.as_str(), client.as_str(), signed(progress.pulled_seq), signed(progress.seen_at_ms),],
        )?;
    transaction.commit()
}

/// Replaces the memory of a client if it still has the revision that was seen.
pub(super) fn remember(
    connection: &mut Connection,
    tenant: &TenantId,
    client: &ClientId,
    memory: &NewMemory,
) -> rusqlite::Result<Remember> {
    let transaction = begin(connection, Durability::Machine)?;
    if memory.seen_revision == Rev::NONE {
        transaction
            .prepare_cached(
                "INSERT INTO clients (tenant, id, revision, places, pulled_seq, seen_at_ms)
                 VALUES (?1, ?2, 0, '', 0, 0) ON CONFLICT DO NOTHING",
            )?
            .execute([tenant.as_str(), client.as_str()])?;
    }
    let written = transaction
        .prepare_cached(
            "UPDATE clients SET revision = revision + 1, places = ?4, pulled_seq = ?5, seen_at_ms = ?6
             WHERE tenant = ?1 AND id = ?2 AND revision = ?3",
        )?
        .execute(params![
            tenant.as_str(),
            client.as_str(),
            signed(memory.seen_revision),
            memory.places.to_text(),
            signed(memory.pulled_seq),
            signed(memory.seen_at_ms),
        ])?;
    if written == 0 {
        return Ok(Remember::Contended);
    }
    transaction.commit()?;
    Ok(Remember::Done)
}

/// See [`crate::store::Store::claim`].
pub(super) fn claim(
    connection: &mut Connection,
    tenant: &TenantId,
    client: &ClientId,
    subject: &Subject,
) -> rusqlite::Result<()> {
    let transaction = begin(connection, Durability::Machine)?;
    transaction
        .prepare_cached(
            "INSERT INTO client_owners (tenant, client_id, subject, counter) VALUES (?1, ?2, ?3, 0)
             ON CONFLICT (tenant, client_id) DO UPDATE SET subject = ?3 WHERE client_owners.subject IS NULL",
        )?
        .execute([tenant.as_str(), client.as_str(), subject.as_str()])?;
    transaction.commit()
}

/// One step of a compaction.
pub(super) fn compact(
    connection: &mut Connection,
    tenant: &TenantId,
    step: CompactStep,
) -> rusqlite::Result<Compaction> {
    let transaction = begin(connection, Durability::Machine)?;
    let max_entries = i64::try_from(step.max_entries).unwrap_or(i64::MAX);
    let clients_are_left = forget_clients(&transaction, tenant, step, max_entries)?;
    if end_the_future(&transaction, tenant, step)? {
        transaction.commit()?;
        return Ok(Compaction { deleted_entries: 0, is_finished: false });
    }

    // The time of reception never runs backwards in the log, so the old entries are those up to a certain number.
    let horizon: Seq = transaction
        .prepare_cached("SELECT horizon FROM heads WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| integer(row, 0))
        .optional()?
        .unwrap_or_default();
    let last_of_step = horizon.plus(step.max_entries as u64);
    let newest_old: Option<Seq> = transaction
        .prepare_cached(
            "SELECT seq FROM operations WHERE tenant = ?1 AND seq > ?2 AND seq <= ?3 AND received_at_ms <= ?4
             ORDER BY seq DESC LIMIT 1",
        )?
        .query_row(
            params![tenant.as_str(), signed(horizon), signed(last_of_step), signed(step.received_until_ms)],
            |row| integer(row, 0),
        )
        .optional()?;
    let new_horizon = newest_old.unwrap_or(horizon);
    if new_horizon > horizon {
        move_horizon(&transaction, tenant, horizon, new_horizon)?;
    }
    let entries_are_left = new_horizon >= last_of_step && is_old(&transaction, tenant, last_of_step.next(), step)?;
    let is_finished = !clients_are_left && !entries_are_left;
    transaction.commit()?;
    Ok(Compaction { deleted_entries: new_horizon.entries_since(horizon), is_finished })
}

/// Forgets silent clients, and sets times in the future to now. Returns whether some are left for the next step.
///
/// Places are kept, in rows that this function and the statistics skip from then on.
fn forget_clients(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    step: CompactStep,
    max_clients: i64,
) -> rusqlite::Result<bool> {
    let before_ms = signed(step.forget_clients_before_ms);
    let silent: Vec<(String, bool)> = transaction
        .prepare_cached(
            "SELECT id, revision > 0 FROM clients WHERE tenant = ?1 AND seen_at_ms > 0 AND seen_at_ms < ?2
             ORDER BY seen_at_ms LIMIT ?3",
        )?
        .query_map(params![tenant.as_str(), before_ms, max_clients.saturating_add(1)], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let mut forget = transaction
        .prepare_cached("UPDATE clients SET seen_at_ms = 0, pulled_seq = ?3 WHERE tenant = ?1 AND id = ?2")?;
    let mut delete = transaction.prepare_cached("DELETE FROM clients WHERE tenant = ?1 AND id = ?2")?;
    for (client, has_places) in silent.iter().take(step.max_entries) {
        if *has_places {
            forget.execute(params![tenant.as_str(), client, signed(FORGOTTEN_PULLED_SEQ)])?;
        } else {
            delete.execute([tenant.as_str(), client])?;
        }
    }
    let future_after_ms = signed(step.future_after_ms);
    transaction
        .prepare_cached(
            "UPDATE clients SET seen_at_ms = ?2 WHERE tenant = ?1 AND id IN
                 (SELECT id FROM clients WHERE tenant = ?1 AND seen_at_ms > ?3 LIMIT ?4)",
        )?
        .execute(params![tenant.as_str(), signed(step.now_ms), future_after_ms, max_clients])?;
    let of_the_future_are_left = transaction
        .prepare_cached("SELECT 1 FROM clients WHERE tenant = ?1 AND seen_at_ms > ?2 LIMIT 1")?
        .exists(params![tenant.as_str(), future_after_ms])?;
    Ok(silent.len() > step.max_entries || of_the_future_are_left)
}

/// Sets times of reception in the future to now. Returns whether some are left for the next step.
///
/// They belong to the newest entries. The head keeps the greatest of them until all are done, because new entries must
/// not be older.
fn end_the_future(transaction: &Transaction<'_>, tenant: &TenantId, step: CompactStep) -> rusqlite::Result<bool> {
    let now_ms = signed(step.now_ms);
    let head = transaction
        .prepare_cached("SELECT horizon, seq FROM heads WHERE tenant = ?1 AND received_at_ms > ?2")?
        .query_row(params![tenant.as_str(), signed(step.future_after_ms)], |row| {
            Ok((integer::<Seq>(row, 0)?, integer::<Seq>(row, 1)?))
        })
        .optional()?;
    let Some((horizon, newest)) = head else { return Ok(false) };
    let mut is_later = transaction
        .prepare_cached("SELECT 1 FROM operations WHERE tenant = ?1 AND seq = ?2 AND received_at_ms > ?3")?;
    // Finds the first of them by bisection. It lies after the newest entry if compaction has removed all of them.
    let (mut first, mut behind) = (horizon.next(), newest.next());
    while first < behind {
        let middle = first.plus(behind.entries_since(first) / 2);
        if is_later.exists(params![tenant.as_str(), signed(middle), now_ms])? {
            behind = middle;
        } else {
            first = middle.next();
        }
    }
    let last = newest.min(first.plus(step.max_entries as u64).previous());
    transaction
        .prepare_cached("UPDATE operations SET received_at_ms = ?4 WHERE tenant = ?1 AND seq >= ?2 AND seq <= ?3")?
        .execute(params![tenant.as_str(), signed(first), signed(last), now_ms])?;
    if last == newest {
        transaction
            .prepare_cached("UPDATE heads SET received_at_ms = ?2 WHERE tenant = ?1")?
            .execute(params![tenant.as_str(), now_ms])?;
    }
    Ok(last < newest)
}

fn move_horizon(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    horizon: Seq,
    new_horizon: Seq,
) -> rusqlite::Result<()> {
    let range = params![tenant.as_str(), signed(horizon), signed(new_horizon)];
    transaction
        .prepare_cached(
            "INSERT INTO fingerprints (tenant, seq, fingerprint, id, received_at_ms)
             SELECT tenant, seq, fingerprint, id, received_at_ms FROM operations
             WHERE tenant = ?1 AND seq > ?2 AND seq <= ?3",
        )?
        .execute(range)?;
    transaction
        .prepare_cached(
            "UPDATE heads SET horizon = ?3, operations = operations - (?3 - ?2), bytes = max(bytes - (
                 SELECT coalesce(sum(octet_length(coalesce(data, '')) + octet_length(clock)
                     + octet_length(coalesce(kept, ''))), 0)
                 FROM operations WHERE tenant = ?1 AND seq > ?2 AND seq <= ?3
             ), 0)
             WHERE tenant = ?1",
        )?
        .execute(range)?;
    transaction
        .prepare_cached("DELETE FROM operations WHERE tenant = ?1 AND seq > ?2 AND seq <= ?3")?
        .execute(range)?;
    Ok(())
}

/// Whether the entry with this number exists and is removed by this cut.
fn is_old(transaction: &Transaction<'_>, tenant: &TenantId, seq: Seq, step: CompactStep) -> rusqlite::Result<bool> {
    transaction
        .prepare_cached("SELECT 1 FROM operations WHERE tenant = ?1 AND seq = ?2 AND received_at_ms <= ?3")?
        .exists(params![tenant.as_str(), signed(seq), signed(step.received_until_ms)])
}
