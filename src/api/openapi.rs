//! `GET /openapi.json`: the description of this API.
//!
//! | status | answer |
//! |---|---|
//! | 200 | an OpenAPI 3.1 document, generated from the code: every route, its requests, its answers and its errors |
//! | 304 | `If-None-Match` names the document's `ETag` |

use std::sync::LazyLock;

use axum::response::Response;
use http::HeaderMap;
use utoipa::OpenApi;
use utoipa::openapi::{RefOr, Required};

use super::answer;
use super::schema::{BadRequest, Known, LayerErrors, Unavailable};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| super::error::to_json(&description()));

/// The description of the API, as `/openapi.json` answers it.
#[must_use]
pub fn description() -> utoipa::openapi::OpenApi {
    let mut description = super::routes().into_openapi();
    // The macro takes every body for one that must be there; a push alone cannot do without.
    for (path, item) in &mut description.paths.paths {
        let body = item.post.as_mut().and_then(|operation| operation.request_body.as_mut());
        if let Some(RefOr::T(body)) = body {
            body.required = Some(if path == "/operations" { Required::True } else { Required::False });
        }
    }
    description
}

/// The description without its routes.
pub(super) fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(components(schemas(super::error::ErrorBody)))]
    struct Base;
    Base::openapi()
}

/// The description of this API, in OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    responses(
        (status = 200, description = "this document", body = serde_json::Value),
        Known, BadRequest, LayerErrors, Unavailable,
    ),
)]
pub(super) async fn get_openapi(request: HeaderMap) -> Response {
    answer::unless_known(&request, None, DOCUMENT.clone())
}
