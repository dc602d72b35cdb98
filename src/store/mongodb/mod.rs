//! The store on MongoDB 6.0 and later: a replica set, be it of one node, or a sharded cluster.
//!
//! A read is one command, which sees one moment that a majority of the nodes has. A commit is a transaction that begins
//! with the tenant's head: two writers of one tenant meet there, before either has written anything else, and one of them
//! tries again. So numbers are taken in the transaction that uses them, and none is ever missing.
//!
//! `docs/design/mongodb.md` says step by step why the log is dense whoever dies when; `transaction.rs` and `writers.rs`
//! have the code of it.
//!
//! Texts stay texts: `data` and vector clocks are kept as they came, and nothing that a client sends becomes part of a
//! query but as a value that something is equal to.

mod commit;
mod database;
mod failure;
mod moment;
mod options;
mod query;
mod read;
mod row;
mod rows;
mod tails;
mod transaction;
mod uris;
mod write;
mod writers;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use self::database::Database;
use self::failure::Failure;
use self::moment::Moment;
pub use self::options::{MongoOptions, MongoOptionsError};
pub use self::uris::Uris;
use super::{
    Changes, ChangesRequest, ClientMemory, Commit, CompactStep, Compaction, LoadRequest, NewMemory, Query, QueryPage,
    Remember, Result, Stats, Store, TimeRequest,
};
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::limits::STORE_IDLE_TRUSTED_MS;
use crate::core::names::{ClientId, DocumentKey, TenantId};
use crate::core::page::TimePage;
use crate::core::progress::Progress;

/// The adapter's name.
const NAME: &str = "mongodb";

/// A store in one MongoDB database.
#[derive(Debug)]
pub struct MongoStore {
    options: MongoOptions,
    current: Mutex<Current>,
}

/// What counts now.
#[derive(Debug)]
struct Current {
    /// The database, by the login that was not refused.
    database: Arc<Database>,
    /// When something was asked of it last.
    asked: Moment,
}

impl MongoStore {
    /// A store that connects, and makes its collections and indexes, when it is first asked for something. So a process
    /// starts while its database is down, and answers as soon as that is up.
    ///
    /// # Errors
    /// When the options cannot be used, whatever the server is.
    pub fn new(options: &MongoOptions) -> std::result::Result<Self, MongoOptionsError> {
        let database = Arc::new(Database::new(options)?);
        Ok(Self { options: options.clone(), current: Mutex::new(Current { database, asked: Moment::now() }) })
    }

    /// Says what is wrong with a server that can be reached and can never hold a store, as one that stands alone and has
    /// no transactions. Of one that cannot be reached nothing is said.
    ///
    /// # Errors
    /// When the server is such a one.
    pub async fn refuse_unsuitable_server(&self) -> std::result::Result<(), MongoOptionsError> {
        match self.database().refuse_unsuitable_server().await {
            Err(Failure::Unsuitable(why)) => Err(MongoOptionsError::Uri(why)),
            _ => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database to ask something now.
    ///
    /// A driver looks after its connections by a clock that stands still while a Lambda is frozen. What was connected
    /// before that may have vanished without a word, so after a long pause all of it is left behind.
    fn database(&self) -> Arc<Database> {
        let mut current = self.lock();
        let now = Moment::now();
        if now.unnoticed_since(&current.asked) > Duration::from_millis(STORE_IDLE_TRUSTED_MS) {
            tracing::debug!("the clock stood still; the database is connected to anew");
            current.database = Arc::new(current.database.anew());
        }
        current.asked = now;
        Arc::clone(&current.database)
    }

    /// Does something with the database; once more where its connection broke, and once more where its login is refused
    /// and there is another one. The driver itself tells of a broken connection also where it was refused after that.
    ///
    /// It is safe whatever was done before: reads change nothing, and what is written is guarded.
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

    /// The database by another login than the one that was refused, if there is one.
    async fn after_refusal(&self, refused: &str) -> Option<Arc<Database>> {
        let uri = match self.options.uris.as_ref()?.uri_after(refused).await {
            Ok(uri) => uri?,
            Err(problem) => {
                tracing::warn!(error.cause = %problem, "no other login for the database");
                return None;
            }
        };
        let mut current = self.lock();
        // Somebody else may have been here in the meantime.
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

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        let request = &request;
        self.with("load", |database| async move { read::load(&database, tenant, request).await }).await
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        let batch = &batch;
        self.with("commit", |database| async move { commit::commit(&database, tenant, batch).await }).await
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

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        self.with("document", |database| async move { read::document(&database, tenant, key).await }).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        let query = &query;
        self.with("query", |database| async move { query::query(&database, tenant, query).await }).await
    }

    async fn stats(&self, tenant: &TenantId, active_since_ms: u64) -> Result<Stats> {
        self.with("stats", |database| async move { read::stats(&database, tenant, active_since_ms).await }).await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        self.with("compact", |database| async move { write::compact(&database, tenant, step).await }).await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        self.with("tenants", |database| async move { read::tenants(&database, after, limit).await }).await
    }

    async fn check(&self) -> Result<()> {
        self.with("check", |database| async move { database.ready().await?.check().await }).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_pause_that_the_clock_missed_the_database_is_connected_to_anew() {
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
