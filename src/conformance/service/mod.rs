//! Checks of the service over every store.

pub mod databases;
pub mod group;
pub mod legacy;
pub mod notes;
