//! The model store, in memory. Every other store is compared with it.
//!
//! It is written to be readable, not fast, and keeps nothing when the process ends.

mod compaction;
mod detached;
mod load;
mod operator;
mod retention;
mod survey;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::{Bound, RangeInclusive};
use std::sync::{Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::pending;

use self::detached::{detached, detached_document, detached_operation};
use super::{
    Audit, Changes, ChangesRequest, ClientCounts, ClientMemory, ClientProgress, ClientRow, Commit, CompactStep,
    Compaction, Erased, ErrorKind, ExpireStep, Expired, Lesson, LoadRequest, NewMemory, Query, QueryPage, Remember,
    Result, ScrubStep, Stats, Store, StoreError, Survey, SurveyRequest, TimeRequest, Watch,
};
use crate::core::cursor::{Head, Position};
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::{Batch, Snapshot, resolution_of};
use crate::core::document::{Document, LiveDocument};
use crate::core::fingerprint::Fingerprint;
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey, OperationId, Subject, TenantId};
use crate::core::numbers::{Rev, Seq, UnixMs};
use crate::core::operation::{Change, LogEntry, Operation};
use crate::core::page::{LogPageBuilder, QueryPageBuilder, Scan, TimePage, TimePageBuilder, TimePlace};
use crate::core::places::Places;
use crate::core::progress::Progress;
use crate::core::retention::Expiry;

/// The name of the adapter.
const NAME: &str = "memory";

/// A store in the memory of this process.
#[derive(Debug, Default)]
pub struct MemoryStore {
    tenants: Mutex<HashMap<TenantId, Tenant>>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn tenants(&self) -> MutexGuard<'_, HashMap<TenantId, Tenant>> {
        // No code changes a tenant halfway while it holds the lock, so the data of a poisoned lock are complete.
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, tenant: &TenantId, work: impl FnOnce(&mut Tenant) -> T) -> T {
        work(self.tenants().entry(tenant.clone()).or_default())
    }
}

/// All data of one tenant.
#[derive(Debug, Default)]
struct Tenant {
    known: HashSet<OperationId>,
    /// The stamps of documents, as they were written last.
    stamps: BTreeMap<DocumentKey, String>,
    log: BTreeMap<Seq, Logged>,
    /// The fingerprints at all sequence numbers that were ever given, but for those that retention has removed.
    fingerprints: BTreeMap<Seq, Fingerprint>,
    /// The ids and times of reception of the entries that compaction has removed.
    remains: BTreeMap<Seq, (OperationId, UnixMs)>,
    newest: Position,
    floor: Position,
    tombstones_gone: Seq,
    documents: BTreeMap<DocumentKey, (Seq, Document)>,
    /// The keys of all documents, in the order of their last changes.
    keys_by_seq: BTreeMap<Seq, DocumentKey>,
    horizon: Seq,
    received_at_ms: UnixMs,
    clients: BTreeMap<ClientId, ClientMemory>,
    owners: BTreeMap<ClientId, ClientOwner>,
}

#[derive(Debug)]
struct Logged {
    operation: Operation,
    subject: Option<Subject>,
    received_at_ms: UnixMs,
    /// An object that is kept beside a resolution.
    kept: Option<Object>,
}

impl Logged {
    fn bytes(&self) -> usize {
        self.operation.kept_bytes() + self.kept.as_ref().map_or(0, |kept| kept.as_str().len())
    }
}

impl Tenant {
    fn head(&self) -> Head {
        let Self { newest: position, horizon, floor, tombstones_gone, .. } = *self;
        Head { position, horizon, floor, tombstones_gone }
    }

    fn position(&self, seq: Seq) -> Option<Position> {
        if seq == Seq::START {
            return Some(Position::START);
        }
        self.fingerprints.get(&seq).map(|fingerprint| Position { seq, fingerprint: *fingerprint })
    }

