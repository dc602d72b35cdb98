//! Clients of a server that may die at any moment.

use std::collections::BTreeSet;

use reqwest::Client;
use serde_json::{Value, json};
use syncflow_server::core::cursor::{Cursor, Position};

/// What a client sent, and what it was told.
#[derive(Debug, Default)]
pub(crate) struct Account {
    /// The ids of every push, answered or not.
    pub(crate) pushes: Vec<Vec<String>>,
    /// The ids that were answered as accepted.
    pub(crate) accepted: BTreeSet<String>,
}

impl Account {
    /// Takes in what another client did.
    pub(crate) fn merge(&mut self, other: Self) {
        self.pushes.extend(other.pushes);
        self.accepted.extend(other.accepted);
    }
}

/// An insert into a document of its own, with about so many bytes of data.
pub(crate) fn operation(id: &str, data_bytes: usize) -> Value {
    json!({
        "id": id, "type": "insert", "collection": "todos", "docId": id, "data": {"text": "x".repeat(data_bytes)},
        "timestamp": 1, "clientId": "pusher", "vectorClock": {"pusher": 1},
    })
}

/// Pushes, and answers the ids that were accepted; nothing where the server broke off.
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

/// Pushes batch after batch until the server breaks off, and tells `answered` of each that did not; the names of the
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

/// Reads the whole log, page by page, and hands each page's ids on.
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
