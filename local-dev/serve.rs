//! The shim between TCP and the routes.

use std::pin::pin;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use syncflow_server::core::limits::{
    ACCEPT_PAUSE_MS, REQUEST_HEAD_TIME_MAX_SECONDS, SERVER_MAX_CONNECTIONS, STOP_TIME_MAX_SECONDS,
};
use syncflow_server::runtime::App;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Answers what comes in, over HTTP/1 and HTTP/2, until it is told to stop; then closes the connections that have nothing
/// to do and finishes what is in flight, until that has taken too long or it is told once more.
///
/// Each call of `told_to_stop` waits for one more word.
pub(crate) async fn serve(listener: TcpListener, app: App, mut told_to_stop: impl AsyncFnMut()) {
    let server = server();
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    {
        let mut stop = pin!(told_to_stop());
        loop {
            let stream = tokio::select! {
                () = &mut stop => break,
                Some(_) = connections.join_next() => continue,
                stream = accept(&listener), if connections.len() < SERVER_MAX_CONNECTIONS => stream,
            };
            let service = TowerToHyperService::new(app.clone());
            let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
            let connection = graceful.watch(connection);
            connections.spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error.cause = %error, "connection broke");
                }
            });
        }
    }
    // Whoever comes now is told at once that nobody listens.
    drop(listener);
    let stop_time_max = Duration::from_secs(STOP_TIME_MAX_SECONDS.into());
    tokio::select! {
        () = graceful.shutdown() => tracing::info!("every request is finished"),
        () = tokio::time::sleep(stop_time_max) => tracing::warn!("requests that took too long to finish are cut off"),
        () = told_to_stop() => tracing::warn!("told twice to stop, so requests are cut off"),
    }
    connections.shutdown().await;
}

fn server() -> Builder<TokioExecutor> {
    let mut server = Builder::new(TokioExecutor::new());
    let head_time_max = Duration::from_secs(REQUEST_HEAD_TIME_MAX_SECONDS.into());
    server.http1().timer(TokioTimer::new()).header_read_timeout(head_time_max);
    // Over HTTP/2 a client that has gone without a word is found by asking it.
    server.http2().timer(TokioTimer::new()).keep_alive_interval(head_time_max).keep_alive_timeout(head_time_max);
    server
}

/// Waits for a connection; where one cannot be accepted, for longer.
async fn accept(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                // Answers are written in one piece, so there is nothing to gain from collecting small ones.
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
