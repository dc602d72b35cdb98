//! The connection between TCP and the routes.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::App;
use super::connections::{Activity, ConnectionLimits, Connections, Noting, Place};
use crate::core::limits::{
    ACCEPT_PAUSE_MS, CONNECTION_IDLE_TIME_MAX_SECONDS, CONNECTION_MAX_REQUESTS, REQUEST_HEAD_TIME_MAX_SECONDS,
    STOP_TIME_MAX_SECONDS,
};

/// The answer to a connection for which there is no room.
const CROWDED: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json; charset=utf-8\r\n\
    content-length: 76\r\nretry-after: 1\r\nconnection: close\r\n\r\n\
    {\"error\":\"Unavailable\",\"message\":\"the server has too many open connections\"}";

/// Answers requests over HTTP/1 and HTTP/2 until it is told to stop. Then it closes the idle connections and finishes
/// the requests in progress. It ends when they are finished, when that has taken too long, or when it is told a second
/// time.
///
/// Each call of `told_to_stop` waits for one more such signal.
pub async fn serve(listener: TcpListener, app: App, limits: ConnectionLimits, mut told_to_stop: impl AsyncFnMut()) {
    let server = server();
    let (stop_connections, stopping) = watch::channel(false);
    let mut connections = Connections::new(limits.max_connections);
    let mut tasks = JoinSet::new();
    {
        let mut stop = pin!(told_to_stop());
        let mut accepting = pin!(accept(&listener));
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                Some(_) = tasks.join_next() => continue,
                stream = &mut accepting => stream,
            };
            accepting.set(accept(&listener));
            let activity = Activity::new(limits);
            let Some(place) = connections.enter(&activity) else {
                // The send buffer of a new connection has room for these few bytes. If it has not, the server does not
                // wait.
                let _ = stream.try_write(CROWDED.as_bytes());
                continue;
            };
            let stream = Noting { stream, activity: Arc::clone(&activity) };
            tasks.spawn(converse(server.clone(), stream, app.clone(), place, stopping.clone()));
        }
    }
    // New clients are refused at once, because no process listens any more.
    drop(listener);
    drop(stopping);
    stop_connections.send_replace(true);
    let stop_time_max = Duration::from_secs(STOP_TIME_MAX_SECONDS.into());
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => tracing::info!("every request is finished"),
        () = tokio::time::sleep(stop_time_max) => tracing::warn!("requests that took too long to finish are cut off"),
        () = told_to_stop() => tracing::warn!("told twice to stop, so requests are cut off"),
    }
    tasks.shutdown().await;
}

/// Answers the requests of one connection until it is closed by either side.
async fn converse(
    server: Builder<TokioExecutor>,
    stream: Noting<TcpStream>,
    app: App,
    _place: Place,
    mut stopping: watch::Receiver<bool>,
) {
    let activity = Arc::clone(&stream.activity);
    let answer = |request: Request<Incoming>| {
        let exchange = activity.begin();
        let answer = app.clone().oneshot(request);
        async move { Ok::<Response, Infallible>(exchange.until_read(answer.await?)) }
    };
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
    let done = tokio::select! {
        done = connection.as_mut() => Some(done),
        () = activity.over() => None,
        () = stopped(&mut stopping) => {
            // Requests in progress are finished, within the time that the server allows.
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                done = connection.as_mut() => Some(done),
                () = activity.quiet() => Some(Ok(())),
            }
        }
    };
    let done = match done {
        Some(done) => done,
        None => {
            // A client that is about to send a request is told to use another connection.
            connection.as_mut().graceful_shutdown();
            tokio::time::timeout(activity.grace(), connection.as_mut()).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = done {
        tracing::debug!(error.cause = %error, "connection broke");
    }
}

/// Completes when the server is told to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The stop is sent before the sender is dropped.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

fn server() -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    let head_time_max = Duration::from_secs(REQUEST_HEAD_TIME_MAX_SECONDS.into());
    let idle_time_max = Duration::from_secs(CONNECTION_IDLE_TIME_MAX_SECONDS.into());
    // This time begins at the end of the previous answer, so it also limits how long a connection is idle.
    server.http1().timer(TokioTimer::new()).header_read_timeout(idle_time_max);
    // Over HTTP/2, a ping finds out whether a silent client still exists.
    server.http2().timer(TokioTimer::new()).keep_alive_interval(head_time_max).keep_alive_timeout(head_time_max);
    server.http2().max_concurrent_streams(CONNECTION_MAX_REQUESTS);
    server
}

/// Waits for a connection. After an error it waits longer.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written in one piece, so collecting small ones has no benefit.
                let _ = stream.set_nodelay(true);
                return stream;
            }
            Err(error) => {
                tracing::warn!(error.cause = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}
