//! What the routes need around them on a real machine: a clock, layers with a runtime, logs, and an open store.

mod access;
mod app;
mod callers;
mod host;
mod inflate;
mod layers;
pub mod logging;
mod rest;
mod store;
mod trouble;

pub use access::{Access, anybody};
pub use app::App;
pub use host::TokioHost;
pub use layers::{OpenSpan, app};
pub use store::open_store;
pub use trouble::{advice, wait_for_store};
