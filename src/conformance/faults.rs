//! A store that fails in the ways of a real database, on demand.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_lock::MutexGuardArc;
use async_trait::async_trait;
use futures_util::future::{BoxFuture, FutureExt as _};

use crate::core::decide::Batch;
use crate::core::names::{ClientId, OperationId, Subject, TenantId};
use crate::core::progress::Progress;
use crate::store::{
    Commit, CompactStep, Compaction, ErrorKind, NewMemory, Remember, Result, Store, StoreError, delegate_store,
};

/// The fate of a commit.
#[derive(Debug, Clone, Copy)]
pub enum Fault {
    /// It fails, and nothing is written.
    Fails(ErrorKind),
    /// It is written, and then its answer is lost.
    AnswerLost(ErrorKind),
    /// The store reports that another process was faster.
    Contended,
}

/// A store that wraps another one and fails on demand.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Mutex<VecDeque<Fault>>,
    poison: Mutex<Option<OperationId>>,
    meanwhile: Mutex<VecDeque<BoxFuture<'static, ()>>>,
    gate: Mutex<Option<(TenantId, Arc<async_lock::Mutex<()>>)>>,
    commits: AtomicU32,
    is_read_only: AtomicBool,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("FaultyStore").field("inner", &self.inner).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FaultyStore {
    /// Wraps a store. Without further calls, it behaves like that store.
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            faults: Mutex::default(),
            poison: Mutex::default(),
            meanwhile: Mutex::default(),
            gate: Mutex::default(),
            commits: AtomicU32::new(0),
            is_read_only: AtomicBool::new(false),
        })
    }

    /// Gives each of the next commits one of these faults.
    pub fn inject(&self, faults: impl IntoIterator<Item = Fault>) {
        lock(&self.faults).extend(faults);
    }

    /// Refuses every commit with this operation permanently.
    pub fn poison(&self, id: &str) {
        *lock(&self.poison) = Some(OperationId::literal(id));
    }

    /// Runs `work` before the next commit, `remember` or step of a compaction: before the write, but after the reads on
    /// which it is based.
    pub fn meanwhile(&self, work: impl Future<Output = ()> + Send + 'static) {
        lock(&self.meanwhile).push_back(work.boxed());
    }

    /// Makes commits of this tenant wait until the guard is dropped.
    pub async fn hold(&self, tenant: &TenantId) -> MutexGuardArc<()> {
        let gate = Arc::new(async_lock::Mutex::new(()));
        *lock(&self.gate) = Some((tenant.clone(), Arc::clone(&gate)));
        gate.lock_arc().await
    }

    /// From now on nothing about clients can be written, as on a full disk.
    pub fn become_read_only(&self) {
        self.is_read_only.store(true, Ordering::SeqCst);
    }

    fn fail_if_read_only(&self, operation: &'static str) -> Result<()> {
        if self.is_read_only.load(Ordering::SeqCst) {
            return Err(StoreError::new("faulty", operation, ErrorKind::Unavailable, "read-only"));
        }
        Ok(())
    }

    /// The number of attempted commits.
    #[must_use]
    pub fn commits(&self) -> u32 {
        self.commits.load(Ordering::SeqCst)
    }

    fn error(kind: ErrorKind) -> StoreError {
        StoreError::new("faulty", "commit", kind, "injected")
    }

    async fn let_others_in(&self) {
        let work = lock(&self.meanwhile).pop_front();
        if let Some(work) = work {
            work.await;
        }
    }

    async fn wait_at_the_gate(&self, tenant: &TenantId) {
        let gate = lock(&self.gate).as_ref().filter(|(held, _)| held == tenant).map(|(_, gate)| Arc::clone(gate));
        if let Some(gate) = gate {
            gate.lock().await;
        }
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        self.wait_at_the_gate(tenant).await;
        self.let_others_in().await;
        let poison = lock(&self.poison).clone();
        if batch.operations.iter().any(|entry| Some(&entry.id) == poison.as_ref()) {
            return Err(Self::error(ErrorKind::Failed));
        }
        let fault = lock(&self.faults).pop_front();
        match fault {
            None => self.inner.commit(tenant, batch).await,
            Some(Fault::Fails(kind)) => Err(Self::error(kind)),
            Some(Fault::Contended) => Ok(Commit::Contended),
            Some(Fault::AnswerLost(kind)) => {
                assert_eq!(self.inner.commit(tenant, batch).await?, Commit::Done);
                Err(Self::error(kind))
            }
        }
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        self.fail_if_read_only("note_pulled")?;
        self.inner.note_pulled(tenant, client, progress).await
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        self.let_others_in().await;
        self.fail_if_read_only("remember")?;
        self.inner.remember(tenant, client, memory).await
    }

    async fn claim(&self, tenant: &TenantId, client: &ClientId, subject: &Subject) -> Result<()> {
        self.fail_if_read_only("claim")?;
        self.inner.claim(tenant, client, subject).await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        self.let_others_in().await;
        self.inner.compact(tenant, step).await
    }

    delegate_store!(|this| &*this.inner; name, load, changes, changes_by_time, client, document, query);
    delegate_store!(|this| &*this.inner; stats, survey, clients, count_clients, tenants, heads, watch, announce);
    delegate_store!(|this| &*this.inner; audit, operation_ids, client_rows, learn, scrub, erase_tenant, check);
    delegate_store!(|this| &*this.inner; aged_place, expire, count_expired);
}
