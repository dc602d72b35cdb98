//! The page of metrics that Prometheus reads.

use std::fmt;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::{EncodeLabelSet, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::{Counted, Recorder};
use crate::core::decide::Survival;
use crate::core::decide::policy::ConflictPolicy;
use crate::store::PoolState;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResolvedLabels {
    policy: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PoolLabels {
    pool: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LagLabels {
    lag: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BuildLabels {
    version: &'static str,
    store: &'static str,
}

/// A histogram for each of some labels.
type Histograms<L> = Family<L, Histogram>;

/// Reads the present value of a gauge.
type Source = Box<dyn Fn() -> usize + Send + Sync>;

/// Reads the present total of a counter.
type TotalSource = Box<dyn Fn() -> u64 + Send + Sync>;

/// Reads the present states of a store's pools, each with its name.
type PoolSource = Box<dyn Fn() -> Vec<(&'static str, PoolState)> + Send + Sync>;

/// The metrics of a server. Its clones, in an `Arc`, share them.
pub struct Metrics {
    registry: Mutex<Registry>,
    sources: Mutex<Vec<(Gauge, Source)>>,
    totals: Mutex<Vec<(Counter, TotalSource)>>,
    pools: Mutex<Option<PoolSource>>,
    requests: Family<RequestLabels, Counter>,
    request_seconds: Histograms<RouteLabels>,
    operations: Family<OutcomeLabels, Counter>,
    resolved: Family<ResolvedLabels, Counter>,
    pages: Counter,
    pulled: Counter,
    compacted: Counter,
    expired_tombstones: Counter,
    expired_remains: Counter,
    group_pushes: Histogram,
    group_operations: Histogram,
    wake_seconds: Histogram,
    store_seconds: Histograms<CallLabels>,
    store_errors: Family<CallLabels, Counter>,
    pool_connections: Family<PoolLabels, Gauge>,
    pool_max: Family<PoolLabels, Gauge>,
    pool_waiting: Family<PoolLabels, Gauge>,
    pub(super) connections: Gauge,
    pub(super) refused_connections: Counter,
    pub(super) surveyed: SurveyGauges,
}

/// The gauges of the last survey of the store.
#[derive(Debug, Default)]
pub(super) struct SurveyGauges {
    pub(super) tenants: Gauge,
    pub(super) log_entries: Gauge,
    pub(super) log_entries_max: Gauge,
    pub(super) horizon_age_seconds: Gauge<f64, AtomicU64>,
    pub(super) at_seconds: Gauge<f64, AtomicU64>,
    clients: Family<LagLabels, Gauge>,
}

impl SurveyGauges {
    /// Sets how many active clients lag behind by how much.
    pub(super) fn set_clients(&self, lag: &'static str, clients: u64) {
        self.clients.get_or_create(&LagLabels { lag }).set(clients.try_into().unwrap_or(i64::MAX));
    }
}

/// From a tenth of a millisecond to half a minute.
fn seconds() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0])
}

/// From 1 to some thousands.
fn numbers() -> Histogram {
    Histogram::new(exponential_buckets(1.0, 2.0, 14))
}

impl Metrics {
    /// Metrics that are all at their beginning, of a server with the store of this name.
    #[must_use]
    pub fn new(store: &'static str) -> Arc<Self> {
        let metrics = Self {
            registry: Mutex::new(Registry::with_prefix("syncflow")),
            sources: Mutex::default(),
            totals: Mutex::default(),
            pools: Mutex::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(seconds),
            operations: Family::default(),
            resolved: Family::default(),
            pages: Counter::default(),
            pulled: Counter::default(),
            compacted: Counter::default(),
            expired_tombstones: Counter::default(),
            expired_remains: Counter::default(),
            group_pushes: numbers(),
            group_operations: numbers(),
            wake_seconds: seconds(),
            store_seconds: Family::new_with_constructor(seconds),
            store_errors: Family::default(),
            pool_connections: Family::default(),
            pool_max: Family::default(),
            pool_waiting: Family::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            surveyed: SurveyGauges::default(),
        };
        metrics.register(&mut metrics.registry.lock().unwrap_or_else(PoisonError::into_inner), store);
        // A rate needs a beginning, so the outcomes are there before the first operation.
        for outcome in [super::ACCEPTED, super::DUPLICATE, super::CONFLICTING, super::FORBIDDEN, super::REFUSED] {
            drop(metrics.operations.get_or_create(&OutcomeLabels { outcome }));
        }
        for policy in ConflictPolicy::ALL.into_iter().filter(|policy| policy.resolves()).map(ConflictPolicy::as_str) {
            for outcome in [Survival::Won, Survival::Lost, Survival::Merged].map(Survival::as_str) {
                drop(metrics.resolved.get_or_create(&ResolvedLabels { policy, outcome }));
            }
        }
        Arc::new(metrics)
    }

    fn register(&self, registry: &mut Registry, store: &'static str) {
        let build = BuildLabels { version: env!("CARGO_PKG_VERSION"), store };
        registry.register("build", "The version of the server and its store", Info::new(build));
        let started = Gauge::<f64, AtomicU64>::default();
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        registry.register("start_time_seconds", "When the server started, in seconds since 1970", started);
        registry.register("http_requests", "Requests by route, method and status of the answer", self.requests.clone());
        let help = "Time until an answer began; pulls that may wait for changes have a route of their own";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, self.request_seconds.clone());
        registry.register("operations", "Pushed operations by their outcome", self.operations.clone());
        let help = "Conflicts that the server resolved, by policy and by how much of the operation survived";
        registry.register("resolved_conflicts", help, self.resolved.clone());
        registry.register("pages_pulled", "Pages that pulls have read", self.pages.clone());
        registry.register("operations_pulled", "Operations on the pages of pulls", self.pulled.clone());
        registry.register("compacted_entries", "Entries that compactions removed from logs", self.compacted.clone());
        let (tombstones, remains) = (self.expired_tombstones.clone(), self.expired_remains.clone());
        registry.register("expired_tombstones", "Tombstones that retention removed", tombstones);
        registry.register("expired_remains", "Compacted entries whose remains retention removed", remains);
        registry.register("group_pushes", "Pushes that shared a commit", self.group_pushes.clone());
        registry.register("group_operations", "Operations that shared a commit", self.group_operations.clone());
        let help = "Time from a commit, or from news of it, until its listeners were woken";
        registry.register_with_unit("wake_up_latency", help, Unit::Seconds, self.wake_seconds.clone());
        let help = "Time of the calls of the store by method";
        registry.register_with_unit("store_call_duration", help, Unit::Seconds, self.store_seconds.clone());
        let help = "Calls of the store that failed or were given up, by method";
        registry.register("store_errors", help, self.store_errors.clone());
        let help = "Connections to the database, or threads that read or write the file, that are at work";
        registry.register("store_pool_busy", help, self.pool_connections.clone());
        registry.register("store_pool_max", "The most of them that there may be", self.pool_max.clone());
        registry.register("store_pool_waiting", "Calls of the store that wait for one", self.pool_waiting.clone());
        registry.register("connections", "Open connections of clients", self.connections.clone());
        let help = "Connections that were refused because there was no room";
        registry.register("connections_refused", help, self.refused_connections.clone());
        let surveyed = &self.surveyed;
        let help = "Tenants that the last survey of the store has seen";
        registry.register("surveyed_tenants", help, surveyed.tenants.clone());
        let help = "When the last survey of the store ended, in seconds since 1970; 0 before the first";
        registry.register("survey_end_seconds", help, surveyed.at_seconds.clone());
        registry.register("log_entries", "Entries of the logs of all tenants", surveyed.log_entries.clone());
        registry.register("log_entries_max", "Entries of the longest log", surveyed.log_entries_max.clone());
        let help = "Age of the oldest entry of any log, in seconds";
        registry.register("horizon_age_seconds", help, surveyed.horizon_age_seconds.clone());
        let help = "Active clients by how many entries they have not pulled yet";
        registry.register("clients", help, surveyed.clients.clone());
    }

    /// Adds a gauge that is read whenever the page is.
    pub fn watch(&self, name: &str, help: &str, source: impl Fn() -> usize + Send + Sync + 'static) {
        let gauge = Gauge::default();
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, gauge.clone());
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).push((gauge, Box::new(source)));
    }

    /// Adds a counter whose total is read whenever the page is. The total must not become less.
    pub fn watch_total(&self, name: &str, help: &str, source: impl Fn() -> u64 + Send + Sync + 'static) {
        let counter = Counter::default();
        self.registry.lock().unwrap_or_else(PoisonError::into_inner).register(name, help, counter.clone());
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).push((counter, Box::new(source)));
    }

    /// Reads the states of the store's pools whenever the page is read.
    pub fn watch_pools(&self, source: impl Fn() -> Vec<(&'static str, PoolState)> + Send + Sync + 'static) {
        *self.pools.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(source));
    }

    /// The page in the text format of Prometheus.
    #[must_use]
    pub fn page(&self) -> String {
        for (gauge, source) in &*self.sources.lock().unwrap_or_else(PoisonError::into_inner) {
            gauge.set(signed(source()));
        }
        for (counter, source) in &*self.totals.lock().unwrap_or_else(PoisonError::into_inner) {
            counter.inc_by(source().saturating_sub(counter.get()));
        }
        if let Some(pools) = &*self.pools.lock().unwrap_or_else(PoisonError::into_inner) {
            for (pool, state) in pools() {
                let labels = PoolLabels { pool };
                self.pool_connections.get_or_create(&labels).set(signed(state.busy));
                self.pool_max.get_or_create(&labels).set(signed(state.max));
                self.pool_waiting.get_or_create(&labels).set(signed(state.waiting));
            }
        }
        let mut page = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        // Writing to a text cannot fail.
        let _ = prometheus_text::encode(&mut page, &registry);
        page
    }

    /// Counts an open connection, until the result is dropped.
    pub(in crate::runtime) fn open_connection(self: &Arc<Self>) -> OpenConnection {
        self.connections.inc();
        OpenConnection(Arc::clone(self))
    }

    /// Counts a connection that was refused.
    pub(in crate::runtime) fn refuse_connection(&self) {
        self.refused_connections.inc();
    }
}

