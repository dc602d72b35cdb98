//! Properties that hold for all bytes. The fuzzer tries them, and so does the suite `fuzzed` in every test run.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::FutureExt as _;
use http_body_util::BodyExt as _;
use syncflow_server::api::Api;
use syncflow_server::conformance::VirtualHost;
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::clock::{Relation, VectorClock};
use syncflow_server::core::cursor::{Cursor, QueryCursor};
use syncflow_server::core::filter::SortPlace;
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::service::SyncService;
use syncflow_server::store::memory::MemoryStore;
use tower::ServiceExt as _;

/// The routes that read a body.
const ROUTES: [&str; 4] = ["/operations", "/changes", "/documents/todos/query", "/compact"];

/// Any body is answered with JSON and never with a failure of the server, also the second time.
pub(crate) fn a_body_is_answered(bytes: &[u8]) {
    let service = SyncService::new(Arc::new(MemoryStore::new()), Arc::new(VirtualHost::new()));
    let principal = Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Admin);
    let routes = Api::builder(Arc::new(service)).fixed_principal(principal).build();
    for route in ROUTES.iter().chain(&ROUTES) {
        let request = Request::post(*route).body(Body::from(bytes.to_vec())).expect("a request");
        // None of these futures waits for an event, so each is complete after one poll.
        let response = routes.clone().oneshot(request).now_or_never().expect("an answer at once");
        let response = response.expect("routes cannot fail");
        let status = response.status();
        assert!(status == StatusCode::OK || status.is_client_error(), "{route}: {status}");
        let body = response.into_body().collect().now_or_never().expect("it is there").expect("it is whole");
        let answer: serde_json::Value = serde_json::from_slice(&body.to_bytes()).expect("an answer is JSON");
        assert!(status == StatusCode::OK || (answer["error"].is_string() && answer["message"].is_string()), "{answer}");
    }
}

/// If a text is a cursor, it is exactly the text that this cursor is written as.
pub(crate) fn a_cursor_has_one_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(cursor) = Cursor::parse(text) {
        assert_eq!(cursor.to_string(), text);
    }
    if let Ok(cursor) = QueryCursor::parse(text) {
        assert_eq!(cursor.to_string(), text);
    }
    if let Ok(place) = SortPlace::parse(text) {
        assert_eq!(place.to_string(), text);
    }
}

/// Two clocks in one text, with a newline between them: each is the same after writing and reading, and their relation
/// is symmetric.
pub(crate) fn clocks_are_an_order(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let (first, second) = text.split_once('\n').unwrap_or((text, "{}"));
    let (Ok(first), Ok(second)) = (VectorClock::parse(first), VectorClock::parse(second)) else { return };
    assert_eq!(VectorClock::parse(first.json().as_str()).as_ref(), Ok(&first));
    let other_side = match first.compare(&second) {
        Relation::HappensBefore => Relation::HappensAfter,
        Relation::HappensAfter => Relation::HappensBefore,
        same => same,
    };
    assert_eq!(second.compare(&first), other_side);
    let mut merged = first.clone();
    merged.merge(&second);
    for clock in [&first, &second] {
        assert!(matches!(merged.compare(clock), Relation::HappensAfter | Relation::Equal));
    }
}
