//! An import from an Express server: the rows of its database become a tenant of this store.
//!
//! Each document becomes one entry of the log, with its whole state and its clock, under an id that no client knows. So
//! every original client takes the state, unless it has edits of its own that have seen it. The ids of all operations
//! become known, so an operation that is pushed again has no effect. A client whose `since` is a number of the Express
//! server is answered from the beginning. It is never given such a number for a place.

mod row;
mod state;

use std::collections::{HashSet, VecDeque};

pub use self::row::BadRow;
use self::row::{Kind, ListedDocument, ListedOperation};
use self::state::{DocumentState, Place};
use super::Operator;
use super::import::{Import, ImportError};
use super::line::{ClientLine, Line};
use crate::core::names::{ClientId, DocumentKey, OperationId, TenantId};
use crate::core::numbers::UnixMs;
use crate::limits::protocol::SINCE_FOREIGN_MAX;
use crate::limits::service::{EXPRESS_BAD_ROWS_MAX_ENTRIES, EXPRESS_CLIENTS_MAX_ENTRIES, LIST_MAX_ENTRIES};
use crate::store::express::ExpressSource;
use crate::store::{ErrorKind, StoreError};

/// The fate of rows that cannot be taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BadRows {
    /// The import stops at the first one.
    #[default]
    Stop,
    /// They are reported and left out. An operation of a document that is left out is left out too.
    Skip,
}

/// The effect of an import from an Express server, or the one that it would have if it is only tried.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ExpressImported {
    /// Documents and tombstones that are written.
    pub documents: u64,
    /// Documents and tombstones that were there already, in this state or a later one.
    pub present_documents: u64,
    /// Ids of operations that are known now.
    pub ids: u64,
    /// Clients that are never given a number of the Express server for a place.
    pub clients: u64,
    /// Documents to which operations were applied that the Express server had logged and not applied.
    pub completed_documents: u64,
    /// Operations that the Express server had accepted, and overwritten with another one that had not seen them.
    pub overwritten_operations: u64,
    /// Rows that cannot be taken over.
    pub bad_rows: u64,
    /// Operations that are left out because the row of their document cannot be taken over.
    pub left_out_operations: u64,
}

/// An import from an Express server in progress.
#[derive(Debug)]
pub struct ExpressImport {
    import: Import,
    source: Box<dyn ExpressSource>,
    /// Whether the import stops at a bad row.
    stops: bool,
    documents: Waiting<ListedDocument>,
    operations: Waiting<ListedOperation>,
    /// The document that was read last.
    last_key: Option<DocumentKey>,
    /// The same document, as long as its operations are taken.
    taken: Option<Taken>,
    /// Ids that become known with the next documents.
    ids: Vec<OperationId>,
    /// The clients whose numbers are known.
    clients: HashSet<ClientId>,
    /// The greatest `since` that a client may have.
    given_since: Option<UnixMs>,
    /// The bad rows that were not reported yet.
    bad: Vec<BadRow>,
    report: ExpressImported,
}

/// Rows that were read and not used yet.
#[derive(Debug)]
struct Waiting<T> {
    rows: VecDeque<T>,
    is_ended: bool,
}

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self { rows: VecDeque::new(), is_ended: false }
    }
}

impl<T> Waiting<T> {
    /// Takes the next row if it is one of these.
    fn take_if(&mut self, is_one: impl FnOnce(&T) -> bool) -> Option<T> {
        if self.rows.front().is_some_and(is_one) { self.rows.pop_front() } else { None }
    }
}

impl Operator {
    /// Begins an import into a tenant. If it is only tried, nothing is written, and bad rows do not stop it.
    ///
    /// It may be done again, for example after it was stopped, or after clients have gone on to use the Express server.
    /// Documents that the tenant has in the same state, or a later one, are passed over. Clients must not use the
    /// tenant before it has ended.
    #[must_use]
    pub fn import_express(
        &self,
        tenant: &TenantId,
        source: Box<dyn ExpressSource>,
        bad_rows: BadRows,
        is_dry_run: bool,
    ) -> ExpressImport {
        ExpressImport {
            import: self.import(tenant, is_dry_run).raising_revisions(),
            source,
            stops: bad_rows == BadRows::Stop && !is_dry_run,
            documents: Waiting::default(),
            operations: Waiting::default(),
            last_key: None,
            taken: None,
            ids: Vec::new(),
            clients: HashSet::new(),
            given_since: None,
            bad: Vec::new(),
            report: ExpressImported::default(),
        }
    }
}

