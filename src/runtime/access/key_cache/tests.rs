//! Tests of the cache of keys, with a provider and a clock of their own.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use futures_util::future::{BoxFuture, join_all, pending, ready};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

use super::*;
use crate::limits::auth::JWKS_MAX_BYTES;

const MINUTE_MS: u64 = 60_000;

/// The answer of a provider.
#[derive(Debug, Clone)]
enum Answer {
    Keys(String),
    Failure,
    Never,
}

#[derive(Debug, Clone)]
struct FakeProvider {
    answer: Arc<Mutex<Answer>>,
    fetches: Arc<AtomicUsize>,
}

#[async_trait]
impl Provider for FakeProvider {
    async fn keys(&self) -> Result<String, String> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let answer = self.answer.lock().unwrap().clone();
        tokio::task::yield_now().await;
        match answer {
            Answer::Keys(text) => Ok(text),
            Answer::Failure => Err("down".to_owned()),
            Answer::Never => pending().await,
        }
    }
}

/// A clock that stands still. Waits can be set to end at once.
#[derive(Debug, Default)]
struct FakeHost {
    now_ms: AtomicU64,
    is_hurried: bool,
}

impl Host for FakeHost {
    fn now_ms(&self) -> UnixMs {
        UnixMs::new(self.now_ms.load(Ordering::SeqCst))
    }

    fn random_bits(&self) -> u64 {
        0
    }

    fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
        if self.is_hurried { ready(()).boxed() } else { pending().boxed() }
    }
}

struct World {
    provider: FakeProvider,
    host: Arc<FakeHost>,
    cache: Arc<KeyCache>,
}

impl World {
    fn new(answer: Answer) -> Self {
        Self::with(answer, FakeHost { now_ms: AtomicU64::new(1_800_000_000_000), is_hurried: false })
    }

    fn with(answer: Answer, host: FakeHost) -> Self {
        let provider = FakeProvider { answer: Arc::new(Mutex::new(answer)), fetches: Arc::default() };
        let host = Arc::new(host);
        let cache = KeyCache::new(Box::new(provider.clone()), Arc::clone(&host) as Arc<dyn Host>);
        Self { provider, host, cache }
    }

    fn advance(&self, by_ms: u64) {
        self.host.now_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    fn answers(&self, answer: Answer) {
        *self.provider.answer.lock().unwrap() = answer;
    }

    fn fetches(&self) -> usize {
        self.provider.fetches.load(Ordering::SeqCst)
    }

    /// Whether a key with this id is found.
    async fn knows(&self, id: &str) -> Result<bool, Denied> {
        self.cache.keys(Some(id)).await.map(|keys| keys.knows(id))
    }
}

/// A set of keys with these ids.
fn set(ids: &[&str]) -> Answer {
    let keys = ids.iter().map(|id| {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        let key = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
        let x = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, key.public_key());
        serde_json::json!({"kty": "OKP", "crv": "Ed25519", "kid": id, "x": x})
    });
    Answer::Keys(serde_json::json!({"keys": keys.collect::<Vec<_>>()}).to_string())
}

#[tokio::test]
async fn ten_thousand_unknown_ids_cause_one_fetch_in_half_a_minute() {
    let world = World::new(set(&["a"]));
    assert_eq!(world.knows("a").await, Ok(true));
    for round in 1..4 {
        let ids: Vec<String> = (0..10_000).map(|number| format!("{round}-{number}")).collect();
        let found = join_all(ids.iter().map(|id| world.knows(id))).await;
        assert!(found.iter().all(|found| *found == Ok(false)));
        assert_eq!(world.fetches(), round, "round {round}");
        world.advance(JWKS_FETCH_PAUSE_MS);
    }
}

#[tokio::test]
async fn requests_share_the_first_fetch() {
    let world = World::new(set(&["a"]));
    let found = join_all((0..100).map(|_| world.knows("a"))).await;
    assert!(found.iter().all(|found| *found == Ok(true)));
    assert_eq!(world.fetches(), 1);
}

