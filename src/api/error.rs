//! The errors of requests and their answers: one enum and one match.

mod faults;

use std::collections::BTreeMap;
use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, StatusCode, Uri};
use serde::Serialize;
use utoipa::ToSchema;

pub(super) use self::faults::{Faults, excerpt};
use super::answer::{is_json, json};
use super::authenticate::Denied;
use super::waiting::seats::NoSeat;
use crate::core::clock::VectorClock;
use crate::core::names::DocumentKey;
use crate::core::numbers::Rev;
use crate::limits::api::{
    LAMBDA_BODY_MAX_BYTES, REQUEST_BODY_MAX_BYTES, RETRY_AFTER_SECONDS, STREAM_RETRY_AFTER_SECONDS,
    SUBJECT_STREAMS_MAX_REQUESTS,
};
use crate::limits::protocol::PAGE_MAX_OPERATIONS;
use crate::service::ServiceError;
use crate::store::StoreError;

/// Why a request is not answered as it asked.
#[derive(Debug)]
pub(super) enum ApiError {
    /// The request as a whole cannot be read.
    BadRequest(String),
    /// Fields of the request are wrong.
    BadFields(Faults),
    /// The document does not exist or is deleted.
    DocumentNotFound(DocumentKey),
    /// The document is deleted, and the request asks for its clock.
    DocumentDeleted { key: DocumentKey, rev: Rev, clock: VectorClock },
    /// The route does not exist.
    RouteNotFound { method: Method, path: String },
    /// The route does not have this method.
    MethodNotAllowed { method: Method, path: String },
    /// The cursor belongs to another log.
    CursorReset,
    /// The principal may see other documents than when it got the cursor.
    OtherView,
    /// The principal may not see everything, so it needs a cursor to pull.
    CursorNeeded,
    /// The body is too large, either as sent or after decompression.
    BodyTooLarge,
    /// The answer is too large for the service that would pass it on.
    AnswerTooLarge { max_bytes: usize },
    /// The content coding of the body is unknown.
    UnsupportedEncoding,
    /// The request has no principal.
    Denied(Denied),
    /// The role of the principal does not permit the action.
    ForbiddenRole,
    /// The role of the principal does not permit a field of the request.
    ForbiddenField(&'static str),
    /// The client id in a field of the request belongs to another subject.
    ForeignClient { field: String },
    /// The request is refused because of its host, its origin or its transfer coding.
    Refused(Refusal),
    /// There is no seat for another stream.
    NoStream(NoSeat),
    /// More operations than fit a page share a timestamp.
    RunTooLong,
    /// The service failed.
    Service(ServiceError),
    /// The request took longer than the time limit.
    TimedOut,
    /// The server has no store yet.
    Unavailable { cause: String },
    /// The server failed by its own fault.
    Internal { cause: String },
}

/// Why a request is refused before it has any effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It does not have exactly one name of the server.
    NoHost,
    /// It names a host that is not one of the server's names.
    ForeignHost {
        /// That host, with its port.
        host: String,
    },
    /// It comes from a page that may not call the server.
    ForeignOrigin,
    /// Its body has a transfer coding other than `chunked`.
    TransferCoding,
}

impl Refusal {
    /// The answer to the refused request.
    #[must_use]
    pub fn answer(self) -> Response {
        ApiError::Refused(self).into_response()
    }

    /// The same as [`ApiError::parts`].
    fn parts(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::NoHost => {
                let message = "A request names the host that it calls exactly once, in Host or :authority";
                (StatusCode::BAD_REQUEST, "Bad request", message.to_owned())
            }
            // This is not a 403, because not the page is wrong but the address. The operator sees the difference in the
            // logs.
            Self::ForeignHost { host } => {
                let message = format!("This server is not called '{}'; ALLOWED_HOSTS names what it is", excerpt(host));
                (StatusCode::MISDIRECTED_REQUEST, "Unknown host", message)
            }
            Self::ForeignOrigin => {
                let message = "Pages of this origin may not call the server; ALLOWED_ORIGINS names those that may";
                (StatusCode::FORBIDDEN, "Foreign origin", message.to_owned())
            }
            Self::TransferCoding => {
                let message = "The only Transfer-Encoding of a request is chunked";
                (StatusCode::NOT_IMPLEMENTED, "Unsupported transfer encoding", message.to_owned())
            }
        }
    }
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        ApiError::Denied(self).into_response()
    }
}

