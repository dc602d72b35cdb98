//! The world of a check: a fresh store, the service over it, and a host whose clock the check sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt as _, pending, ready};

use super::draft::{COLLECTION, Draft, key};
use crate::core::access::View;
use crate::core::cursor::Cursor;
use crate::core::decide::quota::Usage;
use crate::core::decide::{Batch, Outcome, Push, decide, ids_of, keys_of};
use crate::core::document::LiveDocument;
use crate::core::feed::Feed;
use crate::core::filter::{Condition, Filter};
use crate::core::names::{ClientId, Collection, TenantId};
use crate::core::numbers::UnixMs;
use crate::core::operation::{LogEntry, Operation};
use crate::core::page::LogPage;
use crate::limits::protocol::{INTEGER_MAX, QUERY_MAX_DOCUMENTS};
use crate::service::{Host, PullFrom, PullRequest, Pulled, PulledPage, SyncService};
use crate::store::{Changes, ChangesRequest, ClientMemory, Commit, LoadRequest, Query, Stats, Store};

/// The initial time of a [`VirtualHost`].
pub const BEGINNING_MS: UnixMs = UnixMs::new(1_700_000_000_000);

/// More operations than any check writes.
const EVERYTHING: usize = 100_000;

/// A clock that moves only when it is told to, sleeps that end at once, and random bits from a counter.
#[derive(Debug)]
pub struct VirtualHost {
    now_ms: AtomicU64,
    random_bits: AtomicU64,
    slept_ms: AtomicU64,
}

impl VirtualHost {
    /// A host at [`BEGINNING_MS`].
    #[must_use]
    pub fn new() -> Self {
        Self { now_ms: BEGINNING_MS.get().into(), random_bits: 0.into(), slept_ms: 0.into() }
    }

    /// Sets the clock; it may go backwards.
    pub fn set_ms(&self, now_ms: UnixMs) {
        self.now_ms.store(now_ms.get(), Ordering::SeqCst);
    }

    /// Moves the clock forward.
    pub fn advance_ms(&self, by_ms: u64) {
        self.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// The sum of all sleeps so far, in milliseconds.
    #[must_use]
    pub fn slept_ms(&self) -> u64 {
        self.slept_ms.load(Ordering::SeqCst)
    }
}

impl Default for VirtualHost {
    fn default() -> Self {
        Self::new()
    }
}

impl Host for VirtualHost {
    fn now_ms(&self) -> UnixMs {
        UnixMs::new(self.now_ms.load(Ordering::SeqCst))
    }

    fn random_bits(&self) -> u64 {
        // A Weyl sequence, which takes every value once, with large distances.
        self.random_bits.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::SeqCst)
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let slept_ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        self.slept_ms.fetch_add(slept_ms, Ordering::SeqCst);
        ready(()).boxed()
    }

    fn patience(&self, _: Duration) -> BoxFuture<'static, ()> {
        pending().boxed()
    }
}

/// A fresh store and the service over it, as one tenant sees them.
///
/// Its methods panic if the store fails, so that the check fails.
#[derive(Debug, Clone)]
pub struct World {
    /// The store itself.
    pub store: Arc<dyn Store>,
    /// The clock, timer and randomness of the service.
    pub host: Arc<VirtualHost>,
    /// The service over the store.
    pub service: Arc<SyncService>,
    /// The tenant of every request.
    pub tenant: TenantId,
}

