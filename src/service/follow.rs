//! Following the log: every accepted operation in its order, for an application that reacts to them.

use super::{ServiceError, SyncService};
use crate::core::cursor::Cursor;
use crate::core::names::TenantId;
use crate::core::operation::LogEntry;
use crate::limits::protocol::PAGE_MAX_OPERATIONS;
use crate::store::{Changes, ChangesRequest};

/// Gives the operations of a tenant in the order of its log; made by [`SyncService::follow`].
#[derive(Debug)]
pub struct Follower<'a> {
    service: &'a SyncService,
    tenant: TenantId,
    /// Nothing while a follower that starts again has no document yet.
    cursor: Option<Cursor>,
}

/// The next part of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Followed {
    /// The next operations.
    Operations(FollowedBatch),
    /// Documents as they are now, deleted ones as deletes, while a follower starts again from the documents. The last
    /// batch of them may have no entry.
    Documents(FollowedBatch),
    /// There is nothing new. Ask again later, with the same follower or with a new one at the same cursor.
    UpToDate,
    /// A compaction has removed operations that the follower has not seen. [`Follower::restart`] starts again.
    HistoryRemoved,
    /// The cursor is not of this log: the database was restored or replaced. [`Follower::restart`] starts again.
    LogReplaced,
}

/// Some entries of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct FollowedBatch {
    /// The entries, in the order of the log.
    pub entries: Vec<LogEntry>,
    /// The place to continue from. Store it when the reaction to the entries is done.
    pub cursor: Cursor,
}

impl SyncService {
    /// Follows the log of a tenant from behind a cursor; from its first operation without one.
    ///
    /// This is the durable way to react to what clients do. Store the cursor of a batch after the reaction to it. Then
    /// a process that is killed in between sees the batch again, and no operation is missed (*at least once*). A
    /// reaction and its cursor that are stored in one transaction happen exactly once.
    ///
    /// ```
    /// # use syncflow_server::core::cursor::Cursor;
    /// # use syncflow_server::core::names::TenantId;
    /// # use syncflow_server::core::operation::LogEntry;
    /// # use syncflow_server::service::{Followed, ServiceError, SyncService};
    /// # fn index(_: &LogEntry) {}
    /// # fn drop_index() {}
    /// # fn store_cursor(_: &Cursor) {}
    /// /// Brings a search index up to date; runs every few seconds.
    /// async fn update_index(
    ///     service: &SyncService,
    ///     tenant: TenantId,
    ///     stored: Option<Cursor>,
    /// ) -> Result<(), ServiceError> {
    ///     let mut follower = service.follow(tenant, stored);
    ///     loop {
    ///         match follower.next_batch().await? {
    ///             Followed::Operations(batch) | Followed::Documents(batch) => {
    ///                 batch.entries.iter().for_each(index);
    ///                 store_cursor(&batch.cursor);
    ///             }
    ///             Followed::HistoryRemoved | Followed::LogReplaced => {
    ///                 drop_index();
    ///                 follower.restart();
    ///             }
    ///             _ => return Ok(()),
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn follow(&self, tenant: TenantId, cursor: Option<Cursor>) -> Follower<'_> {
        Follower { service: self, tenant, cursor: cursor.or(Some(Cursor::BEGINNING)) }
    }
}

impl Follower<'_> {
    /// The next part of the log; answers at once.
    ///
    /// # Errors
    /// When the store fails. The follower stays where it is.
    pub async fn next_batch(&mut self) -> Result<Followed, ServiceError> {
        let request = ChangesRequest::operations(self.cursor, PAGE_MAX_OPERATIONS);
        let page = match self.service.store.changes(&self.tenant, request).await? {
            Changes::Page { page, .. } => page,
            Changes::Reset => return Ok(Followed::LogReplaced),
        };
        let Some(Cursor::Log(seen)) = self.cursor else {
            self.cursor = Some(page.next);
            return Ok(Followed::Documents(FollowedBatch { entries: page.entries, cursor: page.next }));
        };
        // Behind the horizon the page has documents. They stand for the operations unless one is missing between them.
        let end = page.next.position();
        let is_whole = page.entries.iter().zip(seen.seq.following()).all(|(entry, seq)| entry.seq == seq)
            && end.seq == seen.seq.plus(page.entries.len() as u64);
        if !is_whole {
            return Ok(Followed::HistoryRemoved);
        }
        if page.entries.is_empty() {
            return Ok(Followed::UpToDate);
        }
        let cursor = Cursor::Log(end);
        self.cursor = Some(cursor);
        Ok(Followed::Operations(FollowedBatch { entries: page.entries, cursor }))
    }

    /// Starts again from the documents: gives each of them as it is now, and then the operations behind them.
    ///
    /// Forget what came from the log before. The first batches are [`Followed::Documents`].
    pub fn restart(&mut self) {
        self.cursor = None;
    }
}
