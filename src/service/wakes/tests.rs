use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_channel::{mpsc, oneshot};
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt as _, StreamExt as _};

use super::*;
use crate::core::clock::VectorClock;
use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId};
use crate::core::numbers::UnixMs;
use crate::core::operation::{Change, Operation};
use crate::limits::service::{LISTENED_MAX_TENANTS, LISTENERS_MAX_ENTRIES, WAKE_SWEEP_MS};
use crate::service::{Observer, SyncService};
use crate::store::memory::MemoryStore;
use crate::store::{Elsewhere, ErrorKind, Result, StoreError, Watch, delegate_store};

/// A host whose tasks run when a test says so, and whose long sleeps end when a test says so.
#[derive(Default)]
struct ManualHost {
    tasks: Mutex<Vec<BoxFuture<'static, ()>>>,
    sleeping: Mutex<Vec<oneshot::Sender<()>>>,
}

impl fmt::Debug for ManualHost {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("ManualHost")
    }
}

impl Host for ManualHost {
    fn now_ms(&self) -> UnixMs {
        UnixMs::new(1)
    }

    fn random_bits(&self) -> u64 {
        0
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if duration < Duration::from_millis(WAKE_SWEEP_MS) {
            return ready(()).boxed();
        }
        let (sender, receiver) = oneshot::channel();
        self.sleeping.lock().unwrap().push(sender);
        receiver.map(drop).boxed()
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.tasks.lock().unwrap().push(task);
    }
}

impl ManualHost {
    /// Runs all tasks as far as they come, and returns how many are left.
    fn run(&self) -> usize {
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap());
        tasks.retain_mut(|task| task.now_or_never().is_none());
        self.tasks.lock().unwrap().append(&mut tasks);
        self.tasks.lock().unwrap().len()
    }

    /// Ends all long sleeps.
    fn pass_time(&self) {
        for sleeping in std::mem::take(&mut *self.sleeping.lock().unwrap()) {
            let _ = sleeping.send(());
        }
    }

    /// Ends all tasks, as a runtime does that ends.
    fn drop_tasks(&self) {
        self.tasks.lock().unwrap().clear();
    }
}

/// The model store, which counts the reads of newest places and fails so many of them.
#[derive(Debug, Default)]
struct Counting {
    inner: MemoryStore,
    reads: AtomicU32,
    failures: AtomicU32,
    announced: Mutex<Vec<Vec<TenantId>>>,
    hints: Mutex<Option<mpsc::UnboundedReceiver<Elsewhere>>>,
}

#[async_trait]
impl Store for Counting {
    async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<Position>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let fail = |failures: u32| failures.checked_sub(1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fail).is_ok() {
            return Err(StoreError::new("counting", "heads", ErrorKind::Unavailable, "a planted one"));
        }
        self.inner.heads(tenants).await
    }

    delegate_store!(|this| &this.inner; claim, name, load, commit, changes, note_pulled, changes_by_time, client);
    delegate_store!(|this| &this.inner; remember, audit, operation_ids, client_rows, learn, scrub, erase_tenant);
    delegate_store!(|this| &this.inner; document, query, stats, survey, clients, count_clients, compact, tenants);
    delegate_store!(|this| &this.inner; check, aged_place, expire, count_expired);

    fn watch(&self) -> Watch<'_> {
        match self.hints.lock().unwrap().take() {
            Some(hints) => hints.boxed(),
            None => self.inner.watch(),
        }
    }

    async fn announce(&self, tenants: &[TenantId]) -> Result<()> {
        self.announced.lock().unwrap().push(tenants.to_vec());
        Ok(())
    }
}

struct Scene {
    host: Arc<ManualHost>,
    store: Arc<Counting>,
    service: SyncService,
}

impl Scene {
    fn new() -> Self {
        let (host, store) = (Arc::new(ManualHost::default()), Arc::new(Counting::default()));
        let service = SyncService::new(Arc::clone(&store) as _, Arc::clone(&host) as _);
        Self { host, store, service }
    }

    /// Another server on the same store.
    fn other(&self) -> SyncService {
        SyncService::new(Arc::clone(&self.store) as _, Arc::clone(&self.host) as _)
    }

