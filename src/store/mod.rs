//! The storage port: what every store promises, and nothing of how.
//!
//! A store keeps, for each tenant and apart from every other tenant:
//!
//! - the *log*: operations by sequence number, dense from 1, without those that compaction has removed;
//! - the *known ids*: of every operation that ever took effect, compacted or not;
//! - the *fingerprint* of the log at every sequence number, compacted or not;
//! - the *documents*, tombstones included, each with the sequence number of its last operation;
//! - the *head*: the newest position, the horizon and the counters of the statistics;
//! - the *clients* that pull: what a legacy client's `since` stands for, and how far each has pulled.
//!
//! The in-memory store ([`memory`]) is the reference: every other one answers as it does.

#[cfg(any(feature = "postgres", feature = "mongodb"))]
mod address;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod error;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mongodb"))]
mod integers;
pub mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(feature = "postgres")]
pub mod postgres;
mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;

use async_trait::async_trait;

use crate::core::cursor::Cursor;
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::filter::Filter;
use crate::core::limits::INTEGER_MAX;
use crate::core::names::{ClientId, Collection, DocumentKey, OperationId, TenantId};
pub use crate::core::page::QueryPage;
use crate::core::page::{LogPage, TimePage, TimePlace};
use crate::core::places::Places;
use crate::core::progress::Progress;

pub use error::{ErrorKind, Obstacle, StoreError};

/// What every method of the port answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A store of operations and documents, shared by all requests of a process.
///
/// Any number of processes may use one database at the same time. A method whose future is dropped before it is done
/// has had its whole effect or none.
///
/// # Errors
/// Every method fails with a [`StoreError`] when the database cannot be reached, does not answer in time, or answers
/// with what the port does not know. A failed `commit` or `remember` may have had its effect: the answer was lost.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The name of the adapter, as `/health` answers it.
    fn name(&self) -> &'static str;

    /// What [`crate::core::decide::decide`] needs of some ids and documents, all of one moment; one round trip.
    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot>;

    /// Writes a batch that is not empty: all of it or nothing, one round trip.
    ///
    /// It is written if every document still has the revision that the decision saw and none of the ids is known;
    /// otherwise the outcome is [`Commit::Contended`] and nothing has changed. The operations take the next sequence
    /// numbers of the tenant, in the order of the batch. Whoever reads number `n` from then on finds every number below.
    /// When `Done` is answered, the batch survives the death of this process, of the database and of the machine.
    ///
    /// The time of reception that is kept with an operation never runs backwards in the log: it is the batch's, or that
    /// of the operation before where this is later.
    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit>;

    /// A page in log order, all of one moment; see [`crate::core::page`] for what it has.
    ///
    /// With a client, what is noted of its progress is read in the same round trip.
    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes>;

    /// Notes how far a client has pulled, which [`Store::stats`] counts and nothing else depends on. Nobody waits for it
    /// to reach a disk, and it leaves what its `since` stand for alone.
    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()>;

    /// A page by the reference's rule, all of one moment: operations behind a place in the order of (timestamp, sequence
    /// number), as [`crate::core::page::TimePageBuilder`] cuts it; documents once history has been compacted, tombstones
    /// included.
    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage>;

    /// What is remembered of a client, if anything.
    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>>;

    /// Replaces what is remembered of a client, if the memory still has `seen_revision` (nothing: if there is none yet,
    /// or one that only [`Store::note_pulled`] made); durable as a commit is.
    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember>;

    /// A document that is not deleted.
    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>>;

    /// The documents of a collection that match a filter and are not deleted, newest first by their last operations.
    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage>;

    /// The counters, in a time that does not grow with the log.
    ///
    /// Clients that were last seen before `active_since_ms` do not count.
    async fn stats(&self, tenant: &TenantId, active_since_ms: u64) -> Result<Stats>;

    /// One small step of a compaction: moves the horizon and removes the log entries up to it, both or neither.
    ///
    /// Entries go that the server received at the cut or before; the ids stay known, fingerprints and documents stay.
    ///
    /// Times that lie in the future were written under a clock that ran ahead, and nothing would go until then. They are
    /// set to now first: those of clients, and those of the newest entries, the oldest of these first, so that the times
    /// of reception never run backwards in the log. A step that does this to entries removes none and is not the last.
    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction>;

    /// The tenants that anything was ever committed to, in the order of their names' bytes: the first `limit` of those
    /// behind `after`, of all without it.
    ///
    /// Who goes on behind the last one of each answer, until one has fewer than `limit`, sees every tenant that was there
    /// when it began.
    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>>;

    /// Whether the store can be reached now.
    async fn check(&self) -> Result<()>;
}

