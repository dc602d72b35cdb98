//! A proxy before a database. It counts round trips, records the server's messages, and can fall silent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The proxy. Its connections end when it is dropped.
pub(crate) struct Proxy {
    url: String,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    round_trips: AtomicU64,
    is_client_speaking: AtomicBool,
    connections: AtomicU64,
    silent_below: AtomicU64,
    from_server: Mutex<Vec<u8>>,
}

impl Proxy {
    /// Starts a proxy before the server of a URL. Its counts are exact if there is only one connection at a time.
    pub(crate) async fn before(url: &str) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a connection string");
        let [tokio_postgres::config::Host::Tcp(host)] = config.get_hosts() else { panic!("one host in {url}") };
        let server_port = *config.get_ports().first().unwrap_or(&5432);
        let mut proxy = Self::to(host, server_port).await;
        proxy.url = url.replacen(&format!("{host}:{server_port}"), &proxy.url, 1);
        proxy
    }

    /// Starts a proxy before any TCP server. Its URL is its address.
    pub(crate) async fn to(host: &str, port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = listener.local_addr().expect("an address").to_string();
        let state = Arc::new(State::default());
        let task = tokio::spawn(serve(listener, (host.to_owned(), port), Arc::clone(&state)));
        Self { url, state, task }
    }

    /// The URL of the proxy.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// How often the client sent something and waited for an answer, since the last call.
    pub(crate) fn take_round_trips(&self) -> u64 {
        self.state.round_trips.swap(0, Ordering::SeqCst)
    }

    /// The text in the server's messages since the last call.
    pub(crate) fn take_texts(&self) -> String {
        let bytes = std::mem::take(&mut *self.state.from_server.lock().expect("nobody panics with it"));
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// From now on, existing connections carry nothing and stay open, as if a firewall had forgotten them.
    pub(crate) fn fall_silent(&self) {
        self.state.silent_below.store(self.state.connections.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: (String, u16), state: Arc<State>) {
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let number = state.connections.fetch_add(1, Ordering::SeqCst);
        let server = TcpStream::connect((server.0.as_str(), server.1)).await.expect("the server listens");
        connections.spawn(carry(number, client, server, Arc::clone(&state)));
    }
}

async fn carry(number: u64, mut client: TcpStream, mut server: TcpStream, state: Arc<State>) {
    let is_silent = || number < state.silent_below.load(Ordering::SeqCst);
    let (mut from_client, mut from_server) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(bytes @ 1..) = read else { return };
                if is_silent() {
                    continue;
                }
                if !state.is_client_speaking.swap(true, Ordering::SeqCst) {
                    state.round_trips.fetch_add(1, Ordering::SeqCst);
                }
                if server.write_all(&from_client[..bytes]).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                let Ok(bytes @ 1..) = read else { return };
                state.is_client_speaking.store(false, Ordering::SeqCst);
                state.from_server.lock().expect("nobody panics with it").extend(&from_server[..bytes]);
                if client.write_all(&from_server[..bytes]).await.is_err() { return }
            }
        }
    }
}
