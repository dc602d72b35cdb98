//! Pull: both modes, and the memory of legacy clients.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::{Done, ServiceError, SyncService};
use crate::core::cursor::{Cursor, Origin};
use crate::core::limits::{NOTE_TIME_MAX_MS, PULL_MAX_ATTEMPTS};
use crate::core::names::{ClientId, TenantId};
use crate::core::operation::LogEntry;
use crate::core::page::{LogPage, TimePage, TimePlace};
use crate::core::places::Settled;
use crate::core::progress::Progress;
use crate::store::{Changes, ChangesRequest, ClientMemory, ErrorKind, NewMemory, Remember, StoreError, TimeRequest};

/// Where a client says that it is.
#[derive(Debug, Clone)]
pub enum PullFrom {
    /// At a cursor; nothing for a client that has nothing.
    Cursor(Option<Cursor>),
    /// Behind a timestamp, by the reference's protocol.
    Since(u64),
}

/// One page that a client asks for.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// Where it begins.
    pub from: PullFrom,
    /// Who asks, if it says so.
    pub client_id: Option<ClientId>,
    /// Most operations of the page.
    pub max_operations: usize,
}

/// What a pull found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pulled {
    /// A page.
    Page(PulledPage),
    /// The cursor is not of this log: the client must start again from nothing.
    Reset,
    /// More operations than fit the largest page share the next timestamp, and the client gave no id by which to
    /// remember its place among them.
    RunTooLong,
}

/// A page for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledPage {
    /// The operations.
    pub entries: Vec<LogEntry>,
    /// Where to go on; nothing by the reference's rule, which has no such place.
    pub cursor: Option<Cursor>,
    /// Whether there was more at the moment of reading.
    pub has_more: bool,
}

impl From<LogPage> for PulledPage {
    fn from(page: LogPage) -> Self {
        Self { entries: page.entries, cursor: Some(page.next), has_more: page.has_more }
    }
}

impl From<TimePage> for PulledPage {
    fn from(page: TimePage) -> Self {
        Self { entries: page.entries, cursor: None, has_more: page.has_more }
    }
}

impl SyncService {
    /// One page of changes.
    ///
    /// # Errors
    /// When the store fails, or when many requests of one legacy client come at once.
    pub async fn pull(&self, tenant: &TenantId, request: PullRequest) -> Result<Pulled, ServiceError> {
        let pulled = self.pull_from(tenant, request).await?;
        if let Pulled::Page(page) = &pulled {
            self.host.note(&Done::Pulled { operations: page.entries.len() });
        }
        Ok(pulled)
    }

    async fn pull_from(&self, tenant: &TenantId, request: PullRequest) -> Result<Pulled, ServiceError> {
        let PullRequest { from, client_id, max_operations } = request;
        match (from, client_id) {
            (PullFrom::Cursor(cursor), client_id) => {
                let origin = cursor.map_or(Origin::Nothing, Origin::Cursor);
                let now_ms = self.host.now_ms();
                let request = ChangesRequest { origin, max_operations, client_id: client_id.clone() };
                let Changes::Page { page, noted } = self.store.changes(tenant, request).await? else {
                    return Ok(Pulled::Reset);
                };
                if let Some(client_id) = client_id {
                    let progress = Progress { pulled_seq: page.next.position().seq, seen_at_ms: now_ms };
                    self.note_progress(tenant, &client_id, noted, progress).await;
                }
                Ok(Pulled::Page(page.into()))
            }
            (PullFrom::Since(since), None) => {
                let after = TimePlace::after_timestamp(since);
                let page = self.store.changes_by_time(tenant, TimeRequest { after, max_operations }).await?;
                let is_stuck = page.has_more && page.entries.is_empty();
                Ok(if is_stuck { Pulled::RunTooLong } else { Pulled::Page(page.into()) })
            }
            (PullFrom::Since(since), Some(client_id)) => {
                self.pull_remembered(tenant, &client_id, since, max_operations).await.map(Pulled::Page)
            }
        }
    }

