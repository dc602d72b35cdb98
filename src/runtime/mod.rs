//! The surroundings of the routes on a real machine: a clock, layers with a runtime, logs, and an open store.

mod access;
mod app;
mod callers;
#[cfg(feature = "local")]
mod connections;
mod host;
mod inflate;
mod layers;
pub mod logging;
mod rest;
#[cfg(feature = "local")]
mod serve;
mod store;
mod trouble;

pub use access::{Access, anybody};
pub use app::App;
#[cfg(feature = "local")]
pub use connections::ConnectionLimits;
pub use host::TokioHost;
pub use layers::{OpenSpan, app};
#[cfg(feature = "local")]
pub use serve::serve;
pub use store::open_store;
pub use trouble::{advice, wait_for_store};