#[tokio::test]
async fn a_new_key_is_found_and_a_removed_one_is_refused_after_ten_minutes() {
    let world = World::new(set(&["old"]));
    assert_eq!(world.knows("old").await, Ok(true));
    world.answers(set(&["new"]));
    assert_eq!(world.knows("new").await, Ok(false), "the last fetch was a moment ago");
    world.advance(JWKS_FETCH_PAUSE_MS);
    assert_eq!(world.knows("new").await, Ok(true));
    assert_eq!(world.knows("old").await, Ok(false));
    world.answers(set(&["newest"]));
    world.advance(10 * MINUTE_MS);
    assert_eq!(world.cache.keys(None).await.map(|keys| keys.knows("new")), Ok(false));
}

#[tokio::test]
async fn a_request_with_a_new_key_waits_for_the_fetch_that_another_one_began() {
    let world = World::new(set(&["old"]));
    assert_eq!(world.knows("old").await, Ok(true));
    world.answers(set(&["new"]));
    world.advance(JWKS_FETCH_PAUSE_MS);
    let found = join_all(["unknown", "new", "new"].map(|id| world.knows(id))).await;
    assert_eq!(found, [Ok(false), Ok(true), Ok(true)]);
    assert_eq!(world.fetches(), 2);
}

#[tokio::test]
async fn keys_are_fetched_again_in_the_background() {
    let world = World::new(set(&["a"]));
    let first = world.cache.keys(None).await.unwrap();
    world.advance(6 * MINUTE_MS);
    let now = world.cache.keys(None).await.unwrap();
    assert!(Arc::ptr_eq(&first, &now), "nobody waits");
    while world.fetches() < 2 {
        tokio::task::yield_now().await;
    }
    world.advance(9 * MINUTE_MS);
    let later = world.cache.keys(None).await.unwrap();
    assert!(Arc::ptr_eq(&first, &later), "the same keys are the same object");
}

#[tokio::test]
async fn keys_are_used_for_a_day_while_the_provider_is_down() {
    let world = World::new(set(&["a"]));
    assert_eq!(world.knows("a").await, Ok(true));
    let keys = set(&["a"]);
    for wrong in [
        Answer::Failure,
        Answer::Keys("<html>".to_owned()),
        Answer::Keys(r#"{"keys":[]}"#.to_owned()),
        Answer::Keys(" ".repeat(JWKS_MAX_BYTES + 1)),
    ] {
        world.answers(wrong);
        world.advance(60 * MINUTE_MS);
        let before = world.fetches();
        for _ in 0..10 {
            assert_eq!(world.knows("a").await, Ok(true));
            // When the provider is known to be down, it is asked in the background.
            tokio::task::yield_now().await;
        }
        assert_eq!(world.fetches(), before + 1);
    }
    world.advance(DAY_MS);
    assert_eq!(world.knows("a").await, Err(Denied::Unavailable));
    world.answers(keys);
    world.advance(JWKS_FETCH_PAUSE_MS);
    assert_eq!(world.knows("a").await, Ok(true));
}

#[tokio::test]
async fn a_provider_that_never_answers_holds_nothing_up() {
    let host = FakeHost { now_ms: AtomicU64::new(1_800_000_000_000), is_hurried: true };
    let world = World::with(Answer::Never, host);
    assert_eq!(world.knows("a").await, Err(Denied::Unavailable));
    assert_eq!((world.knows("a").await, world.fetches()), (Err(Denied::Unavailable), 1));
    world.advance(JWKS_FIRST_FETCH_PAUSE_MS);
    assert_eq!((world.knows("a").await, world.fetches()), (Err(Denied::Unavailable), 2));
}

#[tokio::test]
async fn a_fetch_goes_on_if_the_request_is_given_up() {
    let world = World::new(set(&["a"]));
    let mut given_up = Box::pin(world.knows("a"));
    assert!((&mut given_up).now_or_never().is_none());
    drop(given_up);
    while world.cache.state().known.is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!((world.knows("a").await, world.fetches()), (Ok(true), 1));
}

#[tokio::test]
async fn while_the_provider_is_down_only_the_first_request_waits_for_it() {
    let world = World::new(set(&["a"]));
    assert_eq!(world.knows("a").await, Ok(true));
    world.advance(11 * MINUTE_MS);
    world.answers(Answer::Failure);
    assert_eq!(world.knows("a").await, Ok(true));
    world.answers(Answer::Never);
    // This is within a minute of the failure, and no wait ends on this clock.
    for _ in 0..2 {
        world.advance(JWKS_FETCH_PAUSE_MS);
        assert_eq!(world.knows("a").await, Ok(true));
        tokio::task::yield_now().await;
    }
}
