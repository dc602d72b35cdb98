//! An axum application that mounts the sync API under a prefix, with its own authentication and its own layer.
//!
//! `cargo run --example embed` starts it on a free port, sends the requests of two users, and checks the answers.

use std::error::Error;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::request::Parts;
use serde_json::{Value, json};
use syncflow_server::api::{Api, Authenticate, Denied};
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::SyncService;
use syncflow_server::store::memory::MemoryStore;
use tokio::net::TcpListener;

/// The users of the application, each with the session from a login.
struct Sessions(Vec<(&'static str, &'static str)>);

#[async_trait]
impl Authenticate for Sessions {
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied> {
        let session = head.headers.get("session").ok_or(Denied::Missing)?;
        let (_, user) = self.0.iter().find(|(known, _)| session == known).ok_or(Denied::InvalidToken)?;
        // Each user has a separate tenant.
        let tenant = TenantId::parse(user).map_err(|_| Denied::NoAccess)?;
        let subject = Subject::parse(user).map_err(|_| Denied::NoAccess)?;
        Ok(Principal::new(tenant, subject, Role::Writer))
    }
}

/// The whole application.
fn application() -> Router {
    let service = SyncService::new(Arc::new(MemoryStore::new()), Arc::new(TokioHost));
    let sessions = Sessions(vec![("session-of-ann", "ann"), ("session-of-bob", "bob")]);
    let sync = Api::builder(Arc::new(service)).authenticate(sessions).build();
    Router::new().route("/", get(async || "my application")).nest("/sync", sync).layer(from_fn(sign))
}

/// A layer of the application.
async fn sign(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-application", HeaderValue::from_static("embed"));
    response
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let sync = format!("http://{}/sync", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, application()).into_future());

    let operation = json!({
        "id": "op-1", "type": "insert", "collection": "todos", "docId": "doc-1", "data": {"title": "Buy milk"},
        "timestamp": 1, "clientId": "phone", "vectorClock": {"phone": 1},
    });
    let push = json!({"clientId": "phone", "operations": [operation]});
    let (status, answer) = post(format!("{sync}/operations"), Some("session-of-ann"), &push).await?;
    assert_eq!((status, &answer["accepted"][0]), (200, &operation), "Ann's push is accepted");

    let pull = json!({"cursor": null});
    let (_, page) = post(format!("{sync}/changes"), Some("session-of-ann"), &pull).await?;
    assert_eq!(page["operations"][0]["id"], "op-1", "Ann sees what she pushed");
    let (_, page) = post(format!("{sync}/changes"), Some("session-of-bob"), &pull).await?;
    assert_eq!(page["operations"], json!([]), "Bob sees nothing of it");

    assert_eq!(post(format!("{sync}/changes"), None, &pull).await?.0, 401, "a stranger sees nothing at all");
    assert_eq!(post(format!("{sync}/changes"), Some("guessed"), &pull).await?.0, 401);
    let (status, answer) = post(format!("{sync}/compact"), Some("session-of-ann"), &json!({})).await?;
    assert_eq!((status, &answer["error"]), (403, &json!("forbidden_role")), "a user is not an admin");
    println!("every check of the example holds");
    Ok(())
}

/// Sends a request like a client.
async fn post(url: String, session: Option<&str>, body: &Value) -> Result<(u16, Value), Box<dyn Error>> {
    let mut request = reqwest::Client::new().post(url).body(body.to_string());
    if let Some(session) = session {
        request = request.header("session", session);
    }
    let answer = request.send().await?;
    assert_eq!(answer.headers()["x-application"], "embed", "the layer of the application is around the API");
    Ok((answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await?)?))
}

#[test]
fn every_check_of_the_example_holds() -> Result<(), Box<dyn Error>> {
    main()
}
