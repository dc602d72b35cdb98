//! The keys of an identity provider, fetched from its URL.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use reqwest::Method;
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::{Value, json};
use syncflow_server::auth::sign_hs256;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;
use syncflow_server::store::memory::MemoryStore;

use crate::endpoints::server::{self, Clock, Server};
use crate::lambda::http::Listening;

/// An issuer that signs tokens and publishes its keys.
struct Issuer(Ed25519KeyPair);

impl Issuer {
    fn new() -> Self {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Self(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn jwk(&self) -> Value {
        json!({"kty": "OKP", "crv": "Ed25519", "kid": "key", "x": URL_SAFE_NO_PAD.encode(self.0.public_key())})
    }

    /// A header with a token that is valid for an hour.
    fn authorization(&self) -> String {
        let claims = json!({
            "iss": "me", "aud": "sync", "sub": "ann", "exp": TokioHost.now_ms().get() / 1_000 + 3_600,
        });
        let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", encode(json!({"alg": "EdDSA", "kid": "key"})), encode(claims));
        format!("Bearer {message}.{}", URL_SAFE_NO_PAD.encode(self.0.sign(message.as_bytes())))
    }
}

type Answer = Arc<Mutex<Box<dyn Fn() -> Response + Send>>>;

/// A provider whose answer can be changed.
async fn provider(answer: impl Fn() -> Response + Send + 'static) -> (Listening, Answer) {
    let answer: Answer = Arc::new(Mutex::new(Box::new(answer)));
    let shared = Arc::clone(&answer);
    let keys = get(async move || (shared.lock().unwrap())());
    let elsewhere = get(async || "moved");
    (Listening::start(Router::new().route("/keys", keys).route("/elsewhere", elsewhere)).await, answer)
}

async fn server_with(provider: &Listening, clock: Arc<Clock>) -> Server {
    let url = format!("http://{}/keys", provider.authority());
    let settings =
        [("AUTH_JWKS_URL", &*url), ("AUTH_ISSUER", "me"), ("AUTH_AUDIENCE", "sync"), ("AUTH_TENANT_CLAIM", "sub")];
    server::start_with(Arc::new(MemoryStore::new()), clock, &settings).await
}

async fn status(server: &Server, authorization: &str) -> u16 {
    server.api.send(Method::GET, "/stats", &[("authorization", authorization)], "").await.status
}

fn keys_of(issuers: &[&Issuer]) -> impl Fn() -> Response + Send + 'static {
    let odd = [json!({"kty": "XYZ", "kid": "x"}), json!({"kty": "oct", "k": "AA"}), json!(5)];
    let keys: Vec<Value> = odd.into_iter().chain(issuers.iter().map(|issuer| issuer.jwk())).collect();
    let text = json!({ "keys": keys }).to_string();
    move || text.clone().into_response()
}

#[tokio::test]
async fn a_key_that_the_provider_removes_is_refused_after_ten_minutes_although_its_token_is_remembered() {
    let (old, new) = (Issuer::new(), Issuer::new());
    let (listening, answer) = provider(keys_of(&[&old])).await;
    let clock = Clock::at(TokioHost.now_ms());
    let server = server_with(&listening, Arc::clone(&clock)).await;
    let (by_old, by_new) = (old.authorization(), new.authorization());
    assert_eq!([status(&server, &by_old).await, status(&server, &by_new).await], [200, 401]);
    *answer.lock().unwrap() = Box::new(keys_of(&[&new]));
    assert_eq!(status(&server, &by_old).await, 200);
    clock.advance(10 * 60_000);
    assert_eq!([status(&server, &by_old).await, status(&server, &by_new).await], [401, 200]);
}

#[tokio::test]
async fn a_provider_that_answers_with_something_else_is_answered_with_503() {
    let issuer = Issuer::new();
    let whole = keys_of(&[&issuer])();
    let whole = axum::body::to_bytes(whole.into_body(), usize::MAX).await.unwrap();
    let answers: [Box<dyn Fn() -> Response + Send>; 6] = [
        Box::new(|| StatusCode::INTERNAL_SERVER_ERROR.into_response()),
        Box::new(|| Redirect::temporary("/elsewhere").into_response()),
        Box::new(|| Redirect::temporary("http://169.254.169.254/keys").into_response()),
        Box::new(move || [&whole[..], &vec![b' '; 5 * 1024 * 1024]].concat().into_response()),
        Box::new(|| "<html>".into_response()),
        Box::new(|| b"{\"keys\":[\xff]}".into_response()),
    ];
    for (number, wrong) in answers.into_iter().enumerate() {
        let (listening, answer) = provider(wrong).await;
        let clock = Clock::at(TokioHost.now_ms());
        let server = server_with(&listening, Arc::clone(&clock)).await;
        let authorization = issuer.authorization();
        let refused = server.api.send(Method::GET, "/stats", &[("authorization", &authorization)], "").await;
        assert_eq!((refused.status, refused.header("retry-after")), (503, "1"), "answer {number}");
        // A request without a token does not wait for the provider.
        assert_eq!(server.api.get("/stats").await.status, 401);
        *answer.lock().unwrap() = Box::new(keys_of(&[&issuer]));
        clock.advance(1_000);
        assert_eq!(status(&server, &authorization).await, 200, "answer {number}");
    }
}

#[tokio::test]
async fn a_provider_that_cannot_be_reached_is_answered_with_503() {
    let issuer = Issuer::new();
    let (listening, _) = provider(keys_of(&[&issuer])).await;
    let clock = Clock::at(TokioHost.now_ms());
    let server = server_with(&listening, Arc::clone(&clock)).await;
    let authorization = issuer.authorization();
    drop(listening);
    assert_eq!(status(&server, &authorization).await, 503);
}

#[tokio::test]
async fn a_file_of_keys_is_read_again_when_it_changes() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("keys.json");
    let write = |keys: &[&Issuer]| {
        let keys: Vec<Value> = keys.iter().map(|issuer| issuer.jwk()).collect();
        std::fs::write(&file, format!("\u{feff}{}\n", json!({ "keys": keys }))).expect("it is written");
    };
    let (old, new) = (Issuer::new(), Issuer::new());
    write(&[&old]);
    let path = file.to_str().expect("text");
    let settings =
        [("AUTH_JWKS_FILE", path), ("AUTH_ISSUER", "me"), ("AUTH_AUDIENCE", "sync"), ("AUTH_TENANT_CLAIM", "sub")];
    let clock = Clock::at(TokioHost.now_ms());
    let server = server::start_with(Arc::new(MemoryStore::new()), Arc::clone(&clock) as _, &settings).await;
    let (by_old, by_new) = (old.authorization(), new.authorization());
    let statuses = async || [status(&server, &by_old).await, status(&server, &by_new).await];
    assert_eq!(statuses().await, [200, 401]);
    write(&[&new]);
    assert_eq!(statuses().await, [200, 401], "the file is trusted for a while");
    clock.advance(1_000);
    assert_eq!(statuses().await, [401, 200], "although the old token is remembered");
    // A file with a mistake, or without keys, leaves the old keys in place.
    for mistake in ["{", r#"{"keys":[]}"#] {
        std::fs::write(&file, mistake).expect("it is written");
        clock.advance(1_000);
        assert_eq!(statuses().await, [401, 200], "{mistake}");
    }
    std::fs::remove_file(&file).expect("it is removed");
    clock.advance(1_000);
    assert_eq!(statuses().await, [401, 200]);
    write(&[&old, &new]);
    clock.advance(1_000);
    assert_eq!(status(&server, &by_new).await, 200);
}

