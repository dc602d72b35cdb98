//! The work of an operator: looking at tenants, moving them between stores, verifying and erasing.
//!
//! Everything here may be done while servers use the same store. Each step is small, so that no push waits for long.

mod clients;
mod erase;
mod export;
mod express;
mod history;
mod import;
mod line;
mod states;
mod tenants;
mod verify;

use std::sync::Arc;

pub use clients::Forgotten;
pub use erase::ErasedDocument;
pub use export::Export;
pub use express::{BadRow, BadRows, ExpressImport, ExpressImported};
pub use history::HistoryPage;
pub use import::{Import, ImportError, Imported};
pub use line::BadLine;
pub use tenants::TenantReport;
pub use verify::{Fault, Finding, Verified, VerifyProgress};

use super::SyncService;

/// The work of an operator over a service and its store.
#[derive(Debug, Clone)]
pub struct Operator {
    service: Arc<SyncService>,
}

impl Operator {
    /// An operator of this service. It may do everything in every tenant.
    #[must_use]
    pub fn new(service: Arc<SyncService>) -> Self {
        Self { service }
    }
}
