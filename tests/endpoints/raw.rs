//! HTTP/1.1 without a library, for requests that no well-behaved client would send.

use std::fmt::Write as _;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::client::Answer;

/// A connection, with separate halves for the two directions.
pub(super) struct Connection {
    pub(super) reader: BufReader<OwnedReadHalf>,
    pub(super) writer: OwnedWriteHalf,
}

impl Connection {
    pub(super) async fn to(authority: &str) -> Self {
        let (reader, writer) = TcpStream::connect(authority).await.expect("the server listens").into_split();
        Self { reader: BufReader::new(reader), writer }
    }

    pub(super) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.writer.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    /// Writes the head of a request.
    pub(super) async fn head(&mut self, request_line: &str, headers: &[(&str, &str)]) {
        let mut head = format!("{request_line} HTTP/1.1\r\nhost: localhost\r\n");
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").expect("a string takes all");
        }
        self.write(head + "\r\n").await;
    }

    /// Reads one answer, whose body has a known length or is missing.
    pub(super) async fn answer(&mut self) -> Answer {
        let status_line = self.line().await;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut headers = HeaderMap::new();
        loop {
            let line = self.line().await;
            let Some((name, value)) = line.split_once(": ") else { break };
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        let length = headers.get("content-length").map_or(0, |length| length.to_str().unwrap().parse().unwrap());
        let mut bytes = vec![0; length];
        self.reader.read_exact(&mut bytes).await.expect("the answer is whole");
        Answer { status: status.unwrap_or_else(|| panic!("no status in {status_line:?}")), headers, bytes }
    }

    /// Waits until the server closes the connection, and returns whether it did so without another byte.
    pub(super) async fn is_closed_in_silence(&mut self) -> bool {
        let mut rest = Vec::new();
        self.reader.read_to_end(&mut rest).await.is_ok() && rest.is_empty()
    }

    async fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).await.expect("the server answers");
        line.trim_end().to_owned()
    }
}
