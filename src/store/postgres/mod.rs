//! The store on PostgreSQL 13 and later.
//!
//! Each request of the port is one statement in one round trip: a call of a function from the schema, or a plain query.
//! A statement is a transaction of its own, so a future that is dropped leaves all of its effect or none. It is
//! prepared only if no pooler gives every transaction to another connection.
//!
//! The functions in `migrations/0002_functions.sql` explain how the laws hold. `syncflow_commit` has durability, guards
//! and the order of locks. The others explain what a reader sees at one moment.
//!
//! No statement depends on the search path: our own objects are named with their schema, and PostgreSQL's functions and
//! operators with `pg_catalog`. Otherwise a function of another role could be found in place of the right one, and
//! would run with the rights of the server.
//!
//! The schema is brought up to date by the first request of a process; see [`PostgresStore::new`].

mod connections;
mod database;
mod express;
mod failure;
mod jsonb;
mod notices;
mod operator;
mod options;
mod query;
mod read;
mod row;
mod schema;
mod write;

use std::ops::RangeInclusive;

use async_trait::async_trait;

use self::connections::Connections;
pub use self::connections::login::{Login, LoginSource};
use self::connections::manager::Connector;
use self::connections::transport::MakeTransport;
use self::database::Database;
pub use self::express::PostgresExpress;
use self::failure::{Failure, NAME};
use self::notices::Notices;
pub use self::options::{Parts, Peer, PostgresOptions, PostgresOptionsError};
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

/// A store in one schema of a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    database: Database,
    notices: Notices,
}

impl PostgresStore {
    /// Makes a store. It connects, and brings its schema up to date, with its first request. So a process can start
    /// while its database is down, and works as soon as that is up.
    ///
    /// If the schema is missing, the role needs the right to create it. If it is not up to date, the role needs `USAGE`
    /// of it and the right to create in it. Afterwards, `USAGE` and the right to read and write its tables are enough.
    ///
    /// If the schema or the whole database is dropped or replaced while the store is open, the next request brings it
    /// up to date again.
    ///
    /// # Errors
    /// If the options cannot be used with any database.
    pub fn new(options: &PostgresOptions) -> std::result::Result<Self, PostgresOptionsError> {
        let (mut config, tls_mode) = options.parse()?;
        let tls = connections::tls::connector(tls_mode, options.ca_file.as_deref())?;
        let beginning = options::begin(&mut config, tls_mode)?;
        let transport = MakeTransport { tls, beginning };
        let connections = |pool_size| {
            let (config, transport) = (config.clone(), transport.clone());
            Connections::new(Connector { config, transport, logins: options.logins.clone() }, pool_size, options.peer)
        };
        // A check of the server waits for no other request. With a pool of one connection, as in a Lambda, there is one
        // request at a time and one connection for all.
        let for_checks = (options.pool_size > 1).then(|| connections(1));
        let for_requests = connections(options.pool_size);
        // A pooler gives each transaction another connection, and notifications would come to none of ours.
        let listens = options.peer == Peer::Server;
        let listener = listens.then(|| Connector { config, transport, logins: options.logins.clone() });
        let database = Database::new(for_requests, for_checks, options.schema.as_deref());
        Ok(Self { database, notices: Notices::new(listener) })
    }
}

/// The error of the port for a failure in one of its methods.
fn during(operation: &'static str) -> impl FnOnce(Failure) -> super::StoreError {
    move |failure| failure.during(operation)
}

impl Pooled for PostgresStore {
    fn pools(&self) -> Vec<(&'static str, PoolState)> {
        vec![("connections", self.database.pool())]
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        read::load::load(&self.database, tenant, request).await.map_err(during("load"))
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        write::commit(&self.database, tenant, &batch).await.map_err(during("commit"))
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        read::changes(&self.database, tenant, &request).await.map_err(during("changes"))
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        write::note_pulled(&self.database, tenant, client, progress).await.map_err(during("note_pulled"))
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

    async fn claim(&self, tenant: &TenantId, client: &ClientId, subject: &Subject) -> Result<()> {
        write::claim(&self.database, tenant, client, subject).await.map_err(during("claim"))
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        read::document(&self.database, tenant, key).await.map_err(during("document"))
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        query::query(&self.database, tenant, &query).await.map_err(during("query"))
    }

    async fn stats(&self, tenant: &TenantId, active_ms: RangeInclusive<UnixMs>) -> Result<Stats> {
        read::stats(&self.database, tenant, &active_ms).await.map_err(during("stats"))
    }

    async fn clients(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientProgress>> {
        read::clients::clients(&self.database, tenant, after, limit).await.map_err(during("clients"))
    }

    async fn survey(&self, tenant: &TenantId, request: SurveyRequest) -> Result<Survey> {
        read::survey::survey(&self.database, tenant, &request).await.map_err(during("survey"))
    }

    async fn count_clients(&self, tenant: &TenantId, max_clients: u64) -> Result<ClientCounts> {
        read::count_clients(&self.database, tenant, max_clients).await.map_err(during("count_clients"))
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        write::compact(&self.database, tenant, step).await.map_err(during("compact"))
    }

    async fn aged_place(&self, tenant: &TenantId, received_until_ms: UnixMs, up_to: Seq) -> Result<Option<Position>> {
        let found = operator::retention::aged_place(&self.database, tenant, received_until_ms, up_to).await;
        found.map_err(during("aged_place"))
    }

    async fn expire(&self, tenant: &TenantId, step: ExpireStep) -> Result<Expired> {
        operator::retention::expire(&self.database, tenant, step).await.map_err(during("expire"))
    }

    async fn count_expired(&self, tenant: &TenantId, expiry: Expiry) -> Result<Expired> {
        operator::retention::count_expired(&self.database, tenant, expiry).await.map_err(during("count_expired"))
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        read::tenants(&self.database, after, limit).await.map_err(during("tenants"))
    }

    async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<Position>> {
        read::heads(&self.database, tenants).await.map_err(during("heads"))
    }

    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        operator::audit(&self.database, tenant, after, max_entries).await.map_err(during("audit"))
    }

    async fn operation_ids(
        &self,
        tenant: &TenantId,
        after: Option<&OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationId>> {
        operator::operation_ids(&self.database, tenant, after, limit).await.map_err(during("operation_ids"))
    }

    async fn client_rows(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientRow>> {
        operator::client_rows(&self.database, tenant, after, limit).await.map_err(during("client_rows"))
    }

    async fn learn(&self, tenant: &TenantId, lesson: Lesson) -> Result<()> {
        operator::learn(&self.database, tenant, &lesson).await.map_err(during("learn"))
    }

    async fn scrub(&self, tenant: &TenantId, step: ScrubStep) -> Result<u64> {
        operator::scrub(&self.database, tenant, &step).await.map_err(during("scrub"))
    }

    async fn erase_tenant(&self, tenant: &TenantId, max_rows: usize) -> Result<Erased> {
        operator::erase_tenant(&self.database, tenant, max_rows).await.map_err(during("erase_tenant"))
    }

    fn watch(&self) -> Watch<'_> {
        self.notices.watch(&self.database)
    }

    async fn announce(&self, tenants: &[TenantId]) -> Result<()> {
        self.notices.announce(&self.database, tenants).await.map_err(during("announce"))
    }

    async fn check(&self) -> Result<()> {
        self.database.check().await.map_err(during("check"))
    }
}
