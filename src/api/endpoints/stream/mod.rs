//! `GET /changes/stream`: tells a client at once that there are changes, which it then pulls.
//!
//! The answer is a stream of events as browsers read them (`text/event-stream`). It has no data of documents.
//!
//! | event | data | when |
//! |---|---|---|
//! | `changed` | `{}` | the log has changed. The `id` is the newest place of the log, as a cursor |
//! | `end` | `{"reason":"age"}` | after 9 to 11 minutes |
//! | `end` | `{"reason":"expired"}` | the token has expired |
//! | `end` | `{"reason":"stopping"}` | the server stops |
//!
//! The first `changed` comes at once, unless `Last-Event-ID` names the newest place. Further ones come at most every
//! 100 ms. A comment comes after 18 to 22 seconds without an event. `retry` says how long a client waits before it
//! connects again.
//!
//! A client pulls after each `changed`, and pulls from its own cursor and not from the `id`. An event is a hint: it may
//! be lost, repeated or late.
//!
//! | header of the request | meaning |
//! |---|---|
//! | `Last-Event-ID` | the `id` of the last event, which browsers send when they connect again |
//!
//! | status | answer |
//! |---|---|
//! | 200 | the stream |
//! | 400 | `Last-Event-ID` is not the `id` of an event |
//! | 429 | the subject has 10 streams already |
//! | 503 | the server has too many streams already, or stops |
//!
//! There is no such stream in a Lambda.

mod schedule;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::future::{Either, select};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt as _};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue};

use self::schedule::{Due, Reason, Schedule};
use super::changes::marked_cursor;
use crate::api::access::{Reader, Seating};
use crate::api::error::ApiError;
use crate::api::schema::{BadRequest, LayerErrors, Unauthorized, Unavailable};
use crate::api::waiting::holdings::LastsLong;
use crate::api::waiting::seats::Seat;
use crate::core::cursor::{Cursor, Position};
use crate::limits::api::{STREAM_RETRY_JITTER_MS, STREAM_RETRY_MS};
use crate::service::{SyncService, Wakes};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Asks proxies that read it (nginx) to pass events on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// Tells a client at once that there are changes.
#[utoipa::path(
    get,
    path = "/changes/stream",
    tag = "sync",
    security(("token" = [])),
    params(("Last-Event-ID" = Option<String>, Header, description = "the `id` of the last event, which is a cursor")),
    responses(
        (
            status = 200,
            description = "events: `changed` with a place as `id`, and `end` with a reason",
            body = String,
            content_type = "text/event-stream",
        ),
        BadRequest, LayerErrors, Unauthorized, Unavailable,
    ),
)]
pub(in crate::api) async fn stream_changes(
    State(service): State<Arc<SyncService>>,
    State(seating): State<Seating>,
    Reader(principal): Reader,
    request: HeaderMap,
) -> Result<Response, ApiError> {
    let seen = last_event_id(&request)?;
    let seat = seating.streams.take(&principal).map_err(ApiError::NoStream)?;
    let stopping = || ApiError::Unavailable { cause: "no further listener is taken in".to_owned() };
    let wakes = service.wakes(&principal.tenant).ok_or_else(stopping)?;
    let schedule = Schedule::new(service.now_ms(), seen, principal.valid_until_ms, service.random_bits());
    let retry_ms = STREAM_RETRY_MS + service.random_bits() % (STREAM_RETRY_JITTER_MS + 1);
    let stream = EventStream { service, wakes, schedule, retry_ms: Some(retry_ms), has_ended: false, _seat: seat };
    let mut response = Body::from_stream(stream.pieces()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response.extensions_mut().insert(LastsLong);
    Ok(response)
}

/// The place that the client knows.
fn last_event_id(request: &HeaderMap) -> Result<Option<Position>, ApiError> {
    let Some(id) = request.get(LAST_EVENT_ID).filter(|id| !id.is_empty()) else { return Ok(None) };
    let cursor = id.to_str().ok().and_then(|id| marked_cursor(id).ok());
    match cursor {
        Some(marked) => Ok(Some(marked.cursor.position())),
        None => Err(ApiError::bad_field("Last-Event-ID", "is not the id of an event")),
    }
}

/// A stream of events, as long as its client reads it.
struct EventStream {
    service: Arc<SyncService>,
    wakes: Wakes,
    schedule: Schedule,
    /// How long the client waits before it connects again, if it was not told yet.
    retry_ms: Option<u64>,
    has_ended: bool,
    _seat: Seat,
}

impl EventStream {
    fn pieces(self) -> impl Stream<Item = Result<Bytes, Infallible>> + Send {
        unfold(self, async |mut stream: Self| stream.next().await.map(|piece| (Ok(Bytes::from(piece)), stream)))
    }

    /// The next piece of the answer. `None` after the last one.
    async fn next(&mut self) -> Option<String> {
        if self.has_ended {
            return None;
        }
        if let Some(retry_ms) = self.retry_ms.take() {
            return Some(format!("retry: {retry_ms}\n\n"));
        }
        loop {
            match self.schedule.next(self.service.now_ms(), self.service.random_bits()) {
                Due::Changed(place) => {
                    return Some(format!("event: changed\nid: {}\ndata: {{}}\n\n", Cursor::Log(place)));
                }
                Due::Comment => return Some(":\n\n".to_owned()),
                Due::End(reason) => return Some(self.end(reason)),
                Due::Wait(wait_ms) => {
                    let pause = self.service.sleep(Duration::from_millis(wait_ms));
                    match select(self.wakes.next(), pause).await {
                        Either::Left((Some(place), _)) => self.schedule.saw(place),
                        Either::Left((None, _)) => return Some(self.end(Reason::Stopping)),
                        Either::Right(_) => {}
                    }
                }
                // It does not listen meanwhile, so commits that come quickly wake it once.
                Due::Pause(pause_ms) => self.service.sleep(Duration::from_millis(pause_ms)).await,
            }
        }
    }

    fn end(&mut self, reason: Reason) -> String {
        self.has_ended = true;
        format!("event: end\ndata: {{\"reason\":\"{}\"}}\n\n", reason.as_str())
    }
}
