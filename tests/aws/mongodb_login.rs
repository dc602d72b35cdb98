//! Login to MongoDB as a role of AWS, at a server that plays no more of one than that.

use http::Method;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use syncflow_server::api::Endpoint;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::lambda::binaries::binary_of;
use crate::lambda::emulator::Instance;
use crate::lambda::functions::{event, read};
use crate::mongodb::proxy::{command_in, name_of};

/// The kind of all messages.
const OP_MSG: i32 = 2013;

/// Plays a server, and hands on what a client shows to be let in.
async fn serve(listener: TcpListener, shown: mpsc::UnboundedSender<Document>) {
    while let Ok((client, _)) = listener.accept().await {
        tokio::spawn(speak(client, shown.clone()));
    }
}

/// Answers every message of a client until it has enough.
async fn speak(mut client: TcpStream, shown: mpsc::UnboundedSender<Document>) -> std::io::Result<()> {
    loop {
        let length = client.read_i32_le().await?;
        let mut message = length.to_le_bytes().to_vec();
        message.resize(usize::try_from(length).expect("a length"), 0);
        client.read_exact(&mut message[4..]).await?;
        let id = i32::from_le_bytes(*message[4..].first_chunk().expect("a header"));
        let command = command_in(&message).expect("a command");
        client.write_all(&packed(&answer(&command, &shown), id)).await?;
    }
}

fn hello() -> Document {
    doc! {
        "isWritablePrimary": true, "ismaster": true, "helloOk": true, "setName": "rs0", "ok": 1,
        "minWireVersion": 0, "maxWireVersion": 21, "logicalSessionTimeoutMinutes": 30,
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
    }
}

fn answer(command: &Document, shown: &mpsc::UnboundedSender<Document>) -> Document {
    let step = |payload: Document, done: bool| {
        let payload = if done { Vec::new() } else { bytes_of(&payload) };
        doc! { "conversationId": 1, "done": done, "payload": generic(payload), "ok": 1 }
    };
    match name_of(command) {
        "hello" | "isMaster" => hello(),
        "saslStart" => {
            let asked = (command.get_str("mechanism").ok(), command.get_str("$db").ok());
            assert_eq!(asked, (Some("MONGODB-AWS"), Some("$external")));
            let mut nonce = payload_of(command).get_binary_generic("r").expect("a nonce").clone();
            nonce.extend([7; 32]);
            step(doc! { "s": generic(nonce), "h": "sts.eu-central-1.amazonaws.com" }, false)
        }
        "saslContinue" => {
            // Nobody may wait for it any more.
            let _ = shown.send(payload_of(command));
            step(Document::new(), true)
        }
        _ => doc! { "ok": 0, "code": 13, "errmsg": "there is nothing behind the door" },
    }
}

fn generic(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

fn bytes_of(document: &Document) -> Vec<u8> {
    let mut bytes = Vec::new();
    document.to_writer(&mut bytes).expect("it is written");
    bytes
}

fn payload_of(command: &Document) -> Document {
    Document::from_reader(command.get_binary_generic("payload").expect("a payload").as_slice()).expect("BSON")
}

/// An answer as the protocol packs it.
fn packed(answer: &Document, to: i32) -> Vec<u8> {
    let body = bytes_of(answer);
    // No flags, and one section that is a document.
    let before = [0; 5];
    let length = i32::try_from(16 + before.len() + body.len()).expect("a small answer");
    let mut message: Vec<u8> = [length, 0, to, OP_MSG].into_iter().flat_map(i32::to_le_bytes).collect();
    message.extend(before);
    message.extend(body);
    message
}

#[tokio::test]
async fn a_function_logs_in_to_mongodb_with_the_keys_of_its_role() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (sender, mut shown) = mpsc::unbounded_channel();
    let server = tokio::spawn(serve(listener, sender));
    let uri = format!("mongodb://{address}/?authMechanism=MONGODB-AWS&authSource=$external&directConnection=true");
    let settings = [
        ("ADAPTER", "mongodb"),
        ("MONGO_URI", &uri),
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "key-of-the-role"),
        ("AWS_SECRET_ACCESS_KEY", "hunter-1"),
        ("AWS_SESSION_TOKEN", "token-of-the-role"),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let mut function = Instance::start(binary_of(Endpoint::GetStats), &settings).await;
    let (status, _) = read(function.invoke(&event(&Method::GET, "/stats", "")).await);
    assert!(status >= 500, "there is no database behind the login: {status}");
    let shown = shown.try_recv().unwrap_or_else(|_| panic!("no login: {}", function.log()));
    let authorization = shown.get_str("a").expect("a signature");
    assert!(authorization.contains("Credential=key-of-the-role/"), "{authorization}");
    assert!(authorization.contains("/eu-central-1/sts/aws4_request"), "{authorization}");
    assert_eq!(shown.get_str("t").ok(), Some("token-of-the-role"));
    assert!(!function.log().contains("hunter-1"), "{}", function.log());
    server.abort();
}