impl Denied {
    /// The same as [`ApiError::parts`].
    fn parts(self) -> (StatusCode, &'static str, String) {
        let (status, error, message) = match self {
            Self::Missing => {
                (StatusCode::UNAUTHORIZED, "missing_token", "The request needs the header Authorization: Bearer TOKEN")
            }
            Self::Malformed => (
                StatusCode::BAD_REQUEST,
                "malformed_token",
                "The request needs exactly one header Authorization, in the form Bearer TOKEN",
            ),
            Self::InvalidToken => (StatusCode::UNAUTHORIZED, "invalid_token", "The token is not valid"),
            Self::Expired => (StatusCode::UNAUTHORIZED, "expired", "The token is no longer valid; get a new one"),
            Self::TenantNeeded => (
                StatusCode::BAD_REQUEST,
                "tenant_needed",
                "The token names several tenants; the header X-Syncflow-Tenant says which one the request is about",
            ),
            Self::ForbiddenTenant => {
                (StatusCode::FORBIDDEN, "forbidden_tenant", "The token does not name the tenant of the request")
            }
            Self::NoAccess => {
                (StatusCode::FORBIDDEN, "no_access", "The token names no tenant, or no role that the server knows")
            }
            Self::Unavailable => return try_again(),
            Self::TooManyRequests { .. } => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "There were too many requests; Retry-After says in how many seconds the next one is served",
            ),
        };
        (status, error, message.to_owned())
    }
}

/// The JSON of every error.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Error)]
pub(super) struct ErrorBody<'a> {
    /// The kind of the error. The text is the same for all errors of a kind.
    #[schema(example = "Document not found")]
    error: &'a str,
    /// The fault of this request, as a text for people.
    #[schema(example = "No document with ID 'doc-1' in collection 'todos'")]
    message: &'a str,
    /// The names of the faulty fields, if the error is about fields; at most 20.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<String>, nullable = false, required = false, max_items = 20, example = json!(["operations[3].docId"]))]
    fields: Option<Vec<&'a str>>,
    /// Why the client must start again from nothing, if it must.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, nullable = false, required = false, example = "reset")]
    reason: Option<&'a str>,
    /// The tombstone of a deleted document, if the request asks for clocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Tombstone, nullable = false, required = false)]
    deleted: Option<Tombstone<'a>>,
}

/// A deleted document. An operation that has seen this clock writes over it.
#[derive(Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Tombstone<'a> {
    /// The number of operations that were applied to the document, with the one that deleted it.
    #[schema(minimum = 1, example = 2)]
    rev: u64,
    #[schema(value_type = BTreeMap<String, u64>, example = json!({"client-1": 2}))]
    vector_clock: BTreeMap<&'a str, u64>,
}

/// The `reason` of a cursor that belongs to another log.
const RESET: &str = "reset";

/// The reason of a 410 if the client may see other documents than before.
const VIEW: &str = "view";

