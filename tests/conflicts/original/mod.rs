//! A client of the original protocol, as it is: its tabs, and its local database.

mod browser;
mod database;

pub(super) use browser::Tab;
pub(super) use database::Database;
