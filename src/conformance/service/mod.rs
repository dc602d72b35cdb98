//! What the service makes of every store.

pub mod databases;
pub mod group;
pub mod legacy;
pub mod notes;
