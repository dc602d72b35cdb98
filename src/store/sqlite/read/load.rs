//! The basis of a decision.

use std::collections::{HashMap, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{find_owner, read_fingerprint, read_head};
use crate::core::decide::quota::Usage;
use crate::core::decide::{Snapshot, StoredStamps};
use crate::core::names::TenantId;
use crate::limits::store::sqlite::{LOOKUP_MAX_BYTES, LOOKUP_MAX_ROWS};
use crate::store::LoadRequest;
use crate::store::sqlite::row::{integer, read_document};

/// See [`crate::store::Store::load`].
pub(in crate::store::sqlite) fn load(
    connection: &mut Connection,
    tenant: &TenantId,
    request: LoadRequest,
) -> rusqlite::Result<Snapshot> {
    let transaction = connection.transaction()?;
    let mut find_id = transaction.prepare_cached("SELECT 1 FROM operation_ids WHERE tenant = ?1 AND id = ?2")?;
    let mut known = HashSet::new();
    for id in request.ids {
        if find_id.exists([tenant.as_str(), id.as_str()])? {
            known.insert(id);
        }
    }
    let mut find_document = transaction.prepare_cached(
        "SELECT rev, data, clock, operation_id, client_id, timestamp, former_labels, seq, stamps FROM documents
         WHERE tenant = ?1 AND collection = ?2 AND id = ?3",
    )?;
    let usage = if request.with_usage { Some(read_usage(&transaction, tenant)?) } else { None };
    let mut owners = HashMap::new();
    for client_id in request.client_ids {
        if let Some(owner) = find_owner(&transaction, tenant, &client_id)? {
            owners.insert(client_id, owner);
        }
    }
    let mut fingerprints = HashMap::new();
    if !request.places.is_empty() {
        let head = read_head(&transaction, tenant)?;
        for seq in request.places.into_iter().filter(|seq| *seq >= head.floor.seq) {
            if let Some(fingerprint) = read_fingerprint(&transaction, tenant, head, seq)? {
                fingerprints.insert(seq, fingerprint);
            }
        }
    }
    let mut snapshot = Snapshot { known, owners, fingerprints, usage, ..Snapshot::default() };
    let mut bytes = 0;
    for key in request.keys {
        let parameters = [tenant.as_str(), key.collection.as_str(), key.id.as_str()];
        let read = |row: &Row<'_>| {
            let document = read_document(row)?;
            let stored = if request.with_stamps { read_stamps(&transaction, tenant, row)? } else { None };
            let stamps_bytes = if let ValueRef::Text(stamps) = row.get_ref(8)? { stamps.len() } else { 0 };
            Ok((document, stored, stamps_bytes))
        };
        if let Some((document, stored, stamps_bytes)) = find_document.query_row(parameters, read).optional()? {
            bytes += document.bytes() + stored.as_ref().map_or(0, StoredStamps::bytes);
            if bytes > request.max_bytes {
                return Ok(Snapshot { is_cut: true, ..snapshot });
            }
            if let Some(stored) = stored {
                snapshot.stamps.insert(key.clone(), stored);
            }
            if stamps_bytes > 0 {
                snapshot.stamps_bytes.insert(key.clone(), stamps_bytes);
            }
            snapshot.documents.insert(key, document);
        }
    }
    Ok(snapshot)
}

/// The same for the caller's own thread. `None` if it takes more than a few small rows.
pub(in crate::store::sqlite) fn load_small(
    connection: &mut Connection,
    tenant: &TenantId,
    request: &LoadRequest,
) -> rusqlite::Result<Option<Snapshot>> {
    let LoadRequest { ids, keys, client_ids, places, .. } = request;
    if ids.len() + keys.len() + client_ids.len() + places.len() > LOOKUP_MAX_ROWS {
        return Ok(None);
    }
    let max_bytes = request.max_bytes.min(LOOKUP_MAX_BYTES);
    if !are_small(connection, tenant, request, max_bytes)? {
        return Ok(None);
    }
    // Another one may have written meanwhile, so that the documents are larger now.
    let snapshot = load(connection, tenant, LoadRequest { max_bytes, ..request.clone() })?;
    Ok(Some(snapshot).filter(|snapshot| !snapshot.is_cut))
}

/// Whether the requested documents have at most so many bytes together. SQLite knows the length of a text without
/// reading it. The bytes beside a tombstone are not known, so with stamps it is not small.
fn are_small(
    connection: &Connection,
    tenant: &TenantId,
    request: &LoadRequest,
    max_bytes: usize,
) -> rusqlite::Result<bool> {
    let mut find_bytes = connection.prepare_cached(
        "SELECT coalesce(octet_length(data), 0) + octet_length(clock) + coalesce(octet_length(stamps), 0)
             + coalesce(octet_length(former_labels), 0), is_deleted
         FROM documents WHERE tenant = ?1 AND collection = ?2 AND id = ?3",
    )?;
    let mut bytes = 0;
    for key in &request.keys {
        let parameters = [tenant.as_str(), key.collection.as_str(), key.id.as_str()];
        let read = |row: &Row<'_>| Ok((integer::<u64>(row, 0)?, row.get(1)?));
        let Some((of_document, is_deleted)) = find_bytes.query_row(parameters, read).optional()? else { continue };
        bytes += of_document;
        if bytes > max_bytes as u64 || (is_deleted && request.with_stamps) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The texts that are kept for resolutions with the document in a row of [`load`], if there are any.
fn read_stamps(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    row: &Row<'_>,
) -> rusqlite::Result<Option<StoredStamps>> {
    let stamps: Option<String> = row.get(8)?;
    let is_deleted = row.get_ref(1)?.as_str_or_null()?.is_none();
    let kept: Option<String> = if is_deleted {
        transaction
            .prepare_cached("SELECT kept FROM operations WHERE tenant = ?1 AND seq = ?2")?
            .query_row(params![tenant.as_str(), row.get::<_, i64>(7)?], |row| row.get(0))
            .optional()?
            .flatten()
    } else {
        None
    };
    Ok((stamps.is_some() || kept.is_some()).then_some(StoredStamps { stamps, kept }))
}

fn read_usage(transaction: &Transaction<'_>, tenant: &TenantId) -> rusqlite::Result<Usage> {
    let usage = transaction
        .prepare_cached("SELECT documents, bytes, seq FROM heads WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| {
            Ok(Usage { documents: integer(row, 0)?, bytes: integer(row, 1)?, operation_ids: integer(row, 2)? })
        })
        .optional()?;
    Ok(usage.unwrap_or_default())
}
