//! Builds the routes over a service, and sets the source of principals.

use std::sync::Arc;

use axum::Router;
use utoipa_axum::router::OpenApiRouter;

use super::access::{ApiState, Description, PrincipalSource, Seating};
use super::authenticate::Authenticate;
use super::error;
use super::routes::{self, Endpoint};
use crate::core::access::Principal;
use crate::limits::api::{STREAMS_DEFAULT_REQUESTS, STREAMS_MAX_REQUESTS};
use crate::service::SyncService;

/// The routes of the API, which are mounted into a server.
///
/// Every request about data needs a [`Principal`]. It comes from one of three sources:
///
/// - [`Api::authenticate`]: an [`Authenticate`] finds it from the head of the request.
/// - [`Api::fixed_principal`]: every request has the same one.
/// - Neither: a middleware around the routes puts it into the request's extensions. A request without it is answered
///   with 401.
///
/// ```
/// use std::sync::Arc;
///
/// use syncflow_server::api::Api;
/// use syncflow_server::core::access::{Principal, Role};
/// use syncflow_server::core::names::{Subject, TenantId};
/// use syncflow_server::service::SyncService;
///
/// # fn mount(service: Arc<SyncService>) -> Result<axum::Router, syncflow_server::core::names::BadName> {
/// let principal = Principal::new(TenantId::parse("team-1")?, Subject::parse("me")?, Role::Admin);
/// let routes = Api::builder(service).fixed_principal(principal).build();
/// Ok(axum::Router::new().nest("/sync", routes))
/// # }
/// ```
#[must_use]
pub struct Api {
    service: Arc<SyncService>,
    source: PrincipalSource,
    max_streams: u32,
}

impl Api {
    /// The routes over a service. The principal comes from the extensions of a request.
    pub fn builder(service: Arc<SyncService>) -> Self {
        Self { service, source: PrincipalSource::Extension, max_streams: STREAMS_DEFAULT_REQUESTS }
    }

    /// Finds the principal of each request with `authenticate`. Its extensions are ignored.
    pub fn authenticate(self, authenticate: impl Authenticate + 'static) -> Self {
        self.authenticate_with(Arc::new(authenticate))
    }

    /// The same with a shared one.
    pub fn authenticate_with(self, authenticate: Arc<dyn Authenticate>) -> Self {
        Self { source: PrincipalSource::Head(authenticate), ..self }
    }

    /// Serves every request as this principal, which [is everybody](Principal::for_everybody). Its extensions are
    /// ignored.
    pub fn fixed_principal(self, principal: Principal) -> Self {
        Self { source: PrincipalSource::Fixed(principal.for_everybody()), ..self }
    }

    /// Sets another limit for the streams of events that are open at the same time, at most
    /// [`STREAMS_MAX_REQUESTS`].
    pub fn max_streams(self, max_streams: u32) -> Self {
        Self { max_streams: max_streams.min(STREAMS_MAX_REQUESTS), ..self }
    }

    /// All routes. Every answer is complete and in JSON, also for unknown routes and methods.
    pub fn build(self) -> Router {
        self.complete(routes::all())
    }

    /// One endpoint; every other route is unknown.
    pub fn build_endpoint(self, endpoint: Endpoint) -> Router {
        self.complete(endpoint.routes())
    }

    fn complete(self, routes: OpenApiRouter<ApiState>) -> Router {
        let (plain, _description) = routes.split_for_parts();
        let description = Description(routes::description);
        let seating = Seating::new(usize::try_from(self.max_streams).unwrap_or(usize::MAX));
        let state = ApiState { service: self.service, source: self.source, description, seating };
        plain.fallback(error::not_found).method_not_allowed_fallback(error::method_not_allowed).with_state(state)
    }
}
