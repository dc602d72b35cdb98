//! `GET /openapi.json`: the description of this API.
//!
//! | status | answer |
//! |---|---|
//! | 200 | an OpenAPI 3.1 document, generated from the code: every route, its requests, its answers and its errors |
//! | 304 | `If-None-Match` names the document's `ETag` |

use axum::extract::State;
use axum::response::Response;
use http::HeaderMap;
use utoipa::OpenApi;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};

use crate::api::access::Description;
use crate::api::answer;
use crate::api::schema::{BadRequest, Known, LayerErrors, Unavailable};

/// The description without its routes.
pub(in crate::api) fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        components(schemas(crate::api::error::ErrorBody)),
        servers((url = "/", description = "the server that answers this document")),
        tags(
            (name = "sync", description = "pushing and pulling operations"),
            (name = "documents", description = "reading documents as they are now"),
            (name = "maintenance", description = "statistics and compaction of a tenant's data"),
            (name = "server", description = "the server itself"),
        ),
    )]
    struct Base;
    let mut base = Base::openapi();
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("A JSON Web Token or a static token, whichever the server is set up for."))
        .build();
    base.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(token));
    base
}

/// The description of this API, in OpenAPI 3.1.
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "server",
    responses(
        (status = 200, description = "this document", body = serde_json::Value),
        Known, BadRequest, LayerErrors, Unavailable,
    ),
)]
pub(in crate::api) async fn get_openapi(State(description): State<Description>, request: HeaderMap) -> Response {
    answer::conditional_json(&request, None, (description.0)().to_owned())
}
