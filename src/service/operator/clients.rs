//! The clients of a tenant: how far each has come, and how one is forgotten.

use super::Operator;
use crate::core::names::{ClientId, TenantId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::places::Places;
use crate::limits::service::{FORGET_MAX_ATTEMPTS, LIST_MAX_ENTRIES};
use crate::service::error::ServiceError;
use crate::store::{ClientRow, FORGOTTEN_PULLED_SEQ, NewMemory, Remember, Result};

/// The outcome of [`Operator::forget_client`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Forgotten {
    /// Its places and its progress are forgotten. If it comes again, it is answered from the beginning.
    Done,
    /// The server remembers no such client.
    Unknown,
}

impl Operator {
    /// The clients of a tenant in the order of the bytes of their ids: the first ones after `after`. There are no more
    /// if there are none.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn clients(&self, tenant: &TenantId, after: Option<&ClientId>) -> Result<Vec<ClientRow>> {
        self.service.store.client_rows(tenant, after, LIST_MAX_ENTRIES).await
    }

    /// Forgets the places and the progress of a client. The subject to which its id belongs stays.
    ///
    /// The numbers that the client was given are never given again. So a client of the original protocol that comes
    /// back loses nothing.
    ///
    /// # Errors
    /// If the store fails, or the client pulls again and again meanwhile.
    pub async fn forget_client(
        &self,
        tenant: &TenantId,
        client: &ClientId,
    ) -> std::result::Result<Forgotten, ServiceError> {
        let forget = |places: Places| Places::forgotten_up_to(places.greatest_given());
        self.remember_forgotten(tenant, client, false, forget).await
    }

    /// Makes a client one that was never seen, with other places than it has. A client that is not known is created if
    /// that is asked for.
    pub(super) async fn remember_forgotten(
        &self,
        tenant: &TenantId,
        client: &ClientId,
        creates: bool,
        change: impl Fn(Places) -> Places,
    ) -> std::result::Result<Forgotten, ServiceError> {
        for _ in 0..FORGET_MAX_ATTEMPTS {
            let memory = self.service.store.client(tenant, client).await?;
            if memory.is_none() && !creates {
                return Ok(Forgotten::Unknown);
            }
            let (seen_revision, places) = memory.map_or((Rev::NONE, Places::default()), |it| (it.revision, it.places));
            let memory = NewMemory {
                seen_revision,
                places: change(places),
                pulled_seq: FORGOTTEN_PULLED_SEQ,
                seen_at_ms: UnixMs::EPOCH,
            };
            if self.service.store.remember(tenant, client, memory).await? == Remember::Done {
                return Ok(Forgotten::Done);
            }
        }
        Err(ServiceError::Contended { attempts: FORGET_MAX_ATTEMPTS })
    }
}