impl ApiError {
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::BadRequest(message.into())
    }

    /// An error about one field.
    pub(super) fn bad_field(field: impl Display, problem: impl Display) -> Self {
        let mut faults = Faults::default();
        faults.add(field, problem);
        Self::BadFields(faults)
    }

    /// An error about several fields, each with its problem.
    pub(super) fn bad_fields(problems: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut faults = Faults::default();
        for (field, problem) in problems {
            faults.add(field, problem);
        }
        Self::BadFields(faults)
    }

    /// The error that a bare status from a layer around the routes means.
    fn of_layer(status: StatusCode) -> Self {
        match status {
            StatusCode::PAYLOAD_TOO_LARGE => Self::BodyTooLarge,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::UnsupportedEncoding,
            StatusCode::SERVICE_UNAVAILABLE => Self::TimedOut,
            status if status.is_client_error() => Self::bad_request("the request cannot be read"),
            other => Self::Internal { cause: format!("a layer answered {other}") },
        }
    }

    /// The fault of the request, as a text for people.
    pub(super) fn message(&self) -> String {
        self.parts().2
    }

    /// The status, the `error` and the `message`. For a 5xx the texts are fixed, and the cause is only logged.
    fn parts(&self) -> (StatusCode, &'static str, String) {
        match self {
            Self::BadRequest(message) => (StatusCode::BAD_REQUEST, "Bad request", message.clone()),
            Self::BadFields(faults) => (StatusCode::BAD_REQUEST, "Bad request", faults.to_string()),
            Self::DocumentNotFound(key) | Self::DocumentDeleted { key, .. } => {
                let message = format!("No document with ID '{}' in collection '{}'", key.id, key.collection);
                (StatusCode::NOT_FOUND, "Document not found", message)
            }
            Self::RouteNotFound { method, path } => {
                (StatusCode::NOT_FOUND, "Not found", format!("No route {method} {path}"))
            }
            Self::MethodNotAllowed { method, path } => {
                let message = format!("{path} does not have the method {method}; the header Allow has the others");
                (StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", message)
            }
            Self::CursorReset => {
                let message = "The cursor is not of this log (the database may have been restored); keep what you \
                               have, start again with \"cursor\": null, and push again what the server has lost";
                (StatusCode::GONE, "Cursor reset", message.to_owned())
            }
            Self::OtherView => {
                let message = "You may see other documents than when you got the cursor; start again from nothing \
                               with \"cursor\": null, and remove what you do not receive";
                (StatusCode::GONE, "View changed", message.to_owned())
            }
            Self::CursorNeeded => {
                let message = "You may not see every document, and such clients pull with a cursor; \
                               send \"cursor\": null to begin";
                (StatusCode::FORBIDDEN, "cursor_needed", message.to_owned())
            }
            Self::BodyTooLarge => {
                let message = format!(
                    "A body has at most {REQUEST_BODY_MAX_BYTES} bytes ({LAMBDA_BODY_MAX_BYTES} in a Lambda), as sent \
                     and inflated"
                );
                (StatusCode::PAYLOAD_TOO_LARGE, "Request too large", message)
            }
            Self::AnswerTooLarge { max_bytes } => {
                let message = format!(
                    "The answer has more than the {max_bytes} bytes that can be handed on; ask for less at once"
                );
                (StatusCode::INTERNAL_SERVER_ERROR, "Answer too large", message)
            }
            Self::UnsupportedEncoding => {
                let message = "A body's Content-Encoding is one of gzip, br, zstd, deflate and identity";
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "Unsupported content encoding", message.to_owned())
            }
            Self::Denied(denied) => denied.parts(),
            Self::ForbiddenRole => {
                let message = "The role of the token does not permit this";
                (StatusCode::FORBIDDEN, "forbidden_role", message.to_owned())
            }
            Self::ForbiddenField(_) => {
                let message = "The role of the token does not permit a field of the request";
                (StatusCode::FORBIDDEN, "forbidden_role", message.to_owned())
            }
            Self::ForeignClient { .. } => {
                let message = "The client id belongs to another subject; each device or browser profile makes its own";
                (StatusCode::FORBIDDEN, "foreign_client", message.to_owned())
            }
            Self::Refused(refusal) => refusal.parts(),
            Self::NoStream(NoSeat::ForSubject) => {
                let message = format!(
                    "A subject has at most {SUBJECT_STREAMS_MAX_REQUESTS} streams at the same time; close one of them, \
                     or pull with the key wait"
                );
                (StatusCode::TOO_MANY_REQUESTS, "too_many_streams", message)
            }
            Self::RunTooLong => {
                let message = format!(
                    "More changes share the next timestamp than fit a page ({PAGE_MAX_OPERATIONS} operations, 4 MiB); \
                     pull with a cursor: send \"cursor\": null to begin"
                );
                (StatusCode::UNPROCESSABLE_ENTITY, "Too many changes with one timestamp", message)
            }
            Self::Service(ServiceError::QuotaExceeded(exceeded)) => {
                let message = format!("The request exceeds the quota: {exceeded}");
                (StatusCode::INSUFFICIENT_STORAGE, "Quota exceeded", message)
            }
            Self::Service(error) if can_retry(error) => try_again(),
            Self::NoStream(NoSeat::ForAnybody) | Self::TimedOut | Self::Unavailable { .. } => try_again(),
            Self::Service(_) | Self::Internal { .. } => {
                let message = "The server failed; its log has the details under the x-request-id of this answer";
                (StatusCode::INTERNAL_SERVER_ERROR, "Internal error", message.to_owned())
            }
        }
    }

    /// The value of `WWW-Authenticate`, by section 3 of RFC 6750.
    fn challenge(&self) -> Option<&'static str> {
        match self {
            Self::Denied(Denied::Missing) => Some("Bearer"),
            Self::Denied(Denied::Malformed) => Some("Bearer error=\"invalid_request\""),
            Self::Denied(Denied::InvalidToken) => Some("Bearer error=\"invalid_token\""),
            Self::Denied(Denied::Expired) => Some("Bearer error=\"invalid_token\", error_description=\"expired\""),
            Self::Denied(Denied::ForbiddenTenant | Denied::NoAccess)
            | Self::ForbiddenRole
            | Self::ForbiddenField(_) => Some("Bearer error=\"insufficient_scope\""),
            _ => None,
        }
    }

    /// Logs the cause, which the client does not receive.
    fn log(&self, status: StatusCode) {
        let cause: &dyn Display = match self {
            Self::Service(ServiceError::QuotaExceeded(_)) => return,
            Self::Service(error) => error,
            Self::Internal { cause } | Self::Unavailable { cause } => cause,
            Self::AnswerTooLarge { .. } => &"the answer is too large",
            Self::TimedOut => &"the request took too long",
            _ => return,
        };
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(error.cause = %cause, "request failed");
        } else {
            tracing::warn!(error.cause = %cause, "request failed and may be tried again");
        }
    }
}

