//! Push: load, decide, commit. Pushes that wait at the same time share one commit.
//!
//! This is group commit as in many databases. While a commit of a tenant is in progress, new pushes join the next
//! group. When its turn comes, the group is closed and decided as one batch, with a separate answer for each push. The
//! work of a group is one future that all its members poll. So if a client hangs up or a request times out, the other
//! members continue, and no task is spawned.

use std::sync::Arc;

use futures_util::FutureExt as _;

use super::group::{MemberPush, Members};
use super::host::{Done, Host, backoff};
use super::{ServiceError, SyncService};
use crate::core::decide::{self, Answer, decide, ids_of, keys_of};
use crate::core::names::TenantId;
use crate::core::operation::Operation;
use crate::limits::protocol::PUSH_CONFLICTS_MAX_BYTES;
use crate::limits::service::{PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, PUSH_MAX_ATTEMPTS};
use crate::store::{Commit, ErrorKind, LoadRequest, Store};

/// The outcomes of a push, or the reason why it is refused as a whole; see [`Answer`].
pub type Pushed = Answer;

pub(super) type PushResult = Result<Pushed, ServiceError>;

impl SyncService {
    /// Pushes operations. When this returns, either all accepted operations are durable, or nothing has changed.
    ///
    /// # Errors
    /// If the store fails, or if other requests changed the same documents repeatedly. An error of the store may have
    /// come after the commit; it is safe to push the same operations again.
    pub async fn push(&self, tenant: &TenantId, operations: Vec<Operation>) -> PushResult {
        self.push_within(tenant, operations, PUSH_CONFLICTS_MAX_BYTES).await
    }

    /// The same with a limit for the documents of the conflicts together, in bytes. A push whose answer would be larger
    /// is refused and changes nothing.
    ///
    /// # Errors
    /// As for [`SyncService::push`].
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
                let mut rhythm = lane.turn.lock().await;
                rhythm.gather(&*host, &members).await;
                let pushes = Members::close(&members);
                let began_at_ms = host.now_ms();
                let answers = commit_group(&*store, &*host, &tenant, &pushes).await;
                rhythm.note(pushes.len() + lane.waiting_pushes(), began_at_ms, host.now_ms());
                answers
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

/// Decides and commits a group. If the store permanently refuses it, each push is committed alone, so that only a
/// faulty one fails.
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

/// Load, decide, commit. All of it is repeated while other processes commit first.
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
    use std::time::Duration;

    use futures_util::future::{BoxFuture, pending, ready};

    use super::*;
    use crate::service::group::tests::deletion;
    use crate::store::memory::MemoryStore;

    /// A host whose clock advances by the same step each time it is read.
    #[derive(Debug, Default)]
    struct SteppingHost {
        now_ms: AtomicU64,
        step_ms: AtomicU64,
        never_wakes: bool,
        sleeps: AtomicU32,
    }

    impl Host for SteppingHost {
        fn now_ms(&self) -> u64 {
            let step_ms = self.step_ms.load(Ordering::Relaxed);
            self.now_ms.fetch_add(step_ms, Ordering::Relaxed) + step_ms
        }

        fn random_bits(&self) -> u64 {
            0
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            self.sleeps.fetch_add(1, Ordering::Relaxed);
            if self.never_wakes { pending().boxed() } else { ready(()).boxed() }
        }
    }

    impl SteppingHost {
        fn that_wakes() -> Arc<Self> {
            Arc::default()
        }

        fn that_never_wakes() -> Arc<Self> {
            Arc::new(Self { never_wakes: true, ..Self::default() })
        }

        fn sleeps(&self) -> u32 {
            self.sleeps.load(Ordering::Relaxed)
        }
    }

    fn service(host: &Arc<SteppingHost>) -> SyncService {
        SyncService::new(Arc::new(MemoryStore::new()), Arc::clone(host) as Arc<dyn Host>)
    }

    fn begin<'s>(service: &'s SyncService, tenant: &'s TenantId, id: &str) -> BoxFuture<'s, PushResult> {
        service.push(tenant, vec![deletion(id)]).boxed()
    }

