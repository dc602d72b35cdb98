//! Connections: a pool, limits for every wait, and retries after a connection has died.

pub(super) mod login;
pub(super) mod manager;
pub(super) mod tls;
pub(super) mod transport;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use deadpool::Runtime;
use deadpool::managed::{Hook, HookError, Metrics, Object, Pool, QueueMode, Timeouts};
use deadpool_postgres::ClientWrapper;
use tokio::time::timeout;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

use self::manager::{ConnectError, Connector};
use super::failure::Failure;
use super::options::Peer;
use crate::limits::store::postgres::STORE_STEP_TIME_MAX_MS;
use crate::limits::store::{
    STORE_CONNECT_TIME_MAX_MS, STORE_IDLE_TRUSTED_MS, STORE_PROBE_TIME_MAX_MS, STORE_STATEMENT_TIME_MAX_MS,
    STORE_WAIT_TIME_MAX_MS,
};
use crate::store::PoolState;

/// How much longer than the server's own time limit the store waits for the server to report it.
const GRACE: Duration = Duration::from_millis(500);

/// How many statements a connection executes before it prepares repeated ones, which costs a round trip.
const USES_BEFORE_PREPARING: usize = 32;

/// How often the text of a statement is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StatementKind {
    /// Repeatedly, so that it is worth keeping its plan.
    Fixed,
    /// Perhaps only once, because it is made for one request.
    OfOneRequest,
}

/// A parameter of a statement. Its type is given, so that the server need not be asked for it.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// The connections of a store.
#[derive(Debug)]
pub(super) struct Connections {
    pool: Pool<Connector>,
    trust: Arc<Trust>,
    peer: Peer,
}

impl Connections {
    /// A pool, which connects when it is first used.
    pub(super) fn new(connector: Connector, pool_size: usize, peer: Peer) -> Self {
        let trust = Arc::new(Trust::default());
        let hook_trust = Arc::clone(&trust);
        let pool = Pool::builder(connector)
            .max_size(pool_size)
            // The connection that was used last is the most likely to be alive. The others may be closed when idle.
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

    /// How many connections there are, and what they do.
    pub(super) fn pool(&self) -> PoolState {
        let status = self.pool.status();
        PoolState { busy: status.size.saturating_sub(status.available), max: status.max_size, waiting: status.waiting }
    }

    /// Whether the connections lead to the server itself and not to a pooler.
    pub(super) fn are_to_the_server(&self) -> bool {
        self.peer == Peer::Server
    }

    /// The rows of one statement, in one round trip. The statement is its own transaction.
    ///
    /// A fixed text is prepared if the connection leads to the server itself and has been used often. So it is parsed
    /// and planned once. On a pooler's connection, nothing may outlive the transaction. If the connection turns out to
    /// be dead, the statement is executed again on one that was checked. The first attempt may have taken effect. The
    /// writes of the port are guarded, so the second one then reports that another process was faster.
    pub(super) async fn rows(
        &self,
        kind: StatementKind,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        match self.rows_once(kind, sql, parameters).await {
            Err(failure) if failure.is_lost_connection() => {
                tracing::debug!(error = %failure, "statement tried again on another connection");
                self.trust.suspect_all();
                self.rows_once(kind, sql, parameters).await
            }
            answered => answered,
        }
    }

    async fn rows_once(
        &self,
        kind: StatementKind,
        sql: &str,
        parameters: &[Parameter<'_>],
    ) -> Result<Vec<Row>, Failure> {
        let lease = self.lease().await?;
        let is_worth_preparing =
            kind == StatementKind::Fixed && self.are_to_the_server() && lease.uses() >= USES_BEFORE_PREPARING;
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

    /// Closes the idle connections.
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

/// Waits for an answer for the server's time limit and a little longer.
pub(super) async fn in_time<T>(answer: impl Future<Output = Result<T, tokio_postgres::Error>>) -> Result<T, Failure> {
    within(STORE_STATEMENT_TIME_MAX_MS, answer).await
}

/// The same for a step of the schema.
pub(super) async fn in_time_of_step<T>(
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    within(STORE_STEP_TIME_MAX_MS, answer).await
}

/// Waits for an answer for a time limit of the server and a little longer.
pub(super) async fn within<T>(
    time_max_ms: u64,
    answer: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, Failure> {
    match timeout(Duration::from_millis(time_max_ms) + GRACE, answer).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Late),
    }
}

/// A borrowed connection. It returns to the pool only by `give_back`, when no statement is running on it. If it is
/// dropped, for example with a cancelled future, it is closed.
#[derive(Debug)]
pub(super) struct Lease<'a> {
    object: Option<Object<Connector>>,
    trust: &'a Trust,
}

impl Lease<'_> {
    /// How often the connection was borrowed before.
    fn uses(&self) -> usize {
        self.object.as_ref().map_or(0, |object| Object::metrics(object).recycle_count)
    }

    async fn rows_prepared(&self, sql: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, tokio_postgres::Error> {
        let types: Vec<Type> = parameters.iter().map(|(_, kind)| kind.clone()).collect();
        let values: Vec<&(dyn ToSql + Sync)> = parameters.iter().map(|(value, _)| *value).collect();
        let statement = self.prepare_typed_cached(sql, &types).await?;
        self.query(&statement, &values).await
    }

    /// Returns the connection after an answer.
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

/// Decides which connections are used without a check that they are alive.
///
/// A process can be frozen for an hour, as in a Lambda. Then the clock of [`Instant`] may have stood still too, so
/// pauses of the whole pool are measured with the time of day.
#[derive(Debug, Default)]
struct Trust {
    /// When a connection last answered, in milliseconds since 1970.
    answered_at_ms: AtomicU64,
    /// Connections that were last used before this are checked first.
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

/// Checks whether a connection is alive. After an error the pool drops it and tries the next one, or a new one.
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
