//! The memory that many requests may hold together, and for how long.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::routing::post;
use futures_util::stream::{iter, once, pending};
use futures_util::{FutureExt as _, StreamExt as _};
use http_body_util::{BodyExt as _, Collected};
use serde_json::json;
use syncflow_server::limits::runtime::{MEMORY_MIN_BYTES, PUSH_LANE_BYTES};
use syncflow_server::runtime::{self, App};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tower::ServiceExt as _;

use crate::endpoints::client::{Api, insert};
use crate::endpoints::server::{self, read};

const PATIENCE: Duration = Duration::from_secs(120);

const MIB: usize = 1024 * 1024;

/// As many bodies of 8 MiB as there is memory for beside that of pushes.
const BODIES: usize = (MEMORY_MIN_BYTES - PUSH_LANE_BYTES) / (8 * MIB);

fn little_memory() -> [(&'static str, String); 2] {
    [("ADAPTER", "memory".to_owned()), ("MEMORY_MAX_BYTES", MEMORY_MIN_BYTES.to_string())]
}

async fn start() -> server::Server {
    let settings = little_memory();
    server::start(&settings.each_ref().map(|(name, value)| (*name, value.as_str())), ()).await
}

/// The layers around a route, without a connection that could be closed to make room.
fn app(route: Router) -> App {
    let settings = little_memory();
    let mut settings = settings.each_ref().map(|(name, value)| (*name, value.as_str())).to_vec();
    settings.push(("REQUEST_TIMEOUT_SECONDS", "1"));
    runtime::app(route, &read(&settings).http)
}

/// Reads the whole body, and then does what the path names.
fn routes() -> Router {
    let read = async |request: Request| {
        let path = request.uri().path().to_owned();
        let bytes = request.into_body().collect().await.map(Collected::to_bytes);
        match path.as_str() {
            "/hang" => std::future::pending().await,
            "/panic" => panic!("a planted one"),
            _ => bytes.map_or(0, |bytes| bytes.len()).to_string(),
        }
    };
    Router::new().route("/read", post(read)).route("/hang", post(read)).route("/panic", post(read))
}

/// A body of `mib` MiB, which then ends or stays open.
fn body(mib: usize, ends: bool) -> Body {
    let piece = Ok::<_, Infallible>(Bytes::from(vec![b' '; MIB]));
    let rest = if ends { futures_util::stream::empty().boxed() } else { pending().boxed() };
    Body::from_stream(iter(vec![piece; mib]).chain(rest))
}

fn request(path: &str, body: Body) -> Request {
    Request::post(path).header("host", "localhost").body(body).unwrap()
}

async fn send(app: &App, path: &str, body: Body) -> Response {
    app.clone().oneshot(request(path, body)).await.unwrap()
}

#[tokio::test]
async fn a_request_that_finds_no_room_is_told_when_to_come_again() {
    let app = app(routes());
    let mut held: Vec<_> = Vec::new();
    for _ in 0..BODIES {
        let mut sending = Box::pin(send(&app, "/read", body(8, false)));
        assert!(sending.as_mut().now_or_never().is_none(), "it waits for more of its body");
        held.push(sending);
    }
    let answer = send(&app, "/read", body(1, true)).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(answer.headers()["retry-after"], "1");
    held.pop();
    let answer = send(&app, "/read", body(1, true)).await;
    assert_eq!(answer.status(), 200, "a client that has gone left its room");
}

#[tokio::test]
async fn reads_at_work_leave_room_for_pushes() {
    let app = app(routes().route("/operations", post(async || "pushed")));
    let mut reads: Vec<_> = (0..100).map(|_| Box::pin(send(&app, "/hang", Body::empty()))).collect();
    for read in &mut reads {
        assert!(read.as_mut().now_or_never().is_none(), "it is at work, or waits for those that are");
    }
    let push = send(&app, "/operations", body(1, true)).now_or_never().expect("it waits for no read");
    assert_eq!(push.status(), 200);
}

#[tokio::test]
async fn a_read_that_has_no_turn_is_told_when_to_come_again() {
    let app = runtime::app(routes(), &read(&[("MEMORY_MAX_BYTES", "67108864")]).http);
    let mut reads: Vec<_> = (0..20).map(|_| Box::pin(send(&app, "/hang", Body::empty()))).collect();
    for read in &mut reads {
        assert!(read.as_mut().now_or_never().is_none(), "it is at work, or waits for those that are");
    }
    let answer = send(&app, "/read", body(1, true)).await;
    assert_eq!((answer.status().as_u16(), answer.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
}

#[tokio::test]
async fn answers_that_nobody_reads_leave_room_for_small_pushes() {
    let large = post(async || vec![b'x'; 15 * MIB]);
    let pushed = post(async |_: Bytes| "pushed, which is long enough to be compressed".repeat(10));
    let app = app(Router::new().route("/large", large).route("/operations", pushed));
    let mut unread = Vec::new();
    for _ in 0..4 {
        unread.push(send(&app, "/large", Body::empty()).await);
        assert_eq!(unread.last().unwrap().status(), 200);
    }
    let mut reads: Vec<_> = (0..10).map(|_| Box::pin(send(&app, "/large", Body::empty()))).collect();
    for read in &mut reads {
        assert!(read.as_mut().now_or_never().is_none(), "there is no room for it");
    }
    for coding in ["identity", "gzip", "br"].repeat(10) {
        let mut push = request("/operations", Body::from("x".repeat(10_000)));
        push.headers_mut().insert("accept-encoding", coding.parse().unwrap());
        let answer = app.clone().oneshot(push).now_or_never().expect("it waits for nobody").unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().contains_key("content-encoding"), coding != "identity");
    }
}

#[tokio::test]
async fn whatever_becomes_of_a_request_its_room_is_free_again() {
    let app = app(routes());
    for (path, ends) in [("/read", true), ("/panic", true), ("/hang", true), ("/read", false)] {
        for _ in 0..2 {
            let all = (0..BODIES - 2).map(|_| send(&app, path, body(8, ends)));
            for answer in futures_util::future::join_all(all).await {
                assert_ne!(answer.status(), 413, "{path}");
            }
        }
    }
    for _ in 0..BODIES {
        let mut leaving = Box::pin(send(&app, "/read", body(8, false)));
        assert!(leaving.as_mut().now_or_never().is_none());
    }
    let answer = send(&app, "/read", body(8, true)).await;
    assert_eq!(answer.status(), 200);
}

#[tokio::test]
async fn an_answer_keeps_its_room_until_it_is_sent() {
    let large = post(async || vec![b'x'; 15 * MIB]);
    let app = app(Router::new().route("/large", large));
    let mut answers = Vec::new();
    for _ in 0..4 {
        let answer = send(&app, "/large", Body::empty()).await;
        assert_eq!(answer.status(), 200);
        // The connection has taken all of it, but has not sent it yet.
        let mut body = answer.into_body();
        let mut pieces = Vec::new();
        while let Some(piece) = body.frame().await {
            pieces.push(piece.unwrap());
        }
        answers.push(pieces);
    }
    let waiting = send(&app, "/large", Body::empty());
    let freeing = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(answers.pop());
    };
    let (answer, ()) = tokio::join!(waiting, freeing);
    assert_eq!(answer.status(), 200, "it waited for its room");
    assert_eq!(send(&app, "/large", Body::empty()).await.status(), 503);
}

#[tokio::test]
async fn a_body_is_inflated_when_it_has_come_whole() {
    // The beginning of a brotli stream with the largest window, for which a decoder would take its memory at once.
    let beginning = [0x0f, 0x00, 0x00, 0x80];
    let app = app(routes());
    let waiting: Vec<_> = (0..100)
        .map(|_| {
            let rest = once(async move { Ok::<_, Infallible>(Bytes::copy_from_slice(&beginning)) }).chain(pending());
            let mut request = request("/read", Body::from_stream(rest));
            request.headers_mut().insert("content-encoding", "br".parse().unwrap());
            let mut sending = Box::pin(app.clone().oneshot(request));
            assert!(sending.as_mut().now_or_never().is_none());
            sending
        })
        .collect();
    assert_eq!(send(&app, "/read", body(8, true)).await.status(), 200, "they hold next to nothing");
    drop(waiting);
}

/// Repeats a push until there is room, which the other requests must soon make.
async fn push_soon(api: &Api) {
    let body = json!({"clientId": "a", "operations": [insert("op-2", "doc-2", "a", 2, 2)]}).to_string();
    let pushed = async { while api.post("/operations", body.clone()).await.status != 200 {} };
    timeout(PATIENCE, pushed).await.expect("there is room soon");
}

#[tokio::test]
async fn bodies_that_do_not_end_make_room_for_others() {
    let server = start().await;
    let mut halves = Vec::new();
    for _ in 0..BODIES * 2 {
        let mut stream = TcpStream::connect(server.api.authority()).await.expect("the server listens");
        let head = "POST /operations HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10000000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        // The server may close it at any time.
        halves.push(tokio::spawn(async move {
            let _ = stream.write_all(&vec![b' '; 9_000_000]).await;
            stream.read_to_end(&mut Vec::new()).await
        }));
    }
    push_soon(&server.api).await;
    let closed = async {
        for _ in 0..BODIES {
            let (_, _, rest) = futures_util::future::select_all(std::mem::take(&mut halves)).await;
            halves = rest;
        }
    };
    timeout(PATIENCE, closed).await.expect("half of them are closed");
    for half in halves {
        half.abort();
    }
}

#[tokio::test]
async fn answers_that_nobody_reads_make_room_for_others() {
    let server = start().await;
    for number in 0..4 {
        let mut operation = insert(&format!("op-{number}"), &format!("doc-{number}"), "b", number + 1, 1);
        operation["data"] = json!({ "text": "x".repeat(900_000) });
        server.api.accept(&[operation]).await;
    }
    let mut unread = Vec::new();
    for _ in 0..40 {
        // With this buffer, the system takes only little of an answer.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 * 1024).unwrap();
        let mut stream = socket.connect(server.api.authority().parse().unwrap()).await.expect("the server listens");
        let asked = "POST /changes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(asked.repeat(4).as_bytes()).await.unwrap();
        unread.push(stream);
    }
    push_soon(&server.api).await;
    let closed = async {
        loop {
            for stream in &mut unread {
                if stream.write_all(b"G").await.is_err() {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, closed).await.expect("some are closed");
}
