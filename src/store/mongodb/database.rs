//! A database and its collections. They are used when they are known to be ours and to have their indexes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::options::{CommitQuorum, ConnectionString, IndexOptions, ReadConcern, WriteConcern};
use mongodb::{Client, Collection, IndexModel};
use tokio::sync::OnceCell;
use tokio::time::timeout;

use super::failure::Failure;
use super::options::{MongoOptions, MongoOptionsError};
use super::write::tails::Tails;
use super::write::writers::Announcements;
use crate::limits::store::QUERY_FILTERED_MAX_REQUESTS;
use crate::limits::store::mongodb::{INDEX_MAX_ATTEMPTS, STORE_WRITER_FORGOTTEN_AFTER_SECONDS};

/// The version of the stored format. A database with another version is refused.
const VERSION: i32 = 1;

/// The number of the current set of indexes. If a database has an older set, the missing indexes are created.
const INDEX_VERSION: i32 = 2;

/// The wire protocol of MongoDB 6.0. Older servers cannot read a snapshot outside a transaction.
const OLDEST_WIRE_VERSION: i32 = 17;

/// The wire protocol of MongoDB 8.0, the first with `bulkWrite`.
const BULK_WRITE_WIRE_VERSION: i32 = 25;

/// The message about a server without transactions.
const STANDALONE: &str = "is a standalone server, which has no transactions; make it a replica set of one node: start it \
                          with --replSet rs0, then run once: mongosh --eval 'rs.initiate()'";

/// The code of the server for an index that does not exist.
const INDEX_NOT_FOUND: i32 = 27;

/// The pause between two such attempts.
const INDEX_PAUSE: Duration = Duration::from_millis(200);

/// How much longer than the server's own time limit the store waits for the server to report it.
const GRACE: Duration = Duration::from_millis(500);

/// A database and its collections.
#[derive(Debug)]
pub(super) struct Database {
    options: MongoOptions,
    connection: ConnectionString,
    collections: OnceCell<Collections>,
    is_ready: AtomicBool,
    /// Whether the last log that was read by time had been compacted.
    pub(super) knows_compaction: AtomicBool,
    pub(super) announcements: Announcements,
    pub(super) tails: Tails,
    /// The turns of queries that look at many documents.
    pub(super) filters: async_lock::Semaphore,
}

/// The collections, each with the read and write concerns that its content needs.
#[derive(Debug)]
pub(super) struct Collections {
    pub(super) client: Client,
    pub(super) database: mongodb::Database,
    /// The log. Of entries that compaction removed, it keeps the ids and fingerprints.
    pub(super) operations: Collection<RawDocumentBuf>,
    pub(super) documents: Collection<RawDocumentBuf>,
    /// One document for each tenant: the newest place of its log, the horizon and the counters.
    pub(super) heads: Collection<RawDocumentBuf>,
    pub(super) clients: Collection<RawDocumentBuf>,
    /// The sessions that write, so that other processes can end those of dead writers.
    pub(super) writers: Collection<RawDocumentBuf>,
    /// One document that marks the collections as ours.
    schema: Collection<RawDocumentBuf>,
    /// The server's time limit for one command.
    pub(super) time_limit: Duration,
    /// Whether the server accepts writes to several collections in one command.
    pub(super) has_bulk_writes: AtomicBool,
}

/// The index that makes an operation take effect at most once.
fn unique_ids() -> Bson {
    doc! { "tenant": 1, "id": 1 }
}

/// Written data survive the loss of any minority of the nodes.
pub(super) fn durable() -> WriteConcern {
    let mut concern = WriteConcern::majority();
    concern.journal = Some(true);
    concern
}

impl Database {
    pub(super) fn new(options: &MongoOptions) -> Result<Self, MongoOptionsError> {
        Ok(Self::connected_by(options.check()?, options.clone()))
    }

    /// The same database without its connections.
    pub(super) fn anew(&self) -> Self {
        Self::connected_by(self.connection.clone(), self.options.clone())
    }