    fn commit(&mut self, batch: Batch) -> Commit {
        let holds = batch
            .documents
            .iter()
            .all(|write| self.documents.get(&write.key).map(|(_, document)| document.rev) == write.seen_rev);
        let owners_hold = batch.owners.iter().all(|write| self.owners.get(&write.client_id) == write.seen.as_ref());
        if !holds || !owners_hold || batch.known_ids().any(|id| self.known.contains(id)) {
            return Commit::Contended;
        }
        self.known.extend(batch.known_ids().map(detached));
        let kept: HashMap<usize, Object> = batch.kept().map(|(index, kept)| (index, kept.detached())).collect();
        let Position { seq: before, fingerprint } = self.newest;
        self.received_at_ms = self.received_at_ms.max(batch.received_at_ms);
        for (seq, fingerprint) in before.following().zip(batch.fingerprints(fingerprint)) {
            self.fingerprints.insert(seq, fingerprint);
            self.newest = Position { seq, fingerprint };
        }
        let operations: Vec<Operation> = batch.operations.iter().map(detached_operation).collect();
        let subjects: Vec<_> = (0..operations.len()).map(|index| batch.subject(index).map(detached)).collect();
        for write in batch.owners {
            let owner = ClientOwner { subject: write.owner.subject.as_ref().map(detached), ..write.owner };
            self.owners.insert(detached(&write.client_id), owner);
        }
        for write in batch.documents {
            let (index, seq) = (write.operation_index, before.next().plus(write.operation_index as u64));
            let key = operations[index].key.clone();
            match write.stamps {
                Some(stamps) if !stamps.is_empty() => drop(self.stamps.insert(key.clone(), stamps)),
                _ => drop(self.stamps.remove(&key)),
            }
            let document = detached_document(&write.document, &batch.operations[index], &operations[index]);
            if let Some((before, _)) = self.documents.insert(key.clone(), (seq, document)) {
                self.keys_by_seq.remove(&before);
            }
            self.keys_by_seq.insert(seq, key);
        }
        let entries = operations.into_iter().zip(subjects).enumerate();
        for (seq, (index, (operation, subject))) in before.following().zip(entries) {
            let (received_at_ms, kept) = (self.received_at_ms, kept.get(&index).cloned());
            self.log.insert(seq, Logged { operation, subject, received_at_ms, kept });
        }
        Commit::Done
    }

    /// The log after a sequence number.
    fn entries_after(&self, seq: Seq) -> impl Iterator<Item = LogEntry> {
        self.log.range(seq.next()..).map(|(seq, logged)| logged_entry(*seq, logged))
    }

    /// The documents that were changed after a place, in the form of operations and in the order of these changes. Each
    /// has the text of its former labels.
    fn states_after(
        &self,
        after: Seq,
        tombstones_after: Option<Seq>,
    ) -> impl Iterator<Item = (LogEntry, Option<String>)> {
        self.keys_by_seq.range(after.next()..).filter_map(move |(seq, key)| {
            let (_, document) = self.documents.get(key)?;
            let is_shown = !document.is_deleted() || tombstones_after.is_some_and(|after| *seq > after);
            is_shown.then(|| (state_entry(*seq, key, document), document.former_labels.to_stored()))
        })
    }

