//! Group commit: items that wait at the same time share one run of the work.
//!
//! While one group is worked on, the items that arrive gather in the next group. When its turn comes, the group is
//! closed and the work runs once for all its items. The work of a group is one future that all callers of the group
//! poll, and no task is spawned. If a caller goes away, because its client hung up or its time was over, the others
//! continue. If all of them go away, the work ends.

use std::fmt::{self, Debug};
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_channel::oneshot;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared, select};

use super::host::Host;
use crate::core::numbers::UnixMs;
use crate::limits::service::GROUP_GATHERING_MAX_MS;

/// Something that waits in a group.
pub(super) trait Item: Send + 'static {
    /// How much the items of a group are together.
    type Total: Copy + Default + Debug + Send;

    /// The total with this item.
    fn add_to(&self, total: Self::Total) -> Self::Total;

    /// Whether this is more than a group of several items may have.
    fn is_too_much(total: Self::Total) -> bool;

    /// Whether this is so much that further items would hardly make a group cheaper.
    fn is_large(total: Self::Total) -> bool;
}

/// Groups of items `P`, worked on one after the other, with a result `R` for each item.
pub(super) struct GroupCommit<P: Item, R> {
    host: Arc<dyn Host>,
    /// Held by the group that is worked on.
    turn: async_lock::Mutex<Rhythm>,
    /// The group that the next item joins, if a caller still waits for it.
    waiting: Mutex<Option<WaitingGroup<P, R>>>,
}

/// The results of a group in the order of its items, or nothing if the work panicked.
type GroupFuture<R> = BoxFuture<'static, Option<Arc<[R]>>>;

struct WaitingGroup<P: Item, R> {
    // The future owns the group, so the group goes with it when the last caller leaves.
    group: Weak<Mutex<Group<P>>>,
    future: WeakShared<GroupFuture<R>>,
}

impl<P: Item, R: Clone + Send + Sync + 'static> GroupCommit<P, R> {
    pub(super) fn new(host: Arc<dyn Host>) -> Self {
        Self { host, turn: async_lock::Mutex::default(), waiting: Mutex::new(None) }
    }

    /// Works on an item together with those that wait at the same time, and answers the item's own result.
    ///
    /// The first caller of a group brings its work, which answers a result for each item in their order. So the work
    /// must be the same for every caller.
    ///
    /// # Panics
    /// If the work panics; the groups behind it continue.
    pub(super) async fn submit<W>(self: Arc<Self>, item: P, run: impl FnOnce(Vec<P>) -> W + Send + 'static) -> R
    where
        W: Future<Output = Vec<R>> + Send + 'static,
    {
        let (future, index) = self.join(item, run);
        let results = future.await.expect("the work of a group does not panic");
        results[index].clone()
    }

    /// Joins the waiting group, or opens a new one behind it; answers the group's work and the item's index in it.
    fn join<W>(
        self: Arc<Self>,
        item: P,
        run: impl FnOnce(Vec<P>) -> W + Send + 'static,
    ) -> (Shared<GroupFuture<R>>, usize)
    where
        W: Future<Output = Vec<R>> + Send + 'static,
    {
        let mut waiting = lock(&self.waiting);
        let open = waiting.as_ref().and_then(|open| Some((open.group.upgrade()?, open.future.upgrade()?)));
        let item = match open {
            None => item,
            Some((group, future)) => match lock(&group).join(item) {
                Ok(index) => return (future, index),
                Err(item) => item,
            },
        };
        let group = Arc::new(Mutex::new(Group::of(item)));
        let future = Arc::clone(&self).work(Arc::clone(&group), run).boxed().shared();
        *waiting = future.downgrade().map(|future| WaitingGroup { group: Arc::downgrade(&group), future });
        (future, 0)
    }

    /// Waits for the turn of a group, closes it, and works on its items.
    async fn work<W>(self: Arc<Self>, group: Arc<Mutex<Group<P>>>, run: impl FnOnce(Vec<P>) -> W) -> Option<Arc<[R]>>
    where
        W: Future<Output = Vec<R>>,
    {
        let mut rhythm = self.turn.lock().await;
        rhythm.gather(&*self.host, &group).await;
        let items = lock(&group).close();
        let count = items.len();
        let began_at_ms = self.host.now_ms();
        // A panic reaches every caller: a shared future that panics would leave the others waiting for ever.
        let results = AssertUnwindSafe(async { run(items).await }).catch_unwind().await;
        rhythm.record_end(count + self.waiting_items(), began_at_ms, self.host.now_ms());
        results.ok().map(Arc::from)
    }
}