    fn connected_by(connection: ConnectionString, options: MongoOptions) -> Self {
        Self {
            options,
            connection,
            collections: OnceCell::new(),
            is_ready: AtomicBool::new(false),
            knows_compaction: AtomicBool::new(false),
            announcements: Announcements::default(),
            tails: Tails::default(),
            filters: async_lock::Semaphore::new(QUERY_FILTERED_MAX_REQUESTS),
        }
    }

    /// The URI of the connection.
    pub(super) fn uri(&self) -> &str {
        &self.options.uri
    }

    /// The collections, when they are known to be ours and to have their indexes.
    ///
    /// Requests that come meanwhile check this themselves. It takes two round trips, and no request depends on another
    /// one.
    pub(super) async fn ready(&self) -> Result<&Collections, Failure> {
        let collections = self.collections().await?;
        if !self.is_ready.load(Ordering::Acquire) {
            collections.refuse_unsuitable_server().await?;
            self.prepare(collections).await?;
            self.is_ready.store(true, Ordering::Release);
        }
        Ok(collections)
    }

    /// Whether the database still has the mark that it is ours. A dropped database has lost it together with its
    /// indexes. The next write would create the collections again, but without indexes.
    pub(super) async fn is_still_ours(&self, collections: &Collections) -> Result<bool, Failure> {
        Ok(collections.schema().await?.is_some())
    }

    /// Whether the log still has the index that prevents an operation from being inserted twice. If not, the mark is
    /// changed accordingly, and the indexes are created again.
    pub(super) async fn still_has_unique_ids(&self, collections: &Collections) -> Result<bool, Failure> {
        let has_index = match collections.in_time(collections.operations.list_indexes()).await {
            Ok(mut indexes) => {
                let mut has_index = false;
                while collections.in_time(indexes.advance()).await? {
                    let index = indexes.deserialize_current()?;
                    has_index |= index.keys == unique_ids() && index.options.is_some_and(|o| o.unique == Some(true));
                }
                has_index
            }
            Err(failure) if failure.is_missing_collection() => false,
            Err(failure) => return Err(failure),
        };
        if !has_index {
            let incomplete = doc! { "$set": { "indexes": false } };
            collections.in_time(collections.schema.update_one(doc! { "_id": "schema" }, incomplete)).await?;
        }
        Ok(has_index)
    }

    /// Called when the collections were dropped. All knowledge about them is forgotten.
    pub(super) fn forget(&self) {
        tracing::warn!(mongodb.database = self.options.database, "collections were dropped; they are made again");
        self.is_ready.store(false, Ordering::Release);
        self.tails.clear();
        self.announcements.clear();
    }

    /// Refuses a deployment that can never hold a store. A server that cannot be reached is not refused.
    pub(super) async fn refuse_unsuitable_server(&self) -> Result<(), Failure> {
        self.collections().await?.refuse_unsuitable_server().await
    }

