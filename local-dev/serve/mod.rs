//! The task of serving: the store, the routes, the metrics, the schedule, and the end.

mod signals;

use std::error::Error;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use syncflow_server::config::{Config, ConfigError};
use syncflow_server::limits::protocol::DAY_MS;
use syncflow_server::limits::runtime::{
    LOG_END_TIME_MAX_MS, STOP_END_MAX_SECONDS, STOP_TIME_MAX_SECONDS, THREADS_END_TIME_MAX_MS,
};
use syncflow_server::limits::store::sqlite::LOOKUP_MAX_CONNECTIONS;
use syncflow_server::runtime::logging::{self, RunningLog};
use syncflow_server::runtime::metrics::{CountWork, MeasuredStore, Metrics, serve_metrics, survey_store};
use syncflow_server::runtime::{self, Access, ConnectionLimits, OpenStore, TokioHost, Traces};
use syncflow_server::service::{CompactionSchedule, SyncService};
use syncflow_server::store::Store;
use tokio::net::TcpListener;
use tokio::time::sleep;

use self::signals::Signals;
use super::{console, greet, settings};

/// The metrics of the server, and where they are read.
struct Measured {
    metrics: Arc<Metrics>,
    listener: TcpListener,
}

/// Reads the settings, opens the store, and serves until a signal ends the server.
pub(super) fn run() -> Result<(), Box<dyn Error>> {
    let settings = settings::read()?;
    let config = &settings.config;
    let traces = Traces::open(&config.traces)?;
    let log = logging::start_in_background(&config.log, traces.as_ref())?;
    runtime::warn_of_near_misses(&settings.names);
    let tokio = tokio::runtime::Runtime::new()?;
    runtime::announce_wait(&config.store);
    let access = Access::open(&config.auth, Arc::new(TokioHost))?.at_rate(config.http.rates.per_principal);
    let open = tokio.block_on(runtime::open_store_with_pools(&config.store))?;
    let store = Arc::clone(&open.store);
    tokio.block_on(serve(config, access, open, &log, traces))?;
    // This ends the remaining tasks. Then only this function holds the store, which closes at its end. A thread that
    // still looks up the address of a host is left alone.
    tokio.shutdown_timeout(Duration::from_millis(THREADS_END_TIME_MAX_MS));
    drop(store);
    drop(log);
    Ok(())
}

async fn serve(
    config: &Config,
    access: Access,
    open: OpenStore,
    log: &RunningLog,
    mut traces: Option<Traces>,
) -> Result<(), Box<dyn Error>> {
    let mut signals = Signals::new()?;
    let measured = measured(config, &open, log, traces.as_ref()).await?;
    let exports = traces.as_mut().map(Traces::export);
    let service = service(config, &open.store, measured.as_ref(), traces.as_ref());
    let mut routes = access.routes(Arc::clone(&service)).max_streams(config.connections.max_streams).build();
    if config.listen.console {
        routes = routes.merge(console::routes());
    }
    let app = match &measured {
        Some(Measured { metrics, .. }) => runtime::measured_app(routes, &config.http, metrics),
        None => runtime::app(routes, &config.http),
    };
    let app = app.traced(traces.as_ref());
    let listener = listen(SocketAddr::new(config.listen.bind, config.listen.port), ["BIND", "PORT"]).await?;
    let address = listener.local_addr()?;
    let metrics_address = measured.as_ref().map(|measured| measured.listener.local_addr()).transpose()?;
    greet(address, metrics_address, config);
    tracing::info!(
        server.version = env!("CARGO_PKG_VERSION"),
        listen.address = %address,
        metrics.address = metrics_address.map(tracing::field::display),
        store.name = open.store.name(),
        "started"
    );
    begin_tasks(config, open.store, Arc::clone(&service), measured);
    signals.reload_on_hangup(log.filter(), access);
    let drain = Duration::from_secs(config.listen.drain_seconds.into());
    let max_connections = runtime::max_connections(config.connections.max, store_files(config));
    let limits = ConnectionLimits::new(config.connections.clone(), max_connections);
    let limits =
        ConnectionLimits { stop: Duration::from_secs(STOP_TIME_MAX_SECONDS.into()).saturating_sub(drain), ..limits };
    let told_to_stop = async || {
        signals.next().await;
        // Told a second time, it does not wait any more.
        if !service.is_draining() {
            service.drain();
            end_in_time();
            if !drain.is_zero() {
                tracing::info!(drain.seconds = drain.as_secs(), "draining");
                tokio::select! {
                    () = sleep(drain) => {}
                    () = signals.next() => {}
                }
            }
        }
        service.stop_wakes();
    };
    runtime::serve(listener, app, limits, told_to_stop).await;
    if let Some(exports) = exports {
        exports.finish().await;
    }
    Ok(())
}

