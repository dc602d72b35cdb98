use axum::body::Body;
use axum::extract::Request;
use futures_util::FutureExt as _;
use http::Method;

use super::*;

/// An account of a query of a tenant, whose body has arrived.
async fn query_of(memory: &Arc<Memory>, tenant: &str) -> Arc<Account> {
    let request = Request::builder().method(Method::POST).uri("/query").body(Body::empty()).expect("it is a request");
    let account = memory.open(None, Reserved::of(&request)).await.expect("there is room");
    account.tenant.set(TenantId::literal(tenant)).expect("it was not known");
    account
}

#[tokio::test]
async fn a_tenant_whose_queries_fill_the_server_is_not_in_front_of_another() {
    let memory = Memory::new(16 * READ_RESERVED_BYTES);
    let mut working = Vec::new();
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let account = query_of(&memory, "loud").await;
        let mut begins = Box::pin(async move { account.begin_work().await.map(|()| account) });
        match begins.as_mut().now_or_never() {
            Some(begun) => working.push(begun.expect("there is room")),
            None => waiting.push(begins),
        }
    }
    assert_eq!(working.len(), 8, "reads have half of the memory");
    let other = query_of(&memory, "quiet").await;
    let mut begins = Box::pin(other.begin_work());
    assert!(begins.as_mut().now_or_never().is_none());
    working.truncate(6);
    assert!(
        begins.as_mut().now_or_never().is_some_and(|begun| begun.is_ok()),
        "one of the two is for the other tenant"
    );
    let begun: Vec<_> = waiting.iter_mut().filter_map(|begins| begins.as_mut().now_or_never()).collect();
    assert_eq!(begun.len(), 1);
}
