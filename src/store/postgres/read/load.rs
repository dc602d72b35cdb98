//! The reads for a decision.

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::core::access::labels::FormerLabels;
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::quota::Usage;
use crate::core::decide::{Snapshot, StoredStamps};
use crate::core::names::{ClientId, FromStore as _, OperationId, TenantId};
use crate::store::LoadRequest;
use crate::store::integers::signed;
use crate::store::postgres::connections::Parameter;
use crate::store::postgres::database::Database;
use crate::store::postgres::failure::Failure;
use crate::store::postgres::row::Columns;

/// See [`crate::store::Store::load`].
pub(in crate::store::postgres) async fn load(
    database: &Database,
    tenant: &TenantId,
    request: LoadRequest,
) -> Result<Snapshot, Failure> {
    let ids: Vec<&str> = request.ids.iter().map(OperationId::as_str).collect();
    let collections: Vec<&str> = request.keys.iter().map(|key| key.collection.as_str()).collect();
    let doc_ids: Vec<&str> = request.keys.iter().map(|key| key.id.as_str()).collect();
    let client_ids: Vec<&str> = request.client_ids.iter().map(ClientId::as_str).collect();
    let places: Vec<i64> = request.places.iter().copied().map(signed).collect();
    let (tenant, max_bytes) = (tenant.as_str(), signed(request.max_bytes as u64));
    let parameters: [Parameter<'_>; 10] = [
        (&tenant, Type::TEXT),
        (&ids, Type::TEXT_ARRAY),
        (&collections, Type::TEXT_ARRAY),
        (&doc_ids, Type::TEXT_ARRAY),
        (&max_bytes, Type::INT8),
        (&client_ids, Type::TEXT_ARRAY),
        (&places, Type::INT8_ARRAY),
        (&request.with_usage, Type::BOOL),
        (&request.with_labels, Type::BOOL),
        (&request.with_stamps, Type::BOOL),
    ];
    let (mut snapshot, mut bytes) = (Snapshot::default(), 0);
    for row in &database.rows(LOAD, &parameters).await? {
        let mut columns = Columns::of(row);
        let known_id: Option<&str> = columns.take()?;
        let is_document = Columns::behind(row, 1).take::<Option<&str>>()?.is_some();
        if let Some(id) = known_id {
            snapshot.known.insert(OperationId::from_store(id));
        } else if is_document {
            let (key, mut document) = (columns.key()?, columns.document()?);
            let (labels, seq) = (columns.take()?, columns.optional_integer()?.unwrap_or_default());
            document.former_labels = FormerLabels::from_stored(labels, seq)?;
            bytes += document.bytes();
            if let Some(stamps_bytes) = columns.optional_integer::<u64>()? {
                let stamps_bytes = usize::try_from(stamps_bytes).unwrap_or(usize::MAX);
                snapshot.stamps_bytes.insert(key.clone(), stamps_bytes);
            }
            if request.with_stamps {
                bytes += usize::try_from(columns.integer::<u64>()?).unwrap_or(usize::MAX);
                let stored = StoredStamps { stamps: columns.take()?, kept: columns.take()? };
                if stored != StoredStamps::default() {
                    snapshot.stamps.insert(key.clone(), stored);
                }
            }
            snapshot.documents.insert(key, document);
        } else if let Some(client_id) = Columns::behind(row, 6).take::<Option<&str>>()? {
            let (mut counter, mut subject) = (Columns::behind(row, 3), Columns::behind(row, 4));
            let owner = ClientOwner { subject: subject.subject()?, counter: counter.integer()? };
            snapshot.owners.insert(ClientId::from_store(client_id), owner);
        } else if Columns::behind(row, 5).take::<Option<&str>>()?.is_some() {
            snapshot.usage = Some(read_usage(row)?);
        } else {
            let seq = Columns::behind(row, 3).integer()?;
            snapshot.fingerprints.extend(Columns::behind(row, 7).optional_fingerprint()?.map(|there| (seq, there)));
        }
    }
    Ok(Snapshot { is_cut: bytes > request.max_bytes, ..snapshot })
}

/// The row of [`LOAD`] that belongs to no id, document, client or place.
fn read_usage(row: &Row) -> Result<Usage, Failure> {
    let documents = Columns::behind(row, 3).integer()?;
    let operation_ids = Columns::behind(row, 5).text()?.parse().map_err(|_| Failure::Answer("a number of ids"))?;
    let bytes = Columns::behind(row, 7).integer()?;
    Ok(Usage { documents, bytes, operation_ids })
}

/// The ids and documents of a decision, and all that may be asked for beside them. These are a row that says how much
/// the tenant keeps, and one for each owner and each place. Documents have their former labels, stamps and kept texts.
const LOAD: &str = "SELECT * FROM {schema}.syncflow_load_all($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
