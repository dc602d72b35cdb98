//! Writes that the server makes itself: operations like those of a push, through the same decision and the same log.

use serde::Serialize;

use super::SyncService;
use super::error::ServiceError;
use super::hooks::Caller;
use super::host::backoff;
use super::lanes::WriteTurn;
use crate::core::decide::write::Author;
pub use crate::core::decide::write::{BadData, Write, Written};
use crate::core::decide::{Outcome, Push, Refused, decide};
use crate::core::names::{ClientId, DocumentKey, OperationId, TenantId};
use crate::core::numbers::UnixMs;
use crate::limits::service::{CLOCKS_APART_MAX_MS, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, PUSH_MAX_ATTEMPTS};
use crate::store::{Commit, ErrorKind, LoadRequest, StoreError};

/// A new id of an operation that the server makes.
pub(super) fn operation_id(now_ms: UnixMs, random_bits: u64) -> OperationId {
    OperationId::literal(&format!("{}-{:x}-{random_bits:016x}", ClientId::server(), now_ms.get()))
}

impl SyncService {
    /// Creates a document, or replaces its data.
    ///
    /// Clients receive it as an ordinary operation, whose author is the server, and can edit the document afterwards.
    ///
    /// # Errors
    /// The errors of [`SyncService::write`].
    pub async fn put(
        &self,
        tenant: &TenantId,
        key: &DocumentKey,
        data: &impl Serialize,
    ) -> Result<Written, ServiceError> {
        self.write_or_refuse(tenant, Write::put(key.clone(), data)).await
    }

    /// Puts keys over those of a document, which must exist.
    ///
    /// # Errors
    /// The errors of [`SyncService::write`].
    pub async fn patch(
        &self,
        tenant: &TenantId,
        key: &DocumentKey,
        data: &impl Serialize,
    ) -> Result<Written, ServiceError> {
        self.write_or_refuse(tenant, Write::patch(key.clone(), data)).await
    }

    /// Deletes a document, which must exist.
    ///
    /// # Errors
    /// The errors of [`SyncService::write`].
    pub async fn delete(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Written, ServiceError> {
        self.write(tenant, &Write::delete(key.clone())).await
    }

    async fn write_or_refuse(&self, tenant: &TenantId, write: Result<Write, BadData>) -> Result<Written, ServiceError> {
        match write {
            Ok(write) => self.write(tenant, &write).await,
            Err(bad) => Ok(Written::Invalid(bad.to_string())),
        }
    }

    /// Changes a document as the server itself.
    ///
    /// If others change the document meanwhile, the write is decided again on what they left.
    ///
    /// # Errors
    /// When the store fails, or others changed the document again and again. An error of the store may have come after
    /// the commit.
    pub async fn write(&self, tenant: &TenantId, write: &Write) -> Result<Written, ServiceError> {
        let turn = self.writers.lane(tenant, WriteTurn::default);
        let mut last_counter = turn.lock().await;
        for attempt in 0..PUSH_MAX_ATTEMPTS {
            if attempt > 0 {
                let random_bits = self.host.random_bits();
                self.host.sleep(backoff(attempt - 1, PUSH_BACKOFF_FIRST_MS, PUSH_BACKOFF_MAX_MS, random_bits)).await;
            }
            if let Some(written) = self.try_write(tenant, write, &mut last_counter).await? {
                return Ok(written);
            }
            tracing::debug!(store.name = self.adapter(), write.attempt = attempt, "write contended");
        }
        Err(ServiceError::Contended { attempts: PUSH_MAX_ATTEMPTS })
    }

    /// Load, decide, commit; nothing if others were faster.
    async fn try_write(
        &self,
        tenant: &TenantId,
        write: &Write,
        last_counter: &mut u64,
    ) -> Result<Option<Written>, ServiceError> {
        let now_ms = self.host.now_ms();
        let id = operation_id(now_ms, self.host.random_bits());
        let view = self.rules.view_of_all();
        let request = LoadRequest {
            ids: vec![id.clone()],
            keys: vec![write.key().clone()],
            with_labels: view.has_rules(),
            with_stamps: self.policies.resolve(),
            ..LoadRequest::default()
        };
        let snapshot = self.store.load(tenant, request).await?;
        // The time makes the counters of a server that starts again, or whose database was restored, greater than
        // before.
        let counter = now_ms.get().max(*last_counter + 1);
        let author = Author { client_id: self.writer_id.clone(), id, counter, now_ms };
        let operation = match write.operation(snapshot.documents.get(write.key()), author) {
            Ok(operation) => operation,
            Err(unwritten) => return Ok(Some(unwritten)),
        };
        // A counter far in the future was made up by a client, and must not use up those of the other documents.
        let used = operation.clock.get(&self.writer_id);
        *last_counter = if used <= now_ms.plus_ms(CLOCKS_APART_MAX_MS).get() { used } else { counter };
        let operations = [operation];
        let caller = Caller::server(tenant);
        if let Some(invalid) = self.hooks.invalid(caller, &operations).pop() {
            return Ok(Some(Written::Invalid(invalid.message)));
        }
        let tombstones = self.retention.tombstones();
        let push = Push { view: &view, policies: &self.policies, tombstones, ..Push::from(&operations[..]) };
        let (decisions, batch) = decide(&[push], &snapshot, now_ms);
        let revision = batch.documents.first().map(|write| write.document.rev);
        match (decisions.first(), revision) {
            (Some(Ok(outcomes)), Some(revision)) if outcomes[..] == [Outcome::Applied] => {
                let committed = self.store.commit(tenant, batch).await;
                self.hub.committed(tenant);
                if committed? == Commit::Contended {
                    return Ok(None);
                }
                self.hooks.pushed(caller, &operations, outcomes);
                Ok(Some(Written::Done(revision)))
            }
            (Some(Err(Refused::DocumentDamaged { .. })), _) => {
                let damaged = "the document is damaged in the store";
                Err(StoreError::new(self.adapter(), "load", ErrorKind::Failed, damaged).into())
            }
            (Some(Err(_)), _) => Ok(Some(Written::TooLarge)),
            (Some(Ok(outcomes)), _) if matches!(outcomes[..], [Outcome::Forbidden(_)]) => {
                Ok(Some(Written::Invalid("is forbidden by the rules".to_owned())))
            }
            // The random id was used before.
            _ => Ok(None),
        }
    }
}