/// The metrics, if the settings name a listener for them.
async fn measured(
    config: &Config,
    open: &OpenStore,
    log: &RunningLog,
    traces: Option<&Traces>,
) -> Result<Option<Measured>, ConfigError> {
    let Some(bind) = config.metrics.bind else { return Ok(None) };
    let listener = listen(bind, ["METRICS_BIND"; 2]).await?;
    let metrics = Metrics::new(open.store.name());
    metrics.watch("log_queue_bytes", "Lines of the log that wait to be written", log.waiting_bytes());
    // Without traces, the counter stays at zero.
    let lost_spans = traces.map(Traces::lost_spans).unwrap_or_default();
    let help = "Spans of traces that were lost, because they found no room or the collector did not take them";
    metrics.watch_total("trace_spans_lost", help, move || lost_spans.load(Ordering::Relaxed));
    if let Some(pools) = open.pools.clone() {
        metrics.watch_pools(move || pools.upgrade().map(|store| store.pools()).unwrap_or_default());
    }
    Ok(Some(Measured { metrics, listener }))
}

fn service(
    config: &Config,
    store: &Arc<dyn Store>,
    measured: Option<&Measured>,
    traces: Option<&Traces>,
) -> Arc<SyncService> {
    let host = Arc::new(TokioHost);
    let store = match traces {
        Some(traces) => traces.store(Arc::clone(store)),
        None => Arc::clone(store),
    };
    let service = match measured {
        Some(Measured { metrics, .. }) => {
            let store = MeasuredStore::new(store, Arc::clone(metrics) as _);
            SyncService::new(Arc::new(store), host).with_observer(CountWork(Arc::clone(metrics) as _))
        }
        None => SyncService::new(store, host),
    };
    let service = service.with_quota(config.quota).with_retention(config.retention);
    let service = service.with_rules(config.rules.clone());
    let service = service.with_conflict_policies(config.policies.clone());
    Arc::new(if config.has_quarantine { service.with_quarantine() } else { service })
}

/// Begins what is done beside the requests.
fn begin_tasks(config: &Config, store: Arc<dyn Store>, service: Arc<SyncService>, measured: Option<Measured>) {
    let (watched, store_config) = (Arc::clone(&store), config.store.clone());
    tokio::spawn(async move { runtime::wait_for_store(watched, &store_config).await });
    if let Some(schedule) = schedule(config) {
        let service = Arc::clone(&service);
        tokio::spawn(async move { service.compact_on_schedule(schedule).await });
    }
    if let Some(Measured { metrics, listener }) = measured {
        let (pushes, listeners) = (Arc::downgrade(&service), Arc::downgrade(&service));
        metrics.watch("pushes_in_progress", "Pushes that wait for a commit or for its end", move || {
            pushes.upgrade().map_or(0, |service| service.pushes_in_progress())
        });
        metrics.watch("listeners", "Streams, and pulls that wait for changes", move || {
            listeners.upgrade().map_or(0, |service| service.listeners())
        });
        tokio::spawn(survey_store(store, Arc::new(TokioHost), Arc::clone(&metrics)));
        tokio::spawn(serve_metrics(listener, metrics, service));
    }
}

fn schedule(config: &Config) -> Option<CompactionSchedule> {
    const HOUR_MS: u64 = DAY_MS / 24;
    let every_ms = u64::from(config.compaction.every_hours?) * HOUR_MS;
    Some(CompactionSchedule { every_ms, older_than_ms: config.compaction.older_than_ms() })
}

/// How many files the store may open: SQLite has up to three for each of its connections.
fn store_files(config: &Config) -> usize {
    usize::try_from(config.store.pool_size)
        .unwrap_or(usize::MAX)
        .saturating_add(2 + LOOKUP_MAX_CONNECTIONS)
        .saturating_mul(3)
}

/// Ends the process when its time to stop is over, even if a statement does not return or the log is not read. Answered
/// operations are durable already.
fn end_in_time() {
    static IS_COUNTING: AtomicBool = AtomicBool::new(false);
    if IS_COUNTING.swap(true, Ordering::Relaxed) {
        return;
    }
    thread::spawn(|| {
        thread::sleep(Duration::from_secs(STOP_END_MAX_SECONDS.into()));
        tracing::error!("what still runs is cut off, since the time to stop is over");
        // For the log.
        thread::sleep(Duration::from_millis(LOG_END_TIME_MAX_MS / 10));
        process::exit(0);
    });
}

/// Listens on an address. The variables are those of its IP address and of its port.
async fn listen(address: SocketAddr, [bind, port]: [&'static str; 2]) -> Result<TcpListener, ConfigError> {
    let (ip, number) = (address.ip(), address.port());
    TcpListener::bind(address).await.map_err(|problem| match problem.kind() {
        ErrorKind::AddrInUse => {
            let what = format_args!("port {number} of {ip} is in use; stop what listens there, or choose another port");
            ConfigError::new(port, what)
        }
        ErrorKind::AddrNotAvailable => {
            ConfigError::new(bind, format_args!("{ip} is not an address of this machine; 0.0.0.0 is all of them"))
        }
        ErrorKind::PermissionDenied => {
            let what = format_args!("this user may not listen on port {number}; choose one from 1024");
            ConfigError::new(port, what)
        }
        _ => ConfigError::new(bind, format_args!("cannot listen on {ip}, port {number}: {problem}")),
    })
}
