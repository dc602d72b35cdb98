//! The keys of a provider, which may change at any time. They are kept for a while and fetched again before they become
//! old.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::{Either, select};
use futures_util::{FutureExt as _, pin_mut};

use crate::api::Denied;
use crate::auth::Keys;
use crate::core::numbers::UnixMs;
use crate::limits::protocol::DAY_MS;
use crate::limits::runtime::{
    JWKS_FETCH_PAUSE_MS, JWKS_FETCH_TIME_MAX_MS, JWKS_FIRST_FETCH_PAUSE_MS, JWKS_FRESH_MS, JWKS_TRUSTED_MS,
};
use crate::service::Host;

/// Fetches the text of a provider's set of keys.
#[async_trait]
pub(super) trait Provider: Send + Sync + Debug {
    async fn keys(&self) -> Result<String, String>;
}

/// The cached keys of a provider.
///
/// They are used for ten minutes, and fetched again in the background after half of that. An unknown key causes a fetch
/// at once, but at most one every half a minute, however many requests name one. Requests share a fetch. While the
/// provider cannot be reached, the old keys are used for a day.
#[derive(Debug)]
pub(super) struct KeyCache {
    provider: Box<dyn Provider>,
    host: Arc<dyn Host>,
    state: Mutex<State>,
    /// Locked during a fetch.
    flight: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    tried_at_ms: Option<UnixMs>,
    /// Whether the last fetch failed.
    has_failed: bool,
}

/// Keys, and the time when they were fetched.
#[derive(Debug, Clone)]
struct Known {
    keys: Arc<Keys>,
    text: Arc<str>,
    fetched_at_ms: UnixMs,
}

impl KeyCache {
    pub(super) fn new(provider: Box<dyn Provider>, host: Arc<dyn Host>) -> Arc<Self> {
        Arc::new(Self { provider, host, state: Mutex::default(), flight: tokio::sync::Mutex::default() })
    }

    /// The keys for a token that names this key id. The id may be missing among them.
    pub(super) async fn keys(self: &Arc<Self>, id: Option<&str>) -> Result<Arc<Keys>, Denied> {
        let known = self.state().known.clone();
        let age_ms = known.as_ref().map(|known| self.host.now_ms().ms_between(known.fetched_at_ms));
        match (known, age_ms) {
            (Some(known), Some(age_ms)) if age_ms < JWKS_TRUSTED_MS => {
                let is_known = id.is_none_or(|id| known.keys.has(id));
                // A fetch in progress may bring the key.
                let is_fetching = self.flight.try_lock().is_err();
                if !is_known && (is_fetching || self.may_fetch(JWKS_FETCH_PAUSE_MS)) {
                    self.fetch(JWKS_FETCH_PAUSE_MS).await;
                    return Ok(self.state().known.as_ref().map_or(known.keys, |known| Arc::clone(&known.keys)));
                }
                if age_ms >= JWKS_FRESH_MS && self.may_fetch(JWKS_FETCH_PAUSE_MS) {
                    let cache = Arc::clone(self);
                    tokio::spawn(async move { cache.fetch(JWKS_FETCH_PAUSE_MS).await });
                }
                Ok(known.keys)
            }
            (Some(known), Some(age_ms)) if age_ms < DAY_MS && self.has_failed_lately() => {
                // The provider is down. The check whether it is back runs in the background, so that no request waits
                // for it.
                if self.may_fetch(JWKS_FETCH_PAUSE_MS) {
                    let cache = Arc::clone(self);
                    tokio::spawn(async move { cache.fetch(JWKS_FETCH_PAUSE_MS).await });
                }
                Ok(known.keys)
            }
            (Some(_), _) => {
                self.fetch(JWKS_FETCH_PAUSE_MS).await;
                let now_ms = self.host.now_ms();
                let known = self.state().known.clone();
                let usable = known.filter(|known| now_ms.ms_between(known.fetched_at_ms) < DAY_MS);
                usable.map(|known| known.keys).ok_or(Denied::Unavailable)
            }
            (None, _) => {
                self.fetch(JWKS_FIRST_FETCH_PAUSE_MS).await;
                self.state().known.as_ref().map(|known| Arc::clone(&known.keys)).ok_or(Denied::Unavailable)
            }
        }
    }

    /// Whether the last fetch failed so recently that the next one would probably fail too.
    fn has_failed_lately(&self) -> bool {
        self.state().has_failed && !self.may_fetch(2 * JWKS_FETCH_PAUSE_MS)
    }

    /// Whether the last fetch was at least this long ago.
    fn may_fetch(&self, pause_ms: u64) -> bool {
        let tried_at_ms = self.state().tried_at_ms;
        tried_at_ms.is_none_or(|tried_at_ms| self.host.now_ms().ms_between(tried_at_ms) >= pause_ms)
    }

    /// Fetches the keys, unless that was done a moment ago. The fetch continues if the request that started it is
    /// cancelled.
    async fn fetch(self: &Arc<Self>, pause_ms: u64) {
        let cache = Arc::clone(self);
        let fetched = tokio::spawn(async move {
            let _flight = cache.flight.lock().await;
            if cache.may_fetch(pause_ms) {
                cache.state().tried_at_ms = Some(cache.host.now_ms());
                cache.fetch_now().await;
            }
        });
        // The task does not panic.
        let _ = fetched.await;
    }

    async fn fetch_now(&self) {
        let fetched = self.provider.keys();
        let too_long =
            self.host.sleep(Duration::from_millis(JWKS_FETCH_TIME_MAX_MS)).map(|()| Err("it took too long".to_owned()));
        pin_mut!(fetched, too_long);
        let fetched = match select(fetched, too_long).await {
            Either::Left((fetched, _)) | Either::Right((fetched, _)) => fetched,
        };
        let read =
            |text: String| Keys::from_jwks(&text).map(|keys| (keys, text)).map_err(|problem| problem.to_string());
        let fetched = fetched.and_then(read);
        let mut state = self.state();
        state.has_failed = fetched.is_err();
        match fetched {
            Ok((keys, text)) => {
                let fetched_at_ms = self.host.now_ms();
                match &mut state.known {
                    // Equal keys keep the same `Arc`, because the cache of verified tokens compares it.
                    Some(known) if *known.text == *text => known.fetched_at_ms = fetched_at_ms,
                    known => *known = Some(Known { keys: Arc::new(keys), text: text.into(), fetched_at_ms }),
                }
            }
            Err(problem) => tracing::warn!(error.cause = problem, "the keys of AUTH_JWKS_URL cannot be fetched"),
        }
    }

    /// No code panics while it holds the lock.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
