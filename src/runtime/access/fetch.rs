//! Fetches the keys of a provider with one GET, which follows no redirect and reads no more than a set of keys may
//! have.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Bytes;
use http::header::{ACCEPT, HOST, USER_AGENT};
use http::uri::Scheme;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::key_cache::Provider;
use crate::limits::auth::JWKS_MAX_BYTES;

/// A provider that publishes its keys at a URL.
#[derive(Debug)]
pub(super) struct KeyUrl {
    host: String,
    port: u16,
    authority: String,
    path: String,
    /// `None` for plain HTTP, which is allowed only to this machine.
    tls: Option<Arc<ClientConfig>>,
}

impl KeyUrl {
    /// Reads a URL, and the certificate authorities that the system trusts.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be a URL such as https://id.example.com/jwks.json; http is for this machine alone";
        let uri: Uri = url.parse().map_err(|_| RULE)?;
        let authority = uri.authority().filter(|authority| !authority.as_str().contains('@')).ok_or(RULE)?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let is_loopback = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let is_https = uri.scheme() == Some(&Scheme::HTTPS);
        let is_safe = is_https || uri.scheme() == Some(&Scheme::HTTP) && is_loopback;
        if host.is_empty() || !is_safe {
            return Err(RULE);
        }
        Ok(Self {
            port: authority.port_u16().unwrap_or(if is_https { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
            tls: is_https.then(|| Arc::new(tls())),
            host,
        })
    }

    async fn fetch(&self) -> Result<String, String> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| format!("no connection: {error}"))?;
        let Some(tls) = &self.tls else { return self.ask(stream).await };
        let name = ServerName::try_from(self.host.clone()).map_err(|_| "the host is not a name".to_owned())?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        self.ask(stream.map_err(|error| format!("no encrypted connection: {error}"))?).await
    }

    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Result<String, String> {
        let broken = |error: hyper::Error| format!("no answer: {error}");
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = tokio::spawn(connection);
        let request = Request::get(&self.path)
            .header(HOST, &self.authority)
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("syncflow-server/", env!("CARGO_PKG_VERSION")))
            .body(Empty::<Bytes>::new());
        let request = request.map_err(|error| error.to_string())?;
        let answered = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            if answer.status() != StatusCode::OK {
                return Err(format!("the answer has the status {}", answer.status().as_u16()));
            }
            let body = Limited::new(answer.into_body(), JWKS_MAX_BYTES).collect().await;
            let body = body.map_err(|error| format!("the answer cannot be read: {error}"))?.to_bytes();
            String::from_utf8(body.into()).map_err(|_| "the answer is not in UTF-8".to_owned())
        };
        let answered = answered.await;
        connection.abort();
        answered
    }
}

#[async_trait]
impl Provider for KeyUrl {
    async fn keys(&self) -> Result<String, String> {
        self.fetch().await
    }
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
            assert!(KeyUrl::parse(good).is_ok(), "{good}");
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
            assert!(KeyUrl::parse(bad).is_err(), "{bad}");
        }
        let url = KeyUrl::parse("https://id.example.com/keys?x=1").unwrap();
        assert_eq!((url.port, url.authority.as_str(), url.path.as_str()), (443, "id.example.com", "/keys?x=1"));
    }
}
