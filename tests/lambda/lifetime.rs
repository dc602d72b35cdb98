//! An instance that handles many requests leaks nothing.

mod memory;

use std::path::Path;

use http::Method;
use serde_json::json;
use syncflow_server::api::Endpoint;

use super::binaries::binary_of;
use super::emulator::Instance;
use super::functions::{directory, event, push_of, read, sqlite_in};
use crate::support::postgres::{Schema, connect, key_values, server_url, unique_name};

/// The resources of an instance.
#[derive(Debug)]
struct Held {
    files: usize,
    threads: usize,
}

fn held(proc: &Path) -> Held {
    let files = std::fs::read_dir(proc.join("fd")).expect("a process").count();
    Held { files, threads: status(proc, "Threads:").parse().expect("a number") }
}

fn resident_kib(proc: &Path) -> u64 {
    let text = status(proc, "VmRSS:");
    text.trim_end_matches(" kB").parse().expect("a number")
}

fn status(proc: &Path, key: &str) -> String {
    let status = std::fs::read_to_string(proc.join("status")).expect("a process");
    status.lines().find_map(|line| line.strip_prefix(key)).expect("the key").trim().to_owned()
}

/// Sends a thousand requests to one instance of each of two functions, and checks their connections at a server before
/// and after.
async fn a_thousand_requests(settings: &[(String, String)], check_connections: impl AsyncFn()) {
    const WARM_UP: usize = 200;
    const GROWTH_MAX_KIB: u64 = 1_024;
    let push = push_of(1, &json!({"text": "x".repeat(1_000)}));
    for (endpoint, event) in [
        (Endpoint::PushOperations, event(&Method::POST, "/operations", &push)),
        (Endpoint::PullChanges, event(&Method::POST, "/changes", r#"{"cursor":null}"#)),
    ] {
        let mut instance = Instance::start(binary_of(endpoint), settings).await;
        for _ in 0..WARM_UP {
            assert_eq!(read(instance.invoke(&event).await).0, 200);
        }
        let (before, resident_before) = (held(&instance.proc()), resident_kib(&instance.proc()));
        check_connections().await;
        for _ in 0..1_000 {
            assert_eq!(read(instance.invoke(&event).await).0, 200);
        }
        let (after, resident_after) = (held(&instance.proc()), resident_kib(&instance.proc()));
        // An idle thread ends after a while, which is not a leak.
        assert!(
            after.files <= before.files && after.threads <= before.threads,
            "{endpoint:?}: {before:?} became {after:?}"
        );
        check_connections().await;
        assert!(
            resident_after <= resident_before + GROWTH_MAX_KIB,
            "{endpoint:?}: {resident_before} KiB became {resident_after} KiB"
        );
    }
}

#[tokio::test]
async fn a_thousand_requests_leak_nothing() {
    let (_directory, path) = directory();
    a_thousand_requests(&sqlite_in(&path), async || {}).await;
}

#[tokio::test]
async fn a_thousand_requests_leak_nothing_on_postgres_which_sees_one_connection() {
    let schema = Schema::new();
    let name = unique_name();
    let url = format!("{} application_name={name}", key_values(&server_url()));
    let settings = [("ADAPTER", "postgres"), ("POSTGRES_CONNECTION_STRING", &url), ("POSTGRES_SCHEMA", schema.name())];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let client = connect(&server_url()).await;
    a_thousand_requests(&settings, async || {
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1";
        let connections: i64 = client.query_one(count, &[&name]).await.expect("the server counts").get(0);
        assert_eq!(connections, 1, "an instance has one connection");
    })
    .await;
}
