//! Reads: each is one statement, which sees one moment.

pub(super) mod clients;
pub(super) mod load;
pub(super) mod survey;

use std::collections::HashMap;
use std::ops::RangeInclusive;

use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::connections::Parameter;
use super::database::Database;
use super::failure::Failure;
use super::row::Columns;
use crate::core::cursor::{Cursor, Head, Position};
use crate::core::document::LiveDocument;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, Collection, DocumentKey, FromStore as _, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::LogEntry;
use crate::core::page::{LogPageBuilder, Scan, TimePage, TimePageBuilder};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::core::text::TextPool;
use crate::limits::protocol::{PAGE_DEFAULT_OPERATIONS, PAGE_MAX_BYTES, PAGE_MAX_OPERATIONS};
use crate::store::integers::signed;
use crate::store::{Changes, ChangesRequest, ClientCounts, ClientMemory, Stats, TimeRequest};

/// See [`crate::store::Store::changes`].
pub(super) async fn changes(
    database: &Database,
    tenant: &TenantId,
    request: &ChangesRequest,
) -> Result<Changes, Failure> {
    // SQL only compares the place with the horizon, as `Head::has_log_behind` does, and says which rows it chose.
    // `read_page` compares this with the core's choice.
    let guess = Scan::guess(request.cursor, &request.feed);
    let in_log = matches!(guess, Scan::Log { .. });
    let tombstones_after = match guess.once_compacted() {
        Scan::State { tombstones_after, .. } => tombstones_after,
        Scan::Log { .. } => None,
    };
    let is_large = request.max_operations > PAGE_DEFAULT_OPERATIONS;
    let sql = if !request.view.reads_all() {
        PAGE_WITH_LABELS
    } else if request.with_resolutions {
        PAGE_WITH_RESOLUTIONS
    } else if in_log && is_large && database.keeps_plans() {
        LARGE_LOG_PAGE
    } else {
        PAGE
    };
    let collections = request.feed.collections();
    let collections: Option<Vec<&str>> = collections.map(|names| names.iter().map(Collection::as_str).collect());
    let parameters: [Parameter<'_>; 9] = [
        (&tenant.as_str(), Type::TEXT),
        (&in_log, Type::BOOL),
        (&signed(guess.after_seq()), Type::INT8),
        (&tombstones_after.map(signed), Type::INT8),
        (&row_limit(request.max_operations), Type::INT8),
        (&byte_limit(), Type::INT8),
        (&request.client_id.as_ref().map(ClientId::as_str), Type::TEXT),
        (&collections, Type::TEXT_ARRAY),
        (&request.with_subjects, Type::BOOL),
    ];
    let rows = database.rows(sql, &parameters).await?;
    read_page(&rows, request)
}

/// The rows of a page. In the last column, the first row has the owner of the client that pulls. The others have the
/// subjects of operations there, if these are asked for.
const PAGE: &str = "
    SELECT
        f.*,
        CASE
            WHEN f.head_seq IS NOT NULL THEN {schema}.syncflow_owner($1, $7)
            WHEN $9 AND f.rev IS NULL THEN {schema}.syncflow_subject($1, f.seq)
        END
    FROM {schema}.syncflow_feed($1, $2, $3, $4, $5, $6, $7, $8) AS f";

/// The same with the former labels of the documents, in one more column.
const PAGE_WITH_LABELS: &str = "
    SELECT
        f.head_seq, f.head_fingerprint, f.horizon, f.fingerprint_there, f.pulled_seq, f.seen_at_ms, f.seq,
        f.fingerprint,
        f.id, f.kind, f.collection, f.doc_id, f.data, f.\"timestamp\", f.client_id, f.clock, f.rev,
        CASE WHEN f.head_seq IS NOT NULL THEN {schema}.syncflow_owner($1, $7) WHEN $9 THEN NULL END,
        (
            SELECT l.labels
            FROM {schema}.syncflow_former_labels AS l
            WHERE
                l.tenant OPERATOR(pg_catalog.=) $1
                AND l.collection OPERATOR(pg_catalog.=) f.collection
                AND l.doc_id OPERATOR(pg_catalog.=) f.doc_id
        )
    FROM {schema}.syncflow_feed($1, $2, $3, $4, $5, $6, $7, $8) WITH ORDINALITY AS f
    ORDER BY f.ordinality
";

