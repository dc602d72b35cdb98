//! Where a pull goes on, and what a page holds.

pub mod cursor;
pub mod fingerprint;
pub mod page;
pub mod places;
pub mod progress;
