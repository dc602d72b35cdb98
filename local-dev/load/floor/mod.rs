//! The floor: what a database does when its rows are written and read with nothing around it.

pub(crate) mod mongodb;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use async_trait::async_trait;

use crate::Result;
use crate::load::{Load, Watch};
use crate::work::Made;

/// Whether a floor also writes the row that has the end of the tenant's log and its counters.
///
/// All commits have to wait for this row, one after the other. The server's commits write it too; without it a floor
/// shows what the database could do if nobody had to know in which order things happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadRow {
    Written,
    LeftAlone,
}

/// The rows of a database's own tables, written and read by its own driver as fast as that can.
///
/// Nothing is decided, and no JSON is made.
#[async_trait(?Send)]
pub(crate) trait Floor {
    /// Writes batches, those of each client one after the other, each in one commit that is on the disk when it ends.
    async fn push(&self, batches_of_clients: Vec<Vec<Vec<Made>>>, head: HeadRow, watch: Watch) -> Result<Load>;

    /// Reads pages of the log, each client from its beginning on, again and again.
    async fn pull(&self, clients: u64, page_rows: u64, watch: Watch) -> Result<Load>;

    /// Reads the newest documents of the collection.
    async fn newest(&self, clients: u64, rows: u64, watch: Watch) -> Result<Load>;
}