/// What [`Store::load`] is to look up.
#[derive(Debug, Clone, Default)]
pub struct LoadRequest {
    /// Operation ids, each once.
    pub ids: Vec<OperationId>,
    /// Documents, each once.
    pub keys: Vec<DocumentKey>,
}

/// The outcome of [`Store::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// Everything is written.
    Done,
    /// Somebody else has changed a document or pushed an id since the decision; nothing is written.
    Contended,
}

/// What [`Store::changes`] is to read.
#[derive(Debug, Clone)]
pub struct ChangesRequest {
    /// Where the page begins; nothing for a client that has nothing, which is shown the documents that exist.
    pub cursor: Option<Cursor>,
    /// Most operations of the page.
    pub max_operations: usize,
    /// Who pulls, if what is noted of it is to be read too.
    pub client_id: Option<ClientId>,
}

/// The outcome of [`Store::changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// A page.
    Page {
        /// The page.
        page: LogPage,
        /// What is noted of the client that was named, if anything.
        noted: Option<Progress>,
    },
    /// The cursor is not of this log: the client must start again from nothing.
    Reset,
}

/// What [`Store::changes_by_time`] is to read.
#[derive(Debug, Clone, Copy)]
pub struct TimeRequest {
    /// What lies up to here is left out.
    pub after: TimePlace,
    /// Most operations of the page; a run of equal timestamps at its beginning may exceed it.
    pub max_operations: usize,
}

/// What is remembered of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMemory {
    /// Grows with every [`Store::remember`]; 0 where there was none.
    pub revision: u64,
    /// What its `since` stands for.
    pub places: Places,
    /// The sequence number up to which it has pulled.
    pub pulled_seq: u64,
    /// When it pulled last, in milliseconds since 1970.
    pub seen_at_ms: u64,
}

impl ClientMemory {
    /// How far the client has come.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { pulled_seq: self.pulled_seq, seen_at_ms: self.seen_at_ms }
    }
}

/// What [`Store::remember`] is to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemory {
    /// The revision that the caller saw, 0 for none.
    pub seen_revision: u64,
    /// What the client's `since` stands for.
    pub places: Places,
    /// The sequence number up to which it has pulled.
    pub pulled_seq: u64,
    /// When it pulled, in milliseconds since 1970.
    pub seen_at_ms: u64,
}

/// The outcome of [`Store::remember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Remember {
    /// The memory is replaced.
    Done,
    /// Another request of the same client was faster; nothing is written.
    Contended,
}

/// How far a client has pulled that is only kept for its places: so far that it is never the one that has pulled least.
pub const FORGOTTEN_PULLED_SEQ: u64 = INTEGER_MAX;

/// What [`Store::query`] is to find.
#[derive(Debug, Clone)]
pub struct Query {
    /// The collection to look in.
    pub collection: Collection,
    /// What the documents must meet.
    pub filter: Filter,
    /// Most documents of the page.
    pub max_documents: usize,
    /// Only documents whose last operation has a smaller sequence number, where a page goes on from another.
    pub before_seq: Option<u64>,
}

/// The counters of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Entries in the log now.
    pub operations: u64,
    /// Documents that are not deleted.
    pub documents: u64,
    /// Entries in the log that some active client has not yet pulled; 0 where no client is active.
    pub unsynced_operations: u64,
}

/// One step of a compaction.
#[derive(Debug, Clone, Copy)]
pub struct CompactStep {
    /// When the compaction began, in milliseconds since 1970.
    pub now_ms: u64,
    /// Times of reception after this, in milliseconds since 1970, were written under a clock that ran ahead. If there are
    /// any, all that are after `now_ms` are set to it. Not before `now_ms`.
    pub future_after_ms: u64,
    /// The cut: entries that were received then or before go, in milliseconds since 1970.
    pub received_until_ms: u64,
    /// Clients that were last seen before this are forgotten, in milliseconds since 1970. Those that [`Store::remember`]
    /// has kept something of stay, as clients that were never seen and have pulled [`FORGOTTEN_PULLED_SEQ`].
    pub forget_clients_before_ms: u64,
    /// Most entries to remove, or to set to now.
    pub max_entries: usize,
}

/// What a step of a compaction did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// Entries removed.
    pub deleted_entries: u64,
    /// Whether nothing is left to remove for this cut.
    pub is_finished: bool,
}
