//! One connection to the server, which stays open.

use axum::body::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::Result;

/// A connection.
#[derive(Debug)]
pub(crate) struct Client {
    host: String,
    /// The value of the header with its token.
    authorization: Option<String>,
    sender: SendRequest<Full<Bytes>>,
}

/// The end of a page: its cursor and whether there is more.
#[derive(Debug, Clone)]
pub(crate) struct PageEnd {
    pub(crate) cursor: String,
    pub(crate) has_more: bool,
    pub(crate) rows: u64,
}

impl Client {
    pub(crate) async fn connect(host: &str, token: Option<&str>) -> Result<Self> {
        let authorization = token.map(|token| format!("Bearer {token}"));
        Ok(Self { host: host.to_owned(), authorization, sender: connect(host).await? })
    }

    /// Sends a request and reads the whole answer.
    pub(crate) async fn request(&mut self, method: Method, path: &str, body: Bytes) -> Result<(StatusCode, Bytes)> {
        self.request_as(None, method, path, body).await
    }

    /// The same with a token.
    async fn request_as(
        &mut self,
        token: Option<&str>,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes)> {
        // The server closes connections that are idle for long, such as one that waits for its turn beside a slow
        // database.
        if self.sender.ready().await.is_err() {
            self.sender = connect(&self.host).await?;
            self.sender.ready().await?;
        }
        let mut request = Request::builder().method(method).uri(path).header("host", &self.host);
        let authorization = token.map(|token| format!("Bearer {token}")).or_else(|| self.authorization.clone());
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let response = self.sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// Sends a request whose answer must be a 200.
    pub(crate) async fn ok(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Result<Bytes> {
        self.ok_as(None, method, path, body.into()).await
    }

    async fn ok_as(&mut self, token: Option<&str>, method: Method, path: &str, body: Bytes) -> Result<Bytes> {
        match self.request_as(token, method, path, body).await? {
            (StatusCode::OK, answer) => Ok(answer),
            (status, answer) => Err(format!("{path}: {status} {}", String::from_utf8_lossy(&answer)).into()),
        }
    }

    /// Pushes operations, all of which must be accepted.
    pub(crate) async fn push(&mut self, body: Bytes) -> Result<()> {
        let answer = self.ok(Method::POST, "/operations", body).await?;
        expect(answer.ends_with(br#"],"conflicts":[]}"#), "a push that is accepted", &answer)
    }

    /// The same with a token.
    pub(crate) async fn push_as(&mut self, token: &str, body: Bytes) -> Result<()> {
        let answer = self.ok_as(Some(token), Method::POST, "/operations", body).await?;
        expect(answer.ends_with(br#"],"conflicts":[]}"#), "a push that is accepted", &answer)
    }

    /// Compacts the whole log of the token's tenant.
    pub(crate) async fn compact_as(&mut self, token: &str) -> Result<()> {
        let body = Bytes::from_static(br#"{"olderThanDays":0}"#);
        let answer = self.ok_as(Some(token), Method::POST, "/compact", body).await?;
        expect(answer.ends_with(br#""hasMore":false}"#), "a compaction that is done", &answer)
    }

    /// Pushes operations, all of which must be in conflict.
    pub(crate) async fn push_conflicts(&mut self, body: Bytes) -> Result<()> {
        let answer = self.ok(Method::POST, "/operations", body).await?;
        expect(answer.starts_with(br#"{"accepted":[],"#), "a push in conflict", &answer)
    }

    /// Pulls a page.
    pub(crate) async fn pull(&mut self, body: String, max_rows: u64) -> Result<PageEnd> {
        let answer = self.ok(Method::POST, "/changes", body).await?;
        // Only the end of the page is parsed, because the time of the server is measured and not that of this program.
        let tail = std::str::from_utf8(&answer[answer.len().saturating_sub(TAIL_MAX_BYTES)..]).unwrap_or_default();
        let cursor = tail.rsplit_once(r#""cursor":""#).and_then(|(_, rest)| rest.split_once('"'));
        let Some((cursor, rest)) = cursor else { return Err("a page without a cursor".into()) };
        let has_more = rest.contains(r#""hasMore":true"#);
        // These operations are small, so only the last page has fewer rows than the limit.
        let rows = if has_more { max_rows } else { count(&answer, "\"synced\":true,") };
        Ok(PageEnd { cursor: cursor.to_owned(), has_more, rows })
    }
}

async fn connect(host: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(host).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move {
        // The request that waits for an answer reports that the connection broke.
        let _ = connection.await;
    });
    Ok(sender)
}

/// The end of a page that certainly contains its cursor, in bytes.
const TAIL_MAX_BYTES: usize = 200;

/// How often a part occurs in a text.
fn count(text: &[u8], piece: &str) -> u64 {
    String::from_utf8_lossy(text).matches(piece).count() as u64
}

fn expect(is_so: bool, what: &str, answer: &[u8]) -> Result<()> {
    if is_so { Ok(()) } else { Err(format!("not {what}: {}", String::from_utf8_lossy(answer)).into()) }
}
