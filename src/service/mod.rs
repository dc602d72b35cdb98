//! The sync service: the operations of the protocol, over any store.
//!
//! It contains what every store would otherwise have to repeat: group commit with bounded retries, the memory of
//! original clients, and the steps of a compaction.

mod compaction;
mod group_commit;
pub mod host;
mod lanes;
mod pull;
mod push;

use std::sync::Arc;

pub use compaction::CompactionOfAll;
pub use host::{Done, Host};
pub use pull::{PullFrom, PullRequest, Pulled, PulledPage};
pub use push::Pushed;

use crate::core::document::LiveDocument;
use crate::core::names::{DocumentKey, TenantId};
use crate::limits::service::CLIENT_ACTIVE_MS;
use crate::store::{Query, QueryPage, Result, Stats, Store, StoreError};

/// The operations of the protocol over a store. All requests of a process share one service.
#[derive(Debug)]
pub struct SyncService {
    store: Arc<dyn Store>,
    host: Arc<dyn Host>,
    lanes: lanes::Lanes<push::PushLane>,
}

/// Why a request ends without an answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ServiceError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
    /// Other requests changed the same documents repeatedly. Nothing was changed, and a later attempt may succeed.
    #[error("gave up after {attempts} attempts because others changed the same rows each time")]
    Contended {
        /// The number of attempts.
        attempts: u32,
    },
}

impl From<StoreError> for ServiceError {
    fn from(error: StoreError) -> Self {
        Self::Store(Arc::new(error))
    }
}

impl SyncService {
    /// Makes a service over a store, with the clock, timer and randomness of `host`.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, host: Arc<dyn Host>) -> Self {
        Self { store, host, lanes: lanes::Lanes::new() }
    }

    /// The store's name, as in the answer of `/health`.
    #[must_use]
    pub fn adapter(&self) -> &'static str {
        self.store.name()
    }

    /// The time by the clock of the host, in milliseconds since 1970.
    pub(crate) fn now_ms(&self) -> u64 {
        self.host.now_ms()
    }

    /// Checks whether the store can be reached now.
    ///
    /// # Errors
    /// If it cannot.
    pub async fn check(&self) -> Result<()> {
        self.store.check().await
    }

    /// A document that is not deleted.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn document(&self, tenant: &TenantId, key: &DocumentKey) -> Result<Option<LiveDocument>> {
        self.store.document(tenant, key).await
    }

    /// A page of a collection's documents, newest first.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn query(&self, tenant: &TenantId, query: Query) -> Result<QueryPage> {
        self.store.query(tenant, query).await
    }

    /// The statistics. Clients that were silent for [`CLIENT_ACTIVE_MS`] are left out.
    ///
    /// # Errors
    /// If the store fails.
    pub async fn stats(&self, tenant: &TenantId) -> Result<Stats> {
        self.store.stats(tenant, self.host.now_ms().saturating_sub(CLIENT_ACTIVE_MS)).await
    }
}
