//! `POST /clients`: the clients that pull, and how far each of them is.
//!
//! | key | meaning |
//! |---|---|
//! | `after` | the `next` of the previous answer |
//! | `limit` | integer from 1: the most clients on the page; default 100, larger values than 1,000 mean 1,000 |
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"clients":[{"clientId":"phone","behind":12,"seenAt":1234567890}],"next":null}` |
//! | 400 | the body is not a JSON object, or one of its fields is wrong |
//! | 403 | the role is not `admin` or `service` |
//!
//! Clients come in the order of the bytes of their ids. `behind` is the number of operations that were accepted after
//! those that the client has pulled. `seenAt` is the time of its last pull, which may be an hour old if the client had
//! nothing to pull since. A client is listed if it pulls with a `clientId`, until a compaction has forgotten it after a
//! long silence. A page may be short although `next` is not `null`.
//!
//! There is no such route in a Lambda.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::api::access::Admin;
use crate::api::answer;
use crate::api::body::BodyText;
use crate::api::error::{ApiError, Faults, to_json};
use crate::api::fields::{Fields, limit, name};
use crate::api::schema::{BadRequest, ClientsRequest, LayerErrors, Unauthorized, Unavailable};
use crate::core::names::ClientId;
use crate::limits::api::{CLIENTS_DEFAULT_ENTRIES, CLIENTS_MAX_ENTRIES};
use crate::service::SyncService;

/// A page of clients.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Clients {
    clients: Vec<KnownClient>,
    /// The `after` of the next page; `null` if there is none.
    #[schema(required = true)]
    next: Option<String>,
}

/// A client that pulls.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct KnownClient {
    #[schema(example = "phone")]
    client_id: String,
    /// The number of operations that were accepted after those that the client has pulled.
    #[schema(example = 12)]
    behind: u64,
    /// When it pulled last, in milliseconds since 1970; up to an hour earlier if there was nothing to pull.
    #[schema(example = 1_234_567_890)]
    seen_at: u64,
}

/// The clients that pull, and how far each of them is.
#[utoipa::path(
    post,
    path = "/clients",
    tag = "maintenance",
    security(("token" = [])),
    request_body(content = ClientsRequest, description = "an empty body is treated as `{}`"),
    responses(
        (status = 200, description = "a page of clients", body = Clients),
        BadRequest, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn list_clients(
    State(service): State<Arc<SyncService>>,
    Admin(principal): Admin,
    body: BodyText,
) -> Result<Response, ApiError> {
    let Page { after, limit } = read(body.or_empty_object())?;
    let found = service.clients(&principal.tenant, after.as_ref(), limit).await?;
    let next = if found.len() < limit { None } else { found.last().map(|((client, _), _)| client.to_string()) };
    let clients = found.into_iter().filter_map(|((client, progress), behind)| {
        Some(KnownClient { client_id: client.to_string(), behind: behind?, seen_at: progress.seen_at_ms.get() })
    });
    let body = Clients { clients: clients.collect(), next };
    Ok(answer::json(StatusCode::OK, to_json(&body)))
}

/// The page that a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::api) struct Page {
    after: Option<ClientId>,
    limit: usize,
}

/// The keys of the request.
pub(in crate::api) const KEYS: [&str; 2] = ["after", "limit"];

pub(in crate::api) fn read(text: &str) -> Result<Page, ApiError> {
    let mut faults = Faults::default();
    let mut fields = Fields::of_body(text, &KEYS, &mut faults)?;
    let after = fields.optional("after", None, |text| name(ClientId::parse)(text).map(Some));
    let limit = fields.optional("limit", CLIENTS_DEFAULT_ENTRIES, limit(CLIENTS_MAX_ENTRIES));
    let page = after.zip(limit).map(|(after, limit)| Page { after, limit });
    faults.into_result(page).map_err(ApiError::BadFields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_begins_after_a_client_and_is_limited() {
        let after = |name: &str| Some(ClientId::literal(name));
        for (text, after, limit) in [
            ("{}", None, 100),
            (r#"{"after":"phone"}"#, after("phone"), 100),
            (r#"{"after":"phone","limit":5}"#, after("phone"), 5),
            (r#"{"limit":1001}"#, None, 1_000),
        ] {
            assert_eq!(read(text).unwrap(), Page { after, limit }, "{text}");
        }
        for bad in [r#"{"after":""}"#, r#"{"after":null}"#, r#"{"after":5}"#, r#"{"limit":0}"#, r#"{"limit":"1"}"#] {
            assert!(matches!(read(bad), Err(ApiError::BadFields(_))), "{bad}");
        }
    }
}
