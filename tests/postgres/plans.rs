//! The plans that the server executes over a large log, including those inside the store's functions.

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{COLLECTION, Draft, delete, insert, update};
use syncflow_server::conformance::world::query_of;
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::feed::{Collections, Feed};
use syncflow_server::core::fingerprint::Fingerprint;
use syncflow_server::core::names::{ClientId, Collection, OperationId, TenantId};
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::core::retention::Expiry;
use syncflow_server::limits::protocol::INTEGER_MAX;
use syncflow_server::limits::service::GROUP_MAX_OPERATIONS;
use syncflow_server::service::Host as _;
use syncflow_server::store::{ExpireStep, Expired};
use tokio_postgres::Client;

use crate::support::postgres::{Schema, connect, key_values, server_url};
use crate::support::postgres_proxy::Proxy;

/// The number of operations in the log. Each has its own document.
const OPERATIONS: u64 = 100_000;

/// The most rows that any step of a plan may return: those of the largest request here, and a few more.
const ROWS_MAX: u64 = 1_100;

/// Makes the server send every plan to the client, with the actual number of rows from each step.
const EXPLAIN: &str = "-c session_preload_libraries=auto_explain -c auto_explain.log_min_duration=0 \
                       -c auto_explain.log_analyze=on -c auto_explain.log_timing=off \
                       -c auto_explain.log_nested_statements=on -c client_min_messages=log";

