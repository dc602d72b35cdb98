//! The rows of one command, all at one moment.

use mongodb::bson::{Document as Bson, RawDocumentBuf};
use mongodb::options::ReadConcern;
use mongodb::{ClientSession, Collection, Cursor, SessionCursor};

use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::Row;

/// A batch size that this many rows do not fill. If a batch is full, the server keeps its cursor, and another command
/// is needed to continue or end it.
pub(crate) fn batch_of(rows: usize) -> u32 {
    u32::try_from(rows.saturating_add(1)).unwrap_or(u32::MAX)
}

/// How a command sees one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// The read concern `snapshot`: one round trip.
    Snapshot,
    /// A transaction, for a server that does not support snapshots for single commands.
    Transaction,
}

/// The rows of an aggregation, read as they are needed.
pub(crate) enum Rows {
    OfSnapshot(Box<Cursor<RawDocumentBuf>>),
    // Dropping the session ends its transaction.
    OfTransaction(Box<(SessionCursor<RawDocumentBuf>, ClientSession)>),
}

impl Rows {
    /// Runs an aggregation that returns at least `batch_rows` rows at a time, if there are so many.
    pub(crate) async fn of(
        collections: &Collections,
        collection: &Collection<RawDocumentBuf>,
        pipeline: Vec<Bson>,
        batch_rows: usize,
        isolation: Isolation,
    ) -> Result<Self, Failure> {
        let aggregate =
            collection.aggregate(pipeline).batch_size(batch_of(batch_rows)).max_time(collections.time_limit);
        match isolation {
            Isolation::Snapshot => {
                let aggregate = aggregate.read_concern(ReadConcern::snapshot()).with_type::<RawDocumentBuf>();
                collections.in_time(aggregate).await.map(|cursor| Self::OfSnapshot(Box::new(cursor)))
            }
            Isolation::Transaction => {
                let mut session = collections.in_time(collections.client.start_session()).await?;
                session.start_transaction().read_concern(ReadConcern::snapshot()).await?;
                let aggregate = aggregate.session(&mut session).with_type::<RawDocumentBuf>().into_future();
                let cursor = collections.in_time(aggregate).await?;
                Ok(Self::OfTransaction(Box::new((cursor, session))))
            }
        }
    }

    /// The next row, if there is one.
    pub(crate) async fn next(&mut self, collections: &Collections) -> Result<Option<Row<'_>>, Failure> {
        match self {
            Self::OfSnapshot(cursor) => Ok(collections.in_time(cursor.advance()).await?.then(|| Row(cursor.current()))),
            Self::OfTransaction(both) => {
                let (cursor, session) = &mut **both;
                Ok(collections.in_time(cursor.advance(session)).await?.then(|| Row(cursor.current())))
            }
        }
    }
}