impl ExpressImport {
    /// Takes the next document with its operations. Returns the bad rows that were met, or `None` if nothing is left.
    ///
    /// If there are many bad rows, it returns them before the document is complete. So they do not fill the memory.
    ///
    /// # Errors
    /// If a row cannot be taken over, if the tenant has another state, or if one of the databases fails.
    pub async fn next(&mut self) -> Result<Option<Vec<BadRow>>, ImportError> {
        let has_more = self.take_document().await?;
        let bad = std::mem::take(&mut self.bad);
        Ok((has_more || !bad.is_empty()).then_some(bad))
    }

    /// Writes what is left after [`ExpressImport::next`] has returned `None`, and ends the import.
    ///
    /// # Errors
    /// If the tenant has another state, if one of the databases fails, or if the Express server was used meanwhile.
    pub async fn finish(mut self) -> Result<ExpressImported, ImportError> {
        self.write_ids().await?;
        let imported = self.import.write_rest().await?;
        self.source.finish().await.map_err(ImportError::Source)?;
        Ok(ExpressImported {
            documents: imported.documents,
            present_documents: imported.present_documents,
            ids: imported.ids,
            clients: imported.clients,
            ..self.report
        })
    }

    /// Reads some rows of a kind of which none are waiting. Returns whether there was such a kind.
    async fn read(&mut self) -> Result<bool, ImportError> {
        if self.documents.rows.is_empty() && !self.documents.is_ended {
            let part = self.source.documents().await.map_err(ImportError::Source)?;
            self.documents.is_ended = part.is_empty();
            for found in part {
                match row::document(found) {
                    Ok(document) => self.documents.rows.push_back(document),
                    Err(bad) => self.note_bad(bad)?,
                }
            }
            return Ok(true);
        }
        if self.operations.rows.is_empty() && !self.operations.is_ended {
            let part = self.source.operations().await.map_err(ImportError::Source)?;
            self.operations.is_ended = part.is_empty();
            for found in part {
                match row::operation(found) {
                    Ok(operation) => self.operations.rows.push_back(operation),
                    Err(bad) => self.note_bad(bad)?,
                }
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn note_bad(&mut self, bad: BadRow) -> Result<(), ImportError> {
        if self.stops {
            return Err(ImportError::Row(bad));
        }
        self.report.bad_rows += 1;
        self.bad.push(bad);
        Ok(())
    }

    /// The key that comes next: that of the next row of both kinds.
    fn next_key(&self) -> Option<DocumentKey> {
        let document = self.documents.rows.front().map(|document| &document.key);
        let operation = self.operations.rows.front().map(|operation| &operation.key);
        document.into_iter().chain(operation).min().cloned()
    }

    /// Takes a document with its operations, or a part of it if many rows are bad. Returns whether there may be more.
    async fn take_document(&mut self) -> Result<bool, ImportError> {
        while self.bad.len() < EXPRESS_BAD_ROWS_MAX_ENTRIES {
            if self.read().await? {
                continue;
            }
            let Some(mut taken) = self.taken.take() else {
                if self.begin_document()? {
                    continue;
                }
                return Ok(false);
            };
            let Some(operation) = self.operations.take_if(|operation| operation.key == taken.key) else {
                self.report.completed_documents += u64::from(taken.is_completed);
                self.write_state(&mut taken).await?;
                return Ok(true);
            };
            if taken.is_left_out {
                self.report.left_out_operations += 1;
            } else {
                self.operation(&mut taken, operation).await?;
            }
            self.taken = Some(taken);
        }
        Ok(true)
    }

    /// Takes the row of the next document. Returns whether there is one.
    fn begin_document(&mut self) -> Result<bool, ImportError> {
        let Some(key) = self.next_key() else { return Ok(false) };
        if self.last_key.as_ref().is_some_and(|last| *last > key) {
            let why = "the rows do not come in the order of the bytes of their keys";
            return Err(ImportError::Source(StoreError::new("express", "import_express", ErrorKind::Failed, why)));
        }
        let is_again = self.last_key.replace(key.clone()).as_ref() == Some(&key);
        let (mut state, mut is_left_out) = (None, false);
        if let Some(listed) = self.documents.take_if(|listed| listed.key == key) {
            let found = if is_again { Err("the document is there twice".to_owned()) } else { listed.stored };
            match found {
                Ok(found) => state = Some(DocumentState::stored(found)),
                Err(problem) => {
                    is_left_out = true;
                    self.note_bad(BadRow { place: listed.place, problem })?;
                }
            }
        }
        self.taken = Some(Taken { key, state, is_left_out, is_changed: true, is_completed: false });
        Ok(true)
    }

    /// Takes an operation of a document.
    async fn operation(&mut self, taken: &mut Taken, operation: ListedOperation) -> Result<(), ImportError> {
        let place = taken.state.as_ref().map_or(Place::Missed, |state| state.place_of(&operation));
        match (place, &mut taken.state) {
            (Place::Covered, Some(state)) => state.note_covered(&operation),
            (Place::Overwritten, Some(state)) => {
                taken.is_changed |= state.note_overwritten(&operation);
                self.report.overwritten_operations += 1;
            }
            _ => {
                if let Some(problem) = self.complete(&mut taken.state, &operation).await? {
                    return self.note_bad(BadRow { place: operation.place, problem });
                }
                (taken.is_changed, taken.is_completed) = (true, true);
            }
        }
        self.meet(&operation.client_id).await?;
        self.ids.push(operation.id);
        if self.ids.len() >= LIST_MAX_ENTRIES {
            // An id must not be known before its effect is there.
            self.write_state(taken).await?;
            self.write_ids().await?;
        }
        Ok(())
    }

    /// Applies an operation that its document has missed. Returns the fault of its row, if that makes it impossible.
    async fn complete(
        &mut self,
        state: &mut Option<DocumentState>,
        operation: &ListedOperation,
    ) -> Result<Option<String>, ImportError> {
        let data = match operation.kind {
            Kind::Delete => None,
            Kind::Insert | Kind::Update => {
                let found = self.source.data_of(operation.id.as_str()).await.map_err(ImportError::Source)?;
                match found.and_then(|found| found.map(|json| row::object(&json)).transpose()) {
                    Ok(data) => data,
                    Err(problem) => return Ok(Some(problem)),
                }
            }
        };
        let completed = match state {
            Some(state) => state.complete(operation, data),
            None => DocumentState::begun_by(operation, data).map(|begun| *state = Some(begun)),
        };
        Ok(completed.err())
    }

    async fn write_state(&mut self, taken: &mut Taken) -> Result<(), ImportError> {
        let Some(state) = taken.state.as_ref().filter(|_| taken.is_changed) else { return Ok(()) };
        for client in state.clients() {
            self.meet(client).await?;
        }
        let line = state.line(&taken.key);
        let bytes = line.document.bytes();
        self.import.take(Line::Document(taken.key.clone(), Box::new(line)), bytes).await?;
        taken.is_changed = false;
        Ok(())
    }

    async fn write_ids(&mut self) -> Result<(), ImportError> {
        let mut ids = std::mem::take(&mut self.ids);
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() { Ok(()) } else { self.import.take(Line::Ids(ids), 0).await }
    }

    /// A client that has used the Express server. It may come with any number that this server had.
    async fn meet(&mut self, client: &ClientId) -> Result<(), ImportError> {
        let since = match self.given_since {
            Some(since) => since,
            None => {
                let greatest = self.source.greatest_timestamp().await.map_err(ImportError::Source)?;
                *self.given_since.insert(UnixMs::new(greatest.min(SINCE_FOREIGN_MAX)))
            }
        };
        if self.clients.contains(client) {
            return Ok(());
        }
        if self.clients.len() >= EXPRESS_CLIENTS_MAX_ENTRIES {
            self.clients.clear();
        }
        self.clients.insert(client.clone());
        let line = ClientLine { client_id: client.clone(), subject: None, counter: 0, given_since: Some(since) };
        self.import.take(Line::Client(line), 0).await
    }
}

/// A document while its operations are taken.
#[derive(Debug)]
struct Taken {
    key: DocumentKey,
    /// `None` if it has no row, and no operation until now.
    state: Option<DocumentState>,
    /// Whether its row cannot be taken over.
    is_left_out: bool,
    /// Whether the state was not written yet.
    is_changed: bool,
    /// Whether an operation was applied that the row had missed.
    is_completed: bool,
}
