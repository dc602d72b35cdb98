//! The rights of principals over HTTP: requests without a principal, every role, and several tenants at the same time.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use http::request::Parts;
use reqwest::Method;
use serde_json::{Value, json};
use syncflow_server::api::{self, Api as Routes, Authenticate, Denied};
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::names::{Subject, TenantId};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::SyncService;
use syncflow_server::store::Store;

use crate::endpoints::client::{Answer, Api, ids, insert, list, with};
use crate::endpoints::server::{Server, read, start_routes};
use crate::support::stores::{self, TestStore, for_each_store};

/// A request to each endpoint that needs a principal, and the lowest role that may send it.
pub(crate) const REQUESTS: [(&str, &str, Role); 7] = [
    ("POST", "/changes", Role::Reader),
    ("GET", "/documents/todos/doc-1", Role::Reader),
    ("GET", "/documents/todos/query", Role::Reader),
    ("POST", "/documents/todos/query", Role::Reader),
    ("GET", "/stats", Role::Reader),
    ("POST", "/operations", Role::Writer),
    ("POST", "/compact", Role::Admin),
];

/// A body that the endpoint accepts.
pub(crate) fn body_of(path: &str) -> String {
    if path == "/operations" { json!({"clientId": "a", "operations": []}).to_string() } else { String::new() }
}

pub(crate) async fn ask(api: &Api, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let body = if method == "GET" { String::new() } else { body_of(path) };
    api.send(method.parse().expect("a method"), path, headers, body).await
}

/// Trusts two headers. A server that others can reach must not do that.
struct Believing;

#[async_trait]
impl Authenticate for Believing {
    async fn authenticate(&self, head: &Parts) -> Result<Principal, Denied> {
        let text = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).ok_or(Denied::Missing);
        let tenant = TenantId::parse(text("test-tenant")?).map_err(|_| Denied::NoAccess)?;
        let role = Role::parse(text("test-role")?).ok_or(Denied::NoAccess)?;
        Ok(Principal::new(tenant, Subject::literal("somebody"), role))
    }
}

fn service(store: Arc<dyn Store>) -> Arc<SyncService> {
    Arc::new(SyncService::new(store, Arc::new(TokioHost)))
}

async fn believing(home: TestStore) -> Server {
    let routes = Routes::builder(service(home.store())).authenticate(Believing).build();
    start_routes(routes, &read(&[]), home).await
}

#[tokio::test]
async fn without_a_principal_every_route_about_data_answers_401() {
    let server = start_routes(api::router(service(stores::memory().await.store())), &read(&[]), ()).await;
    for (method, path, _) in REQUESTS {
        let answer = ask(&server.api, method, path, &[("authorization", "Bearer x")]).await;
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer"), "{method} {path}");
        assert_eq!(answer.json()["error"], "missing_token");
    }
    // A client without a principal does not even learn what is wrong with a body.
    assert_eq!(server.api.post("/operations", "{").await.status, 401);
    for path in ["/health", "/openapi.json"] {
        assert_eq!(server.api.get(path).await.status, 200, "{path}");
    }
    assert_eq!(server.api.get("/nothing").await.status, 404);
}

#[tokio::test]
async fn a_principal_whose_time_is_over_is_answered_401() {
    let principal =
        Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Admin).valid_until_ms(UnixMs::new(1));
    let routes = Routes::builder(service(stores::memory().await.store())).fixed_principal(principal).build();
    let server = start_routes(routes, &read(&[]), ()).await;
    for (method, path, _) in REQUESTS {
        let answer = ask(&server.api, method, path, &[]).await;
        let challenge = "Bearer error=\"invalid_token\", error_description=\"expired\"";
        assert_eq!((answer.status, answer.header("www-authenticate")), (401, challenge), "{method} {path}");
        assert_eq!(answer.json()["error"], "expired");
    }
}