#[tokio::test]
async fn the_keys_of_a_provider_and_a_secret_may_stand_in_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let (keys, secret) = (directory.path().join("keys.json"), directory.path().join("secret"));
    let issuer = Issuer::new();
    std::fs::write(&keys, json!({"keys": [issuer.jwk()]}).to_string()).expect("it is written");
    std::fs::write(&secret, "hunter2 is not a secret to be used\n").expect("it is written");
    let claims = json!({"sub": "ann", "exp": TokioHost.now_ms().get() / 1_000 + 3_600});
    let with_secret = format!("Bearer {}", sign_hs256(b"hunter2 is not a secret to be used", &claims));
    let provider = [("AUTH_JWKS_FILE", keys.to_str().expect("text")), ("AUTH_ISSUER", "me"), ("AUTH_AUDIENCE", "sync")];
    let secret = [("AUTH_HS256_SECRET_FILE", secret.to_str().expect("text"))];
    for (settings, of_issuer, of_secret) in [(&provider[..], 200, 401), (&secret, 401, 200)] {
        let settings = [settings, &[("AUTH_TENANT_CLAIM", "sub")]].concat();
        let server = server::start_with(Arc::new(MemoryStore::new()), Clock::at(TokioHost.now_ms()), &settings).await;
        assert_eq!(status(&server, &issuer.authorization()).await, of_issuer, "{settings:?}");
        assert_eq!(status(&server, &with_secret).await, of_secret, "{settings:?}");
    }
}
