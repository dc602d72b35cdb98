//! Pull: both modes, and the memory of original clients.

use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};

use super::{Caller, ServiceError, SyncService};
#[cfg(doc)]
use crate::core::access::Role;
use crate::core::access::{Principal, View};
use crate::core::cursor::Cursor;
use crate::core::decide::owners::is_foreign;
use crate::core::decide::quota::{Quota, QuotaExceeded, QuotaKind};
use crate::core::feed::{Collections, Feed};
use crate::core::names::{ClientId, Subject, TenantId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::operation::LogEntry;
use crate::core::page::{LogPage, TimePage, TimePlace};
use crate::core::places::Settled;
use crate::core::progress::Progress;
use crate::limits::protocol::PAGE_DEFAULT_OPERATIONS;
use crate::limits::service::{NOTE_TIME_MAX_MS, PULL_MAX_ATTEMPTS};
use crate::store::{Changes, ChangesRequest, ClientMemory, ErrorKind, NewMemory, Remember, StoreError, TimeRequest};

/// The place at which a client's pull begins.
#[derive(Debug, Clone)]
pub enum PullFrom {
    /// After a cursor, or `None` for a client that has nothing yet.
    Cursor(Option<Cursor>),
    /// The same, with each changed document once and whole in place of the operations.
    Documents {
        /// The cursor, or `None` for a client that has nothing yet. A cursor that was made with some collections is
        /// only for the same ones. The routes check this, and an application has to take care of it.
        after: Option<Cursor>,
        /// The collections whose documents are returned; the cursor moves over the others. `None` for all collections.
        collections: Option<Collections>,
    },
    /// After a timestamp, by the original protocol.
    Since(UnixMs),
}

/// A request for one page.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PullRequest {
    /// The place at which the page begins.
    pub from: PullFrom,
    /// The client's id, if the request has one.
    pub client_id: Option<ClientId>,
    /// The greatest number of operations on the page.
    pub max_operations: usize,
    /// The mark of the cursor: [`PulledPage::view`] of the page that had it.
    pub view: Option<u64>,
    /// Whether operations after a cursor are to have the subjects that pushed them.
    pub with_subjects: bool,
    /// Whether resolutions after a cursor are to say what was resolved.
    pub with_resolutions: bool,
}

impl PullRequest {
    /// A request without a client, for a page of the default size.
    #[must_use]
    pub fn new(from: PullFrom) -> Self {
        let (client_id, max_operations) = (None, PAGE_DEFAULT_OPERATIONS);
        let (with_subjects, with_resolutions) = (false, false);
        Self { from, client_id, max_operations, view: None, with_subjects, with_resolutions }
    }

    /// The same request of a client.
    #[must_use]
    pub fn with_client(self, client_id: ClientId) -> Self {
        Self { client_id: Some(client_id), ..self }
    }

    /// The same request with the mark of its cursor.
    #[must_use]
    pub fn with_view(self, view: Option<u64>) -> Self {
        Self { view, ..self }
    }

    /// The same request for a page of at most `max_operations`.
    #[must_use]
    pub fn with_max_operations(self, max_operations: usize) -> Self {
        Self { max_operations, ..self }
    }

    /// The same request for operations with the subjects that pushed them, as far as the log has them. Whether the
    /// caller may see them is for the caller of the service to decide.
    #[must_use]
    pub fn with_subjects(self) -> Self {
        Self { with_subjects: true, ..self }
    }

    /// The same request for resolutions with what was resolved, as far as the log has it. Whether the caller may see
    /// that is for the caller of the service to decide. A principal that may not see every document gets none of it.
    #[must_use]
    pub fn with_resolutions(self) -> Self {
        Self { with_resolutions: true, ..self }
    }
}

impl PullRequest {
    /// The request as a principal with this view may make it.
    ///
    /// A principal that may not see everything receives documents and never operations. An operation may show a
    /// document as it was when the principal could not see it.
    fn in_view(self, view: &View) -> Result<Self, Pulled> {
        let cursor = match &self.from {
            PullFrom::Cursor(after) | PullFrom::Documents { after, .. } => *after,
            PullFrom::Since(_) if view.reads_all() => return Ok(self),
            PullFrom::Since(_) => return Err(Pulled::CursorNeeded),
        };
        if cursor.is_some_and(|cursor| self.view != view.mark_of(&cursor)) {
            return Err(Pulled::OtherView);
        }
        let from = match self.from {
            PullFrom::Cursor(after) if !view.reads_all() => PullFrom::Documents { after, collections: None },
            from => from,
        };
        Ok(Self { from, ..self })
    }
}

