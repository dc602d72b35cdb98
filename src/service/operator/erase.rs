//! Erasing: a document with its history, or a whole tenant.

use super::Operator;
use crate::core::names::{DocumentKey, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::OperationKind;
use crate::limits::service::{COMPACT_STEP_MAX_ENTRIES, ERASE_STEP_MAX_ENTRIES, SCRUB_STEP_MAX_ENTRIES};
use crate::service::error::ServiceError;
use crate::service::write::Written;
use crate::store::{CompactStep, Erased, ScrubStep};

/// The result of [`Operator::erase_document`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasedDocument {
    /// Whether the document was deleted now. It may have been deleted before, or there was none.
    pub is_deleted: bool,
    /// The number of log entries whose data were overwritten.
    pub scrubbed_entries: u64,
    /// Why the document could not be deleted. Its log entries are as they were then.
    pub refused: Option<String>,
}

impl Operator {
    /// Deletes a document as the server itself, and overwrites its data in the log. Then the store erases what is left
    /// of them in its files, as after a compaction.
    ///
    /// A tombstone stays, with the clock of the document and the labels that it had, so that the document leaves every
    /// device. Ids, clocks and subjects stay in the log.
    ///
    /// # Errors
    /// If the store fails. Erasing again continues.
    pub async fn erase_document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<ErasedDocument, ServiceError> {
        let mut erased = ErasedDocument { is_deleted: false, scrubbed_entries: 0, refused: None };
        match self.service.delete(tenant, key).await? {
            Written::Done(_) => erased.is_deleted = true,
            Written::Missing => {}
            Written::ClockFull => erased.refused = Some("its clock has no room for the server".to_owned()),
            Written::Invalid(why) => erased.refused = Some(why),
            Written::OtherRevision(_) | Written::TooLarge => erased.refused = Some("it was not deleted".to_owned()),
        }
        if erased.refused.is_some() {
            return Ok(erased);
        }
        // A client may have made the document again meanwhile, which stays.
        if let Some((horizon, deleted_at)) = self.last_deletion(tenant, key).await? {
            let mut after = horizon;
            while after < deleted_at {
                let up_to = after.plus(SCRUB_STEP_MAX_ENTRIES).min(deleted_at);
                let step = ScrubStep { key: key.clone(), after, up_to };
                erased.scrubbed_entries += self.service.store.scrub(tenant, step).await?;
                after = up_to;
            }
        }
        self.finish_erasing(tenant).await?;
        Ok(erased)
    }

    /// The last deletion of a document in the log, and the place after which the log begins.
    async fn last_deletion(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<(Seq, Seq)>, ServiceError> {
        let (mut after, mut begin, mut last) = (Seq::START, None, None);
        loop {
            let page = self.history(tenant, key, after).await?;
            let deletions = page.entries.iter().filter(|entry| entry.entry.kind() == OperationKind::Delete);
            last = deletions.map(|entry| entry.entry.seq).last().or(last);
            begin = begin.or(Some(page.horizon));
            match page.next {
                Some(next) => after = next,
                None => return Ok(begin.zip(last)),
            }
        }
    }

    /// Removes a tenant and its quarantine, in steps, for at most `time_max_ms` and in at least one step. The result
    /// says whether something was left when the time was over.
    ///
    /// Operations that are pushed meanwhile are removed too. A push after the last step begins a new tenant of the same
    /// name, and every client with a cursor starts again.
    ///
    /// # Errors
    /// If the store fails. Erasing again continues.
    pub async fn erase_tenant(&self, tenant: &TenantId, time_max_ms: u64) -> Result<Erased, ServiceError> {
        let began_ms = self.service.now_ms();
        let mut all = Erased::default();
        let mut of_quarantine = Erased { is_finished: tenant.is_quarantine(), ..Erased::default() };
        loop {
            if !of_quarantine.is_finished {
                of_quarantine = self.service.store.erase_tenant(&tenant.quarantine(), ERASE_STEP_MAX_ENTRIES).await?;
            }
            if !of_quarantine.is_finished {
                if self.service.now_ms().ms_since(began_ms) >= time_max_ms {
                    return Ok(all);
                }
                continue;
            }
            let step = self.service.store.erase_tenant(tenant, ERASE_STEP_MAX_ENTRIES).await?;
            all = Erased {
                documents: all.documents + step.documents,
                entries: all.entries + step.entries,
                ids: all.ids + step.ids,
                clients: all.clients + step.clients,
                is_finished: step.is_finished,
            };
            if step.is_finished {
                self.finish_erasing(tenant).await?;
                return Ok(all);
            }
            if self.service.now_ms().ms_since(began_ms) >= time_max_ms {
                return Ok(all);
            }
        }
    }

    /// A step of a compaction that removes nothing, at whose end a store erases deleted rows from its files.
    async fn finish_erasing(&self, tenant: &TenantId) -> Result<(), ServiceError> {
        let step = CompactStep {
            now_ms: self.service.now_ms(),
            future_after_ms: Seq::AFTER_ALL.get().into(),
            received_until_ms: UnixMs::EPOCH,
            forget_clients_before_ms: UnixMs::EPOCH,
            max_entries: COMPACT_STEP_MAX_ENTRIES,
        };
        self.service.store.compact(tenant, step).await?;
        Ok(())
    }
}