    fn listen(&self, tenant: &str) -> Wakes {
        self.service.wakes(&TenantId::literal(tenant)).expect("there is room")
    }

    fn registered(&self) -> (usize, usize) {
        self.service.hub.registry.counts()
    }

    /// The number of the place that a listener finds now, after the tasks have run. `None` if it has to wait.
    fn woken(&self, wakes: &mut Wakes) -> Option<u64> {
        let polled = wakes.next().now_or_never().or_else(|| {
            self.host.run();
            wakes.next().now_or_never()
        });
        polled.map(|place| place.expect("the service has not stopped").seq.get())
    }
}

fn push(service: &SyncService, tenant: &str, id: &str) {
    let operation = Operation {
        id: OperationId::literal(id),
        change: Change::Delete,
        key: DocumentKey { collection: Collection::literal("c"), id: DocumentId::literal(id) },
        timestamp: UnixMs::new(1),
        client_id: ClientId::literal("a"),
        clock: VectorClock::default(),
    };
    let pushed = service.push(&TenantId::literal(tenant), vec![operation]).now_or_never().expect("it does not wait");
    assert!(pushed.is_ok());
}

#[test]
fn a_commit_wakes_the_listeners_of_its_tenant_and_no_others() {
    let scene = Scene::new();
    let (mut first, mut second, mut other) = (scene.listen("t"), scene.listen("t"), scene.listen("other"));
    for wakes in [&mut first, &mut second, &mut other] {
        assert_eq!(scene.woken(wakes), Some(0), "the place as it is");
        assert_eq!(scene.woken(wakes), None);
    }
    push(&scene.service, "t", "op-1");
    assert_eq!((scene.woken(&mut first), scene.woken(&mut second)), (Some(1), Some(1)));
    assert_eq!((scene.woken(&mut first), scene.woken(&mut second)), (None, None));
    assert_eq!(scene.woken(&mut other), None);
}

#[test]
fn a_write_of_the_server_wakes_too() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    let key = DocumentKey::parse("c", "d").unwrap();
    let data = serde_json::json!({"n": 1});
    let written = scene.service.put(&TenantId::literal("t"), &key, &data).now_or_never();
    assert!(written.expect("it does not wait").is_ok());
    assert_eq!(scene.woken(&mut wakes), Some(1));
}

#[test]
fn a_commit_between_listening_and_the_first_look_is_seen() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    push(&scene.service, "t", "op-1");
    assert_eq!(scene.woken(&mut wakes), Some(1));
    assert_eq!(scene.woken(&mut wakes), None);
}

#[test]
fn a_listener_that_is_slow_finds_the_latest_place_alone_and_holds_up_nobody() {
    let scene = Scene::new();
    let (mut slow, mut quick) = (scene.listen("t"), scene.listen("t"));
    assert_eq!((scene.woken(&mut slow), scene.woken(&mut quick)), (Some(0), Some(0)));
    for number in 1..=5 {
        push(&scene.service, "t", &format!("op-{number}"));
        assert_eq!(scene.woken(&mut quick), Some(number));
    }
    assert_eq!((scene.woken(&mut slow), scene.woken(&mut slow)), (Some(5), None));
}

#[test]
fn commits_of_other_processes_are_found_after_a_while() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    push(&scene.other(), "t", "op-1");
    assert_eq!(scene.woken(&mut wakes), None, "nobody has said so");
    scene.host.pass_time();
    assert_eq!(scene.woken(&mut wakes), Some(1));
}

#[test]
fn places_are_read_only_while_somebody_listens_and_for_all_at_once() {
    let scene = Scene::new();
    push(&scene.service, "t-1", "op-1");
    assert_eq!((scene.host.run(), scene.registered()), (0, (0, 0)));
    let mut listeners: Vec<Wakes> = (0..1_000).map(|number| scene.listen(&format!("t-{}", number % 100))).collect();
    assert_eq!(scene.registered(), (100, 1_000));
    for wakes in &mut listeners {
        assert!(scene.woken(wakes).is_some());
        assert_eq!(wakes.next().now_or_never(), None);
    }
    assert_eq!((scene.host.run(), scene.store.reads.load(Ordering::Relaxed)), (1, 1), "one watcher, one read");
    for number in 0..100 {
        push(&scene.service, &format!("t-{number}"), "op-2");
    }
    scene.host.run();
    assert_eq!(scene.store.reads.load(Ordering::Relaxed), 2);
    listeners.truncate(1);
    assert_eq!((scene.host.run(), scene.registered()), (1, (1, 1)));
    drop(listeners);
    assert_eq!((scene.host.run(), scene.registered()), (0, (0, 0)), "the watcher has ended");
    let mut again = scene.listen("t-1");
    assert_eq!(scene.woken(&mut again), Some(2));
}

