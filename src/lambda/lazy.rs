//! A service that the first request opens and all later ones share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::StatusCode;
use tokio::sync::OnceCell;
use tower::ServiceExt as _;

use super::advised_store::AdvisedStore;
use super::metrics::EmbeddedMetrics;
#[cfg(feature = "aws")]
use super::wake::WakeUps;
use crate::api::{self, Endpoint};
use crate::config::{Config, ConfigError, StoreConfig, WakeConfig};
use crate::core::access::rules::Rules;
use crate::core::decide::quota::Quota;
use crate::core::policy::Policies;
use crate::core::retention::Retention;
use crate::limits::lambda::LAMBDA_ANSWER_MARGIN_MS;
use crate::runtime::metrics::{CountWork, MeasuredStore, Recorder};
use crate::runtime::{Access, TokioHost, open_store};
use crate::service::SyncService;

/// A service whose store is opened when it is first needed. If that fails, the next request tries again.
pub(super) struct LazyService {
    config: StoreConfig,
    quota: Quota,
    retention: Retention,
    rules: Rules,
    policies: Policies,
    has_quarantine: bool,
    /// Whether clients are told when to ask again, because nothing wakes them.
    is_polled: bool,
    #[cfg(feature = "aws")]
    wake_ups: Option<WakeUps>,
    service: OnceCell<Arc<SyncService>>,
}

impl LazyService {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            config: config.store.clone(),
            quota: config.quota,
            retention: config.retention,
            rules: config.rules.clone(),
            policies: config.policies.clone(),
            has_quarantine: config.has_quarantine,
            is_polled: config.wake == WakeConfig::Polls,
            #[cfg(feature = "aws")]
            wake_ups: match &config.wake {
                WakeConfig::AppSync { url } => Some(WakeUps::new(url.clone())),
                WakeConfig::Polls => None,
            },
            service: OnceCell::new(),
        }
    }

    /// The service. Opens its store if it is not open yet.
    pub(super) async fn get(&self) -> Result<&Arc<SyncService>, ConfigError> {
        let open = async || {
            let recorder: Arc<dyn Recorder> = Arc::new(EmbeddedMetrics);
            let store = MeasuredStore::new(open_store(&self.config).await?, Arc::clone(&recorder));
            let store = AdvisedStore::new(Arc::new(store), self.config.clone());
            let service = SyncService::new(Arc::new(store), Arc::new(TokioHost)).with_observer(CountWork(recorder));
            // An instance is frozen between requests, and each one costs for as long as its request waits.
            service.stop_wakes();
            let service = if self.is_polled { service.with_poll_pauses() } else { service };
            #[cfg(feature = "aws")]
            let service = match &self.wake_ups {
                Some(wake_ups) => service.with_observer(wake_ups.observer()),
                None => service,
            };
            let service = service.with_quota(self.quota).with_retention(self.retention).with_rules(self.rules.clone());
            let service = service.with_conflict_policies(self.policies.clone());
            Ok(Arc::new(if self.has_quarantine { service.with_quarantine() } else { service }))
        };
        self.service.get_or_try_init(open).await
    }

    /// Wakes the clients of the tenants that the last request has changed.
    #[cfg(feature = "aws")]
    async fn wake(&self) {
        if let Some(wake_ups) = &self.wake_ups {
            wake_ups.publish().await;
        }
    }
}

/// The routes of one endpoint, over a service that is opened later.
pub(super) struct LazyRoutes {
    endpoint: Endpoint,
    access: Access,
    service: LazyService,
    routes: OnceCell<Router>,
}

/// The time at which Lambda ends the function if it has not answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline(pub(super) SystemTime);

impl Deadline {
    /// The time that a request still has.
    fn time_left(self) -> Duration {
        let margin = Duration::from_millis(LAMBDA_ANSWER_MARGIN_MS);
        self.0.duration_since(SystemTime::now()).unwrap_or_default().saturating_sub(margin)
    }
}

impl LazyRoutes {
    pub(super) fn new(endpoint: Endpoint, access: Access, config: &Config) -> Self {
        Self { endpoint, access, service: LazyService::new(config), routes: OnceCell::new() }
    }

    /// Answers a request. The status is 503 if the store cannot be opened or the function's time is over.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let Some(deadline) = request.extensions().get::<Deadline>().copied() else { return self.route(request).await };
        let time_left = deadline.time_left();
        // Without time for an answer, the request is not begun, since it might take effect.
        let answered =
            if time_left.is_zero() { None } else { tokio::time::timeout(time_left, self.route(request)).await.ok() };
        #[cfg(feature = "aws")]
        self.service.wake().await;
        // The layers turn a bare status into an error in the shape of all errors.
        answered.unwrap_or_else(|| StatusCode::SERVICE_UNAVAILABLE.into_response())
    }

    async fn route(&self, request: Request) -> Response {
        let open = async || {
            self.service
                .get()
                .await
                .map(|service| self.access.routes(Arc::clone(service)).build_endpoint(self.endpoint))
        };
        match self.routes.get_or_try_init(open).await {
            Ok(routes) => routes.clone().oneshot(request).await.unwrap_or_else(|never| match never {}),
            Err(problem) => api::unavailable(problem.to_string()),
        }
    }
}