/// The result of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Pulled {
    /// A page.
    Page(PulledPage),
    /// The cursor belongs to another log, or retention has removed what the client lacks. So the client must start
    /// again without a cursor. A client of the original protocol must begin again with a `since` of 0.
    Reset,
    /// The principal may see other documents than when the cursor was given, or was not given the cursor. So the client
    /// must start again without a cursor. It removes the documents that it does not receive.
    OtherView,
    /// The principal may not see every document, so it can only pull with a cursor.
    CursorNeeded,
    /// More operations than fit the largest page share the next timestamp. The request has no client id with which the
    /// server could remember the client's place among them.
    RunTooLong,
    /// The client belongs to another subject than the principal's. Nothing has changed.
    ForeignClient,
}

/// A page for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PulledPage {
    /// The operations.
    pub entries: Vec<LogEntry>,
    /// The cursor with which the next page begins. `None` by the rule of the original protocol, which has no such
    /// place.
    pub cursor: Option<Cursor>,
    /// Whether there was more at the moment of reading.
    pub has_more: bool,
    /// The mark of the cursor, which is valid for this reader's view alone. `None` if the reader may see everything.
    pub view: Option<u64>,
}

impl From<LogPage> for PulledPage {
    fn from(page: LogPage) -> Self {
        Self { entries: page.entries, cursor: Some(page.next), has_more: page.has_more, view: None }
    }
}

impl From<TimePage> for PulledPage {
    fn from(page: TimePage) -> Self {
        Self { entries: page.entries, cursor: None, has_more: page.has_more, view: None }
    }
}

/// The origin of a pull.
#[derive(Clone, Copy)]
struct Puller<'a> {
    caller: Caller<'a>,
    quota: Quota,
}

impl Puller<'_> {
    /// Whether a client with this owner belongs to another subject.
    fn is_foreign_to(&self, owner: Option<&Subject>) -> bool {
        self.caller.client_owner().is_some_and(|subject| is_foreign(owner, subject))
    }
}

/// The subject of the log line about progress that is not noted.
const PROGRESS: &str = "a client's progress";

/// The error of a client for which there is no room.
fn too_many_clients(max: u64) -> ServiceError {
    ServiceError::QuotaExceeded(QuotaExceeded { kind: QuotaKind::Clients, max })
}

impl SyncService {
    /// Reads one page of changes.
    ///
    /// # Errors
    /// If the store fails, or if many requests of one original client arrive at the same time.
    pub async fn pull(&self, tenant: &TenantId, request: PullRequest) -> Result<Pulled, ServiceError> {
        self.pull_by(Caller::server(tenant), Quota::default(), View::default(), request).await
    }

    /// One page of changes for a principal.
    ///
    /// The client of the request belongs to the subject of the principal, or to nobody. If it belongs to nobody, it
    /// belongs to the subject from then on. This does not concern a principal of the role [`Role::Service`], and one
    /// that [is everybody](Principal::is_everybody).
    ///
    /// # Errors
    /// The errors of [`SyncService::pull`].
    pub async fn pull_as(&self, principal: &Principal, request: PullRequest) -> Result<Pulled, ServiceError> {
        self.pull_by(Caller::client(principal), self.quota, self.rules.view(principal), request).await
    }

    /// The same request from the end of the log on, whatever place it names. It must have a cursor.
    pub(crate) async fn request_from_now(
        &self,
        principal: &Principal,
        request: PullRequest,
    ) -> Result<PullRequest, ServiceError> {
        let newest = self.store.heads(std::slice::from_ref(&principal.tenant)).await?;
        let end = Cursor::Log(newest.first().copied().unwrap_or_default());
        let (end, view) = (Some(end), self.rules.view(principal).mark_of(&end));
        let from = match request.from {
            PullFrom::Documents { collections, .. } => PullFrom::Documents { after: end, collections },
            PullFrom::Cursor(_) | PullFrom::Since(_) => PullFrom::Cursor(end),
        };
        Ok(PullRequest { from, view, ..request })
    }

    async fn pull_by(
        &self,
        caller: Caller<'_>,
        quota: Quota,
        view: View,
        request: PullRequest,
    ) -> Result<Pulled, ServiceError> {
        let mut pulled = match request.in_view(&view) {
            Ok(request) => self.pull_from(Puller { caller, quota }, view.clone(), request).await?,
            Err(refused) => return Ok(refused),
        };
        if let Pulled::Page(page) = &mut pulled {
            page.view = page.cursor.as_ref().and_then(|cursor| view.mark_of(cursor));
            self.hooks.pulled(caller, &page.entries);
        }
        Ok(pulled)
    }

