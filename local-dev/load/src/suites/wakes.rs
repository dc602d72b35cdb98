//! Streams of events: the memory of idle ones, how soon they tell of a push, and what they cost those who push.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Bench;
use super::push::push_load;
use crate::Result;
use crate::load::Load;
use crate::meter;
use crate::report::{Goal, Measure, Memory};
use crate::site::Site;
use crate::work::{Share, Work, body};

/// The greatest memory of a thousand idle streams, in MB: 12 KiB for each.
const THOUSAND_STREAMS_MAX_MB: f64 = 12.288;

/// The part of the throughput that pushes have at least while somebody listens.
const THROUGHPUT_MIN: f64 = 0.9;

/// How many streams share a connection, by the limit of the server.
const STREAMS_OF_CONNECTION: u32 = 32;

/// The time between two pushes whose wake-ups are measured: longer than the shortest time between two events.
const QUIET: Duration = Duration::from_millis(250);

/// How long the slowest stream may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// The batch and the connections of the pushes that are compared.
const PUSHED: (usize, u64) = (10, 8);

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
    async fn open(host: &str, count: u32) -> Result<Self> {
        let mut streams = Self::none();
        let mut left = count;
        while left > 0 {
            let of_connection = left.min(STREAMS_OF_CONNECTION);
            let mut sender = connect(host).await?;
            for _ in 0..of_connection {
                let request = Request::builder().method(Method::GET).uri(format!("http://{host}/changes/stream"));
                sender.ready().await?;
                let response = sender.send_request(request.body(Empty::new())?).await?;
                if response.status() != StatusCode::OK {
                    return Err(format!("a stream is answered with {}", response.status()).into());
                }
                let (moments, open) = (streams.sender.clone(), Arc::clone(&streams.open));
                streams.tasks.spawn(listen(sender.clone(), response.into_body(), moments, open));
            }
            left -= of_connection;
        }
        streams.heard(count).await?;
        Ok(streams)
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

async fn connect(host: &str) -> Result<SendRequest<Empty<Bytes>>> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // Its streams report that it broke.
        let _ = connection.await;
    });
    Ok(sender)
}

/// Says when each event came. The connection is open as long as one of its streams has it.
async fn listen(
    connection: SendRequest<Empty<Bytes>>,
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
    /// Streams of one server, which are over HTTP/2 so that they need few connections.
    pub(super) async fn wakes(&mut self) -> Result<()> {
        let settings = [("HTTP2", "on".to_owned()), ("STREAMS_MAX", self.options.idle_streams().to_string())];
        let work = Work::new(self.options.documents(), true);
        let operations = self.options.documents();
        self.progress.set_message("the rows of the streams");
        let database = self.databases.make().await?;
        let site = Site::start_with(&database, work, operations, &settings, &self.progress).await?;
        self.idle_streams(&site).await?;
        self.latency(&site).await?;
        self.throughput(&site).await?;
        self.note_peak(&site.server);
        Ok(())
    }

    /// The memory of streams that have nothing to tell.
    async fn idle_streams(&mut self, site: &Site) -> Result<()> {
        let count = self.options.idle_streams();
        self.begin("idle streams", 1);
        let memory = || meter::memory_mb(site.server.pid(), "VmRSS").ok_or("the server has ended");
        let before = memory()?;
        let streams = Streams::open(&site.server.host, count).await?;
        sleep(super::IDLE_TIME).await;
        let megabytes = (memory()? - before).max(0.0) / f64::from(count) * 1_000.0;
        if streams.open.load(Ordering::Relaxed) < u64::from(count) {
            return Err("some streams have ended".into());
        }
        let (name, goal) = ("1,000 idle streams", Goal::AtMost(THOUSAND_STREAMS_MAX_MB));
        self.report.memory.push(Memory { store: self.store.as_str(), name, megabytes, goal });
        self.progress.inc(1);
        Ok(())
    }

    /// The time from the answer of a push to the wake-up of each stream.
    async fn latency(&mut self, site: &Site) -> Result<()> {
        let count = self.options.woken_streams();
        let name = format!("wake-up of {count} streams after a push");
        self.begin(&name, u64::from(self.options.runs));
        let mut samples = Vec::new();
        for _ in 0..self.options.runs {
            let load = async {
                let mut streams = Streams::open(&site.server.host, count).await?;
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
            let open = Streams::open(&site.server.host, streams).await?;
            let sample = self.measure(push_load(site, batch, connections, self.watch(Some(&site.server)))).await;
            drop(open);
            sample
        };
        let (alone, beside) = self.in_turns(async || push(0).await, async || push(count).await).await?;
        self.add(name, &beside, Some(("push alone", &alone)), Measure::Rows, Some(Goal::AtLeast(THROUGHPUT_MIN)));
        Ok(())
    }
}
