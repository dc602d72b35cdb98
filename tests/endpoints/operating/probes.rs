//! The probes of a supervisor and of a load balancer.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::routing::get;
use futures_util::FutureExt as _;
use http::header::HOST;
use syncflow_server::runtime;
use tower::ServiceExt as _;

use super::PAUSE;
use crate::endpoints::client::insert;
use crate::endpoints::local::Local;
use crate::endpoints::server::read;
use crate::support::processes::free_port;

#[tokio::test]
async fn a_server_without_its_database_is_alive_and_not_ready() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("postgresql://u:p@127.0.0.1:{}/d", free_port());
    let local = Local::start(directory.path(), &[("POSTGRES_CONNECTION_STRING", &url)]).await;
    assert_eq!(local.api.get("/livez").await.json()["status"], "ok");
    let answer = local.api.get("/readyz").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, "1"));
    assert_eq!(answer.json()["status"], "unavailable");
}

#[tokio::test]
async fn a_server_that_is_told_to_stop_is_not_ready_first_and_still_serves() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("DRAIN_SECONDS", "20"), ("METRICS_BIND", "127.0.0.1:0")];
    let mut local = Local::start(directory.path(), &settings).await;
    assert_eq!(local.api.get("/readyz").await.json()["status"], "ok");
    let probe = async || reqwest::get(format!("{}/readyz", local.metrics())).await.expect("an answer");
    assert_eq!(probe().await.status(), 200);
    local.signal("TERM").await;
    let draining = loop {
        let answer = local.api.get("/readyz").await;
        if answer.status == 503 {
            break answer;
        }
        tokio::time::sleep(PAUSE).await;
    };
    assert_eq!(draining.json()["status"], "draining");
    assert_eq!((probe().await.status().as_u16(), probe().await.text().await.unwrap()), (503, "draining\n".to_owned()));
    assert_eq!(local.api.get("/livez").await.status, 200);
    assert_eq!(local.api.get("/health").await.status, 200);
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    local.log_until("draining").await;
    // A second signal ends the wait.
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
}

#[tokio::test]
async fn probes_wait_for_no_request_even_if_there_is_no_place_for_another() {
    let probe = get(async || "ok");
    let routes = Router::new()
        .route("/hang", get(std::future::pending::<()>))
        .route("/livez", probe.clone())
        .route("/readyz", probe.clone())
        .route("/health", probe);
    let app = runtime::app(routes, &read(&[]).http);
    let request = |path: &str| Request::get(path).header(HOST, "localhost").body(Body::empty()).unwrap();
    let mut hanging: Vec<_> = (0..1_100).map(|_| Box::pin(app.clone().oneshot(request("/hang")))).collect();
    for hanging in &mut hanging {
        assert!(hanging.as_mut().now_or_never().is_none());
    }
    for path in ["/livez", "/readyz", "/health"] {
        let answer = app.clone().oneshot(request(path)).now_or_never().expect("it waits for nothing").unwrap();
        assert_eq!(answer.status(), 200, "{path}");
    }
}
