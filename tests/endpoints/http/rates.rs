//! Limits for the rate of requests.

use reqwest::Method;
use serde_json::json;
use syncflow_server::auth::sign_hs256;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;

use crate::endpoints::client::{Answer, Api};
use crate::endpoints::server;

const SECRET: &str = "hunter2 is not a secret to be used";

/// More requests than the slowest machine sends in the time after which one is allowed again.
const MANY: usize = 100_000;

fn token_of(subject: &str) -> String {
    let expires = TokioHost.now_ms().get() / 1_000 + 600;
    format!("Bearer {}", sign_hs256(SECRET.as_bytes(), &json!({"sub": subject, "exp": expires, "tenants": "team"})))
}

/// Sends requests until they are too many.
async fn ask_too_often(api: &Api, headers: &[(&str, &str)]) -> Answer {
    for _ in 0..MANY {
        let answer = api.send(Method::GET, "/stats", headers, "").await;
        if answer.status == 429 {
            return answer;
        }
    }
    panic!("nothing was ever too often");
}

fn check_refusal(answer: &Answer) {
    assert_eq!(answer.json()["error"], "too_many_requests");
    let seconds: u64 = answer.header("retry-after").parse().expect("seconds");
    assert!((1..=10).contains(&seconds), "{seconds}");
}

#[tokio::test]
async fn an_address_that_asks_too_often_is_told_when_to_come_again() {
    let server = server::start(&[("ADAPTER", "memory"), ("RATE_PER_ADDRESS", "1")], ()).await;
    let api = &server.api;
    check_refusal(&ask_too_often(api, &[]).await);
    for probe in ["/health", "/livez", "/readyz"] {
        assert_eq!(api.get(probe).await.status, 200, "the probe of a load balancer is let through");
    }
    // This machine is a trusted proxy.
    let other = api.send(Method::GET, "/stats", &[("x-forwarded-for", "1.2.3.4")], "").await;
    assert_eq!(other.status, 200, "others are not concerned");
    check_refusal(&ask_too_often(api, &[("x-forwarded-for", "9.9.9.9, 1.2.3.4")]).await);
}

#[tokio::test]
async fn a_principal_that_asks_too_often_is_told_when_to_come_again() {
    let settings = [
        ("ADAPTER", "memory"),
        ("RATE_PER_PRINCIPAL", "1"),
        ("AUTH_HS256_SECRET", SECRET),
        ("AUTH_TENANT_CLAIM", "tenants"),
    ];
    let server = server::start(&settings, ()).await;
    let (ann, bob) = (token_of("ann"), token_of("bob"));
    check_refusal(&ask_too_often(&server.api, &[("authorization", &ann)]).await);
    assert_eq!(server.api.send(Method::GET, "/stats", &[("authorization", &bob)], "").await.status, 200);
}
