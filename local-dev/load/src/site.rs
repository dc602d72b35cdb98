//! A server on its own database, and the operations in it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;
use syncflow_server::config::Config;
use syncflow_server::core::access::labels::FormerLabels;
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::decide::{Batch, DocumentWrite};
use syncflow_server::core::document::Document;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId, TenantId};
use syncflow_server::core::numbers::{Rev, UnixMs};
use syncflow_server::core::operation::{Change, Operation};
use syncflow_server::runtime::open_store;
use syncflow_server::store::{Commit, LoadRequest, Store};

use crate::Result;
use crate::client::Client;
use crate::database::Database;
use crate::server::Server;
use crate::work::{AUTHOR, COLLECTION, Made, OTHER, Work, document_name};

/// The number of operations in one commit while a database is filled.
const FILLING_MAX_OPERATIONS: u64 = 1_000;

/// The tenant of requests without sign-in.
pub(crate) const TENANT: &str = "default";

/// A server on its own database.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) work: Work,
    token: Option<String>,
}

/// How a server tells its clients apart, and the token of all clients.
#[derive(Debug, Default)]
pub(crate) struct Guard {
    pub(crate) variables: Vec<(&'static str, String)>,
    pub(crate) token: Option<String>,
}

impl Site {
    /// Fills a database with `operations` operations, and starts a server on it.
    pub(crate) async fn start(
        database: &Database,
        work: Work,
        operations: u64,
        progress: &ProgressBar,
    ) -> Result<Self> {
        Self::start_guarded(database, work, operations, Guard::default(), progress).await
    }

    /// The same with more settings of the server.
    pub(crate) async fn start_with(
        database: &Database,
        work: Work,
        operations: u64,
        more: &[(&'static str, String)],
        progress: &ProgressBar,
    ) -> Result<Self> {
        let guard = Guard { variables: more.to_vec(), ..Guard::default() };
        Self::start_guarded(database, work, operations, guard, progress).await
    }

    /// The same with a guard.
    pub(crate) async fn start_guarded(
        database: &Database,
        work: Work,
        operations: u64,
        Guard { variables, token }: Guard,
        progress: &ProgressBar,
    ) -> Result<Self> {
        fill(database, &work, operations, progress).await?;
        let variables = [database.variables(), variables].concat();
        Ok(Self { server: Server::start(&variables)?, work, token })
    }

    pub(crate) async fn client(&self) -> Result<Client> {
        Client::connect(&self.server.host, self.token.as_deref()).await
    }

    pub(crate) async fn clients(&self, connections: u64) -> Result<Vec<Client>> {
        let mut clients = Vec::new();
        for _ in 0..connections {
            clients.push(self.client().await?);
        }
        Ok(clients)
    }
}

/// Writes operations with the store's own commit: new versions of all documents, one after the other.
pub(crate) async fn fill(database: &Database, work: &Work, operations: u64, progress: &ProgressBar) -> Result<()> {
    let store = open(database).await?;
    let tenant = TenantId::literal(TENANT);
    let mut revisions = revisions(&*store, &tenant, work.documents).await?;
    progress.set_length(operations);
    progress.set_position(0);
    let mut filled = 0;
    while filled < operations {
        let first = filled % work.documents;
        let count = FILLING_MAX_OPERATIONS.min(operations - filled).min(work.documents - first);
        let mut batch = Batch { received_at_ms: now_ms(), ..Batch::default() };
        for index in first..first + count {
            let seen_rev = &mut revisions[usize::try_from(index)?];
            add(&mut batch, &work.version_of(index), *seen_rev);
            *seen_rev = Some(seen_rev.unwrap_or(Rev::NONE).next());
        }
        batch.documents.sort_unstable_by(|left, right| left.key.cmp(&right.key));
        if store.commit(&tenant, batch).await? == Commit::Contended {
            return Err("another process writes to the database that is being filled".into());
        }
        filled += count;
        progress.set_position(filled);
    }
    database.settle().await
}

async fn open(database: &Database) -> Result<Arc<dyn Store>> {
    let variables = database.variables();
    let look_up = |name: &str| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| value.clone());
    Ok(open_store(&Config::read(look_up)?.store).await?)
}

/// The revision of each document that exists.
async fn revisions(store: &dyn Store, tenant: &TenantId, documents: u64) -> Result<Vec<Option<Rev>>> {
    let keys: Vec<DocumentKey> = (0..documents).map(|index| key(&document_name(index))).collect();
    let snapshot =
        store.load(tenant, LoadRequest { ids: Vec::new(), keys: keys.clone(), ..LoadRequest::default() }).await?;
    Ok(keys.iter().map(|key| snapshot.documents.get(key).map(|document| document.rev)).collect())
}

fn key(document: &str) -> DocumentKey {
    DocumentKey { collection: Collection::literal(COLLECTION), id: DocumentId::literal(document) }
}

fn add(batch: &mut Batch, made: &Made, seen_rev: Option<Rev>) {
    let (id, client_id) = (OperationId::literal(&made.id), ClientId::literal(AUTHOR));
    let clock: VectorClock = [(client_id.clone(), made.counter), (ClientId::literal(OTHER), 3)].into_iter().collect();
    let data = Object::literal(&made.data);
    let timestamp = UnixMs::new(made.timestamp());
    let document = Document {
        rev: seen_rev.unwrap_or(Rev::NONE).next(),
        data: Some(data.clone()),
        clock: clock.clone(),
        operation_id: id.clone(),
        client_id: client_id.clone(),
        timestamp,
        former_labels: FormerLabels::default(),
    };
    let key = key(&made.document);
    let operation_index = batch.operations.len();
    batch.documents.push(DocumentWrite {
        key: key.clone(),
        seen_rev,
        document,
        operation_index,
        changes_labels: false,
        stamps: None,
    });
    batch.live_documents_delta += i64::from(seen_rev.is_none());
    batch.operations.push(Operation { id, change: Change::Update(data), key, timestamp, client_id, clock });
}

fn now_ms() -> UnixMs {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs::new(u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX))
}
