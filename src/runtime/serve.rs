//! The connection between TCP and the routes.

mod connections;
mod files;

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{self, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tower::ServiceExt as _;

pub use self::connections::ConnectionLimits;
use self::connections::{Activity, Connections, Noting, Place};
pub use self::files::max_connections;
use super::App;
use super::addresses::Addresses;
use super::memory::Cut;
use super::metrics::Metrics;
use crate::limits::runtime::{
    ACCEPT_PAUSE_MS, CONNECTION_BUFFER_MAX_BYTES, CONNECTION_IDLE_TIME_MAX_SECONDS, CONNECTION_MAX_REQUESTS,
    REFUSED_MAX_CONNECTIONS, REFUSED_READ_MAX_BYTES, REFUSED_TIME_MAX_MS, REQUEST_HEAD_TIME_MAX_SECONDS,
    STREAM_WINDOW_MAX_BYTES,
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
    let server = server(limits.taken.http2);
    let stop_time_max = limits.stop;
    let limits = Arc::new(limits);
    let (stop_connections, stopping) = watch::channel(false);
    let mut connections = Connections::new(Arc::clone(&limits));
    let refusing = Arc::new(Semaphore::new(REFUSED_MAX_CONNECTIONS));
    let mut tasks = JoinSet::new();
    {
        let mut stop = pin!(told_to_stop());
        let mut accepting = pin!(accept(&listener));
        loop {
            let (stream, peer) = tokio::select! {
                () = &mut stop => break,
                Some(_) = tasks.join_next() => continue,
                accepted = &mut accepting => accepted,
            };
            accepting.set(accept(&listener));
            let activity = Activity::new(Arc::clone(&limits));
            let Some(place) = connections.enter(&activity, peer) else {
                if let Some(metrics) = app.metrics() {
                    metrics.refuse_connection();
                }
                if let Ok(turn) = Arc::clone(&refusing).try_acquire_owned() {
                    tasks.spawn(refuse(stream, turn));
                }
                continue;
            };
            let stream = Noting { stream, activity: Arc::clone(&activity) };
            let origin = Origin { peer, limits: Arc::clone(&limits) };
            tasks.spawn(converse(server.clone(), stream, app.clone(), origin, place, stopping.clone()));
        }
    }
    // New clients are refused at once, because no process listens any more.
    drop(listener);
    drop(stopping);
    stop_connections.send_replace(true);
    tokio::select! {
        () = async { while tasks.join_next().await.is_some() {} } => tracing::info!("every request is finished"),
        () = tokio::time::sleep(stop_time_max) => tracing::warn!("requests that took too long to finish are cut off"),
        () = told_to_stop() => tracing::warn!("told twice to stop, so requests are cut off"),
    }
    tasks.shutdown().await;
}

/// Tells a client that there is no room, and lets it read this. If a connection is closed while its client sends, the
/// answer is lost too.
async fn refuse(mut stream: TcpStream, _turn: OwnedSemaphorePermit) {
    let talking = async {
        stream.write_all(CROWDED.as_bytes()).await?;
        stream.shutdown().await?;
        let (mut buffer, mut bytes_left) = ([0; 4096], REFUSED_READ_MAX_BYTES);
        while bytes_left > 0 {
            match stream.read(&mut buffer).await? {
                0 => break,
                count => bytes_left = bytes_left.saturating_sub(count),
            }
        }
        Ok::<(), io::Error>(())
    };
    // The client may be gone already.
    let _ = timeout(Duration::from_millis(REFUSED_TIME_MAX_MS), talking).await;
}

/// The origin of a connection.
struct Origin {
    peer: IpAddr,
    limits: Arc<ConnectionLimits>,
}

/// Answers the requests of one connection until it is closed by either side.
async fn converse(
    server: Builder<TokioExecutor>,
    stream: Noting<TcpStream>,
    app: App,
    origin: Origin,
    _place: Place,
    mut stopping: watch::Receiver<bool>,
) {
    let _open = app.metrics().map(Metrics::open_connection);
    let activity = Arc::clone(&stream.activity);
    let stalling = Arc::clone(&activity);
    let cut = Cut::default();
    let answer = |mut request: Request<Incoming>| {
        let exchange = activity.begin();
        let proxies = &origin.limits.taken.trusted_proxies;
        let addresses = Addresses::new(origin.peer, request.headers(), proxies);
        request.extensions_mut().insert(addresses);
        request.extensions_mut().insert(cut.clone());
        let answer = app.clone().oneshot(request);
        async move { Ok::<Response, Infallible>(exchange.until_read(answer.await?)) }
    };
    let mut connection = pin!(server.serve_connection(TokioIo::new(stream), service_fn(answer)));
    let conversing = async {
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
                timeout(activity.grace(), connection.as_mut()).await.unwrap_or(Ok(()))
            }
        };
        if let Err(error) = done {
            tracing::debug!(error.cause = %error, "connection broke");
        }
    };
    tokio::select! {
        () = conversing => {}
        () = stalling.stalled() => {}
        () = cut.happens() => {}
    }
}

/// Completes when the server is told to stop.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // The stop is sent before the sender is dropped.
    let _ = stopping.wait_for(|is_stopping| *is_stopping).await;
}

fn server(http2: bool) -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    let head_time_max = Duration::from_secs(REQUEST_HEAD_TIME_MAX_SECONDS.into());
    let idle_time_max = Duration::from_secs(CONNECTION_IDLE_TIME_MAX_SECONDS.into());
    // This time begins at the end of the previous answer, so it also limits how long a connection is idle.
    server.http1().timer(TokioTimer::new()).header_read_timeout(idle_time_max);
    server.http1().max_buf_size(CONNECTION_BUFFER_MAX_BYTES);
    if !http2 {
        return server.http1_only();
    }
    // Over HTTP/2, a ping finds out whether a silent client still exists.
    server.http2().timer(TokioTimer::new()).keep_alive_interval(head_time_max).keep_alive_timeout(head_time_max);
    server.http2().max_concurrent_streams(CONNECTION_MAX_REQUESTS);
    server.http2().initial_stream_window_size(STREAM_WINDOW_MAX_BYTES);
    server.http2().initial_connection_window_size(STREAM_WINDOW_MAX_BYTES);
    server
}

/// Waits for a connection. After an error it waits longer.
async fn accept(listener: &TcpListener) -> (TcpStream, IpAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Answers are written in one piece, so collecting small ones has no benefit.
                let _ = stream.set_nodelay(true);
                return (stream, peer.ip());
            }
            Err(error) => {
                tracing::warn!(error.cause = %error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(ACCEPT_PAUSE_MS)).await;
            }
        }
    }
}
