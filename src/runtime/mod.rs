//! The surroundings of the routes on a real machine: a clock, layers with a runtime, logs, and an open store.

mod access;
mod addresses;
mod app;
#[cfg(feature = "sign-in")]
mod client;
mod layers;
mod log_queue;
pub mod logging;
mod memory;
pub mod metrics;
#[cfg(feature = "local")]
mod serve;
mod store;
mod traces;
mod trouble;

pub use crate::tokio_host::TokioHost;
pub use access::{Access, anybody};
pub use app::App;
#[doc(hidden)]
pub use layers::OpenSpan;
pub use layers::app;
#[cfg(feature = "local")]
pub use layers::measured_app;
pub use log_queue::QueueEnd;
#[cfg(feature = "local")]
pub use serve::{ConnectionLimits, max_connections, serve};
pub use store::{OpenStore, open_express, open_store, open_store_with_pools};
pub use traces::{Exports, Traces};
pub use trouble::{advice, advice_about_express, announce_wait, wait_for_store, warn_of_near_misses};
