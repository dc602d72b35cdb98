//! An application of axum that mounts the sync API: sign-in of its own, layers, hooks, writes, and a log that it
//! follows.
//!
//! `cargo run --example embed` starts it on a free port, plays its users, and checks what they see.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::get;
use http::HeaderValue;
use http::request::Parts;
use serde_json::{Value, json};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::operation::Operation;
use syncflow_server::service::{Caller, Followed, Observer, Written};
use syncflow_server::store::memory::MemoryStore;
use syncflow_server::{
    Api, Authenticate, Denied, DocumentKey, Principal, Role, Subject, SyncService, TenantId, TokioHost,
};
use tokio::net::TcpListener;

/// The users of the application, each with the session that a login would have given it.
struct Sessions(Vec<(&'static str, &'static str)>);

#[async_trait]
impl Authenticate for Sessions {
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied> {
        let session = head.headers.get("session").ok_or(Denied::Missing)?;
        let (_, user) = self.0.iter().find(|(known, _)| session == known).ok_or(Denied::InvalidToken)?;
        principal(user, Role::Writer).ok_or(Denied::NoAccess)
    }
}

/// Each user has a tenant of its own.
fn principal(user: &str, role: Role) -> Option<Principal> {
    Some(Principal::new(TenantId::parse(user).ok()?, Subject::parse(user).ok()?, role))
}

/// A middleware can put the principal into the request instead, and the routes find it there.
async fn sign_in_support(mut request: Request, next: Next) -> Response {
    let user = request.headers().get("support-for").and_then(|user| user.to_str().ok());
    if let Some(principal) = user.and_then(|user| principal(user, Role::Reader)) {
        request.extensions_mut().insert(principal);
    }
    next.run(request).await
}

/// The application's own layer.
async fn sign(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert("x-application", HeaderValue::from_static("embed"));
    response
}

/// The application's own rule; the push of an operation that breaks it is refused.
fn validate(caller: Caller<'_>, operation: &Operation) -> Result<(), String> {
    let is_client = caller.principal.is_some();
    let is_invoice = operation.key.collection.as_str() == "invoices";
    if is_client && is_invoice { Err("is made by the application alone".to_owned()) } else { Ok(()) }
}

/// Counts what clients change; longer work would go into a channel.
struct Counter(Arc<AtomicUsize>);

impl Observer for Counter {
    fn accepted(&self, _: Caller<'_>, operations: &[&Operation]) {
        self.0.fetch_add(operations.len(), Ordering::Relaxed);
    }
}

/// The service, over a store in memory; another one is opened in the same place.
fn service(counted: Arc<AtomicUsize>) -> SyncService {
    SyncService::new(Arc::new(MemoryStore::new()), Arc::new(TokioHost))
        .with_validation(validate)
        .with_observer(Counter(counted))
}

/// The routes of the whole application.
fn application(service: &Arc<SyncService>) -> Router {
    let sessions = Sessions(vec![("session-of-ann", "ann"), ("session-of-bob", "bob")]);
    let for_users = Api::builder(Arc::clone(service)).authenticate(sessions).build();
    let for_support = Api::builder(Arc::clone(service)).build().layer(from_fn(sign_in_support));
    let home = get(async || "my application");
    Router::new().route("/", home).nest("/sync", for_users).nest("/support", for_support).layer(from_fn(sign))
}

/// Makes an invoice for each new order of a tenant. A real application stores the cursor with what it does.
async fn make_invoices(service: &SyncService, tenant: &TenantId, stored: &mut Option<Cursor>) -> Result<(), BoxError> {
    let mut follower = service.follow(tenant.clone(), *stored);
    loop {
        match follower.next_batch().await? {
            Followed::Operations(batch) | Followed::Documents(batch) => {
                for order in batch.entries.iter().filter(|entry| entry.key.collection.as_str() == "orders") {
                    // If the process dies before the cursor is stored, the same invoice is written again.
                    let invoice = DocumentKey::parse("invoices", order.key.id.as_str())?;
                    let written = service.put(tenant, &invoice, &json!({"paid": false})).await?;
                    assert!(matches!(written, Written::Done(_)), "{written:?}");
                }
                *stored = Some(batch.cursor);
            }
            Followed::HistoryRemoved | Followed::LogReplaced => follower.restart(),
            _ => return Ok(()),
        }
    }
}

type BoxError = Box<dyn Error>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let counted = Arc::new(AtomicUsize::new(0));
    let service = Arc::new(service(Arc::clone(&counted)));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    tokio::spawn(axum::serve(listener, application(&service)).into_future());

    let (ann, bob) = (Some(("session", "session-of-ann")), Some(("session", "session-of-bob")));
    let operation = |collection: &str, id: &str| {
        json!({
            "id": id, "type": "insert", "collection": collection, "docId": "1", "data": {"title": "Milk"},
            "timestamp": 1, "clientId": "phone", "vectorClock": {"phone": 1},
        })
    };
    let push = |operation: &Value| json!({"clientId": "phone", "operations": [operation]});
    let order = operation("orders", "op-1");
    let (status, answer) = post(format!("{url}/sync/operations"), ann, &push(&order)).await?;
    assert_eq!((status, &answer["accepted"][0]), (200, &order), "Ann's push is accepted");
    let (status, answer) = post(format!("{url}/sync/operations"), ann, &push(&operation("invoices", "op-2"))).await?;
    assert_eq!((status, &answer["fields"]), (400, &json!(["operations[0]"])), "the application's rule refuses this");

    let mut stored = None;
    make_invoices(&service, &TenantId::parse("ann")?, &mut stored).await?;
    assert_eq!(counted.load(Ordering::Relaxed), 2, "Ann's order and the invoice");

    let pull = json!({"cursor": null});
    let (_, page) = post(format!("{url}/sync/changes"), ann, &pull).await?;
    let collections: Vec<&Value> =
        page["operations"].as_array().into_iter().flatten().map(|o| &o["collection"]).collect();
    assert_eq!(collections, ["orders", "invoices"], "Ann sees her order, and the invoice as an ordinary operation");
    let (_, page) = post(format!("{url}/sync/changes"), bob, &pull).await?;
    assert_eq!(page["operations"], json!([]), "Bob sees nothing of it");

    let support = Some(("support-for", "ann"));
    assert_eq!(post(format!("{url}/support/changes"), support, &pull).await?.0, 200, "support may read");
    assert_eq!(post(format!("{url}/support/operations"), support, &push(&order)).await?.0, 403, "and not write");
    for stranger in [None, Some(("session", "guessed"))] {
        assert_eq!(
            post(format!("{url}/sync/changes"), stranger, &pull).await?.0,
            401,
            "a stranger sees nothing at all"
        );
    }
    println!("every check of the example holds");
    Ok(())
}

/// Sends a request as a client would.
async fn post(url: String, header: Option<(&str, &str)>, body: &Value) -> Result<(u16, Value), BoxError> {
    let mut request = reqwest::Client::new().post(url).body(body.to_string());
    if let Some((name, value)) = header {
        request = request.header(name, value);
    }
    let answer = request.send().await?;
    assert_eq!(answer.headers()["x-application"], "embed", "the layer of the application is around the API");
    Ok((answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await?)?))
}

#[test]
fn every_check_of_the_example_holds() -> Result<(), BoxError> {
    main()
}
