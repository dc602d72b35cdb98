//! The schedule of compactions of a server as a process.

use serde_json::json;

use crate::endpoints::client::insert;
use crate::endpoints::local::Local;

#[tokio::test]
async fn a_server_with_a_schedule_compacts_by_itself_and_stops_when_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let local = Local::start(directory.path(), &[]).await;
    local.api.accept(&[insert("op-1", "doc-1", "a", 1, 1), insert("op-2", "doc-2", "a", 2, 2)]).await;
    assert_eq!(local.api.stats().await["totalOperations"], 2);
    local.signal("TERM").await;
    assert_eq!(local.end().await.0, Some(0));
    let settings = [("COMPACT_EVERY_HOURS", "1"), ("COMPACT_OLDER_THAN_DAYS", "0")];
    let mut local = Local::start(directory.path(), &settings).await;
    local.log_until("the scheduled compaction has run").await;
    let expected = json!({"totalOperations": 0, "totalDocuments": 2, "unsyncedOperations": 0});
    assert_eq!(local.api.stats().await, expected);
    local.signal("TERM").await;
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    // The next one is in an hour, also for a server that starts meanwhile.
    let local = Local::start(directory.path(), &settings).await;
    local.api.accept(&[insert("op-3", "doc-3", "a", 3, 3)]).await;
    local.signal("TERM").await;
    let (_, log) = local.end().await;
    assert!(!log.contains("compaction"), "{log}");
}
