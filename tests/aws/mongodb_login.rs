//! Login to MongoDB as an AWS role, against a server that supports only this login.

use http::Method;
use mongodb::bson::spec::BinarySubtype;
use mongodb::bson::{Binary, Document, doc};
use syncflow_server::api::Endpoint;
use tokio::sync::mpsc;

use crate::lambda::binaries::binary_of;
use crate::lambda::emulator::Instance;
use crate::lambda::functions::{event, read};
use crate::mongodb::proxy::name_of;
use crate::support::mongo_greeter::{Greeter, bytes_of};

fn answer(command: &Document, shown: &mpsc::UnboundedSender<Document>) -> Document {
    let step = |payload: Document, done: bool| {
        let payload = if done { Vec::new() } else { bytes_of(&payload) };
        doc! { "conversationId": 1, "done": done, "payload": generic(payload), "ok": 1 }
    };
    match name_of(command) {
        "saslStart" => {
            let asked = (command.get_str("mechanism").ok(), command.get_str("$db").ok());
            assert_eq!(asked, (Some("MONGODB-AWS"), Some("$external")));
            let mut nonce = payload_of(command).get_binary_generic("r").expect("a nonce").clone();
            nonce.extend([7; 32]);
            step(doc! { "s": generic(nonce), "h": "sts.eu-central-1.amazonaws.com" }, false)
        }
        "saslContinue" => {
            // The test may not wait for it any more.
            let _ = shown.send(payload_of(command));
            step(Document::new(), true)
        }
        _ => doc! { "ok": 0, "code": 13, "errmsg": "there is nothing behind the door" },
    }
}

fn generic(bytes: Vec<u8>) -> Binary {
    Binary { subtype: BinarySubtype::Generic, bytes }
}

fn payload_of(command: &Document) -> Document {
    Document::from_reader(command.get_binary_generic("payload").expect("a payload").as_slice()).expect("BSON")
}

#[tokio::test]
async fn a_function_logs_in_to_mongodb_with_the_keys_of_its_role() {
    let (sender, mut shown) = mpsc::unbounded_channel();
    let server = Greeter::start(move |command| answer(command, &sender)).await;
    let uri =
        format!("mongodb://{}/?authMechanism=MONGODB-AWS&authSource=$external&directConnection=true", server.address());
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
}