/// The same with what is kept beside resolutions, in one more column. The page is cut by the bytes of this too.
const PAGE_WITH_RESOLUTIONS: &str = "
    SELECT
        r.head_seq, r.head_fingerprint, r.horizon, r.fingerprint_there, r.pulled_seq, r.seen_at_ms, r.seq,
        r.fingerprint,
        r.id, r.kind, r.collection, r.doc_id, r.data, r.\"timestamp\", r.client_id, r.clock, r.rev, r.subject, r.kept
    FROM (
        SELECT
            k.*,
            pg_catalog.sum(pg_catalog.octet_length(k.kept)) OVER (
                ORDER BY k.ordinality ROWS BETWEEN UNBOUNDED PRECEDING AND 2 PRECEDING
            ) AS kept_before
        FROM (
            SELECT
                f.*,
                CASE
                    WHEN f.head_seq IS NOT NULL THEN {schema}.syncflow_owner($1, $7)
                    WHEN $9 AND f.rev IS NULL THEN {schema}.syncflow_subject($1, f.seq)
                END AS subject,
                CASE WHEN f.head_seq IS NULL AND f.rev IS NULL THEN (
                    SELECT o.kept
                    FROM {schema}.syncflow_operations AS o
                    WHERE o.tenant OPERATOR(pg_catalog.=) $1 AND o.seq OPERATOR(pg_catalog.=) f.seq
                ) END AS kept
            FROM {schema}.syncflow_feed($1, $2, $3, $4, $5, $6, $7, $8) WITH ORDINALITY AS f
        ) AS k
    ) AS r
    WHERE coalesce(r.kept_before, 0) OPERATOR(pg_catalog.<=) $6
    ORDER BY r.ordinality
";

/// The same as [`PAGE`] for a large page of the log. The function is called only if documents are read instead of the
/// log, or if the page must be cut by bytes.
///
/// The server copies a function's whole result before it sends it, and also all rows that a window function sees, which
/// this avoids. But before the first row this costs more than the function, and planning costs far more. So it is used
/// on connections that keep plans. The parameters are hidden from the planner, which would otherwise make a new plan
/// for each place in the log. A plan by an index is never far off: the log is dense, so the range has no more rows than
/// the page.
const LARGE_LOG_PAGE: &str = r#"
    WITH asked AS MATERIALIZED (
        SELECT $1 AS tenant, $3 AS after, $3 OPERATOR(pg_catalog.+) $5 OPERATOR(pg_catalog.+) 1 AS last
    ), head AS MATERIALIZED (
        SELECT h.seq, h.fingerprint, h.horizon, h.floor, h.floor_fingerprint, h.tombstones_gone
        FROM {schema}.syncflow_heads AS h
        WHERE h.tenant OPERATOR(pg_catalog.=) (SELECT a.tenant FROM asked AS a)
    ), page AS MATERIALIZED (
        SELECT
            $2
            AND a.after OPERATOR(pg_catalog.>=) coalesce((SELECT h.horizon FROM head AS h), 0)
            AND coalesce((
                SELECT pg_catalog.sum(
                    pg_catalog.octet_length(coalesce(o.data, ''))
                     OPERATOR(pg_catalog.+) pg_catalog.octet_length(o.clock)
                )
                FROM {schema}.syncflow_operations AS o
                WHERE
                    o.tenant OPERATOR(pg_catalog.=) a.tenant
                    AND o.seq OPERATOR(pg_catalog.>) a.after
                    AND o.seq OPERATOR(pg_catalog.<=) a.last
            ), 0) OPERATOR(pg_catalog.<=) $6 AS is_whole
        FROM asked AS a
    )
    SELECT
        coalesce(h.seq, 0) AS head_seq, coalesce(h.fingerprint, 0), coalesce(h.horizon, 0),
        CASE WHEN a.after OPERATOR(pg_catalog.=) 0 THEN 0 ELSE coalesce(
            (
                SELECT o.fingerprint FROM {schema}.syncflow_operations AS o
                WHERE o.tenant OPERATOR(pg_catalog.=) a.tenant AND o.seq OPERATOR(pg_catalog.=) a.after
            ),
            (
                SELECT f.fingerprint FROM {schema}.syncflow_fingerprints AS f
                WHERE f.tenant OPERATOR(pg_catalog.=) a.tenant AND f.seq OPERATOR(pg_catalog.=) a.after
            )
        ) END,
        c.pulled_seq, c.seen_at_ms,
        coalesce(h.floor, 0), coalesce(h.floor_fingerprint, 0), NULL, 'log', NULL, NULL, NULL,
        coalesce(h.tombstones_gone, 0), NULL, NULL, NULL::bigint,
        {schema}.syncflow_owner(a.tenant, $7)
    FROM asked AS a
    LEFT JOIN head AS h ON true
    LEFT JOIN {schema}.syncflow_clients AS c
        ON c.tenant OPERATOR(pg_catalog.=) a.tenant AND c.client_id OPERATOR(pg_catalog.=) $7
    WHERE (SELECT p.is_whole FROM page AS p)
    UNION ALL (
        SELECT
            NULL, NULL, NULL, NULL, NULL, NULL,
            o.seq, o.fingerprint, o.id, o.kind, o.collection, o.doc_id, o.data, o."timestamp", o.client_id, o.clock, NULL,
            CASE WHEN $9 THEN o.subject END
        FROM {schema}.syncflow_operations AS o
        WHERE
            (SELECT p.is_whole FROM page AS p)
            AND o.tenant OPERATOR(pg_catalog.=) (SELECT a.tenant FROM asked AS a)
            AND o.seq OPERATOR(pg_catalog.>) (SELECT a.after FROM asked AS a)
            AND o.seq OPERATOR(pg_catalog.<=) (SELECT a.last FROM asked AS a)
        ORDER BY o.seq
    )
    UNION ALL
    SELECT
        f.*,
        CASE
            WHEN f.head_seq IS NOT NULL THEN {schema}.syncflow_owner($1, $7)
            WHEN $9 AND f.rev IS NULL THEN {schema}.syncflow_subject($1, f.seq)
        END
    FROM {schema}.syncflow_feed($1, $2, $3, $4, $5, $6, $7, $8) AS f
    WHERE NOT (SELECT p.is_whole FROM page AS p)"#;

