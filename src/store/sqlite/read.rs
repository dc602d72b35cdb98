//! The jobs of the reading threads. Each is one read transaction, so it sees one moment.

pub(super) mod load;
pub(super) mod survey;

use std::ops::RangeInclusive;

use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Row, Transaction, params};

use super::row::{
    AUDIT_COLUMNS, HEAD_COLUMNS, LIVE_DOCUMENT_COLUMNS, LOG_ENTRY_COLUMNS, STATE_COLUMNS, damaged, damaged_labels,
    former_labels, integer, read_head_row, read_live_document, read_log_entry, read_owner, resolution,
};
use super::threads::Caller;
use crate::core::cursor::{Cursor, Head, Position};
use crate::core::decide::owners::ClientOwner;
use crate::core::document::LiveDocument;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, DocumentKey, FromStore as _, Subject, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::LogEntry;
use crate::core::page::{LogPageBuilder, QueryPageBuilder, Scan, TimePage, TimePageBuilder};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::core::text::TextPool;
use crate::limits::store::sqlite::LOOKUP_MAX_BYTES;
use crate::store::integers::signed;
use crate::store::{
    Changes, ChangesRequest, ClientCounts, ClientMemory, ClientProgress, Query, QueryPage, Stats, TimeRequest,
};

fn find_owner(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    client: &ClientId,
) -> rusqlite::Result<Option<ClientOwner>> {
    transaction
        .prepare_cached("SELECT subject, counter FROM client_owners WHERE tenant = ?1 AND client_id = ?2")?
        .query_row([tenant.as_str(), client.as_str()], read_owner)
        .optional()
}

/// See [`crate::store::Store::changes`].
pub(super) fn changes(
    connection: &mut Connection,
    tenant: &TenantId,
    request: &ChangesRequest,
) -> rusqlite::Result<Changes> {
    let transaction = connection.transaction()?;
    let head = read_head(&transaction, tenant)?;
    let there = match request.cursor {
        Some(cursor) => read_fingerprint(&transaction, tenant, head, head.verified_at(&cursor))?,
        None => None,
    };
    let page = LogPageBuilder::begin(request.cursor, &request.feed, request.max_operations, head, there);
    let Some(mut page) = page.map(|page| page.seen_by(&request.view)) else { return Ok(Changes::Reset) };
    read_scan(&transaction, tenant, request, &mut page)?;
    let page = page.finish(|seq| {
        let fingerprint = read_fingerprint(&transaction, tenant, head, seq)?;
        fingerprint.ok_or_else(no_fingerprint)
    })?;
    let (noted, owner) = read_client(&transaction, tenant, request)?;
    Ok(Changes::Page { page, noted, owner })
}

/// The page of a client that is at the end of the log. `None` if there is anything to read.
pub(super) fn nothing_new(
    connection: &mut Connection,
    tenant: &TenantId,
    request: &ChangesRequest,
) -> rusqlite::Result<Option<Changes>> {
    let Some(cursor @ Cursor::Log(place)) = request.cursor else { return Ok(None) };
    let transaction = connection.transaction()?;
    let head = read_head(&transaction, tenant)?;
    if head.position != place {
        return Ok(None);
    }
    let there = Some(place.fingerprint);
    let page = LogPageBuilder::begin(Some(cursor), &request.feed, request.max_operations, head, there);
    let Some(page) = page else { return Ok(None) };
    let page = page.finish(|_| Err(no_fingerprint()))?;
    let (noted, owner) = read_client(&transaction, tenant, request)?;
    Ok(Some(Changes::Page { page, noted, owner }))
}

pub(super) fn read_head(transaction: &Transaction<'_>, tenant: &TenantId) -> rusqlite::Result<Head> {
    let head = transaction
        .prepare_cached(&format!("SELECT {HEAD_COLUMNS} FROM heads WHERE tenant = ?1"))?
        .query_row([tenant.as_str()], read_head_row)
        .optional()?;
    Ok(head.unwrap_or_default())
}