fn drafts(from: u64, to: u64) -> Vec<Draft> {
    let draft = |number: u64| {
        // The data are so long that reading the whole table would be expensive.
        let data = format!(r#"{{"number":{number},"parity":{},"text":"{}"}}"#, number % 2, "x".repeat(100));
        let collection = if number.is_multiple_of(10) { COLLECTION } else { "others" };
        insert(&format!("op-{number}"), &format!("doc-{number}")).in_collection(collection).data(&data).at(number)
    };
    (from..to).map(draft).collect()
}

/// A store whose plans are recorded.
struct Watched {
    world: World,
    proxy: Proxy,
}

impl Watched {
    async fn over(schema: &Schema) -> Self {
        let proxy = Proxy::before(&server_url()).await;
        let mut options = schema.options();
        options.connection_string = format!("{} options='{EXPLAIN}'", key_values(proxy.url()));
        options.pool_size = 1;
        let world = super::world(&options);
        world.store.check().await.expect("the store is there");
        Self { world, proxy }
    }

    /// Makes a request. Its plans must use all of these indexes, no other way of reading, and must read few more rows
    /// than it needs.
    async fn reads_by(&self, what: &str, indexes: &[&str], request: impl AsyncFnOnce(&World)) {
        self.proxy.take_texts();
        request(&self.world).await;
        let plans = self.proxy.take_texts();
        for index in indexes {
            // The words for a scan, for a bitmap scan, and for an insert with `ON CONFLICT`.
            let mentions = [format!("using {index} "), format!("on {index} "), format!("Arbiter Indexes: {index}")];
            let is_used = mentions.iter().any(|mention| plans.contains(mention));
            assert!(is_used, "{what} does not read by {index}: {plans}");
        }
        assert!(!plans.contains("Seq Scan on"), "{what} reads a whole table: {plans}");
        let sorts = ["a page of clients"].contains(&what) && plans.contains("Sort Key");
        assert!(!sorts, "{what} sorts: {plans}");
        for line in plans.lines() {
            let passed_on = number_behind(line, "rows=", 2) * number_behind(line, "loops=", 1).max(1);
            let removed = number_behind(line, "Rows Removed by", 1);
            assert!(passed_on <= ROWS_MAX && removed <= ROWS_MAX, "{what} reads too much: {line} in {plans}");
        }
    }
}

/// The number after the `nth` occurrence of some words, or 0 if there is none.
fn number_behind(line: &str, words: &str, nth: usize) -> u64 {
    let Some(rest) = line.split(words).nth(nth) else { return 0 };
    let digits: String = rest.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}

fn at(seq: u64) -> Position {
    let first = std::iter::once("first".to_owned());
    let ids = first.chain((0..OPERATIONS).map(|number| format!("op-{number}"))).map(|id| OperationId::literal(&id));
    let extended = |fingerprint: Fingerprint, id: OperationId| fingerprint.extended(&id);
    let fingerprint = ids.take(usize::try_from(seq).expect("small")).fold(Fingerprint::START, extended);
    Position { seq: Seq::new(seq), fingerprint }
}

async fn writes_read_by_their_indexes(watched: &Watched, prefix: &str) {
    let name = |number: u64| format!("{prefix}-{number}");
    let new: Vec<Draft> = (0..1_000).map(|number| insert(&name(number), &name(number))).collect();
    let keys = ["syncflow_operation_ids_pkey", "syncflow_documents_pkey", "syncflow_heads_pkey"];
    watched.reads_by("a push of new documents", &keys, async |world| world.apply(new).await).await;
    let changed: Vec<Draft> = (0..500)
        .map(|number| update(&format!("{prefix}-update-{number}"), &name(number)))
        .chain((500..1_000).map(|number| delete(&format!("{prefix}-delete-{number}"), &name(number))))
        .collect();
    watched.reads_by("a push of changes", &keys, async |world| world.apply(changed).await).await;
    let (clients, forgotten) = ("syncflow_clients_pkey", "syncflow_clients_by_seen");
    watched
        .reads_by("a pull of an original client", &[clients], async |world| {
            world.since("me", 0, 100).await;
        })
        .await;
    let steps = ["syncflow_operations_pkey", "syncflow_heads_pkey", forgotten];
    watched
        .reads_by("a step of a compaction", &steps, async |world| {
            let step = syncflow_server::store::CompactStep {
                now_ms: UnixMs::new(u64::MAX),
                future_after_ms: UnixMs::new(u64::MAX),
                received_until_ms: UnixMs::new(u64::MAX),
                forget_clients_before_ms: UnixMs::EPOCH,
                max_entries: 1_000,
            };
            let done = world.store.compact(&world.tenant, step).await.expect("the store compacts");
            assert_eq!(done.deleted_entries, 1_000);
        })
        .await;
}

async fn retention_reads_by_its_indexes(watched: &Watched) {
    let steps = ["syncflow_operations_pkey", "syncflow_fingerprints_pkey"];
    watched
        .reads_by("the search for an old place", &steps, async |world| {
            let found = world.store.aged_place(&world.tenant, UnixMs::new(INTEGER_MAX), Seq::new(INTEGER_MAX)).await;
            assert!(found.expect("the store works").is_some_and(|place| place.seq > Seq::new(OPERATIONS)));
        })
        .await;
    let removed = ["syncflow_documents_deleted_by_seq", "syncflow_fingerprints_pkey", "syncflow_operation_ids_pkey"];
    watched
        .reads_by("a step of retention", &removed, async |world| {
            let everything = Seq::new(INTEGER_MAX);
            let expiry = Expiry { floor: at(1), tombstones_up_to: everything, remains_before: Seq::new(500) };
            let step = ExpireStep { expiry, max_rows: 1_000 };
            let expired = world.store.expire(&world.tenant, step).await.expect("the store works");
            assert_eq!(expired, Expired { tombstones: 1_000, remains: 0 });
            let expired = world.store.expire(&world.tenant, step).await.expect("the store works");
            assert_eq!(expired, Expired { tombstones: 0, remains: 499 });
        })
        .await;
}

async fn reads_read_by_their_indexes(watched: &Watched, horizon: u64) {
    let heads = "syncflow_heads_pkey";
    let middle = OPERATIONS / 2;
    let log = Some(Cursor::Log(at(middle)));
    let pages = ["syncflow_operations_pkey", heads];
    watched.reads_by("a page of the log", &pages, async |world| drop(world.changes(log, 1_000).await)).await;
    let state = Some(Cursor::State { after: at(middle), tombstones_after: Seq::START });
    let pages = ["syncflow_documents_live_by_seq", heads];
    watched.reads_by("a page of documents", &pages, async |world| drop(world.changes(state, 1_000).await)).await;
    watched.reads_by("a first page", &pages, async |world| drop(world.changes(None, 100).await)).await;
    let empty = watched.world.as_tenant("all deleted");
    watched
        .reads_by("a first page of nothing but tombstones", &pages, async |_| {
            drop(empty.changes(None, 100).await);
        })
        .await;
    let of_collections = ["syncflow_documents_of_collection", "syncflow_documents_deleted_of_collection", heads];
    for (what, collections, tenant) in [
        ("a page of two collections", &["todos", "nobody's"][..], &watched.world),
        ("a page of collections without documents", &["none", "nobody's"], &watched.world),
        ("a page of a collection of tombstones", &["todos"], &empty),
    ] {
        let collections = Collections::new(collections.iter().copied().map(Collection::literal));
        let feed = Feed::Documents { collections: Some(collections.expect("some names")) };
        watched
            .reads_by(what, &of_collections, async |_| {
                drop(tenant.changes_of(&feed, Some(Cursor::BEGINNING), 500).await);
            })
            .await;
    }
    let by_time = if horizon == 0 { "syncflow_operations_by_time" } else { "syncflow_documents_by_time" };
    watched
        .reads_by("a page by timestamp", &[by_time, heads], async |world| {
            assert_eq!(world.since_of_nobody(middle, 1_000).await.entries.len(), 1_000);
        })
        .await;
    watched
        .reads_by("a document", &["syncflow_documents_pkey"], async |world| {
            assert!(world.document("doc-70").await.is_some());
        })
        .await;
    watched
        .reads_by("statistics", &[heads, "syncflow_clients_by_pulled"], async |world| {
            world.stats().await;
        })
        .await;
    watched
        .reads_by("a page of clients", &["syncflow_clients_pkey", heads], async |world| {
            let after = ClientId::literal("client-2");
            let page = world.service.clients(&world.tenant, Some(&after), 1_000).await.expect("they are read");
            assert_eq!(page.len(), 1_000);
        })
        .await;
    watched
        .reads_by("the newest places of tenants", &[heads], async |world| {
            let tenants: Vec<TenantId> = (1..=100).map(|n| TenantId::literal(&format!("tenant-{n}"))).collect();
            let places = world.store.heads(&tenants).await.expect("they are read");
            assert!(places.len() == 100 && places.iter().all(|place| place.seq == Seq::new(1)));
        })
        .await;
    watched
        .reads_by("a query without conditions", &["syncflow_documents_of_collection"], async |world| {
            assert_eq!(world.query(&[]).await.len(), 1_000);
        })
        .await;
    watched
        .reads_by("a later page of a query", &["syncflow_documents_of_collection"], async |world| {
            let mut query = query_of(COLLECTION, &[]);
            query.before_seq = Some(Seq::new(middle));
            assert_eq!(world.store.query(&world.tenant, query).await.expect("it answers").documents.len(), 1_000);
        })
        .await;
    watched
        .reads_by("a query by id", &["syncflow_documents_pkey"], async |world| {
            assert_eq!(world.query(&[("_id", "\"doc-70\"")]).await.len(), 1);
        })
        .await;
}

async fn queries_read_by_their_indexes(watched: &Watched) {
    watched
        .reads_by("a query for one document", &["syncflow_documents_of_collection"], async |world| {
            assert_eq!(world.query(&[("number", "70.0")]).await.len(), 1);
        })
        .await;
    watched
        .reads_by("a query for no document", &["syncflow_documents_of_collection"], async |world| {
            assert_eq!(world.query(&[("number", "\"70\"")]).await.len(), 0);
        })
        .await;
}

async fn analyze(admin: &Client, schema: &Schema) {
    for table in ["heads", "operations", "operation_ids", "fingerprints", "documents", "clients"] {
        let sql = format!("ANALYZE {}.syncflow_{table}", schema.quoted());
        admin.batch_execute(&sql).await.expect("statistics can be made");
    }
}

/// Fills a schema with one large log, and with so many neighbours and clients that an index is worth it.
async fn fill(schema: &Schema, admin: &Client) {
    let world = super::world(&schema.options());
    let step = GROUP_MAX_OPERATIONS as u64;
    for from in (0..OPERATIONS).step_by(GROUP_MAX_OPERATIONS) {
        world.apply(drafts(from, (from + step).min(OPERATIONS))).await;
    }
    world.as_tenant("neighbour").apply(drafts(0, step)).await;
    let deletions = (0..step).map(|number| delete(&format!("deletion-{number}"), &format!("doc-{number}")));
    world.as_tenant("all deleted").apply(deletions).await;
    let sql = format!(
        "INSERT INTO {schema}.syncflow_heads SELECT 'tenant-' || n, 1, 1, 0, 1, 1 FROM generate_series(1, 5000) AS n;
         INSERT INTO {schema}.syncflow_clients SELECT '{tenant}', 'client-' || n, 0, '', n, {now_ms}
         FROM generate_series(1, 5000) AS n",
        schema = schema.quoted(),
        tenant = world.tenant,
        now_ms = world.host.now_ms(),
    );
    admin.batch_execute(&sql).await.expect("neighbours and clients");
}

#[tokio::test]
async fn every_request_reads_by_its_index_whatever_the_statistics_say() {
    let schema = Schema::new();
    let admin = connect(&server_url()).await;
    // The functions make and keep their plans while the tables are empty.
    let watched = Watched::over(&schema).await;
    watched.world.apply([insert("first", "first")]).await;
    watched.world.page(None, 10).await;
    watched.world.since_of_nobody(0, 10).await;
    fill(&schema, &admin).await;

    reads_read_by_their_indexes(&watched, 0).await;
    writes_read_by_their_indexes(&watched, "before").await;
    analyze(&admin, &schema).await;
    reads_read_by_their_indexes(&watched, 1_000).await;
    queries_read_by_their_indexes(&watched).await;
    writes_read_by_their_indexes(&watched, "after").await;
    retention_reads_by_its_indexes(&watched).await;
}
