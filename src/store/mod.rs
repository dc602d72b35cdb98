//! The port of stores: what every store promises, without saying how.
//!
//! A store keeps for each tenant, separately from all other tenants:
//!
//! - the *log*: operations by sequence number, without gaps from 1, except those that compaction has removed;
//! - the *known ids*: the ids of all operations that ever took effect, compacted or not, and those that it learned;
//! - the *fingerprint* of the log at every sequence number, compacted or not;
//! - the *documents*, including tombstones, each with the sequence number of its last operation;
//! - the *head*: the newest position, the horizon, the floor, and the counters of the statistics and of the usage;
//! - the *owners* of client ids: the subject to which each belongs, and the greatest counter that the server has given
//!   it; they are never forgotten;
//! - the *clients* that pull: what the `since` of an original client stands for, and how far each client has pulled.
//!
//! The in-memory store ([`memory`]) is the model: every other store must give the same answers.
//!
//! If a type of the port grows, stores do not compile until they handle it, so none of these types is `non_exhaustive`.

#[cfg(any(feature = "postgres", feature = "mongodb"))]
mod address;
mod delegate;
pub mod error;
pub mod express;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mongodb"))]
mod integers;
pub mod memory;
#[cfg(feature = "mongodb")]
pub mod mongodb;
mod operator;
#[cfg(any(feature = "postgres", feature = "mongodb"))]
mod pace;
mod pools;
#[cfg(feature = "postgres")]
pub mod postgres;
mod retention;
mod shared;
#[cfg(feature = "sqlite")]
pub mod sqlite;
#[cfg(any(feature = "sqlite", feature = "postgres", feature = "mongodb"))]
mod turns;

use std::ops::RangeInclusive;

use async_trait::async_trait;
use futures_util::stream::BoxStream;