fn signed(number: usize) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// A connection that is open.
#[derive(Debug)]
pub(in crate::runtime) struct OpenConnection(Arc<Metrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// The label of requests without a route.
const NO_ROUTE: &str = "none";

impl Recorder for Metrics {
    fn record(&self, counted: Counted<'_>) {
        match counted {
            Counted::Request { route, method, status, took, may_wait } => {
                let route = if route.is_empty() { NO_ROUTE } else { route };
                let timed = if may_wait { format!("{route} (wait)") } else { route.to_owned() };
                self.request_seconds.get_or_create(&RouteLabels { route: timed }).observe(took.as_secs_f64());
                let status = status.map_or_else(|| "canceled".to_owned(), |status| status.to_string());
                self.requests.get_or_create(&RequestLabels { route: route.to_owned(), method, status }).inc();
            }
            Counted::Operations { outcome, operations } => {
                self.operations.get_or_create(&OutcomeLabels { outcome }).inc_by(operations);
            }
            Counted::Resolved { policy, outcome } => {
                self.resolved.get_or_create(&ResolvedLabels { policy, outcome }).inc();
            }
            Counted::Page { operations } => {
                self.pages.inc();
                self.pulled.inc_by(operations);
            }
            Counted::Compacted { entries } => {
                self.compacted.inc_by(entries);
            }
            Counted::Expired { tombstones, remains } => {
                self.expired_tombstones.inc_by(tombstones);
                self.expired_remains.inc_by(remains);
            }
            Counted::Group { pushes, operations } => {
                self.group_pushes.observe(float(pushes));
                self.group_operations.observe(float(operations));
            }
            Counted::Woken { after } => self.wake_seconds.observe(after.as_secs_f64()),
            Counted::StoreCall { call, took, is_answered } => {
                let labels = CallLabels { call };
                self.store_seconds.get_or_create(&labels).observe(took.as_secs_f64());
                let errors = self.store_errors.get_or_create(&labels);
                if !is_answered {
                    errors.inc();
                }
            }
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "sizes of groups are small")]
fn float(number: u64) -> f64 {
    number as f64
}
