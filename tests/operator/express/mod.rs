//! Imports from the database of an Express server.

mod flood;
mod import;
pub(crate) mod layout;
mod program;