use crate::core::access::View;
use crate::core::cursor::{Cursor, Position};
use crate::core::decide::{Batch, Snapshot};
use crate::core::document::LiveDocument;
use crate::core::feed::Feed;
use crate::core::filter::{Filter, Sort};
use crate::core::names::{ClientId, Collection, DocumentKey, OperationId, Subject, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::page::{LogPage, TimePage, TimePlace};
pub use crate::core::page::{QueryPage, SortedEnd};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::core::retention::Expiry;
use crate::limits::protocol::{INTEGER_MAX, PUSH_LOADED_MAX_BYTES};

pub use delegate::{StoreFuture, delegate_store};
pub use error::{ErrorKind, Obstacle, StoreError};
pub use operator::{Audit, AuditEntry, ClientRow, Counters, Erased, Lesson, ScrubStep, Survey, SurveyRequest};
pub use pools::{PoolState, Pooled};
pub use retention::{ExpireStep, Expired};

/// The result of every method of the port.
pub type Result<T> = std::result::Result<T, StoreError>;

/// A store of operations and documents, which all requests of a process share.
///
/// A store around another one hands calls on with [`delegate_store!`].
///
/// Any number of processes may use one database at the same time. If the future of a method is dropped before it
/// completes, the method has had either its whole effect or none.
///
/// # Errors
/// Every method fails with a [`StoreError`] if the database cannot be reached, does not answer in time, or gives an
/// unexpected answer. A failed `commit` or `remember` may have taken effect, because the answer may have been lost.
#[async_trait]
pub trait Store: Send + Sync + std::fmt::Debug {
    /// The name of the adapter, as in the answer of `/health`.
    fn name(&self) -> &'static str;

    /// Reads what [`crate::core::decide::decide`] needs about some ids, documents and clients, all at one moment, in
    /// one round trip.
    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot>;

    /// Writes a batch, which must not be empty: either all of it or nothing, in one round trip.
    ///
    /// It is written if every document and every owner is still as the decision saw it, and none of the ids is known.
    /// Otherwise the outcome is [`Commit::Contended`] and nothing has changed. The operations take the next sequence
    /// numbers of the tenant in the order of the batch. From then on, a reader that sees number `n` also sees every
    /// number below it. After `Done`, the batch survives the death of this process, of the database and of the machine.
    ///
    /// The time of reception that is stored with an operation never runs backwards in the log. It is the time of the
    /// batch or that of the operation before, whichever is later.
    ///
    /// The ids become known that [`Batch::known_ids`] names. Whether those of resolutions become known is up to the
    /// store.
    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit>;

    /// Reads a page in the order of the log, all at one moment; [`crate::core::page`] says which rows it has.
    ///
    /// If the request names a client, its owner and its stored progress are read in the same round trip.
    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes>;

    /// Stores how far a client has pulled. Only [`Store::stats`] uses it, so it need not reach a disk before this
    /// returns. The places of the client's `since` stay unchanged.
    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()>;

    /// Reads a page by the rule of the original protocol, all at one moment. It has operations after a place in the
    /// order of (timestamp, sequence number), cut by [`crate::core::page::TimePageBuilder`]. If the log was compacted,
    /// it reads the documents instead, including tombstones.
    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage>;

    /// The memory of a client, if there is one.
    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>>;

    /// Replaces the memory of a client if it still has the revision `seen_revision`. [`Rev::NONE`] means that there is
    /// no memory yet, or only one from [`Store::note_pulled`]. It is as durable as a commit.
    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember>;

    /// Makes a client id belong to a subject if it belongs to nobody. It is as durable as a commit.
    async fn claim(&self, tenant: &TenantId, client: &ClientId, subject: &Subject) -> Result<()>;

    /// A document that is not deleted.
    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>>;

    /// The documents of a collection that match a filter and are not deleted.
    ///
    /// They begin with the one that was changed last, or have the order that the query asks for.
    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage>;

    /// The statistics, in a time that does not grow with the log.
    ///
    /// Only clients that were last seen in the range `active_ms` count. Its end leaves out clients that were seen by a
    /// clock that ran ahead.
    async fn stats(&self, tenant: &TenantId, active_ms: RangeInclusive<UnixMs>) -> Result<Stats>;

    /// The clients whose progress or places are stored, in the order of the bytes of their ids: the first `limit` of
    /// those after `after`.
    async fn clients(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientProgress>>;

    /// The state of a tenant's log and of its clients for the operator, in a time that does not grow with the log. Its
    /// parts may be of different moments. A tenant without a commit has nothing.
    async fn survey(&self, tenant: &TenantId, request: SurveyRequest) -> Result<Survey>;

    /// The numbers of clients that the tenant has, each at most `max_clients`.
    async fn count_clients(&self, tenant: &TenantId, max_clients: u64) -> Result<ClientCounts>;

    /// One small step of a compaction: moves the horizon and removes the log entries up to it, both or neither.
    ///
    /// Entries that were received at the cut or before are removed. Their remains stay: number, fingerprint, id and
    /// time of reception. So do documents, and the ids stay known.
    ///
    /// Times in the future come from a clock that ran ahead, and would keep entries from being removed until then. So
    /// they are first set to now: those of clients, and those of the newest entries. The oldest of these entries are
    /// set first, so that the times of reception never run backwards in the log. A step that sets times of entries
    /// removes none and is not the last one.
    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction>;

    /// The last place up to `up_to` whose entry was received at the cut or before, compacted or not. `None` if there is
    /// none, or if its remains are gone.
    ///
    /// Entries whose time of reception an earlier version has not kept are old.
    async fn aged_place(&self, tenant: &TenantId, received_until_ms: UnixMs, up_to: Seq) -> Result<Option<Position>>;

    /// One small step of retention: moves the [floor](crate::core::cursor::Head::floor), and removes tombstones and
    /// remains of entries, all or nothing. Less than `max_rows` rows say that nothing is left.
    ///
    /// The oldest tombstones go first, and then the oldest remains. They must not be after the horizon. A step whose
    /// floor is after it is one for another log, such as that of a tenant that began again, and changes nothing.
    ///
    /// The id of an entry goes with its remains, and so does the id of the operation of which it is the resolution. An
    /// id that an earlier version has compacted or that was learned stays known. It is as durable as a commit.
    async fn expire(&self, tenant: &TenantId, step: ExpireStep) -> Result<Expired>;

    /// How many rows the steps of retention would remove, in a time that grows with them. Entries are counted that
    /// compaction has to remove before.
    async fn count_expired(&self, tenant: &TenantId, expiry: Expiry) -> Result<Expired>;

    /// The tenants that ever had a commit, in the order of the bytes of their names: the first `limit` of those after
    /// `after`.
    ///
    /// A caller repeats this after the last tenant of each answer, until an answer has fewer than `limit`. So it sees
    /// every tenant that existed when it began.
    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>>;

    /// The newest place of each of these tenants' logs, in their order and in one round trip. A tenant without a commit
    /// is at [`Position::START`].
    ///
    /// There are at most [`HEADS_MAX_TENANTS`](crate::limits::store::HEADS_MAX_TENANTS) of them. The places may be of
    /// different moments.
    async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<Position>>;

    /// The log after a place with all that the store keeps of it, and the head, at one moment.
    ///
    /// There are at most `max_entries` entries, and at most
    /// [`PAGE_MAX_BYTES`](crate::limits::protocol::PAGE_MAX_BYTES) of them, but at least one if there is any. They
    /// begin after the horizon if the place is before it.
    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit>;

    /// The known ids in the order of their bytes: the first `limit` of those after `after`. The ids of resolutions are
    /// left out, see [`RESERVED_IDS`](crate::core::decide::RESERVED_IDS).
    async fn operation_ids(
        &self,
        tenant: &TenantId,
        after: Option<&OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationId>>;

    /// The clients that pull and those whose ids have owners. They are in the order of the bytes of their ids, and the
    /// answer has the first `limit` of those after `after`.
    async fn client_rows(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientRow>>;

    /// Makes ids and owners known that another store knew. Doing it again changes nothing. It is as durable as a
    /// commit, and the parts of the lesson may take effect one after the other.
    async fn learn(&self, tenant: &TenantId, lesson: Lesson) -> Result<()>;

    /// Replaces the data of a deleted document's operations in a part of the log by `{}`. Returns how many had others.
    ///
    /// The caller bounds the part. Numbers, ids, fingerprints and clocks stay. It is as durable as a commit.
    async fn scrub(&self, tenant: &TenantId, step: ScrubStep) -> Result<u64>;

    /// One small step that removes what the store keeps of a tenant, of at most `max_rows` rows, which is at least 1.
    ///
    /// Between the steps the tenant can be read and written. Such writes are removed too, until a step leaves nothing
    /// and removes the head. A commit after that begins a new log with the first number.
    async fn erase_tenant(&self, tenant: &TenantId, max_rows: usize) -> Result<Erased>;

    /// Hints that other processes have committed, as they come. They end when the stream is dropped.
    ///
    /// A hint may come late, twice or not at all, and a store that learns of nothing has none. [`Store::heads`] says
    /// what is true. The first hint may come at once.
    fn watch(&self) -> Watch<'_>;

    /// Tells the watches of other processes that these tenants have commits, if they do not find this out themselves.
    ///
    /// It is called after the commits, and not as a part of them. There are at most as many tenants as in a call of
    /// [`Store::heads`].
    async fn announce(&self, tenants: &[TenantId]) -> Result<()>;

    /// Whether the store can be reached now.
    async fn check(&self) -> Result<()>;
}

/// The hints that [`Store::watch`] gives.
pub type Watch<'a> = BoxStream<'a, Elsewhere>;

/// A hint of [`Store::watch`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// These tenants may have commits of other processes.
    Tenants(Vec<TenantId>),
    /// Any tenant may.
    Anywhere,
}

/// The ids and documents that [`Store::load`] reads.
#[derive(Debug, Clone)]
pub struct LoadRequest {
    /// Operation ids, each once.
    pub ids: Vec<OperationId>,
    /// Documents, each once.
    pub keys: Vec<DocumentKey>,
    /// Clients whose owners are read, each once.
    pub client_ids: Vec<ClientId>,
    /// Places of the log whose fingerprints are read, each once. None is [`Seq::START`].
    pub places: Vec<Seq>,
    /// Most bytes of documents, their clocks included. If they have more, the snapshot [is cut](Snapshot::is_cut), and
    /// the store holds hardly more than these bytes of them.
    pub max_bytes: usize,
    /// Whether the snapshot is to say how much the tenant keeps.
    pub with_usage: bool,
    /// Whether the documents must have their former labels. Without this they may be missing, and then the decision
    /// must not change them.
    pub with_labels: bool,
    /// Whether the snapshot is to have the stamps that are kept with the documents. They count among the bytes.
    pub with_stamps: bool,
}

impl Default for LoadRequest {
    /// Nothing, within the limit of a push.
    fn default() -> Self {
        Self {
            ids: Vec::new(),
            keys: Vec::new(),
            client_ids: Vec::new(),
            places: Vec::new(),
            max_bytes: PUSH_LOADED_MAX_BYTES,
            with_usage: false,
            with_labels: false,
            with_stamps: false,
        }
    }
}

/// The outcome of [`Store::commit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Commit {
    /// Everything is written.
    Done,
    /// Another process has changed a document or an owner, or pushed an id, since the decision. Nothing is written.
    Contended,
}

/// The page that [`Store::changes`] reads.
#[derive(Debug, Clone)]
pub struct ChangesRequest {
    /// The place at which the page begins. `None` for a client that has nothing, which receives the existing documents.
    pub cursor: Option<Cursor>,
    /// The form of the page. If the feed is limited to some collections, an index of collections serves the read.
    pub feed: Feed,
    /// The greatest number of operations on the page.
    pub max_operations: usize,
    /// The client that pulls, if its owner and its stored progress are to be read too.
    pub client_id: Option<ClientId>,
    /// The documents that the reader may see. If these are not all, the feed must be [`Feed::Documents`].
    pub view: View,
    /// Whether entries of the log are to have their subjects.
    pub with_subjects: bool,
    /// Whether entries of the log that are resolutions are to say what was resolved. This has no effect if the view
    /// does not show everything.
    pub with_resolutions: bool,
}

impl ChangesRequest {
    /// A page of operations, not for a certain client.
    #[must_use]
    pub fn operations(cursor: Option<Cursor>, max_operations: usize) -> Self {
        Self {
            cursor,
            feed: Feed::Operations,
            max_operations,
            client_id: None,
            view: View::default(),
            with_subjects: false,
            with_resolutions: false,
        }
    }
}

/// The outcome of [`Store::changes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changes {
    /// A page.
    Page {
        /// The page.
        page: LogPage,
        /// The stored progress of the client in the request, if there is any.
        noted: Option<Progress>,
        /// The subject to which the client in the request belongs, if it belongs to one.
        owner: Option<Subject>,
    },
    /// The cursor belongs to another log, or retention has removed what follows. So the client must start again
    /// without a cursor.
    Reset,
}

/// A client of [`Store::clients`], and how far it has pulled.
pub type ClientProgress = (ClientId, Progress);

/// The numbers of clients that a tenant has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClientCounts {
    /// The clients whose progress or places are stored. Forgotten ones with places are included.
    pub remembered: u64,
    /// The client ids that have an owner, or a counter that the server has given.
    pub owned: u64,
}

