//! Streams of events: the memory of idle ones, how soon they tell of a push, and what they cost those who push.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use syncflow_server::runtime::max_connections;
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Bench;
use super::push::push_load;
use crate::Result;
use crate::load::Load;
use crate::meter;
use crate::report::{Goal, Measure, Memory};
use crate::server::Server;
use crate::site::Site;
use crate::work::{Share, Work, body};

/// The greatest memory of a thousand idle streams, in MB: 12 KiB for each.
const THOUSAND_STREAMS_MAX_MB: f64 = 12.288;

/// The part of the throughput that pushes have at least while somebody listens.
const THROUGHPUT_MIN: f64 = 0.9;

/// How many streams share a connection over HTTP/2, by the limit of the server.
const STREAMS_OF_CONNECTION: u32 = 32;

/// How many streams come from one address over HTTP/1.1, because an address has only so many ports.
const STREAMS_OF_ADDRESS: u32 = 4_000;

/// How many connections the server takes beside those of the streams.
const OTHER_CONNECTIONS: u32 = 100;

/// The time between two pushes whose wake-ups are measured: longer than the shortest time between two events.
const QUIET: Duration = Duration::from_millis(250);

/// How long the slowest stream may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The batch and the connections of the pushes that are compared.
const PUSHED: (usize, u64) = (10, 8);

/// How streams reach the server.
#[derive(Debug, Clone, Copy)]
enum Wire {
    /// Each has a connection, as behind most proxies.
    Http1,
    /// Some share a connection.
    Http2,
}

/// Streams that are open until this is dropped.
struct Streams {
    tasks: JoinSet<()>,
    events: UnboundedReceiver<Instant>,
    sender: UnboundedSender<Instant>,
    open: Arc<AtomicU64>,
}

impl Streams {
    fn none() -> Self {
        let (sender, events) = unbounded_channel();
        Self { tasks: JoinSet::new(), events, sender, open: Arc::default() }
    }

    /// Opens streams, and waits until each has had its first event.
    async fn open(host: &str, count: u32, wire: Wire) -> Result<Self> {
        let mut streams = Self::none();
        match wire {
            Wire::Http1 => streams.open_apart(host, count).await?,
            Wire::Http2 => streams.open_together(host, count).await?,
        }
        streams.heard(count).await?;
        Ok(streams)
    }

    async fn open_apart(&mut self, host: &str, count: u32) -> Result<()> {
        for number in 0..count {
            let socket = TcpSocket::new_v4()?;
            let source = Ipv4Addr::new(127, 0, 0, u8::try_from(1 + number / STREAMS_OF_ADDRESS)?);
            socket.bind(SocketAddr::from((source, 0)))?;
            let stream = socket.connect(host.parse()?).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
            // Its stream reports that it broke.
            tokio::spawn(async move { connection.await.unwrap_or_default() });
            let request = Request::builder().method(Method::GET).uri("/changes/stream").header("host", host);
            let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
            self.listen(sender, response)?;
        }
        Ok(())
    }

    async fn open_together(&mut self, host: &str, count: u32) -> Result<()> {
        let mut left = count;
        while left > 0 {
            let of_connection = left.min(STREAMS_OF_CONNECTION);
            let stream = TcpStream::connect(host).await?;
            stream.set_nodelay(true)?;
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            // Its streams report that it broke.
            tokio::spawn(async move { connection.await.unwrap_or_default() });
            for _ in 0..of_connection {
                let request = Request::builder().method(Method::GET).uri(format!("http://{host}/changes/stream"));
                sender.ready().await?;
                let response = sender.send_request(request.body(Empty::<Bytes>::new())?).await?;
                self.listen(sender.clone(), response)?;
            }
            left -= of_connection;
        }
        Ok(())
    }

    /// Says when each event comes. The connection is open as long as one of its streams has it.
    fn listen(&mut self, connection: impl Send + 'static, response: Response<Incoming>) -> Result<()> {
        if response.status() != StatusCode::OK {
            return Err(format!("a stream is answered with {}", response.status()).into());
        }
        let (moments, open) = (self.sender.clone(), Arc::clone(&self.open));
        self.tasks.spawn(listen(connection, response.into_body(), moments, open));
        Ok(())
    }

    /// Waits until each of so many streams has told of something, and returns when each did.
    async fn heard(&mut self, count: u32) -> Result<Vec<Instant>> {
        let mut moments = Vec::new();
        let all = async {
            while moments.len() < count as usize {
                moments.extend(self.events.recv().await);
            }
        };
        timeout(PATIENCE, all).await.map_err(|_| "some streams tell of nothing")?;
        Ok(moments)
    }
}