impl<P: Item, R> GroupCommit<P, R> {
    /// How many items wait for the next turn.
    fn waiting_items(&self) -> usize
    where
        R: Clone,
    {
        let waiting = lock(&self.waiting);
        let group = waiting.as_ref().and_then(|open| open.group.upgrade());
        group.map_or(0, |group| lock(&group).items.len())
    }
}

impl<P: Item, R> Debug for GroupCommit<P, R> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("GroupCommit").finish_non_exhaustive()
    }
}

/// How the last group went, and so how long the next one waits for further items.
///
/// Clients that just got an answer often push again at once. Without a short wait they would miss the group and wait
/// for a whole commit. So a group waits until as many items have arrived as last time, or for half the time that the
/// last commit took. PostgreSQL has the same as `commit_delay`, and its manual recommends half the time of a flush
/// ("WAL Configuration"). A lone client, a group that is already large, and groups with fast commits do not wait.
#[derive(Debug, Default)]
struct Rhythm {
    /// How many items were there when the last work ended: in its group, or waiting for the next one.
    items: usize,
    /// Until when as many are expected.
    expected_until_ms: UnixMs,
}

impl Rhythm {
    /// Records that the work of a group has ended.
    fn record_end(&mut self, items: usize, began_at_ms: UnixMs, now_ms: UnixMs) {
        self.items = items;
        let pause_ms = (now_ms.ms_since(began_at_ms) / 2).min(GROUP_GATHERING_MAX_MS);
        self.expected_until_ms = now_ms.plus_ms(pause_ms);
    }

    /// Waits for the items that are expected, or for as long as that is worth it.
    async fn gather<P: Item>(&self, host: &dyn Host, group: &Mutex<Group<P>>) {
        // A clock that was put back must not make it longer.
        let pause_ms = self.expected_until_ms.ms_since(host.now_ms()).min(GROUP_GATHERING_MAX_MS);
        if pause_ms == 0 {
            return;
        }
        let complete = lock(group).await_items(self.items);
        if let Some(complete) = complete {
            select(complete, host.sleep(Duration::from_millis(pause_ms))).await;
        }
    }
}

/// The items of a group.
struct Group<P: Item> {
    items: Vec<P>,
    total: P::Total,
    is_closed: bool,
    /// The group's work waits until there are so many items, or until they are enough.
    awaited: Option<(usize, oneshot::Sender<()>)>,
}

impl<P: Item> Group<P> {
    fn of(item: P) -> Self {
        let total = item.add_to(P::Total::default());
        Self { items: vec![item], total, is_closed: false, awaited: None }
    }

    /// Takes an item in and answers its index, or gives the item back if there is no room for it.
    fn join(&mut self, item: P) -> Result<usize, P> {
        let total = item.add_to(self.total);
        if self.is_closed || P::is_too_much(total) {
            // The next item may be as large.
            self.stop_waiting();
            return Err(item);
        }
        self.total = total;
        self.items.push(item);
        if P::is_large(total) || self.awaited.as_ref().is_some_and(|(count, _)| self.items.len() >= *count) {
            self.stop_waiting();
        }
        Ok(self.items.len() - 1)
    }

    fn stop_waiting(&mut self) {
        if let Some((_, complete)) = self.awaited.take() {
            // The pause may be over, and then nothing listens.
            let _ = complete.send(());
        }
    }

    /// Completes when there are so many items, or enough of them; nothing if that is so already.
    fn await_items(&mut self, count: usize) -> Option<oneshot::Receiver<()>> {
        let is_awaited = self.items.len() < count && !P::is_large(self.total);
        is_awaited.then(|| {
            let (sender, receiver) = oneshot::channel();
            self.awaited = Some((count, sender));
            receiver
        })
    }

    /// Takes no further item in and hands out those that are there.
    fn close(&mut self) -> Vec<P> {
        self.is_closed = true;
        std::mem::take(&mut self.items)
    }
}

/// Locks a mutex whose holders leave nothing half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
