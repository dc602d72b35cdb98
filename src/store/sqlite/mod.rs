//! The embedded store: one SQLite file in WAL mode.
//!
//! One thread writes and several read, each with its own connection. Other processes may use the same file at the same
//! time. Every write is one immediate transaction that checks its guards, so locks affect only the speed. A transaction
//! of the writer is flushed to the disk before it is answered (`synchronous=FULL`). The exception is the progress of
//! clients, which only the statistics use.

mod erase;
mod file;
mod lookups;
mod operator;
mod place;
mod read;
mod row;
mod schema;
mod threads;
mod watch;
mod write;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use self::erase::Eraser;
use self::file::prepare;
use self::lookups::Lookups;
pub use self::operator::file::{backup, restore};
use self::place::{Gone, Place};
use self::schema::{OpenError, open_for_lookups, open_for_reading, open_for_writing};
use self::threads::{Abandoned, NAME, Threads};
use super::{
    Audit, Changes, ChangesRequest, ClientCounts, ClientMemory, ClientProgress, ClientRow, Commit, CompactStep,
    Compaction, Erased, ErrorKind, ExpireStep, Expired, Lesson, LoadRequest, NewMemory, PoolState, Pooled, Query,
    QueryPage, Remember, Result, ScrubStep, Stats, Store, StoreError, Survey, SurveyRequest, TimeRequest, Watch,
};
use crate::core::cursor::Position;
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::names::{ClientId, DocumentKey, OperationId, Subject, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::page::TimePage;
use crate::core::progress::Progress;
use crate::core::retention::Expiry;
use crate::limits::store::sqlite::LOOKUP_MAX_CONNECTIONS;
use crate::store::turns::FairTurns;

/// A store in one SQLite file. Dropping it finishes the jobs in progress and closes the file.
#[derive(Debug)]
pub struct SqliteStore {
    // Fields are dropped in order: the writer closes last and removes the write-ahead log.
    readers: Threads,
    /// A thread that only says whether the file can be read, and so waits for nothing else.
    checker: Threads,
    /// Short reads without one of the threads.
    lookups: Lookups,
    writer: Threads,
    eraser: Arc<Eraser>,
    /// Lets at most half of the readers scan collections or clients.
    scans: FairTurns,
    /// Lets all readers but one make pages, so that one is there for the short reads of pushes and of single documents.
    pages: FairTurns,
}

impl SqliteStore {
    /// Opens a file with this many reading threads (at least one), and creates it if it does not exist. This call
    /// blocks.
    ///
    /// The path is always a path and never a URI. Only its owner can read and write a new file.
    ///
    /// # Errors
    /// If the path is empty or `:memory:`, or the file system has no write-ahead logging. Also if the file cannot be
    /// opened or created, is not an SQLite database, belongs to another program, or was written by a later version.
    pub fn open(path: &Path, readers: usize) -> Result<Self> {
        Self::open_with_lookups(path, readers, 0)
    }

    /// The same with connections for short reads, which the thread that polls the store's future then does itself.
    ///
    /// That is faster, but the thread waits for the disk. There must be fewer such connections than threads that poll
    /// futures of the runtime, or a disk that hangs would hold up all of them. There are at most
    /// [`LOOKUP_MAX_CONNECTIONS`].
    ///
    /// # Errors
    /// The errors of [`Self::open`].
    pub fn open_with_lookups(path: &Path, readers: usize, lookups: usize) -> Result<Self> {
        let open_error = |error: OpenError| {
            let kind = match error {
                OpenError::Sqlite(_) | OpenError::Path(_) => ErrorKind::Unavailable,
                OpenError::Foreign | OpenError::TooNew { .. } | OpenError::NoWriteAheadLog(_) | OpenError::ReadOnly => {
                    ErrorKind::Failed
                }
            };
            StoreError::new(NAME, "open", kind, format!("{}: {error}", path.display()))
        };
        let open_gone = |gone: Gone| StoreError::new(NAME, "open", ErrorKind::Unavailable, gone);
        prepare(path).map_err(|error| open_error(error.into()))?;
        let place = Place::of(path);
        let writer = open_for_writing(path).map_err(open_error)?;
        // One of them is never used for pages.
        let readers = readers.max(2);
        let scans = FairTurns::new(readers / 2);
        let pages = FairTurns::new(readers - 1);
        let checker = open_for_reading(path).map_err(open_error)?;
        let readers = (0..readers).map(|_| open_for_reading(path)).collect::<std::result::Result<_, _>>();
        let lookups = (0..lookups.min(LOOKUP_MAX_CONNECTIONS)).map(|_| open_for_lookups(path));
        let lookups = lookups.collect::<std::result::Result<_, _>>().map_err(open_error)?;
        place.check().map_err(open_gone)?;
        let start = |name, connections, abandoned| {
            Threads::start(name, connections, place.clone(), abandoned)
                .map_err(|error| StoreError::new(NAME, "open", ErrorKind::Unavailable, error))
        };
        Ok(Self {
            readers: start("sqlite-reader", readers.map_err(open_error)?, Abandoned::IsInterrupted)?,
            checker: start("sqlite-checker", vec![checker], Abandoned::IsInterrupted)?,
            lookups: Lookups::new(lookups, place.clone()),
            writer: start("sqlite-writer", vec![writer], Abandoned::IsFinished)?,
            eraser: Arc::default(),
            scans,
            pages,
        })
    }
}

impl Pooled for SqliteStore {
    fn pools(&self) -> Vec<(&'static str, PoolState)> {
        vec![("readers", self.readers.pool()), ("writer", self.writer.pool())]
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        let small = self.lookups.try_read(|connection| read::load::load_small(connection, tenant, &request));
        if let Some(small) = small {
            return Ok(small);
        }
        let tenant = tenant.clone();
        self.readers.run("load", move |connection, _| read::load::load(connection, &tenant, request)).await
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        self.writer.commit(tenant.clone(), batch).await
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        let nothing_new = self.lookups.try_read(|connection| read::nothing_new(connection, tenant, &request));
        if let Some(nothing_new) = nothing_new {
            return Ok(nothing_new);
        }
        let _page = self.pages.acquire(tenant).await;
        let tenant = tenant.clone();
        self.readers.run("changes", move |connection, _| read::changes(connection, &tenant, &request)).await
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        let (tenant, client) = (tenant.clone(), client.clone());
        self.writer
            .run("note_pulled", move |connection, _| write::note_pulled(connection, &tenant, &client, progress))
            .await
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        let _page = self.pages.acquire(tenant).await;
        let tenant = tenant.clone();
        self.readers
            .run("changes_by_time", move |connection, _| read::changes_by_time(connection, &tenant, request))
            .await
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        let found = self.lookups.try_read(|connection| read::client(connection, tenant, client).map(Some));
        if let Some(found) = found {
            return Ok(found);
        }
        let (tenant, client) = (tenant.clone(), client.clone());
        self.readers.run("client", move |connection, _| read::client(connection, &tenant, &client)).await
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        let (tenant, client) = (tenant.clone(), client.clone());
        self.writer.run("remember", move |connection, _| write::remember(connection, &tenant, &client, &memory)).await
    }

    async fn claim(&self, tenant: &TenantId, client: &ClientId, subject: &Subject) -> Result<()> {
        let (tenant, client, subject) = (tenant.clone(), client.clone(), subject.clone());
        self.writer.run("claim", move |connection, _| write::claim(connection, &tenant, &client, &subject)).await
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        let small = self.lookups.try_read(|connection| read::small_document(connection, tenant, key));
        if small.is_some() {
            return Ok(small);
        }
        let (tenant, key) = (tenant.clone(), key.clone());
        self.readers.run("document", move |connection, _| read::document(connection, &tenant, &key)).await
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        let _turns = (self.scans.acquire(tenant).await, self.pages.acquire(tenant).await);
        let tenant = tenant.clone();
        self.readers.run("query", move |connection, caller| read::query(connection, &tenant, &query, caller)).await
    }

    async fn stats(&self, tenant: &TenantId, active_ms: RangeInclusive<UnixMs>) -> Result<Stats> {
        let _turns = (self.scans.acquire(tenant).await, self.pages.acquire(tenant).await);
        let tenant = tenant.clone();
        self.readers.run("stats", move |connection, _| read::stats(connection, &tenant, &active_ms)).await
    }

    async fn clients(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientProgress>> {
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.readers
            .run("clients", move |connection, _| read::clients(connection, &tenant, after.as_ref(), limit))
            .await
    }

    async fn survey(&self, tenant: &TenantId, request: SurveyRequest) -> Result<Survey> {
        let _turns = (self.scans.acquire(tenant).await, self.pages.acquire(tenant).await);
        let tenant = tenant.clone();
        self.readers.run("survey", move |connection, _| read::survey::survey(connection, &tenant, &request)).await
    }

    async fn count_clients(&self, tenant: &TenantId, max_clients: u64) -> Result<ClientCounts> {
        let tenant = tenant.clone();
        self.readers
            .run("count_clients", move |connection, _| read::count_clients(connection, &tenant, max_clients))
            .await
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        let (tenant, eraser) = (tenant.clone(), Arc::clone(&self.eraser));
        self.writer
            .run("compact", move |connection, _| {
                let compaction = write::compact(connection, &tenant, step)?;
                eraser.compacted(connection, compaction)?;
                Ok(compaction)
            })
            .await
    }

    async fn aged_place(&self, tenant: &TenantId, received_until_ms: UnixMs, up_to: Seq) -> Result<Option<Position>> {
        let tenant = tenant.clone();
        self.readers
            .run("aged_place", move |connection, _| {
                write::retention::aged_place(connection, &tenant, received_until_ms, up_to)
            })
            .await
    }

    async fn expire(&self, tenant: &TenantId, step: ExpireStep) -> Result<Expired> {
        let (tenant, eraser) = (tenant.clone(), Arc::clone(&self.eraser));
        self.writer
            .run("expire", move |connection, _| {
                let expired = write::retention::expire(connection, &tenant, step)?;
                eraser.removed(expired.rows());
                Ok(expired)
            })
            .await
    }

    async fn count_expired(&self, tenant: &TenantId, expiry: Expiry) -> Result<Expired> {
        let tenant = tenant.clone();
        self.readers
            .run("count_expired", move |connection, _| write::retention::count_expired(connection, &tenant, expiry))
            .await
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        let after = after.cloned();
        self.readers.run("tenants", move |connection, _| read::tenants(connection, after.as_ref(), limit)).await
    }

    async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<Position>> {
        let tenants = tenants.to_vec();
        self.readers.run("heads", move |connection, _| read::heads(connection, &tenants)).await
    }

    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        let tenant = tenant.clone();
        self.readers.run("audit", move |connection, _| operator::audit(connection, &tenant, after, max_entries)).await
    }

    async fn operation_ids(
        &self,
        tenant: &TenantId,
        after: Option<&OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationId>> {
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.readers
            .run("operation_ids", move |connection, _| {
                operator::operation_ids(connection, &tenant, after.as_ref(), limit)
            })
            .await
    }

    async fn client_rows(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientRow>> {
        let (tenant, after) = (tenant.clone(), after.cloned());
        self.readers
            .run("client_rows", move |connection, _| operator::client_rows(connection, &tenant, after.as_ref(), limit))
            .await
    }

    async fn learn(&self, tenant: &TenantId, lesson: Lesson) -> Result<()> {
        let tenant = tenant.clone();
        self.writer.run("learn", move |connection, _| operator::learn(connection, &tenant, &lesson)).await
    }

    async fn scrub(&self, tenant: &TenantId, step: ScrubStep) -> Result<u64> {
        let (tenant, eraser) = (tenant.clone(), Arc::clone(&self.eraser));
        self.writer
            .run("scrub", move |connection, _| {
                let scrubbed = operator::scrub(connection, &tenant, &step)?;
                eraser.removed(scrubbed);
                Ok(scrubbed)
            })
            .await
    }

    async fn erase_tenant(&self, tenant: &TenantId, max_rows: usize) -> Result<Erased> {
        let (tenant, eraser) = (tenant.clone(), Arc::clone(&self.eraser));
        self.writer
            .run("erase_tenant", move |connection, _| {
                let step = operator::erase_tenant(connection, &tenant, max_rows)?;
                eraser.removed(step.documents + step.entries + step.ids + step.clients);
                Ok(step)
            })
            .await
    }

    fn watch(&self) -> Watch<'_> {
        watch::watch(&self.writer)
    }

    async fn announce(&self, _: &[TenantId]) -> Result<()> {
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        self.checker.run("check", |connection, _| read::check(connection)).await
    }
}

#[cfg(test)]
mod tests;
