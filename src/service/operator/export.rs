//! An export: everything about a tenant that another store needs, as lines of JSON.

use super::Operator;
use super::line::{ClientLine, Counts, DocumentLine, Line};
use crate::core::access::View;
use crate::core::cursor::Cursor;
use crate::core::decide::are_stamps;
use crate::core::feed::Feed;
use crate::core::names::{ClientId, OperationId, TenantId};
use crate::core::numbers::UnixMs;
use crate::core::operation::LogEntry;
use crate::limits::service::{LIST_MAX_ENTRIES, TRANSFER_MAX_DOCUMENTS};
use crate::service::error::ServiceError;
use crate::store::{Changes, ChangesRequest, ClientRow, ErrorKind, StoreError};

/// An export in progress, which gives its lines in small parts.
///
/// Documents come in the order of their last operations. Before any known ids are given, all documents are given that
/// were changed until these ids were read. So an import of the lines in their order never knows an id without its
/// effect, although clients push while the export runs. A document that is changed meanwhile is given again.
#[derive(Debug)]
pub struct Export {
    operator: Operator,
    tenant: TenantId,
    stage: Stage,
    cursor: Cursor,
    counts: Counts,
}

/// The lines that come next.
#[derive(Debug)]
enum Stage {
    Begin,
    /// Documents, and then these ids.
    Documents(Vec<OperationId>),
    /// Ids after this one.
    Ids(Option<OperationId>),
    /// Clients after this one.
    Clients(Option<ClientId>),
    Ended,
}

impl Operator {
    /// Begins an export of a tenant.
    #[must_use]
    pub fn export(&self, tenant: &TenantId) -> Export {
        Export {
            operator: self.clone(),
            tenant: tenant.clone(),
            stage: Stage::Begin,
            cursor: Cursor::BEGINNING,
            counts: Counts::default(),
        }
    }
}

impl Export {
    /// The next lines, without line breaks. There may be none although there are more. `None` after the last line.
    ///
    /// # Errors
    /// If the store fails, or its database was replaced by another one meanwhile. The export is useless then.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, ServiceError> {
        let lines = match &mut self.stage {
            Stage::Begin => {
                self.stage = Stage::Documents(Vec::new());
                let adapter = self.operator.service.adapter().to_owned();
                vec![Line::Tenant(self.tenant.clone(), adapter)]
            }
            Stage::Documents(ids) => {
                let ids = std::mem::take(ids);
                self.documents(ids).await?
            }
            Stage::Ids(after) => {
                let after = after.take();
                self.ids(after).await?
            }
            Stage::Clients(after) => {
                let after = after.take();
                self.clients(after).await?
            }
            Stage::Ended => return Ok(None),
        };
        Ok(Some(lines.iter().map(Line::write).collect()))
    }

    /// A page of documents, and the ids after the last page.
    async fn documents(&mut self, ids: Vec<OperationId>) -> Result<Vec<Line>, ServiceError> {
        let request = ChangesRequest {
            feed: Feed::DOCUMENTS,
            view: View::default(),
            ..ChangesRequest::operations(Some(self.cursor), TRANSFER_MAX_DOCUMENTS)
        };
        let store = &self.operator.service.store;
        let page = match store.changes(&self.tenant, request).await? {
            Changes::Page { page, .. } => page,
            Changes::Reset => {
                let replaced = "the database was replaced during the export; export again";
                return Err(StoreError::new(store.name(), "export", ErrorKind::Failed, replaced).into());
            }
        };
        let mut lines = self.states(&page.entries).await?;
        self.cursor = page.next;
        self.counts.documents += lines.len() as u64;
        self.stage = match ids.last().cloned() {
            _ if page.has_more => Stage::Documents(ids),
            None => Stage::Ids(None),
            Some(last) => {
                let is_last = ids.len() < LIST_MAX_ENTRIES;
                self.counts.ids += ids.len() as u64;
                lines.push(Line::Ids(ids));
                if is_last { Stage::Clients(None) } else { Stage::Ids(Some(last)) }
            }
        };
        Ok(lines)
    }

    /// The documents of a page, with what the page does not show. A document that was changed since the page was read
    /// is given as it is now, since no later page may have it. If one has, an import passes over it there.
    async fn states(&self, entries: &[LogEntry]) -> Result<Vec<Line>, ServiceError> {
        let mut lines = Vec::with_capacity(entries.len());
        self.operator
            .load_page(&self.tenant, entries, |entry, document, stored| {
                // Stamps of an earlier state say nothing any more.
                let stamps = stored.stamps.clone().filter(|stamps| are_stamps(stamps, document.rev));
                let line = DocumentLine { document: document.clone(), stamps };
                lines.push(Line::Document(entry.key.clone(), Box::new(line)));
            })
            .await?;
        Ok(lines)
    }

    /// Reads ids, which are given after the documents that were changed until now.
    async fn ids(&mut self, after: Option<OperationId>) -> Result<Vec<Line>, ServiceError> {
        let store = &self.operator.service.store;
        let ids = store.operation_ids(&self.tenant, after.as_ref(), LIST_MAX_ENTRIES).await?;
        self.stage = if ids.is_empty() { Stage::Clients(None) } else { Stage::Documents(ids) };
        Ok(Vec::new())
    }

    async fn clients(&mut self, after: Option<ClientId>) -> Result<Vec<Line>, ServiceError> {
        let rows = self.operator.clients(&self.tenant, after.as_ref()).await?;
        let Some(last) = rows.last() else {
            self.stage = Stage::Ended;
            return Ok(vec![Line::End(self.counts)]);
        };
        self.stage = Stage::Clients(Some(last.client_id.clone()));
        let lines: Vec<Line> = rows.into_iter().filter_map(client_line).map(Line::Client).collect();
        self.counts.clients += lines.len() as u64;
        Ok(lines)
    }
}

/// The line about a client. There is none about a client that only pulls with cursors, because these are reset.
fn client_line(row: ClientRow) -> Option<ClientLine> {
    let ClientRow { client_id, owner, pulls } = row;
    let owner = owner.unwrap_or_default();
    let given_since = pulls.map(|(_, places)| places.greatest_given()).filter(|since| *since > UnixMs::EPOCH);
    let is_known = owner.subject.is_some() || owner.counter > 0 || given_since.is_some();
    is_known.then_some(ClientLine { client_id, subject: owner.subject, counter: owner.counter, given_since })
}
