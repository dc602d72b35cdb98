//! `POST /compact`: removes old entries from the log, never documents.
//!
//! Request: `{"olderThanDays": 30}`, a number from 0, which may have a fraction. The key and the whole body are
//! optional, and the default is 30. Entries are removed that the server received so long ago or before, whatever their
//! clients' timestamps are.
//!
//! | status | answer |
//! |---|---|
//! | 200 | `{"message":"Compaction completed","deletedCount":245,"hasMore":false}` |
//! | 400 | the body is not a JSON object, or `olderThanDays` is not a number from 0 |
//!
//! A request works for at most 20 seconds. If entries are left then, `hasMore` is `true`, `message` says so, and the
//! next request continues. Every client with any cursor, or with only `since`, still reaches the same documents as
//! before.

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
use crate::api::fields::Fields;
use crate::api::schema::{BadRequest, CompactRequest, LayerErrors, Unauthorized, Unavailable};
use crate::limits::api::{COMPACT_DEFAULT_DAYS, COMPACT_TIME_MAX_MS};
use crate::limits::protocol::DAY_MS;
use crate::service::SyncService;

/// The result of a compaction.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Compacted {
    #[schema(example = "Compaction completed")]
    message: &'static str,
    /// The number of entries that were removed from the log.
    #[schema(example = 245)]
    deleted_count: u64,
    /// Whether entries are left for which the request had no time.
    has_more: bool,
}

/// Removes old entries from the log.
#[utoipa::path(
    post,
    path = "/compact",
    tag = "maintenance",
    security(("token" = [])),
    request_body(content = CompactRequest, description = "an empty body is treated as `{}`"),
    responses((status = 200, description = "what was removed", body = Compacted), BadRequest, LayerErrors, Unauthorized, Unavailable),
)]
pub(in crate::api) async fn compact(
    State(service): State<Arc<SyncService>>,
    Admin(principal): Admin,
    body: BodyText,
) -> Result<Response, ApiError> {
    let older_than_ms = read(body.or_empty_object(), COMPACT_DEFAULT_DAYS)?;
    let done = service.compact(&principal.tenant, older_than_ms, COMPACT_TIME_MAX_MS).await?;
    let message = if done.is_finished {
        "Compaction completed"
    } else {
        "Compaction stopped after its time; the rest is left for the next call"
    };
    let body = Compacted { message, deleted_count: done.deleted_entries, has_more: !done.is_finished };
    Ok(answer::json(StatusCode::OK, to_json(&body)))
}

/// The age in a text such as the body of this endpoint, in milliseconds. `default_days` is used if it names none.
///
/// # Errors
/// If the text is not a JSON object, or `olderThanDays` is not a number from 0.
pub fn age_ms(text: &str, default_days: f64) -> Result<u64, String> {
    read(text, default_days).map_err(|error| error.message())
}

/// The keys of the request.
pub(in crate::api) const KEYS: [&str; 1] = ["olderThanDays"];

pub(in crate::api) fn read(text: &str, default_days: f64) -> Result<u64, ApiError> {
    let mut faults = Faults::default();
    let mut fields = Fields::of_body(text, &KEYS, &mut faults)?;
    let days = fields.optional("olderThanDays", default_days, days);
    faults.into_result(days.map(milliseconds)).map_err(ApiError::BadFields)
}

fn days(text: &str) -> Result<f64, &'static str> {
    match serde_json::from_str::<f64>(text) {
        Ok(days) if days >= 0.0 => Ok(days),
        _ => Err("must be a number from 0"),
    }
}

/// Rounds down. An age that does not fit becomes the greatest one.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "the conversion saturates, and a day has few digits"
)]
fn milliseconds(days: f64) -> u64 {
    (days * DAY_MS as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_a_number_from_zero_in_days() {
        for (text, expected_ms) in [
            ("{}", 30 * DAY_MS),
            (r#"{"olderThanDays":0}"#, 0),
            (r#"{"olderThanDays":-0.0}"#, 0),
            (r#"{"olderThanDays":0.5}"#, DAY_MS / 2),
            (r#"{"olderThanDays":1e300}"#, u64::MAX),
            (r#"{"olderThanDays":"x","olderThanDays":1}"#, DAY_MS),
        ] {
            assert_eq!(read(text, COMPACT_DEFAULT_DAYS).unwrap(), expected_ms, "{text}");
        }
        assert_eq!(age_ms("{}", 0.5), Ok(DAY_MS / 2));
        assert_eq!(age_ms(r#"{"olderThanDays":-1}"#, 0.5), Err("olderThanDays: must be a number from 0".to_owned()));
        for bad in ["-1", "null", "\"1\"", "1e400", "[]", "true"] {
            let text = format!("{{\"olderThanDays\":{bad}}}");
            assert!(matches!(read(&text, 1.0), Err(ApiError::BadFields(_))), "{bad}");
        }
    }
}
