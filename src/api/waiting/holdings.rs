//! The share of the server that a request has while it is served. A request that waits for changes gives it back.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::limits::api::WAIT_MAX_SECONDS;

/// The share of one request.
#[async_trait]
pub(crate) trait Holdings: Send + Sync {
    /// Gives all of it back.
    fn give_back(&self);

    /// Takes it again, perhaps after a short time. Returns whether there was room.
    async fn take_again(&self) -> bool;
}

/// The share of a request, and the time that it may wait. The server puts it into the request's extensions.
#[derive(Clone, Default)]
pub(crate) struct Holding {
    share: Option<Arc<dyn Holdings>>,
    wait_max: Option<Duration>,
}

impl Holding {
    /// A request with this share, which must not wait longer than this.
    #[cfg(feature = "runtime")]
    pub(crate) fn new(share: Arc<dyn Holdings>, wait_max: Duration) -> Self {
        Self { share: Some(share), wait_max: Some(wait_max) }
    }

    /// The time that a request waits that asks to wait for so long.
    pub(in crate::api) fn wait_time(&self, asked: Duration) -> Duration {
        asked.min(self.wait_max.unwrap_or(Duration::from_secs(WAIT_MAX_SECONDS)))
    }

    /// Gives the share back.
    pub(in crate::api) fn give_back(&self) {
        if let Some(share) = &self.share {
            share.give_back();
        }
    }

    /// Takes the share again. Returns whether there was room.
    pub(in crate::api) async fn take_again(&self) -> bool {
        match &self.share {
            Some(share) => share.take_again().await,
            None => true,
        }
    }
}

impl fmt::Debug for Holding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Holding").field("wait_max", &self.wait_max).finish_non_exhaustive()
    }
}

impl<S: Sync> FromRequestParts<S> for Holding {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(head.extensions.get().cloned().unwrap_or_default())
    }
}

/// The answer to a request that asked to wait for changes. It is an extension of the answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MayWait;

/// An answer that goes on for minutes and has hardly any bytes. It is an extension of the answer, which therefore has
/// no share, and more time than others.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastsLong;
