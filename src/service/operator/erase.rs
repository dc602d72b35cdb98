//! Erasing: a document with its history, or a whole tenant.

use super::Operator;
use crate::core::decide::write::{Author, erasure};
use crate::core::decide::{Outcome, Push, client_ids_of, decide};
use crate::core::names::{DocumentKey, TenantId};
use crate::core::numbers::{Seq, UnixMs};
use crate::core::operation::OperationKind;
use crate::limits::service::{
    COMPACT_STEP_MAX_ENTRIES, ERASE_BACKOFF_FIRST_MS, ERASE_BACKOFF_MAX_MS, ERASE_MAX_ATTEMPTS, ERASE_STEP_MAX_ENTRIES,
    SCRUB_STEP_MAX_ENTRIES,
};
use crate::service::SyncService;
use crate::service::error::ServiceError;
use crate::service::hooks::Caller;
use crate::service::host::backoff;
use crate::service::write::operation_id;
use crate::store::{Commit, CompactStep, Erased, ErrorKind, LoadRequest, ScrubStep};

/// The result of [`Operator::erase_document`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ErasedDocument {
    /// Whether the document was deleted now. It may have been deleted before, or there was none.
    pub is_deleted: bool,
    /// The number of log entries whose data were overwritten.
    pub scrubbed_entries: u64,
}

/// The patience of an erasure with a store that others keep busy. Each success restores it.
struct Patience<'a> {
    service: &'a SyncService,
    attempts: u32,
}

impl<'a> Patience<'a> {
    fn new(service: &'a SyncService) -> Self {
        Self { service, attempts: 0 }
    }

    /// Waits if the same step may succeed soon. Otherwise, or after too many attempts, this is the error.
    async fn wait_after(&mut self, error: ServiceError) -> Result<(), ServiceError> {
        self.attempts += 1;
        match error {
            ServiceError::Store(of_store) if of_store.kind() != ErrorKind::Busy => return Err(of_store.into()),
            ServiceError::Contended { .. } if self.attempts >= ERASE_MAX_ATTEMPTS => {
                return Err(ServiceError::Contended { attempts: self.attempts });
            }
            error if self.attempts >= ERASE_MAX_ATTEMPTS => return Err(error),
            _ => {}
        }
        let random_bits = self.service.random_bits();
        let pause = backoff(self.attempts - 1, ERASE_BACKOFF_FIRST_MS, ERASE_BACKOFF_MAX_MS, random_bits);
        self.service.sleep(pause).await;
        Ok(())
    }
}

impl Operator {
    /// Deletes a document as the server itself, and overwrites its data in the log. Then the store erases what is left
    /// of them in its files, as after a compaction.
    ///
    /// A tombstone stays, with the clock of the document and the labels that it had, so that the document leaves every
    /// device. Ids, clocks and subjects stay in the log.
    ///
    /// Neither rules, policies and checks of the application nor a full clock refuse it.
    ///
    /// # Errors
    /// If the store fails, or if others keep it busy all the time. Erasing again continues.
    pub async fn erase_document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<ErasedDocument, ServiceError> {
        let mut patience = Patience::new(&self.service);
        let is_deleted = loop {
            match self.delete_to_erase(tenant, key).await {
                Ok(is_deleted) => break is_deleted,
                Err(error) => patience.wait_after(error).await?,
            }
        };
        let mut erased = ErasedDocument { is_deleted, scrubbed_entries: 0 };
        // A client may have made the document again meanwhile, which stays.
        if let Some((horizon, deleted_at)) = self.last_deletion(tenant, key).await? {
            let mut after = horizon;
            let mut patience = Patience::new(&self.service);
            while after < deleted_at {
                let up_to = after.plus(SCRUB_STEP_MAX_ENTRIES).min(deleted_at);
                let step = ScrubStep { key: key.clone(), after, up_to };
                match self.service.store.scrub(tenant, step).await {
                    Ok(scrubbed) => {
                        erased.scrubbed_entries += scrubbed;
                        after = up_to;
                        patience = Patience::new(&self.service);
                    }
                    Err(error) => patience.wait_after(error.into()).await?,
                }
            }
        }
        self.finish_erasing(tenant).await?;
        Ok(erased)
    }

    /// Deletes a document, if it is not deleted.
    async fn delete_to_erase(&self, tenant: &TenantId, key: &DocumentKey) -> Result<bool, ServiceError> {
        let service = &self.service;
        let now_ms = service.now_ms();
        let id = operation_id(now_ms, service.random_bits());
        let view = service.rules.view_of_all();
        let request = LoadRequest {
            ids: vec![id.clone()],
            keys: vec![key.clone()],
            with_labels: view.has_rules(),
            with_stamps: true,
            ..LoadRequest::default()
        };
        let mut snapshot = service.store.load(tenant, request).await?;
        let author = Author { client_id: service.writer_id.clone(), id, counter: now_ms.get(), now_ms };
        let Some((operation, bases)) = erasure(key, snapshot.documents.get(key), author) else { return Ok(false) };
        let operations = [operation];
        // It takes effect as it is, whatever the policy of its collection.
        let push = Push { view: &view, bases: &bases, ..Push::from(&operations[..]) };
        if bases.are_used() {
            let request = LoadRequest { client_ids: client_ids_of(&[push]), ..LoadRequest::default() };
            snapshot.owners = service.store.load(tenant, request).await?.owners;
        }
        let (decisions, batch) = decide(&[push], &snapshot, now_ms);
        let outcomes = decisions.into_iter().next().and_then(Result::ok).unwrap_or_default();
        // Otherwise the random id was used before.
        let is_decided = outcomes.first().is_some_and(Outcome::is_applied);
        if is_decided {
            let committed = service.store.commit(tenant, batch).await;
            service.hub.committed(tenant);
            if committed? == Commit::Done {
                service.hooks.pushed(Caller::server(tenant), &operations, &outcomes);
                return Ok(true);
            }
        }
        Err(ServiceError::Contended { attempts: 1 })
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
    /// If the store fails, or if others keep it busy all the time. Erasing again continues.
    pub async fn erase_tenant(&self, tenant: &TenantId, time_max_ms: u64) -> Result<Erased, ServiceError> {
        let began_ms = self.service.now_ms();
        let mut all = Erased::default();
        let mut of_quarantine = Erased { is_finished: tenant.is_quarantine(), ..Erased::default() };
        loop {
            if !of_quarantine.is_finished {
                of_quarantine = self.erase_step(&tenant.quarantine()).await?;
            }
            if !of_quarantine.is_finished {
                if self.service.now_ms().ms_since(began_ms) >= time_max_ms {
                    return Ok(all);
                }
                continue;
            }
            let step = self.erase_step(tenant).await?;
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

    async fn erase_step(&self, tenant: &TenantId) -> Result<Erased, ServiceError> {
        let mut patience = Patience::new(&self.service);
        loop {
            match self.service.store.erase_tenant(tenant, ERASE_STEP_MAX_ENTRIES).await {
                Ok(step) => return Ok(step),
                Err(error) => patience.wait_after(error.into()).await?,
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
        let mut patience = Patience::new(&self.service);
        loop {
            match self.service.store.compact(tenant, step).await {
                Ok(_) => return Ok(()),
                Err(error) => patience.wait_after(error.into()).await?,
            }
        }
    }
}