/// The page that [`Store::changes_by_time`] reads.
#[derive(Debug, Clone, Copy)]
pub struct TimeRequest {
    /// The page begins after this place.
    pub after: TimePlace,
    /// The greatest number of operations on the page. A run of equal timestamps at its beginning may exceed it.
    pub max_operations: usize,
}

/// The memory of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientMemory {
    /// Grows with every [`Store::remember`]. It is [`Rev::NONE`] before the first one.
    pub revision: Rev,
    /// The places that its `since` stands for.
    pub places: Places,
    /// The sequence number up to which the client has pulled.
    pub pulled_seq: Seq,
    /// When the client pulled last, in milliseconds since 1970.
    pub seen_at_ms: UnixMs,
}

impl ClientMemory {
    /// The progress of the client.
    #[must_use]
    pub fn progress(&self) -> Progress {
        Progress { pulled_seq: self.pulled_seq, seen_at_ms: self.seen_at_ms }
    }
}

/// The memory that [`Store::remember`] stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewMemory {
    /// The revision that the caller saw, or [`Rev::NONE`].
    pub seen_revision: Rev,
    /// The places that the client's `since` stands for.
    pub places: Places,
    /// The sequence number up to which the client has pulled.
    pub pulled_seq: Seq,
    /// When the client pulled, in milliseconds since 1970.
    pub seen_at_ms: UnixMs,
}

