//! HTTP in front of the functions. Each request becomes an event for the function of its route, and the function's
//! answer becomes the response.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;
use syncflow_server::api::Endpoint;

use super::binaries::binary_of;
use super::emulator::Instance;
use super::events::Source;
use super::http::Listening;

/// The limit is larger than that of any function.
const BODY_MAX_BYTES: usize = 256 * 1024 * 1024;

/// A service in front of all functions.
pub(crate) struct Front {
    source: Source,
    settings: Vec<(String, String)>,
    /// Instances that wait for a request, by function name.
    idle: Mutex<HashMap<&'static str, Vec<Instance>>>,
}

impl Front {
    /// Starts the service over functions with these settings. No function runs yet.
    pub(crate) async fn start(source: Source, settings: &[(&str, &str)]) -> Listening {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let front = Self { source, settings, idle: Mutex::default() };
        Listening::start(Router::new().fallback(answer).with_state(Arc::new(front))).await
    }
}

/// Answers with an idle instance or with a new one, as Lambda does.
async fn answer(State(front): State<Arc<Front>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, BODY_MAX_BYTES).await.expect("the body arrives");
    let binary = binary_of(endpoint_of(&parts.method, parts.uri.path()));
    let idle = front.idle.lock().expect("no panic").entry(binary.name).or_default().pop();
    let mut instance = match idle {
        Some(instance) => instance,
        None => Instance::start(binary, &front.settings).await,
    };
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    let event = front.source.event(&parts.method, target, &parts.headers, &body);
    let outcome = instance.invoke(&event).await;
    let answer = match outcome {
        Ok(function) => front.source.answer(&function),
        Err(error) => panic!("the function failed: {error}\n{}", instance.log()),
    };
    front.idle.lock().expect("no panic").entry(binary.name).or_default().push(instance);
    answer.map(Body::from)
}

/// The endpoint by the routing of the template. A request without a route goes to the function of the statistics.
fn endpoint_of(method: &Method, path: &str) -> Endpoint {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match *parts {
        ["health"] => Endpoint::Health,
        ["operations"] => Endpoint::PushOperations,
        ["changes"] => Endpoint::PullChanges,
        ["compact"] => Endpoint::Compact,
        ["documents", _, "query"] if method == Method::POST => Endpoint::QueryDocuments,
        ["documents", _, _] => Endpoint::GetDocument,
        _ => Endpoint::GetStats,
    }
}
