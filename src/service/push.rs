//! Push: load, decide, commit, with pushes that wait at the same time sharing one commit.
//!
//! Group commit after the usual fashion of databases: while one commit of a tenant is under way, the pushes that come
//! in gather in the next group; when its turn comes, the group is closed and decided as one batch, each push with its
//! own answer. The group's work is one future that all its members poll, so a member that goes away (a client that
//! hung up, a request that timed out) takes nobody with it, and no task is spawned.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};

use super::host::{Done, Host, backoff};
use super::{ServiceError, SyncService};
use crate::core::decide::{self, Answer, decide, ids_of, keys_of};
use crate::core::limits::{
    GROUP_MAX_BYTES, GROUP_MAX_OPERATIONS, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, PUSH_CONFLICTS_MAX_BYTES,
    PUSH_MAX_ATTEMPTS,
};
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::store::{Commit, ErrorKind, LoadRequest, Store};

/// The outcomes of a push, or why it is refused as a whole; see [`Answer`].
pub type Pushed = Answer;

type PushResult = Result<Pushed, ServiceError>;
type GroupFuture = BoxFuture<'static, Arc<[PushResult]>>;

impl SyncService {
    /// Pushes operations: all that is accepted is durable when this answers, or nothing has changed.
    ///
    /// # Errors
    /// When the store fails, or others changed the same documents again and again. An error of the store may have come
    /// after the commit; pushing the same operations again is safe.
    pub async fn push(&self, tenant: &TenantId, operations: Vec<Operation>) -> PushResult {
        self.push_within(tenant, operations, PUSH_CONFLICTS_MAX_BYTES).await
    }

    /// The same where the documents of the conflicts may have at most so many bytes: a push that would answer more is
    /// refused and changes nothing.
    ///
    /// # Errors
    /// Those of [`SyncService::push`].
    pub async fn push_within(
        &self,
        tenant: &TenantId,
        operations: Vec<Operation>,
        conflicts_max_bytes: usize,
    ) -> PushResult {
        if operations.is_empty() {
            return Ok(Ok(Vec::new()));
        }
        let lane = self.lanes.lane(tenant);
        let push = MemberPush { operations, conflicts_max_bytes };
        let (group, index) = lane.join(push, |members| {
            let (lane, tenant) = (Arc::clone(&lane), tenant.clone());
            let (store, host) = (Arc::clone(&self.store), Arc::clone(&self.host));
            async move {
                let _turn = lane.turn.lock().await;
                let pushes = Members::close(&members);
                commit_group(&*store, &*host, &tenant, &pushes).await
            }
            .boxed()
        });
        let pushed = group.await[index].clone();
        if let Ok(Ok(outcomes)) = &pushed {
            self.host.note(&Done::Pushed(outcomes));
        }
        pushed
    }
}

/// The lanes of the tenants that are being pushed to.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<TenantId, Weak<Lane>>>);

impl Lanes {
    fn lane(&self, tenant: &TenantId) -> Arc<Lane> {
        let mut lanes = lock(&self.0);
        if let Some(lane) = lanes.get(tenant).and_then(Weak::upgrade) {
            return lane;
        }
        lanes.retain(|_, lane| lane.strong_count() > 0);
        let lane = Arc::new(Lane::default());
        lanes.insert(tenant.clone(), Arc::downgrade(&lane));
        lane
    }
}

/// One tenant's commits, one after the other.
#[derive(Debug, Default)]
struct Lane {
    /// Held by the group whose commit is under way.
    turn: async_lock::Mutex<()>,
    /// The group that the next push joins; gone when nobody waits for it any more.
    waiting: Mutex<Option<WaitingGroup>>,
}

#[derive(Debug)]
struct WaitingGroup {
    members: Arc<Mutex<Members>>,
    future: WeakShared<GroupFuture>,
}

/// A push in a group.
#[derive(Debug)]
struct MemberPush {
    operations: Vec<Operation>,
    conflicts_max_bytes: usize,
}

impl MemberPush {
    fn data_bytes(&self) -> usize {
        self.operations.iter().map(|operation| operation.data.as_ref().map_or(0, |data| data.as_str().len())).sum()
    }

