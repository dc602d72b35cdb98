//! Writes: each is one statement with all of its effect or none.

use std::borrow::Cow;

use tokio_postgres::types::Type;

use super::connections::Parameter;
use super::database::Database;
use super::failure::Failure;
use super::jsonb::indexable;
use super::row::Columns;
use crate::core::decide::owners::OwnerWrite;
use crate::core::decide::{Batch, DocumentWrite};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, OperationId, Subject, TenantId};
use crate::core::progress::Progress;
use crate::store::integers::signed;
use crate::store::{Commit, CompactStep, Compaction, NewMemory, Remember};

/// See [`crate::store::Store::commit`].
pub(super) async fn commit(database: &Database, tenant: &TenantId, batch: &Batch) -> Result<Commit, Failure> {
    let operations = Operations::of(batch);
    let documents = Documents::of(batch);
    let subjects: Vec<Option<&str>> =
        (0..batch.operations.len()).map(|index| batch.subject(index).map(Subject::as_str)).collect();
    let owners = Owners::of(batch);
    let received_at_ms = signed(batch.received_at_ms);
    let tenant = tenant.as_str();
    let first: [Parameter<'_>; 4] = [
        (&tenant, Type::TEXT),
        (&batch.live_documents_delta, Type::INT8),
        (&batch.bytes_delta, Type::INT8),
        (&received_at_ms, Type::INT8),
    ];
    let (labels, resolutions) = (Labels::of(batch), Resolutions::of(batch));
    let parameters = first.into_iter().chain(operations.parameters()).chain(documents.parameters());
    let parameters = parameters.chain([(&subjects as _, Type::TEXT_ARRAY)]).chain(owners.parameters());
    let parameters = parameters.chain(resolutions.parameters()).chain(labels.parameters());
    let parameters: Vec<Parameter<'_>> = parameters.collect();
    match database.rows(COMMIT, &parameters).await {
        Ok(_) => Ok(Commit::Done),
        Err(failure) if failure.is_contended() => Ok(Commit::Contended),
        Err(failure) => Err(failure),
    }
}

const COMMIT: &str = "
    SELECT {schema}.syncflow_commit($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18,
        $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36)";

/// The rest of a batch with resolutions or stamps, column by column. Most batches have none of it.
struct Resolutions<'a> {
    /// For each operation.
    kept: Option<Vec<Option<&'a str>>>,
    /// Nothing if these are the ids of the operations.
    known_ids: Option<Vec<&'a str>>,
    /// For each document.
    stamps: Option<Vec<Option<&'a str>>>,
}

impl<'a> Resolutions<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut kept = None;
        for (index, object) in batch.kept() {
            kept.get_or_insert_with(|| vec![None; batch.operations.len()])[index] = Some(object.as_str());
        }
        let known_ids = (!batch.resolutions.is_empty()).then(|| batch.known_ids().map(OperationId::as_str).collect());
        // An empty text removes the stamps, as every write without stamps does.
        let stamps = batch.documents.iter().map(|write| write.stamps.as_deref().filter(|text| !text.is_empty()));
        let stamps = stamps.clone().any(|text| text.is_some()).then(|| stamps.collect());
        Self { kept, known_ids, stamps }
    }

    fn parameters(&self) -> [Parameter<'_>; 3] {
        [(&self.kept, Type::TEXT_ARRAY), (&self.known_ids, Type::TEXT_ARRAY), (&self.stamps, Type::TEXT_ARRAY)]
    }
}

/// The former labels that a batch writes, column by column. The commit fails if one of these has changed since the
/// decision.
#[derive(Default)]
struct Labels<'a> {
    collections: Vec<&'a str>,
    ids: Vec<&'a str>,
    texts: Vec<Option<String>>,
}

impl<'a> Labels<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        for DocumentWrite { key, document, .. } in batch.documents.iter().filter(|write| write.changes_labels) {
            columns.collections.push(key.collection.as_str());
            columns.ids.push(key.id.as_str());
            columns.texts.push(document.former_labels.to_stored());
        }
        columns
    }

    fn parameters(&self) -> [Parameter<'_>; 3] {
        [(&self.collections, Type::TEXT_ARRAY), (&self.ids, Type::TEXT_ARRAY), (&self.texts, Type::TEXT_ARRAY)]
    }
}

