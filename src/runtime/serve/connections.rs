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

use crate::api::waiting::holdings::LastsLong;
use crate::config::ConnectionConfig;
use crate::limits::runtime::{
    CONNECTION_ANSWER_TIME_MAX_SECONDS, CONNECTION_CLOSE_TIME_MAX_SECONDS, CONNECTION_EXCHANGE_TIME_MAX_SECONDS,
    CONNECTION_IDLE_TIME_MAX_SECONDS, CONNECTION_STALL_TIME_MAX_SECONDS, LEAVING_MAX_CONNECTIONS,
    REQUEST_HEAD_TIME_MAX_SECONDS, ROOM_HELD_MIN_MS, STOP_QUIET_TIME_SECONDS, STOP_TIME_MAX_SECONDS,
    STREAM_TIME_MAX_SECONDS,
};
use crate::runtime::addresses::network_of;

/// The limits of connections.
#[derive(Debug, Clone)]
pub struct ConnectionLimits {
    /// The greatest number of open connections. When it is reached, the connection that has been idle longest is closed
    /// for a new one. If none is idle, this is the one whose client has read nothing of an answer for longest. If there
    /// is none either, the new one is answered with 503.
    pub max_connections: usize,
    /// How long a new connection may take until its first request begins.
    pub first_request: Duration,
    /// How long a connection may be idle.
    pub idle: Duration,
    /// How long a client may read nothing of an answer.
    pub stall: Duration,
    /// How long a client may take to read an answer while it continues to read.
    pub answer: Duration,
    /// How long one request may take from its head to the beginning of its answer.
    pub exchange: Duration,
    /// How long requests in progress may take to finish after the server was told to stop.
    pub stop: Duration,
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
        let taken = ConnectionConfig::default();
        Self {
            max_connections: taken.max,
            first_request: seconds(REQUEST_HEAD_TIME_MAX_SECONDS),
            idle: seconds(CONNECTION_IDLE_TIME_MAX_SECONDS),
            stall: seconds(CONNECTION_STALL_TIME_MAX_SECONDS),
            answer: seconds(CONNECTION_ANSWER_TIME_MAX_SECONDS),
            exchange: seconds(CONNECTION_EXCHANGE_TIME_MAX_SECONDS),
            stop: seconds(STOP_TIME_MAX_SECONDS),
            taken,
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
    /// Notified when the connection must close at once.
    cut: Notify,
}

#[derive(Debug)]
struct State {
    /// The requests that are not completely answered, by their numbers.
    exchanges: BTreeMap<u64, Phase>,
    next_exchange: u64,
    idle_since: Instant,
    wrote_at: Instant,
    /// Since when something has waited to be written while the client takes nothing.
    blocked_since: Option<Instant>,
    must_leave: bool,
    is_cut: bool,
}

/// The phase of a request.
#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Its body is read, or its answer is made.
    Working { since: Instant },
    /// The connection takes its answer, the last piece of it at `taken_at`.
    Answering { since: Instant, taken_at: Instant },
    /// The same with an answer that goes on for minutes.
    Streaming { since: Instant, taken_at: Instant },
}

impl Phase {
    fn end(self, limits: &ConnectionLimits) -> Instant {
        match self {
            Self::Working { since } => since + limits.exchange,
            Self::Answering { since, .. } => since + limits.answer.max(limits.exchange),
            Self::Streaming { since, .. } => since + Duration::from_secs(STREAM_TIME_MAX_SECONDS.into()),
        }
    }
}

impl State {
    /// Since when the client has taken nothing of its answers. `None` if it need not take anything now.
    ///
    /// A client of HTTP/2 can take nothing of an answer while it takes other things, such as pings.
    fn stalled_since(&self) -> Option<Instant> {
        // A request that is never finished does not excuse answers that are not read beside it.
        let taken = self.exchanges.values().filter_map(|phase| match phase {
            Phase::Working { .. } => None,
            Phase::Answering { taken_at, .. } | Phase::Streaming { taken_at, .. } => Some(*taken_at),
        });
        // The earlier one of those that there are.
        self.blocked_since.into_iter().chain(taken.max()).min()
    }
}