    async fn pull_from(&self, puller: Puller<'_>, view: View, request: PullRequest) -> Result<Pulled, ServiceError> {
        let PullRequest { from, client_id, max_operations, with_subjects, with_resolutions, view: _ } = request;
        let changes = |cursor, feed, max_operations, client_id| ChangesRequest {
            cursor,
            feed,
            max_operations,
            client_id,
            view,
            with_subjects,
            with_resolutions,
        };
        match (from, client_id) {
            (PullFrom::Cursor(cursor), client_id) => {
                self.pull_after(puller, changes(cursor, Feed::Operations, max_operations, client_id)).await
            }
            (PullFrom::Documents { after: cursor, collections }, client_id) => {
                let feed = Feed::Documents { collections };
                let max_operations = feed.page_limit(max_operations);
                self.pull_after(puller, changes(cursor, feed, max_operations, client_id)).await
            }
            (PullFrom::Since(since), None) => {
                let after = TimePlace::after_timestamp(since);
                let page =
                    self.store.changes_by_time(puller.caller.tenant, TimeRequest { after, max_operations }).await?;
                let is_stuck = page.has_more && page.entries.is_empty();
                Ok(if is_stuck { Pulled::RunTooLong } else { Pulled::Page(page.into()) })
            }
            (PullFrom::Since(since), Some(client_id)) => {
                self.pull_remembered(puller, &client_id, since, max_operations).await
            }
        }
    }

    /// A page after a cursor.
    async fn pull_after(&self, puller: Puller<'_>, request: ChangesRequest) -> Result<Pulled, ServiceError> {
        let (now_ms, client_id) = (self.host.now_ms(), request.client_id.clone());
        let Changes::Page { page, noted, owner } = self.store.changes(puller.caller.tenant, request).await? else {
            return Ok(Pulled::Reset);
        };
        if puller.is_foreign_to(owner.as_ref()) {
            return Ok(Pulled::ForeignClient);
        }
        if page.lacks_deletes {
            return Ok(Pulled::Reset);
        }
        if let Some(client_id) = client_id {
            self.claim(puller, &client_id, owner.as_ref()).await;
            let progress = Progress { pulled_seq: page.next.position().seq, seen_at_ms: now_ms };
            self.note_progress(puller, &client_id, noted, progress).await;
        }
        Ok(Pulled::Page(page.into()))
    }

    /// A page for a client whose places the server remembers.
    ///
    /// The memory is read, the page is made, and the memory is replaced if it is still the one that was read. If it is
    /// not, all of this is repeated, so that a `since` never stands for two places.
    async fn pull_remembered(
        &self,
        puller: Puller<'_>,
        client_id: &ClientId,
        since: UnixMs,
        max_operations: usize,
    ) -> Result<Pulled, ServiceError> {
        let tenant = puller.caller.tenant;
        for _ in 0..PULL_MAX_ATTEMPTS {
            let now_ms = self.host.now_ms();
            let memory = self.store.client(tenant, client_id).await?;
            let known = memory.as_ref().map(|memory| memory.places.clone()).unwrap_or_default();
            let (page, owner) = self.page_from(tenant, client_id, known.start(since), max_operations).await?;
            if puller.is_foreign_to(owner.as_ref()) {
                return Ok(Pulled::ForeignClient);
            }
            // Law 6: a client that has documents would keep those whose deletes it is not told.
            if page.lacks_deletes && since > UnixMs::EPOCH {
                return Ok(Pulled::Reset);
            }
            self.claim(puller, client_id, owner.as_ref()).await;
            let Settled { repeat_with, places } = known.clone().settle(since, &page);
            let progress = Progress { pulled_seq: page.next.position().seq, seen_at_ms: now_ms };
            let mut page = PulledPage::from(page);
            if let Some(timestamp) = repeat_with {
                // The smallest entry is repeated, because a page has room for a second copy of it.
                let smallest = page.entries.iter().min_by_key(|entry| entry.wire_bytes()).cloned();
                page.entries.extend(smallest.map(|entry| LogEntry { timestamp, ..entry }));
            }
            if places == known {
                let noted = memory.as_ref().map(ClientMemory::progress);
                self.note_progress(puller, client_id, noted, progress).await;
                return Ok(Pulled::Page(page));
            }
            let is_needed = !known.cover(&places);
            if memory.is_none()
                && let Err(too_many) = self.check_room_for_client(puller).await
            {
                return if is_needed { Err(too_many) } else { Ok(Pulled::Page(page)) };
            }
            let new = NewMemory {
                seen_revision: memory.as_ref().map_or(Rev::NONE, |memory| memory.revision),
                places,
                pulled_seq: progress.pulled_seq,
                seen_at_ms: progress.seen_at_ms,
            };
            let remember = self.store.remember(tenant, client_id, new);
            if !is_needed {
                self.try_for_a_while(tenant, PROGRESS, remember).await;
                return Ok(Pulled::Page(page));
            }
            if remember.await? == Remember::Done {
                return Ok(Pulled::Page(page));
            }
        }
        Err(ServiceError::Contended { attempts: PULL_MAX_ATTEMPTS })
    }

