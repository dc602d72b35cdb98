//! The limits of connections: every phase has one.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::IoSlice;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::response::Response;
use http_body::{Frame, SizeHint};
use tokio::io::{self, AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::config::ConnectionConfig;
use crate::limits::runtime::{
    CONNECTION_ANSWER_TIME_MAX_SECONDS, CONNECTION_CLOSE_TIME_MAX_SECONDS, CONNECTION_EXCHANGE_TIME_MAX_SECONDS,
    CONNECTION_IDLE_TIME_MAX_SECONDS, LEAVING_MAX_CONNECTIONS, REQUEST_HEAD_TIME_MAX_SECONDS, SERVER_MAX_CONNECTIONS,
    STOP_QUIET_TIME_SECONDS,
};
use crate::runtime::addresses::network_of;

/// The limits of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The greatest number of open connections. When it is reached, the connection that has been idle longest is closed
    /// for a new one. If none is idle, the new one is answered with 503.
    pub max_connections: usize,
    /// How long a new connection may take until its first request begins.
    pub first_request: Duration,
    /// How long a connection may be idle, and how long a client may stop reading an answer.
    pub idle: Duration,
    /// How long a client may take to read an answer while it continues to read.
    pub answer: Duration,
    /// How long one request may take from its head to the end of its answer.
    pub exchange: Duration,
    /// Which connections are taken.
    pub taken: ConnectionConfig,
}

impl ConnectionLimits {
    /// The limits of a server that takes these connections, and so many of them.
    #[must_use]
    pub fn new(taken: ConnectionConfig, max_connections: usize) -> Self {
        Self { max_connections, taken, ..Self::default() }
    }
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        let seconds = |seconds: u32| Duration::from_secs(seconds.into());
        Self {
            max_connections: SERVER_MAX_CONNECTIONS,
            first_request: seconds(REQUEST_HEAD_TIME_MAX_SECONDS),
            idle: seconds(CONNECTION_IDLE_TIME_MAX_SECONDS),
            answer: seconds(CONNECTION_ANSWER_TIME_MAX_SECONDS),
            exchange: seconds(CONNECTION_EXCHANGE_TIME_MAX_SECONDS),
            taken: ConnectionConfig::default(),
        }
    }
}

/// The state of one connection.
#[derive(Debug)]
pub(super) struct Activity {
    limits: Arc<ConnectionLimits>,
    state: Mutex<State>,
    /// Notified when the connection must close, or when its last request before that is done.
    told: Notify,
}

#[derive(Debug)]
struct State {
    /// When each request began that is not completely answered, by the number of the request.
    exchanges: BTreeMap<u64, Instant>,
    next_exchange: u64,
    idle_since: Instant,
    wrote_at: Instant,
    must_leave: bool,
}

impl Activity {
    pub(super) fn new(limits: Arc<ConnectionLimits>) -> Arc<Self> {
        let now = Instant::now();
        let exchanges = BTreeMap::new();
        let state = State { exchanges, next_exchange: 0, idle_since: now, wrote_at: now, must_leave: false };
        Arc::new(Self { limits, state: Mutex::new(state), told: Notify::new() })
    }