/// The number of columns that only the first row of a function's result uses. Of the others, it has the floor in those
/// of the sequence number and its fingerprint. The timestamp is the number up to which tombstones may be gone. The
/// revision is the fingerprint where the client began, if the cursor is before the floor.
const PULL_HEAD_COLUMNS: usize = 6;

const TIME_HEAD_COLUMNS: usize = 3;

/// The number of the columns before that of the timestamp.
const TIMESTAMP_COLUMN: usize = PULL_HEAD_COLUMNS + 7;

/// The number of the columns before that of the revision.
const REV_COLUMN: usize = PULL_HEAD_COLUMNS + 10;

/// The number of the columns before that of the subject.
const SUBJECT_COLUMN: usize = PULL_HEAD_COLUMNS + 11;

/// Compares the rows that SQL chose with the core's choice. The first row of the result has the choice of SQL in the
/// column of the kind, which is the fourth one of an operation.
fn check_choice(first: &Row, head_columns: usize, is_log: bool) -> Result<(), Failure> {
    let expected = if is_log { "log" } else { "state" };
    if Columns::behind(first, head_columns + 3).text()? == expected {
        Ok(())
    } else {
        Err(Failure::Answer("rows of another mode than the core chose"))
    }
}

/// Makes the page from the result of `syncflow_feed`.
fn read_page(rows: &[Row], request: &ChangesRequest) -> Result<Changes, Failure> {
    let (first, found) = rows.split_first().ok_or(Failure::Answer("no row"))?;
    let mut columns = Columns::of(first);
    let head = columns.head()?;
    let there = columns.optional_fingerprint()?;
    let floor = Columns::behind(first, PULL_HEAD_COLUMNS).position()?;
    let tombstones_gone = Columns::behind(first, TIMESTAMP_COLUMN).integer()?;
    let head = Head { floor, tombstones_gone, ..head };
    let is_there = |cursor: Cursor| head.verified_at(&cursor) == cursor.position().seq;
    let there = match request.cursor {
        Some(cursor) if !is_there(cursor) => Columns::behind(first, REV_COLUMN).optional_fingerprint()?,
        _ => there,
    };
    let noted = columns.optional_integer()?.zip(columns.optional_integer()?);
    let noted = noted.map(|(pulled_seq, seen_at_ms)| Progress { pulled_seq, seen_at_ms });
    let owner = Columns::behind(first, SUBJECT_COLUMN).subject()?;
    let page = LogPageBuilder::begin(request.cursor, &request.feed, request.max_operations, head, there);
    let Some(mut page) = page.map(|page| page.seen_by(&request.view)) else { return Ok(Changes::Reset) };
    check_choice(first, PULL_HEAD_COLUMNS, matches!(page.scan(), Scan::Log { .. }))?;
    let (mut pool, mut last) = (TextPool::default(), Fingerprint::START);
    for row in found {
        let mut columns = Columns::behind(row, PULL_HEAD_COLUMNS);
        let (entry, fingerprint) = columns.log_entry(&mut pool)?;
        let (rev, subject) = (columns.optional_integer()?, columns.subject()?);
        let reads_all = request.view.reads_all();
        let former_labels = if reads_all { None } else { columns.take::<Option<&str>>()? };
        let resolution = if reads_all && request.with_resolutions { columns.resolution()? } else { None };
        let entry = LogEntry { rev, subject, resolution, ..entry };
        if !page.push_document(entry, former_labels)? {
            break;
        }
        last = fingerprint;
    }
    let page = page.finish(|_| Ok::<_, Failure>(last))?;
    Ok(Changes::Page { page, noted, owner })
}