#[test]
fn places_are_read_again_only_when_a_listener_waits_for_them() {
    let scene = Scene::new();
    let mut listeners = [scene.listen("t"), scene.listen("t")];
    for wakes in &mut listeners {
        assert_eq!(scene.woken(wakes), Some(0));
    }
    for number in 1..=5 {
        push(&scene.service, "t", &format!("op-{number}"));
        scene.host.run();
    }
    scene.host.pass_time();
    scene.host.run();
    assert_eq!(scene.store.reads.load(Ordering::Relaxed), 1, "no listener waits");
    for wakes in &mut listeners {
        assert_eq!(scene.woken(wakes), Some(5));
    }
    assert_eq!(scene.store.reads.load(Ordering::Relaxed), 2, "the second one finds what the first one has waited for");
    assert_eq!(scene.woken(&mut listeners[0]), None);
    push(&scene.service, "t", "op-6");
    scene.host.run();
    assert_eq!(scene.store.reads.load(Ordering::Relaxed), 3, "a listener waits");
}

#[test]
fn a_commit_of_another_process_is_found_by_a_listener_that_did_not_wait_when_all_were_looked_at() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    push(&scene.other(), "t", "op-1");
    scene.host.pass_time();
    scene.host.run();
    assert_eq!(scene.woken(&mut wakes), Some(1), "it need not wait for the next look");
}

#[test]
fn a_listener_that_leaves_while_it_waits_holds_up_no_other() {
    let scene = Scene::new();
    let (mut first, mut second) = (scene.listen("t"), scene.listen("t"));
    for wakes in [&mut first, &mut second] {
        assert_eq!((scene.woken(wakes), scene.woken(wakes)), (Some(0), None));
    }
    drop(first);
    push(&scene.service, "t", "op-1");
    assert_eq!(scene.woken(&mut second), Some(1));
    let mut third = scene.listen("t");
    assert_eq!((scene.woken(&mut third), scene.woken(&mut third)), (Some(1), None));
    drop(third);
    push(&scene.service, "t", "op-2");
    scene.host.run();
    assert_eq!(scene.woken(&mut second), Some(2));
}

#[test]
fn a_watcher_that_is_lost_is_replaced() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    scene.host.drop_tasks();
    push(&scene.service, "t", "op-1");
    assert_eq!(scene.woken(&mut wakes), Some(1));
}

#[test]
fn a_store_that_fails_delays_a_wake_up() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    scene.store.failures.store(2, Ordering::Relaxed);
    push(&scene.service, "t", "op-1");
    assert_eq!(scene.woken(&mut wakes), None);
    scene.host.pass_time();
    assert_eq!(scene.woken(&mut wakes), None);
    scene.host.pass_time();
    assert_eq!(scene.woken(&mut wakes), Some(1));
}

#[test]
fn listeners_and_their_tenants_are_bounded() {
    let scene = Scene::new();
    let mut listeners: Vec<Wakes> = (0..LISTENED_MAX_TENANTS).map(|n| scene.listen(&format!("t-{n}"))).collect();
    assert!(scene.service.wakes(&TenantId::literal("one more")).is_none());
    listeners.extend((LISTENED_MAX_TENANTS..LISTENERS_MAX_ENTRIES).map(|_| scene.listen("t-0")));
    assert!(scene.service.wakes(&TenantId::literal("t-0")).is_none());
    listeners.clear();
    assert_eq!(scene.registered(), (0, 0));
    assert!(scene.service.wakes(&TenantId::literal("one more")).is_some());
}