async fn listen(
    connection: impl Send + 'static,
    mut events: Incoming,
    moments: UnboundedSender<Instant>,
    open: Arc<AtomicU64>,
) {
    open.fetch_add(1, Ordering::Relaxed);
    while let Some(Ok(frame)) = events.frame().await {
        let is_change = frame.data_ref().is_some_and(|data| String::from_utf8_lossy(data).contains("event: changed"));
        if is_change && moments.send(Instant::now()).is_err() {
            break;
        }
    }
    open.fetch_sub(1, Ordering::Relaxed);
    drop(connection);
}

impl Bench<'_> {
    /// Idle streams over both versions of HTTP, and then streams that are told of pushes. These are over HTTP/2, and so
    /// have few connections.
    pub(super) async fn wakes(&mut self) -> Result<()> {
        let idle_streams = self.options.idle_streams();
        let connections = idle_streams + OTHER_CONNECTIONS;
        // This program needs as many files as the server.
        let most = max_connections(usize::try_from(connections)?, 0);
        if most < usize::try_from(connections)? {
            return Err(format!("this process may open {most} connections, and {connections} are needed").into());
        }
        let settings = [
            ("HTTP2", "on".to_owned()),
            ("STREAMS_MAX", idle_streams.to_string()),
            ("CONNECTIONS_MAX", connections.to_string()),
        ];
        let work = Work::new(self.options.documents(), true);
        let operations = self.options.documents();
        self.progress.set_message("the rows of the streams");
        let database = self.databases.make().await?;
        let site = Site::start_with(&database, work, operations, &settings, &self.progress).await?;
        let variables = [database.variables(), settings.to_vec()].concat();
        let wires = [(Wire::Http1, "1,000 idle streams, HTTP/1.1"), (Wire::Http2, "1,000 idle streams, HTTP/2")];
        for (wire, name) in wires {
            self.idle_streams(&Server::start(&variables)?, wire, name).await?;
        }
        self.latency(&site, &site.server.host, "").await?;
        let other = Server::start(&variables)?;
        self.latency(&site, &other.host, " of another server").await?;
        drop(other);
        self.throughput(&site).await?;
        self.note_peak(&site.server);
        Ok(())
    }

    /// The memory of streams that have nothing to tell.
    async fn idle_streams(&mut self, server: &Server, wire: Wire, name: &'static str) -> Result<()> {
        let count = self.options.idle_streams();
        self.begin(name, 1);
        let memory = || meter::memory_mb(server.pid(), "VmRSS").ok_or("the server has ended");
        let before = memory()?;
        let streams = Streams::open(&server.host, count, wire).await?;
        sleep(super::IDLE_TIME).await;
        let megabytes = (memory()? - before).max(0.0) / f64::from(count) * 1_000.0;
        if streams.open.load(Ordering::Relaxed) < u64::from(count) {
            return Err("some streams have ended".into());
        }
        let goal = Goal::AtMost(THOUSAND_STREAMS_MAX_MB);
        self.report.memory.push(Memory { store: self.store.as_str(), name, megabytes, goal });
        self.progress.inc(1);
        Ok(())
    }

    /// The time from the answer of a push to the wake-up of each stream, which are those of a server on the same store.
    async fn latency(&mut self, site: &Site, host: &str, of_server: &str) -> Result<()> {
        let count = self.options.woken_streams();
        let name = format!("wake-up of {count} streams{of_server} after a push");
        self.begin(&name, u64::from(self.options.runs));
        let mut samples = Vec::new();
        for _ in 0..self.options.runs {
            let load = async {
                let mut streams = Streams::open(host, count, Wire::Http2).await?;
                let mut client = site.client().await?;
                let (mut load, running) = (Load::default(), self.watch(Some(&site.server)).start());
                loop {
                    sleep(QUIET).await;
                    let made = site.work.batch(Share { connection: 0, connections: 1 }, 1);
                    client.push(body(&made)).await?;
                    let answered = Instant::now();
                    for moment in streams.heard(count).await? {
                        load.add(1, moment.saturating_duration_since(answered));
                    }
                    if !running.goes_on() {
                        break;
                    }
                }
                running.stop(&mut load);
                Ok(load)
            };
            samples.push(self.measure(load).await?);
        }
        self.add(name, &samples, None, Measure::P99, None);
        Ok(())
    }

    /// Pushes with listeners, compared with pushes without.
    async fn throughput(&mut self, site: &Site) -> Result<()> {
        let (count, (batch, connections)) = (self.options.woken_streams(), PUSHED);
        let name = format!("push beside {count} streams, batches of {batch}, {connections} connections");
        self.begin(&name, u64::from(self.options.runs) * 2);
        let push = async |streams: u32| {
            let open = Streams::open(&site.server.host, streams, Wire::Http2).await?;
            let sample = self.measure(push_load(site, batch, connections, self.watch(Some(&site.server)))).await;
            drop(open);
            sample
        };
        let (alone, beside) = self.in_turns(async || push(0).await, async || push(count).await).await?;
        self.add(name, &beside, Some(("push alone", &alone)), Measure::Rows, Some(Goal::AtLeast(THROUGHPUT_MIN)));
        Ok(())
    }
}