    async fn collections(&self) -> Result<&Collections, Failure> {
        self.collections.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Collections, Failure> {
        let client = Client::with_options(self.options.resolve(&self.connection).await?)?;
        let database = client.database(&self.options.database);
        let collection = |name: &str| {
            let mut options = mongodb::options::CollectionOptions::default();
            options.read_concern = Some(ReadConcern::majority());
            options.write_concern = Some(durable());
            database.collection_with_options(name, options)
        };
        Ok(Collections {
            operations: collection(&self.options.operations_collection),
            documents: collection(&self.options.documents_collection),
            heads: collection("syncflow_heads"),
            clients: collection("syncflow_clients"),
            writers: collection("syncflow_writers"),
            schema: collection("syncflow_schema"),
            client,
            database,
            time_limit: self.options.command_timeout,
            has_bulk_writes: AtomicBool::new(false),
        })
    }

    /// Creates missing collections and indexes. If none is missing, this only reads.
    ///
    /// Any number of processes may do this at the same time, and also after another process died halfway.
    async fn prepare(&self, collections: &Collections) -> Result<(), Failure> {
        let schema = collections.schema().await?;
        let is_complete = match &schema {
            Some(schema) => self.recognise(schema)?,
            None => {
                self.claim(collections).await?;
                false
            }
        };
        if is_complete {
            return Ok(());
        }
        collections.create_indexes().await?;
        if !collections.drop_former_indexes().await {
            // The next process that opens the database tries again.
            return Ok(());
        }
        let complete = doc! { "$set": { "indexes": true, "indexVersion": INDEX_VERSION } };
        collections.in_time(collections.schema.update_one(doc! { "_id": "schema" }, complete)).await?;
        tracing::info!(mongodb.database = self.options.database, "collections and indexes are there");
        Ok(())
    }

    /// Whether a database that is ours has all its indexes.
    fn recognise(&self, schema: &Bson) -> Result<bool, Failure> {
        let unsuitable = |why: String| Err(Failure::Unsuitable(format!("database {}: {why}", self.options.database)));
        if !schema.get_i32("version").is_ok_and(|version| version == VERSION) {
            return unsuitable("what is in it was written by another version of this program".to_owned());
        }
        let name = |field| schema.get_str(field).unwrap_or_default();
        let (operations, documents) = (name("operations"), name("documents"));
        if (operations, documents) != (&self.options.operations_collection, &self.options.documents_collection) {
            return unsuitable(format!("its collections are {operations} and {documents}, not the ones that are set"));
        }
        let has_current = schema.get_i32("indexVersion").is_ok_and(|version| version >= INDEX_VERSION);
        Ok(has_current && schema.get_bool("indexes").unwrap_or(false))
    }

    /// Marks the database as ours, unless the collections contain data of others.
    async fn claim(&self, collections: &Collections) -> Result<(), Failure> {
        let names = [&self.options.operations_collection, &self.options.documents_collection];
        for (collection, name) in [&collections.operations, &collections.documents].into_iter().zip(names) {
            let is_empty = collections.in_time(collection.find_one(doc! {})).await?.is_none();
            // Another process may have marked the database and written to it meanwhile.
            if !is_empty && collections.schema().await?.is_none() {
                return Err(Failure::Unsuitable(format!(
                    "database {}: its collection {name} is of another program; choose another database or collection",
                    self.options.database,
                )));
            }
        }
        let ours = doc! {
            "_id": "schema",
            "version": VERSION,
            "operations": &self.options.operations_collection,
            "documents": &self.options.documents_collection,
            "indexes": false,
        };
        let claim = RawDocumentBuf::try_from(&ours).map_err(mongodb::error::Error::from)?;
        match collections.in_time(collections.schema.insert_one(claim)).await {
            Err(failure) if failure.is_duplicate_key() => {
                let theirs = collections.schema().await?.ok_or(Failure::Answer("no schema"))?;
                self.recognise(&theirs).map(drop)
            }
            inserted => inserted.map(drop),
        }
    }
}

impl Collections {
    /// Waits for an answer for the server's time limit and a little longer.
    pub(super) async fn in_time<T>(
        &self,
        answer: impl IntoFuture<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Failure> {
        match timeout(self.time_limit.saturating_add(GRACE), answer.into_future()).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(Failure::Late),
        }
    }

    async fn refuse_unsuitable_server(&self) -> Result<(), Failure> {
        let hello = self.in_time(self.client.database("admin").run_command(doc! { "hello": 1 })).await?;
        let has_transactions = hello.contains_key("setName") || hello.get_str("msg").is_ok_and(|msg| msg == "isdbgrid");
        if !has_transactions {
            return Err(Failure::Unsuitable(STANDALONE.to_owned()));
        }
        let wire_version = hello.get_i32("maxWireVersion").unwrap_or(0);
        if wire_version < OLDEST_WIRE_VERSION {
            return Err(Failure::Unsuitable("the server is older than MongoDB 6.0".to_owned()));
        }
        self.has_bulk_writes.store(wire_version >= BULK_WRITE_WIRE_VERSION, Ordering::Relaxed);
        Ok(())
    }