/// The fingerprint of the log at a place, compacted or not. `None` if the place is beyond the head.
pub(super) fn read_fingerprint(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    head: Head,
    seq: Seq,
) -> rusqlite::Result<Option<Fingerprint>> {
    if seq == Seq::START {
        return Ok(Some(Fingerprint::START));
    }
    if seq == head.position.seq {
        return Ok(Some(head.position.fingerprint));
    }
    let mut find: CachedStatement<'_> = transaction.prepare_cached(if seq > head.horizon {
        "SELECT fingerprint FROM operations WHERE tenant = ?1 AND seq = ?2"
    } else {
        "SELECT fingerprint FROM fingerprints WHERE tenant = ?1 AND seq = ?2"
    })?;
    let read = |row: &Row<'_>| Ok(Fingerprint::from_number(integer(row, 0)?));
    find.query_row(params![tenant.as_str(), signed(seq)], read).optional()
}

/// The error of a log with a hole in its fingerprints.
fn no_fingerprint() -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure("the log is damaged, a sequence number has no fingerprint".into())
}

/// Adds a row of a page, an operation or a document.
fn push_document(
    page: &mut LogPageBuilder,
    row: &Row<'_>,
    pool: &mut TextPool,
    (with_subjects, with_resolutions): (bool, bool),
) -> rusqlite::Result<bool> {
    let entry = read_log_entry(row, pool)?;
    let subject = entry.subject.filter(|_| with_subjects);
    let resolution = if with_resolutions { resolution(row)? } else { None };
    let entry = LogEntry { subject, resolution, ..entry };
    page.push_document(entry, former_labels(row)?).map_err(|problem| damaged_labels(row, problem))
}

/// Reads the rows of a page.
fn read_scan(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    ChangesRequest { feed, with_subjects, with_resolutions, .. }: &ChangesRequest,
    page: &mut LogPageBuilder,
) -> rusqlite::Result<()> {
    let (scan, audit) = (page.scan(), (*with_subjects, *with_resolutions));
    let is_audit = *with_subjects || *with_resolutions;
    let (after, tombstones_after) = match scan {
        Scan::Log { after } => (signed(after.seq), None),
        Scan::State { after, tombstones_after } => {
            // Every sequence number is smaller than the greatest integer.
            let tombstones_after = tombstones_after.map_or(i64::MAX, signed);
            (signed(after.seq), Some(signed(after.seq).max(tombstones_after)))
        }
    };
    let (tenant, collections) = (tenant.as_str(), feed.collections());
    let mut find =
        transaction.prepare_cached(&scan_query(scan, collections.map(|names| names.iter().len()), is_audit))?;
    find.raw_bind_parameter(1, tenant)?;
    find.raw_bind_parameter(2, after)?;
    if let Some(tombstones_after) = tombstones_after {
        find.raw_bind_parameter(3, tombstones_after)?;
    }
    for (index, collection) in collections.into_iter().flatten().enumerate() {
        find.raw_bind_parameter(FIRST_COLLECTION + index, collection.as_str())?;
    }
    let mut rows = find.raw_query();
    let mut pool = TextPool::default();
    if collections.is_none() {
        while let Some(row) = rows.next()? {
            if !push_document(page, row, &mut pool, audit)? {
                break;
            }
        }
        return Ok(());
    }
    let mut find_document = transaction.prepare_cached(&format!(
        "SELECT {STATE_COLUMNS} FROM documents WHERE tenant = ?1 AND collection = ?2 AND id = ?3"
    ))?;
    while let Some(place) = rows.next()? {
        let key = (tenant, place.get_ref(1)?.as_str()?, place.get_ref(2)?.as_str()?);
        if !find_document.query_row(key, |row| push_document(page, row, &mut pool, audit))? {
            break;
        }
    }
    Ok(())
}