fn try_again() -> (StatusCode, &'static str, String) {
    let message = "The server cannot do this right now; send the same request again";
    (StatusCode::SERVICE_UNAVAILABLE, "Unavailable", message.to_owned())
}

fn can_retry(error: &ServiceError) -> bool {
    match error {
        ServiceError::Store(error) => error.can_retry(),
        ServiceError::Contended { .. } => true,
        ServiceError::QuotaExceeded(_) => false,
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let (status, error, message) = self.parts();
        self.log(status);
        let fields = match &self {
            Self::BadFields(faults) => Some(faults.logged_names().collect()),
            Self::ForbiddenField(field) => Some(vec![*field]),
            Self::ForeignClient { field } => Some(vec![field.as_str()]),
            _ => None,
        };
        let reason = match &self {
            Self::CursorReset => Some(RESET),
            Self::OtherView => Some(VIEW),
            _ => None,
        };
        let deleted = match &self {
            Self::DocumentDeleted { rev, clock, .. } => Some(Tombstone {
                rev: rev.get(),
                vector_clock: clock.iter().map(|(client, counter)| (client.as_str(), counter)).collect(),
            }),
            _ => None,
        };
        let mut response = json(status, to_json(&ErrorBody { error, message: &message, fields, reason, deleted }));
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        if let Self::Denied(Denied::TooManyRequests { retry_after_seconds }) = self {
            response.headers_mut().insert(RETRY_AFTER, retry_after_seconds.into());
        } else if matches!(self, Self::NoStream(_)) {
            response.headers_mut().insert(RETRY_AFTER, STREAM_RETRY_AFTER_SECONDS.into());
        } else if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_SECONDS.into());
        }
        response
    }
}

/// The JSON of a type of the protocol. Writing it cannot fail.
pub(super) fn to_json(body: &impl Serialize) -> String {
    serde_json::to_string(body).unwrap_or_default()
}

impl From<ServiceError> for ApiError {
    fn from(error: ServiceError) -> Self {
        Self::Service(error)
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

/// The answer if the server failed by its own fault. The cause is logged, and the client does not receive it.
#[must_use]
pub fn internal_error(cause: String) -> Response {
    ApiError::Internal { cause }.into_response()
}

/// The answer if the server cannot work for now. The cause is logged, and the client does not receive it.
#[must_use]
pub fn unavailable(cause: String) -> Response {
    ApiError::Unavailable { cause }.into_response()
}

/// The answer in place of one that is too large to be passed on.
#[must_use]
pub fn answer_too_large(max_bytes: usize) -> Response {
    ApiError::AnswerTooLarge { max_bytes }.into_response()
}

/// The answer for routes that do not exist.
pub(super) async fn not_found(method: Method, uri: Uri) -> ApiError {
    ApiError::RouteNotFound { method, path: excerpt(uri.path()) }
}

/// The answer for methods that a route does not have. The router adds `Allow`.
pub(super) async fn method_not_allowed(method: Method, uri: Uri) -> ApiError {
    ApiError::MethodNotAllowed { method, path: excerpt(uri.path()) }
}

/// Gives an error from a layer around the routes (a bare status, or text) the shape of every other error. All other
/// answers, and headers such as `Allow`, stay unchanged.
#[must_use]
pub fn in_shape(response: Response) -> Response {
    let status = response.status();
    let is_error = status.is_client_error() || status.is_server_error();
    if !is_error || is_json(response.headers()) {
        return response;
    }
    let mut shaped = ApiError::of_layer(status).into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_TYPE && name != CONTENT_LENGTH {
            shaped.headers_mut().append(name, HeaderValue::clone(value));
        }
    }
    shaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_status_of_a_layer_gets_the_shape_of_every_error_and_keeps_its_headers() {
        let bare = (StatusCode::UNSUPPORTED_MEDIA_TYPE, [("accept-encoding", "gzip")], "text").into_response();
        let shaped = in_shape(bare);
        assert_eq!(shaped.status(), StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(shaped.headers()["accept-encoding"], "gzip");
        assert!(is_json(shaped.headers()));
        let retried = in_shape(StatusCode::SERVICE_UNAVAILABLE.into_response());
        assert_eq!(retried.headers()["retry-after"], "1");
        let fine = in_shape(StatusCode::NO_CONTENT.into_response());
        assert!(fine.headers().is_empty());
    }
}
