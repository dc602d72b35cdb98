//! Clients learn of changes at once: pulls that wait, and streams of events.

pub(crate) mod elsewhere;
mod ends;
pub(super) mod events;
mod stream;
mod wait;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use reqwest::header::HeaderMap;
use syncflow_server::api;
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::limits::runtime::MEMORY_MIN_BYTES;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::SyncService;
use syncflow_server::store::Store;
use syncflow_server::store::memory::MemoryStore;

use super::server::{Server, read, start_routes};

/// How long a test waits for an event that must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Longer than a request that does not wait takes until its wait begins, on most machines. If a machine is slower, a
/// test passes that should perhaps fail.
const A_WHILE: Duration = Duration::from_millis(300);

/// The longest wait.
const WAIT_SECONDS: u64 = 25;

fn service_over(store: Arc<dyn Store>) -> Arc<SyncService> {
    Arc::new(SyncService::new(store, Arc::new(TokioHost)))
}

fn principal_of(headers: &HeaderMap) -> Principal {
    let header = |name: &str| headers.get(name).map(|value| value.to_str().expect("a name"));
    let tenant = TenantId::literal(header("tenant").unwrap_or("default"));
    Principal::new(tenant, Subject::literal(header("subject").unwrap_or("anybody")), Role::Admin)
}

/// Gives a request the tenant and the subject that its headers name.
async fn admit(mut request: Request, next: Next) -> Response {
    let principal = principal_of(request.headers());
    request.extensions_mut().insert(principal);
    next.run(request).await
}

/// A server over a service, whose requests name their tenants and subjects, with the least memory that a server has.
async fn server_of(service: &Arc<SyncService>) -> Server {
    let routes: Router = api::router(Arc::clone(service)).layer(from_fn(admit));
    let memory = MEMORY_MIN_BYTES.to_string();
    start_routes(routes, &read(&[("ADAPTER", "memory"), ("MEMORY_MAX_BYTES", &memory)]), ()).await
}

/// A service over the model store, and a server of it.
async fn in_memory() -> (Arc<SyncService>, Server) {
    let service = service_over(Arc::new(MemoryStore::new()));
    let server = server_of(&service).await;
    (service, server)
}