impl World {
    /// A world over an empty store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        let host = Arc::new(VirtualHost::new());
        let service = Arc::new(SyncService::new(Arc::clone(&store), Arc::clone(&host) as Arc<dyn Host>));
        Self { store, host, service, tenant: TenantId::literal("default") }
    }

    /// The same store as another tenant sees it.
    #[must_use]
    pub fn as_tenant(&self, tenant: &str) -> Self {
        Self { tenant: TenantId::literal(tenant), ..self.clone() }
    }

    /// The same clock and tenant over another store, which usually wraps this one.
    #[must_use]
    pub fn over(&self, store: Arc<dyn Store>) -> Self {
        let service = Arc::new(SyncService::new(Arc::clone(&store), Arc::clone(&self.host) as Arc<dyn Host>));
        Self { store, service, ..self.clone() }
    }

    /// Pushes operations and returns their outcomes.
    pub async fn push(&self, drafts: impl IntoIterator<Item = Draft>) -> Vec<Outcome> {
        let pushed = self.service.push(&self.tenant, operations(drafts)).await.expect("the push is answered");
        pushed.outcomes().expect("the push is not refused")
    }

    /// Pushes operations, all of which must be applied.
    pub async fn apply(&self, drafts: impl IntoIterator<Item = Draft>) {
        let outcomes = self.push(drafts).await;
        let applied = outcomes.iter().filter(|outcome| **outcome == Outcome::Applied).count();
        assert_eq!(applied, outcomes.len(), "{outcomes:?}");
    }

    /// Loads and decides. The check commits the batch, which must not be empty.
    pub async fn decide(&self, drafts: impl IntoIterator<Item = Draft>) -> Batch {
        let batch = self.decision(drafts).await;
        assert!(!batch.is_empty(), "a store is never asked to commit nothing");
        batch
    }

    /// Loads and decides; the batch may be empty.
    pub async fn decision(&self, drafts: impl IntoIterator<Item = Draft>) -> Batch {
        let operations = operations(drafts);
        let pushes = [Push::from(&*operations)];
        let request = LoadRequest { ids: ids_of(&pushes), keys: keys_of(&pushes), ..LoadRequest::default() };
        let snapshot = self.store.load(&self.tenant, request).await.expect("the store loads");
        decide(&pushes, &snapshot, self.host.now_ms()).1
    }

    /// Commits a batch.
    pub async fn commit(&self, batch: Batch) -> Commit {
        self.store.commit(&self.tenant, batch).await.expect("the store commits")
    }

    /// Pulls once.
    pub async fn pull(&self, from: PullFrom, client: Option<&str>, max_operations: usize) -> Pulled {
        let client_id = client.map(ClientId::literal);
        let request = PullRequest { client_id, max_operations, ..PullRequest::new(from) };
        self.service.pull(&self.tenant, request).await.expect("the pull is answered")
    }

    /// A page after a cursor, or from the beginning without one.
    pub async fn page(&self, cursor: Option<Cursor>, max_operations: usize) -> PulledPage {
        page_of(self.pull(PullFrom::Cursor(cursor), None, max_operations).await)
    }

    /// A page for an original client.
    pub async fn since(&self, client: &str, since: impl Into<UnixMs>, max_operations: usize) -> PulledPage {
        page_of(self.pull(PullFrom::Since(since.into()), Some(client), max_operations).await)
    }

    /// A page by the rule of the original protocol, without a client id.
    pub async fn since_of_nobody(&self, since: impl Into<UnixMs>, max_operations: usize) -> PulledPage {
        page_of(self.pull(PullFrom::Since(since.into()), None, max_operations).await)
    }

    /// A page of operations of the port, without a client id.
    pub async fn changes(&self, cursor: Option<Cursor>, max_operations: usize) -> LogPage {
        self.changes_of(&Feed::Operations, cursor, max_operations).await
    }

    /// A page of a feed of the port, without a client id.
    pub async fn changes_of(&self, feed: &Feed, cursor: Option<Cursor>, max_operations: usize) -> LogPage {
        let request = ChangesRequest { feed: feed.clone(), ..ChangesRequest::operations(cursor, max_operations) };
        match self.store.changes(&self.tenant, request).await.expect("the store reads changes") {
            Changes::Page { page, .. } => page,
            Changes::Reset => panic!("the cursor was reset"),
        }
    }

    /// The whole log, if nothing was compacted.
    pub async fn log(&self) -> Vec<LogEntry> {
        self.changes(Some(Cursor::BEGINNING), EVERYTHING).await.entries
    }

    /// The cursor of a client that has everything.
    pub async fn head(&self) -> Cursor {
        self.changes(None, EVERYTHING).await.next
    }

    /// A document in the default collection.
    pub async fn document(&self, id: &str) -> Option<LiveDocument> {
        self.service.document(&self.tenant, &key(id)).await.expect("the document is read")
    }

    /// The data of a document in the default collection.
    pub async fn data(&self, id: &str) -> Option<String> {
        self.document(id).await.map(|document| document.data.as_str().to_owned())
    }

    /// The documents in the default collection that match every condition, newest first.
    pub async fn query(&self, conditions: &[(&str, &str)]) -> Vec<LiveDocument> {
        let query = query_of(COLLECTION, conditions);
        self.service.query(&self.tenant, query).await.expect("the query is answered").documents
    }

    /// The statistics.
    pub async fn stats(&self) -> Stats {
        self.service.stats(&self.tenant).await.expect("the statistics are read")
    }

    /// How much the store says the tenant keeps.
    pub async fn usage(&self) -> Usage {
        let request = LoadRequest { with_usage: true, ..LoadRequest::default() };
        let snapshot = self.store.load(&self.tenant, request).await.expect("the store loads");
        snapshot.usage.expect("the store was asked for it")
    }

    /// Removes the log entries that were received so long ago or before, and returns their number.
    pub async fn compact(&self, older_than_ms: u64) -> u64 {
        let done = self.service.compact(&self.tenant, older_than_ms, INTEGER_MAX).await.expect("the store compacts");
        assert!(done.is_finished, "a compaction with time enough leaves nothing");
        done.deleted_entries
    }

    /// The store's memory of a client.
    pub async fn memory(&self, client: &str) -> Option<ClientMemory> {
        let client = ClientId::literal(client);
        self.store.client(&self.tenant, &client).await.expect("the memory is read")
    }
}

/// The operations of drafts.
pub fn operations(drafts: impl IntoIterator<Item = Draft>) -> Vec<Operation> {
    drafts.into_iter().map(Draft::done).collect()
}

/// The page in a result, which must be one.
#[must_use]
pub fn page_of(pulled: Pulled) -> PulledPage {
    match pulled {
        Pulled::Page(page) => page,
        other => panic!("no page but {other:?}"),
    }
}

/// A query for the largest page of a collection.
#[must_use]
pub fn query_of(collection: &str, conditions: &[(&str, &str)]) -> Query {
    Query {
        collection: Collection::literal(collection),
        filter: Filter::new(conditions.iter().map(|(path, value)| Condition::new(path, value)).collect()),
        max_documents: QUERY_MAX_DOCUMENTS,
        before_seq: None,
        sort: None,
        with_clocks: false,
        view: View::default(),
    }
}

/// The ids of a page's operations, in its order.
#[must_use]
pub fn ids(entries: &[LogEntry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.id.as_str()).collect()
}
