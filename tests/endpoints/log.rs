//! The log of the local server whose reader is slow.

use std::time::Duration;

use futures_util::FutureExt as _;
use reqwest::Method;
use serde_json::Value;
use syncflow_server::limits::runtime::LOG_QUEUE_MAX_BYTES;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use super::local::Local;

const CONNECTIONS: usize = 4;

const PATIENCE: Duration = Duration::from_secs(120);

/// A part of a path, of which every line of the log has a beginning of 256 characters.
const PATH: [char; 300] = ['x'; 300];

#[tokio::test]
async fn lines_that_nobody_reads_in_time_are_lost_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let settings = [("ADAPTER", "memory"), ("LOG_FORMAT", "json")];
    let mut local = Local::start(directory.path(), &settings).await;
    let log = local.child.stderr.take().unwrap();
    let path = format!("/{}", PATH.iter().collect::<String>());
    // More than the queue and the pipe hold. Each line also has the time, the id of the request, and addresses.
    let of_connection = (LOG_QUEUE_MAX_BYTES + 256 * 1024) / 500 / CONNECTIONS;
    let requests = of_connection * CONNECTIONS;
    let ask = async || {
        for _ in 0..of_connection {
            let answer = local.api.send_unchecked(Method::GET, &path, &[], Vec::new()).await;
            assert_eq!(answer.status, 404, "the server answers, whether its log is read or not");
        }
    };
    tokio::join!(ask(), ask(), ask(), ask());

    let mut log = BufReader::new(log).lines();
    let (mut answered, mut lost) = (0, 0);
    let read_all = async {
        while answered + lost < requests {
            let line = log.next_line().await.unwrap().expect("the server still runs");
            let line: Value = serde_json::from_str(&line).expect("a whole line");
            answered += usize::from(line["message"] == "answered");
            lost += line["log.lost_lines"].as_u64().map_or(0, |lines| usize::try_from(lines).unwrap());
        }
    };
    let result = timeout(PATIENCE, read_all).await;
    assert!(result.is_ok(), "{answered} lines were written, {lost} were said to be lost, {requests} were made");
    assert!(lost > 0, "all {requests} lines were kept");
    assert_eq!(answered + lost, requests);
    assert!(log.next_line().now_or_never().is_none(), "nothing is counted twice");
}
