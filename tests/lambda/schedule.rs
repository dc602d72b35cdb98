//! The scheduled compaction of all tenants, within the time of the function.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use syncflow_server::core::clock::VectorClock;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::{ClientId, OperationId, TenantId};
use syncflow_server::core::names::{Collection, DocumentId, DocumentKey};
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::operation::{Change, Operation};
use syncflow_server::limits::service::COMPACT_STEP_MAX_ENTRIES;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::SyncService;

use super::binaries::SCHEDULED_COMPACTION;
use super::emulator::Instance;
use super::functions::{directory, sqlite_in};
use crate::support::stores::open_sqlite;

fn operation(number: usize) -> Operation {
    Operation {
        id: OperationId::literal(&format!("op-{number}")),
        change: Change::Insert(Object::literal("{}")),
        key: DocumentKey { collection: Collection::literal("todos"), id: DocumentId::literal("doc") },
        timestamp: UnixMs::new(1),
        client_id: ClientId::literal("a"),
        clock: VectorClock::default(),
    }
}

/// A service over the database in a directory, with this many operations for each tenant.
async fn service_with(path: &str, tenants: &[(&str, usize)]) -> SyncService {
    let store = open_sqlite(format!("{path}/syncflow.db").as_ref());
    let service = SyncService::new(store, Arc::new(TokioHost));
    for (tenant, count) in tenants {
        let operations: Vec<Operation> = (0..*count).map(operation).collect();
        let pushed = service.push(&TenantId::literal(tenant), operations).await.expect("the store works");
        assert_eq!(pushed.outcomes().expect("a push that is taken").len(), *count);
    }
    service
}

async fn entries(service: &SyncService, tenant: &str) -> u64 {
    service.stats(&TenantId::literal(tenant)).await.expect("the store works").operations
}

async fn instance(path: &str, settings: &[(&str, &str)]) -> Instance {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let settings: Vec<(String, String)> = sqlite_in(path).into_iter().chain(settings).collect();
    Instance::start(SCHEDULED_COMPACTION, &settings).await
}

#[tokio::test]
async fn every_tenant_is_compacted() {
    let (_directory, path) = directory();
    let service = service_with(&path, &[("b", 3), ("a", 2), ("default", 1)]).await;
    let mut instance = instance(&path, &[]).await;
    let kept = instance.invoke(&json!({"olderThanDays": 30})).await;
    let nothing = json!({"deletedCount": 0, "tenantCount": 3, "hasMore": false, "next": null});
    assert_eq!(kept, Ok(nothing.clone()));
    let done = instance.invoke(&json!({"olderThanDays": 0, "source": "aws.scheduler"})).await;
    assert_eq!(done, Ok(json!({"deletedCount": 6, "tenantCount": 3, "hasMore": false, "next": null})));
    assert_eq!(instance.invoke(&json!({"olderThanDays": 0})).await, Ok(nothing));
    for tenant in ["a", "b", "default"] {
        assert_eq!(entries(&service, tenant).await, 0);
    }
}

#[tokio::test]
async fn without_an_age_the_setting_counts() {
    let (_directory, path) = directory();
    let service = service_with(&path, &[("default", 2)]).await;
    let mut instance = instance(&path, &[("COMPACT_OLDER_THAN_DAYS", "0")]).await;
    assert_eq!(instance.invoke(&json!({"time": "2026-11-23T00:00:00Z"})).await.expect("an answer")["deletedCount"], 2);
    assert_eq!(entries(&service, "default").await, 0);
}

#[tokio::test]
async fn what_the_time_does_not_suffice_for_is_said_and_done_by_the_next_runs() {
    let (_directory, path) = directory();
    let many = COMPACT_STEP_MAX_ENTRIES;
    let service = service_with(&path, &[("a", 1), ("b", many), ("b", 0), ("c", 1)]).await;
    // `b` needs a second step, because the ids of the first push are known already.
    let more: Vec<Operation> = (many..many + 5).map(operation).collect();
    service
        .push(&TenantId::literal("b"), more)
        .await
        .expect("the store works")
        .outcomes()
        .expect("a push that is taken");
    let mut instance = instance(&path, &[]).await;
    // A deadline within the margin leaves time for only one step of one tenant.
    let mut event = json!({"olderThanDays": 0});
    let mut runs: Vec<Value> = Vec::new();
    while runs.last().is_none_or(|run| run["hasMore"] == json!(true)) {
        let run = instance.invoke_within(&event, Duration::from_secs(1)).await.expect("an answer");
        event["from"] = run["next"].clone();
        runs.push(run);
        assert!(runs.len() < 9, "{runs:?}");
    }
    assert_eq!(
        runs,
        [
            json!({"deletedCount": 1, "tenantCount": 1, "hasMore": true, "next": "b"}),
            json!({"deletedCount": many, "tenantCount": 0, "hasMore": true, "next": "b"}),
            json!({"deletedCount": 5, "tenantCount": 1, "hasMore": true, "next": "c"}),
            json!({"deletedCount": 1, "tenantCount": 1, "hasMore": false, "next": null}),
        ]
    );
}

#[tokio::test]
async fn a_wrong_event_is_an_error_that_names_the_field_and_removes_nothing() {
    let (_directory, path) = directory();
    let service = service_with(&path, &[("default", 1)]).await;
    let mut instance = instance(&path, &[("COMPACT_OLDER_THAN_DAYS", "0")]).await;
    for (event, field) in [
        (json!({"olderThanDays": "0"}), "olderThanDays"),
        (json!({"olderThanDays": -1}), "olderThanDays"),
        (json!({"olderThanDays": 0, "from": 5}), "from"),
        (json!({"olderThanDays": 0, "from": ""}), "from"),
        (json!([]), "object"),
    ] {
        let error = instance.invoke(&event).await.expect_err("a wrong event");
        let message = error["errorMessage"].as_str().expect("a message");
        assert!(message.contains(field), "{event}: {message}");
    }
    assert_eq!(entries(&service, "default").await, 1);
}