    /// A page for a client whose places the server remembers.
    ///
    /// The memory is read, the page is made, and the memory is replaced if it is still the one that was read; otherwise
    /// all of it again, so that no `since` comes to stand for two places.
    async fn pull_remembered(
        &self,
        tenant: &TenantId,
        client_id: &ClientId,
        since: u64,
        max_operations: usize,
    ) -> Result<PulledPage, ServiceError> {
        for _ in 0..PULL_MAX_ATTEMPTS {
            let now_ms = self.host.now_ms();
            let memory = self.store.client(tenant, client_id).await?;
            let known = memory.as_ref().map(|memory| memory.places.clone()).unwrap_or_default();
            let page = self.page_from(tenant, known.start(since), max_operations).await?;
            let Settled { repeat_with, places } = known.clone().settle(since, &page);
            let progress = Progress { pulled_seq: page.next.position().seq, seen_at_ms: now_ms };
            let mut page = PulledPage::from(page);
            if let Some(timestamp) = repeat_with {
                // The smallest: a page has room for it once more.
                let smallest = page.entries.iter().min_by_key(|entry| entry.wire_bytes()).cloned();
                page.entries.extend(smallest.map(|entry| LogEntry { timestamp, ..entry }));
            }
            if places == known {
                let noted = memory.as_ref().map(ClientMemory::progress);
                self.note_progress(tenant, client_id, noted, progress).await;
                return Ok(page);
            }
            let is_needed = !known.cover(&places);
            let new = NewMemory {
                seen_revision: memory.as_ref().map_or(0, |memory| memory.revision),
                places,
                pulled_seq: progress.pulled_seq,
                seen_at_ms: progress.seen_at_ms,
            };
            let remember = self.store.remember(tenant, client_id, new);
            if !is_needed {
                self.try_for_a_while(tenant, remember).await;
                return Ok(page);
            }
            if remember.await? == Remember::Done {
                return Ok(page);
            }
        }
        Err(ServiceError::Contended { attempts: PULL_MAX_ATTEMPTS })
    }

    /// Notes how far a client has come, if that is news. Whatever becomes of the note, the page is answered, and soon.
    async fn note_progress(
        &self,
        tenant: &TenantId,
        client_id: &ClientId,
        noted: Option<Progress>,
        progress: Progress,
    ) {
        if progress.is_news(noted) {
            self.try_for_a_while(tenant, self.store.note_pulled(tenant, client_id, progress)).await;
        }
    }

    /// Writes what no answer depends on, if this can be done in a short time.
    async fn try_for_a_while<T>(&self, tenant: &TenantId, write: impl Future<Output = crate::store::Result<T>>) {
        let patience = self.host.patience(Duration::from_millis(NOTE_TIME_MAX_MS));
        let (store, tenant) = (self.adapter(), tenant.as_str());
        match select(pin!(write), patience).await {
            Either::Left((Ok(_), _)) => {}
            Either::Left((Err(error), _)) => {
                tracing::warn!(store.name = store, tenant, error.cause = %error, "a client's progress is not noted");
            }
            Either::Right(_) => {
                tracing::warn!(
                    store.name = store,
                    tenant,
                    "a client's progress is not noted, the store takes too long"
                );
            }
        }
    }

    /// A page in log order from a place of a client, or from the beginning if the log has no such place.
    async fn page_from(
        &self,
        tenant: &TenantId,
        origin: Origin,
        max_operations: usize,
    ) -> Result<LogPage, ServiceError> {
        let request = |origin| ChangesRequest { origin, max_operations, client_id: None };
        let changes = match self.store.changes(tenant, request(origin)).await? {
            // The memory is of another log than the store has now: only the beginning is sure to lose nothing.
            Changes::Reset => self.store.changes(tenant, request(Origin::Beginning)).await?,
            page @ Changes::Page { .. } => page,
        };
        match changes {
            Changes::Page { page, .. } => Ok(page),
            Changes::Reset => {
                let wrong = "a pull from the beginning was answered with a reset";
                Err(StoreError::new(self.adapter(), "changes", ErrorKind::Failed, wrong).into())
            }
        }
    }
}
