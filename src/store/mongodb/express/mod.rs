//! The collections of an Express server in a MongoDB database.
//!
//! Its server may stand alone and then has no snapshots. So the Express server must not run, and the documents and
//! operations are counted before and after.

mod json;

use std::time::Duration;

use async_trait::async_trait;
use mongodb::bson::{Document as Bson, RawBsonRef, RawDocument, RawDocumentBuf, doc};
use mongodb::options::ConnectionString;
use mongodb::{Client, Collection, Cursor};
use tokio::time::timeout;

use super::failure::Failure;
use super::options::{MongoOptions, MongoOptionsError};
use crate::limits::store::{EXPRESS_PART_MAX_ENTRIES, EXPRESS_STATEMENT_TIME_MAX_MS, EXPRESS_VALUE_MAX_BYTES};
use crate::store::express::{ExpressDocument, ExpressOperation, ExpressSource, Field};
use crate::store::{Result, StoreError};

const OPERATIONS: &str = "operations";
const DOCUMENTS: &str = "documents";

/// The collection that marks a database as one of our own store.
const OUR_MARK: &str = "syncflow_schema";

/// The collections of an Express server. It connects with its first request.
#[derive(Debug)]
pub struct MongoExpress {
    options: MongoOptions,
    connection: ConnectionString,
    open: Option<Open>,
}

/// The collections, and the cursors over them.
#[derive(Debug)]
struct Open {
    documents: Collection<RawDocumentBuf>,
    operations: Collection<RawDocumentBuf>,
    sorted_documents: Cursor<RawDocumentBuf>,
    sorted_operations: Cursor<RawDocumentBuf>,
    /// How many documents and operations there were at the beginning.
    counts: (u64, u64),
}

impl MongoExpress {
    /// The collections in the database that the URI names. Of the other options, none has a meaning.
    ///
    /// # Errors
    /// If the URI cannot be used, or names no database.
    pub fn new(uri: &str) -> std::result::Result<Self, MongoOptionsError> {
        let mut options = MongoOptions { pool_size: 2, ..MongoOptions::new(uri) };
        let connection = options.connection()?;
        let Some(database) = connection.default_database.clone() else {
            let problem = "must name the database, as in mongodb://host:27017/NAME";
            return Err(MongoOptionsError::Uri(problem.to_owned()));
        };
        options.database = database;
        Ok(Self { options, connection, open: None })
    }

    async fn open(&mut self) -> std::result::Result<&mut Open, Failure> {
        let open = match self.open.take() {
            Some(open) => open,
            None => Box::pin(Open::new(&self.options, &self.connection)).await?,
        };
        Ok(self.open.insert(open))
    }
}

impl Open {
    async fn new(options: &MongoOptions, connection: &ConnectionString) -> std::result::Result<Self, Failure> {
        let client = Client::with_options(options.resolve(connection).await?)?;
        let database = client.database(&options.database);
        let names = in_time(database.list_collection_names()).await?;
        let unsuitable = |why: &str| Failure::Unsuitable(format!("the database {} {why}", options.database));
        if ![OPERATIONS, DOCUMENTS].iter().any(|name| names.iter().any(|known| known == name)) {
            return Err(unsuitable("does not have the collections of an Express server"));
        }
        if names.iter().any(|name| name == OUR_MARK) {
            let mark: Option<Bson> = in_time(database.collection(OUR_MARK).find_one(doc! { "_id": "schema" })).await?;
            if mark.is_some_and(|mark| mark.get_str(OPERATIONS).is_ok_and(|name| name == OPERATIONS)) {
                return Err(unsuitable("is one of this server and not of an Express server"));
            }
        }
        let documents: Collection<RawDocumentBuf> = database.collection(DOCUMENTS);
        let operations: Collection<RawDocumentBuf> = database.collection(OPERATIONS);
        let counts = counts(&documents, &operations).await?;
        let part = u32::try_from(EXPRESS_PART_MAX_ENTRIES).unwrap_or(u32::MAX);
        let by_key = documents.find(doc! {}).sort(doc! { "collection": 1, "id": 1 });
        let sorted_documents = in_time(by_key.allow_disk_use(true).batch_size(part)).await?;
        let by_key = operations.find(doc! {}).projection(doc! { "data": 0 });
        let by_key = by_key.sort(doc! { "collection": 1, "docId": 1, "receivedAt": 1, "timestamp": 1, "_id": 1 });
        let sorted_operations = in_time(by_key.allow_disk_use(true).batch_size(part)).await?;
        Ok(Self { documents, operations, sorted_documents, sorted_operations, counts })
    }
}

/// Waits for an answer. The first one sorts the log, which has no index for this order.
async fn in_time<T>(answer: impl IntoFuture<Output = mongodb::error::Result<T>>) -> std::result::Result<T, Failure> {
    match timeout(Duration::from_millis(EXPRESS_STATEMENT_TIME_MAX_MS), answer.into_future()).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(Failure::Late),
    }
}

async fn counts(
    documents: &Collection<RawDocumentBuf>,
    operations: &Collection<RawDocumentBuf>,
) -> std::result::Result<(u64, u64), Failure> {
    let documents = in_time(documents.count_documents(doc! {})).await?;
    Ok((documents, in_time(operations.count_documents(doc! {})).await?))
}

async fn part<T>(
    cursor: &mut Cursor<RawDocumentBuf>,
    read: impl Fn(&RawDocument) -> T,
) -> std::result::Result<Vec<T>, Failure> {
    let mut rows = Vec::new();
    while rows.len() < EXPRESS_PART_MAX_ENTRIES && in_time(cursor.advance()).await? {
        rows.push(read(cursor.current()));
    }
    Ok(rows)
}

