//! The model store with a planted bug, which the simulation must find.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::decide::{Batch, Snapshot, pushed_id};
use syncflow_server::core::document::{Document, LiveDocument};
use syncflow_server::core::names::{ClientId, DocumentKey, OperationId, TenantId};
use syncflow_server::core::operation::OperationKind;
use syncflow_server::core::page::{LogPage, TimePage};
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::store::{
    Changes, ChangesRequest, Commit, ErrorKind, LoadRequest, NewMemory, Query, QueryPage, Remember, Result, Store,
    StoreError, TimeRequest, delegate_store,
};

use super::settled::{Pushed, SettledBug};

/// A planted bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bug {
    /// A document is written even if its revision has changed since the decision.
    NoRevisionGuard,
    /// An id that took effect is not known, so it can take effect again.
    IdsForgotten,
    /// Some pages lack an operation that becomes visible later.
    Hole,
    /// A commit is answered before it is done. If the server dies in between, it is lost.
    AnswerBeforeCommit,
    /// A push may be committed in part.
    TornPush,
    /// A client that is receiving documents is sent to the log before it has received them all.
    StateLeftEarly,
    /// A client that is receiving documents receives no tombstones.
    TombstonesNotShown,
    /// The places of a client of the original protocol are not remembered.
    PlacesForgotten,
    /// A resolution does not have what the rule makes of its operation.
    Settled(SettledBug),
}

impl Bug {
    pub(super) const ALL: [Self; 14] = [
        Self::NoRevisionGuard,
        Self::IdsForgotten,
        Self::Hole,
        Self::AnswerBeforeCommit,
        Self::TornPush,
        Self::StateLeftEarly,
        Self::TombstonesNotShown,
        Self::PlacesForgotten,
        Self::Settled(SettledBug::ClockOfOperation),
        Self::Settled(SettledBug::ClockOfDocument),
        Self::Settled(SettledBug::Update),
        Self::Settled(SettledBug::NothingIfLost),
        Self::Settled(SettledBug::BumpPerDocument),
        Self::Settled(SettledBug::StampWithoutCausality),
    ];
}

/// The mark by which this store tells a second effect of an operation from the first.
const AGAIN: char = '~';

/// The store as one server sees it.
#[derive(Debug)]
pub(super) struct PlantedStore {
    inner: Arc<MemoryStore>,
    bug: Bug,
    calls: AtomicU32,
    to_commit: Mutex<Vec<(TenantId, Batch)>>,
    pushed: Arc<Pushed>,
}

impl PlantedStore {
    pub(super) fn new(inner: Arc<MemoryStore>, bug: Bug, pushed: Arc<Pushed>) -> Self {
        Self { inner, bug, calls: AtomicU32::new(0), to_commit: Mutex::default(), pushed }
    }

    /// Whether the bug takes effect at this call, for bugs that do so only from time to time.
    fn is_bad_turn(&self) -> bool {
        self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1
    }

    /// Carries out the commits that were answered before they were done.
    async fn catch_up(&self) {
        let late = std::mem::take(&mut *self.to_commit.lock().unwrap_or_else(PoisonError::into_inner));
        for (tenant, batch) in late {
            let _ = self.inner.commit(&tenant, batch).await;
        }
    }

    async fn commit_over_anything(&self, tenant: &TenantId, mut batch: Batch) -> Result<Commit> {
        let keys = batch.documents.iter().map(|write| write.key.clone()).collect();
        let now = self.inner.load(tenant, LoadRequest { ids: Vec::new(), keys, ..LoadRequest::default() }).await?;
        for write in &mut batch.documents {
            write.seen_rev = now.documents.get(&write.key).map(|document| document.rev);
        }
        self.inner.commit(tenant, batch).await
    }

    async fn commit_again(&self, tenant: &TenantId, mut batch: Batch) -> Result<Commit> {
        loop {
            let ids = batch.operations.iter().map(|operation| operation.id.clone()).collect();
            let known =
                self.inner.load(tenant, LoadRequest { ids, keys: Vec::new(), ..LoadRequest::default() }).await?.known;
            if known.is_empty() {
                return self.inner.commit(tenant, batch).await;
            }
            for operation in batch.operations.iter_mut().filter(|operation| known.contains(&operation.id)) {
                operation.id = OperationId::literal(&format!("{}{AGAIN}", operation.id));
            }
        }
    }

