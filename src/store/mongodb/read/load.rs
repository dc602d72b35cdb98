//! The reads for a decision.

use std::collections::{HashMap, HashSet};

use futures_util::future::try_join;
use mongodb::bson::doc;

use super::rows::batch_of;
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::quota::Usage;
use crate::core::decide::{Snapshot, StoredStamps};
use crate::core::document::Document;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, DocumentKey, FromStore as _, OperationId, TenantId};
use crate::core::numbers::Seq;
use crate::limits::store::mongodb::LIST_MAX_VALUES;
use crate::store::LoadRequest;
use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::database::Database;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::{Row, client_key, document_key, entry_key};

/// See [`crate::store::Store::load`].
///
/// It takes two commands one after the other, because the two collections share no key. The documents are read first:
/// then an operation that is committed in between is known, and never conflicts with itself. The guards of the commit
/// detect all other changes in between. The owners of client ids are read at the same time as the documents.
pub(crate) async fn load(database: &Database, tenant: &TenantId, request: &LoadRequest) -> Result<Snapshot, Failure> {
    let collections = database.ready().await?;
    let usage = if request.with_usage { Some(usage(collections, tenant).await?) } else { None };
    let (documents, (owners, fingerprints)) = try_join(
        documents(collections, tenant, request),
        try_join(owners(collections, tenant, request), fingerprints(collections, tenant, &request.places)),
    )
    .await?;
    let Some(Loaded { documents, stamps, stamps_bytes }) = documents else {
        return Ok(Snapshot { is_cut: true, owners, fingerprints, usage, ..Snapshot::default() });
    };
    let (known, fingerprints) = try_join(
        known_ids(collections, tenant, &request.ids),
        fingerprints_after_floor(collections, tenant, fingerprints),
    )
    .await?;
    Ok(Snapshot { known, documents, owners, fingerprints, usage, stamps, stamps_bytes, ..Snapshot::default() })
}

/// The ids that are known.
async fn known_ids(
    collections: &Collections,
    tenant: &TenantId,
    ids: &[OperationId],
) -> Result<HashSet<OperationId>, Failure> {
    let mut known = HashSet::new();
    for ids in ids.chunks(LIST_MAX_VALUES) {
        let ids: Vec<&str> = ids.iter().map(OperationId::as_str).collect();
        let find = collections.operations.find(doc! { "tenant": tenant.as_str(), "id": { "$in": ids } });
        let find = find.projection(doc! { "_id": 0, "id": 1 }).batch_size(batch_of(LIST_MAX_VALUES));
        let mut found = collections.in_time(find.max_time(collections.time_limit)).await?;
        while collections.in_time(found.advance()).await? {
            known.insert(OperationId::from_store(Row(found.current()).text("id")?));
        }
    }
    Ok(known)
}

/// Leaves out the fingerprints at places before the floor. The floor is read after the documents, so each tombstone
/// that was gone by then is before it.
async fn fingerprints_after_floor(
    collections: &Collections,
    tenant: &TenantId,
    fingerprints: HashMap<Seq, Fingerprint>,
) -> Result<HashMap<Seq, Fingerprint>, Failure> {
    if fingerprints.is_empty() {
        return Ok(fingerprints);
    }
    let head = collections.heads.find_one(doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() });
    let head = head.projection(doc! { "floor": 1 }).max_time(collections.time_limit);
    let head = collections.in_time(head).await?;
    let floor: Option<Seq> = head.map(|head| Row(&head).optional_integer("floor")).transpose()?.flatten();
    let floor = floor.unwrap_or_default();
    Ok(fingerprints.into_iter().filter(|(seq, _)| *seq >= floor).collect())
}

/// The documents of a decision, with what is kept with them.
#[derive(Default)]
struct Loaded {
    documents: HashMap<DocumentKey, Document>,
    stamps: HashMap<DocumentKey, StoredStamps>,
    stamps_bytes: HashMap<DocumentKey, usize>,
}