/// The operations of a batch, column by column.
#[derive(Default)]
struct Operations<'a> {
    ids: Vec<&'a str>,
    kinds: Vec<&'a str>,
    collections: Vec<&'a str>,
    doc_ids: Vec<&'a str>,
    data: Vec<Option<&'a str>>,
    timestamps: Vec<i64>,
    client_ids: Vec<&'a str>,
    clocks: Vec<&'a str>,
    fingerprints: Vec<i64>,
}

impl<'a> Operations<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        for (operation, fingerprint) in batch.operations.iter().zip(batch.fingerprints(Fingerprint::START)) {
            columns.ids.push(operation.id.as_str());
            columns.kinds.push(operation.kind().as_str());
            columns.collections.push(operation.key.collection.as_str());
            columns.doc_ids.push(operation.key.id.as_str());
            columns.data.push(operation.data().map(Object::as_str));
            columns.timestamps.push(signed(operation.timestamp));
            columns.client_ids.push(operation.client_id.as_str());
            columns.clocks.push(operation.clock.json().as_str());
            columns.fingerprints.push(signed(fingerprint.to_number()));
        }
        columns
    }

    fn parameters(&self) -> [Parameter<'_>; 9] {
        [
            (&self.ids, Type::TEXT_ARRAY),
            (&self.kinds, Type::TEXT_ARRAY),
            (&self.collections, Type::TEXT_ARRAY),
            (&self.doc_ids, Type::TEXT_ARRAY),
            (&self.data, Type::TEXT_ARRAY),
            (&self.timestamps, Type::INT8_ARRAY),
            (&self.client_ids, Type::TEXT_ARRAY),
            (&self.clocks, Type::TEXT_ARRAY),
            (&self.fingerprints, Type::INT8_ARRAY),
        ]
    }
}

/// The documents of a batch, column by column.
#[derive(Default)]
struct Documents<'a> {
    collections: Vec<&'a str>,
    ids: Vec<&'a str>,
    seen_revs: Vec<Option<i64>>,
    revs: Vec<i64>,
    last_operations: Vec<i64>,
    bodies: Vec<Option<&'a str>>,
    /// The data for the index, if they differ from the body itself.
    data: Vec<Option<String>>,
    operation_ids: Vec<&'a str>,
    client_ids: Vec<&'a str>,
    timestamps: Vec<i64>,
    clocks: Vec<&'a str>,
}

impl<'a> Documents<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        for DocumentWrite { key, seen_rev, document, operation_index, .. } in &batch.documents {
            let body = document.data.as_ref().map(Object::as_str);
            let data = match body.map(|body| indexable(body).text) {
                Some(Cow::Owned(text)) => Some(text),
                Some(Cow::Borrowed(_)) | None => None,
            };
            columns.collections.push(key.collection.as_str());
            columns.ids.push(key.id.as_str());
            columns.seen_revs.push(seen_rev.map(signed));
            columns.revs.push(signed(document.rev));
            columns.last_operations.push(signed(*operation_index as u64 + 1));
            columns.bodies.push(body);
            columns.data.push(data);
            columns.operation_ids.push(document.operation_id.as_str());
            columns.client_ids.push(document.client_id.as_str());
            columns.timestamps.push(signed(document.timestamp));
            columns.clocks.push(document.clock.json().as_str());
        }
        columns
    }

    fn parameters(&self) -> [Parameter<'_>; 11] {
        [
            (&self.collections, Type::TEXT_ARRAY),
            (&self.ids, Type::TEXT_ARRAY),
            (&self.seen_revs, Type::INT8_ARRAY),
            (&self.revs, Type::INT8_ARRAY),
            (&self.last_operations, Type::INT8_ARRAY),
            (&self.bodies, Type::TEXT_ARRAY),
            (&self.data, Type::TEXT_ARRAY),
            (&self.operation_ids, Type::TEXT_ARRAY),
            (&self.client_ids, Type::TEXT_ARRAY),
            (&self.timestamps, Type::INT8_ARRAY),
            (&self.clocks, Type::TEXT_ARRAY),
        ]
    }
}

/// The owners of a batch, column by column.
#[derive(Default)]
struct Owners<'a> {
    client_ids: Vec<&'a str>,
    subjects: Vec<Option<&'a str>>,
    counters: Vec<i64>,
    seen_subjects: Vec<Option<&'a str>>,
    seen_counters: Vec<Option<i64>>,
}

