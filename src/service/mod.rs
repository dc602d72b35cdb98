//! The sync service: the operations of the protocol, over any store.
//!
//! It contains what every store would otherwise repeat: group commit with bounded retries, the memory of original
//! clients, and the steps of a compaction.

mod compaction;
mod error;
mod follow;
mod group_commit;
mod hooks;
mod host;
mod lanes;
pub mod operator;
mod pull;
mod push;
mod push_lane;
mod wakes;
mod write;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use compaction::schedule::CompactionSchedule;
pub use compaction::{CompactionOfAll, Removed};
pub use error::ServiceError;
pub use follow::{Followed, FollowedBatch, Follower};
pub use hooks::{Caller, InvalidOperation, Observer};
pub use host::Host;
pub use pull::{PullFrom, PullRequest, Pulled, PulledPage};
pub use push::{PushRequest, QUARANTINE, Undecidable};
pub use push_lane::{Pushed, Resolution, Resolver};
pub use wakes::Wakes;
pub use write::{BadData, Write, Written};

use futures_util::future::BoxFuture;

use crate::core::access::Principal;
use crate::core::access::rules::{Right, Rules};
use crate::core::cursor::Position;
use crate::core::decide::quota::Quota;
use crate::core::document::{Document, LiveDocument};
use crate::core::names::{BadName, ClientId, DocumentKey, TenantId};
use crate::core::numbers::UnixMs;
use crate::core::operation::Operation;
use crate::core::policy::Policies;
use crate::core::retention::Retention;
use crate::limits::service::{CLIENT_ACTIVE_MS, CLOCKS_APART_MAX_MS};
use crate::store::{ClientProgress, LoadRequest, Query, QueryPage, Result, Stats, Store};

/// The target of the spans that a service opens for traces, such as one for each group of pushes that share a commit.
///
/// Their level is `DEBUG`. The span of a group follows from the spans of its requests.
pub const TRACE_TARGET: &str = "syncflow_server::traces";

/// The operations of the protocol over a store. All requests of a process share one service.
#[derive(Debug)]
pub struct SyncService {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    hooks: hooks::Hooks,
    lanes: lanes::Lanes<push_lane::PushLane>,
    writers: lanes::Lanes<lanes::WriteTurn>,
    writer_id: ClientId,
    quota: Quota,
    retention: Retention,
    rules: Rules,
    policies: Policies,
    resolver: Option<Arc<dyn Resolver>>,
    has_quarantine: bool,
    hub: Arc<wakes::Hub>,
    /// The pauses of clients that nothing wakes.
    polls: Option<wakes::polls::Polls>,
    is_draining: AtomicBool,
    pushes: lanes::InProgress,
}

