//! Clients of a server that may be killed at any moment.

use std::collections::BTreeSet;

use reqwest::Client;
use serde_json::{Value, json};
use syncflow_server::core::cursor::{Cursor, Position};

/// The pushes of a client and their answers.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// The operation ids of every push, answered or not.
    pub(crate) pushes: Vec<Vec<String>>,
    /// The operation ids in answers as accepted.
    pub(crate) accepted: BTreeSet<String>,
}

impl Account {
    /// Adds the account of another client.
    pub(crate) fn merge(&mut self, other: Self) {
        self.pushes.extend(other.pushes);
        self.accepted.extend(other.accepted);
    }
}

/// An insert of a document of its own, with about `data_bytes` bytes of data.
pub(crate) fn operation(id: &str, data_bytes: usize) -> Value {
    json!({
        "id": id, "type": "insert", "collection": "todos", "docId": id, "data": {"text": "x".repeat(data_bytes)},
        "timestamp": 1, "clientId": "pusher", "vectorClock": {"pusher": 1},
    })
}

/// Pushes. Returns the accepted ids, or `None` if the connection broke.
pub(crate) async fn push(client: &Client, authority: &str, operations: &[Value]) -> Option<Vec<String>> {
    let body = json!({"clientId": "pusher", "operations": operations}).to_string();
    let response = client.post(format!("http://{authority}/operations")).body(body).send().await.ok()?;
    let status = response.status();
    let answer = response.text().await.ok()?;
    assert_eq!(status, 200, "{answer}");
    let answer: Value = serde_json::from_str(&answer).expect("an answer that came whole is JSON");
    assert_eq!(answer["conflicts"], json!([]));
    Some(ids(&answer["accepted"]))
}

/// Pushes batch after batch until a connection breaks, and calls `answered` after each answer. The ids of the
/// operations begin with `name`.
pub(crate) async fn push_until_it_breaks(
    authority: &str,
    name: &str,
    mut batch_size: impl FnMut() -> usize,
    answered: impl Fn(),
) -> Account {
    let client = Client::new();
    let mut account = Account::default();
    loop {
        let number = account.pushes.len();
        let push_ids: Vec<String> = (0..batch_size()).map(|index| format!("{name}-{number}-{index}")).collect();
        account.pushes.push(push_ids.clone());
        let operations: Vec<Value> = push_ids.iter().map(|id| operation(id, 10)).collect();
        let Some(accepted) = push(&client, authority, &operations).await else { return account };
        assert_eq!(accepted, push_ids, "every operation is accepted");
        account.accepted.extend(accepted);
        answered();
    }
}

/// Reads the whole log, page by page, and calls `take` with the ids of each page.
pub(crate) async fn read_log(authority: &str, mut take: impl FnMut(Vec<String>)) {
    let client = Client::new();
    let mut cursor = Cursor::Log(Position::START).to_string();
    loop {
        let body = json!({"cursor": cursor, "limit": 1000}).to_string();
        let response = client.post(format!("http://{authority}/changes")).body(body).send().await;
        let page = response.expect("the server answers").text().await.expect("the answer is whole");
        let page: Value = serde_json::from_str(&page).expect("it is JSON");
        take(ids(&page["operations"]));
        page["cursor"].as_str().expect("a page has a cursor").clone_into(&mut cursor);
        if page["hasMore"] == false {
            return;
        }
    }
}

fn ids(operations: &Value) -> Vec<String> {
    let operations = operations.as_array().expect("a list").iter();
    operations.map(|operation| operation["id"].as_str().expect("an id").to_owned()).collect()
}