impl<'a> Owners<'a> {
    fn of(batch: &'a Batch) -> Self {
        let mut columns = Self::default();
        for OwnerWrite { client_id, seen, owner } in &batch.owners {
            columns.client_ids.push(client_id.as_str());
            columns.subjects.push(owner.subject.as_ref().map(Subject::as_str));
            columns.counters.push(signed(owner.counter));
            columns.seen_subjects.push(seen.as_ref().and_then(|seen| seen.subject.as_ref()).map(Subject::as_str));
            columns.seen_counters.push(seen.as_ref().map(|seen| signed(seen.counter)));
        }
        columns
    }

    fn parameters(&self) -> [Parameter<'_>; 5] {
        [
            (&self.client_ids, Type::TEXT_ARRAY),
            (&self.subjects, Type::TEXT_ARRAY),
            (&self.counters, Type::INT8_ARRAY),
            (&self.seen_subjects, Type::TEXT_ARRAY),
            (&self.seen_counters, Type::INT8_ARRAY),
        ]
    }
}

/// See [`crate::store::Store::claim`].
pub(super) async fn claim(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
    subject: &Subject,
) -> Result<(), Failure> {
    let parameters: [Parameter<'_>; 3] =
        [(&tenant.as_str(), Type::TEXT), (&client.as_str(), Type::TEXT), (&subject.as_str(), Type::TEXT)];
    database.rows("SELECT {schema}.syncflow_claim($1, $2, $3)", &parameters).await.map(drop)
}

/// See [`crate::store::Store::note_pulled`].
pub(super) async fn note_pulled(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
    progress: Progress,
) -> Result<(), Failure> {
    // Only the statistics use it, so it need not reach the disk before the answer.
    let sql = "WITH settings AS (SELECT pg_catalog.set_config('synchronous_commit', 'off', true))
               INSERT INTO {schema}.syncflow_clients AS c (tenant, client_id, revision, places, pulled_seq, seen_at_ms)
               SELECT $1, $2, 0, '', $3, $4 FROM settings
               ON CONFLICT (tenant, client_id) DO UPDATE SET pulled_seq = excluded.pulled_seq,
                   seen_at_ms = excluded.seen_at_ms";
    let parameters: [Parameter<'_>; 4] = [
        (&tenant.as_str(), Type::TEXT),
        (&client.as_str(), Type::TEXT),
        (&signed(progress.pulled_seq), Type::INT8),
        (&signed(progress.seen_at_ms), Type::INT8),
    ];
    database.rows(sql, &parameters).await?;
    Ok(())
}

/// See [`crate::store::Store::remember`].
pub(super) async fn remember(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
    memory: &NewMemory,
) -> Result<Remember, Failure> {
    let sql = "SELECT {schema}.syncflow_remember($1, $2, $3, $4, $5, $6)";
    let parameters: [Parameter<'_>; 6] = [
        (&tenant.as_str(), Type::TEXT),
        (&client.as_str(), Type::TEXT),
        (&signed(memory.seen_revision), Type::INT8),
        (&memory.places.to_text(), Type::TEXT),
        (&signed(memory.pulled_seq), Type::INT8),
        (&signed(memory.seen_at_ms), Type::INT8),
    ];
    let row = database.row(sql, &parameters).await?;
    Ok(if row.try_get(0)? { Remember::Done } else { Remember::Contended })
}

/// See [`crate::store::Store::compact`].
pub(super) async fn compact(database: &Database, tenant: &TenantId, step: CompactStep) -> Result<Compaction, Failure> {
    let sql = "SELECT * FROM {schema}.syncflow_compact($1, $2, $3, $4, $5, $6)";
    let parameters: [Parameter<'_>; 6] = [
        (&tenant.as_str(), Type::TEXT),
        (&signed(step.received_until_ms), Type::INT8),
        (&signed(step.forget_clients_before_ms), Type::INT8),
        (&signed(step.max_entries as u64), Type::INT8),
        (&signed(step.now_ms), Type::INT8),
        (&signed(step.future_after_ms), Type::INT8),
    ];
    let row = database.row(sql, &parameters).await?;
    let mut columns = Columns::of(&row);
    Ok(Compaction { deleted_entries: columns.integer()?, is_finished: columns.take()? })
}
