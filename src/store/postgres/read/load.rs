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
    let is_plain = client_ids.is_empty() && places.is_empty();
    let has_all = request.with_labels || request.with_stamps;
    let sql = match (has_all, request.with_usage, is_plain) {
        (true, ..) if request.with_stamps => LOAD_WITH_STAMPS,
        (true, ..) => LOAD_WITH_ALL,
        (false, false, true) => LOAD,
        (false, true, true) => LOAD_WITH_USAGE,
        (false, false, false) => LOAD_WITH_OWNERS,
        (false, true, false) => LOAD_WITH_BOTH,
    };
    let (tenant, max_bytes) = (tenant.as_str(), signed(request.max_bytes as u64));
    let mut parameters: Vec<Parameter<'_>> = vec![
        (&tenant, Type::TEXT),
        (&ids, Type::TEXT_ARRAY),
        (&collections, Type::TEXT_ARRAY),
        (&doc_ids, Type::TEXT_ARRAY),
        (&max_bytes, Type::INT8),
    ];
    if has_all || !is_plain {
        parameters.push((&client_ids, Type::TEXT_ARRAY));
        parameters.push((&places, Type::INT8_ARRAY));
    }
    if has_all {
        parameters.push((&request.with_usage, Type::BOOL));
    }
    if request.with_stamps {
        parameters.push((&request.with_labels, Type::BOOL));
    }
    let (mut snapshot, mut bytes) = (Snapshot::default(), 0);
    for row in &database.rows(sql, &parameters).await? {
        let mut columns = Columns::of(row);
        let known_id: Option<&str> = columns.take()?;
        let is_document = Columns::behind(row, 1).take::<Option<&str>>()?.is_some();
        if let Some(id) = known_id {
            snapshot.known.insert(OperationId::from_store(id));
        } else if is_document {
            let (key, mut document) = (columns.key()?, columns.document()?);
            if has_all {
                let (labels, seq) = (columns.take()?, columns.optional_integer()?.unwrap_or_default());
                document.former_labels = FormerLabels::from_stored(labels, seq)?;
            }
            bytes += document.bytes();
            if request.with_stamps {
                bytes += usize::try_from(columns.integer::<u64>()?).unwrap_or(usize::MAX);
                // A commit removes stamps by an empty text.
                let stamps = columns.take::<Option<String>>()?.filter(|stamps| !stamps.is_empty());
                let stored = StoredStamps { stamps, kept: columns.take()? };
                if let Some(stamps) = &stored.stamps {
                    snapshot.stamps_bytes.insert(key.clone(), stamps.len());
                }
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

/// The row of [`LOAD_WITH_USAGE`] that belongs to no id, document, client or place.
fn read_usage(row: &Row) -> Result<Usage, Failure> {
    let documents = Columns::behind(row, 3).integer()?;
    let operation_ids = Columns::behind(row, 5).text()?.parse().map_err(|_| Failure::Answer("a number of ids"))?;
    let bytes = Columns::behind(row, 7).integer()?;
    Ok(Usage { documents, bytes, operation_ids })
}

/// The ids and documents of a decision.
const LOAD: &str = "SELECT * FROM {schema}.syncflow_load($1, $2, $3, $4, $5)";

/// The same with a row that says how much the tenant keeps. It has no id and no document.
const LOAD_WITH_USAGE: &str = "
    SELECT * FROM {schema}.syncflow_usage($1) UNION ALL
    SELECT * FROM {schema}.syncflow_load($1, $2, $3, $4, $5)
";

/// The same with a row for the owner of each client id, and one for each place of the log.
const LOAD_WITH_OWNERS: &str = "
    SELECT * FROM {schema}.syncflow_load_owners($1, $6) UNION ALL
    SELECT * FROM {schema}.syncflow_load_places($1, $7) UNION ALL
    SELECT * FROM {schema}.syncflow_load($1, $2, $3, $4, $5)
";

/// The same with both.
const LOAD_WITH_BOTH: &str = "
    SELECT * FROM {schema}.syncflow_usage($1) UNION ALL
    SELECT * FROM {schema}.syncflow_load_owners($1, $6) UNION ALL
    SELECT * FROM {schema}.syncflow_load_places($1, $7) UNION ALL
    SELECT * FROM {schema}.syncflow_load($1, $2, $3, $4, $5)
";

/// The same with both, and with the former labels of the documents. A document that has some also has the place of its
/// last operation. The row of the usage is there if the last parameter is true.
const LOAD_WITH_ALL: &str = "
    SELECT w.*, CASE WHEN w.labels IS NOT NULL THEN (
        SELECT d.seq
        FROM {schema}.syncflow_documents AS d
        WHERE
            d.tenant OPERATOR(pg_catalog.=) $1
            AND d.collection OPERATOR(pg_catalog.=) w.collection
            AND d.doc_id OPERATOR(pg_catalog.=) w.doc_id
    ) END
    FROM (
        SELECT l.*, (
            SELECT f.labels
            FROM {schema}.syncflow_former_labels AS f
            WHERE
                f.tenant OPERATOR(pg_catalog.=) $1
                AND f.collection OPERATOR(pg_catalog.=) l.collection
                AND f.doc_id OPERATOR(pg_catalog.=) l.doc_id
        ) AS labels
        FROM (
            SELECT * FROM {schema}.syncflow_usage($1) WHERE $8 UNION ALL
            SELECT * FROM {schema}.syncflow_load_owners($1, $6) UNION ALL
            SELECT * FROM {schema}.syncflow_load_places($1, $7) UNION ALL
            SELECT * FROM {schema}.syncflow_load($1, $2, $3, $4, $5)
        ) AS l
    ) AS w
";

/// The same with the stamps of documents, and with what is kept beside the last operations of tombstones. Before them
/// is the number of their bytes. They are missing if they have too many bytes together. The former labels are there if
/// the last parameter is true.
const LOAD_WITH_STAMPS: &str = "
    SELECT
        r.known_id, r.collection, r.doc_id, r.rev, r.body, r.operation_id, r.client_id, r.\"timestamp\", r.clock,
        r.labels, r.seq, r.bytes,
        CASE WHEN r.bytes_so_far OPERATOR(pg_catalog.<=) $5 THEN r.stamps END,
        CASE WHEN r.bytes_so_far OPERATOR(pg_catalog.<=) $5 THEN r.kept END
    FROM (
        SELECT s.*, pg_catalog.sum(s.bytes) OVER (ROWS UNBOUNDED PRECEDING) AS bytes_so_far
        FROM (
            SELECT
                k.*,
                (
                    coalesce(pg_catalog.octet_length(k.stamps), 0)
                    OPERATOR(pg_catalog.+) coalesce(pg_catalog.octet_length(k.kept), 0)
                )::pg_catalog.int8 AS bytes
            FROM (
                SELECT
                    t.*,
                    CASE WHEN t.body IS NULL AND t.seq IS NOT NULL THEN (
                        SELECT o.kept
                        FROM {schema}.syncflow_operations AS o
                        WHERE o.tenant OPERATOR(pg_catalog.=) $1 AND o.seq OPERATOR(pg_catalog.=) t.seq
                    ) END AS kept
                FROM (
                    SELECT
                        w.*,
                        CASE WHEN w.collection IS NOT NULL AND (w.labels IS NOT NULL OR w.body IS NULL) THEN (
                            SELECT d.seq
                            FROM {schema}.syncflow_documents AS d
                            WHERE
                                d.tenant OPERATOR(pg_catalog.=) $1
                                AND d.collection OPERATOR(pg_catalog.=) w.collection
                                AND d.doc_id OPERATOR(pg_catalog.=) w.doc_id
                        ) END AS seq
                    FROM (
                        SELECT
                            l.*,
                            CASE WHEN $9 AND l.collection IS NOT NULL THEN (
                                SELECT f.labels
                                FROM {schema}.syncflow_former_labels AS f
                                WHERE
                                    f.tenant OPERATOR(pg_catalog.=) $1
                                    AND f.collection OPERATOR(pg_catalog.=) l.collection
                                    AND f.doc_id OPERATOR(pg_catalog.=) l.doc_id
                            ) END AS labels,
                            CASE WHEN l.collection IS NOT NULL THEN (
                                SELECT s.stamps
                                FROM {schema}.syncflow_stamps AS s
                                WHERE
                                    s.tenant OPERATOR(pg_catalog.=) $1
                                    AND s.collection OPERATOR(pg_catalog.=) l.collection
                                    AND s.doc_id OPERATOR(pg_catalog.=) l.doc_id
                            ) END AS stamps
                        FROM (
                            SELECT * FROM {schema}.syncflow_usage($1) WHERE $8 UNION ALL
                            SELECT * FROM {schema}.syncflow_load_owners($1, $6) UNION ALL
                            SELECT * FROM {schema}.syncflow_load_places($1, $7) UNION ALL
                            SELECT * FROM {schema}.syncflow_load($1, $2, $3, $4, $5)
                        ) AS l (known_id, collection, doc_id, rev, body, operation_id, client_id, \"timestamp\", clock)
                    ) AS w
                ) AS t
            ) AS k
        ) AS s
    ) AS r
";