impl Activity {
    pub(super) fn new(limits: Arc<ConnectionLimits>) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            exchanges: BTreeMap::new(),
            next_exchange: 0,
            idle_since: now,
            wrote_at: now,
            blocked_since: None,
            must_leave: false,
            is_cut: false,
        };
        Arc::new(Self { limits, state: Mutex::new(state), told: Notify::new(), cut: Notify::new() })
    }

    /// Records the beginning of a request. The request ends when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Exchange {
        let mut state = self.lock();
        let number = state.next_exchange;
        state.next_exchange += 1;
        state.exchanges.insert(number, Phase::Working { since: Instant::now() });
        Exchange { activity: Arc::clone(self), number }
    }

    /// How long a connection that must close may take for that: until its latest request is answered.
    pub(super) fn grace(&self) -> Duration {
        let state = self.lock();
        let end = state.exchanges.values().map(|phase| phase.end(&self.limits)).max();
        let left = end.map(|end| end.saturating_duration_since(Instant::now())).unwrap_or_default();
        left.max(Duration::from_secs(CONNECTION_CLOSE_TIME_MAX_SECONDS.into()))
    }

    /// Completes when the client has read nothing of its answers for too long, or when the connection must make room
    /// for another one at once.
    pub(super) async fn stalled(&self) {
        loop {
            let now = Instant::now();
            let end = {
                let state = self.lock();
                if state.is_cut {
                    return;
                }
                state.stalled_since().map_or(now + self.limits.stall, |since| since + self.limits.stall)
            };
            if end <= now {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(end) => {}
                () = self.cut.notified() => {}
            }
        }
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
            let shortest = limits.first_request.min(limits.idle).min(limits.exchange).min(limits.answer);
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
        if let Some(end) = state.exchanges.values().map(|phase| phase.end(limits)).min() {
            return end;
        }
        if state.next_exchange == 0 {
            return state.idle_since + limits.first_request;
        }
        // The end of an answer may still be on its way. The pings of a client also cause writes, so these do not keep
        // the connection open for ever.
        let last = state.wrote_at.max(state.idle_since) + limits.idle;
        last.min(state.idle_since + limits.idle.max(limits.answer))
    }

    /// Since when the connection has had nothing to answer or to write. `None` if it has something.
    fn idle_since(&self) -> Option<Instant> {
        let state = self.lock();
        let is_idle = state.exchanges.is_empty() && state.blocked_since.is_none();
        is_idle.then_some(state.idle_since.max(state.wrote_at))
    }

    /// Since when the client has taken nothing of its answers. `None` if that is not long.
    fn stalled_since(&self) -> Option<Instant> {
        let since = self.lock().stalled_since()?;
        (since.elapsed() >= Duration::from_millis(ROOM_HELD_MIN_MS)).then_some(since)
    }

    fn is_leaving(&self) -> bool {
        self.lock().must_leave
    }

    fn leave(&self) {
        self.lock().must_leave = true;
        self.told.notify_one();
    }

    fn leave_at_once(&self) {
        let mut state = self.lock();
        (state.must_leave, state.is_cut) = (true, true);
        self.cut.notify_one();
    }

    /// Records whether something could be written.
    fn tried_to_write(&self, is_possible: bool) {
        let mut state = self.lock();
        let now = Instant::now();
        if is_possible {
            (state.wrote_at, state.blocked_since) = (now, None);
        } else {
            state.blocked_since.get_or_insert(now);
        }
    }

    /// Records that the connection has taken a piece of an answer.
    fn took(&self, number: u64) {
        let mut state = self.lock();
        let phase = state.exchanges.get_mut(&number);
        if let Some(Phase::Answering { taken_at, .. } | Phase::Streaming { taken_at, .. }) = phase {
            *taken_at = Instant::now();
        }
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
        let now = Instant::now();
        let phase = match response.extensions().get::<LastsLong>() {
            Some(LastsLong) => Phase::Streaming { since: now, taken_at: now },
            None => Phase::Answering { since: now, taken_at: now },
        };
        self.activity.lock().exchanges.insert(self.number, phase);
        response.map(|body| Body::new(Answering { body, exchange: self }))
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
    exchange: Exchange,
}

impl http_body::Body for Answering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.exchange.activity.took(self.exchange.number);
        }
        polled
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
        self.activity.tried_to_write(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.activity.tried_to_write(written.is_ready());
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

/// Tells the connection that has been idle longest to close, if the limit is reached. If none is idle, this is the one
/// whose client has read nothing of its answers for longest. `None` if there is none either, or if too many have been
/// told already.
fn make_room(open: &[&Arc<Activity>], max: usize) -> Option<()> {
    let (leaving, staying): (Vec<&Arc<Activity>>, Vec<_>) = open.iter().partition(|other| other.is_leaving());
    if staying.len() < max {
        return Some(());
    }
    if leaving.len() >= LEAVING_MAX_CONNECTIONS {
        return None;
    }
    let idle = staying.iter().filter_map(|other| Some((other.idle_since()?, other)));
    if let Some((_, longest)) = idle.min_by_key(|(since, _)| *since) {
        longest.leave();
        return Some(());
    }
    let stalled = staying.iter().filter_map(|other| Some((other.stalled_since()?, other)));
    let (_, longest) = stalled.min_by_key(|(since, _)| *since)?;
    longest.leave_at_once();
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