/// The query for a page in the order of the log. If the feed is limited to so many collections, the query has as many
/// parameters for their names, or more, from [`FIRST_COLLECTION`] on. It then finds only `seq, collection, id`.
///
/// SQLite merges the searches of a compound query, each of which is in the order of an index. It holds one row of each
/// in memory.
pub(super) fn scan_query(scan: Scan, collections: Option<usize>, is_audit: bool) -> String {
    if let Scan::Log { .. } = scan {
        let columns = if is_audit { AUDIT_COLUMNS } else { LOG_ENTRY_COLUMNS };
        return format!("SELECT {columns} FROM operations WHERE tenant = ?1 AND seq > ?2 ORDER BY seq");
    }
    let search = |columns: &str, condition: &str| {
        format!(
            "SELECT {columns} FROM documents WHERE tenant = ?1 AND {condition}seq > ?2 AND is_deleted = 0
             UNION ALL
             SELECT {columns} FROM documents WHERE tenant = ?1 AND {condition}seq > ?3 AND is_deleted = 1"
        )
    };
    let searches = match collections {
        None => search(STATE_COLUMNS, ""),
        // A parameter that is not set equals no name. So there are few such texts, whatever the number of collections.
        Some(collections) => {
            let names = FIRST_COLLECTION..FIRST_COLLECTION + collections.next_power_of_two();
            let search_one = |name| search("seq, collection, id", &format!("collection = ?{name} AND "));
            names.map(search_one).collect::<Vec<_>>().join(" UNION ALL ")
        }
    };
    format!("{searches} ORDER BY seq")
}

/// The first parameter of [`scan_query`] for the name of a collection.
const FIRST_COLLECTION: usize = 4;

/// The stored progress and the owner of the client in a request.
fn read_client(
    transaction: &Transaction<'_>,
    tenant: &TenantId,
    request: &ChangesRequest,
) -> rusqlite::Result<(Option<Progress>, Option<Subject>)> {
    let Some(client) = &request.client_id else { return Ok((None, None)) };
    let owner = find_owner(transaction, tenant, client)?.and_then(|owner| owner.subject);
    let progress = transaction
        .prepare_cached("SELECT pulled_seq, seen_at_ms FROM clients WHERE tenant = ?1 AND id = ?2")?
        .query_row([tenant.as_str(), client.as_str()], |row| {
            Ok(Progress { pulled_seq: integer(row, 0)?, seen_at_ms: integer(row, 1)? })
        })
        .optional()?;
    Ok((progress, owner))
}

/// See [`crate::store::Store::changes_by_time`].
pub(super) fn changes_by_time(
    connection: &mut Connection,
    tenant: &TenantId,
    request: TimeRequest,
) -> rusqlite::Result<TimePage> {
    let transaction = connection.transaction()?;
    let head = read_head(&transaction, tenant)?;
    let mut find = transaction.prepare_cached(&time_query(head))?;
    let parameters = params![tenant.as_str(), signed(request.after.timestamp), signed(request.after.seq)];
    let mut rows = find.query(parameters)?;
    let (mut page, mut pool) = (TimePageBuilder::new(request.max_operations), TextPool::default());
    while let Some(row) = rows.next()? {
        if !page.push(read_log_entry(row, &mut pool)?) {
            break;
        }
    }
    Ok(page.finish(head))
}

/// The query for a page by the rule of the original protocol: operations while the log is complete, and otherwise
/// documents.
pub(super) fn time_query(head: Head) -> String {
    let (columns, table) =
        if head.has_log_behind(Seq::START) { (LOG_ENTRY_COLUMNS, "operations") } else { (STATE_COLUMNS, "documents") };
    format!("SELECT {columns} FROM {table} WHERE tenant = ?1 AND (timestamp, seq) > (?2, ?3) ORDER BY timestamp, seq")
}