    fn changes(&self, request: ChangesRequest) -> Result<Changes> {
        let there = request.cursor.and_then(|cursor| self.position(self.head().verified_at(&cursor)));
        let there = there.map(|there| there.fingerprint);
        let ChangesRequest { cursor, feed, max_operations, client_id, view, with_subjects, with_resolutions } = request;
        let with_resolutions = with_resolutions && view.reads_all();
        let page = LogPageBuilder::begin(cursor, &feed, max_operations, self.head(), there);
        let Some(mut page) = page.map(|page| page.seen_by(&view)) else { return Ok(Changes::Reset) };
        let rows: &mut dyn Iterator<Item = (LogEntry, Option<String>)> = match page.scan() {
            Scan::Log { after } => &mut self.entries_after(after.seq).map(|entry| (entry, None)),
            Scan::State { after, tombstones_after } => &mut self.states_after(after.seq, tombstones_after),
        };
        for (row, former_labels) in rows.filter(|(row, _)| feed.includes(&row.key.collection)) {
            let subject = row.subject.clone().filter(|_| with_subjects);
            let resolution = row.resolution.clone().filter(|_| with_resolutions);
            let row = LogEntry { subject, resolution, ..row };
            let wants_more = page.push_document(row, former_labels.as_deref());
            if !wants_more.map_err(|damaged| StoreError::new(NAME, "changes", ErrorKind::Failed, damaged))? {
                break;
            }
        }
        let lost = || StoreError::new(NAME, "changes", ErrorKind::Failed, "a sequence number without a fingerprint");
        let page = page.finish(|seq| self.position(seq).map(|last| last.fingerprint).ok_or_else(lost))?;
        let noted = client_id.as_ref().and_then(|client| self.clients.get(client)).map(ClientMemory::progress);
        let owner = client_id.and_then(|client| self.owners.get(&client)?.subject.clone());
        Ok(Changes::Page { page, noted, owner })
    }

    fn note_pulled(&mut self, client: &ClientId, progress: Progress) {
        let Progress { pulled_seq, seen_at_ms } = progress;
        let nothing = ClientMemory { revision: Rev::NONE, places: Places::default(), pulled_seq, seen_at_ms };
        let memory = self.clients.entry(client.clone()).or_insert(nothing);
        memory.pulled_seq = pulled_seq;
        memory.seen_at_ms = seen_at_ms;
    }

    fn changes_by_time(&self, request: TimeRequest) -> TimePage {
        let place = |entry: &LogEntry| TimePlace { timestamp: entry.timestamp, seq: entry.seq };
        let mut rows: Vec<LogEntry> = if self.head().has_log_behind(Seq::START) {
            self.entries_after(Seq::START).collect()
        } else {
            self.states_after(Seq::START, Some(Seq::START)).map(|(entry, _)| entry).collect()
        };
        rows.retain(|entry| place(entry) > request.after);
        rows.sort_unstable_by_key(place);
        let mut page = TimePageBuilder::new(request.max_operations);
        for row in rows {
            if !page.push(LogEntry { subject: None, resolution: None, ..row }) {
                break;
            }
        }
        page.finish(self.head())
    }

    fn remember(&mut self, client: &ClientId, memory: NewMemory) -> Remember {
        let revision = self.clients.get(client).map_or(Rev::NONE, |memory| memory.revision);
        if revision != memory.seen_revision {
            return Remember::Contended;
        }
        let NewMemory { places, pulled_seq, seen_at_ms, .. } = memory;
        self.clients.insert(client.clone(), ClientMemory { revision: revision.next(), places, pulled_seq, seen_at_ms });
        Remember::Done
    }

    fn claim(&mut self, client: &ClientId, subject: &Subject) {
        let owner = self.owners.entry(client.clone()).or_default();
        owner.subject.get_or_insert_with(|| subject.clone());
    }

    fn document(&self, key: &DocumentKey) -> Option<LiveDocument> {
        self.documents.get(key).and_then(|(seq, document)| live_document(key, *seq, document))
    }

    fn query(&self, query: &Query) -> Result<QueryPage> {
        let before = query.before_seq.map_or(Bound::Unbounded, Bound::Excluded);
        let places = self.keys_by_seq.range((Bound::Unbounded, before)).rev();
        let found = places.filter(|(_, key)| key.collection == query.collection).filter_map(|(seq, key)| {
            let (_, document) = self.documents.get(key)?;
            let clock = query.with_clocks.then(|| document.clock.json().clone());
            live_document(key, *seq, document).map(|found| LiveDocument { clock, ..found })
        });
        let mut page =
            QueryPageBuilder::new(&query.filter, query.sort.as_ref(), query.max_documents).seen_by(&query.view);
        for document in found {
            let wants_more = page.push(document);
            if !wants_more.map_err(|damaged| StoreError::new(NAME, "query", ErrorKind::Failed, damaged))? {
                break;
            }
        }
        Ok(page.finish())
    }
}

