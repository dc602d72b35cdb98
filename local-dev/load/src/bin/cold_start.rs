//! Measures the cold start of a compiled `push_operations`: the time from the start of its process to its first answer.
//!
//! Usage: `cold_start BINARY STARTS NAME=VALUE…`, with the settings of the function. `local-dev/cold-start` builds the
//! functions and calls this program.

#[path = "../../../../tests/lambda/emulator.rs"]
#[expect(dead_code, reason = "a measurement needs less of the emulator than the tests do")]
mod emulator;
#[path = "../../../../tests/lambda/events.rs"]
#[expect(dead_code, reason = "a measurement sends events and reads no answer as a client would")]
mod events;
#[path = "../../../../tests/lambda/http.rs"]
mod http;

use std::path::Path;
use std::time::{Duration, Instant};

use ::http::{HeaderMap, Method};
use serde_json::{Value, json};

use crate::emulator::{Binary, Instance};
use crate::events::Source;

const USAGE: &str = "usage: cold_start BINARY STARTS NAME=VALUE…";

/// The first request of an instance.
#[derive(Debug, Clone, Copy)]
enum First {
    /// A request with a bad body. The store is opened for it, which sends one command to MongoDB and nothing to other
    /// databases.
    Refused,
    /// A push, which needs the database.
    Push,
}

/// The measured figures of one start.
struct Start {
    time: Duration,
    peak_kib: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    // The function runs in its own directory, so the path must be absolute.
    let path = std::path::absolute(arguments.next().expect(USAGE)).expect("a path");
    let starts: usize = arguments.next().and_then(|starts| starts.parse().ok()).expect(USAGE);
    let settings: Vec<(String, String)> = arguments
        .map(|setting| setting.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())).expect(USAGE))
        .collect();
    let binary = Binary { name: "push_operations", path: path.to_str().expect("a path in UTF-8") };
    // The very first start is not measured: it reads the file from the disk and creates the tables.
    measure(binary, &settings, First::Push, 0).await;
    for first in [First::Refused, First::Push] {
        let mut measured = Vec::new();
        for number in 1..=starts {
            measured.push(measure(binary, &settings, first, number).await);
        }
        report(first, measured);
    }
}

/// Starts the function, sends it one request, and ends it.
async fn measure(binary: Binary<'_>, settings: &[(String, String)], first: First, number: usize) -> Start {
    let (body, expected) = match first {
        First::Refused => ("{".to_owned(), 400),
        First::Push => (push_of(number), 200),
    };
    let event = Source::HttpApi.event(&Method::POST, "/operations", &HeaderMap::new(), body.as_bytes());
    // The time includes the start of the emulator, which is a fraction of a millisecond.
    let began = Instant::now();
    let mut instance = Instance::start(binary, settings).await;
    let answer = instance.invoke(&event).await.expect("an answer");
    let time = began.elapsed();
    assert_eq!(answer["statusCode"], expected, "{answer}\n{}", instance.log());
    Start { time, peak_kib: peak_kib(&instance.proc()) }
}

fn push_of(number: usize) -> String {
    let operation: Value = json!({
        "id": format!("op-{number}"), "type": "insert", "collection": "todos", "docId": format!("doc-{number}"),
        "data": {"title": "Buy milk"}, "timestamp": 1_234_567_890, "clientId": "a", "synced": false, "vectorClock": {"a": 1},
    });
    json!({"clientId": "a", "operations": [operation]}).to_string()
}

/// The largest amount of memory that a process has had so far, in KiB.
fn peak_kib(proc: &Path) -> u64 {
    let status = std::fs::read_to_string(proc.join("status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

fn report(first: First, mut measured: Vec<Start>) {
    const KIB_PER_MIB: u64 = 1_024;
    measured.sort_unstable_by_key(|start| start.time);
    let at = |percent: usize| measured[(measured.len() * percent / 100).min(measured.len() - 1)].time;
    let peak_mib = measured.iter().map(|start| start.peak_kib).max().unwrap_or_default().div_ceil(KIB_PER_MIB);
    let name = match first {
        First::Refused => "a request that is refused",
        First::Push => "a push",
    };
    println!("  {name:<33} median {:>8.2?}   p90 {:>8.2?}   peak memory {peak_mib} MiB", at(50), at(90));
}
