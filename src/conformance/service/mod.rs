//! Checks of the service over every store.

pub mod databases;
pub mod follow;
pub mod group;
pub mod hooks;
pub mod notes;
pub mod operating;
pub mod original;
pub mod owners;
pub mod quota;
pub mod revisions;
pub mod rules;
pub mod writes;

pub use self::operating::{operator, schedule};