fn logged_entry(seq: Seq, Logged { operation, subject, kept, .. }: &Logged) -> LogEntry {
    // The text is its own.
    let resolution = kept.as_ref().and_then(|kept| resolution_of(kept.as_str()).ok().flatten());
    LogEntry {
        seq,
        id: operation.id.clone(),
        change: operation.change.clone(),
        key: operation.key.clone(),
        timestamp: operation.timestamp,
        client_id: operation.client_id.clone(),
        clock: operation.clock.json().clone(),
        rev: None,
        subject: subject.clone(),
        resolution,
    }
}

fn state_entry(seq: Seq, key: &DocumentKey, document: &Document) -> LogEntry {
    LogEntry {
        seq,
        id: document.operation_id.clone(),
        change: Change::to_state(document.data.clone()),
        key: key.clone(),
        timestamp: document.timestamp,
        client_id: document.client_id.clone(),
        clock: document.clock.json().clone(),
        rev: Some(document.rev),
        subject: None,
        resolution: None,
    }
}

fn live_document(key: &DocumentKey, seq: Seq, document: &Document) -> Option<LiveDocument> {
    let data = document.data.clone()?;
    let operation_id = document.operation_id.clone();
    Some(LiveDocument { key: key.clone(), rev: document.rev, seq, operation_id, data, clock: None })
}

#[async_trait]
impl Store for MemoryStore {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn load(&self, tenant: &TenantId, request: LoadRequest) -> Result<Snapshot> {
        Ok(self.with(tenant, |tenant| tenant.load(request)))
    }

    async fn commit(&self, tenant: &TenantId, batch: Batch) -> Result<Commit> {
        Ok(self.with(tenant, |tenant| tenant.commit(batch)))
    }

    async fn changes(&self, tenant: &TenantId, request: ChangesRequest) -> Result<Changes> {
        self.with(tenant, |tenant| tenant.changes(request))
    }

    async fn note_pulled(&self, tenant: &TenantId, client: &ClientId, progress: Progress) -> Result<()> {
        self.with(tenant, |tenant| tenant.note_pulled(client, progress));
        Ok(())
    }

    async fn changes_by_time(&self, tenant: &TenantId, request: TimeRequest) -> Result<TimePage> {
        Ok(self.with(tenant, |tenant| tenant.changes_by_time(request)))
    }

    async fn client(&self, tenant: &TenantId, client: &ClientId) -> Result<Option<ClientMemory>> {
        Ok(self.with(tenant, |tenant| tenant.clients.get(client).cloned()))
    }

    async fn remember(&self, tenant: &TenantId, client: &ClientId, memory: NewMemory) -> Result<Remember> {
        Ok(self.with(tenant, |tenant| tenant.remember(client, memory)))
    }

    async fn claim(&self, tenant: &TenantId, client: &ClientId, subject: &Subject) -> Result<()> {
        self.with(tenant, |tenant| tenant.claim(client, subject));
        Ok(())
    }

