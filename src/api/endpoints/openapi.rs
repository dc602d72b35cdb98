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
use utoipa::openapi::schema::AdditionalProperties;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{RefOr, Required, Schema};

use crate::api::answer;
use crate::api::schema::{BadRequest, Known, LayerErrors, Unavailable};

static DOCUMENT: LazyLock<String> = LazyLock::new(|| crate::api::error::to_json(&describe()));

/// The description of the API in JSON, as `/openapi.json` answers it.
#[must_use]
pub fn description() -> &'static str {
    &DOCUMENT
}

fn describe() -> utoipa::openapi::OpenApi {
    let mut description = crate::api::routes().into_openapi();
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

/// The description without its routes.
pub(in crate::api) fn base() -> utoipa::openapi::OpenApi {
    #[derive(OpenApi)]
    #[openapi(
        components(schemas(crate::api::error::ErrorBody)),
        servers((url = "/", description = "the server that answers this document")),
        tags(
            (name = "sync", description = "pushing and pulling operations"),
            (name = "documents", description = "reading documents as they are now"),
            (name = "operation", description = "looking after the data of a tenant"),
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
pub(in crate::api) async fn get_openapi(request: HeaderMap) -> Response {
    answer::unless_known(&request, None, DOCUMENT.clone())
}