/// The error of the port for a failure.
fn failed(failure: Failure) -> StoreError {
    failure.during("import_express")
}

#[async_trait]
impl ExpressSource for MongoExpress {
    async fn documents(&mut self) -> Result<Vec<ExpressDocument>> {
        let open = self.open().await.map_err(failed)?;
        part(&mut open.sorted_documents, document).await.map_err(failed)
    }

    async fn operations(&mut self) -> Result<Vec<ExpressOperation>> {
        let open = self.open().await.map_err(failed)?;
        part(&mut open.sorted_operations, operation).await.map_err(failed)
    }

    async fn data_of(&mut self, operation_id: &str) -> Result<Field<Option<String>>> {
        let open = self.open().await.map_err(failed)?;
        let found = in_time(open.operations.find_one(doc! { "id": operation_id })).await.map_err(failed)?;
        Ok(match found {
            Some(row) => optional(&row, "data").and_then(|data| data.map(|data| text_of("data", data)).transpose()),
            None => Ok(None),
        })
    }

    async fn greatest_timestamp(&mut self) -> Result<u64> {
        let open = self.open().await.map_err(failed)?;
        let mut greatest = 0;
        for (collection, name) in [(&open.operations, "timestamp"), (&open.documents, "updatedAt")] {
            // Only numbers are timestamps, and values of other types would come first.
            let newest = collection.find_one(doc! { name: { "$gte": 0 } }).sort(doc! { name: -1 });
            let newest = in_time(newest.projection(doc! { name: 1 })).await.map_err(failed)?;
            let timestamp = newest.and_then(|row| integer(&row, name).ok());
            greatest = greatest.max(timestamp.and_then(|timestamp| u64::try_from(timestamp).ok()).unwrap_or(0));
        }
        Ok(greatest)
    }

    async fn finish(&mut self) -> Result<()> {
        let open = self.open().await.map_err(failed)?;
        if counts(&open.documents, &open.operations).await.map_err(failed)? == open.counts {
            return Ok(());
        }
        let why = "documents or operations were added or removed meanwhile; stop the Express server, and import again";
        Err(failed(Failure::Unsuitable(why.to_owned())))
    }
}

fn document(row: &RawDocument) -> ExpressDocument {
    let (collection, id) = (text(row, "collection"), text(row, "id"));
    let is_deleted = match optional(row, "deleted") {
        Ok(None) => Ok(false),
        Ok(Some(RawBsonRef::Boolean(is_deleted))) => Ok(is_deleted),
        Ok(Some(_)) => Err("deleted must be true or false".to_owned()),
        Err(problem) => Err(problem),
    };
    ExpressDocument {
        place: format!("documents {} {} (_id {})", shown(&collection), shown(&id), own_id(row)),
        data: if is_deleted == Ok(true) { Ok("{}".to_owned()) } else { value(row, "data") },
        rev: optional(row, "rev").and_then(|rev| rev.map_or(Ok(1), |rev| whole("rev", rev))),
        is_deleted,
        vector_clock: clock(row),
        updated_at: integer(row, "updatedAt"),
        collection,
        id,
    }
}

fn operation(row: &RawDocument) -> ExpressOperation {
    let id = if matches!(row.get("id"), Ok(None)) { text(row, "_id") } else { text(row, "id") };
    ExpressOperation {
        place: format!("operations {} (_id {})", shown(&id), own_id(row)),
        id,
        kind: text(row, "type"),
        collection: text(row, "collection"),
        doc_id: text(row, "docId"),
        timestamp: integer(row, "timestamp"),
        client_id: text(row, "clientId"),
        vector_clock: clock(row),
    }
}

/// A value that may be missing.
fn optional<'r>(row: &'r RawDocument, name: &str) -> Field<Option<RawBsonRef<'r>>> {
    let found = row.get(name).map_err(|_| format!("{name} is not valid BSON"))?;
    Ok(found.filter(|found| !matches!(found, RawBsonRef::Null | RawBsonRef::Undefined)))
}

fn required<'r>(row: &'r RawDocument, name: &str) -> Field<RawBsonRef<'r>> {
    optional(row, name)?.ok_or_else(|| format!("{name} is missing"))
}

fn text(row: &RawDocument, name: &str) -> Field<String> {
    match required(row, name)? {
        RawBsonRef::String(text) => Ok(text.to_owned()),
        _ => Err(format!("{name} must be a text")),
    }
}

fn integer(row: &RawDocument, name: &str) -> Field<i64> {
    whole(name, required(row, name)?)
}

fn whole(name: &str, value: RawBsonRef<'_>) -> Field<i64> {
    json::whole(value).ok_or_else(|| format!("{name} must be an integer"))
}

fn value(row: &RawDocument, name: &str) -> Field<String> {
    text_of(name, required(row, name)?)
}

fn clock(row: &RawDocument) -> Field<String> {
    optional(row, "vectorClock")?.map_or(Ok("{}".to_owned()), |clock| text_of("vectorClock", clock))
}

fn text_of(name: &str, value: RawBsonRef<'_>) -> Field<String> {
    let text = json::write(value).map_err(|problem| format!("{name} {problem}"))?;
    if text.len() > EXPRESS_VALUE_MAX_BYTES {
        return Err(format!("{name} has more than {EXPRESS_VALUE_MAX_BYTES} bytes"));
    }
    Ok(text)
}

fn shown(name: &Field<String>) -> String {
    name.as_ref().map_or_else(|_| "?".to_owned(), |name| format!("{name:?}"))
}

/// The `_id` of a row, for messages.
fn own_id(row: &RawDocument) -> String {
    let found = row.get("_id").ok().flatten();
    found.and_then(|id| json::write(id).ok()).unwrap_or_else(|| "?".to_owned())
}
