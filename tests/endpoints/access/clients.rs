//! Client ids over HTTP: each belongs to the subject of the token that used it first.

use reqwest::Method;
use serde_json::{Value, json};
use syncflow_server::auth::sign_hs256;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;

use crate::endpoints::client::{Answer, Api, ids, insert, list};
use crate::endpoints::server::{self, Server};

const SECRET: &str = "a secret for tokens of several subjects";

async fn signing_in() -> Server {
    let settings = [("ADAPTER", "memory"), ("AUTH_HS256_SECRET", SECRET), ("AUTH_TENANT", "team")];
    server::start(&settings, ()).await
}

async fn post(api: &Api, subject: &str, role: &str, path: &str, body: Value) -> Answer {
    let exp = TokioHost.now_ms().get() / 1_000 + 600;
    let token = sign_hs256(SECRET.as_bytes(), &json!({"sub": subject, "exp": exp, "role": role}));
    let headers = [("authorization", format!("Bearer {token}"))];
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    api.send(Method::POST, path, &headers, body.to_string()).await
}

async fn push(api: &Api, subject: &str, body: Value) -> Answer {
    post(api, subject, "writer", "/operations", body).await
}

fn is_foreign(answer: &Answer, field: &str) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    let body = answer.json();
    assert_eq!((&body["error"], &body["fields"]), (&json!("foreign_client"), &json!([field])));
    let text = answer.text();
    assert!(["ann", "milk"].iter().all(|word| !text.contains(word)), "it says nothing about the owner: {text}");
}

#[tokio::test]
async fn a_client_id_of_another_subject_is_refused_in_pushes_and_pulls() {
    let server = signing_in().await;
    let api = &server.api;
    let of = |client: &str, id: &str| insert(id, id, client, 1, 1);
    let first = push(api, "ann", json!({"clientId": "phone", "operations": [of("phone", "op-1"), of("tab", "op-2")]}));
    assert_eq!(list(&first.await.json()["accepted"]).len(), 2);

    let foreign = json!({"clientId": "phone", "operations": [of("other", "op-3")]});
    is_foreign(&push(api, "bob", foreign).await, "clientId");
    let operations = [of("other", "op-3"), of("other", "op-4"), of("tab", "op-5")];
    is_foreign(
        &push(api, "bob", json!({"clientId": "other", "operations": operations})).await,
        "operations[2].clientId",
    );
    for body in [json!({"cursor": null, "clientId": "phone"}), json!({"since": 0, "clientId": "tab"})] {
        is_foreign(&post(api, "bob", "admin", "/changes", body).await, "clientId");
    }

    let operations = [json!({"id": 5}), of("tab", "op-5"), of("other", "op-3"), of("tab", "op-1")];
    let partial = json!({"clientId": "other", "partial": true, "operations": operations});
    let answer = push(api, "bob", partial).await.json();
    assert_eq!(list(&answer["accepted"]).len(), 2, "{answer}");
    let refused = list(&answer["refused"]);
    assert_eq!((refused.len(), &refused[0]["index"]), (2, &json!(0)));
    assert_eq!((&refused[1]["index"], &refused[1]["id"]), (&json!(1), &json!("op-5")));
    assert_eq!(refused[1]["fields"], json!(["clientId"]));

    let known = json!({"clientId": "other", "operations": [of("phone", "op-1")]});
    is_foreign(&push(api, "ann", known).await, "clientId");
    let operator = json!({"cursor": null, "clientId": "phone"});
    assert_eq!(post(api, "backup", "service", "/changes", operator).await.status, 200);
    let page = post(api, "ann", "reader", "/changes", json!({"cursor": null, "clientId": "phone"})).await.json();
    assert_eq!(ids(&page), ["op-1", "op-2", "op-3"]);
}

#[tokio::test]
async fn an_admin_sees_who_pushed_what() {
    let server = signing_in().await;
    let api = &server.api;
    for (subject, client) in [("ann", "a"), ("bob", "b")] {
        let operation = insert(&format!("op-{client}"), client, client, 1, 1);
        let answer = push(api, subject, json!({"clientId": client, "operations": [operation]})).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let all = json!({"cursor": "l.0.0", "subjects": true});
    for (role, status) in [("reader", 403), ("writer", 403), ("admin", 200), ("service", 200)] {
        let answer = post(api, "eve", role, "/changes", all.clone()).await;
        assert_eq!(answer.status, status, "{role}");
        if status == 403 {
            let body = answer.json();
            assert_eq!((&body["error"], &body["fields"]), (&json!("forbidden_role"), &json!(["subjects"])), "{role}");
        } else {
            let page = answer.json();
            let subjects: Vec<Value> = list(&page["operations"]).iter().map(|entry| entry["subject"].clone()).collect();
            assert_eq!(subjects, ["ann", "bob"], "{role}");
        }
    }
    for body in [json!({"cursor": "l.0.0"}), json!({"cursor": null}), json!({"since": 0})] {
        let answer = post(api, "eve", "admin", "/changes", body.clone()).await;
        assert!(!answer.text().contains("subject"), "{body}");
    }
    let as_documents = json!({"cursor": null, "as": "documents", "subjects": true});
    assert_eq!(post(api, "eve", "admin", "/changes", as_documents).await.status, 400);
}

#[tokio::test]
async fn without_authentication_client_ids_belong_to_nobody() {
    let server = server::start(&[("ADAPTER", "memory")], ()).await;
    let api = &server.api;
    for (number, client) in ["a", "b", "a"].into_iter().enumerate() {
        let operation = insert(&format!("op-{number}"), &format!("doc-{number}"), "a", 1, 1);
        let body = json!({"clientId": client, "operations": [operation]}).to_string();
        assert_eq!(api.post("/operations", body).await.status, 200);
    }
    let page = api.post("/changes", r#"{"cursor": "l.0.0", "subjects": true}"#).await;
    assert_eq!(page.status, 200, "everybody is an admin");
    assert!(!page.text().contains("subject"), "and has no name: {}", page.text());
}

#[tokio::test]
async fn only_operators_see_which_clients_there_are() {
    let server = signing_in().await;
    let list = async |role| post(&server.api, "ann", role, "/clients", json!({})).await;
    for role in ["reader", "writer"] {
        let answer = list(role).await;
        assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("forbidden_role")), "{role}");
    }
    for role in ["admin", "service"] {
        assert_eq!(list(role).await.json(), json!({"clients": [], "next": null}), "{role}");
    }
}