    fn to_decide(&self) -> decide::Push<'_> {
        decide::Push { operations: &self.operations, conflicts_max_bytes: self.conflicts_max_bytes }
    }
}

/// The pushes of a group.
#[derive(Debug, Default)]
struct Members {
    pushes: Vec<MemberPush>,
    operations: usize,
    bytes: usize,
    is_closed: bool,
}

impl Members {
    /// Takes a push in, or gives it back where it has no room.
    fn join(&mut self, push: MemberPush) -> Result<usize, MemberPush> {
        let (operations, bytes) = (push.operations.len(), push.data_bytes());
        let has_room = self.pushes.is_empty()
            || (self.operations + operations <= GROUP_MAX_OPERATIONS && self.bytes + bytes <= GROUP_MAX_BYTES);
        if self.is_closed || !has_room {
            return Err(push);
        }
        self.operations += operations;
        self.bytes += bytes;
        self.pushes.push(push);
        Ok(self.pushes.len() - 1)
    }

    /// Lets nobody in any more and hands out the pushes.
    fn close(members: &Mutex<Self>) -> Vec<MemberPush> {
        let mut members = lock(members);
        members.is_closed = true;
        std::mem::take(&mut members.pushes)
    }
}

impl Lane {
    /// Joins the waiting group, or opens a new one behind it; answers the group's work and the push's index in it.
    fn join(
        &self,
        push: MemberPush,
        work: impl FnOnce(Arc<Mutex<Members>>) -> GroupFuture,
    ) -> (Shared<GroupFuture>, usize) {
        let mut waiting = lock(&self.waiting);
        let group = waiting.as_ref().and_then(|group| Some((Arc::clone(&group.members), group.future.upgrade()?)));
        let push = match group {
            None => push,
            Some((members, future)) => match lock(&members).join(push) {
                Ok(index) => return (future, index),
                Err(push) => push,
            },
        };
        let members = Arc::new(Mutex::new(Members {
            operations: push.operations.len(),
            bytes: push.data_bytes(),
            pushes: vec![push],
            is_closed: false,
        }));
        let future = work(Arc::clone(&members)).shared();
        *waiting = future.downgrade().map(|future| WaitingGroup { members, future });
        (future, 0)
    }
}

/// Locks a mutex whose holders leave nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides and commits a group; where the store refuses it for good, each push alone, so that one does not take its
/// neighbours down.
async fn commit_group(
    store: &dyn Store,
    host: &dyn Host,
    tenant: &TenantId,
    pushes: &[MemberPush],
) -> Arc<[PushResult]> {
    let pushes: Vec<decide::Push<'_>> = pushes.iter().map(MemberPush::to_decide).collect();
    match commit_together(store, host, tenant, &pushes).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(ServiceError::Store(error)) if error.kind() == ErrorKind::Failed && pushes.len() > 1 => {
            let mut results = Vec::with_capacity(pushes.len());
            for push in pushes {
                let alone = commit_together(store, host, tenant, &[push]).await;
                results.push(alone.map(|mut answers| answers.remove(0)));
            }
            results.into()
        }
        Err(error) => pushes.iter().map(|_| Err(error.clone())).collect(),
    }
}

/// Load, decide, commit; again from the start while others are faster.
async fn commit_together(
    store: &dyn Store,
    host: &dyn Host,
    tenant: &TenantId,
    pushes: &[decide::Push<'_>],
) -> Result<Vec<Answer>, ServiceError> {
    let request = LoadRequest { ids: ids_of(pushes), keys: keys_of(pushes) };
    for attempt in 0..PUSH_MAX_ATTEMPTS {
        if attempt > 0 {
            let pause = backoff(attempt - 1, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, host.random_bits());
            host.sleep(pause).await;
        }
        let snapshot = store.load(tenant, request.clone()).await?;
        let (answers, batch) = decide(pushes, snapshot, host.now_ms());
        if batch.is_empty() {
            return Ok(answers);
        }
        match store.commit(tenant, batch).await? {
            Commit::Done => return Ok(answers),
            Commit::Contended => {
                tracing::debug!(store.name = store.name(), push.attempt = attempt, "push contended");
            }
        }
    }
    Err(ServiceError::Contended { attempts: PUSH_MAX_ATTEMPTS })
}