/// The documents of a decision, and what is kept with them if this was asked for. `None` if they have more bytes than
/// were asked for.
async fn documents(
    collections: &Collections,
    tenant: &TenantId,
    request: &LoadRequest,
) -> Result<Option<Loaded>, Failure> {
    let (mut loaded, mut bytes) = (Loaded::default(), 0);
    let Loaded { documents, stamps, stamps_bytes } = &mut loaded;
    let mut tombstones = Vec::new();
    for keys in request.keys.chunks(LIST_MAX_VALUES) {
        let keys: Vec<String> = keys.iter().map(|key| document_key(tenant, key)).collect();
        let those = doc! { "_id": { "$in": keys }, "tenant": tenant.as_str() };
        let mut found =
            collections.in_time(collections.documents.find(those).batch_size(batch_of(LIST_MAX_VALUES))).await?;
        while collections.in_time(found.advance()).await? {
            let row = Row(found.current());
            let document = row.document()?;
            bytes += document.bytes();
            let key = row.key()?;
            let length = row.length("stamps")?;
            if length > 0 {
                stamps_bytes.insert(key.clone(), length);
            }
            if request.with_stamps {
                if let Some(text) = row.optional_text("stamps")? {
                    bytes += text.len();
                    stamps.insert(key.clone(), StoredStamps { stamps: Some(text.to_owned()), kept: None });
                }
                if document.is_deleted() {
                    tombstones.push((row.integer::<Seq>("seq")?, key.clone()));
                }
            }
            if bytes > request.max_bytes {
                return Ok(None);
            }
            documents.insert(key, document);
        }
    }
    for tombstones in tombstones.chunks(LIST_MAX_VALUES) {
        let keys_by_seq: HashMap<Seq, &DocumentKey> = tombstones.iter().map(|(seq, key)| (*seq, key)).collect();
        let entries: Vec<String> = keys_by_seq.keys().map(|seq| entry_key(tenant, *seq)).collect();
        let those = doc! { "_id": { "$in": entries }, "tenant": tenant.as_str(), "kept": { "$exists": true } };
        let find = collections.operations.find(those).projection(doc! { "_id": 0, "seq": 1, "kept": 1 });
        let find = find.batch_size(batch_of(LIST_MAX_VALUES)).max_time(collections.time_limit);
        let mut found = collections.in_time(find).await?;
        while collections.in_time(found.advance()).await? {
            let row = Row(found.current());
            let text = row.text("kept")?;
            bytes += text.len();
            if bytes > request.max_bytes {
                return Ok(None);
            }
            if let Some(key) = keys_by_seq.get(&row.integer("seq")?) {
                stamps.entry((*key).clone()).or_insert_with(StoredStamps::default).kept = Some(text.to_owned());
            }
        }
    }
    Ok(Some(loaded))
}

/// The owners of client ids of a decision.
async fn owners(
    collections: &Collections,
    tenant: &TenantId,
    request: &LoadRequest,
) -> Result<HashMap<ClientId, ClientOwner>, Failure> {
    let mut owners = HashMap::new();
    for client_ids in request.client_ids.chunks(LIST_MAX_VALUES) {
        let keys: Vec<String> = client_ids.iter().map(|client_id| client_key(tenant, client_id)).collect();
        let find = collections.owners.find(doc! { "_id": { "$in": keys }, "tenant": tenant.as_str() });
        let find = find.batch_size(batch_of(LIST_MAX_VALUES)).max_time(collections.time_limit);
        let mut found = collections.in_time(find).await?;
        while collections.in_time(found.advance()).await? {
            owners.extend([Row(found.current()).owner()?]);
        }
    }
    Ok(owners)
}

/// The fingerprints of the log at some places. Entries that compaction has removed keep them.
async fn fingerprints(
    collections: &Collections,
    tenant: &TenantId,
    places: &[Seq],
) -> Result<HashMap<Seq, Fingerprint>, Failure> {
    let mut fingerprints = HashMap::new();
    for places in places.chunks(LIST_MAX_VALUES) {
        let keys: Vec<String> = places.iter().map(|seq| entry_key(tenant, *seq)).collect();
        let find = collections.operations.find(doc! { "_id": { "$in": keys }, "tenant": tenant.as_str() });
        let find = find.projection(doc! { "_id": 0, "seq": 1, "fingerprint": 1 });
        let find = find.batch_size(batch_of(LIST_MAX_VALUES)).max_time(collections.time_limit);
        let mut found = collections.in_time(find).await?;
        while collections.in_time(found.advance()).await? {
            let row = Row(found.current());
            fingerprints.insert(row.integer("seq")?, row.fingerprint()?);
        }
    }
    Ok(fingerprints)
}

/// How much a tenant keeps, without the bytes that a version without this counter has written.
async fn usage(collections: &Collections, tenant: &TenantId) -> Result<Usage, Failure> {
    let head = doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() };
    let find = collections.heads.find_one(head).max_time(collections.time_limit);
    let Some(head) = collections.in_time(find).await? else { return Ok(Usage::default()) };
    let head = Row(&head);
    Ok(Usage {
        documents: head.integer("liveDocuments")?,
        bytes: head.counter("bytes")?,
        operation_ids: head.integer("seq")?,
    })
}
