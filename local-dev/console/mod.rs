//! The console: a page for people who want to see what a server has, at `/_console`.
//!
//! Its files are a part of the program. They have no data: the page asks the public API, with the token that its user
//! pastes. It only reads.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::StatusCode;
use http::header::{ALLOW, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, REFERRER_POLICY};

/// The path of the page.
pub(crate) const PATH: &str = "/_console";

/// Scripts and styles are files of their own, so that nothing else can run. A script in a document's data cannot, nor
/// can one of another site. Texts never become markup, which the last part makes browsers check.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The files of the page: their paths below the page's own, their types and their texts.
const FILES: [(&str, &str, &str); 13] = [
    ("", HTML, include_str!("page/index.html")),
    ("/icon.svg", IMAGE, include_str!("page/icon.svg")),
    ("/style.css", STYLE, include_str!("page/style.css")),
    ("/main.js", SCRIPT, include_str!("page/main.js")),
    ("/api.js", SCRIPT, include_str!("page/api.js")),
    ("/clocks.js", SCRIPT, include_str!("page/clocks.js")),
    ("/dom.js", SCRIPT, include_str!("page/dom.js")),
    ("/log.js", SCRIPT, include_str!("page/log.js")),
    ("/views/clients.js", SCRIPT, include_str!("page/views/clients.js")),
    ("/views/conflicts.js", SCRIPT, include_str!("page/views/conflicts.js")),
    ("/views/documents.js", SCRIPT, include_str!("page/views/documents.js")),
    ("/views/live.js", SCRIPT, include_str!("page/views/live.js")),
    ("/views/overview.js", SCRIPT, include_str!("page/views/overview.js")),
];

/// The routes of the page.
pub(crate) fn routes() -> Router {
    FILES.into_iter().fold(Router::new(), |router, (path, kind, text)| {
        router.route(&format!("{PATH}{path}"), get(move || async move { answer(kind, text) }).fallback(refuse))
    })
}

async fn refuse() -> impl IntoResponse {
    let headers = [(ALLOW, "GET,HEAD"), (CONTENT_TYPE, "application/json; charset=utf-8")];
    let body = r#"{"error":"Method not allowed","message":"The console only answers GET"}"#;
    (StatusCode::METHOD_NOT_ALLOWED, headers, body)
}

fn answer(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (CONTENT_TYPE, kind),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
        (OPENER_POLICY, "same-origin"),
    ];
    (headers, text)
}
