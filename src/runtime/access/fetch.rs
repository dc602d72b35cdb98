//! Fetches the keys of a provider with one GET, which follows no redirect and reads no more than a set of keys may
//! have.

use async_trait::async_trait;
use axum::body::Bytes;
use http::header::ACCEPT;
use http::{Request, StatusCode};
use http_body_util::Full;

use super::key_cache::Provider;
use crate::limits::auth::JWKS_MAX_BYTES;
use crate::runtime::client::Remote;

/// A provider that publishes its keys at a URL.
#[derive(Debug)]
pub(super) struct KeyUrl(Remote);

impl KeyUrl {
    /// Reads a URL, and the certificate authorities that the system trusts.
    pub(super) fn parse(url: &str) -> Result<Self, &'static str> {
        const RULE: &str = "must be a URL such as https://id.example.com/jwks.json; http is for this machine alone";
        Remote::parse(url).map(Self).ok_or(RULE)
    }

    async fn fetch(&self) -> Result<String, String> {
        let request = Request::get(self.0.path()).header(ACCEPT, "application/json").body(Full::<Bytes>::default());
        let request = request.map_err(|error| error.to_string())?;
        let answer = self.0.send(request, JWKS_MAX_BYTES).await?;
        if answer.status() != StatusCode::OK {
            return Err(format!("the answer has the status {}", answer.status().as_u16()));
        }
        String::from_utf8(answer.into_body().into()).map_err(|_| "the answer is not in UTF-8".to_owned())
    }
}

#[async_trait]
impl Provider for KeyUrl {
    async fn keys(&self) -> Result<String, String> {
        self.fetch().await
    }
}
