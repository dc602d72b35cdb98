//! What the routes need around them on a real machine: a clock, layers with a runtime, logs, and an open store.

mod host;
mod layers;
pub mod logging;
mod rest;
mod store;
mod trouble;

pub use host::TokioHost;
pub use layers::{App, OpenSpan, app};
pub use store::open_store;
pub use trouble::{advice, wait_for_store};
