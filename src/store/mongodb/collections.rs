//! The collections of a database, and what is asked of the server as a whole.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mongodb::bson::{Document as Bson, RawDocumentBuf, doc};
use mongodb::options::{CommitQuorum, IndexOptions};
use mongodb::{Client, Collection, IndexModel};
use tokio::time::timeout;

use super::failure::Failure;
use crate::limits::store::mongodb::{INDEX_MAX_ATTEMPTS, STORE_WRITER_FORGOTTEN_AFTER_SECONDS};

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
    /// The owners of client ids. Compaction leaves them.
    pub(super) owners: Collection<RawDocumentBuf>,
    /// The sessions that write, so that other processes can end those of dead writers.
    pub(super) writers: Collection<RawDocumentBuf>,
    /// One document that marks the collections as ours.
    pub(super) schema: Collection<RawDocumentBuf>,
    /// The server's time limit for one command.
    pub(super) time_limit: Duration,
    /// Whether the server accepts writes to several collections in one command.
    pub(super) has_bulk_writes: AtomicBool,
}

/// The index that makes an operation take effect at most once.
pub(super) fn unique_ids() -> Bson {
    doc! { "tenant": 1, "id": 1 }
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

    pub(super) async fn refuse_unsuitable_server(&self) -> Result<(), Failure> {
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

    pub(super) async fn schema(&self) -> Result<Option<Bson>, Failure> {
        let found = self.in_time(self.schema.find_one(doc! { "_id": "schema" })).await?;
        found.map(|found| Bson::try_from(found).map_err(|_| Failure::Answer("damaged BSON"))).transpose()
    }

    /// Checks that the server answers.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.in_time(self.heads.find_one(doc! { "_id": "" })).await.map(drop)
    }

    /// Creates the indexes. Each begins with the tenant, so that the collections can be sharded by it.
    pub(super) async fn create_indexes(&self) -> Result<(), Failure> {
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
            (&self.owners, vec![plain(doc! { "tenant": 1 })]),
            (&self.writers, vec![plain(doc! { "tenant": 1 }), with(doc! { "seenAt": 1 }, forgotten)]),
        ];
        for (collection, indexes) in wanted {
            self.create_indexes_of(collection, &indexes).await?;
        }
        Ok(())
    }

    /// Drops an index that an earlier version has made and nothing uses. Returns whether it is gone; as long as it is
    /// not, it only costs writes a little.
    pub(super) async fn drop_former_indexes(&self) -> bool {
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
