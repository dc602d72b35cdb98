//! The listener for metrics and probes, apart from the one for clients. It needs no token, and waits for no request.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use bytes::Bytes;
use http::header::CONTENT_TYPE as CONTENT_TYPE_HEADER;
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::page::Metrics;
use crate::api::{Readiness, readiness};
use crate::limits::runtime::{
    ACCEPT_PAUSE_MS, METRICS_CONNECTION_BUFFER_MAX_BYTES, METRICS_CONNECTION_TIME_MAX_MS, METRICS_MAX_CONNECTIONS,
};
use crate::service::SyncService;

/// Answers `/metrics`, `/livez` and `/readyz` until it is dropped. A connection has one request and a short time.
pub async fn serve_metrics(listener: TcpListener, metrics: Arc<Metrics>, service: Arc<SyncService>) {
    let places = Arc::new(Semaphore::new(METRICS_MAX_CONNECTIONS));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            continue;
        };
        // Further connections are closed at once.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (metrics, service) = (Arc::clone(&metrics), Arc::clone(&service));
        tokio::spawn(async move {
            let time_max = Duration::from_millis(METRICS_CONNECTION_TIME_MAX_MS);
            let _ = timeout(time_max, converse(stream, metrics, service)).await;
            drop(place);
        });
    }
}

async fn converse(stream: TcpStream, metrics: Arc<Metrics>, service: Arc<SyncService>) {
    let answer = service_fn(move |request: Request<Incoming>| {
        let (metrics, service) = (Arc::clone(&metrics), Arc::clone(&service));
        async move { Ok::<_, Infallible>(answer(&request, &metrics, &service).await) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).keep_alive(false).max_buf_size(METRICS_CONNECTION_BUFFER_MAX_BYTES);
    if let Err(error) = server.serve_connection(TokioIo::new(stream), answer).await {
        tracing::debug!(error.cause = %error, "connection for metrics broke");
    }
}

async fn answer(request: &Request<Incoming>, metrics: &Metrics, service: &SyncService) -> Response<Full<Bytes>> {
    if ![Method::GET, Method::HEAD].contains(request.method()) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here\n");
    }
    match request.uri().path() {
        "/metrics" => {
            let mut page = text(StatusCode::OK, metrics.page());
            page.headers_mut().insert(CONTENT_TYPE_HEADER, http::HeaderValue::from_static(CONTENT_TYPE));
            page
        }
        "/livez" => text(StatusCode::OK, "ok\n"),
        "/readyz" => match readiness(service).await {
            Readiness::Ready => text(StatusCode::OK, "ok\n"),
            Readiness::Draining => text(StatusCode::SERVICE_UNAVAILABLE, "draining\n"),
            Readiness::Unavailable => text(StatusCode::SERVICE_UNAVAILABLE, "unavailable\n"),
        },
        _ => text(StatusCode::NOT_FOUND, "/metrics, /livez and /readyz are here\n"),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE_HEADER, http::HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
