//! The basis of a decision.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, Row, Transaction, params};

use super::{find_owner, read_fingerprint, read_head};
use crate::core::decide::quota::Usage;
use crate::core::decide::{Snapshot, StoredStamps};
use crate::core::names::TenantId;
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
        for seq in request.places {
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
            Ok((document, stored))
        };
        if let Some((document, stored)) = find_document.query_row(parameters, read).optional()? {
            bytes += document.bytes() + stored.as_ref().map_or(0, StoredStamps::bytes);
            if bytes > request.max_bytes {
                return Ok(Snapshot { is_cut: true, ..snapshot });
            }
            if let Some(stored) = stored {
                snapshot.stamps.insert(key.clone(), stored);
            }
            snapshot.documents.insert(key, document);
        }
    }
    Ok(snapshot)
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