    async fn schema(&self) -> Result<Option<Bson>, Failure> {
        let found = self.in_time(self.schema.find_one(doc! { "_id": "schema" })).await?;
        found.map(|found| Bson::try_from(found).map_err(|_| Failure::Answer("damaged BSON"))).transpose()
    }

    /// Checks that the server answers.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.in_time(self.heads.find_one(doc! { "_id": "" })).await.map(drop)
    }

    /// Creates the indexes. Each begins with the tenant, so that the collections can be sharded by it.
    async fn create_indexes(&self) -> Result<(), Failure> {
        let plain = |keys: Bson| IndexModel::builder().keys(keys).build();
        let with = |keys: Bson, options: IndexOptions| IndexModel::builder().keys(keys).options(options).build();
        let unique = IndexOptions::builder().unique(true).build();
        // A compacted entry is never read by its time.
        let with_time = doc! { "timestamp": { "$exists": true } };
        let by_time = IndexOptions::builder().partial_filter_expression(with_time).build();
        let forgotten_after = Duration::from_secs(STORE_WRITER_FORGOTTEN_AFTER_SECONDS);
        let forgotten = IndexOptions::builder().expire_after(forgotten_after).build();
        let wanted = [
            (
                &self.operations,
                vec![with(unique_ids(), unique), with(doc! { "tenant": 1, "timestamp": 1, "seq": 1 }, by_time)],
            ),
            (
                &self.documents,
                vec![
                    plain(doc! { "tenant": 1, "deleted": 1, "seq": 1 }),
                    plain(doc! { "tenant": 1, "collection": 1, "deleted": 1, "seq": -1 }),
                    plain(doc! { "tenant": 1, "timestamp": 1, "seq": 1 }),
                ],
            ),
            (&self.heads, vec![plain(doc! { "tenant": 1 })]),
            (
                &self.clients,
                vec![
                    plain(doc! { "tenant": 1, "pulledSeq": 1, "seenAtMs": 1 }),
                    plain(doc! { "tenant": 1, "seenAtMs": 1 }),
                ],
            ),
            (&self.writers, vec![plain(doc! { "tenant": 1 }), with(doc! { "seenAt": 1 }, forgotten)]),
        ];
        for (collection, indexes) in wanted {
            self.create_indexes_of(collection, &indexes).await?;
        }
        Ok(())
    }

    /// Drops an index that an earlier version has made and nothing uses. Returns whether it is gone; as long as it is
    /// not, it only costs writes a little.
    async fn drop_former_indexes(&self) -> bool {
        match self.in_time(self.documents.drop_index("tenant_1_seq_1_deleted_1")).await {
            Ok(()) => true,
            Err(failure) if failure.code() == Some(INDEX_NOT_FOUND) => true,
            Err(failure) => {
                tracing::warn!(error = %failure, "an index of an earlier version is not dropped");
                false
            }
        }
    }

    /// Creates indexes that may exist already, or that other processes may be creating.
    async fn create_indexes_of(
        &self,
        collection: &Collection<RawDocumentBuf>,
        indexes: &[IndexModel],
    ) -> Result<(), Failure> {
        let mut attempt = 1;
        loop {
            // A node that is down must not hold up the others.
            let create = collection.create_indexes(indexes.to_vec()).commit_quorum(CommitQuorum::Majority);
            match self.in_time(create).await {
                Ok(_) => return Ok(()),
                Err(failure) if attempt >= INDEX_MAX_ATTEMPTS || failure.is_no_server() => return Err(failure),
                Err(failure) => tracing::debug!(error = %failure, "indexes are asked for again"),
            }
            attempt += 1;
            tokio::time::sleep(INDEX_PAUSE).await;
        }
    }
}
