//! Passwords that change while a function runs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::routing::post;
use futures_util::future::join_all;
use serde_json::json;
use syncflow_server::store::postgres::{Login, LoginSource, PostgresOptions, PostgresStore};
use syncflow_server::store::{ErrorKind, Store as _};

use super::database::Guarded;
use super::moto::{StoredSecret, put_parameter, settings};
use super::secrets::{function, status};
use crate::endpoints::local::Local;
use crate::lambda::http::Listening;

#[tokio::test]
async fn after_a_rotation_the_next_request_answers_whichever_came_first() {
    let database = Guarded::start("hunter-1").await;
    let secret = StoredSecret::new(&database.secret("hunter-1")).await;
    let mut function = function(&[("POSTGRES_SECRET_ARN", &secret.arn)]).await;
    assert_eq!(status(&mut function).await, 200);
    // The password changes in the database first.
    database.set_password("hunter-2").await;
    secret.put(&database.secret("hunter-2")).await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
    // The password changes in the secret first.
    secret.put(&database.secret("hunter-3")).await;
    database.end_connections().await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
    database.set_password("hunter-3").await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
    for password in ["hunter-2", "hunter-3"] {
        assert!(!function.log().contains(password), "{}", function.log());
    }
}

#[tokio::test]
async fn between_the_two_steps_of_a_rotation_requests_are_answered_with_503_and_then_it_recovers() {
    let database = Guarded::start("hunter-1").await;
    let parameter = put_parameter(None, "hunter-1").await;
    let address = database.address_of_role();
    let mut function = function(&[("POSTGRES_PARAMETER", &parameter), ("POSTGRES_CONNECTION_STRING", &address)]).await;
    assert_eq!(status(&mut function).await, 200);
    database.set_password("hunter-2").await;
    assert_eq!(status(&mut function).await, 503);
    put_parameter(Some(&parameter), "hunter-2").await;
    // The parameter is not read again until a pause is over.
    for _ in 0..100 {
        if status(&mut function).await == 200 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the new password is never found: {}", function.log());
}

/// Logins that count the calls.
struct Counted {
    password: &'static str,
    after_refusal: Option<&'static str>,
    asked: AtomicUsize,
    asked_after_refusal: AtomicUsize,
}

impl Counted {
    fn new(password: &'static str, after_refusal: Option<&'static str>) -> Arc<Self> {
        let (asked, asked_after_refusal) = (AtomicUsize::new(0), AtomicUsize::new(0));
        Arc::new(Self { password, after_refusal, asked, asked_after_refusal })
    }

    fn counts(&self) -> (usize, usize) {
        (self.asked.load(Ordering::Relaxed), self.asked_after_refusal.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl LoginSource for Counted {
    async fn login(&self) -> Result<Login, Box<dyn std::error::Error + Send + Sync>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(Login { user: None, password: self.password.to_owned() })
    }

    async fn login_after(&self, _: &Login) -> Result<Option<Login>, Box<dyn std::error::Error + Send + Sync>> {
        self.asked_after_refusal.fetch_add(1, Ordering::Relaxed);
        Ok(self.after_refusal.map(|password| Login { user: None, password: password.to_owned() }))
    }
}

fn store(database: &Guarded, logins: &Arc<Counted>, pool_size: usize) -> PostgresStore {
    let logins: Arc<dyn LoginSource> = Arc::clone(logins) as _;
    let options =
        PostgresOptions { logins: Some(logins), pool_size, ..PostgresOptions::new(&database.address_of_role()) };
    PostgresStore::new(&options).expect("the options are right")
}

#[tokio::test]
async fn each_new_connection_asks_who_connects_and_a_kept_one_does_not() {
    let database = Guarded::start("hunter-1").await;
    let logins = Counted::new("hunter-1", None);
    let store = store(&database, &logins, 1);
    for _ in 0..3 {
        store.check().await.expect("the store is there");
    }
    assert_eq!(logins.counts(), (1, 0));
    database.end_connections().await;
    store.check().await.expect("the store is there");
    assert_eq!(logins.counts(), (2, 0));
}

#[tokio::test]
async fn a_login_that_is_refused_twice_is_given_up() {
    let database = Guarded::start("hunter-1").await;
    for (after_refusal, expected) in [(None, (1, 1)), (Some("wrong too"), (1, 1))] {
        let logins = Counted::new("wrong", after_refusal);
        let error = store(&database, &logins, 1).check().await.expect_err("the password is wrong");
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
        assert_eq!(logins.counts(), expected);
    }
    let logins = Counted::new("wrong", Some("hunter-1"));
    store(&database, &logins, 1).check().await.expect("the second login is right");
}

#[tokio::test]
async fn many_connections_at_once_get_over_a_rotation() {
    let database = Guarded::start("hunter-1").await;
    let logins = Counted::new("wrong", Some("hunter-1"));
    let store = store(&database, &logins, 4);
    for checked in join_all((0..16).map(|_| store.check())).await {
        checked.expect("every connection finds the login that works");
    }
}

/// An emulation of AWS that returns `secret` and counts how often it is read.
async fn counting_aws(secret: Arc<Mutex<String>>, reads: Arc<AtomicUsize>) -> Listening {
    let answer = move || {
        reads.fetch_add(1, Ordering::Relaxed);
        let text = secret.lock().expect("no panic").clone();
        async move { json!({"SecretString": text}).to_string() }
    };
    Listening::start(Router::new().route("/", post(answer))).await
}

#[tokio::test]
async fn a_rotation_is_read_once_for_all_who_wait() {
    let database = Guarded::start("hunter-1").await;
    let (secret, reads) = (Arc::new(Mutex::new(database.secret("hunter-1"))), Arc::new(AtomicUsize::new(0)));
    let aws = counting_aws(Arc::clone(&secret), Arc::clone(&reads)).await;
    let endpoint = format!("http://{}", aws.authority());
    let mut variables = settings();
    variables.extend(
        [("AWS_ENDPOINT_URL", endpoint.as_str()), ("POSTGRES_SECRET_ARN", "secret"), ("POOL_SIZE", "8")]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
    );
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let directory = tempfile::tempdir().expect("a directory");
    let local = Local::start(directory.path(), &variables).await;
    let url = format!("http://{}/stats", local.authority());
    let ask_at_once = async || {
        for answer in join_all((0..32).map(|_| reqwest::get(&url))).await {
            assert_eq!(answer.expect("an answer").status(), 200);
        }
    };
    ask_at_once().await;
    assert_eq!(reads.load(Ordering::Relaxed), 1, "the secret is read when the server starts");
    *secret.lock().expect("no panic") = database.secret("hunter-2");
    database.set_password("hunter-2").await;
    ask_at_once().await;
    assert_eq!(reads.load(Ordering::Relaxed), 2, "the secret is read again");
}
