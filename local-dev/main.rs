//! The local server: reads the settings, opens the store, and serves the routes until a signal ends it.

mod arguments;
mod check;
mod console;
mod settings;
mod token;

use std::error::Error;
use std::io::{self, ErrorKind, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use syncflow_server::config::{Adapter, AuthConfig, Config, ConfigError, Listen};
use syncflow_server::limits::runtime::{LOG_END_TIME_MAX_MS, STOP_END_MAX_SECONDS};
use syncflow_server::limits::store::sqlite::LOOKUP_MAX_CONNECTIONS;
use syncflow_server::runtime::{self, Access, ConnectionLimits, TokioHost, logging};
use syncflow_server::service::SyncService;
use syncflow_server::store::Store;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

use self::arguments::Task;

/// The exit code after an unknown argument or a setting that cannot be used.
const CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    let done = match arguments::read(std::env::args_os()) {
        Task::Serve => run().map(|()| ExitCode::SUCCESS),
        Task::Check => check::check(),
        Task::AskHealth => check::health::ask(),
        Task::MakeToken(kind, wanted) => token::make(&kind, &wanted).map(|text| say(&text)),
        Task::CheckRules(path) => check::rules::check(&path).map(|text| say(&text)),
        Task::ExplainRules(asked) => check::rules::explain(&asked).map(|text| say(&text)),
        Task::Say(text) => Ok(say(&text)),
        Task::Refuse(problem) => Err(problem.into()),
    };
    done.unwrap_or_else(|error| {
        let _ = writeln!(io::stderr(), "{error}");
        ExitCode::from(CANNOT_START)
    })
}

/// Prints a text. The output may be closed already, which is not an error.
fn say(text: &str) -> ExitCode {
    let _ = write!(io::stdout(), "{text}");
    ExitCode::SUCCESS
}

fn run() -> Result<(), Box<dyn Error>> {
    let settings = settings::read()?;
    let config = &settings.config;
    let log = logging::start_in_background(&config.log)?;
    runtime::warn_of_near_misses(&settings.names);
    let tokio = tokio::runtime::Runtime::new()?;
    runtime::announce_wait(&config.store);
    let access = Access::open(&config.auth, Arc::new(TokioHost))?.at_rate(config.http.rates.per_principal);
    let store = tokio.block_on(runtime::open_store(&config.store))?;
    tokio.block_on(serve(config, access, Arc::clone(&store)))?;
    // This ends the remaining tasks. Then only this function holds the store, which closes at its end.
    drop(tokio);
    drop(store);
    drop(log);
    Ok(())
}

async fn serve(config: &Config, access: Access, store: Arc<dyn Store>) -> Result<(), Box<dyn Error>> {
    let service = SyncService::new(Arc::clone(&store), Arc::new(TokioHost))
        .with_quota(config.quota)
        .with_rules(config.rules.clone());
    let service = Arc::new(service);
    let mut routes = access.routes(Arc::clone(&service)).max_streams(config.connections.max_streams).build();
    if config.listen.console {
        routes = routes.merge(console::routes());
    }
    let app = runtime::app(routes, &config.http);
    let mut signals = Signals::new()?;
    let listener = listen(config.listen).await?;
    greet(listener.local_addr()?, config);
    let store_config = config.store.clone();
    tokio::spawn(async move { runtime::wait_for_store(store, &store_config).await });
    let limits = ConnectionLimits::new(config.connections.clone(), runtime::max_connections(store_files(config)));
    let told_to_stop = async || {
        signals.next().await;
        service.stop_wakes();
        end_in_time();
    };
    runtime::serve(listener, app, limits, told_to_stop).await;
    Ok(())
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

async fn listen(Listen { bind, port, .. }: Listen) -> Result<TcpListener, ConfigError> {
    TcpListener::bind((bind, port)).await.map_err(|problem| match problem.kind() {
        ErrorKind::AddrInUse => {
            let what = format_args!("port {port} of {bind} is in use; stop what listens there, or choose another port");
            ConfigError::new("PORT", what)
        }
        ErrorKind::AddrNotAvailable => {
            ConfigError::new("BIND", format_args!("{bind} is not an address of this machine; 0.0.0.0 is all of them"))
        }
        ErrorKind::PermissionDenied => {
            let what = format_args!("this user may not listen on port {port}; choose one from 1024");
            ConfigError::new("PORT", what)
        }
        _ => ConfigError::new("BIND", format_args!("cannot listen on {bind}, port {port}: {problem}")),
    })
}

/// Prints the server's address, its store, and a command to try.
fn greet(address: SocketAddr, config: &Config) {
    let store = match &config.store.adapter {
        Adapter::Memory => "memory (gone when the server stops)".to_owned(),
        Adapter::Sqlite { path } => format!("sqlite, {}", path.display()),
        Adapter::Postgres { .. } => "postgres".to_owned(),
        Adapter::Mongo { database, .. } => format!("mongodb, database {database}"),
    };
    let access = match config.auth {
        AuthConfig::Off { .. } => "everybody who reaches this address, as admin",
        AuthConfig::On(_) => "with a token",
    };
    let here = SocketAddr::new(reachable(address.ip()), address.port());
    let console =
        if config.listen.console { format!("console    http://{here}{}\n", console::PATH) } else { String::new() };
    let _ = writeln!(
        io::stdout(),
        "syncflow-server {version}\n\
         \n\
         listening  http://{address}\n\
         store      {store}\n\
         access     {access}\n\
         {console}\
         try        curl http://{here}/health\n\
         stop       Ctrl-C",
        version = env!("CARGO_PKG_VERSION"),
    );
}

/// The address under which a server that listens on `ip` can be reached.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The signals that end the server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Installs handlers for the signals. Without them, the system would end the process at once.
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of the signals.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
