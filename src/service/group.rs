//! Groups of pushes that share a commit. Each tenant has a lane, in which one group after the other is committed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared, select};

use super::host::Host;
use super::push::PushResult;
use crate::core::decide;
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::limits::service::{
    GROUP_GATHERING_MAX_MS, GROUP_GATHERING_MAX_OPERATIONS, GROUP_MAX_BYTES, GROUP_MAX_OPERATIONS, LANES_KEPT_TENANTS,
};

/// The work of a group, with a result for each of its pushes.
pub(super) type GroupFuture = BoxFuture<'static, Arc<[PushResult]>>;

/// The lanes of all tenants with pushes, and of some that had pushes before.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<HashMap<TenantId, Arc<Lane>>>);

impl Lanes {
    pub(super) fn lane(&self, tenant: &TenantId) -> Arc<Lane> {
        let mut lanes = lock(&self.0);
        if let Some(lane) = lanes.get(tenant) {
            return Arc::clone(lane);
        }
        // A lane without pushes contains only its rhythm, which the next commits restore.
        if lanes.len() >= LANES_KEPT_TENANTS {
            lanes.retain(|_, lane| Arc::strong_count(lane) > 1);
        }
        let lane = Arc::new(Lane::default());
        lanes.insert(tenant.clone(), Arc::clone(&lane));
        lane
    }
}

/// The commits of one tenant, one after the other.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// Locked by the group that is being committed.
    pub(super) turn: async_lock::Mutex<Rhythm>,
    /// The group that the next push joins. It is gone when no request waits for it any more.
    waiting: Mutex<Option<WaitingGroup>>,
}

#[derive(Debug)]
struct WaitingGroup {
    // The future owns the members, so they are dropped with it when no request waits any more.
    members: Weak<Mutex<Members>>,
    future: WeakShared<GroupFuture>,
}

/// How long the next group of a tenant waits for more pushes, which depends on its last commit.
///
/// A client that has just received its answer often pushes again at once. Without a pause its push would miss the group
/// and wait for a whole commit. So a group whose turn has come waits until it has as many pushes as the last commit
/// had. It waits at most half the duration of that commit, counted from its end. This follows `commit_delay` of
/// PostgreSQL, whose manual recommends half the time of a flush ("WAL Configuration"). A lone client, a group that is
/// already large, and tenants with fast commits do not wait.
#[derive(Debug, Default)]
pub(super) struct Rhythm {
    /// The number of pushes when the last commit ended: in it, or waiting for the next one.
    pushes: usize,
    /// The time until which a group waits for as many pushes, in milliseconds since 1970.
    expected_until_ms: u64,
}

impl Rhythm {
    /// Records the end of a commit.
    pub(super) fn note(&mut self, pushes: usize, commit_began_at_ms: u64, now_ms: u64) {
        self.pushes = pushes;
        let pause_ms = (now_ms.saturating_sub(commit_began_at_ms) / 2).min(GROUP_GATHERING_MAX_MS);
        self.expected_until_ms = now_ms.saturating_add(pause_ms);
    }

    /// Waits for more pushes, for as long as that is worthwhile.
    pub(super) async fn gather(&self, host: &dyn Host, members: &Mutex<Members>) {
        // If the clock was set back, the pause must not become longer.
        let pause_ms = self.expected_until_ms.saturating_sub(host.now_ms()).min(GROUP_GATHERING_MAX_MS);
        if pause_ms == 0 {
            return;
        }
        let complete = lock(members).await_pushes(self.pushes);
        if let Some(complete) = complete {
            select(complete, host.sleep(Duration::from_millis(pause_ms))).await;
        }
    }
}

/// A push in a group.
#[derive(Debug)]
pub(super) struct MemberPush {
    pub(super) operations: Vec<Operation>,
    pub(super) conflicts_max_bytes: usize,
}

impl MemberPush {
    fn data_bytes(&self) -> usize {
        self.operations.iter().map(|operation| operation.data().map_or(0, |data| data.as_str().len())).sum()
    }

    pub(super) fn to_decide(&self) -> decide::Push<'_> {
        decide::Push { operations: &self.operations, conflicts_max_bytes: self.conflicts_max_bytes }
    }
}

/// The pushes of a group.
#[derive(Debug, Default)]
pub(super) struct Members {
    pushes: Vec<MemberPush>,
    operations: usize,
    bytes: usize,
    is_closed: bool,
    /// The group waits until it has this many pushes, or enough operations.
    awaited: Option<(usize, oneshot::Sender<()>)>,
}

