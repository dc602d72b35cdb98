//! The data of an Express server, as they are read to be imported. A source is a database, and no store of ours.

use async_trait::async_trait;

use super::Result;

/// A value of a row, or why it is not one that the Express server writes.
pub type Field<T> = std::result::Result<T, String>;

/// A row of the documents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressDocument {
    /// The place of the row in its database, for messages.
    pub place: String,
    /// The collection.
    pub collection: Field<String>,
    /// The id in the collection.
    pub id: Field<String>,
    /// The data as JSON, also those that a deleted document had.
    pub data: Field<String>,
    /// The revision. A deletion does not raise it.
    pub rev: Field<i64>,
    /// Whether the document is deleted.
    pub is_deleted: Field<bool>,
    /// The clock of the last operation, as JSON.
    pub vector_clock: Field<String>,
    /// The time of the last operation, in milliseconds since 1970.
    pub updated_at: Field<i64>,
}

/// A row of the operations, without its data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpressOperation {
    /// The place of the row in its database, for messages.
    pub place: String,
    /// The id.
    pub id: Field<String>,
    /// The type. The Express server treats unknown types as inserts.
    pub kind: Field<String>,
    /// The collection of the document.
    pub collection: Field<String>,
    /// The id of the document in the collection.
    pub doc_id: Field<String>,
    /// The author's time, in milliseconds since 1970.
    pub timestamp: Field<i64>,
    /// The author.
    pub client_id: Field<String>,
    /// The clock, as JSON.
    pub vector_clock: Field<String>,
}

/// The database of an Express server. It is only read.
///
/// # Errors
/// Every method fails if the database cannot be reached, does not answer in time, or has no data of an Express server.
#[async_trait]
pub trait ExpressSource: Send + std::fmt::Debug {
    /// The next documents, in the order of the bytes of collection and id. There are no more if there are none.
    async fn documents(&mut self) -> Result<Vec<ExpressDocument>>;

    /// The next operations, in the order of the bytes of collection and document. Operations of one document come in
    /// the order in which they arrived. There are no more if there are none.
    async fn operations(&mut self) -> Result<Vec<ExpressOperation>>;

    /// The data of an operation as JSON, `None` if it has none.
    async fn data_of(&mut self, operation_id: &str) -> Result<Field<Option<String>>>;

    /// The greatest timestamp, which an original client may send as its `since`. 0 if there is none.
    async fn greatest_timestamp(&mut self) -> Result<u64>;

    /// Fails if the data were changed since the beginning, so that a part of the changes may be missing.
    async fn finish(&mut self) -> Result<()>;
}
