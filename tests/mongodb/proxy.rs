//! A proxy before a server, which notes every command that a store sends, and can make the server seem older.

use std::sync::{Arc, Mutex};

use mongodb::bson::{Bson, Document};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// Bytes of a message before its first section: the header, and the flags behind it.
const BEFORE_SECTIONS_BYTES: usize = 16 + 4;

type Commands = Arc<Mutex<Vec<Document>>>;

/// What a proxy makes the server seem to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guise {
    /// What it is.
    Itself,
    /// MongoDB 7.0.
    Older,
    /// One that says it is as new as it is, and refuses `bulkWrite`, as while an upgrade is not complete.
    HalfUpgraded,
}

/// A proxy; its connections end with it.
pub(super) struct Proxy {
    /// Where it listens.
    pub(super) uri: String,
    commands: Commands,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy before a server of one node that makes it seem something.
    pub(super) async fn in_guise(guise: Guise, uri: &str) -> Self {
        let rest = uri.strip_prefix("mongodb://").expect("a plain URI");
        let server = rest.split(['/', '?']).next().expect("a host").to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let commands = Arc::default();
        let task = tokio::spawn(serve(listener, server, guise, Arc::clone(&commands)));
        // Otherwise the driver would go where the members of the replica set say that they are.
        Self { uri: format!("mongodb://{address}/?directConnection=true"), commands, task }
    }

    /// The commands since the last time this was asked, without those by which the driver looks after its connections and
    /// those by which a writer shows that it lives, which depend on time.
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

/// The collection that a command is about, where it is about one.
pub(super) fn target_of(command: &Document) -> Option<&str> {
    command.values().next().and_then(Bson::as_str)
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: String, guise: Guise, commands: Commands) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let (from_server, to_server) = TcpStream::connect(&server).await.expect("the server listens").into_split();
        let (from_client, to_client) = client.into_split();
        let commands = Arc::clone(&commands);
        let note = move |message: &mut [u8]| {
            let command = command_in(message).expect("a command");
            commands.lock().expect("nobody panics with it").push(command);
            if guise == Guise::HalfUpgraded {
                // A name that no server knows.
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

/// Carries messages from one side to the other, as what they are made before, until one has enough.
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

/// Puts something of the same length in the place of a text.
fn replace(message: &mut [u8], text: &[u8], other: &[u8]) {
    assert_eq!(text.len(), other.len());
    if let Some(place) = message.windows(text.len()).position(|window| window == text) {
        message[place..place + text.len()].copy_from_slice(other);
    }
}

/// Makes what a server says of itself that of MongoDB 7.0.
fn age(message: &mut [u8]) {
    const FIELD: &[u8] = b"\x10maxWireVersion\0";
    const OLDER_WIRE_VERSION: i32 = 21;
    if let Some(place) = message.windows(FIELD.len()).position(|window| window == FIELD) {
        let value = place + FIELD.len();
        message[value..value + 4].copy_from_slice(&OLDER_WIRE_VERSION.to_le_bytes());
    }
}

/// The command of a message (`OP_MSG`): a document, and the lists that stand behind it for their size put back into it.
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
