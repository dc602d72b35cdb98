//! Pulls that wait for changes.

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use serde_json::{Value, json};
use syncflow_server::limits::api::SUBJECT_WAITS_MAX_REQUESTS;
use tokio::time::{sleep, timeout};

use super::{A_WHILE, PATIENCE, WAIT_SECONDS, in_memory, server_of, service_over};
use crate::endpoints::client::{Api, ids, insert, with};
use crate::support::stores::for_each_store;

/// The pause before a wait is begun again.
const A_MOMENT: Duration = Duration::from_millis(50);

/// A pull that waits.
fn waiting(cursor: &Value) -> Value {
    json!({"cursor": cursor, "wait": WAIT_SECONDS})
}

/// The cursor behind everything.
async fn newest(api: &Api) -> Value {
    let page = api.pull(&json!({"cursor": null, "limit": 1000})).await;
    assert_eq!(page["hasMore"], false);
    page["cursor"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_finds_something_or_does_not_wait_is_answered_at_once() {
    let (_, server) = in_memory().await;
    server.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    let page = server.api.pull(&waiting(&Value::Null)).await;
    assert_eq!(ids(&page), ["op-1"]);
    let empty = server.api.pull(&json!({"cursor": page["cursor"], "wait": 0})).await;
    assert_eq!((ids(&empty), &empty["cursor"]), (vec![], &page["cursor"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_is_answered_when_something_is_pushed() {
    let (_, server) = in_memory().await;
    let mut cursor = Value::Null;
    for number in 1..=3 {
        let request = waiting(&cursor);
        let pull = server.api.pull(&request);
        let id = format!("op-{number}");
        let push = async {
            sleep(A_WHILE).await;
            server.api.accept(&[insert(&id, &id, "a", number, 1)]).await;
        };
        let (page, ()) = tokio::join!(pull, push);
        assert_eq!(ids(&page), [id]);
        cursor = page["cursor"].clone();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_waits_in_vain_gets_an_empty_page() {
    let (_, server) = in_memory().await;
    server.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    let cursor = newest(&server.api).await;
    for form in ["operations", "documents"] {
        let page = server.api.pull(&json!({"cursor": cursor, "as": form, "wait": 1})).await;
        assert_eq!((ids(&page), &page["cursor"], &page["hasMore"]), (vec![], &cursor, &json!(false)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_in_another_collection_does_not_end_the_wait() {
    let (_, server) = in_memory().await;
    let request = json!({"cursor": null, "as": "documents", "collections": ["wanted"], "wait": WAIT_SECONDS});
    let push = async {
        for number in 1..=5 {
            sleep(A_WHILE).await;
            let id = format!("op-{number}");
            let collection = if number < 5 { "other" } else { "wanted" };
            let operation = with(insert(&id, &id, "a", number, 1), "collection", json!(collection));
            server.api.accept(&[operation]).await;
        }
    };
    let (page, ()) = tokio::join!(server.api.pull(&request), push);
    assert_eq!(ids(&page), ["op-5"], "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_of_another_tenant_wakes_nobody() {
    let (_, server) = in_memory().await;
    let push = async |tenant: &str| {
        let body = json!({"clientId": "a", "operations": [insert("op-1", "doc-1", "a", 1, 1)]}).to_string();
        server.api.send(reqwest::Method::POST, "/operations", &[("tenant", tenant)], body).await
    };
    let body = json!({"cursor": null, "wait": 2}).to_string();
    let pull = server.api.send(reqwest::Method::POST, "/changes", &[("tenant", "one")], body);
    let (page, _) = tokio::join!(pull, push("other"));
    assert_eq!(ids(&page.json()), [""; 0]);
    let body = waiting(&Value::Null).to_string();
    let pull = server.api.send(reqwest::Method::POST, "/changes", &[("tenant", "one")], body);
    let (page, _) = tokio::join!(pull, push("one"));
    assert_eq!(ids(&page.json()), ["op-1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_is_a_number_of_seconds_beside_a_cursor() {
    let (_, server) = in_memory().await;
    for body in [
        json!({"wait": 1}),
        json!({"since": 0, "wait": 1}),
        json!({"cursor": null, "wait": WAIT_SECONDS + 1}),
        json!({"cursor": null, "wait": -1}),
        json!({"cursor": null, "wait": 1.5}),
        json!({"cursor": null, "wait": "1"}),
        json!({"cursor": null, "wait": null}),
    ] {
        let answer = server.api.post("/changes", body.to_string()).await;
        assert_eq!(answer.faulty_fields(), ["wait"], "{body}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wait_with_a_cursor_of_another_log_is_a_410() {
    let (_, server) = in_memory().await;
    let answer = server.api.post("/changes", waiting(&json!("l.5.1")).to_string()).await;
    assert_eq!(answer.status, 410, "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread")]
async fn pulls_that_wait_hold_no_memory_that_others_need() {
    let (_, server) = in_memory().await;
    let request = waiting(&Value::Null);
    let waits: Vec<_> = (0..SUBJECT_WAITS_MAX_REQUESTS).map(|_| server.api.pull(&request)).collect();
    let others = async {
        sleep(A_WHILE).await;
        for _ in 0..20 {
            let answer = server.api.post("/changes", r#"{"cursor":null}"#).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
        server.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    };
    let (pages, ()) = tokio::join!(join_all(waits), others);
    for page in pages {
        assert_eq!(ids(&page), ["op-1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_wait_too_many_of_a_subject_is_answered_at_once_and_a_client_that_hangs_up_leaves_its_seat() {
    let (_, server) = in_memory().await;
    let body = waiting(&Value::Null).to_string();
    let wait = async |subject: &str| {
        server.api.send(reqwest::Method::POST, "/changes", &[("subject", subject)], body.clone()).await
    };
    // On a slow machine a wait may be over before the rest of the test is done, so that each is begun again.
    let each = || async {
        loop {
            wait("greedy").await;
            sleep(A_MOMENT).await;
        }
    };
    let mut greedy: FuturesUnordered<_> = (0..SUBJECT_WAITS_MAX_REQUESTS).map(|_| each()).collect();
    let refused = async {
        // Some of the others may still be on their way.
        while timeout(A_WHILE, wait("greedy")).await.is_err() {}
    };
    tokio::select! {
        refused = timeout(PATIENCE, refused) => refused.expect("there is no seat"),
        _ = greedy.next() => unreachable!("they go on for ever"),
    }
    let mut other = Box::pin(async {
        loop {
            let page = wait("modest").await.json();
            if !ids(&page).is_empty() {
                return page;
            }
        }
    });
    assert!(timeout(A_WHILE, &mut other).await.is_err(), "it waits");
    drop(greedy);
    let freed = async {
        loop {
            if timeout(A_WHILE, wait("greedy")).await.is_err() {
                return;
            }
        }
    };
    timeout(PATIENCE, freed).await.expect("there are seats again");
    server.api.accept(&[insert("op-1", "doc-1", "a", 1, 1)]).await;
    assert_eq!(ids(&other.await), ["op-1"]);
}

for_each_store!({
    #[tokio::test(flavor = "multi_thread")]
    async fn a_push_to_another_server_ends_the_wait() {
        let home = open().await;
        let here = super::server_of(&super::service_over(home.store())).await;
        let there = super::server_of(&super::service_over(home.open_again())).await;
        let request = super::waiting(&super::Value::Null);
        let push = async {
            super::sleep(super::A_WHILE).await;
            there.api.accept(&[super::insert("op-1", "doc-1", "a", 1, 1)]).await;
        };
        let (page, ()) = tokio::join!(here.api.pull(&request), push);
        assert_eq!(super::ids(&page), ["op-1"]);
    }
});
