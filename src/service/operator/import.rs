//! An import: the lines of an export become a tenant of this store.

use std::collections::BTreeMap;

use super::Operator;
use super::express::BadRow;
use super::line::{BadLine, ClientLine, Counts, DocumentLine, Line};
use crate::core::access::View;
use crate::core::clock::Relation;
use crate::core::decide::owners::ClientOwner;
use crate::core::decide::{Batch, DocumentWrite, Resolution, Snapshot, is_reserved, pushed_id};
use crate::core::json::Object;
use crate::core::names::{ClientId, DocumentKey, FromStore as _, OperationId, TenantId};
use crate::core::operation::{Change, Operation};
use crate::limits::protocol::PUSH_LOADED_MAX_BYTES;
use crate::limits::service::{
    IMPORT_MAX_ATTEMPTS, IMPORT_WAITING_MAX_BYTES, LIST_MAX_ENTRIES, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS,
    TRANSFER_MAX_DOCUMENTS,
};
use crate::service::error::ServiceError;
use crate::service::host::backoff;
use crate::store::{Commit, Lesson, LoadRequest, StoreError};

/// The effect of an import, or the one that it would have if it is only tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Imported {
    /// The tenant that was exported.
    pub from_tenant: Option<TenantId>,
    /// Documents and tombstones that are written.
    pub documents: u64,
    /// Documents and tombstones that were there already, in this state or a later one.
    pub present_documents: u64,
    /// Ids of operations that are known now.
    pub ids: u64,
    /// Clients whose owners, counters and numbers are known now.
    pub clients: u64,
}

/// Why an import stopped. The lines before keep their effect, and importing the same lines again continues.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The store failed.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A line is not one of an export.
    #[error("line {number}: {problem}")]
    Line {
        /// The number of the line, from 1.
        number: u64,
        /// The fault.
        problem: BadLine,
    },
    /// The lines are not a whole export.
    #[error("{0}")]
    Incomplete(String),
    /// A row of an Express server cannot be taken over.
    #[error("{0}")]
    Row(BadRow),
    /// The database of an Express server failed.
    #[error(transparent)]
    Source(StoreError),
    /// The tenant has something else in this place.
    #[error("{what}: {why}")]
    Other {
        /// The document or client.
        what: String,
        /// Why it cannot be imported.
        why: &'static str,
    },
}

impl From<StoreError> for ImportError {
    fn from(error: StoreError) -> Self {
        Self::Service(error.into())
    }
}

/// An import in progress, which takes one line after the other.
#[derive(Debug)]
pub struct Import {
    operator: Operator,
    tenant: TenantId,
    is_dry_run: bool,
    /// Whether a later state may have the revision of the state that it replaces, or an earlier one.
    raises_revisions: bool,
    lines: u64,
    seen: Counts,
    end: Option<Counts>,
    waiting: BTreeMap<DocumentKey, DocumentLine>,
    waiting_bytes: usize,
    clients: BTreeMap<ClientId, ClientLine>,
    report: Imported,
}

impl Operator {
    /// Begins an import into a tenant. If it is only tried, nothing is written.
    ///
    /// Each document becomes one entry of the log, with the id, the clock and the time of its last operation.
    /// Documents that the tenant has in the same state, or a later one, are passed over. So an import that was stopped
    /// can be done again. A document that was changed in another way is an error.
    #[must_use]
    pub fn import(&self, tenant: &TenantId, is_dry_run: bool) -> Import {
        Import {
            operator: self.clone(),
            tenant: tenant.clone(),
            is_dry_run,
            raises_revisions: false,
            lines: 0,
            seen: Counts::default(),
            end: None,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            clients: BTreeMap::new(),
            report: Imported::default(),
        }
    }
}

impl Import {
    /// Takes the next line. It may have its effect with a later line.
    ///
    /// # Errors
    /// If the line is not one of an export, if the tenant has another state, or if the store fails.
    pub async fn line(&mut self, text: &str) -> Result<(), ImportError> {
        self.lines += 1;
        let line = Line::read(text).map_err(|problem| ImportError::Line { number: self.lines, problem })?;
        if self.end.is_some() {
            return Err(ImportError::Incomplete(format!("line {}: there is a line after the end", self.lines)));
        }
        if matches!(line, Line::Tenant(..)) != self.report.from_tenant.is_none() {
            let problem =
                format!("line {}: the first line of an export, and no other, is of the kind tenant", self.lines);
            return Err(ImportError::Incomplete(problem));
        }
        self.take(line, text.len()).await
    }

    /// The same import for states whose revisions were not counted as this server does.
    pub(super) fn raising_revisions(self) -> Self {
        Self { raises_revisions: true, ..self }
    }