/// The outcome of [`Store::remember`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Remember {
    /// The memory is replaced.
    Done,
    /// Another request of the same client was faster. Nothing is written.
    Contended,
}

/// The progress of a client whose row is kept only for its places. It is so large that this client is never the one
/// that has pulled least.
pub const FORGOTTEN_PULLED_SEQ: Seq = Seq::new(INTEGER_MAX);

/// The documents that [`Store::query`] finds.
#[derive(Debug, Clone)]
pub struct Query {
    /// The collection to look in.
    pub collection: Collection,
    /// The conditions that the documents must meet.
    pub filter: Filter,
    /// The greatest number of documents on the page.
    pub max_documents: usize,
    /// If it is set, only documents whose last operation has a smaller sequence number are found, to continue after
    /// another page.
    pub before_seq: Option<Seq>,
    /// The order of the documents, if it is not that of their last changes. Then the page needs every document of the
    /// collection, and `before_seq` is `None`.
    pub sort: Option<Sort>,
    /// Whether the documents are read with their vector clocks.
    pub with_clocks: bool,
    /// The documents that the reader may see. Others are passed over.
    pub view: View,
}

impl Query {
    /// Whether a page may have to look at more documents than it has.
    #[cfg(any(feature = "postgres", feature = "mongodb"))]
    pub(crate) fn selects(&self) -> bool {
        self.sort.is_some() || !self.filter.is_empty() || !self.view.reads_all()
    }
}

