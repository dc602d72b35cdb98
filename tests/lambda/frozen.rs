//! A function works after it was frozen between two requests, whatever happened to its connections meanwhile.

use std::time::Duration;

use http::Method;
use serde_json::json;
use syncflow_server::api::Endpoint;
use syncflow_server::core::names::TenantId;
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::limits::store::STORE_IDLE_TRUSTED_MS;

use super::binaries::binary_of;
use super::emulator::Instance;
use super::functions::{directory, event, mongodb_at, postgres_in, push_of, read, sqlite_in};
use crate::postgres::terminate_connections;
use crate::support::mongo_server::MongoServer;
use crate::support::postgres::{Schema, connect, server_url};
use crate::support::postgres_proxy::Proxy;
use crate::support::stores::open_sqlite;

#[tokio::test]
async fn a_function_that_was_frozen_answers_its_next_request_with_what_happened_meanwhile() {
    let (_directory, path) = directory();
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &sqlite_in(&path)).await;
    let mut stats = Instance::start(binary_of(Endpoint::GetStats), &sqlite_in(&path)).await;
    let ask = event(&Method::GET, "/stats", "");
    assert_eq!(read(stats.invoke(&ask).await).1["totalOperations"], 0);
    stats.signal("STOP").await;
    let outcome = push.invoke(&event(&Method::POST, "/operations", &push_of(1, &json!({})))).await;
    assert_eq!(read(outcome).0, 200);
    stats.signal("CONT").await;
    assert_eq!(read(stats.invoke(&ask).await).1["totalOperations"], 1);
    // The frozen function's open connection did not block others either.
    let store = open_sqlite(format!("{path}/syncflow.db").as_ref());
    let stats = store.stats(&TenantId::literal("default"), UnixMs::EPOCH..=UnixMs::EPOCH).await;
    assert_eq!(stats.expect("the store works").operations, 1);
}

/// A function that writes and one that reads.
struct Functions {
    push: Instance,
    stats: Instance,
}

impl Functions {
    async fn start(settings: &[(String, String)]) -> Self {
        Self {
            push: Instance::start(binary_of(Endpoint::PushOperations), settings).await,
            stats: Instance::start(binary_of(Endpoint::GetStats), settings).await,
        }
    }

    async fn signal(&self, name: &str) {
        self.push.signal(name).await;
        self.stats.signal(name).await;
    }

    /// Both functions answer, and the second one reads what the first one wrote.
    async fn work(&mut self, number: u64) {
        let pushed = self.push.invoke(&event(&Method::POST, "/operations", &push_of(number, &json!({})))).await;
        let (status, answer) = read(pushed);
        assert_eq!(status, 200, "{answer}\n{}", self.push.log());
        assert_eq!(answer["accepted"].as_array().map(Vec::len), Some(1), "{answer}");
        let (status, answer) = read(self.stats.invoke(&event(&Method::GET, "/stats", "")).await);
        assert_eq!((status, &answer["totalOperations"]), (200, &json!(number)), "{}", self.stats.log());
    }
}

#[tokio::test]
async fn connections_that_the_server_ends_while_a_function_is_frozen_cost_no_request() {
    let schema = Schema::new();
    let admin = connect(&server_url()).await;
    let mut functions = Functions::start(&postgres_in(&schema, &server_url())).await;
    functions.work(1).await;
    for number in 2..=4 {
        functions.signal("STOP").await;
        assert_eq!(terminate_connections(&admin, &schema).await, 2, "each function has one connection");
        functions.signal("CONT").await;
        functions.work(number).await;
    }
}

#[tokio::test]
async fn connections_that_vanish_without_a_word_while_a_function_is_frozen_cost_no_request() {
    let schema = Schema::new();
    let proxy = Proxy::before(&server_url()).await;
    survive_silence(&proxy, &postgres_in(&schema, proxy.url())).await;
}

/// Functions that reach their database through a proxy work before and after a pause in which the proxy forgets their
/// connections.
async fn survive_silence(proxy: &Proxy, settings: &[(String, String)]) {
    let mut functions = Functions::start(settings).await;
    functions.work(1).await;
    functions.signal("STOP").await;
    proxy.fall_silent();
    // The pause is longer than the store trusts an idle connection.
    tokio::time::sleep(Duration::from_millis(STORE_IDLE_TRUSTED_MS + 500)).await;
    functions.signal("CONT").await;
    functions.work(2).await;
    functions.work(3).await;
}

#[tokio::test]
async fn connections_to_mongodb_that_break_while_a_function_is_frozen_cost_no_request() {
    let mut server = MongoServer::start().await;
    let mut functions = Functions::start(&mongodb_at(&server.uri())).await;
    functions.work(1).await;
    for number in 2..=3 {
        functions.signal("STOP").await;
        server.kill();
        server.start_again().await;
        functions.signal("CONT").await;
        functions.work(number).await;
    }
}

#[tokio::test]
async fn connections_to_mongodb_that_vanish_while_a_function_is_frozen_cost_no_request() {
    let server = MongoServer::start().await;
    let proxy = Proxy::to("127.0.0.1", server.port()).await;
    survive_silence(&proxy, &mongodb_at(&format!("mongodb://{}/?directConnection=true", proxy.url()))).await;
}