    /// Takes the next line of about so many bytes.
    pub(super) async fn take(&mut self, line: Line, bytes: usize) -> Result<(), ImportError> {
        match line {
            Line::Tenant(tenant, _) => self.report.from_tenant = Some(tenant),
            Line::Document(key, document) => {
                self.seen.documents += 1;
                if self.waiting.contains_key(&key) {
                    self.write_documents().await?;
                }
                self.waiting_bytes += bytes;
                self.waiting.insert(key, *document);
                let is_full = self.waiting.len() >= TRANSFER_MAX_DOCUMENTS;
                if is_full || self.waiting_bytes >= IMPORT_WAITING_MAX_BYTES {
                    self.write_documents().await?;
                }
            }
            Line::Ids(ids) => {
                // An id must not be known before its effect is there.
                self.write_documents().await?;
                self.seen.ids += ids.len() as u64;
                self.report.ids += ids.len() as u64;
                if !self.is_dry_run {
                    let lesson = Lesson { ids, owners: Vec::new() };
                    self.operator.service.store.learn(&self.tenant, lesson).await?;
                }
            }
            Line::Client(client) => {
                self.seen.clients += 1;
                self.clients.insert(client.client_id.clone(), client);
                if self.clients.len() >= LIST_MAX_ENTRIES {
                    self.write_clients().await?;
                }
            }
            Line::End(end) => self.end = Some(end),
        }
        Ok(())
    }

    /// Writes what is left, and ends the import.
    ///
    /// # Errors
    /// If lines are missing, if the tenant has another state, or if the store fails.
    pub async fn finish(mut self) -> Result<Imported, ImportError> {
        let report = self.write_rest().await?;
        let Some(end) = self.end else {
            let problem = format!("the export is cut off after line {}: it has no line of the kind end", self.lines);
            return Err(ImportError::Incomplete(problem));
        };
        if end != self.seen {
            return Err(ImportError::Incomplete("the export has fewer lines than its last line says".to_owned()));
        }
        Ok(report)
    }

    /// Writes everything that waits. Returns the effect of all lines until now.
    pub(super) async fn write_rest(&mut self) -> Result<Imported, ImportError> {
        self.write_documents().await?;
        self.write_clients().await?;
        Ok(self.report.clone())
    }

    async fn write_documents(&mut self) -> Result<(), ImportError> {
        self.waiting_bytes = 0;
        let mut parts = vec![std::mem::take(&mut self.waiting)];
        while let Some(mut part) = parts.pop() {
            let Some((written, present)) = self.write_part(&part).await? else {
                let middle = part.keys().nth(part.len() / 2).cloned();
                let second = middle.map(|middle| part.split_off(&middle)).unwrap_or_default();
                parts.extend([second, part]);
                continue;
            };
            self.report.documents += written;
            self.report.present_documents += present;
        }
        Ok(())
    }

    /// Writes some documents at once. Returns how many were written and how many were there already. The result is
    /// `None` if the documents in their places are too much to be read at once.
    async fn write_part(&self, part: &BTreeMap<DocumentKey, DocumentLine>) -> Result<Option<(u64, u64)>, ImportError> {
        let service = &self.operator.service;
        let request = LoadRequest {
            ids: part.values().map(|line| pushed(&line.document.operation_id)).collect(),
            keys: part.keys().cloned().collect(),
            max_bytes: PUSH_LOADED_MAX_BYTES,
            with_labels: true,
            with_stamps: true,
            ..LoadRequest::default()
        };
        for attempt in 0..IMPORT_MAX_ATTEMPTS {
            if attempt > 0 {
                let random_bits = service.random_bits();
                service.sleep(backoff(attempt - 1, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, random_bits)).await;
            }
            let snapshot = service.store.load(&self.tenant, request.clone()).await?;
            if snapshot.is_cut && part.len() > 1 {
                return Ok(None);
            }
            let view = service.rules.view_of_all();
            let mut batch = Batch { received_at_ms: service.now_ms(), ..Batch::default() };
            for (key, line) in part {
                if let Some(write) = decide((key, line), &snapshot, &view, self.raises_revisions)? {
                    add(&mut batch, write, &snapshot);
                }
            }
            let written = batch.operations.len() as u64;
            let done = Some((written, part.len() as u64 - written));
            if batch.is_empty() || self.is_dry_run {
                return Ok(done);
            }
            let committed = service.store.commit(&self.tenant, batch).await;
            service.hub.committed(&self.tenant);
            if committed? == Commit::Done {
                return Ok(done);
            }
        }
        Err(ServiceError::Contended { attempts: IMPORT_MAX_ATTEMPTS }.into())
    }