impl SyncService {
    /// Makes a service over a store, with the clock, timer and randomness of `host`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, host: Arc<dyn Host>) -> Self {
        Self {
            hub: wakes::Hub::new(Arc::clone(&store), Arc::clone(&host)),
            store,
            host,
            hooks: hooks::Hooks::default(),
            lanes: lanes::Lanes::new(),
            writers: lanes::Lanes::new(),
            writer_id: ClientId::server(),
            quota: Quota::default(),
            retention: Retention::default(),
            rules: Rules::default(),
            policies: Policies::default(),
            resolver: None,
            has_quarantine: false,
            polls: None,
            is_draining: AtomicBool::new(false),
            pushes: lanes::InProgress::default(),
        }
    }

    /// Checks every operation of a push before it is decided, also those that the application writes itself.
    ///
    /// If the function refuses an operation, the push is refused as a whole and changes nothing. Its answer is a bad
    /// request that names the operation and repeats the message. A partial push is decided without such operations.
    /// Clients repeat operations, so the function must answer the same for the same operation.
    #[must_use]
    pub fn with_validation(
        mut self,
        validate: impl Fn(Caller<'_>, &Operation) -> std::result::Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.hooks.validate_with(validate);
        self
    }

    /// Tells an observer what the service does; there may be several.
    #[must_use]
    pub fn with_observer(mut self, observer: impl Observer) -> Self {
        self.hooks.observe_with(Arc::new(observer));
        self.hub.observe_with(self.hooks.observers());
        self
    }

    /// Names the process among those that write into the same database, for [`SyncService::put`] and its siblings.
    ///
    /// Each process needs a name of its own that it keeps when it starts again. There should be few names, since the
    /// clock of a document has an entry for each process that wrote it.
    ///
    /// # Errors
    /// When the name is too long or has control characters.
    pub fn with_writer_name(self, name: &str) -> std::result::Result<Self, BadName> {
        Ok(Self { writer_id: ClientId::server_named(name)?, ..self })
    }

    /// Limits how much each tenant may keep.
    ///
    /// A push that would exceed the quota is refused as a whole. Deletes still work, unless the number of operation ids
    /// is exceeded. Writes of the application itself count, but are not refused.
    #[must_use]
    pub fn with_quota(self, quota: Quota) -> Self {
        Self { quota, ..self }
    }

    /// Limits how long tombstones and the remains of compacted entries are kept. Compactions remove them.
    ///
    /// All services over one database need the same retention. Nothing goes that a client may need that was seen
    /// lately. By default all is kept for ever, and silent clients are remembered for 90 days.
    #[must_use]
    pub fn with_retention(self, retention: Retention) -> Self {
        Self { retention, ..self }
    }

    /// Limits which documents each principal may see and change.
    ///
    /// All services over one database need the same rules. Principals with the role
    /// [`Service`](crate::core::access::Role::Service) and the application itself may see and change everything.
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// Says what becomes of operations whose authors had not seen the content of the documents.
    ///
    /// All services over one database need the same policies. They can be changed at any time.
    #[must_use]
    pub fn with_conflict_policies(self, policies: Policies) -> Self {
        Self { policies, ..self }
    }

    /// Resolves the conflicts of collections with the policy [`Custom`](crate::core::policy::ConflictPolicy::Custom).
    /// Without a resolver they are answered as conflicts.
    #[must_use]
    pub fn with_resolver(self, resolver: impl Resolver) -> Self {
        Self { resolver: Some(Arc::new(resolver)), ..self }
    }

    /// Says in the answers to pulls when it is worth pulling again, for clients that nothing wakes.
    ///
    /// This is for a process that does not live between requests, and so has no streams.
    #[must_use]
    pub fn with_poll_pauses(self) -> Self {
        Self { polls: Some(wakes::polls::Polls::default()), ..self }
    }

    /// How many seconds a client waits that has everything up to the end of its tenant's log. `None` if something wakes
    /// it.
    pub(crate) fn poll_after_seconds(&self, tenant: &TenantId, end: Position) -> Option<u64> {
        self.polls.as_ref().map(|polls| polls.after_seconds(tenant, end, self.now_ms()))
    }

    /// Listens to the changes of a tenant. `None` if too many tenants are listened to, or after
    /// [`SyncService::stop_wakes`].
    ///
    /// The changes of this service arrive at once, and those of other processes soon. A wake-up is a hint, which may
    /// come late or twice. So a caller listens first, then reads, and reads again after each wake-up. Then no change
    /// is missed:
    ///
    /// ```
    /// # use futures_util::StreamExt as _;
    /// # use syncflow_server::core::names::TenantId;
    /// # use syncflow_server::service::{ServiceError, SyncService};
    /// # async fn update_index(_: &SyncService) -> Result<(), ServiceError> { Ok(()) }
    /// async fn keep_up_to_date(service: &SyncService, tenant: &TenantId) -> Result<(), ServiceError> {
    ///     let Some(mut wakes) = service.wakes(tenant) else { return Ok(()) };
    ///     while wakes.next().await.is_some() {
    ///         update_index(service).await?;
    ///     }
    ///     Ok(())
    /// }
    /// ```
    #[must_use]
    pub fn wakes(&self, tenant: &TenantId) -> Option<Wakes> {
        self.hub.listen(tenant)
    }

    /// Ends everything that waits for changes: all [`Wakes`] end, and there are no new ones. Requests that wait are
    /// answered at once.
    ///
    /// A server calls this when it is told to stop.
    pub fn stop_wakes(&self) {
        self.hub.stop();
    }

    /// Says that this server is about to stop, so that load balancers choose another one. It still serves requests.
    pub fn drain(&self) {
        self.is_draining.store(true, Ordering::Relaxed);
    }

    /// Whether this server is about to stop.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.load(Ordering::Relaxed)
    }

    /// How many pushes wait for a commit, or for the end of theirs.
    #[must_use]
    pub fn pushes_in_progress(&self) -> usize {
        self.pushes.count()
    }

    /// How many listeners wait for changes: streams, pulls that wait, and those of the application.
    #[must_use]
    pub fn listeners(&self) -> usize {
        self.hub.listeners()
    }

    /// The store's name, as in the answer of `/health`.
    #[must_use]
    pub fn adapter(&self) -> &'static str {
        self.store.name()
    }

    /// The time by the clock of the host.
    pub(crate) fn now_ms(&self) -> UnixMs {
        self.host.now_ms()
    }

    /// 64 random bits of the host.
    pub(crate) fn random_bits(&self) -> u64 {
        self.host.random_bits()
    }

    /// Completes after a time.
    pub(crate) fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.host.sleep(duration)
    }

    /// Checks whether the store can be reached now.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn check(&self) -> Result<()> {
        self.store.check().await
    }

    /// A document that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        self.store.document(tenant, key).await
    }

    /// The same for a principal. A document that it may not see does not exist for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn document_as(&self, principal: &Principal, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        let view = self.rules.view(principal);
        let document = self.store.document(&principal.tenant, key).await?;
        Ok(document.filter(|document| view.permits(Right::Read, &key.collection, &document.data)))
    }

    /// A document with its vector clock, even if it is deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn document_state(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<Document>> {
        self.state_of(tenant, key, false).await
    }

    /// The same for a principal. A document or tombstone that it may not see does not exist for it.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn document_state_as(&self, principal: &Principal, key: &DocumentKey) -> Result<Option<Document>> {
        let view = self.rules.view(principal);
        let document = self.state_of(&principal.tenant, key, view.has_rules()).await?;
        Ok(document.filter(|document| match &document.data {
            Some(data) => view.permits(Right::Read, &key.collection, data),
            None => view.permits_tombstone(&key.collection, &document.former_labels),
        }))
    }

    async fn state_of(&self, tenant: &TenantId, key: &DocumentKey, with_labels: bool) -> Result<Option<Document>> {
        let request = LoadRequest { keys: vec![key.clone()], with_labels, ..LoadRequest::default() };
        Ok(self.store.load(tenant, request).await?.documents.remove(key))
    }

    /// A page of a collection's documents, newest first or sorted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        self.store.query(tenant, query).await
    }

    /// The same for a principal. Documents that it may not see are left out. For an admin that sees everything, the
    /// collection [`QUARANTINE`] has the operations of its tenant that are in quarantine.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn query_as(&self, principal: &Principal, query: Query) -> Result<QueryPage> {
        let view = self.rules.view(principal);
        if self.shows_quarantine(principal, &view, &query.collection) {
            return self.store.query(&principal.tenant.quarantine(), query).await;
        }
        self.store.query(&principal.tenant, Query { view, ..query }).await
    }

    /// The clients after `after` in the order of the bytes of their ids, at most `limit`, and how many operations each
    /// lacks. Clients of which only places are kept lack `None`.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clients(
        &self,
        tenant: &TenantId,
        after: Option<&ClientId>,
        limit: usize,
    ) -> Result<Vec<(ClientProgress, Option<u64>)>> {
        let found = self.store.clients(tenant, after, limit).await?;
        // The head is read later, so that no client seems to have more than there is.
        let head = self.store.heads(std::slice::from_ref(tenant)).await?.first().copied().unwrap_or_default();
        Ok(found
            .into_iter()
            .map(|client| (client.1.behind(head.seq), client))
            .map(|(lag, client)| (client, lag))
            .collect())
    }

    /// The statistics. Clients that were silent for [`CLIENT_ACTIVE_MS`] are left out.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn stats(&self, tenant: &TenantId) -> Result<Stats> {
        let now_ms = self.host.now_ms();
        self.store.stats(tenant, now_ms.minus_ms(CLIENT_ACTIVE_MS)..=now_ms.plus_ms(CLOCKS_APART_MAX_MS)).await
    }
}
