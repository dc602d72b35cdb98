//! The store on MongoDB 6.0 and later: a replica set, be it of one node, or a sharded cluster.
//!
//! A read is one command, which sees one moment that a majority of the nodes has. A commit is a transaction that begins
//! with the tenant's head: two writers of one tenant meet there, before either has sent anything of size, and one of them
//! tries again. So numbers are taken in the transaction that uses them, and none is ever missing.
//!
//! `ARCHITECTURE.md` says step by step why the log is dense whoever dies when; `transaction.rs` and `writers.rs` have the
//! code of it.
//!
//! Texts stay texts: `data` and vector clocks are kept as they came, and nothing that a client sends becomes part of a
//! query but as a value that something is equal to.

mod database;
mod failure;
mod options;
mod query;
mod read;
mod row;
mod rows;
mod transaction;
mod write;
mod writers;

use async_trait::async_trait;

use self::database::Database;
use self::failure::Failure;
pub use self::options::{MongoOptions, MongoOptionsError};
use super::{
    Changes, ChangesRequest, ClientMemory, Commit, CompactStep, Compaction, LoadRequest, NewMemory, Query, QueryPage,
    Remember, Result, Stats, Store, TimeRequest,
};
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::names::{ClientId, DocumentKey, TenantId};
use crate::core::page::TimePage;

/// The adapter's name.
const NAME: &str = "mongodb";

/// A store in one MongoDB database.
#[derive(Debug)]
pub struct MongoStore {
    database: Database,
}

impl MongoStore {
    /// A store that connects, and makes its collections and indexes, when it is first asked for something. So a process
    /// starts while its database is down, and answers as soon as that is up.
    ///
    /// # Errors
    /// When the options cannot be used, whatever the server is.
    pub fn new(options: &MongoOptions) -> std::result::Result<Self, MongoOptionsError> {
        Ok(Self { database: Database::new(options)? })
    }

    /// Says what is wrong with a server that can be reached and can never hold a store, as one that stands alone and has
    /// no transactions. Of one that cannot be reached nothing is said.
    ///
    /// # Errors
    /// When the server is such a one.
    pub async fn refuse_unsuitable_server(&self) -> std::result::Result<(), MongoOptionsError> {
        match self.database.refuse_unsuitable_server().await {
            Err(Failure::Unsuitable(why)) => Err(MongoOptionsError::Uri(why)),
            _ => Ok(()),
        }
    }
}

/// The error of the port for a failure in one of its methods.
fn during(operation: &'static str) -> impl FnOnce(Failure) -> super::StoreError {
    move |failure| failure.during(operation)
}

#[async_trait]
impl Store for MongoStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        read::load(&self.database, tenant, request).await.map_err(during("load"))
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        write::commit(&self.database, tenant, &batch).await.map_err(during("commit"))
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        let pull = read::changes(&self.database, tenant, &request).await.map_err(during("changes"))?;
        if let (Some(pulled_seq), Some(seen)) = (pull.to_note, &request.seen) {
            write::note_pulled(&self.database, tenant, seen, pulled_seq).await.map_err(during("changes"))?;
        }
        Ok(pull.changes)
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        read::changes_by_time(&self.database, tenant, request).await.map_err(during("changes_by_time"))
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        read::client(&self.database, tenant, client).await.map_err(during("client"))
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        write::remember(&self.database, tenant, client, &memory).await.map_err(during("remember"))
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        read::document(&self.database, tenant, key).await.map_err(during("document"))
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        query::query(&self.database, tenant, &query).await.map_err(during("query"))
    }

    async fn stats(&self, tenant: &TenantId, active_since_ms: u64) -> Result<Stats> {
        read::stats(&self.database, tenant, active_since_ms).await.map_err(during("stats"))
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        write::compact(&self.database, tenant, step).await.map_err(during("compact"))
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        read::tenants(&self.database, after, limit).await.map_err(during("tenants"))
    }

    async fn check(&self) -> Result<()> {
        let checked = async { self.database.ready().await?.check().await };
        checked.await.map_err(during("check"))
    }
}
