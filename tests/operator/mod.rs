//! The work of an operator: moves between stores, damage that a verification finds, backups, a year with retention, and
//! the program itself.

mod backup;
mod busy;
mod damage;
pub(crate) mod express;
mod program;
mod terminal;
mod transfer;
mod year;
