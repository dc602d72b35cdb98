//! A listening server over a router, without any layers.

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// A server that ends when it is dropped.
pub(crate) struct Listening {
    authority: String,
    task: JoinHandle<()>,
}

impl Listening {
    pub(crate) async fn start(router: Router) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let authority = listener.local_addr().expect("an address").to_string();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let service = TowerToHyperService::new(router.clone());
                let server = Builder::new(TokioExecutor::new());
                // A client that hangs up breaks its connection, which is not an error of the server.
                connections.spawn(async move { drop(server.serve_connection(TokioIo::new(stream), service).await) });
            }
        });
        Self { authority, task }
    }

    /// Host and port.
    pub(crate) fn authority(&self) -> &str {
        &self.authority
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.task.abort();
    }
}
