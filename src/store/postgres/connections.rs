//! Connections: a pool, limits on every wait, and what happens when one has died.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use deadpool::Runtime;
use deadpool::managed::{Hook, HookError, Metrics, Object, Pool, QueueMode, Timeouts};
use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use super::failure::Failure;
use super::manager::{ConnectError, Connector};
use super::options::Peer;
use crate::core::limits::{
    STORE_CONNECT_TIME_MAX_MS, STORE_IDLE_TRUSTED_MS, STORE_PROBE_TIME_MAX_MS, STORE_STATEMENT_TIME_MAX_MS,
    STORE_WAIT_TIME_MAX_MS,
};

/// How much longer than the server's own limit we wait for it to say that it has reached it.
const GRACE: Duration = Duration::from_millis(500);

/// How many statements a connection has carried out before it is worth a round trip to prepare one that comes again.
const USES_BEFORE_PREPARING: usize = 32;

/// How often a statement's text is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Again and again, so that its plan is worth keeping.
    Fixed,
    /// As a request happens to need it.
    OfOneRequest,
}

/// A parameter of a statement. Its type is named, so that the server need not be asked for it first.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The connections of a store.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Connector>,
    trust: Arc<Trust>,
    peer: Peer,
}

impl Connections {
    /// A pool that connects when it is first asked to.
    pub(super) fn new(connector: Connector, pool_size: usize, peer: Peer) -> Self {
        let trust = Arc::new(Trust::default());
        let hook_trust = Arc::clone(&trust);
        let pool = Pool::builder(connector)
            .max_size(pool_size)
            // The one that was used last is the most likely to be alive; the others may fall asleep.
            .queue_mode(QueueMode::Lifo)
            .timeouts(Timeouts {
                wait: Some(Duration::from_millis(STORE_WAIT_TIME_MAX_MS)),
                create: Some(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS)),
                recycle: None,
            })
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::async_fn(move |connection: &mut ClientWrapper, metrics| {
                let is_suspect = hook_trust.is_suspect(metrics);
                Box::pin(async move { if is_suspect { probe(connection).await } else { Ok(()) } })
            }))
            .build()
            .expect("the pool is given the runtime that its timeouts need");
        Self { pool, trust, peer }
    }

    /// Whether they lead to the server itself, and not to a pooler.
    pub(super) fn are_to_the_server(&self) -> bool {
        self.peer == Peer::Server
    }

    /// The rows that one statement answers: one round trip, and a transaction of its own.
    ///
    /// Where the connection is to the server itself and much used, a fixed text is prepared, and so parsed and planned
    /// once; on a pooler's connection nothing has to outlive the transaction. When the connection turns out to be dead, the statement is tried once more on one that was asked whether it is alive. It may have had
    /// its effect the first time: the port's writes are guarded, and answer then that somebody was faster.
    pub(super) async fn rows(&self, text: Text, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        match self.rows_once(text, sql, parameters).await {
            Err(failure) if failure.is_lost_connection() => {
                tracing::debug!(error = %failure, "statement tried again on another connection");
                self.trust.suspect_all();
                self.rows_once(text, sql, parameters).await
            }
            answered => answered,
        }
    }

    async fn rows_once(&self, text: Text, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let lease = self.lease().await?;
        let is_worth_preparing =
            text == Text::Fixed && self.are_to_the_server() && lease.uses() >= USES_BEFORE_PREPARING;
        let mut answer = None;
        if is_worth_preparing {
            match in_time(lease.rows_prepared(sql, parameters)).await {
                Err(failure) if failure.is_about_preparation() => lease.statement_cache.clear(),
                prepared => answer = Some(prepared),
            }
        }
        let answer = match answer {
            Some(answer) => answer,
            None => in_time(lease.query_typed(sql, parameters)).await,
        };
        if answer.as_ref().is_ok() || answer.as_ref().is_err_and(Failure::leaves_connection_usable) {
            lease.give_back();
        }
        answer
    }

    /// Closes the connections that nobody uses.
    pub(super) fn close_idle(&self) {
        self.pool.retain(|_, _| false);
    }

    /// A connection for more than one statement.
    pub(super) async fn lease(&self) -> Result<Lease<'_>, Failure> {
        self.trust.suspect_all_after_a_pause();
        let object = self.pool.get().await?;
        Ok(Lease { object: Some(object), trust: &self.trust })
    }
}

/// Waits for an answer as long as the server may take, and a little longer.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
    match timeout(Duration::from_millis(STORE_STATEMENT_TIME_MAX_MS) + GRACE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Late),
    }
}

/// A connection on loan. It goes back to the pool only when it is given back, with nothing under way on it; otherwise, as
/// when the future that holds it is dropped, it is closed.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    object: Option<Object<Connector>>,
    trust: &'a Trust,
}

impl Lease<'_> {
    /// How often the connection was on loan before.
    fn uses(&self) -> usize {
        self.object.as_ref().map_or(0, |object| Object::metrics(object).recycle_count)
    }

    async fn rows_prepared(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        let statement = self.prepare_typed_cached(sql, &types).await?;
        self.query(&statement, &values).await
    }

    /// Ends the loan after an answer.
    pub(super) fn give_back(mut self) {
        self.trust.note_answer();
        drop(self.object.take());
    }
}

impl std::ops::Deref for Lease<'_> {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        self.object.as_ref().expect("a connection is on loan until it is given back")
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(object) = self.object.take() {
            drop(Object::take(object));
        }
    }
}

/// Which connections are trusted to be alive without being asked.
///
/// A process can be frozen for an hour, as in a Lambda, and then the clock of [`Instant`] may have stood still too; so
/// pauses of the whole pool are measured by the time of day.
#[derive(Debug, Default)]
struct Trust {
    /// When a connection answered last, in milliseconds since 1970.
    answered_at_ms: AtomicU64,
    /// Connections that were used last before this are suspect.
    suspect_before: Mutex<Option<Instant>>,
}

impl Trust {
    fn note_answer(&self) {
        self.answered_at_ms.store(now_ms(), Ordering::Relaxed);
    }

    fn suspect_all(&self) {
        *self.suspect_before.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    fn suspect_all_after_a_pause(&self) {
        let answered_at_ms = self.answered_at_ms.load(Ordering::Relaxed);
        if now_ms().abs_diff(answered_at_ms) > STORE_IDLE_TRUSTED_MS {
            self.suspect_all();
        }
    }

    fn is_suspect(&self, metrics: &Metrics) -> bool {
        let used_at = metrics.recycled.unwrap_or(metrics.created);
        let suspect_before = *self.suspect_before.lock().unwrap_or_else(PoisonError::into_inner);
        used_at.elapsed() > Duration::from_millis(STORE_IDLE_TRUSTED_MS)
            || suspect_before.is_some_and(|before| used_at <= before)
    }
}

/// Asks a connection whether it is alive; an error makes the pool drop it and try the next, or a new one.
async fn probe(client: &ClientWrapper) -> Result<(), HookError<ConnectError>> {
    match timeout(Duration::from_millis(STORE_PROBE_TIME_MAX_MS), client.check_connection()).await {
        Ok(answer) => answer.map_err(|error| HookError::Backend(ConnectError::Driver(error))),
        Err(_) => Err(HookError::message("no answer in time")),
    }
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