/// The statistics of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// The number of entries in the log.
    pub operations: u64,
    /// The number of documents that are not deleted.
    pub documents: u64,
    /// The number of entries in the log that at least one active client has not pulled yet. 0 if no client is active.
    pub unsynced_operations: u64,
}

/// One step of a compaction.
#[derive(Debug, Clone, Copy)]
pub struct CompactStep {
    /// When the compaction began, in milliseconds since 1970.
    pub now_ms: UnixMs,
    /// Times of reception after this, in milliseconds since 1970, come from a clock that ran ahead. If there are any,
    /// all times after `now_ms` are set to it. This must not be before `now_ms`.
    pub future_after_ms: UnixMs,
    /// The cut, in milliseconds since 1970: entries that were received then or before are removed.
    pub received_until_ms: UnixMs,
    /// Clients that were last seen before this are forgotten, in milliseconds since 1970. Clients with places from
    /// [`Store::remember`] stay, as clients that were never seen and have pulled [`FORGOTTEN_PULLED_SEQ`].
    pub forget_clients_before_ms: UnixMs,
    /// The greatest number of entries to remove, or to set to now, and of clients to forget, or to set to now.
    pub max_entries: usize,
}

/// The result of a step of a compaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compaction {
    /// The number of removed entries.
    pub deleted_entries: u64,
    /// Whether nothing is left to remove for this cut, and no client to forget.
    pub is_finished: bool,
}
