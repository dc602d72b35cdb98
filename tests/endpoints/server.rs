//! Servers in the process of the tests, one for each check.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use futures_util::future::BoxFuture;
use syncflow_server::config::Config;
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::limits::api::LAMBDA_BODY_MAX_BYTES;
use syncflow_server::runtime::{self, Access, ConnectionLimits, TokioHost};
use syncflow_server::service::{Host, SyncService};
use syncflow_server::store::Store;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::client::Api;
use crate::lambda::events::Source;
use crate::lambda::front::Front;
use crate::support::mongo::Database;
use crate::support::postgres::{Schema, server_url};

/// A server that ends with its check. Its world is removed then.
pub(crate) struct Server {
    pub(crate) api: Api,
    _home: Box<dyn Any + Send>,
}

/// A task that ends when this is dropped.
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A clock that a check sets. The rest of the host is that of the machine.
#[derive(Debug)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn at(now_ms: UnixMs) -> Arc<Self> {
        Arc::new(Self(now_ms.get().into()))
    }

    pub(crate) fn advance(&self, by_ms: u64) {
        self.0.fetch_add(by_ms, Ordering::SeqCst);
    }
}

impl Host for Clock {
    fn now_ms(&self) -> UnixMs {
        UnixMs::new(self.0.load(Ordering::SeqCst))
    }

    fn random_bits(&self) -> u64 {
        TokioHost.random_bits()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        TokioHost.sleep(duration)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        TokioHost.spawn(task);
    }
}

/// A server over the model store.
pub(crate) async fn memory() -> Server {
    start(&[("ADAPTER", "memory")], ()).await
}

/// A server over SQLite, in its own directory.
pub(crate) async fn sqlite() -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("syncflow.db");
    let path = path.to_str().expect("a path in UTF-8").to_owned();
    start(&[("ADAPTER", "sqlite"), ("SQLITE_PATH", &path), ("POOL_SIZE", "2")], directory).await
}

/// A server over PostgreSQL, in its own schema.
pub(crate) async fn postgres() -> Server {
    let schema = Schema::new();
    let (url, name) = (server_url(), schema.name().to_owned());
    let settings =
        [("POSTGRES_CONNECTION_STRING", url.as_str()), ("POSTGRES_SCHEMA", name.as_str()), ("POOL_SIZE", "3")];
    start(&settings, schema).await
}

/// A server over MongoDB, in its own database.
pub(crate) async fn mongodb() -> Server {
    let database = Database::new();
    let (uri, name) = (database.uri().to_owned(), database.name().to_owned());
    let settings = [("MONGO_URI", uri.as_str()), ("MONGO_DB_NAME", name.as_str())];
    start(&settings, database).await
}

/// The functions behind their URLs, all of them over one SQLite database.
pub(crate) async fn lambda() -> Server {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("syncflow.db");
    let path = path.to_str().expect("a path in UTF-8");
    let front = Front::start(Source::FunctionUrl, &[("ADAPTER", "sqlite"), ("SQLITE_PATH", path)]).await;
    let api = Api::at(format!("http://{}", front.authority())).with_body_max_bytes(LAMBDA_BODY_MAX_BYTES);
    Server { api, _home: Box::new((front, directory)) }
}

/// A server with these settings, over the store that they name.
pub(crate) async fn start(settings: &[(&str, &str)], home: impl Any + Send) -> Server {
    let config = read(settings);
    let store = runtime::open_store(&config.store).await.expect("the store opens");
    start_on(store, Arc::new(TokioHost), &config, home).await
}

/// A server with these settings, over a given store and host.
pub(crate) async fn start_with(store: Arc<dyn Store>, host: Arc<dyn Host>, settings: &[(&str, &str)]) -> Server {
    start_on(store, host, &read(settings), ()).await
}

pub(crate) fn read(settings: &[(&str, &str)]) -> Config {
    let look_up = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
    Config::read(look_up).expect("the settings are right")
}

/// The limits that the settings say.
fn limits(config: &Config) -> ConnectionLimits {
    ConnectionLimits::new(config.connections.clone(), config.connections.max)
}

/// Over the in-memory store, with these limits of its connections.
pub(crate) async fn limited(limits: ConnectionLimits) -> Server {
    let config = read(&[("ADAPTER", "memory")]);
    let store = runtime::open_store(&config.store).await.expect("the store opens");
    listen(store, Arc::new(TokioHost), &config, limits, ()).await
}

async fn start_on(store: Arc<dyn Store>, host: Arc<dyn Host>, config: &Config, home: impl Any + Send) -> Server {
    listen(store, host, config, limits(config), home).await
}

async fn listen(
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    config: &Config,
    limits: ConnectionLimits,
    home: impl Any + Send,
) -> Server {
    let access = Access::open(&config.auth, Arc::clone(&host)).expect("the settings are right");
    let access = access.at_rate(config.http.rates.per_principal);
    let routes = access.routes(Arc::new(SyncService::new(store, host))).build();
    serve(routes, config, limits, home).await
}

/// A server with these settings and any routes.
pub(crate) async fn start_routes(routes: Router, config: &Config, home: impl Any + Send) -> Server {
    serve(routes, config, limits(config), home).await
}

async fn serve(routes: Router, config: &Config, limits: ConnectionLimits, home: impl Any + Send) -> Server {
    let app = runtime::app(routes, &config.http);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let task = tokio::spawn(runtime::serve(listener, app, limits, async || std::future::pending().await));
    Server { api: Api::at(format!("http://{address}")), _home: Box::new((Task(task), home)) }
}