/// See [`crate::store::Store::changes_by_time`].
pub(super) async fn changes_by_time(
    database: &Database,
    tenant: &TenantId,
    request: TimeRequest,
) -> Result<TimePage, Failure> {
    let mut max_rows = request.max_operations;
    loop {
        let sql = "SELECT * FROM {schema}.syncflow_changes_by_time($1, $2, $3, $4, $5)";
        let parameters: [Parameter<'_>; 5] = [
            (&tenant.as_str(), Type::TEXT),
            (&signed(request.after.timestamp), Type::INT8),
            (&signed(request.after.seq), Type::INT8),
            (&row_limit(max_rows), Type::INT8),
            (&byte_limit(), Type::INT8),
        ];
        let rows = database.rows(sql, &parameters).await?;
        let mut page = TimePageBuilder::new(request.max_operations);
        let (first, found) = rows.split_first().ok_or(Failure::Answer("no row"))?;
        let head = Columns::of(first).head()?;
        check_choice(first, TIME_HEAD_COLUMNS, head.has_log_behind(Seq::START))?;
        let (mut wants_more, mut pool) = (true, TextPool::default());
        for row in found {
            let (entry, _) = Columns::behind(row, TIME_HEAD_COLUMNS).log_entry(&mut pool)?;
            wants_more = page.push(entry);
            if !wants_more {
                break;
            }
        }
        // A page of whole runs may become larger than the request asked for. This is rare, so the rows for it are read
        // only then.
        let is_cut_short = wants_more && found.len() > max_rows && max_rows < PAGE_MAX_OPERATIONS;
        if !is_cut_short {
            return Ok(page.finish(head));
        }
        max_rows = PAGE_MAX_OPERATIONS;
    }
}

/// The limit for the rows of a page. The statement reads one more, to find out whether there is one.
pub(super) fn row_limit(max_rows: usize) -> i64 {
    u32::try_from(max_rows).unwrap_or(u32::MAX).into()
}

/// The limit for the bytes of a page.
pub(super) fn byte_limit() -> i64 {
    i64::try_from(PAGE_MAX_BYTES).unwrap_or(i64::MAX)
}