    async fn commit_a_part(&self, tenant: &TenantId, mut batch: Batch) -> Result<Commit> {
        let is_divisible = batch.operations.len() > 1 && batch.documents.len() == batch.operations.len();
        if !is_divisible || !self.is_bad_turn() {
            return self.inner.commit(tenant, batch).await;
        }
        batch.operations.truncate(1);
        batch.documents.retain(|write| write.operation_index == 0);
        match self.inner.commit(tenant, batch).await? {
            Commit::Done => Err(StoreError::new(self.name(), "commit", ErrorKind::Unavailable, "in the middle of it")),
            Commit::Contended => Ok(Commit::Contended),
        }
    }

    fn spoil(&self, cursor: Option<Cursor>, mut page: LogPage) -> LogPage {
        let is_of_documents = matches!(page.next, Cursor::State { .. }) || is_of_documents(cursor, &page);
        match (self.bug, page.next) {
            (Bug::IdsForgotten, _) => {
                for entry in &mut page.entries {
                    entry.id = OperationId::literal(entry.id.as_str().trim_end_matches(AGAIN));
                }
            }
            (Bug::Hole, _) if page.entries.len() > 1 && self.is_bad_turn() => {
                page.entries.remove(0);
            }
            (Bug::StateLeftEarly, Cursor::State { after, .. }) => page.next = Cursor::Log(after),
            (Bug::TombstonesNotShown, _) if is_of_documents => {
                page.entries.retain(|entry| entry.kind() != OperationKind::Delete);
            }
            _ => {}
        }
        page
    }
}

/// Whether a page probably has documents and not the log.
fn is_of_documents(cursor: Option<Cursor>, page: &LogPage) -> bool {
    match cursor {
        None | Some(Cursor::State { .. }) => true,
        Some(Cursor::Log(from)) => page.next.position().seq.entries_since(from.seq) != page.entries.len() as u64,
    }
}

#[async_trait]
impl Store for PlantedStore {
    fn name(&self) -> &'static str {
        "planted"
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        self.catch_up().await;
        let ids = request.ids.clone();
        let mut snapshot = self.inner.load(tenant, request).await?;
        if self.bug == Bug::IdsForgotten {
            snapshot.known.clear();
            // A decision also knows an operation by the document that it wrote last.
            let is_asked =
                |document: &&mut Document| ids.iter().any(|id| id.as_str() == pushed_id(&document.operation_id));
            for document in snapshot.documents.values_mut().filter(is_asked) {
                document.operation_id = OperationId::literal(&format!("{}{AGAIN}", document.operation_id));
            }
        }
        Ok(snapshot)
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        match self.bug {
            Bug::NoRevisionGuard => self.commit_over_anything(tenant, batch).await,
            Bug::IdsForgotten => self.commit_again(tenant, batch).await,
            Bug::TornPush => self.commit_a_part(tenant, batch).await,
            Bug::AnswerBeforeCommit => {
                self.to_commit.lock().unwrap_or_else(PoisonError::into_inner).push((tenant.clone(), batch));
                Ok(Commit::Done)
            }
            Bug::Settled(bug) => match bug.spoil(&*self.inner, &self.pushed, tenant, batch).await? {
                Some(batch) => self.inner.commit(tenant, batch).await,
                None => Ok(Commit::Done),
            },
            _ => self.inner.commit(tenant, batch).await,
        }
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        self.catch_up().await;
        let cursor = request.cursor;
        Ok(match self.inner.changes(tenant, request).await? {
            Changes::Page { page, noted, owner } => Changes::Page { page: self.spoil(cursor, page), noted, owner },
            Changes::Reset => Changes::Reset,
        })
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        self.catch_up().await;
        let mut page = self.inner.changes_by_time(tenant, request).await?;
        for entry in &mut page.entries {
            entry.id = OperationId::literal(entry.id.as_str().trim_end_matches(AGAIN));
        }
        Ok(page)
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        match self.bug {
            Bug::PlacesForgotten => Ok(Remember::Done),
            _ => self.inner.remember(tenant, client, memory).await,
        }
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        self.catch_up().await;
        self.inner.document(tenant, key).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        self.catch_up().await;
        self.inner.query(tenant, query).await
    }

    delegate_store!(|this| &*this.inner; note_pulled, client, claim, stats, clients, count_clients, compact, tenants);
    delegate_store!(|this| &*this.inner; audit, operation_ids, client_rows, learn, scrub, erase_tenant);
    delegate_store!(|this| &*this.inner; heads, survey, watch, announce, check, aged_place, expire, count_expired);
}
