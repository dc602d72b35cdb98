//! Reads: each is one command, which sees one moment.
//!
//! A page contains its head twice, before and after its rows. If the server keeps its promise of one moment, both are
//! equal. If they are not, the page is read again in a transaction. So no page depends on that promise alone.

pub(super) mod load;
pub(super) mod query;
pub(super) mod rows;
pub(super) mod survey;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::Ordering;

use futures_util::future::try_join;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};

use self::rows::{Isolation, Rows, batch_of};
use super::collections::Collections;
use super::database::Database;
use super::failure::Failure;
use super::row::{Row, client_key, document_key, entries_after, entry_key};
use crate::core::cursor::{Cursor, Head, Position};
use crate::core::document::LiveDocument;
use crate::core::fingerprint::Fingerprint;
use crate::core::names::{ClientId, Collection, DocumentKey, FromStore as _, Subject, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::LogEntry;
use crate::core::page::{LogPageBuilder, Scan, TimePage, TimePageBuilder};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::core::text::TextPool;
use crate::limits::protocol::PAGE_MAX_OPERATIONS;
use crate::limits::store::mongodb::READ_MAX_ATTEMPTS;
use crate::store::integers::signed;
use crate::store::{Changes, ChangesRequest, ClientCounts, ClientMemory, ClientProgress, Stats, TimeRequest};

/// The number of rows of a page in addition to the requested ones: the head twice, and the row that shows that there
/// are more.
const ROWS_BESIDE: usize = 3;

fn union(collection: &str, pipeline: Vec<Bson>) -> Bson {
    doc! { "$unionWith": { "coll": collection, "pipeline": pipeline } }
}

fn match_key(key: String, tenant: &TenantId) -> Bson {
    doc! { "$match": { "_id": key, "tenant": tenant.as_str() } }
}

fn lookup(collection: &str, pipeline: Vec<Bson>, field: &str) -> Bson {
    doc! { "$lookup": { "from": collection, "pipeline": pipeline, "as": field } }
}

/// The rows that a pipeline finds in a collection, each as its own row. There are none if the tenant has no head yet.
///
/// They are looked up from the head and not read with `$unionWith` alone, because not every server uses an index there.
fn rows_of(collections: &Collections, tenant: &TenantId, collection: &str, pipeline: Vec<Bson>) -> Bson {
    union(
        collections.heads.name(),
        vec![
            match_key(tenant.as_str().to_owned(), tenant),
            lookup(collection, pipeline, "row"),
            doc! { "$unwind": "$row" },
            doc! { "$replaceRoot": { "newRoot": "$row" } },
        ],
    )
}

/// The head with other small rows, the rows of a page, and the head again.
fn page_pipeline(collections: &Collections, tenant: &TenantId, small: Vec<Bson>, rows: Bson) -> Vec<Bson> {
    let head = match_key(tenant.as_str().to_owned(), tenant);
    let mark = |part: &str| doc! { "$set": { "part": part } };
    let again = union(collections.heads.name(), vec![head.clone(), mark("end")]);
    [head].into_iter().chain(small).chain([mark("head"), rows, again]).collect()
}

/// The rows of a page in the order of the log.
fn scan_rows(collections: &Collections, tenant: &TenantId, scan: Scan, request: &ChangesRequest) -> Bson {
    let limit = doc! { "$limit": row_limit(request.max_operations) };
    match scan {
        Scan::Log { after } => {
            let wanted = doc! { "$match": entries_after(tenant, after.seq) };
            let rows = vec![wanted, doc! { "$sort": { "_id": 1 } }, limit];
            rows_of(collections, tenant, collections.operations.name(), rows)
        }
        Scan::State { after, tombstones_after } => {
            let mut wanted = doc! { "tenant": tenant.as_str(), "seq": { "$gt": signed(after.seq) } };
            if let Some(names) = request.feed.collections() {
                let names: Vec<&str> = names.iter().map(Collection::as_str).collect();
                wanted.insert("collection", doc! { "$in": names });
            }
            match tombstones_after {
                None => wanted.insert("deleted", false),
                // Each alternative names `deleted`, so that the index leads past the tombstones that are not shown.
                Some(seq) => {
                    let shown = doc! { "deleted": true, "seq": { "$gt": signed(seq) } };
                    wanted.insert("$or", vec![doc! { "deleted": false }, shown])
                }
            };
            let rows = vec![doc! { "$match": wanted }, doc! { "$sort": { "seq": 1 } }, limit];
            rows_of(collections, tenant, collections.documents.name(), rows)
        }
    }
}

/// The number of rows of a page and one more, to find out whether there is one.
fn row_limit(max_rows: usize) -> i64 {
    signed(max_rows as u64).saturating_add(1)
}

/// The result of reading a page.
enum Reading<T> {
    Done(T),
    /// Because of the horizon, other rows must be read.
    Other(Scan),
    /// The head moved while the rows were read.
    Moved,
}

/// See [`crate::store::Store::changes`].
pub(super) async fn changes(
    database: &Database,
    tenant: &TenantId,
    request: &ChangesRequest,
) -> Result<Changes, Failure> {
    let collections = database.ready().await?;
    let (mut scan, mut isolation) = (Scan::guess(request.cursor, &request.feed), Isolation::Snapshot);
    for _ in 0..READ_MAX_ATTEMPTS {
        match read_changes(collections, tenant, request, scan, isolation).await? {
            Reading::Done(changes) => return Ok(changes),
            Reading::Other(other) => scan = other,
            Reading::Moved => isolation = Isolation::Transaction,
        }
    }
    Err(Failure::Crowded)
}

/// Reads a page by `scan`, together with the head. Afterwards, the head may require another scan.
async fn read_changes(
    collections: &Collections,
    tenant: &TenantId,
    request: &ChangesRequest,
    scan: Scan,
    isolation: Isolation,
) -> Result<Reading<Changes>, Failure> {
    let max_operations = request.max_operations;
    let mut small = Vec::new();
    if let Some(cursor) = request.cursor {
        let from = collections.operations.name();
        let mut place = |seq, field: &str| {
            let key = entry_key(tenant, seq);
            small.push(doc! { "$set": { "place": { "$literal": key } } });
            small.push(doc! { "$lookup": { "from": from, "localField": "place", "foreignField": "_id", "as": field } });
        };
        place(cursor.position().seq, "there");
        // Before the floor, the cursor is verified at the place where its client began.
        if let Cursor::State { after, tombstones_after } = cursor
            && tombstones_after > after.seq
        {
            place(tombstones_after, "thereBegan");
        }
    }
    if let Some(client) = &request.client_id {
        let client = match_key(client_key(tenant, client), tenant);
        small.push(lookup(collections.clients.name(), vec![client.clone()], "client"));
        small.push(lookup(collections.owners.name(), vec![client], "owner"));
    }
    let pipeline = page_pipeline(collections, tenant, small, scan_rows(collections, tenant, scan, request));
    let batch_rows = max_operations.saturating_add(ROWS_BESIDE);
    let mut rows = Rows::of(collections, &collections.heads, pipeline, batch_rows, isolation).await?;

    // A tenant without a head has an empty log.
    let (mut begun, mut head_behind) = (Begun::default(), Head::default());
    let mut is_full = false;
    let mut next = rows.next(collections).await?;
    if let Some(row) = next
        && row.optional_text("part")? == Some("head")
    {
        begun = Begun::read(row)?;
        next = rows.next(collections).await?;
    } else if let Some(client) = &request.client_id {
        begun.noted = find_client(collections, tenant, client).await?.map(|memory| memory.progress());
        let filter = doc! { "_id": client_key(tenant, client), "tenant": tenant.as_str() };
        let find = collections.owners.find_one(filter).max_time(collections.time_limit);
        begun.owner = collections.in_time(find).await?.map(|owner| Row(&owner).subject()).transpose()?.flatten();
    }
    let Begun { head, there, there_began, noted, owner } = begun;
    let is_there = request.cursor.is_none_or(|cursor| head.verified_at(&cursor) == cursor.position().seq);
    let there = if is_there { there } else { there_began };
    let page = LogPageBuilder::begin(request.cursor, &request.feed, max_operations, head, there);
    let Some(mut page) = page.map(|page| page.seen_by(&request.view)) else {
        return Ok(Reading::Done(Changes::Reset));
    };
    if page.scan() != scan {
        return Ok(Reading::Other(page.scan()));
    }
    let (mut pool, mut last) = (TextPool::default(), Fingerprint::START);
    while let Some(row) = next {
        if row.has("part")? {
            head_behind = row.head()?;
        } else if head.position.seq < row.integer("seq")? || !row.has("clock")? {
            return Ok(Reading::Moved);
        } else {
            let fingerprint = row.fingerprint()?;
            let subject = if request.with_subjects { row.subject()? } else { None };
            let resolution = if request.with_resolutions { row.resolution()? } else { None };
            let entry = LogEntry { subject, resolution, ..row.log_entry(&mut pool)? };
            is_full = !page.push_document(entry, row.optional_text("formerLabels")?)?;
            if is_full {
                break;
            }
            last = fingerprint;
        }
        next = rows.next(collections).await?;
    }
    if !is_full && head != head_behind {
        return Ok(Reading::Moved);
    }
    let page = page.finish(|_| Ok::<_, Failure>(last))?;
    Ok(Reading::Done(Changes::Page { page, noted, owner }))
}

/// The values before the rows of a page.
#[derive(Default)]
struct Begun {
    head: Head,
    there: Option<Fingerprint>,
    there_began: Option<Fingerprint>,
    noted: Option<Progress>,
    owner: Option<Subject>,
}

impl Begun {
    fn read(row: Row<'_>) -> Result<Self, Failure> {
        let there = row.looked_up("there")?.map(Row::fingerprint).transpose()?;
        let there_began = row.looked_up("thereBegan")?.map(Row::fingerprint).transpose()?;
        let noted = match row.looked_up("client")? {
            Some(client) => {
                Some(Progress { pulled_seq: client.integer("pulledSeq")?, seen_at_ms: client.integer("seenAtMs")? })
            }
            None => None,
        };
        let owner = row.looked_up("owner")?.map(Row::subject).transpose()?.flatten();
        Ok(Self { head: row.head()?, there, there_began, noted, owner })
    }
}

/// See [`crate::store::Store::changes_by_time`].
pub(super) async fn changes_by_time(
    database: &Database,
    tenant: &TenantId,
    request: TimeRequest,
) -> Result<TimePage, Failure> {
    let collections = database.ready().await?;
    // A log that was compacted stays so, and the log of one tenant is as good a guess as any for another one.
    let mut in_log = !database.knows_compaction.load(Ordering::Relaxed);
    let (mut isolation, mut max_rows) = (Isolation::Snapshot, request.max_operations);
    // The page may also be read again with more rows, in either mode.
    for _ in 0..2 * READ_MAX_ATTEMPTS {
        match read_by_time(collections, tenant, request, in_log, max_rows, isolation).await? {
            ByTime::Done(page) => {
                database.knows_compaction.store(!page.head.has_log_behind(Seq::START), Ordering::Relaxed);
                return Ok(page);
            }
            ByTime::OtherMode => in_log = !in_log,
            ByTime::Moved => isolation = Isolation::Transaction,
            ByTime::CutShort => max_rows = PAGE_MAX_OPERATIONS,
        }
    }
    Err(Failure::Crowded)
}

/// The result of reading a page by the rule of the original protocol.
enum ByTime {
    Done(TimePage),
    /// Because of the horizon, documents must be read instead of operations, or the other way round.
    OtherMode,
    /// The head moved while the rows were read.
    Moved,
    /// A run of equal timestamps continues after the rows that were read.
    CutShort,
}

async fn read_by_time(
    collections: &Collections,
    tenant: &TenantId,
    request: TimeRequest,
    in_log: bool,
    max_rows: usize,
    isolation: Isolation,
) -> Result<ByTime, Failure> {
    let (timestamp, seq) = (signed(request.after.timestamp), signed(request.after.seq));
    let either = vec![doc! { "timestamp": { "$gt": timestamp } }, doc! { "seq": { "$gt": seq } }];
    let wanted = doc! { "tenant": tenant.as_str(), "timestamp": { "$gte": timestamp }, "$or": either };
    let collection = if in_log { &collections.operations } else { &collections.documents };
    let rows = vec![
        doc! { "$match": wanted },
        doc! { "$sort": { "timestamp": 1, "seq": 1 } },
        doc! { "$limit": row_limit(max_rows) },
    ];
    let rows = rows_of(collections, tenant, collection.name(), rows);
    let pipeline = page_pipeline(collections, tenant, Vec::new(), rows);
    let batch_rows = max_rows.saturating_add(ROWS_BESIDE);
    let mut rows = Rows::of(collections, &collections.heads, pipeline, batch_rows, isolation).await?;
    let (mut page, mut pool) = (TimePageBuilder::new(request.max_operations), TextPool::default());
    let (mut head, mut head_behind, mut found, mut is_full) = (Head::default(), Head::default(), 0, false);
    while let Some(row) = rows.next(collections).await? {
        match row.optional_text("part")? {
            Some("head") => {
                head = row.head()?;
                if in_log != head.has_log_behind(Seq::START) {
                    return Ok(ByTime::OtherMode);
                }
            }
            Some(_) => head_behind = row.head()?,
            None if head.position.seq < row.integer("seq")? => return Ok(ByTime::Moved),
            None => {
                found += 1;
                is_full = !page.push(row.log_entry(&mut pool)?);
                if is_full {
                    break;
                }
            }
        }
    }
    if !is_full && head != head_behind {
        return Ok(ByTime::Moved);
    }
    if !in_log && head == Head::default() {
        return Ok(ByTime::OtherMode);
    }
    let is_cut_short = !is_full && found > max_rows && max_rows < PAGE_MAX_OPERATIONS;
    Ok(if is_cut_short { ByTime::CutShort } else { ByTime::Done(page.finish(head)) })
}

/// See [`crate::store::Store::client`].
pub(super) async fn client(
    database: &Database,
    tenant: &TenantId,
    client: &ClientId,
) -> Result<Option<ClientMemory>, Failure> {
    find_client(database.ready().await?, tenant, client).await
}

async fn find_client(
    collections: &Collections,
    tenant: &TenantId,
    client: &ClientId,
) -> Result<Option<ClientMemory>, Failure> {
    let filter = doc! { "_id": client_key(tenant, client), "tenant": tenant.as_str() };
    let find = collections.clients.find_one(filter).max_time(collections.time_limit);
    let Some(found) = collections.in_time(find).await? else { return Ok(None) };
    let row = Row(&found);
    Ok(Some(ClientMemory {
        revision: row.integer("revision")?,
        places: Places::parse(row.text("places")?).ok_or(Failure::Answer("damaged places of a client"))?,
        pulled_seq: row.integer("pulledSeq")?,
        seen_at_ms: row.integer("seenAtMs")?,
    }))
}

/// See [`crate::store::Store::document`].
pub(super) async fn document(
    database: &Database,
    tenant: &TenantId,
    key: &DocumentKey,
) -> Result<Option<LiveDocument>, Failure> {
    let collections = database.ready().await?;
    let filter = doc! { "_id": document_key(tenant, key), "tenant": tenant.as_str(), "deleted": false };
    let find = collections.documents.find_one(filter).max_time(collections.time_limit);
    collections.in_time(find).await?.map(|found| Row(&found).live_document(false)).transpose()
}

/// See [`crate::store::Store::stats`].
///
/// The log is dense between horizon and head, so the entries are counted by a subtraction.
pub(super) async fn stats(
    database: &Database,
    tenant: &TenantId,
    active_ms: &RangeInclusive<UnixMs>,
) -> Result<Stats, Failure> {
    let collections = database.ready().await?;
    let seen = doc! { "$gte": signed(*active_ms.start()), "$lte": signed(*active_ms.end()) };
    let active = doc! { "tenant": tenant.as_str(), "seenAtMs": seen };
    let least = vec![doc! { "$match": active }, doc! { "$sort": { "pulledSeq": 1 } }, doc! { "$limit": 1 }];
    let head = match_key(tenant.as_str().to_owned(), tenant);
    let pipeline = vec![head, lookup(collections.clients.name(), least, "client")];
    let mut rows = Rows::of(collections, &collections.heads, pipeline, 1, Isolation::Snapshot).await?;
    let Some(row) = rows.next(collections).await? else { return Ok(Stats::default()) };
    let Head { position, horizon, .. } = row.head()?;
    let operations = position.seq.entries_since(horizon);
    let unsynced_operations = match row.looked_up("client")? {
        Some(client) => position.seq.entries_since(client.integer("pulledSeq")?).min(operations),
        None => 0,
    };
    Ok(Stats { operations, documents: row.integer("liveDocuments")?, unsynced_operations })
}

/// See [`crate::store::Store::clients`]. MongoDB orders texts by their bytes.
pub(super) async fn clients(
    database: &Database,
    tenant: &TenantId,
    after: Option<&ClientId>,
    limit: usize,
) -> Result<Vec<ClientProgress>, Failure> {
    let collections = database.ready().await?;
    // A limit of 0 would mean no limit.
    if limit == 0 {
        return Ok(Vec::new());
    }
    let beginning = format!("{tenant}\0");
    let after = after.map_or_else(|| beginning.clone(), |after| client_key(tenant, after));
    let behind = doc! { "_id": { "$gt": after, "$lt": format!("{tenant}\u{1}") }, "tenant": tenant.as_str() };
    let find = collections.clients.find(behind).sort(doc! { "_id": 1 });
    let find = find.projection(doc! { "_id": 1, "pulledSeq": 1, "seenAtMs": 1 }).limit(signed(limit as u64));
    let mut found = collections.in_time(find.max_time(collections.time_limit)).await?;
    let mut clients = Vec::new();
    while collections.in_time(found.advance()).await? {
        let row = Row(found.current());
        let id = row.text("_id")?.strip_prefix(&beginning).ok_or(Failure::Answer("a damaged key of a client"))?;
        let progress = Progress { pulled_seq: row.integer("pulledSeq")?, seen_at_ms: row.integer("seenAtMs")? };
        clients.push((ClientId::from_store(id), progress));
    }
    Ok(clients)
}

/// See [`crate::store::Store::count_clients`].
pub(super) async fn count_clients(
    database: &Database,
    tenant: &TenantId,
    max_clients: u64,
) -> Result<ClientCounts, Failure> {
    let collections = database.ready().await?;
    // A limit of 0 would mean no limit.
    if max_clients == 0 {
        return Ok(ClientCounts::default());
    }
    let count = async |collection: &mongodb::Collection<RawDocumentBuf>| {
        let count = collection.count_documents(doc! { "tenant": tenant.as_str() }).limit(max_clients);
        collections.in_time(count.max_time(collections.time_limit)).await
    };
    let (remembered, owned) = try_join(count(&collections.clients), count(&collections.owners)).await?;
    Ok(ClientCounts { remembered, owned })
}

/// See [`crate::store::Store::tenants`]. MongoDB orders texts by their bytes.
pub(super) async fn tenants(
    database: &Database,
    after: Option<&TenantId>,
    limit: usize,
) -> Result<Vec<TenantId>, Failure> {
    let collections = database.ready().await?;
    // A limit of 0 would mean no limit.
    if limit == 0 {
        return Ok(Vec::new());
    }
    // No name is empty, so all names come after the empty text.
    let behind = doc! { "_id": { "$gt": after.map_or("", TenantId::as_str) } };
    let find = collections.heads.find(behind).sort(doc! { "_id": 1 }).projection(doc! { "_id": 1 });
    let mut found = collections.in_time(find.limit(signed(limit as u64)).max_time(collections.time_limit)).await?;
    let mut tenants = Vec::new();
    while collections.in_time(found.advance()).await? {
        tenants.push(TenantId::from_store(Row(found.current()).text("_id")?));
    }
    Ok(tenants)
}

/// See [`crate::store::Store::heads`].
pub(super) async fn heads(database: &Database, tenants: &[TenantId]) -> Result<Vec<Position>, Failure> {
    let collections = database.ready().await?;
    let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let wanted = doc! { "_id": { "$in": names.clone() }, "tenant": { "$in": names.clone() } };
    let find = collections.heads.find(wanted).projection(doc! { "_id": 1, "seq": 1, "fingerprint": 1 });
    let find = find.batch_size(batch_of(names.len())).max_time(collections.time_limit);
    let mut found = HashMap::with_capacity(names.len());
    let mut rows = collections.in_time(find).await?;
    while collections.in_time(rows.advance()).await? {
        let row = Row(rows.current());
        found.insert(row.text("_id")?.to_owned(), row.position()?);
    }
    Ok(names.iter().map(|name| found.get(*name).copied().unwrap_or_default()).collect())
}
