//! The local server: reads the settings, opens the store, and serves the routes until it is told to stop.

mod serve;

use std::collections::HashMap;
use std::error::Error;
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::sync::Arc;

use syncflow_server::config::{Adapter, Config, ConfigError, Listen};
use syncflow_server::runtime::{self, TokioHost, logging};
use syncflow_server::service::SyncService;
use syncflow_server::{api, store::Store};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a server that cannot start ends with.
const CANNOT_START: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(CANNOT_START)
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let config = settings()?;
    logging::start(&config.log)?;
    let tokio = tokio::runtime::Runtime::new()?;
    let store = tokio.block_on(runtime::open_store(&config.store))?;
    tokio.block_on(serve(&config, Arc::clone(&store)))?;
    // Ends the tasks that are left. The store closes with the last of those who hold it, which is this function then.
    drop(tokio);
    drop(store);
    Ok(())
}

async fn serve(config: &Config, store: Arc<dyn Store>) -> Result<(), Box<dyn Error>> {
    let service = SyncService::new(store, Arc::new(TokioHost));
    let app = runtime::app(api::router(Arc::new(service)), &config.http);
    let mut signals = Signals::new()?;
    let listener = listen(config.listen).await?;
    greet(listener.local_addr()?, &config.store.adapter);
    serve::serve(listener, app, async || signals.next().await).await;
    Ok(())
}

/// The settings: those of the environment, and those of `.env` where the environment has none.
fn settings() -> Result<Config, ConfigError> {
    let file = env_file()?;
    Config::read(|name| match std::env::var_os(name) {
        Some(value) => Some(value.to_string_lossy().into_owned()),
        None => file.get(name).cloned(),
    })
}

fn env_file() -> Result<HashMap<String, String>, ConfigError> {
    let lines = match dotenvy::from_path_iter(".env") {
        Ok(lines) => lines,
        Err(error) if error.not_found() => return Ok(HashMap::new()),
        Err(error) => return Err(ConfigError::new(".env", error)),
    };
    let lines: Result<HashMap<_, _>, _> = lines.collect();
    lines.map_err(|error| match error {
        // What is behind the name may be a secret.
        dotenvy::Error::LineParse(line, _) => {
            let name = line.split('=').next().unwrap_or_default().trim();
            ConfigError::new(".env", format_args!("the line of {name:?} is not NAME=value or NAME='value'"))
        }
        error => ConfigError::new(".env", error),
    })
}

async fn listen(Listen { bind, port }: Listen) -> Result<TcpListener, ConfigError> {
    let listener = TcpListener::bind((bind, port)).await;
    listener
        .map_err(|problem| ConfigError::new("PORT", format_args!("cannot listen on {bind}, port {port}: {problem}")))
}

/// Says where the server listens, on what store, and what to try. Nobody may be listening to that.
fn greet(address: SocketAddr, adapter: &Adapter) {
    let store = match adapter {
        Adapter::Memory => "memory (gone when the server stops)".to_owned(),
        Adapter::Sqlite { path } => format!("sqlite, {}", path.display()),
        Adapter::Postgres { .. } => "postgres".to_owned(),
        Adapter::Mongodb { database, .. } => format!("mongodb, database {database}"),
    };
    let here = SocketAddr::new(reachable(address.ip()), address.port());
    let _ = writeln!(
        io::stdout(),
        "syncflow-server {version}\n\
         \n\
         listening  http://{address}\n\
         store      {store}\n\
         try        curl http://{here}/health\n\
         stop       Ctrl-C",
        version = env!("CARGO_PKG_VERSION"),
    );
}

/// An address that reaches a server which listens on this one.
fn reachable(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// The signals that tell a server to stop.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from the system, which would end the process at once.
    fn new() -> io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    /// Waits for one of them.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
