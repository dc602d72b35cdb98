//! The floor of MongoDB: a transaction for each batch, with one command for each collection.

use std::cell::Cell;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use mongodb::bson::{Document, RawDocumentBuf, doc};
use mongodb::options::WriteConcern;
use mongodb::{ClientSession, Collection, Database};
use tokio::sync::Mutex;

use super::{Floor, HeadRow};
use crate::Result;
use crate::database::connect_mongodb;
use crate::load::{Load, Watch, drive};
use crate::site::TENANT;
use crate::work::{AUTHOR, COLLECTION, Made};

/// A filled database, and the number of its last operation.
#[derive(Debug)]
pub(crate) struct MongoFloor {
    uri: String,
    name: String,
    last_seq: Cell<u64>,
    /// In MongoDB, writers of one document do not wait for each other, but all except one fail. So they wait here.
    head: Mutex<()>,
}

struct Connection {
    database: Database,
    session: ClientSession,
    batches: std::vec::IntoIter<Vec<Made>>,
}

struct Reader {
    collection: Collection<RawDocumentBuf>,
    place: i64,
}

impl MongoFloor {
    pub(crate) fn new(uri: String, name: String, rows: u64) -> Self {
        Self { uri, name, last_seq: Cell::new(rows), head: Mutex::default() }
    }

    /// The database, with as many connections as there are clients.
    async fn database(&self, clients: usize) -> Result<Database> {
        let database = connect_mongodb(&self.uri, clients).await?.database(&self.name);
        try_join_all((0..clients).map(|_| database.run_command(doc! { "ping": 1 }).into_future())).await?;
        Ok(database)
    }

    async fn readers(&self, collection: &str, clients: u64) -> Result<Vec<Reader>> {
        let collection = self.database(usize::try_from(clients)?).await?.collection(collection);
        Ok((0..clients).map(|_| Reader { collection: collection.clone(), place: 0 }).collect())
    }
}

#[async_trait(?Send)]
impl Floor for MongoFloor {
    async fn push(&self, batches_of_clients: Vec<Vec<Vec<Made>>>, head: HeadRow, watch: Watch) -> Result<Load> {
        let database = self.database(batches_of_clients.len()).await?;
        let mut connections = Vec::new();
        for batches in batches_of_clients {
            let session = database.client().start_session().await?;
            connections.push(Connection { database: database.clone(), session, batches: batches.into_iter() });
        }
        drive(&mut connections, watch, async |connection| {
            let Some(batch) = connection.batches.next() else { return Ok(None) };
            let _turn = if head == HeadRow::Written { Some(self.head.lock().await) } else { None };
            let first = self.last_seq.get() + 1;
            self.last_seq.set(self.last_seq.get() + batch.len() as u64);
            write(connection, &batch, first, head).await?;
            Ok(Some(batch.len() as u64))
        })
        .await
    }

    async fn pull(&self, clients: u64, page_rows: u64, watch: Watch) -> Result<Load> {
        let limit = i64::try_from(page_rows)?;
        let mut readers = self.readers("operations", clients).await?;
        drive(&mut readers, watch, async |Reader { collection, place }| {
            let behind =
                doc! { "_id": { "$gt": entry_key(*place), "$lt": format!("{TENANT}\u{1}") }, "tenant": TENANT };
            let find = collection.find(behind).sort(doc! { "_id": 1 }).limit(limit);
            let mut rows = find.batch_size(u32::try_from(page_rows)? + 1).await?;
            let (mut count, mut bytes) = (0, 0);
            while rows.advance().await? {
                let row = rows.current();
                for field in ["id", "kind", "collection", "docId", "data", "clientId", "clock"] {
                    bytes += row.get_str(field)?.len();
                }
                bytes += usize::try_from(row.get_i64("timestamp")? % 2)?;
                *place = row.get_i64("seq")?;
                count += 1;
            }
            std::hint::black_box(bytes);
            if count < page_rows {
                *place = 0;
            }
            Ok(Some(count))
        })
        .await
    }

    async fn newest(&self, clients: u64, rows: u64, watch: Watch) -> Result<Load> {
        let limit = i64::try_from(rows)?;
        let mut readers = self.readers("documents", clients).await?;
        drive(&mut readers, watch, async |Reader { collection, .. }| {
            let those = doc! { "tenant": TENANT, "collection": COLLECTION, "deleted": false };
            let find = collection.find(those).sort(doc! { "seq": -1 }).limit(limit);
            let mut rows = find.batch_size(u32::try_from(limit)? + 1).await?;
            let (mut count, mut bytes) = (0, 0);
            while rows.advance().await? {
                let row = rows.current();
                bytes += row.get_str("docId")?.len() + row.get_str("data")?.len();
                bytes += usize::try_from(row.get_i64("rev")? % 2)?;
                count += 1;
            }
            std::hint::black_box(bytes);
            Ok(Some(count))
        })
        .await
    }
}

fn entry_key(seq: i64) -> String {
    format!("{TENANT}\0{seq:016x}")
}

async fn write(connection: &mut Connection, batch: &[Made], first_seq: u64, head: HeadRow) -> Result<()> {
    let Connection { database, session, .. } = connection;
    let mut durable = WriteConcern::majority();
    durable.journal = Some(true);
    session.start_transaction().write_concern(durable).await?;
    if head == HeadRow::Written {
        let more = doc! { "$inc": { "seq": i64::try_from(batch.len())? } };
        let heads = database.collection::<Document>("syncflow_heads");
        heads.update_one(doc! { "_id": TENANT, "tenant": TENANT }, more).session(&mut *session).await?;
    }
    let (mut entries, mut updates) = (Vec::new(), Vec::new());
    for (made, seq) in batch.iter().zip(i64::try_from(first_seq)?..) {
        let timestamp = i64::try_from(made.timestamp())?;
        let mut entry = doc! { "_id": entry_key(seq), "id": &made.id, "kind": "update", "receivedAtMs": timestamp };
        let mut document = doc! { "deleted": false, "operationId": &made.id };
        for row in [&mut entry, &mut document] {
            row.extend(doc! {
                "tenant": TENANT, "seq": seq, "fingerprint": seq << 24, "collection": COLLECTION, "docId": &made.document,
                "timestamp": timestamp, "clientId": AUTHOR, "clock": made.clock(), "data": &made.data,
            });
        }
        entries.push(RawDocumentBuf::try_from(&entry)?);
        updates.push(doc! {
            "q": { "_id": format!("{TENANT}\0{COLLECTION}\0{}", made.document), "tenant": TENANT },
            "u": { "$set": document, "$inc": { "rev": 1_i64 } },
            "upsert": true,
        });
    }
    let operations = database.collection::<RawDocumentBuf>("operations");
    operations.insert_many(entries).session(&mut *session).await?;
    let update = doc! { "update": "documents", "updates": updates };
    let answer = database.run_command(update).session(&mut *session).await?;
    if answer.get_i32("n")? != i32::try_from(batch.len())? {
        return Err(format!("the floor's documents were not all written: {answer}").into());
    }
    session.commit_transaction().await?;
    Ok(())
}
