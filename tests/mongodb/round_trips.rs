//! How often the store speaks to the server, and what for.

use std::sync::{Arc, Mutex};

use syncflow_server::core::cursor::Origin;
use syncflow_server::core::names::ClientId;
use syncflow_server::store::conformance::World;
use syncflow_server::store::conformance::draft::{Draft, insert, update};
use syncflow_server::store::mongodb::MongoOptions;
use syncflow_server::store::{Changes, ChangesRequest, Seen};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

use crate::support::mongo::Database;

/// Bytes of a message's header, of the flags behind it, and of what stands before the first key of its first document:
/// the kind of the section, the document's length, and the type of the value.
const BEFORE_COMMAND_BYTES: usize = 16 + 4 + 1 + 4 + 1;

type Commands = Arc<Mutex<Vec<(String, String)>>>;

/// A proxy before a server that notes the name of every command; its connections end with it.
struct Proxy {
    uri: String,
    /// The name of each and what it is about: a collection, where it is about one.
    commands: Commands,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before a server of one node.
    async fn before(uri: &str) -> Self {
        let rest = uri.strip_prefix("mongodb://").expect("a plain URI");
        let server = rest.split(['/', '?']).next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let commands = Arc::default();
        let task = tokio::spawn(serve(listener, server, Arc::clone(&commands)));
        // Otherwise the driver would go where the members of the replica set say that they are.
        Self { uri: format!("mongodb://{address}/?directConnection=true"), commands, task }
    }

    /// The commands since the last time this was asked, without those by which the driver looks after its connections and
    /// those by which a writer shows that it lives, which depend on time.
    fn take_commands(&self) -> Vec<String> {
        let commands = std::mem::take(&mut *self.commands.lock().expect("nobody panics with it"));
        let is_counted = |(name, target): &(String, String)| {
            let is_of_driver = ["hello", "isMaster", "ismaster", "endSessions"].contains(&name.as_str());
            !is_of_driver && target != "syncflow_writers"
        };
        commands.into_iter().filter(is_counted).map(|(name, _)| name).collect()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: String, commands: Commands) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (mut from_server, to_server) = TcpStream::connect(&server).await.expect("the server listens").into_split();
        let (from_client, mut to_client) = client.into_split();
        connections.spawn(note(from_client, to_server, Arc::clone(&commands)));
        connections.spawn(async move { drop(copy(&mut from_server, &mut to_client).await) });
    }
}

/// Carries messages to the server until one side has enough.
async fn note(mut from_client: impl AsyncRead + Unpin, mut to_server: impl AsyncWrite + Unpin, commands: Commands) {
    while let Ok(length) = from_client.read_u32_le().await {
        let mut message = length.to_le_bytes().to_vec();
        message.resize(length as usize, 0);
        if from_client.read_exact(&mut message[4..]).await.is_err() || to_server.write_all(&message).await.is_err() {
            return;
        }
        let body = message.get(BEFORE_COMMAND_BYTES..).unwrap_or_default();
        let name = body.split(|byte| *byte == 0).next().unwrap_or_default();
        // A text stands behind its length.
        let target = body.get(name.len() + 1 + 4..).unwrap_or_default().split(|byte| *byte == 0).next();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        commands.lock().expect("nobody panics with it").push((text(name), text(target.unwrap_or_default())));
    }
}

/// A world whose commands are noted, which has pushed something before.
async fn watched(database: &Database) -> (World, Proxy) {
    let options = database.options();
    let proxy = Proxy::before(&options.uri).await;
    let world = super::world(&MongoOptions { uri: proxy.uri.clone(), ..options });
    world.apply([insert("first", "first")]).await;
    proxy.take_commands();
    (world, proxy)
}

fn inserts(from: u64, to: u64) -> Vec<Draft> {
    (from..to).map(|number| insert(&format!("op-{number}"), &format!("doc-{number}")).at(number + 1)).collect()
}

#[tokio::test]
async fn a_push_costs_two_commands_to_load_and_a_transaction_of_four_whatever_its_size() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    for (from, to) in [(0, 1), (1, 101), (101, 601)] {
        world.apply(inserts(from, to)).await;
        let expected = ["find", "find", "findAndModify", "insert", "insert", "commitTransaction"];
        assert_eq!(proxy.take_commands(), expected, "{} operations", to - from);
    }
    world.apply([update("later", "doc-0").clock(&[("a", 2)])]).await;
    assert_eq!(proxy.take_commands(), ["find", "find", "findAndModify", "insert", "update", "commitTransaction"]);
    world.push(inserts(0, 3)).await;
    assert_eq!(proxy.take_commands(), ["find", "find"], "what is known");
}

#[tokio::test]
async fn everything_else_costs_one_command_and_a_pull_with_news_a_second_to_note_them() {
    let database = Database::new();
    let (world, proxy) = watched(&database).await;
    world.apply(inserts(0, 10)).await;
    proxy.take_commands();

    world.changes(Origin::Nothing, 5).await;
    assert_eq!(proxy.take_commands(), ["aggregate"], "a page of documents");
    world.changes(Origin::Beginning, 5).await;
    assert_eq!(proxy.take_commands(), ["aggregate"], "a page of the log");
    world.since_of_nobody(0, 5).await;
    assert_eq!(proxy.take_commands(), ["aggregate"], "a page by timestamp");
    world.document("doc-1").await;
    assert_eq!(proxy.take_commands(), ["find"], "a document");
    world.query(&[("n", "1")]).await;
    assert_eq!(proxy.take_commands(), ["find"], "a query");
    world.query(&[]).await;
    assert_eq!(proxy.take_commands(), ["find"], "a query without conditions");
    world.stats().await;
    assert_eq!(proxy.take_commands(), ["aggregate"], "statistics");
    world.store.check().await.expect("the store is there");
    assert_eq!(proxy.take_commands(), ["find"], "a check");

    let seen = Seen { client_id: ClientId::trusted("me"), now_ms: 5 };
    let request = |origin| ChangesRequest { origin, max_operations: 20, seen: Some(seen.clone()) };
    let pull = async |origin| match world.store.changes(&world.tenant, request(origin)).await {
        Ok(Changes::Page(page)) => page.next,
        other => panic!("no page but {other:?}"),
    };
    let next = pull(Origin::Beginning).await;
    assert_eq!(proxy.take_commands(), ["aggregate", "update"], "a page that is to be noted");
    pull(Origin::Cursor(next)).await;
    assert_eq!(proxy.take_commands(), ["aggregate"], "a page without news");
}
