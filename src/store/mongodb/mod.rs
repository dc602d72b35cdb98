//! The store on MongoDB 6.0 and later, for replica sets (also of one node) and sharded clusters.
//!
//! A read is one command, which sees one moment that a majority of the nodes has. A commit is a transaction that begins
//! with the tenant's head. If two processes write for one tenant, they meet there before either has written anything
//! else, and one of them tries again. So sequence numbers are taken in the transaction that uses them, and none is ever
//! missing.
//!
//! `docs/design/mongodb.md` explains step by step why the log stays dense whichever process dies. The code is in
//! `transaction.rs` and `writers.rs`.
//!
//! `data` and vector clocks are stored unchanged, as texts. A value from a client becomes part of a query only as a
//! value that a field must equal.

mod collections;
mod database;
mod express;
mod failure;
mod operator;
mod options;
mod read;
mod row;
mod two_clocks;
mod uri_source;
mod watch;
mod write;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::database::Database;
pub use self::express::MongoExpress;
use self::failure::{Failure, NAME};
pub use self::options::{MongoOptions, MongoOptionsError};
use self::two_clocks::TwoClocks;
pub use self::uri_source::UriSource;
use super::{
    Audit, Changes, ChangesRequest, ClientCounts, ClientMemory, ClientProgress, ClientRow, Commit, CompactStep,
    Compaction, Erased, ExpireStep, Expired, Lesson, LoadRequest, NewMemory, PoolState, Pooled, Query, QueryPage,
    Remember, Result, ScrubStep, Stats, Store, Survey, SurveyRequest, TimeRequest, Watch,
};
use crate::core::cursor::Position;
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::names::{ClientId, DocumentKey, OperationId, Subject, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::page::TimePage;
use crate::core::progress::Progress;
use crate::core::retention::Expiry;
use crate::limits::store::STORE_IDLE_TRUSTED_MS;

/// A store in one MongoDB database.
#[derive(Debug)]
pub struct MongoStore {
    options: MongoOptions,
    current: Mutex<Current>,
}

/// The current database and when it was last used.
#[derive(Debug)]
struct Current {
    /// The database with the login that was accepted last.
    database: Arc<Database>,
    /// When it was last used.
    asked: TwoClocks,
}

impl MongoStore {
    /// Makes a store. It connects, and creates its collections and indexes, with its first request. So a process can
    /// start while its database is down, and works as soon as that is up.
    ///
    /// # Errors
    /// If the options cannot be used with any server.
    pub fn new(options: &MongoOptions) -> std::result::Result<Self, MongoOptionsError> {
        let database = Arc::new(Database::new(options)?);
        Ok(Self { options: options.clone(), current: Mutex::new(Current { database, asked: TwoClocks::now() }) })
    }

    /// Refuses a server that can be reached but can never hold a store, such as a standalone server, which has no
    /// transactions. A server that cannot be reached is not refused.
    ///
    /// # Errors
    /// If the server is such a one.
    pub async fn refuse_unsuitable_server(&self) -> std::result::Result<(), MongoOptionsError> {
        match self.database().refuse_unsuitable_server().await {
            Err(Failure::Unsuitable(why)) => Err(MongoOptionsError::Uri(why)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database for the next request.
    ///
    /// The driver checks its connections with a clock that stands still while a Lambda is frozen. The server may have
    /// dropped them meanwhile, so after a long pause all connections are replaced.
    fn database(&self) -> Arc<Database> {
        let mut current = self.lock();
        let now = TwoClocks::now();
        if now.unnoticed_since(&current.asked) > Duration::from_millis(STORE_IDLE_TRUSTED_MS) {
            tracing::debug!("the clock stood still, so all connections to the database are replaced");
            current.database = Arc::new(current.database.reconnected());
        }
        current.asked = now;
        Arc::clone(&current.database)
    }

    /// Does some work with the database. It is repeated once if the connection broke, and once if the login was refused
    /// and there is another one. The driver may also report a refused login as a broken connection.
    ///
    /// Repeating is always safe, because reads change nothing and writes are guarded.
    async fn with<T, F>(&self, operation: &'static str, work: impl Fn(Arc<Database>) -> F) -> Result<T>
    where
        F: Future<Output = std::result::Result<T, Failure>>,
    {
        let database = self.database();
        let mut done = work(Arc::clone(&database)).await;
        if matches!(&done, Err(failure) if failure.is_broken_connection()) {
            done = work(Arc::clone(&database)).await;
        }
        if matches!(&done, Err(failure) if failure.is_refused_login())
            && let Some(other) = self.after_refusal(database.uri()).await
        {
            done = work(other).await;
        }
        done.map_err(|failure| failure.during(operation))
    }

    /// The database with another login than the refused one, if there is another.
    async fn after_refusal(&self, refused: &str) -> Option<Arc<Database>> {
        let uri = match self.options.uris.as_ref()?.uri_after(refused).await {
            Ok(uri) => uri?,
            Err(problem) => {
                tracing::warn!(error.cause = %problem, "no other login for the database");
                return None;
            }
        };
        let mut current = self.lock();
        // Another request may have done this meanwhile.
        if current.database.uri() != uri {
            match Database::new(&MongoOptions { uri, ..self.options.clone() }) {
                Ok(other) => current.database = Arc::new(other),
                Err(problem) => {
                    tracing::warn!(error.cause = %problem, "the other login for the database cannot be used");
                    return None;
                }
            }
        }
        Some(Arc::clone(&current.database))
    }
}

impl Pooled for MongoStore {
    fn pools(&self) -> Vec<(&'static str, PoolState)> {
        vec![("connections", self.lock().database.pool())]
    }
}

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        let request = &request;
        self.with("load", |database| async move { read::load::load(&database, tenant, request).await }).await
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        let batch = &batch;
        self.with("commit", |database| async move { write::commit::commit(&database, tenant, batch).await }).await
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        let request = &request;
        self.with("changes", |database| async move { read::changes(&database, tenant, request).await }).await
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        self.with(
            "note_pulled",
            |database| async move { write::note_pulled(&database, tenant, client, progress).await },
        )
        .await
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        self.with("changes_by_time", |database| async move { read::changes_by_time(&database, tenant, request).await })
            .await
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        self.with("client", |database| async move { read::client(&database, tenant, client).await }).await
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        let memory = &memory;
        self.with("remember", |database| async move { write::remember(&database, tenant, client, memory).await }).await
    }

    async fn claim(&self, tenant: &TenantId, client: &ClientId, subject: &Subject) -> Result<()> {
        self.with("claim", |database| async move { write::claim(&database, tenant, client, subject).await }).await
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        self.with("document", |database| async move { read::document(&database, tenant, key).await }).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        let query = &query;
        self.with("query", |database| async move { read::query::query(&database, tenant, query).await }).await
    }

    async fn stats(&self, tenant: &TenantId, active_ms: RangeInclusive<UnixMs>) -> Result<Stats> {
        let active_ms = &active_ms;
        self.with("stats", |database| async move { read::stats(&database, tenant, active_ms).await }).await
    }

    async fn clients(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientProgress>> {
        self.with("clients", |database| async move { read::clients(&database, tenant, after, limit).await }).await
    }

    async fn survey(&self, tenant: &TenantId, request: SurveyRequest) -> Result<Survey> {
        let request = &request;
        self.with("survey", |database| async move { read::survey::survey(&database, tenant, request).await }).await
    }

    async fn count_clients(&self, tenant: &TenantId, max_clients: u64) -> Result<ClientCounts> {
        self.with("count_clients", |database| async move { read::count_clients(&database, tenant, max_clients).await })
            .await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        self.with("compact", |database| async move { write::compact(&database, tenant, step).await }).await
    }

    async fn aged_place(&self, tenant: &TenantId, received_until_ms: UnixMs, up_to: Seq) -> Result<Option<Position>> {
        self.with("aged_place", |database| async move {
            write::retention::aged_place(&database, tenant, received_until_ms, up_to).await
        })
        .await
    }

    async fn expire(&self, tenant: &TenantId, step: ExpireStep) -> Result<Expired> {
        self.with("expire", |database| async move { write::retention::expire(&database, tenant, step).await }).await
    }

    async fn count_expired(&self, tenant: &TenantId, expiry: Expiry) -> Result<Expired> {
        self.with("count_expired", |database| async move {
            write::retention::count_expired(&database, tenant, expiry).await
        })
        .await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        self.with("tenants", |database| async move { read::tenants(&database, after, limit).await }).await
    }

    async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<Position>> {
        self.with("heads", |database| async move { read::heads(&database, tenants).await }).await
    }

    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        self.with("audit", |database| async move { operator::audit(&database, tenant, after, max_entries).await }).await
    }

    async fn operation_ids(
        &self,
        tenant: &TenantId,
        after: Option<&OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationId>> {
        self.with(
            "operation_ids",
            |database| async move { operator::operation_ids(&database, tenant, after, limit).await },
        )
        .await
    }

    async fn client_rows(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientRow>> {
        self.with("client_rows", |database| async move { operator::client_rows(&database, tenant, after, limit).await })
            .await
    }

    async fn learn(&self, tenant: &TenantId, lesson: Lesson) -> Result<()> {
        let lesson = &lesson;
        self.with("learn", |database| async move { operator::learn(&database, tenant, lesson).await }).await
    }

    async fn scrub(&self, tenant: &TenantId, step: ScrubStep) -> Result<u64> {
        let step = &step;
        self.with("scrub", |database| async move { operator::scrub(&database, tenant, step).await }).await
    }

    async fn erase_tenant(&self, tenant: &TenantId, max_rows: usize) -> Result<Erased> {
        self.with("erase_tenant", |database| async move { operator::erase_tenant(&database, tenant, max_rows).await })
            .await
    }

    fn watch(&self) -> Watch<'_> {
        watch::watch(|| self.database())
    }

    async fn announce(&self, _: &[TenantId]) -> Result<()> {
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        self.with("check", |database| async move { database.ready().await?.check().await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_that_the_clock_missed_the_database_is_connected_to_again() {
        let store = MongoStore::new(&MongoOptions::new("mongodb://localhost")).expect("a URI");
        let freeze_for = |pause| {
            let mut current = store.lock();
            current.asked = current.asked.before_freezing_for(pause);
        };
        let before = store.database();
        freeze_for(Duration::from_millis(STORE_IDLE_TRUSTED_MS / 2));
        assert!(Arc::ptr_eq(&before, &store.database()), "a short pause");
        freeze_for(Duration::from_millis(STORE_IDLE_TRUSTED_MS * 2));
        let after = store.database();
        assert!(!Arc::ptr_eq(&before, &after), "a long pause");
        assert_eq!(before.uri(), after.uri());
        assert!(Arc::ptr_eq(&after, &store.database()), "once for each pause");
    }
}
