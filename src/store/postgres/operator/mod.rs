//! The requests of an operator: the whole log, transfers, and erasing.

pub(super) mod retention;

use tokio_postgres::types::Type;

use super::connections::Parameter;
use super::database::Database;
use super::failure::Failure;
use super::read::{byte_limit, row_limit};
use super::row::Columns;
use crate::core::cursor::Head;
use crate::core::decide::RESERVED_IDS;
use crate::core::decide::owners::ClientOwner;
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

/// See [`crate::store::Store::audit`].
pub(super) async fn audit(
    database: &Database,
    tenant: &TenantId,
    after: Seq,
    max_entries: usize,
) -> Result<Audit, Failure> {
    let tenant = tenant.as_str();
    let reading = database.begin_reading().await?;
    let place: [Parameter<'_>; 2] = [(&tenant, Type::TEXT), (&signed(after), Type::INT8)];
    let of_head = reading.rows(AUDITED_HEAD, &place).await?;
    let limits: [Parameter<'_>; 5] = [
        (&tenant, Type::TEXT),
        (&signed(after), Type::INT8),
        (&row_limit(max_entries), Type::INT8),
        (&byte_limit(), Type::INT8),
        (&RESERVED_IDS.start, Type::TEXT),
    ];
    let rows = reading.rows(AUDITED_ENTRIES, &limits).await?;
    reading.end().await?;

    let (mut head, mut counters, mut there) = (Head::default(), Counters::default(), None);
    if let Some(row) = of_head.first() {
        let mut columns = Columns::of(row);
        head = columns.head()?;
        let (documents, bytes) = (columns.integer()?, columns.integer()?);
        let operations = head.position.seq.entries_since(head.horizon);
        counters = Counters { operations, documents, bytes, received_at_ms: columns.integer()? };
        there = columns.optional_fingerprint()?;
        head = Head { floor: columns.position()?, tombstones_gone: columns.integer()?, ..head };
    }
    if after == Seq::START {
        there = Some(Fingerprint::START);
    }
    let (mut audit, mut pool) = (AuditBuilder::new(max_entries), TextPool::default());
    for row in &rows {
        let mut columns = Columns::of(row);
        let (entry, fingerprint) = columns.log_entry(&mut pool)?;
        let entry = AuditEntry {
            entry: LogEntry { subject: columns.subject()?, resolution: columns.resolution()?, ..entry },
            fingerprint,
            received_at_ms: columns.integer()?,
            is_id_known: columns.take()?,
            kept_bytes: columns.integer()?,
        };
        if !audit.push(entry) {
            break;
        }
    }
    Ok(audit.finish(head, counters, there))
}

/// The head, its counters, and the fingerprint of the log at a place.
const AUDITED_HEAD: &str = "
    SELECT
        h.seq, h.fingerprint, h.horizon, h.live_documents, greatest(h.bytes, 0), h.received_at_ms,
        coalesce(
            (
                SELECT o.fingerprint FROM {schema}.syncflow_operations AS o
                WHERE o.tenant OPERATOR(pg_catalog.=) $1 AND o.seq OPERATOR(pg_catalog.=) $2
            ),
            (
                SELECT f.fingerprint FROM {schema}.syncflow_fingerprints AS f
                WHERE f.tenant OPERATOR(pg_catalog.=) $1 AND f.seq OPERATOR(pg_catalog.=) $2
            )
        ),
        h.floor, h.floor_fingerprint, h.tombstones_gone
    FROM {schema}.syncflow_heads AS h WHERE h.tenant OPERATOR(pg_catalog.=) $1";

/// The entries after a place. The lengths are summed up without the texts, so that the server sends only those that
/// fit.
const AUDITED_ENTRIES: &str = r#"
    SELECT
        o.seq, o.fingerprint, o.id, o.kind, o.collection, o.doc_id, o.data, o."timestamp", o.client_id, o.clock,
        o.subject, o.kept, o.received_at_ms,
        EXISTS (
            SELECT FROM {schema}.syncflow_operation_ids AS i
            WHERE i.tenant OPERATOR(pg_catalog.=) $1
                AND i.id OPERATOR(pg_catalog.=) ANY (ARRAY[o.id, pg_catalog.substr(o.id, CASE
                    WHEN pg_catalog.starts_with(o.id, $5) THEN pg_catalog.length($5) OPERATOR(pg_catalog.+) 1
                    ELSE 1
                END)])
        ),
        pg_catalog.octet_length(coalesce(o.kept, ''))::pg_catalog.int8
    FROM (
        SELECT
            p.seq,
            pg_catalog.sum(p.bytes) OVER (ORDER BY p.seq) OPERATOR(pg_catalog.-) p.bytes AS bytes_before
        FROM (
            SELECT
                l.seq,
                pg_catalog.octet_length(coalesce(l.data, ''))
                    OPERATOR(pg_catalog.+) pg_catalog.octet_length(l.clock)
                    OPERATOR(pg_catalog.+) pg_catalog.octet_length(coalesce(l.kept, '')) AS bytes
            FROM {schema}.syncflow_operations AS l
            WHERE l.tenant OPERATOR(pg_catalog.=) $1 AND l.seq OPERATOR(pg_catalog.>) $2
            ORDER BY l.seq
            LIMIT $3
        ) AS p
    ) AS p
    JOIN {schema}.syncflow_operations AS o
        ON o.tenant OPERATOR(pg_catalog.=) $1 AND o.seq OPERATOR(pg_catalog.=) p.seq
    WHERE p.bytes_before OPERATOR(pg_catalog.<=) $4
    ORDER BY o.seq"#;

/// See [`crate::store::Store::operation_ids`].
pub(super) async fn operation_ids(
    database: &Database,
    tenant: &TenantId,
    after: Option<&OperationId>,
    limit: usize,
) -> Result<Vec<OperationId>, Failure> {
    let sql = "SELECT i.id FROM {schema}.syncflow_operation_ids AS i
               WHERE i.tenant OPERATOR(pg_catalog.=) $1 AND i.id OPERATOR(pg_catalog.>) $2
                   AND (i.id OPERATOR(pg_catalog.<) $4 OR i.id OPERATOR(pg_catalog.>=) $5)
               ORDER BY i.id LIMIT $3";
    // No name is empty, so all names come after the empty text.
    let after = after.map_or("", OperationId::as_str);
    let parameters: [Parameter<'_>; 5] = [
        (&tenant.as_str(), Type::TEXT),
        (&after, Type::TEXT),
        (&row_limit(limit), Type::INT8),
        (&RESERVED_IDS.start, Type::TEXT),
        (&RESERVED_IDS.end, Type::TEXT),
    ];
    let rows = database.rows(sql, &parameters).await?;
    rows.iter().map(|row| Columns::of(row).text().map(OperationId::from_store)).collect()
}

/// See [`crate::store::Store::client_rows`].
pub(super) async fn client_rows(
    database: &Database,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<ClientRow>, Failure> {
    let after = after.map_or("", ClientId::as_str);
    let parameters: [Parameter<'_>; 3] =
        [(&tenant.as_str(), Type::TEXT), (&after, Type::TEXT), (&row_limit(limit), Type::INT8)];
    let mut owners = Vec::new();
    for row in &database.rows(OWNERS, &parameters).await? {
        let mut columns = Columns::of(row);
        let client_id = ClientId::from_store(columns.text()?);
        owners.push((client_id, ClientOwner { subject: columns.subject()?, counter: columns.integer()? }));
    }
    let mut pulls = Vec::new();
    for row in &database.rows(CLIENTS, &parameters).await? {
        let mut columns = Columns::of(row);
        let client_id = ClientId::from_store(columns.text()?);
        let places = Places::parse(columns.text()?).ok_or(Failure::Answer("damaged places of a client"))?;
        let progress = Progress { pulled_seq: columns.integer()?, seen_at_ms: columns.integer()? };
        pulls.push((client_id, progress, places));
    }
    Ok(merge_client_rows(owners, pulls, limit))
}

const OWNERS: &str = "
    SELECT o.client_id, o.subject, o.counter FROM {schema}.syncflow_owners AS o
    WHERE o.tenant OPERATOR(pg_catalog.=) $1 AND o.client_id OPERATOR(pg_catalog.>) $2
    ORDER BY o.client_id LIMIT $3";

const CLIENTS: &str = "
    SELECT c.client_id, c.places, c.pulled_seq, c.seen_at_ms
    FROM {schema}.syncflow_clients_after($1, $2, $3) AS c";

/// See [`crate::store::Store::learn`].
pub(super) async fn learn(database: &Database, tenant: &TenantId, lesson: &Lesson) -> Result<(), Failure> {
    let ids: Vec<&str> = lesson.ids.iter().map(OperationId::as_str).collect();
    let client_ids: Vec<&str> = lesson.owners.iter().map(|(client_id, _)| client_id.as_str()).collect();
    let subjects: Vec<Option<&str>> =
        lesson.owners.iter().map(|(_, owner)| owner.subject.as_ref().map(Subject::as_str)).collect();
    let counters: Vec<i64> = lesson.owners.iter().map(|(_, owner)| signed(owner.counter)).collect();
    let parameters: [Parameter<'_>; 5] = [
        (&tenant.as_str(), Type::TEXT),
        (&ids, Type::TEXT_ARRAY),
        (&client_ids, Type::TEXT_ARRAY),
        (&subjects, Type::TEXT_ARRAY),
        (&counters, Type::INT8_ARRAY),
    ];
    database.rows("SELECT {schema}.syncflow_learn($1, $2, $3, $4, $5)", &parameters).await.map(drop)
}

/// See [`crate::store::Store::scrub`].
pub(super) async fn scrub(database: &Database, tenant: &TenantId, step: &ScrubStep) -> Result<u64, Failure> {
    let parameters: [Parameter<'_>; 5] = [
        (&tenant.as_str(), Type::TEXT),
        (&step.key.collection.as_str(), Type::TEXT),
        (&step.key.id.as_str(), Type::TEXT),
        (&signed(step.after), Type::INT8),
        (&signed(step.up_to), Type::INT8),
    ];
    let row = database.row("SELECT {schema}.syncflow_scrub($1, $2, $3, $4, $5)", &parameters).await?;
    Columns::of(&row).integer()
}

/// See [`crate::store::Store::erase_tenant`].
pub(super) async fn erase_tenant(database: &Database, tenant: &TenantId, max_rows: usize) -> Result<Erased, Failure> {
    let parameters: [Parameter<'_>; 2] = [(&tenant.as_str(), Type::TEXT), (&row_limit(max_rows), Type::INT8)];
    let row = database.row("SELECT * FROM {schema}.syncflow_erase($1, $2)", &parameters).await?;
    let mut columns = Columns::of(&row);
    Ok(Erased {
        documents: columns.integer()?,
        entries: columns.integer()?,
        ids: columns.integer()?,
        clients: columns.integer()?,
        is_finished: columns.take()?,
    })
}
