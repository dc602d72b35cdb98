//! The pure core: operations, clocks, documents, cursors and filters, and every decision about them.
//!
//! Nothing here does I/O, reads a clock, draws a random number, waits or spawns a task. A decision takes what it needs
//! as arguments.

pub mod access;
pub mod clock;
pub mod decide;
pub mod document;
pub mod filter;
pub mod json;
pub mod names;
pub mod numbers;
pub mod operation;
mod pull;
pub mod text;
pub(crate) mod wire;

pub use self::decide::policy;
pub use self::pull::{cursor, feed, fingerprint, page, places, progress, retention};
