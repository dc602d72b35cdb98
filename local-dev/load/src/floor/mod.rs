//! The floor: the speed of a database whose rows are written and read without a server around it.

pub(crate) mod mongodb;
pub(crate) mod postgres;
pub(crate) mod sqlite;

use async_trait::async_trait;

use crate::Result;
use crate::load::{Load, Watch};
use crate::work::Made;

/// Whether a floor also writes the row with the end of the tenant's log and its counters.
///
/// All commits must wait for this row, one after the other, and the server's commits write it too. Without it, a floor
/// shows the speed of the database if the order of commits did not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadRow {
    Written,
    LeftAlone,
}

/// The rows of a database's own tables, which its own driver writes and reads as fast as it can.
///
/// Nothing is decided, and no JSON is made.
#[async_trait(?Send)]
pub(crate) trait Floor {
    /// Writes batches, those of each client one after the other. Each batch is one commit, which is on the disk when it
    /// ends.
    async fn push(&self, batches_of_clients: Vec<Vec<Vec<Made>>>, head: HeadRow, watch: Watch) -> Result<Load>;

    /// Reads pages of the log repeatedly, each client from its beginning.
    async fn pull(&self, clients: u64, page_rows: u64, watch: Watch) -> Result<Load>;

    /// Reads the newest documents of the collection.
    async fn newest(&self, clients: u64, rows: u64, watch: Watch) -> Result<Load>;
}
