//! Connections that take too long: each phase of a connection has a limit.

use std::time::Duration;

use syncflow_server::config::{ConnectionConfig, TrustedProxies};
use syncflow_server::runtime::ConnectionLimits;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::endpoints::client::insert;
use crate::endpoints::local::Local;
use crate::endpoints::server::{Server, limited};

const SHORT: Duration = Duration::from_secs(1);

/// Longer than any test takes on a slow machine.
const LONG: Duration = Duration::from_secs(300);

/// How long a test waits for an event that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

const HEALTH: &[u8] = b"GET /health HTTP/1.1\r\nhost: localhost\r\n\r\n";

/// Limits that a slow test does not reach.
fn generous() -> ConnectionLimits {
    let taken = ConnectionConfig { http2: true, ..ConnectionConfig::default() };
    ConnectionLimits {
        max_connections: 100,
        first_request: LONG,
        idle: LONG,
        stall: LONG,
        answer: LONG,
        exchange: LONG,
        stop: LONG,
        taken,
    }
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.api.authority()).await.expect("the server listens")
}

/// Reads until the server closes the connection, and returns the bytes.
async fn read_to_end(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    // A reset ends the connection too.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("the server closes the connection");
    bytes
}

/// Sends a request and reads the beginning of its answer.
async fn exchange(stream: &mut TcpStream, request: &[u8]) -> String {
    stream.write_all(request).await.expect("it is sent");
    let mut answer = vec![0; 64 * 1024];
    let count = timeout(PATIENCE, stream.read(&mut answer)).await.expect("in time").expect("it is read");
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[tokio::test]
async fn a_connection_that_sends_nothing_or_half_of_a_greeting_is_closed() {
    let server = limited(ConnectionLimits { first_request: SHORT, ..generous() }).await;
    for beginning in ["", "PRI * HTTP/2", "GET /hea", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"] {
        let mut stream = connect(&server).await;
        stream.write_all(beginning.as_bytes()).await.expect("it is sent");
        read_to_end(&mut stream).await;
    }
}

#[tokio::test]
async fn a_connection_that_was_used_is_closed_when_it_is_idle() {
    let server = limited(ConnectionLimits { idle: SHORT, answer: SHORT, ..generous() }).await;
    let mut stream = connect(&server).await;
    assert!(exchange(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut stream).await, b"");
}

#[tokio::test]
async fn a_client_of_http_2_that_only_asks_whether_the_server_is_there_is_closed() {
    let limits = ConnectionLimits { first_request: SHORT, idle: SHORT, answer: SHORT, ..generous() };
    let server = limited(limits).await;
    let stream = connect(&server).await;
    let (mut reader, mut writer) = stream.into_split();
    let pinging = tokio::spawn(async move {
        // The client sends the preface with empty settings, and then pings repeatedly.
        writer.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await?;
        loop {
            writer.write_all(b"\0\0\x08\x06\0\0\0\0\0\x01\x02\x03\x04\x05\x06\x07\x08").await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        #[expect(unreachable_code, reason = "it says what the task ends with")]
        Ok::<(), std::io::Error>(())
    });
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, reader.read_to_end(&mut bytes)).await.expect("the server closes the connection");
    assert!(!bytes.is_empty(), "it was answered until then");
    pinging.abort();
}

/// Stores a document that is large, but not larger than the buffers of the system.
async fn store_large_document(server: &Server) {
    let mut operation = insert("op-1", "doc-1", "a", 1, 1);
    operation["data"] = serde_json::json!({ "text": "x".repeat(900_000) });
    server.api.accept(&[operation]).await;
}

/// Asks so often for a page that the buffers of the system have no room for the answers.
async fn ask_for_too_much(stream: &mut TcpStream) {
    let asked = "POST /changes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\n{\"limit\":1000}";
    stream.write_all(asked.repeat(40).as_bytes()).await.expect("it is sent");
}

/// Waits until the server has closed a connection that is not read.
async fn closed_unread(stream: &mut TcpStream) {
    let gone = async {
        while stream.write_all(b"G").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.expect("the server closes the connection");
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_given_up() {
    let server = limited(ConnectionLimits { stall: SHORT, ..generous() }).await;
    store_large_document(&server).await;
    let mut stream = connect(&server).await;
    ask_for_too_much(&mut stream).await;
    closed_unread(&mut stream).await;
}

#[tokio::test]
async fn an_answer_that_is_read_slowly_is_given_up_in_the_end() {
    let limit = SHORT * 3;
    let server = limited(ConnectionLimits { answer: limit, exchange: limit, ..generous() }).await;
    store_large_document(&server).await;
    let mut stream = connect(&server).await;
    ask_for_too_much(&mut stream).await;
    let mut buffer = vec![0; 4096];
    // So slowly that no answer is read within the limit, but never so slowly that nothing is.
    let began = tokio::time::Instant::now();
    let mut bytes = 0;
    while began.elapsed() < limit * 3 {
        let Ok(count @ 1..) = stream.read(&mut buffer).await else { break };
        bytes += count;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The system has some megabytes of the answers even when the server has given up.
    let mut rest = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("the server closes the connection");
    assert!(bytes + rest.len() < 40 * 900_000, "all answers came");
}

#[tokio::test]
async fn an_answer_over_http_2_whose_client_opens_no_window_is_given_up() {
    let server = limited(ConnectionLimits { stall: SHORT, ..generous() }).await;
    store_large_document(&server).await;
    let mut stream = connect(&server).await;
    // The settings allow no byte of a body (RFC 9113, section 6.5.2). The request's header block has indexed and
    // literal fields (RFC 7541, appendix A).
    let path = b"/documents/todos/doc-1";
    let mut block = vec![0x82, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend_from_slice(path);
    block.extend_from_slice(b"\x01\x09localhost");
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x06\x04\0\0\0\0\0\0\x04\0\0\0\0".to_vec();
    sent.extend_from_slice(&[0, 0, u8::try_from(block.len()).unwrap(), 1, 5, 0, 0, 0, 1]);
    sent.extend_from_slice(&block);
    // A second request, whose body never comes.
    let unfinished = b"\x83\x86\x04\x08/changes\x01\x09localhost";
    sent.extend_from_slice(&[0, 0, u8::try_from(unfinished.len()).unwrap(), 1, 4, 0, 0, 0, 3]);
    sent.extend_from_slice(unfinished);
    stream.write_all(&sent).await.expect("it is sent");
    let answer = read_to_end(&mut stream).await;
    assert!(answer.len() < 10_000, "no data came: {}", answer.len());
}

#[tokio::test]
async fn at_the_limit_an_answer_that_nobody_reads_makes_room_only_if_nothing_is_idle() {
    let server = limited(ConnectionLimits { max_connections: 3, ..generous() }).await;
    store_large_document(&server).await;
    let mut unread = connect(&server).await;
    ask_for_too_much(&mut unread).await;
    let (mut idle, mut other) = (connect(&server).await, connect(&server).await);
    assert!(exchange(&mut idle, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut other, HEALTH).await.starts_with("HTTP/1.1 200"));
    // The connection that pushed is one of them, and may be the first that makes room.
    let half = b"POST /changes HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut busy = Vec::new();
    let taken = async {
        while busy.len() < 3 {
            let mut stream = connect(&server).await;
            // While there is no room, the server says so.
            if exchange(&mut stream, half).await.starts_with("HTTP/1.1 100") {
                busy.push(stream);
            }
            if busy.len() < 3 {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    timeout(PATIENCE, taken).await.expect("all of them make room");
    closed_unread(&mut unread).await;
}

#[tokio::test]
async fn at_the_limit_the_connection_that_is_idle_for_longest_makes_room() {
    let server = limited(ConnectionLimits { max_connections: 2, ..generous() }).await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    assert!(exchange(&mut first, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut second, HEALTH).await.starts_with("HTTP/1.1 200"));
    let mut third = connect(&server).await;
    assert!(exchange(&mut third, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut first).await, b"");
    assert!(exchange(&mut second, HEALTH).await.starts_with("HTTP/1.1 200"), "it is left alone");
}

#[tokio::test]
async fn at_the_limit_with_all_at_work_a_connection_is_told_so() {
    let server = limited(ConnectionLimits { max_connections: 2, ..generous() }).await;
    let half = b"POST /changes HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut busy = Vec::new();
    for _ in 0..2 {
        let mut stream = connect(&server).await;
        assert!(exchange(&mut stream, half).await.starts_with("HTTP/1.1 100"), "it is at work");
        busy.push(stream);
    }
    let mut third = connect(&server).await;
    let answer = read_to_end(&mut third).await;
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1"), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains(&format!("content-length: {}\r\n", body.len())), "{answer}");
    assert!(serde_json::from_str::<serde_json::Value>(body).is_ok_and(|body| body["message"].is_string()), "{body}");
    for mut stream in busy {
        stream.write_all(b"{}").await.expect("it is sent");
        assert!(exchange(&mut stream, b"").await.starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn the_settings_say_how_many_connections_there_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[("CONNECTIONS_MAX", "1")]).await;
    let connect = async || TcpStream::connect(server.authority()).await.expect("the server listens");
    let half = b"POST /changes HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";
    let mut busy = connect().await;
    assert!(exchange(&mut busy, half).await.starts_with("HTTP/1.1 100"), "it is at work");
    let answer = read_to_end(&mut connect().await).await;
    assert!(answer.starts_with(b"HTTP/1.1 503"), "{}", String::from_utf8_lossy(&answer));
    assert!(exchange(&mut busy, b"{}").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn connections_with_half_of_a_request_do_not_get_around_the_limit() {
    let server = limited(ConnectionLimits { max_connections: 3, ..generous() }).await;
    let mut halves = tokio::task::JoinSet::new();
    for _ in 0..200 {
        let mut stream = connect(&server).await;
        // The server may have closed the connection already.
        let _ = stream.write_all(b"GET /hea").await;
        halves.spawn(async move { stream.read_to_end(&mut Vec::new()).await });
    }
    for _ in 0..197 {
        let closed = timeout(PATIENCE, halves.join_next()).await;
        assert!(closed.expect("all but three are closed").is_some());
    }
    halves.shutdown().await;
    let answered = async {
        loop {
            let mut stream = connect(&server).await;
            let mut beginning = [0; 12];
            // Until there is room, the server closes the connection at once.
            let is_sent = stream.write_all(HEALTH).await.is_ok();
            if is_sent && stream.read_exact(&mut beginning).await.is_ok() && beginning == *b"HTTP/1.1 200" {
                break;
            }
        }
    };
    timeout(PATIENCE, answered).await.expect("there is room again");
}

#[tokio::test]
async fn a_connection_in_use_stays_open_between_requests() {
    let server = limited(ConnectionLimits { first_request: SHORT, ..generous() }).await;
    let mut stream = connect(&server).await;
    for _ in 0..3 {
        assert!(exchange(&mut stream, HEALTH).await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(SHORT * 2).await;
    }
}

/// Two connections of an address. This also applies to this machine, unless it has proxies.
fn two_of_an_address(proxies: &str) -> ConnectionLimits {
    let trusted_proxies = TrustedProxies::parse(proxies).expect("addresses");
    ConnectionLimits {
        taken: ConnectionConfig { http2: false, per_address: 2, trusted_proxies, ..ConnectionConfig::default() },
        ..generous()
    }
}

#[tokio::test]
async fn an_address_has_so_many_connections_of_which_the_idle_ones_make_room() {
    let server = limited(two_of_an_address("")).await;
    let (mut first, mut second) = (connect(&server).await, connect(&server).await);
    assert!(exchange(&mut first, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert!(exchange(&mut second, HEALTH).await.starts_with("HTTP/1.1 200"));
    let mut third = connect(&server).await;
    assert!(exchange(&mut third, HEALTH).await.starts_with("HTTP/1.1 200"));
    assert_eq!(read_to_end(&mut first).await, b"");
}

const HALF: &[u8] = b"POST /changes HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n";

#[tokio::test]
async fn an_address_with_all_its_connections_at_work_is_told_so_unless_it_is_a_proxys() {
    for (proxies, is_refused) in [("", true), ("127.0.0.0/8", false)] {
        let server = limited(two_of_an_address(proxies)).await;
        let mut busy = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(&server).await;
            assert!(exchange(&mut stream, HALF).await.starts_with("HTTP/1.1 100"), "it is at work");
            busy.push(stream);
        }
        let mut third = connect(&server).await;
        let expected = if is_refused { "HTTP/1.1 503" } else { "HTTP/1.1 200" };
        assert!(exchange(&mut third, HEALTH).await.starts_with(expected), "{proxies:?}");
    }
}

#[tokio::test]
async fn a_client_that_sends_reads_that_there_is_no_room() {
    let server = limited(ConnectionLimits { max_connections: 1, ..generous() }).await;
    let mut busy = connect(&server).await;
    assert!(exchange(&mut busy, HALF).await.starts_with("HTTP/1.1 100"), "it is at work");
    for _ in 0..20 {
        let mut stream = connect(&server).await;
        stream.write_all(b"POST /changes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 40000\r\n\r\n").await.unwrap();
        stream.write_all(" ".repeat(40_000).as_bytes()).await.expect("it is sent");
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("in time");
        assert!(read.is_ok() && answer.starts_with(b"HTTP/1.1 503"), "{read:?} {}", String::from_utf8_lossy(&answer));
    }
}

#[tokio::test]
async fn http_2_is_spoken_only_if_it_is_asked_for() {
    let mut limits = generous();
    limits.taken.http2 = false;
    let server = limited(limits).await;
    let mut stream = connect(&server).await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.expect("it is sent");
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.starts_with(b"\0\0"), "a frame of settings: {answer:?}");
}