/// Sends a request to every endpoint in every role.
pub(crate) async fn each_role_may_do_what_the_table_says(api: &Api, headers: impl Fn(Role) -> Vec<(String, String)>) {
    for role in Role::ALL {
        let headers = headers(role);
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        for (method, path, least) in REQUESTS {
            let answer = ask(api, method, path, &headers).await;
            if role < least {
                let challenge = "Bearer error=\"insufficient_scope\"";
                assert_eq!((answer.status, answer.header("www-authenticate")), (403, challenge), "{role:?} {path}");
                assert_eq!(answer.json()["error"], "forbidden_role", "{role:?} {method} {path}");
            } else {
                // The documents do not exist.
                let expected = if path.starts_with("/documents") && method == "GET" { 404 } else { 200 };
                assert_eq!(answer.status, expected, "{role:?} {method} {path}");
            }
        }
        for path in ["/health", "/openapi.json"] {
            // A Lambda function does not have these routes.
            assert!([200, 404].contains(&api.send_unchecked(Method::GET, path, &headers, Vec::new()).await.status));
        }
    }
}

async fn each_role_may_do_what_the_table_says_on(home: TestStore) {
    let server = believing(home).await;
    let headers = |role: Role| {
        [("test-tenant", "t"), ("test-role", role.as_str())].map(|(name, value)| (name.into(), value.into())).into()
    };
    each_role_may_do_what_the_table_says(&server.api, headers).await;
}

/// One push of a tenant. All tenants use the same ids.
async fn push(api: &Api, tenant: &str, number: u64) {
    let operation = insert(&format!("op-{number}"), &format!("doc-{number}"), "a", 1, number);
    let operation = with(operation, "data", json!({"of": tenant, "n": number}));
    let body = json!({"clientId": "a", "operations": [operation]}).to_string();
    let headers = [("test-tenant", tenant), ("test-role", "writer")];
    let answer = api.send(Method::POST, "/operations", &headers, body).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["accepted"][0]["data"], operation["data"]);
    assert_eq!(answer.json()["conflicts"], json!([]));
}

async fn many_tenants_at_once_never_see_each_other(home: TestStore) {
    const PUSHES: u64 = 12;
    let server = believing(home).await;
    let tenants: Vec<String> = (0..10).map(|number| format!("tenant-{number}")).collect();
    let pushes = (0..PUSHES).flat_map(|number| tenants.iter().map(move |tenant| (tenant, number)));
    join_all(pushes.map(|(tenant, number)| push(&server.api, tenant, number + 1))).await;
    for tenant in &tenants {
        let headers = [("test-tenant", tenant.as_str()), ("test-role", "reader")];
        let post = async |path: &str, body: Value| -> Value {
            let answer = server.api.send(Method::POST, path, &headers, body.to_string()).await;
            assert!(tenants.iter().all(|other| other == tenant || !answer.text().contains(other)), "{}", answer.text());
            answer.json()
        };
        let page = post("/changes", json!({"cursor": null})).await;
        let mut pulled = ids(&page);
        pulled.sort();
        let mut expected: Vec<String> = (1..=PUSHES).map(|number| format!("op-{number}")).collect();
        expected.sort();
        assert_eq!(pulled, expected);
        assert_eq!(list(&page["operations"]).iter().filter(|entry| entry["data"]["of"] == **tenant).count(), 12);
        let found = post("/documents/todos/query", json!({"filter": {"of": tenant}})).await;
        assert_eq!(found["count"], PUSHES);
        let stats = server.api.send(Method::GET, "/stats", &headers, "").await.json();
        assert_eq!((&stats["totalOperations"], &stats["totalDocuments"]), (&json!(PUSHES), &json!(PUSHES)));
    }
}

for_each_store!({
    #[tokio::test]
    async fn each_role_may_do_what_the_table_says() {
        super::each_role_may_do_what_the_table_says_on(open().await).await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn many_tenants_at_once_never_see_each_other() {
        super::many_tenants_at_once_never_see_each_other(open().await).await;
    }
});