#[test]
fn every_one_of_many_tenants_is_looked_at() {
    let scene = Scene::new();
    let mut listeners: Vec<Wakes> = (0..1_300).map(|number| scene.listen(&format!("t-{number}"))).collect();
    for wakes in &mut listeners {
        assert_eq!(scene.woken(wakes), Some(0));
        assert_eq!(wakes.next().now_or_never(), None);
    }
    let other = scene.other();
    for number in 0..1_300 {
        push(&other, &format!("t-{number}"), "op-1");
    }
    scene.host.pass_time();
    for wakes in &mut listeners {
        assert_eq!(scene.woken(wakes), Some(1));
    }
}

#[test]
fn when_the_service_stops_listeners_end_and_nobody_is_let_in() {
    let scene = Scene::new();
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    assert_eq!(wakes.next().now_or_never(), None);
    scene.service.stop_wakes();
    assert_eq!(wakes.next().now_or_never(), Some(None));
    assert_eq!(scene.host.run(), 0, "the watcher has ended");
    assert!(scene.service.wakes(&TenantId::literal("t")).is_none());
    push(&scene.service, "t", "op-1");
}

#[test]
fn a_hint_of_the_store_is_followed_at_once() {
    let scene = Scene::new();
    let (sender, hints) = mpsc::unbounded();
    *scene.store.hints.lock().unwrap() = Some(hints);
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    let named = Elsewhere::Tenants(vec![TenantId::literal("t"), TenantId::literal("nobody's")]);
    for (number, hint) in (1..).zip([named, Elsewhere::Anywhere]) {
        push(&scene.other(), "t", &format!("op-{number}"));
        assert_eq!(scene.woken(&mut wakes), None);
        sender.unbounded_send(hint).unwrap();
        assert_eq!(scene.woken(&mut wakes), Some(number));
    }
    drop(sender);
    push(&scene.other(), "t", "op-3");
    assert_eq!(scene.woken(&mut wakes), None, "the store has no more hints");
    scene.host.pass_time();
    assert_eq!(scene.woken(&mut wakes), Some(3));
}

#[test]
fn commits_of_many_tenants_are_announced_together_whether_or_not_somebody_listens() {
    let scene = Scene::new();
    for number in 0..4 {
        push(&scene.service, &format!("t-{}", number % 2), &format!("op-{number}"));
    }
    assert_eq!((scene.host.run(), scene.store.announced.lock().unwrap().len()), (0, 1));
    push(&scene.service, "t-0", "op-4");
    scene.host.run();
    let mut announced = std::mem::take(&mut *scene.store.announced.lock().unwrap());
    announced[0].sort_unstable();
    assert_eq!(announced, [vec![TenantId::literal("t-0"), TenantId::literal("t-1")], vec![TenantId::literal("t-0")]]);
}

/// Writes down how late listeners were woken, in milliseconds.
#[derive(Debug, Default)]
struct Late(Arc<Mutex<Vec<u128>>>);

impl Observer for Late {
    fn woken(&self, _: &TenantId, after: Duration) {
        self.0.lock().unwrap().push(after.as_millis());
    }
}

#[test]
fn an_observer_hears_how_late_listeners_were_woken_by_a_commit() {
    let scene = Scene::new();
    let late = Late::default();
    let heard = Arc::clone(&late.0);
    let scene = Scene { service: scene.other().with_observer(late), ..scene };
    let mut wakes = scene.listen("t");
    assert_eq!(scene.woken(&mut wakes), Some(0));
    push(&scene.service, "t", "op-1");
    assert_eq!(*heard.lock().unwrap(), Vec::<u128>::new(), "nothing was read yet");
    assert_eq!(scene.woken(&mut wakes), Some(1));
    assert_eq!(heard.lock().unwrap().len(), 1);
    push(&scene.other(), "t", "op-2");
    scene.host.pass_time();
    assert_eq!(scene.woken(&mut wakes), Some(2));
    assert_eq!(heard.lock().unwrap().len(), 1, "nobody said when the other process has committed");
    push(&scene.other(), "t", "op-3");
    scene.host.pass_time();
    scene.host.run();
    assert_eq!(scene.woken(&mut wakes), Some(3));
    assert_eq!(heard.lock().unwrap().len(), 1, "nor if no listener waited then");
}