    async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        Ok(self.with(tenant, |tenant| tenant.document(key)))
    }

    async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        self.with(tenant, |tenant| tenant.query(&query))
    }

    async fn stats(&self, tenant: &TenantId, active_ms: RangeInclusive<UnixMs>) -> Result<Stats> {
        Ok(self.with(tenant, |tenant| tenant.stats(&active_ms)))
    }

    async fn clients(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientProgress>> {
        Ok(self.with(tenant, |tenant| {
            let behind = tenant.clients.iter().filter(|(client, _)| after.is_none_or(|after| *client > after));
            let behind: BTreeMap<_, _> = behind.map(|(client, memory)| (client.clone(), memory.progress())).collect();
            behind.into_iter().take(limit).collect()
        }))
    }

    async fn survey(&self, tenant: &TenantId, request: SurveyRequest) -> Result<Survey> {
        Ok(self.with(tenant, |tenant| tenant.survey(&request)))
    }

    async fn count_clients(&self, tenant: &TenantId, max_clients: u64) -> Result<ClientCounts> {
        Ok(self.with(tenant, |tenant| ClientCounts {
            remembered: max_clients.min(tenant.clients.len() as u64),
            owned: max_clients.min(tenant.owners.len() as u64),
        }))
    }

    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        Ok(self.with(tenant, |tenant| tenant.compact(step)))
    }

    async fn aged_place(&self, tenant: &TenantId, received_until_ms: UnixMs, up_to: Seq) -> Result<Option<Position>> {
        Ok(self.with(tenant, |tenant| tenant.aged_place(received_until_ms, up_to)))
    }

    async fn expire(&self, tenant: &TenantId, step: ExpireStep) -> Result<Expired> {
        Ok(self.with(tenant, |tenant| tenant.expire(step)))
    }

    async fn count_expired(&self, tenant: &TenantId, expiry: Expiry) -> Result<Expired> {
        Ok(self.with(tenant, |tenant| tenant.count_expired(expiry)))
    }

    async fn tenants(&self, after: Option<&TenantId>, limit: usize) -> Result<Vec<TenantId>> {
        let tenants = self.tenants();
        let written = tenants.iter().filter(|(_, tenant)| tenant.newest.seq > Seq::START).map(|(name, _)| name);
        let mut behind: Vec<TenantId> =
            written.filter(|name| after.is_none_or(|after| *name > after)).cloned().collect();
        behind.sort_unstable();
        behind.truncate(limit);
        Ok(behind)
    }

    async fn heads(&self, tenants: &[TenantId]) -> Result<Vec<Position>> {
        let all = self.tenants();
        let newest = |tenant| all.get(tenant).map(|tenant| tenant.head().position).unwrap_or_default();
        Ok(tenants.iter().map(newest).collect())
    }

    async fn audit(&self, tenant: &TenantId, after: Seq, max_entries: usize) -> Result<Audit> {
        Ok(self.with(tenant, |tenant| tenant.audit(after, max_entries)))
    }

    async fn operation_ids(
        &self,
        tenant: &TenantId,
        after: Option<&OperationId>,
        limit: usize,
    ) -> Result<Vec<OperationId>> {
        Ok(self.with(tenant, |tenant| tenant.operation_ids(after, limit)))
    }

    async fn client_rows(&self, tenant: &TenantId, after: Option<&ClientId>, limit: usize) -> Result<Vec<ClientRow>> {
        Ok(self.with(tenant, |tenant| tenant.client_rows(after, limit)))
    }

    async fn learn(&self, tenant: &TenantId, lesson: Lesson) -> Result<()> {
        self.with(tenant, |tenant| tenant.learn(lesson));
        Ok(())
    }

    async fn scrub(&self, tenant: &TenantId, step: ScrubStep) -> Result<u64> {
        Ok(self.with(tenant, |tenant| tenant.scrub(&step)))
    }

    async fn erase_tenant(&self, tenant: &TenantId, max_rows: usize) -> Result<Erased> {
        let mut tenants = self.tenants();
        let erased = tenants.entry(tenant.clone()).or_default().erase(max_rows);
        if erased.is_finished {
            tenants.remove(tenant);
        }
        Ok(erased)
    }

    fn watch(&self) -> Watch<'_> {
        // No other process has it.
        pending().boxed()
    }

    async fn announce(&self, _: &[TenantId]) -> Result<()> {
        Ok(())
    }

    async fn check(&self) -> Result<()> {
        Ok(())
    }
}
