//! A database and its collections. They are used when they are known to be ours and to have their indexes.

mod pool;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::try_join;
use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::options::{ConnectionString, ReadConcern, WriteConcern};
use mongodb::{Client, Collection};
use tokio::sync::OnceCell;

use self::pool::PoolCounters;
use super::collections::{Collections, unique_ids};
use super::failure::Failure;
use super::options::{MongoOptions, MongoOptionsError};
use super::row::entries_after;
use super::write::tails::Tails;
use super::write::writers::Announcements;
use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::limits::store::QUERY_FILTERED_MAX_REQUESTS;
use crate::store::PoolState;
use crate::store::turns::FairTurns;

/// The version of the stored format. A database with another version is refused.
const VERSION: i32 = 1;

/// The number of the current set of indexes. If a database has an older set, the missing indexes are created.
const INDEX_VERSION: i32 = 3;

/// The collection of the heads.
const HEADS: &str = "syncflow_heads";

/// A database and its collections.
#[derive(Debug)]
pub(super) struct Database {
    options: MongoOptions,
    connection: ConnectionString,
    collections: OnceCell<Collections>,
    /// Has the connection that listens to changes.
    listening: OnceCell<Client>,
    is_ready: AtomicBool,
    /// Whether the last log that was read by time had been compacted.
    pub(super) knows_compaction: AtomicBool,
    pub(super) announcements: Announcements,
    pub(super) tails: Tails,
    /// The turns of queries that look at many documents.
    pub(super) filters: FairTurns,
    pool: Arc<PoolCounters>,
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
    pub(super) fn reconnected(&self) -> Self {
        Self::connected_by(self.connection.clone(), self.options.clone())
    }

    fn connected_by(connection: ConnectionString, options: MongoOptions) -> Self {
        Self {
            options,
            connection,
            collections: OnceCell::new(),
            listening: OnceCell::new(),
            is_ready: AtomicBool::new(false),
            knows_compaction: AtomicBool::new(false),
            announcements: Announcements::default(),
            tails: Tails::default(),
            filters: FairTurns::new(QUERY_FILTERED_MAX_REQUESTS),
            pool: Arc::default(),
        }
    }

    /// The use of the connections.
    pub(super) fn pool(&self) -> PoolState {
        // The driver has one more, for the writers to say that they are alive.
        self.pool.state(self.options.pool_size as usize + 1)
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
    ///
    /// This is asked for a tenant without a head. If such a tenant has a log, the head was dropped.
    pub(super) async fn is_still_ours(&self, collections: &Collections, tenant: &TenantId) -> Result<bool, Failure> {
        // Ids that the tenant has learned are not a log.
        let entry = collections.operations.find_one(entries_after(tenant, Seq::START));
        let (schema, entry) = try_join(collections.schema(), collections.in_time(entry)).await?;
        if schema.is_some() && entry.is_some() {
            return Err(self.was_dropped(collections.heads.name()));
        }
        Ok(schema.is_some())
    }

    fn was_dropped(&self, collection: &str) -> Failure {
        Failure::Unsuitable(format!(
            "database {}: its collection {collection} was dropped, but not its log; restore a backup of the database, or \
             drop all of it to begin again",
            self.options.database,
        ))
    }

    /// Whether the log still has the index that prevents an operation from being inserted twice. If not, the mark is
    /// changed accordingly, and the indexes are created again.
    pub(super) async fn still_has_unique_ids(&self, collections: &Collections) -> Result<bool, Failure> {
        let documents = collections.in_time(collections.documents.list_indexes()).await;
        if documents.is_err_and(|failure| failure.is_missing_collection()) {
            return Err(self.was_dropped(collections.documents.name()));
        }
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

    /// The heads, over a connection for this use alone. It waits most of the time, and must not keep one of the pool.
    pub(super) async fn heads_over_own_connection(&self) -> Result<Collection<RawDocumentBuf>, Failure> {
        let connect = async || {
            let mut options = self.options.resolve(&self.connection).await?;
            options.max_pool_size = Some(1);
            options.min_pool_size = None;
            Ok::<_, Failure>(Client::with_options(options)?)
        };
        let client = self.listening.get_or_try_init(connect).await?;
        Ok(client.database(&self.options.database).collection(HEADS))
    }

    async fn collections(&self) -> Result<&Collections, Failure> {
        self.collections.get_or_try_init(|| self.open()).await
    }

    async fn open(&self) -> Result<Collections, Failure> {
        let mut options = self.options.resolve(&self.connection).await?;
        options.cmap_event_handler = Some(self.pool.handler());
        let client = Client::with_options(options)?;
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
            heads: collection(HEADS),
            clients: collection("syncflow_clients"),
            owners: collection("syncflow_owners"),
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
                    "database {}: its collection {name} is of another program; choose another database or collection \
                     (import-express reads those of an Express server)",
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