impl Members {
    /// Adds a push, or gives it back if there is no room for it.
    fn join(&mut self, push: MemberPush) -> Result<usize, MemberPush> {
        let (operations, bytes) = (push.operations.len(), push.data_bytes());
        let has_room = self.pushes.is_empty()
            || (self.operations + operations <= GROUP_MAX_OPERATIONS && self.bytes + bytes <= GROUP_MAX_BYTES);
        if self.is_closed || !has_room {
            // The next push may be as large, so the wait ends.
            self.stop_waiting();
            return Err(push);
        }
        self.operations += operations;
        self.bytes += bytes;
        self.pushes.push(push);
        if self.is_large() || self.awaited.as_ref().is_some_and(|(count, _)| self.pushes.len() >= *count) {
            self.stop_waiting();
        }
        Ok(self.pushes.len() - 1)
    }

    fn stop_waiting(&mut self) {
        if let Some((_, complete)) = self.awaited.take() {
            // The receiver may have stopped waiting.
            let _ = complete.send(());
        }
    }

    /// Whether the commit of the group is so expensive that further pushes would save little.
    fn is_large(&self) -> bool {
        self.operations >= GROUP_GATHERING_MAX_OPERATIONS
    }

    /// Completes when the group has `count` pushes or enough operations. Returns `None` if it has them already.
    fn await_pushes(&mut self, count: usize) -> Option<oneshot::Receiver<()>> {
        let is_awaited = self.pushes.len() < count && !self.is_large();
        is_awaited.then(|| {
            let (sender, receiver) = oneshot::channel();
            self.awaited = Some((count, sender));
            receiver
        })
    }

    /// Closes the group and returns its pushes.
    pub(super) fn close(members: &Mutex<Self>) -> Vec<MemberPush> {
        let mut members = lock(members);
        members.is_closed = true;
        std::mem::take(&mut members.pushes)
    }
}

impl Lane {
    /// The number of pushes that wait for the next commit.
    pub(super) fn waiting_pushes(&self) -> usize {
        let waiting = lock(&self.waiting);
        let members = waiting.as_ref().and_then(|group| group.members.upgrade());
        members.map_or(0, |members| lock(&members).pushes.len())
    }

    /// Adds the push to the waiting group, or to a new group after it. Returns the group's work and the index of the
    /// push in it.
    pub(super) fn join(
        &self,
        push: MemberPush,
        work: impl FnOnce(Arc<Mutex<Members>>) -> GroupFuture,
    ) -> (Shared<GroupFuture>, usize) {
        let mut waiting = lock(&self.waiting);
        let group = waiting.as_ref().and_then(|group| Some((group.members.upgrade()?, group.future.upgrade()?)));
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
            awaited: None,
        }));
        let future = work(Arc::clone(&members)).shared();
        let members = Arc::downgrade(&members);
        *waiting = future.downgrade().map(|future| WaitingGroup { members, future });
        (future, 0)
    }
}

/// Locks a mutex. A panic never leaves its value half changed, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::core::clock::VectorClock;
    use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
    use crate::core::operation::Change;

    /// An operation that needs no data.
    pub(in crate::service) fn deletion(id: &str) -> Operation {
        Operation {
            id: OperationId::literal(id),
            change: Change::Delete,
            key: DocumentKey { collection: Collection::literal("todos"), id: DocumentId::literal(id) },
            timestamp: 1,
            client_id: ClientId::literal("a"),
            clock: VectorClock::default(),
        }
    }

    fn push(operations: usize) -> MemberPush {
        MemberPush { operations: vec![deletion("op"); operations], conflicts_max_bytes: 0 }
    }

    #[test]
    fn nobody_waits_for_more_than_make_a_group_large() {
        let mut members = Members::default();
        members.join(push(1)).expect("there is room");
        let mut complete = members.await_pushes(3).expect("two are missing");
        assert_eq!(complete.try_recv(), Ok(None));
        members.join(push(GROUP_GATHERING_MAX_OPERATIONS)).expect("there is room");
        assert_eq!(complete.try_recv(), Ok(Some(())));
        assert!(members.await_pushes(3).is_none());
    }

    #[test]
    fn nobody_waits_for_a_push_that_has_no_room() {
        let mut members = Members::default();
        members.join(push(1)).expect("there is room");
        let mut complete = members.await_pushes(2).expect("one is missing");
        members.join(push(GROUP_MAX_OPERATIONS)).expect_err("there is none");
        assert_eq!(complete.try_recv(), Ok(Some(())));
    }

    #[test]
    fn lanes_that_nobody_uses_are_few() {
        let lanes = Lanes::default();
        let used = lanes.lane(&TenantId::literal("used"));
        for number in 0..2 * LANES_KEPT_TENANTS {
            lanes.lane(&TenantId::literal(&number.to_string()));
        }
        assert!(lock(&lanes.0).len() <= LANES_KEPT_TENANTS + 1);
        assert!(Arc::ptr_eq(&used, &lanes.lane(&TenantId::literal("used"))));
    }
}