    async fn write_clients(&mut self) -> Result<(), ImportError> {
        let service = &self.operator.service;
        let clients = std::mem::take(&mut self.clients);
        if clients.is_empty() {
            return Ok(());
        }
        let request = LoadRequest { client_ids: clients.keys().cloned().collect(), ..LoadRequest::default() };
        let owners = service.store.load(&self.tenant, request).await?.owners;
        for (client_id, client) in &clients {
            let owner = owners.get(client_id).and_then(|owner| owner.subject.as_ref());
            if owner.is_some() && client.subject.is_some() && owner != client.subject.as_ref() {
                let what = format!("client {client_id}");
                return Err(ImportError::Other { what, why: "it belongs to another subject in this tenant" });
            }
        }
        self.report.clients += clients.len() as u64;
        if self.is_dry_run {
            return Ok(());
        }
        let owner = |client: &ClientLine| ClientOwner { subject: client.subject.clone(), counter: client.counter };
        let is_owned = |client: &&ClientLine| client.subject.is_some() || client.counter > 0;
        let owners = clients.values().filter(is_owned);
        let owners = owners.map(|client| (client.client_id.clone(), owner(client))).collect();
        service.store.learn(&self.tenant, Lesson { ids: Vec::new(), owners }).await?;
        for (client_id, client) in clients {
            let Some(since) = client.given_since else { continue };
            let known = service.store.client(&self.tenant, &client_id).await?;
            if known.is_none_or(|memory| memory.places.greatest_given() < since) {
                let change = |places: crate::core::places::Places| places.never_up_to(since);
                self.operator.remember_forgotten(&self.tenant, &client_id, true, change).await?;
            }
        }
        Ok(())
    }
}

/// The write of a document of an export. `None` if the tenant has it already, in this state or a later one.
fn decide(
    (key, line): (&DocumentKey, &DocumentLine),
    snapshot: &Snapshot,
    view: &View,
    raises_revisions: bool,
) -> Result<Option<DocumentWrite>, ImportError> {
    let mut document = line.document.clone();
    let other = |why| Err(ImportError::Other { what: format!("document {}/{}", key.collection, key.id), why });
    let existing = snapshot.documents.get(key);
    if let Some(existing) = existing {
        if existing.operation_id == document.operation_id {
            return Ok(None);
        }
        match document.clock.compare(&existing.clock) {
            Relation::HappensBefore => return Ok(None),
            Relation::Equal if document.rev < existing.rev => return Ok(None),
            Relation::HappensAfter if raises_revisions => document.rev = document.rev.max(existing.rev.next()),
            Relation::HappensAfter | Relation::Equal if document.rev > existing.rev => {}
            _ => return other("it was changed in another way in this tenant"),
        }
    }
    if snapshot.known.contains(&pushed(&document.operation_id)) {
        return other("its last operation is known in this tenant, but it is not there in this state");
    }
    if let Some(existing) = existing.filter(|_| view.has_rules()) {
        // Readers of the state that is replaced may have it on their devices.
        let labels = |data: &Object| view.labels_of_data(&key.collection, data);
        let (before, after) = (existing.data.as_ref().map(labels), document.data.as_ref().map(labels));
        document.former_labels = existing.former_labels.after_write(before.as_ref(), after.as_ref());
    }
    Ok(Some(DocumentWrite {
        key: key.clone(),
        seen_rev: existing.map(|existing| existing.rev),
        operation_index: 0,
        changes_labels: existing.and_then(|existing| existing.former_labels.to_stored())
            != document.former_labels.to_stored(),
        stamps: line.stamps.clone().or_else(|| snapshot.stamps_bytes.get(key).map(|_| String::new())),
        document,
    }))
}

/// Adds a document to a batch, with an entry of the log that results in it.
fn add(batch: &mut Batch, write: DocumentWrite, snapshot: &Snapshot) {
    let DocumentWrite { key, document, stamps, .. } = &write;
    let operation = Operation {
        id: document.operation_id.clone(),
        change: Change::to_state(document.data.clone()),
        key: key.clone(),
        timestamp: document.timestamp,
        client_id: document.client_id.clone(),
        clock: document.clock.clone(),
    };
    let bytes = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
    let before = snapshot.documents.get(key);
    let was_live = before.is_some_and(|before| !before.is_deleted());
    batch.live_documents_delta += i64::from(!document.is_deleted()) - i64::from(was_live);
    batch.bytes_delta += bytes(operation.kept_bytes() + document.bytes()) - before.map_or(0, |it| bytes(it.bytes()));
    let (stamps, stamps_before) = (stamps.as_ref().map_or(0, String::len), snapshot.stamps_bytes.get(key));
    batch.bytes_delta += bytes(stamps) - stamps_before.map_or(0, |before| bytes(*before));
    let operation_index = batch.operations.len();
    if is_reserved(&operation.id) {
        batch.resolutions.push(Resolution { operation_index, pushed_id: pushed(&operation.id), kept: None });
    }
    batch.operations.push(operation);
    batch.documents.push(DocumentWrite { operation_index, ..write });
}

/// The id of an operation as it was pushed, which is the known one.
fn pushed(id: &OperationId) -> OperationId {
    OperationId::from_store(pushed_id(id))
}
