//! The history of a document, as far as the log has it.

use super::Operator;
use crate::core::names::{DocumentKey, TenantId};
use crate::core::numbers::Seq;
use crate::limits::service::AUDIT_MAX_ENTRIES;
use crate::store::{AuditEntry, Result};

/// A part of the history of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryPage {
    /// The operations of the document, in the order of the log.
    pub entries: Vec<AuditEntry>,
    /// The sequence number up to which compaction has removed history.
    pub horizon: Seq,
    /// The place after which the next part begins. `None` if this was the last one.
    pub next: Option<Seq>,
}

impl Operator {
    /// The operations of a document after a place of the log. A part of the log is read, so the page may be empty
    /// although there are more.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn history(&self, tenant: &TenantId, key: &DocumentKey, after: Seq) -> Result<HistoryPage> {
        let audit = self.service.store.audit(tenant, after, AUDIT_MAX_ENTRIES).await?;
        let last = audit.entries.last().map(|entry| entry.entry.seq);
        let next = last.filter(|last| *last < audit.head.position.seq);
        let entries = audit.entries.into_iter().filter(|entry| entry.entry.key == *key).collect();
        Ok(HistoryPage { entries, horizon: audit.head.horizon, next })
    }
}
