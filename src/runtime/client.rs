//! A small client for HTTP: one request over a connection of its own, without redirects and with a bounded answer.

use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use http::header::{HOST, USER_AGENT};
use http::uri::Scheme;
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

/// A server that is asked over an encrypted connection, or one on this machine.
#[derive(Debug)]
pub(super) struct Remote {
    host: String,
    port: u16,
    authority: HeaderValue,
    path: String,
    /// `None` for plain HTTP, which is allowed only to this machine.
    tls: Option<Arc<ClientConfig>>,
}

impl Remote {
    /// Reads a URL, and the certificate authorities that the system trusts. `None` if it is not a URL of HTTPS, or of
    /// plain HTTP to this machine.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let uri: Uri = url.parse().ok()?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@'))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let is_safe = is_https || uri.scheme() == Some(&Scheme::HTTP) && is_loopback;
        if host.is_empty() || !is_safe {
            return None;
        }
        Some(Self {
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: HeaderValue::from_str(authority.as_str()).ok()?,
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            tls: is_https.then(|| Arc::new(tls())),
            host,
        })
    }

    /// The path of the URL with its query.
    pub(super) fn path(&self) -> &str {
        &self.path
    }

    /// Sends a request, and reads the body of the answer if its status is a success. The caller limits the time.
    pub(super) async fn send(
        &self,
        mut request: Request<Full<Bytes>>,
        answer_max_bytes: usize,
    ) -> Result<Response<Bytes>, String> {
        request.headers_mut().insert(HOST, self.authority.clone());
        let agent = HeaderValue::from_static(concat!("syncflow-server/", env!("CARGO_PKG_VERSION")));
        request.headers_mut().insert(USER_AGENT, agent);
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        let Some(tls) = &self.tls else { return exchange(stream, request, answer_max_bytes).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| "the host is not a name".to_owned())?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        let stream = stream.map_err(|error| format!("no encrypted connection: {error}"))?;
        exchange(stream, request, answer_max_bytes).await
    }
}

/// A task that drives a connection, and ends when this is dropped.
struct Driver(JoinHandle<hyper::Result<()>>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
    answer_max_bytes: usize,
) -> Result<Response<Bytes>, String> {
    let broken = |error: hyper::Error| format!("no answer: {error}");
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let _driver = Driver(tokio::spawn(connection));
    let answer = sender.send_request(request).await.map_err(broken)?;
    let (head, body) = answer.into_parts();
    if !head.status.is_success() {
        return Ok(Response::from_parts(head, Bytes::new()));
    }
    let body = Limited::new(body, answer_max_bytes).collect().await;
    let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?.to_bytes();
    Ok(Response::from_parts(head, body))
}

fn tls() -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("the provider knows the versions of TLS that it comes with")
        .with_root_certificates(roots)
        .with_no_client_auth()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_encrypted_unless_it_leads_to_this_machine() {
        for good in [
            "https://id.example.com/jwks.json",
            "https://id.example.com",
            "https://id.example.com:8443/a?b=c",
            "https://192.0.2.1/",
            "http://localhost:9/jwks",
            "http://127.0.0.1/jwks",
            "http://[::1]:9/jwks",
        ] {
            assert!(Remote::parse(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "jwks.json",
            "/jwks.json",
            "id.example.com",
            "http://id.example.com/jwks.json",
            "http://192.0.2.1/",
            "http://localhost.evil.example/",
            "https://user:password@id.example.com/",
            "ftp://localhost/",
            "file:///etc/passwd",
            "https://",
            "https://a b/",
        ] {
            assert!(Remote::parse(bad).is_none(), "{bad}");
        }
        let remote = Remote::parse("https://id.example.com/keys?x=1").unwrap();
        assert_eq!(
            (remote.port, remote.authority.as_bytes(), remote.path()),
            (443, &b"id.example.com"[..], "/keys?x=1")
        );
    }
}
