//! Promises of the port, which every store keeps.

pub mod clients;
pub mod commit;
pub mod compaction;
pub mod documents;
pub mod log_pull;
pub mod operator;
pub mod push;
pub mod since_pull;
pub mod state_pull;
pub mod stats;
pub mod tenants;
pub mod text;
