//! A proxy before a server. It records every command of a store, and can make the server pretend to be older.

use std::sync::{Arc, Mutex};

use mongodb::bson::{Bson, Document};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

/// The size of the part before a message's first section: the header and the flags, in bytes.
const BEFORE_SECTIONS_BYTES: usize = 16 + 4;

type Commands = Arc<Mutex<Vec<Document>>>;

/// How the server appears behind the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guise {
    /// Unchanged.
    Itself,
    /// MongoDB 7.0.
    Older,
    /// Its version is new, but it refuses `bulkWrite`, as during an incomplete upgrade.
    HalfUpgraded,
    /// It has no change streams.
    WithoutChangeStreams,
}

/// A change of what the proxy does with connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// End all of them, and take new ones.
    Cut,
    /// End all of them, and each new one at once.
    CutOff,
    /// Take new ones again.
    LetIn,
}

/// A proxy. Its connections end when it is dropped.
pub(super) struct Proxy {
    /// The proxy's own URI.
    pub(super) uri: String,
    commands: Commands,
    orders: UnboundedSender<(Order, oneshot::Sender<()>)>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// Starts a proxy before a server of one node.
    pub(super) async fn in_guise(guise: Guise, uri: &str) -> Self {
        let rest = uri.strip_prefix("mongodb://").expect("a plain URI");
        let server = rest.split(['/', '?']).next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let commands = Arc::default();
        let (orders, ordered) = unbounded_channel();
        let task = tokio::spawn(serve(listener, server, guise, Arc::clone(&commands), ordered));
        // Without a direct connection, the driver would connect to the addresses that the members of the replica set
        // announce.
        Self { uri: format!("mongodb://{address}/?directConnection=true"), commands, orders, task }
    }

    /// Ends all connections; new ones are taken.
    pub(super) async fn cut(&self) {
        self.order(Order::Cut).await;
    }

    /// Ends all connections, and takes no new ones until [`Self::let_in`].
    pub(super) async fn cut_off(&self) {
        self.order(Order::CutOff).await;
    }

    pub(super) async fn let_in(&self) {
        self.order(Order::LetIn).await;
    }

    async fn order(&self, order: Order) {
        let (done, is_done) = oneshot::channel();
        self.orders.send((order, done)).expect("the proxy lives");
        is_done.await.expect("the proxy lives");
    }

    /// The commands since the last call. The driver's commands that check connections and the writers' signs of life
    /// are left out, because they depend on time.
    pub(super) fn take_commands(&self) -> Vec<Document> {
        let commands = std::mem::take(&mut *self.commands.lock().expect("nobody panics with it"));
        let is_counted = |command: &Document| {
            let is_of_driver = ["hello", "isMaster", "ismaster", "endSessions"].contains(&name_of(command));
            !is_of_driver && target_of(command) != Some("syncflow_writers")
        };
        commands.into_iter().filter(is_counted).collect()
    }

    /// The names of these commands.
    pub(super) fn take_names(&self) -> Vec<String> {
        self.take_commands().iter().map(|command| name_of(command).to_owned()).collect()
    }
}

/// The name of a command, which is its first key.
pub(crate) fn name_of(command: &Document) -> &str {
    command.keys().next().map_or("", String::as_str)
}

/// The collection of a command, if it has one.
pub(super) fn target_of(command: &Document) -> Option<&str> {
    command.values().next().and_then(Bson::as_str)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    listener: TcpListener,
    server: String,
    guise: Guise,
    commands: Commands,
    mut ordered: UnboundedReceiver<(Order, oneshot::Sender<()>)>,
) {
    let mut connections = JoinSet::new();
    let mut is_cut_off = false;
    loop {
        let client = tokio::select! {
            accepted = listener.accept() => accepted.expect("a connection").0,
            Some((order, done)) = ordered.recv() => {
                is_cut_off = order == Order::CutOff;
                if order != Order::LetIn {
                    connections.shutdown().await;
                }
                done.send(()).expect("the test waits for it");
                continue;
            }
        };
        if is_cut_off {
            continue;
        }
        let (from_server, to_server) = TcpStream::connect(&server).await.expect("the server listens").into_split();
        let (from_client, to_client) = client.into_split();
        let commands = Arc::clone(&commands);
        let note = move |message: &mut [u8]| {
            let command = command_in(message).expect("a command");
            commands.lock().expect("nobody panics with it").push(command);
            if guise == Guise::WithoutChangeStreams {
                replace(message, b"$changeStream\0", b"$changeStrea_\0");
            }
            if guise == Guise::HalfUpgraded {
                // No server knows this name.
                replace(message, b"\x10bulkWrite\0", b"\x10bulkWrit_\0");
            }
        };
        connections.spawn(carry(from_client, to_server, note));
        connections.spawn(carry(from_server, to_client, move |message| {
            if guise == Guise::Older {
                age(message);
            }
        }));
    }
}

/// Carries messages from one side to the other, changed by `make`, until one side closes.
async fn carry(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin, make: impl Fn(&mut [u8])) {
    while let Ok(length) = from.read_u32_le().await {
        let mut message = length.to_le_bytes().to_vec();
        message.resize(length as usize, 0);
        if from.read_exact(&mut message[4..]).await.is_err() {
            return;
        }
        make(&mut message);
        if to.write_all(&message).await.is_err() {
            return;
        }
    }
}

/// Replaces a text by another of the same length.
fn replace(message: &mut [u8], text: &[u8], other: &[u8]) {
    assert_eq!(text.len(), other.len());
    if let Some(place) = message.windows(text.len()).position(|window| window == text) {
        message[place..place + text.len()].copy_from_slice(other);
    }
}

/// Changes the server's description of itself to that of MongoDB 7.0.
fn age(message: &mut [u8]) {
    const FIELD: &[u8] = b"\x10maxWireVersion\0";
    const OLDER_WIRE_VERSION: i32 = 21;
    if let Some(place) = message.windows(FIELD.len()).position(|window| window == FIELD) {
        let value = place + FIELD.len();
        message[value..value + 4].copy_from_slice(&OLDER_WIRE_VERSION.to_le_bytes());
    }
}

/// The command in a message (`OP_MSG`): a document, into which the lists are put back that follow it because of their
/// size.
pub(crate) fn command_in(message: &[u8]) -> Option<Document> {
    let mut command = None;
    let mut rest = message.get(BEFORE_SECTIONS_BYTES..)?;
    while let Some((kind, section)) = rest.split_first() {
        let size = u32::from_le_bytes(*section.first_chunk()?) as usize;
        let (content, behind) = (section.get(..size)?, section.get(size..)?);
        match kind {
            0 => command = Document::from_reader(content).ok(),
            _ => {
                let key = content.get(4..)?.split(|byte| *byte == 0).next()?;
                let mut documents = content.get(4 + key.len() + 1..)?;
                let mut list = Vec::new();
                while !documents.is_empty() {
                    list.push(Bson::Document(Document::from_reader(&mut documents).ok()?));
                }
                command.as_mut()?.insert(String::from_utf8_lossy(key), list);
            }
        }
        rest = behind;
    }
    command
}
