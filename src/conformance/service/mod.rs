//! Checks of the service over every store.

pub mod conflicting;
pub mod databases;
pub mod follow;
pub mod group;
pub mod hooks;
pub mod notes;
pub mod operating;
pub mod original;
pub mod owners;
pub mod quota;
pub mod rules;
pub mod writes;

pub use self::conflicting::{conflicts, quarantine, revisions};
pub use self::operating::{erasing, operator, retention, schedule};