/// See [`crate::store::Store::client`].
pub(super) async fn client(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
) -> Result<Option<ClientMemory>, Failure> {
    let sql = "SELECT revision, places, pulled_seq, seen_at_ms FROM {schema}.syncflow_clients
               WHERE tenant OPERATOR(pg_catalog.=) $1 AND client_id OPERATOR(pg_catalog.=) $2";
    let parameters: [Parameter<'_>; 2] = [(&tenant.as_str(), Type::TEXT), (&client.as_str(), Type::TEXT)];
    let rows = database.rows(sql, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let mut columns = Columns::of(row);
    Ok(Some(ClientMemory {
        revision: columns.integer()?,
        places: Places::parse(columns.take()?).ok_or(Failure::Answer("damaged places of a client"))?,
        pulled_seq: columns.integer()?,
        seen_at_ms: columns.integer()?,
    }))
}

/// See [`crate::store::Store::document`].
pub(super) async fn document(
    database: &Database,
    tenant: &TenantId,
    key: &DocumentKey,
) -> Result<Option<LiveDocument>, Failure> {
    let sql = "SELECT collection, doc_id, rev, seq, operation_id, body FROM {schema}.syncflow_documents
               WHERE tenant OPERATOR(pg_catalog.=) $1 AND collection OPERATOR(pg_catalog.=) $2
                   AND doc_id OPERATOR(pg_catalog.=) $3 AND body IS NOT NULL";
    let parameters: [Parameter<'_>; 3] =
        [(&tenant.as_str(), Type::TEXT), (&key.collection.as_str(), Type::TEXT), (&key.id.as_str(), Type::TEXT)];
    let rows = database.rows(sql, &parameters).await?;
    rows.first().map(|row| Columns::of(row).live_document()).transpose()
}

/// See [`crate::store::Store::stats`].
///
/// The log is dense between horizon and head, so the entries are counted by a subtraction. It is done here,
/// because SQL would hide a damaged number.
pub(super) async fn stats(
    database: &Database,
    tenant: &TenantId,
    active_ms: &RangeInclusive<UnixMs>,
) -> Result<Stats, Failure> {
    let sql = "SELECT h.seq, h.horizon, h.live_documents, (
                   SELECT c.pulled_seq FROM {schema}.syncflow_clients AS c
                   WHERE c.tenant OPERATOR(pg_catalog.=) ($1 COLLATE pg_catalog.\"POSIX\")
                       AND c.seen_at_ms OPERATOR(pg_catalog.>=) $2
                       AND c.seen_at_ms OPERATOR(pg_catalog.-) $3 OPERATOR(pg_catalog.<=) 0
                   ORDER BY c.pulled_seq LIMIT 1
               ) AS pulled_seq
               FROM {schema}.syncflow_heads AS h WHERE h.tenant OPERATOR(pg_catalog.=) $1";
    // The end of the range stands in a form that no index serves. With both ends the planner would choose the index of
    // times, and sort all active clients.
    let (since_ms, until_ms) = (signed(*active_ms.start()), signed(*active_ms.end()));
    let parameters: [Parameter<'_>; 3] =
        [(&tenant.as_str(), Type::TEXT), (&since_ms, Type::INT8), (&until_ms, Type::INT8)];
    let rows = database.rows(sql, &parameters).await?;
    let Some(row) = rows.first() else { return Ok(Stats::default()) };
    let mut columns = Columns::of(row);
    let (seq, horizon, documents): (Seq, Seq, u64) = (columns.integer()?, columns.integer()?, columns.integer()?);
    let operations = seq.entries_since(horizon);
    let least_pulled_seq = columns.optional_integer()?;
    let unsynced_operations = least_pulled_seq.map_or(0, |pulled_seq| seq.entries_since(pulled_seq)).min(operations);
    Ok(Stats { operations, documents, unsynced_operations })
}

/// See [`crate::store::Store::count_clients`].
pub(super) async fn count_clients(
    database: &Database,
    tenant: &TenantId,
    max_clients: u64,
) -> Result<ClientCounts, Failure> {
    let sql = "SELECT c.remembered, o.owned
               FROM (
                   SELECT pg_catalog.count(*) AS remembered FROM (
                       SELECT FROM {schema}.syncflow_clients AS c WHERE c.tenant OPERATOR(pg_catalog.=) $1 LIMIT $2
                   ) AS c
               ) AS c, (
                   SELECT pg_catalog.count(*) AS owned FROM (
                       SELECT FROM {schema}.syncflow_owners AS o WHERE o.tenant OPERATOR(pg_catalog.=) $1 LIMIT $2
                   ) AS o
               ) AS o";
    let parameters: [Parameter<'_>; 2] = [(&tenant.as_str(), Type::TEXT), (&signed(max_clients), Type::INT8)];
    let row = database.row(sql, &parameters).await?;
    let mut columns = Columns::of(&row);
    Ok(ClientCounts { remembered: columns.integer()?, owned: columns.integer()? })
}

/// See [`crate::store::Store::tenants`]. The column is ordered by bytes.
pub(super) async fn tenants(
    database: &Database,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Failure> {
    let sql = "SELECT h.tenant FROM {schema}.syncflow_heads AS h WHERE h.tenant OPERATOR(pg_catalog.>) $1
               ORDER BY h.tenant LIMIT $2";
    // No name is empty, so all names come after the empty text.
    let after = after.map_or("", TenantId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let parameters: [Parameter<'_>; 2] = [(&after, Type::TEXT), (&limit, Type::INT8)];
    let rows = database.rows(sql, &parameters).await?;
    rows.iter().map(|row| Columns::of(row).text().map(TenantId::from_store)).collect()
}

/// See [`crate::store::Store::heads`].
pub(super) async fn heads(database: &Database, tenants: &[TenantId]) -> Result<Vec<Position>, Failure> {
    let sql = "SELECT h.tenant, h.seq, h.fingerprint FROM {schema}.syncflow_heads AS h
               WHERE h.tenant OPERATOR(pg_catalog.=) ANY ($1)";
    let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let parameters: [Parameter<'_>; 1] = [(&names, Type::TEXT_ARRAY)];
    let mut found = HashMap::new();
    let rows = database.rows(sql, &parameters).await?;
    for row in &rows {
        let mut columns = Columns::of(row);
        found.insert(columns.text()?, columns.position()?);
    }
    Ok(names.iter().map(|name| found.get(name).copied().unwrap_or_default()).collect())
}
