//! The routes of all endpoints, and their description in OpenAPI.

use std::sync::LazyLock;

use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::{RefOr, Required, Schema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::ApiState;
use super::endpoints::{changes, clients, compact, document, health, openapi, probes, push, query, stats, stream};
use super::error::to_json;

/// An endpoint that can be served alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Endpoint {
    /// `GET /health`
    Health,
    /// `POST /operations`
    PushOperations,
    /// `POST /changes`
    PullChanges,
    /// `GET /documents/:collection/:id`
    GetDocument,
    /// `POST /documents/:collection/query`
    QueryDocuments,
    /// `GET /stats`
    GetStats,
    /// `POST /compact`
    Compact,
}

impl Endpoint {
    /// Every endpoint.
    pub const ALL: [Self; 7] = [
        Self::Health,
        Self::PushOperations,
        Self::PullChanges,
        Self::GetDocument,
        Self::QueryDocuments,
        Self::GetStats,
        Self::Compact,
    ];

    /// The route of this endpoint alone.
    pub(super) fn routes(self) -> OpenApiRouter<ApiState> {
        let router = OpenApiRouter::new();
        match self {
            Self::Health => router.routes(routes!(health::health)),
            Self::PushOperations => router.routes(routes!(push::push_operations)),
            Self::PullChanges => router.routes(routes!(changes::pull_changes)),
            Self::GetDocument => {
                router.routes(routes!(document::get_document)).routes(routes!(document::get_document_named_query))
            }
            Self::QueryDocuments => router.routes(routes!(query::query_documents)),
            Self::GetStats => router.routes(routes!(stats::get_stats)),
            Self::Compact => router.routes(routes!(compact::compact)),
        }
    }
}

/// The routes of all endpoints, and of their description.
pub(super) fn all() -> OpenApiRouter<ApiState> {
    let router = OpenApiRouter::with_openapi(openapi::base());
    let router = Endpoint::ALL.into_iter().fold(router, |router, endpoint| router.merge(endpoint.routes()));
    // These cannot be served alone: nothing goes on for minutes in a function, nothing probes one, and people look at
    // servers.
    let router = router.routes(routes!(stream::stream_changes)).routes(routes!(clients::list_clients));
    router.routes(routes!(probes::livez)).routes(routes!(probes::readyz)).routes(routes!(openapi::get_openapi))
}

static DOCUMENT: LazyLock<String> = LazyLock::new(|| to_json(&describe()));

/// The description of the API in JSON, as `/openapi.json` answers it.
#[must_use]
pub fn description() -> &'static str {
    &DOCUMENT
}

fn describe() -> utoipa::openapi::OpenApi {
    let mut description = all().into_openapi();
    // The macro takes every body to be required, but only a push requires one.
    for (path, item) in &mut description.paths.paths {
        let body = item.post.as_mut().and_then(|operation| operation.request_body.as_mut());
        if let Some(RefOr::T(body)) = body {
            body.required = Some(if path == "/operations" { Required::True } else { Required::False });
        }
    }
    // A document has the keys of its data in addition to the two that are described.
    let schemas = description.components.as_mut().map(|components| &mut components.schemas);
    if let Some(RefOr::T(Schema::Object(document))) = schemas.and_then(|schemas| schemas.get_mut("Document")) {
        document.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(true)));
    }
    description
}