    /// Records the progress of a client, if it is news. The page is answered soon, even if this fails or takes long.
    async fn note_progress(
        &self,
        puller: Puller<'_>,
        client_id: &ClientId,
        noted: Option<Progress>,
        progress: Progress,
    ) {
        if !progress.is_news(noted) {
            return;
        }
        let note = async {
            if noted.is_none() {
                self.check_room_for_client(puller).await?;
            }
            self.store.note_pulled(puller.caller.tenant, client_id, progress).await?;
            Ok::<(), ServiceError>(())
        };
        self.try_for_a_while(puller.caller.tenant, PROGRESS, note).await;
    }

    /// Makes a client that belongs to nobody belong to the subject that pulls. The page is answered soon, even if this
    /// fails or takes long.
    async fn claim(&self, puller: Puller<'_>, client_id: &ClientId, owner: Option<&Subject>) {
        let Puller { caller, quota } = puller;
        let Some(subject) = caller.client_owner().filter(|_| owner.is_none()) else { return };
        let claim = async {
            if let Some(max) = quota.max_clients
                && self.store.count_clients(caller.tenant, max).await?.owned >= max
            {
                return Err(too_many_clients(max));
            }
            Ok(self.store.claim(caller.tenant, client_id, subject).await?)
        };
        self.try_for_a_while(caller.tenant, "the owner of a client", claim).await;
    }

    /// Refuses a client that the server does not remember if the tenant has as many clients as it may have.
    async fn check_room_for_client(&self, Puller { caller, quota }: Puller<'_>) -> Result<(), ServiceError> {
        let Some(max) = quota.max_clients else { return Ok(()) };
        let is_room = self.store.count_clients(caller.tenant, max).await?.remembered < max;
        if is_room { Ok(()) } else { Err(too_many_clients(max)) }
    }

    /// Makes a write on which no answer depends, if it takes only a short time.
    async fn try_for_a_while<T, E: fmt::Display>(
        &self,
        tenant: &TenantId,
        what: &str,
        write: impl Future<Output = Result<T, E>>,
    ) {
        let patience = self.host.patience(Duration::from_millis(NOTE_TIME_MAX_MS));
        let (store, tenant) = (self.adapter(), tenant.as_str());
        match select(pin!(write), patience).await {
            Either::Left((Ok(_), _)) => {}
            Either::Left((Err(error), _)) => {
                tracing::warn!(store.name = store, tenant, error.cause = %error, "{what} is not noted");
            }
            Either::Right(_) => {
                tracing::warn!(store.name = store, tenant, "{what} is not noted, the store takes too long");
            }
        }
    }

    /// A page in the order of the log, from a place of a client, or from the beginning if the log has no such place.
    /// The owner of the client is read with it.
    async fn page_from(
        &self,
        tenant: &TenantId,
        client_id: &ClientId,
        cursor: Cursor,
        max_operations: usize,
    ) -> Result<(LogPage, Option<Subject>), ServiceError> {
        let request = |cursor| ChangesRequest {
            client_id: Some(client_id.clone()),
            ..ChangesRequest::operations(Some(cursor), max_operations)
        };
        let changes = match self.store.changes(tenant, request(cursor)).await? {
            // The memory belongs to another log than the store has now, so only a start from the beginning loses
            // nothing.
            Changes::Reset => self.store.changes(tenant, request(Cursor::BEGINNING)).await?,
            page @ Changes::Page { .. } => page,
        };
        match changes {
            Changes::Page { page, owner, .. } => Ok((page, owner)),
            Changes::Reset => {
                let wrong = "a pull from the beginning was answered with a reset";
                Err(StoreError::new(self.adapter(), "changes", ErrorKind::Failed, wrong).into())
            }
        }
    }
}
