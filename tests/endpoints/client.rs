//! A client that checks every answer against the OpenAPI document.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use syncflow_server::limits::api::REQUEST_BODY_MAX_BYTES;

use super::contract;

/// A server from the view of a client.
pub(crate) struct Api {
    base: String,
    /// The largest body that the server accepts, in bytes.
    pub(super) body_max_bytes: usize,
    client: Client,
}

/// A whole answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) bytes: Vec<u8>,
}

impl Api {
    /// The server at a base URL without a slash at its end.
    pub(super) fn at(base: String) -> Self {
        Self { base, body_max_bytes: REQUEST_BODY_MAX_BYTES, client: Client::new() }
    }

    /// Sets another limit for the server's bodies, in bytes.
    pub(super) fn with_body_max_bytes(self, body_max_bytes: usize) -> Self {
        Self { body_max_bytes, ..self }
    }

    /// The host and port, for tests that speak HTTP themselves.
    pub(crate) fn authority(&self) -> &str {
        self.base.trim_start_matches("http://")
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], "").await
    }

    pub(super) async fn post(&self, path: &str, body: impl Into<Vec<u8>>) -> Answer {
        self.send(Method::POST, path, &[], body).await
    }

    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let answer = self.send_unchecked(method.clone(), path, headers, body.into()).await;
        contract::check(&method, path, &answer);
        answer
    }

    /// Sends a request. The caller must check the answer against the document, for example after it has decompressed
    /// it.
    pub(super) async fn send_unchecked(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.base));
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            request = request.header(name, HeaderValue::from_str(value).expect("a header's value"));
        }
        if !body.is_empty() {
            request = request.body(body);
        }
        let response = request.send().await.expect("the server answers");
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let bytes = response.bytes().await.expect("the answer is whole").to_vec();
        Answer { status, headers, bytes }
    }

    /// Posts a request that must succeed. After a 503 it is sent again, as every client does.
    ///
    /// On a busy machine the emulation of MongoDB may need longer than the store waits.
    async fn post_patiently(&self, path: &str, body: String) -> Answer {
        const ATTEMPTS: usize = 20;
        for _ in 1..ATTEMPTS {
            let answer = self.post(path, body.clone()).await;
            if answer.status != 503 {
                assert_eq!(answer.status, 200, "{}", answer.text());
                return answer;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        panic!("{path} is never answered")
    }

    /// Pushes well-formed operations and returns the two lists of the answer.
    pub(super) async fn push(&self, operations: &[Value]) -> (Vec<Value>, Vec<Value>) {
        let body = json!({"clientId": "pusher", "operations": operations}).to_string();
        let answer = self.post_patiently("/operations", body).await;
        (list(&answer.json()["accepted"]), list(&answer.json()["conflicts"]))
    }

    /// Pushes operations, all of which must be accepted.
    pub(super) async fn accept(&self, operations: &[Value]) {
        let (accepted, conflicts) = self.push(operations).await;
        assert_eq!((accepted.as_slice(), conflicts.as_slice()), (operations, &[][..]));
    }

    /// Pulls a page.
    pub(super) async fn pull(&self, request: &Value) -> Value {
        self.post_patiently("/changes", request.to_string()).await.json()
    }

    /// The cursor of a client that has everything.
    pub(super) async fn head(&self) -> Value {
        self.pull(&json!({"cursor": null, "limit": 1_000})).await["cursor"].clone()
    }

    /// Pulls everything like a client of the original protocol. Its next `since` is the greatest timestamp of the page
    /// that it applied, and it skips known ids. Returns the ids in the order in which they came.
    pub(super) async fn pull_as_original(&self, client: &str, since: u64, limit: usize) -> Vec<String> {
        let (mut since, mut ids) = (since, Vec::new());
        loop {
            let page = self.pull(&json!({"clientId": client, "since": since, "limit": limit})).await;
            let operations = list(&page["operations"]);
            if let Some(greatest) = operations.iter().filter_map(|operation| operation["timestamp"].as_u64()).max() {
                since = greatest;
            }
            for id in operations.iter().map(|operation| text(&operation["id"])) {
                if !ids.contains(&id) {
                    ids.push(id);
                }
            }
            if page["hasMore"] == false {
                return ids;
            }
        }
    }

    pub(super) async fn stats(&self) -> Value {
        self.get("/stats").await.json()
    }

    /// A document, or `None` if it does not exist.
    pub(super) async fn document(&self, collection: &str, id: &str) -> Option<Value> {
        let answer = self.get(&format!("/documents/{collection}/{id}")).await;
        (answer.status == 200).then(|| answer.json())
    }

    /// The ids of the documents that a query returns.
    pub(super) async fn query(&self, collection: &str, request: &Value) -> Vec<String> {
        let answer = self.post(&format!("/documents/{collection}/query"), request.to_string()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        list(&answer.json()["documents"]).iter().map(|document| text(&document["_id"])).collect()
    }
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }

    pub(super) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|problem| panic!("{problem}: {}", self.text()))
    }

    /// The value of a header, or an empty text if the answer does not have it.
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("a header in ASCII"))
    }

    /// The names of the fields in a 400.
    pub(super) fn faulty_fields(&self) -> Vec<String> {
        assert_eq!(self.status, 400, "{}", self.text());
        list(&self.json()["fields"]).iter().map(text).collect()
    }
}

/// An insert of `{"n": timestamp}` by a client whose counter is `counter`.
pub(super) fn insert(id: &str, document: &str, client: &str, counter: u64, timestamp: u64) -> Value {
    json!({
        "id": id, "type": "insert", "collection": "todos", "docId": document, "data": {"n": timestamp},
        "timestamp": timestamp, "clientId": client, "synced": false, "vectorClock": {client: counter},
    })
}

/// The same operation with another value of a key.
pub(super) fn with(mut operation: Value, key: &str, value: Value) -> Value {
    operation[key] = value;
    operation
}

pub(super) fn list(value: &Value) -> Vec<Value> {
    value.as_array().unwrap_or_else(|| panic!("{value} is not a list")).clone()
}

pub(super) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value} is not a text")).to_owned()
}

/// The ids of a page's operations.
pub(super) fn ids(page: &Value) -> Vec<String> {
    list(&page["operations"]).iter().map(|operation| text(&operation["id"])).collect()
}