    fn is_answered(push: &mut BoxFuture<'_, PushResult>) -> bool {
        push.now_or_never().is_some_and(|pushed| pushed.is_ok())
    }

    /// Makes pushes share a commit that takes long. Afterwards the clock stands still.
    fn push_together<const N: usize>(host: &SteppingHost, service: &SyncService, tenant: &TenantId, ids: [&str; N]) {
        host.step_ms.store(10, Ordering::Relaxed);
        let lane = service.lanes.lane(tenant);
        let turn = lane.turn.try_lock();
        let mut pushes = ids.map(|id| begin(service, tenant, id));
        assert!(pushes.iter_mut().all(|push| !is_answered(push)), "they wait for their turn");
        drop(turn);
        assert!(pushes.iter_mut().all(is_answered));
        host.step_ms.store(0, Ordering::Relaxed);
    }

    #[test]
    fn a_group_waits_until_as_many_have_come_as_were_there_before() {
        let host = SteppingHost::that_never_wakes();
        let (service, tenant) = (service(&host), TenantId::literal("default"));
        push_together(&host, &service, &tenant, ["op-1", "op-2"]);
        let mut third = begin(&service, &tenant, "op-3");
        assert!(!is_answered(&mut third));
        let mut fourth = begin(&service, &tenant, "op-4");
        assert!(is_answered(&mut fourth) && is_answered(&mut third));
        assert_eq!(host.sleeps(), 1);
    }

    #[test]
    fn who_pushes_alone_waits_for_nobody() {
        let host = SteppingHost::that_never_wakes();
        let (service, tenant) = (service(&host), TenantId::literal("default"));
        for id in ["op-1", "op-2", "op-3"] {
            push_together(&host, &service, &tenant, [id]);
        }
        assert_eq!(host.sleeps(), 0);
    }

    #[test]
    fn a_group_that_waited_for_nobody_is_smaller_the_next_time() {
        let host = SteppingHost::that_wakes();
        let (service, tenant) = (service(&host), TenantId::literal("default"));
        push_together(&host, &service, &tenant, ["op-1", "op-2"]);
        for id in ["op-3", "op-4", "op-5"] {
            assert!(is_answered(&mut begin(&service, &tenant, id)));
        }
        assert_eq!(host.sleeps(), 1, "only the first of them expects another one");
    }

    #[test]
    fn nobody_is_expected_long_after_a_commit() {
        let host = SteppingHost::that_never_wakes();
        let (service, tenant) = (service(&host), TenantId::literal("default"));
        push_together(&host, &service, &tenant, ["op-1", "op-2"]);
        host.step_ms.store(10, Ordering::Relaxed);
        assert!(is_answered(&mut begin(&service, &tenant, "op-3")));
    }

    #[test]
    fn a_push_that_leaves_a_group_that_gathers_takes_nobody_with_it() {
        let host = SteppingHost::that_never_wakes();
        let (service, tenant) = (service(&host), TenantId::literal("default"));
        push_together(&host, &service, &tenant, ["op-1", "op-2", "op-3"]);
        let mut leaving = begin(&service, &tenant, "op-4");
        let mut staying = begin(&service, &tenant, "op-5");
        assert!(!is_answered(&mut leaving) && !is_answered(&mut staying));
        drop(leaving);
        assert!(!is_answered(&mut staying), "two are not three");
        assert!(is_answered(&mut begin(&service, &tenant, "op-6")) && is_answered(&mut staying));
    }

    #[test]
    fn what_everybody_has_left_is_gone_and_has_no_turn() {
        let host = SteppingHost::that_never_wakes();
        let (service, tenant) = (service(&host), TenantId::literal("default"));
        push_together(&host, &service, &tenant, ["op-1", "op-2"]);
        let mut gathering = begin(&service, &tenant, "op-3");
        assert!(!is_answered(&mut gathering));
        let lane = service.lanes.lane(&tenant);
        assert_eq!((lane.waiting_pushes(), lane.turn.try_lock().is_some()), (1, false));
        drop(gathering);
        assert_eq!((lane.waiting_pushes(), lane.turn.try_lock().is_some()), (0, true));
    }
}