    /// Records the beginning of a request. The request ends when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        let mut state = self.lock();
        let number = state.next_exchange;
        state.next_exchange += 1;
        state.exchanges.insert(number, Instant::now());
        Exchange { activity: Arc::clone(self), number }
    }

    /// How long a connection that must close may take for that: until its latest request is answered.
    pub(super) fn grace(&self) -> Duration {
        let state = self.lock();
        let end = state.exchanges.last_key_value().map(|(_, begun_at)| *begun_at + self.limits.exchange);
        let left = end.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
        left.max(Duration::from_secs(CONNECTION_CLOSE_TIME_MAX_SECONDS.into()))
    }

    /// Completes when no request is in progress and nothing can be written.
    pub(super) async fn quiet(&self) {
        let pause = Duration::from_secs(STOP_QUIET_TIME_SECONDS.into());
        loop {
            tokio::time::sleep(pause).await;
            let last = self.idle_since();
            if last.is_some_and(|last| last + pause <= Instant::now()) {
                return;
            }
        }
    }

    /// Completes when the connection has reached a limit, or must make room for another one.
    pub(super) async fn over(&self) {
        loop {
            let (end, now) = (self.end(), Instant::now());
            if end <= now {
                return;
            }
            // No event meanwhile can bring the end forward to less than one of the limits from now.
            let limits = &self.limits;
            let shortest = limits.first_request.min(limits.idle).min(limits.exchange);
            tokio::select! {
                () = tokio::time::sleep_until(end.min(now + shortest)) => {}
                () = self.told.notified() => {}
            }
        }
    }

    /// When the connection ends if nothing happens until then.
    fn end(&self) -> Instant {
        let (state, limits) = (self.lock(), &self.limits);
        if state.must_leave && state.exchanges.is_empty() {
            return state.idle_since;
        }
        if let Some((_, begun_at)) = state.exchanges.first_key_value() {
            return *begun_at + limits.exchange;
        }
        if state.next_exchange == 0 {
            return state.idle_since + limits.first_request;
        }
        // The end of an answer may still be on its way. The pings of a client also cause writes, so these do not keep
        // the connection open for ever.
        let last = state.wrote_at.max(state.idle_since) + limits.idle;
        last.min(state.idle_since + limits.idle.max(limits.answer))
    }

    /// Since when the connection has had nothing to answer or to write. `None` if it has something to answer.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        state.exchanges.is_empty().then_some(state.idle_since.max(state.wrote_at))
    }

    fn is_leaving(&self) -> bool {
        self.lock().must_leave
    }

    fn leave(&self) {
        self.lock().must_leave = true;
        self.told.notify_one();
    }

    fn wrote(&self) {
        self.lock().wrote_at = Instant::now();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Exchange {
    activity: Arc<Activity>,
    number: u64,
}

impl Exchange {
    /// Returns the same response. The request ends together with its body.
    pub(super) fn until_read(self, response: Response) -> Response {
        response.map(|body| Body::new(Answering { body, _exchange: self }))
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.activity.lock();
        state.exchanges.remove(&self.number);
        state.idle_since = Instant::now();
        if state.must_leave {
            self.activity.told.notify_one();
        }
    }
}

/// A body that keeps a request open until it is dropped.
struct Answering {
    body: Body,
    _exchange: Exchange,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that records when it was possible to write.
pub(super) struct Noting<S> {
    pub(super) stream: S,
    pub(super) activity: Arc<Activity>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Noting<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, out)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Noting<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        if written.is_ready() {
            self.activity.wrote();
        }
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        if written.is_ready() {
            self.activity.wrote();
        }
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Connections {
    limits: Arc<ConnectionLimits>,
    open: Arc<Mutex<Open>>,
    next: u64,
}

#[derive(Debug, Default)]
struct Open {
    all: HashMap<u64, Arc<Activity>>,
    /// The numbers of those whose addresses may have only so many, by address.
    by_address: HashMap<IpAddr, HashSet<u64>>,
}

impl Connections {
    pub(super) fn new(limits: Arc<ConnectionLimits>) -> Self {
        Self { limits, open: Arc::default(), next: 0 }
    }

    /// Reserves a place for another connection. If there is none, the connection that has been idle longest is told to
    /// close. `None` if none is idle.
    pub(super) fn enter(&mut self, activity: &Arc<Activity>, peer: IpAddr) -> Option<Place> {
        let limits = &self.limits;
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let address = (!limits.taken.trusted_proxies.contains(peer)).then(|| network_of(peer));
        if let Some(numbers) = address.and_then(|address| open.by_address.get(&address)) {
            let of_address: Vec<_> = numbers.iter().filter_map(|number| open.all.get(number)).collect();
            make_room(&of_address, limits.taken.per_address)?;
        }
        if open.all.len() >= limits.max_connections {
            make_room(&open.all.values().collect::<Vec<_>>(), limits.max_connections)?;
        }
        let number = self.next;
        self.next += 1;
        open.all.insert(number, Arc::clone(activity));
        if let Some(address) = address {
            open.by_address.entry(address).or_default().insert(number);
        }
        Some(Place { open: Arc::clone(&self.open), number, address })
    }
}

/// Tells the connection that has been idle longest to close, if the limit is reached. `None` if none is idle, or if too
/// many have been told already.
fn make_room(open: &[&Arc<Activity>], max: usize) -> Option<()> {
    let (leaving, staying): (Vec<&Arc<Activity>>, Vec<_>) = open.iter().partition(|other| other.is_leaving());
    if staying.len() < max {
        return Some(());
    }
    if leaving.len() >= LEAVING_MAX_CONNECTIONS {
        return None;
    }
    let idle = staying.iter().filter_map(|other| Some((other.idle_since()?, other)));
    let (_, longest) = idle.min_by_key(|(since, _)| *since)?;
    longest.leave();
    Some(())
}

/// The place of one connection, which becomes free when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Arc<Mutex<Open>>,
    number: u64,
    address: Option<IpAddr>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all.remove(&self.number);
        if let Some(address) = self.address
            && let Some(numbers) = open.by_address.get_mut(&address)
        {
            numbers.remove(&self.number);
            if numbers.is_empty() {
                open.by_address.remove(&address);
            }
        }
    }
}