/// See [`crate::store::Store::client`].
pub(super) fn client(
    connection: &mut Connection,
    tenant: &TenantId,
    client: &ClientId,
) -> rusqlite::Result<Option<ClientMemory>> {
    connection
        .prepare_cached("SELECT revision, places, pulled_seq, seen_at_ms FROM clients WHERE tenant = ?1 AND id = ?2")?
        .query_row([tenant.as_str(), client.as_str()], |row| {
            let places = Places::parse(row.get_ref(1)?.as_str()?);
            Ok(ClientMemory {
                revision: integer(row, 0)?,
                places: places.ok_or_else(|| damaged(row, 1, "not the places of a client"))?,
                pulled_seq: integer(row, 2)?,
                seen_at_ms: integer(row, 3)?,
            })
        })
        .optional()
}

/// See [`crate::store::Store::document`].
pub(super) fn document(
    connection: &mut Connection,
    tenant: &TenantId,
    key: &DocumentKey,
) -> rusqlite::Result<Option<LiveDocument>> {
    document_of(connection, tenant, key, None)
}

/// The same if the document exists and has at most [`LOOKUP_MAX_BYTES`].
pub(super) fn small_document(
    connection: &mut Connection,
    tenant: &TenantId,
    key: &DocumentKey,
) -> rusqlite::Result<Option<LiveDocument>> {
    document_of(connection, tenant, key, Some(LOOKUP_MAX_BYTES))
}

/// A document, perhaps only if it has at most so many bytes. SQLite knows the length of a text without reading it.
fn document_of(
    connection: &mut Connection,
    tenant: &TenantId,
    key: &DocumentKey,
    max_bytes: Option<usize>,
) -> rusqlite::Result<Option<LiveDocument>> {
    connection
        .prepare_cached(&format!(
            "SELECT {LIVE_DOCUMENT_COLUMNS}, NULL AS clock FROM documents
             WHERE tenant = ?1 AND collection = ?2 AND id = ?3 AND is_deleted = 0
             AND (?4 IS NULL OR octet_length(data) <= ?4)"
        ))?
        .query_row(
            params![
                tenant.as_str(),
                key.collection.as_str(),
                key.id.as_str(),
                max_bytes.map(|bytes| signed(bytes as u64))
            ],
            read_live_document,
        )
        .optional()
}

/// See [`crate::store::Store::query`]. Scans the collection from its newest document until the page is full,
/// or to its end for a sorted one.
pub(super) fn query(
    connection: &mut Connection,
    tenant: &TenantId,
    query: &Query,
    caller: &Caller<'_>,
) -> rusqlite::Result<QueryPage> {
    let mut find = connection.prepare_cached(&collection_query(query.with_clocks))?;
    let before = query.before_seq.map_or(i64::MAX, signed);
    let mut rows = find.query(params![tenant.as_str(), query.collection.as_str(), before])?;
    let mut page = QueryPageBuilder::new(&query.filter, query.sort.as_ref(), query.max_documents).seen_by(&query.view);
    while let Some(row) = rows.next()? {
        if !page.push(read_live_document(row)?).map_err(|problem| damaged(row, 5, problem))? || caller.is_gone() {
            break;
        }
    }
    Ok(page.finish())
}

/// The query for a collection's documents, newest first, with their clocks or without.
pub(super) fn collection_query(with_clocks: bool) -> String {
    let clock = if with_clocks { "clock" } else { "NULL AS clock" };
    format!(
        "SELECT {LIVE_DOCUMENT_COLUMNS}, {clock} FROM documents
         WHERE tenant = ?1 AND collection = ?2 AND is_deleted = 0 AND seq < ?3 ORDER BY seq DESC"
    )
}

