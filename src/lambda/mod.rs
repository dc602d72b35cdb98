//! The endpoints as functions of AWS Lambda.
//!
//! A function serves one endpoint behind an API Gateway (HTTP or REST), a load balancer or its own URL. It has the
//! routes and layers of the local server. The first request opens the store, and all later ones share it. If the store
//! cannot be opened, the request is answered with 503, and the next one tries again.
//!
//! Lambda itself requires the differences from the local server. Bodies have at most 4 MiB
//! ([`LAMBDA_BODY_MAX_BYTES`](crate::limits::api::LAMBDA_BODY_MAX_BYTES)), a request is answered before the function's
//! deadline, a pool has one connection, and logs are JSON. A function does not start until the settings say who may
//! make requests. It verifies tokens itself, because the claims that API Gateway passes on have lost their types.

mod advised_store;
mod answer;
mod event;
mod invocation;
mod lazy;
mod metrics;
mod schedule;
#[cfg(feature = "aws")]
mod wake;
mod watch;

use std::convert::Infallible;
use std::error::Error;
use std::ffi::OsStr;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use lambda_http::RequestExt as _;
use lambda_runtime::{LambdaEvent, service_fn};
use tower::ServiceExt as _;
use tracing::Span;

use self::answer::Answer;
use self::invocation::TRACE;
use self::lazy::LazyRoutes;
use self::schedule::ScheduledCompaction;
use self::watch::Watch;
use crate::api::Endpoint;
use crate::config::{Config, ConfigError, WakeConfig};
use crate::runtime::{self, Access, App, OpenSpan, TokioHost, logging};

/// Serves one endpoint until Lambda ends the process.
#[must_use]
pub fn serve(endpoint: Endpoint) -> ExitCode {
    run(async |config| {
        config.auth.refuse_everybody(true)?;
        if !cfg!(feature = "aws") && config.wake != WakeConfig::Polls {
            return Err(ConfigError::new("WAKE", "this build has no wake-ups; build it with the feature aws").into());
        }
        let access = Access::open(&config.auth, Arc::new(TokioHost))?;
        let app = app(endpoint, access, &config);
        let watch = watch(&config);
        lambda_http::run(service_fn(|event| answer(app.clone(), &watch, event))).await
    })
}

/// Compacts all tenants whenever EventBridge Scheduler sends an event.
///
/// The event is `{"olderThanDays": 30}`. Without the key, the setting `COMPACT_OLDER_THAN_DAYS` is used. The answer is
/// `{"deletedCount":245,"tenantCount":3,"hasMore":false,"next":null}`. A run ends some time before the function's
/// deadline. If work is left then, `hasMore` is true and `next` names a tenant, with which the next run continues if
/// its event has `{"from": next}`. A run without `from` begins with the first tenant, and takes little time for tenants
/// that have nothing left to compact.
#[must_use]
pub fn serve_scheduled_compaction() -> ExitCode {
    run(async |config| {
        let compaction = ScheduledCompaction::new(&config);
        let watch = watch(&config);
        let run = async |event: LambdaEvent<_>| {
            let invocation = watch.begin(&event.context);
            watch.over(&invocation, compaction.run(event)).await
        };
        lambda_runtime::run(service_fn(run)).await
    })
}

/// Reads the settings, starts the logs and a runtime, and runs a function in it.
fn run(function: impl AsyncFnOnce(Config) -> Result<(), lambda_runtime::Error>) -> ExitCode {
    let served = || -> Result<(), Box<dyn Error + Send + Sync>> {
        let config = Config::read_in_a_lambda(|name| std::env::var(name).ok())?;
        logging::start(&config.log)?;
        let is_set = |value: &OsStr| !value.to_string_lossy().trim().is_empty();
        let set = std::env::vars_os().filter(|(_, value)| is_set(value));
        let names: Vec<String> = set.filter_map(|(name, _)| name.into_string().ok()).collect();
        runtime::warn_of_near_misses(&names);
        // Lambda sends one request at a time, and the stores have their own threads for blocking work.
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        tokio.block_on(function(config))
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The endpoint with its layers, over a store that is not open yet.
fn app(endpoint: Endpoint, access: Access, config: &Config) -> App {
    let lazy = Arc::new(LazyRoutes::new(endpoint, access, config));
    let routes = Router::new().fallback(move |request: Request| {
        let lazy = Arc::clone(&lazy);
        async move { lazy.answer(request).await }
    });
    runtime::app(routes, &config.http)
}

/// Makes the watch for this function, whose name Lambda sets in the environment.
fn watch(config: &Config) -> Watch {
    Watch::new(config, std::env::var("AWS_LAMBDA_FUNCTION_NAME").unwrap_or_default())
}

async fn answer(app: App, watch: &Watch, event: lambda_http::Request) -> Result<Answer, Infallible> {
    let invocation = watch.begin(&event.lambda_context());
    let answered = async {
        let max_bytes = answer::max_bytes(&event);
        let mut request = event::request(event);
        request.extensions_mut().insert(answer::limit(max_bytes));
        request.extensions_mut().insert(OpenSpan(Span::current()));
        let mut response = app.oneshot(request).await?;
        if let Some(trace) = invocation.trace_header() {
            response.headers_mut().insert(TRACE, trace);
        }
        Ok(Answer::new(response, max_bytes).await)
    };
    watch.over(&invocation, answered).await
}
