//! A server that speaks only MongoDB's greeting and answers all other commands as a test tells it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mongodb::bson::{Document, doc};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::mongodb::proxy::{command_in, name_of};

/// The opcode of all messages.
const OP_MSG: i32 = 2013;

/// The first bytes of a TLS connection: the type of a handshake record, and its version.
const TLS_GREETING: [u8; 3] = [0x16, 3, 1];

/// The longest message that is read, in bytes.
const MESSAGE_MAX_BYTES: i32 = 1024 * 1024;

type Answer = dyn Fn(&Document) -> Document + Send + Sync;

/// The server. It ends when this is dropped.
pub(crate) struct Greeter {
    address: SocketAddr,
    _connections: JoinSet<()>,
}

impl Greeter {
    /// Starts a server that greets every client and answers its other commands with `answer`.
    pub(crate) async fn start(answer: impl Fn(&Document) -> Document + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let answer: Arc<Answer> = Arc::new(answer);
        let mut connections = JoinSet::new();
        connections.spawn(async move {
            let mut clients = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                clients.spawn(speak(client, Arc::clone(&answer)));
            }
        });
        Self { address, _connections: connections }
    }

    /// The address of the server.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Answers every message of a client until the client closes the connection.
async fn speak(mut client: TcpStream, answer: Arc<Answer>) -> io::Result<()> {
    loop {
        let length = client.read_i32_le().await?;
        // The first bytes of TLS, read as a message, could pass for a small length.
        if length > MESSAGE_MAX_BYTES || length.to_le_bytes().starts_with(&TLS_GREETING) {
            return client.write_all(b"what?").await;
        }
        let mut message = length.to_le_bytes().to_vec();
        message.resize(usize::try_from(length).expect("a length"), 0);
        client.read_exact(&mut message[4..]).await?;
        let id = i32::from_le_bytes(*message[4..].first_chunk().expect("a header"));
        let command = command_in(&message).expect("a command");
        let answer = match name_of(&command) {
            "hello" | "isMaster" => hello(),
            _ => answer(&command),
        };
        client.write_all(&packed(&answer, id)).await?;
    }
}

fn hello() -> Document {
    doc! {
        "isWritablePrimary": true, "ismaster": true, "helloOk": true, "setName": "rs0", "ok": 1,
        "minWireVersion": 0, "maxWireVersion": 21, "logicalSessionTimeoutMinutes": 30,
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
    }
}

/// A document as BSON.
pub(crate) fn bytes_of(document: &Document) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.to_writer(&mut bytes).expect("it is written");
    bytes
}

/// An answer as a message of the protocol.
fn packed(answer: &Document, to: i32) -> Vec<u8> {
    let body = bytes_of(answer);
    // The flags, which are all zero, and the type of the only section, which is a document.
    let before = [0; 5];
    let length = i32::try_from(16 + before.len() + body.len()).expect("a small answer");
    let mut message: Vec<u8> = [length, 0, to, OP_MSG].into_iter().flat_map(i32::to_le_bytes).collect();
    message.extend(before);
    message.extend(body);
    message
}