/// See [`crate::store::Store::stats`].
pub(super) fn stats(
    connection: &mut Connection,
    tenant: &TenantId,
    active_ms: &RangeInclusive<UnixMs>,
) -> rusqlite::Result<Stats> {
    let transaction = connection.transaction()?;
    let counters = transaction
        .prepare_cached("SELECT operations, documents, seq FROM heads WHERE tenant = ?1")?
        .query_row([tenant.as_str()], |row| Ok((integer(row, 0)?, integer(row, 1)?, integer(row, 2)?)))
        .optional()?;
    let (operations, documents, head_seq): (u64, u64, Seq) = counters.unwrap_or_default();
    let least_pulled = transaction
        .prepare_cached(LEAST_PULLED_QUERY)?
        .query_row(params![tenant.as_str(), signed(*active_ms.start()), signed(*active_ms.end())], |row| {
            integer(row, 0)
        })
        .optional()?;
    // The log is dense, so the entries after a place are counted by a subtraction.
    let unsynced = least_pulled.map_or(0, |pulled_seq| head_seq.entries_since(pulled_seq));
    Ok(Stats { operations, documents, unsynced_operations: unsynced.min(operations) })
}

/// The query for the progress of the active client that has pulled least.
pub(super) const LEAST_PULLED_QUERY: &str =
    "SELECT pulled_seq FROM clients WHERE tenant = ?1 AND seen_at_ms BETWEEN ?2 AND ?3 ORDER BY pulled_seq LIMIT 1";

/// The query for clients. The primary key is ordered by bytes.
pub(super) const CLIENTS_QUERY: &str =
    "SELECT id, pulled_seq, seen_at_ms FROM clients WHERE tenant = ?1 AND id > ?2 ORDER BY id LIMIT ?3";

/// See [`crate::store::Store::clients`].
pub(super) fn clients(
    connection: &mut Connection,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> rusqlite::Result<Vec<ClientProgress>> {
    // No name is empty, so all names come after the empty text.
    let after = after.map_or("", ClientId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached(CLIENTS_QUERY)?
        .query_map(params![tenant.as_str(), after, limit], |row| {
            let progress = Progress { pulled_seq: integer(row, 1)?, seen_at_ms: integer(row, 2)? };
            Ok((ClientId::from_store(row.get_ref(0)?.as_str()?), progress))
        })?
        .collect()
}

/// See [`crate::store::Store::count_clients`].
pub(super) fn count_clients(
    connection: &mut Connection,
    tenant: &TenantId,
    max_clients: u64,
) -> rusqlite::Result<ClientCounts> {
    connection
        .prepare_cached(
            "SELECT (SELECT count(*) FROM (SELECT 1 FROM clients WHERE tenant = ?1 LIMIT ?2)),
                 (SELECT count(*) FROM (SELECT 1 FROM client_owners WHERE tenant = ?1 LIMIT ?2))",
        )?
        .query_row(params![tenant.as_str(), signed(max_clients)], |row| {
            Ok(ClientCounts { remembered: integer(row, 0)?, owned: integer(row, 1)? })
        })
}

/// See [`crate::store::Store::tenants`]. The primary key of `heads` is ordered by bytes.
pub(super) fn tenants(
    connection: &mut Connection,
    after: Option<&TenantId>,
    limit: usize,
) -> rusqlite::Result<Vec<TenantId>> {
    // No name is empty, so all names come after the empty text.
    let after = after.map_or("", TenantId::as_str);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    connection
        .prepare_cached("SELECT tenant FROM heads WHERE tenant > ?1 ORDER BY tenant LIMIT ?2")?
        .query_map(params![after, limit], |row| Ok(TenantId::from_store(row.get_ref(0)?.as_str()?)))?
        .collect()
}

/// See [`crate::store::Store::heads`].
pub(super) fn heads(connection: &mut Connection, tenants: &[TenantId]) -> rusqlite::Result<Vec<Position>> {
    let transaction = connection.transaction()?;
    tenants.iter().map(|tenant| Ok(read_head(&transaction, tenant)?.position)).collect()
}

/// See [`crate::store::Store::check`].
pub(super) fn check(connection: &mut Connection) -> rusqlite::Result<()> {
    connection.prepare_cached("SELECT 1 FROM heads LIMIT 1")?.exists([]).map(drop)
}
