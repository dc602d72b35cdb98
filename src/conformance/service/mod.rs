//! Checks of the service over every store.

pub mod databases;
pub mod follow;
pub mod group;
pub mod hooks;
pub mod legacy;
pub mod notes;
pub mod quota;
pub mod writes;
