//! The world of a schedule: servers that die, requests that are lost, and a record of all requests and answers.

use std::cell::{Cell, RefCell};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use syncflow_server::conformance::VirtualHost;
use syncflow_server::core::names::TenantId;
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::operation::Operation;
use syncflow_server::service::{Host, SyncService};
use syncflow_server::store::Store;
use syncflow_server::store::memory::MemoryStore;

use super::planted::{Bug, PlantedStore};
use super::settled::Pushed;
use super::store::SteppedStore;
use super::{clients, scheduler};
use crate::conflicts::rule::{Setting, policies};
use crate::history::{Call, Exchange, Explained, History, Moment, Violation, check};

/// The number of servers on the store.
const SERVERS: usize = 2;

/// How often each accident happens in a thousand steps.
#[derive(Debug, Clone, Copy)]
struct Odds {
    server_dies: u32,
    client_hangs_up: u32,
    answer_is_lost: u32,
}

const ROUGH: Odds = Odds { server_dies: 5, client_hangs_up: 10, answer_is_lost: 60 };
const CALM: Odds = Odds { server_dies: 0, client_hangs_up: 0, answer_is_lost: 0 };

struct Server {
    service: Arc<SyncService>,
    /// The number of times that the server was started. Requests to an earlier life are lost.
    life: u32,
}

/// The world of one schedule.
pub(super) struct World {
    random: RefCell<fastrand::Rng>,
    host: Arc<VirtualHost>,
    inner: Arc<MemoryStore>,
    bug: Option<Bug>,
    servers: RefCell<Vec<Server>>,
    odds: Cell<Odds>,
    /// Requests that continue although their clients hung up.
    orphans: RefCell<Vec<LocalBoxFuture<'static, ()>>>,
    moment: Cell<Moment>,
    exchanges: RefCell<Vec<Exchange>>,
    pub(super) tenant: TenantId,
    /// The policy of all collections; `None` if conflicts are rejected.
    setting: Option<Setting>,
    /// The clocks of all operations that were pushed.
    pushed: Arc<Pushed>,
}

/// Plays the schedule of a seed and lets the checker judge it.
pub(super) fn simulate(
    seed: u64,
    setting: Option<Setting>,
    bug: Option<Bug>,
) -> (History, Result<Explained, Violation>) {
    let world = World::new(seed, setting, bug);
    let history = world.play();
    let outcome = check(&history);
    (history, outcome)
}

impl World {
    fn new(seed: u64, setting: Option<Setting>, bug: Option<Bug>) -> Self {
        let world = Self {
            random: RefCell::new(fastrand::Rng::with_seed(seed)),
            host: Arc::new(VirtualHost::new()),
            inner: Arc::new(MemoryStore::new()),
            bug,
            servers: RefCell::default(),
            odds: Cell::new(ROUGH),
            orphans: RefCell::default(),
            moment: Cell::new(0),
            exchanges: RefCell::default(),
            tenant: TenantId::literal("default"),
            setting,
            pushed: Arc::default(),
        };
        let servers = (0..SERVERS).map(|_| Server { service: world.start(), life: 0 }).collect();
        world.servers.replace(servers);
        world
    }

    /// Starts a server.
    fn start(&self) -> Arc<SyncService> {
        let store: Arc<dyn Store> = match self.bug {
            None => Arc::clone(&self.inner) as Arc<dyn Store>,
            Some(bug) => Arc::new(PlantedStore::new(Arc::clone(&self.inner), bug, Arc::clone(&self.pushed))),
        };
        let service = SyncService::new(Arc::new(SteppedStore(store)), Arc::clone(&self.host) as Arc<dyn Host>);
        Arc::new(service.with_conflict_policies(policies(self.setting)))
    }

    fn play(&self) -> History {
        let mut devices = clients::devices(self);
        scheduler::run(clients::tasks(self, &mut devices), |count| self.below(count), || self.accidents());
        self.odds.set(CALM);
        let mut history = History { setting: self.setting, ..History::default() };
        let end = async { history.end = clients::settle(self, &mut devices).await };
        scheduler::run(vec![end.boxed_local()], |count| self.below(count), || self.orphans.take());
        history.exchanges = self.exchanges.take();
        history
    }

    /// The accidents between two steps. Returns the requests that continue without their clients.
    fn accidents(&self) -> Vec<LocalBoxFuture<'static, ()>> {
        self.host.advance_ms(1);
        if self.happens(self.odds.get().server_dies) {
            let number = self.below(SERVERS);
            let service = self.start();
            let server = &mut self.servers.borrow_mut()[number];
            *server = Server { service, life: server.life + 1 };
        }
        self.orphans.take()
    }

    /// Notes the operations of a push.
    pub(super) fn note_pushed(&self, operations: &[Operation]) {
        self.pushed.note(operations);
    }

    /// Whether the store works without faults now.
    pub(super) fn is_sound(&self) -> bool {
        self.bug.is_none()
    }

    /// A random number less than `count`.
    pub(super) fn below(&self, count: usize) -> usize {
        self.random.borrow_mut().usize(..count)
    }

    /// Whether an event happens now that happens so many times in a thousand.
    pub(super) fn happens(&self, in_a_thousand: u32) -> bool {
        self.random.borrow_mut().u32(..1_000) < in_a_thousand
    }

    /// The time of the servers' clock.
    pub(super) fn now_ms(&self) -> UnixMs {
        self.host.now_ms()
    }

    /// The next moment of the record.
    pub(super) fn moment(&self) -> Moment {
        self.moment.set(self.moment.get() + 1);
        self.moment.get()
    }

    /// Records a request and its answer.
    pub(super) fn record(&self, client: &str, sent: Moment, call: Call) {
        let exchange = Exchange { client: client.to_owned(), sent, answered: self.moment(), call };
        self.exchanges.borrow_mut().push(exchange);
    }

    /// Sends a request to any server. Returns `None` if the answer does not come.
    pub(super) async fn ask<T: 'static, F: Future<Output = T> + 'static>(
        &self,
        request: impl FnOnce(Arc<SyncService>) -> F,
    ) -> Option<T> {
        let server = self.below(SERVERS);
        let (service, life) = {
            let servers = self.servers.borrow();
            (Arc::clone(&servers[server].service), servers[server].life)
        };
        let work = request(service).boxed_local();
        UnderWay { world: self, server, life, work: Some(work) }.await
    }

    fn life_of(&self, server: usize) -> u32 {
        self.servers.borrow()[server].life
    }
}

/// A request on which a server works.
struct UnderWay<'w, T> {
    world: &'w World,
    server: usize,
    life: u32,
    work: Option<LocalBoxFuture<'static, T>>,
}

impl<T: 'static> Future for UnderWay<'_, T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        let world = self.world;
        let Some(mut work) = self.work.take() else { return Poll::Ready(None) };
        if world.life_of(self.server) != self.life {
            return Poll::Ready(None);
        }
        if world.happens(world.odds.get().client_hangs_up) {
            // A server may or may not notice that its client is gone.
            if world.happens(500) {
                world.orphans.borrow_mut().push(work.map(|_| ()).boxed_local());
            }
            return Poll::Ready(None);
        }
        match work.poll_unpin(context) {
            Poll::Ready(_) if world.happens(world.odds.get().answer_is_lost) => Poll::Ready(None),
            Poll::Ready(answer) => Poll::Ready(Some(answer)),
            Poll::Pending => {
                self.work = Some(work);
                Poll::Pending
            }
        }
    }
}
