//! Many writers on few documents, through several server processes over one database, and the properties that must hold
//! afterwards.

use std::collections::{HashMap, HashSet};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;
use futures_util::future::join_all;
use reqwest::Client;
use serde_json::{Map, Value, json};
use syncflow_server::conformance::World;
use syncflow_server::core::clock::{Relation, VectorClock};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::document::merge;
use syncflow_server::core::json::Object;
use syncflow_server::core::numbers::{Rev, Seq};
use syncflow_server::core::operation::LogEntry;
use syncflow_server::limits::protocol::PAGE_MAX_OPERATIONS;
use syncflow_server::store::{Changes, ChangesRequest};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;

use super::random::variable;

const PROCESSES: usize = 4;

/// The default number of writers.
pub(crate) const WRITERS: usize = 32;

const DOCUMENTS: usize = 8;

/// The number of operations that the test needs to prove something. On a slow machine it continues until it has them.
const OPERATIONS_MIN: usize = 101;

/// How long the test waits for these operations before it fails.
const PATIENCE: Duration = Duration::from_secs(180);

/// The length of the test in seconds, unless `SYNCFLOW_RACE_SECONDS` is set.
const DEFAULT_SECONDS: u64 = 10;

/// A server process over the database. It ends when this is dropped.
struct Process {
    url: String,
    _child: Child,
}

impl Process {
    async fn start(settings: &[(&str, &str)]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_local"))
            .env_clear()
            .envs([("PORT", "0"), ("LOG_LEVEL", "off")])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the server starts");
        let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        loop {
            let line = lines.next_line().await.expect("text").expect("the server says where it listens");
            if let Some(url) = line.strip_prefix("listening") {
                return Self { url: url.trim().to_owned(), _child: child };
            }
        }
    }
}

/// A client that writes to documents whose newest state it has not always seen.
struct Writer {
    name: String,
    url: String,
    http: Client,
    random: Rng,
    /// The last clock that it knows of each document.
    clocks: HashMap<String, Map<String, Value>>,
    accepted: Vec<String>,
    /// The number of accepted operations of all writers.
    accepted_of_all: Arc<AtomicUsize>,
    /// The longest time from the first request of a push to its answer.
    longest_wait: Duration,
}

impl Writer {
    /// Writes until it is told to stop, and finishes the push that it has begun.
    async fn write_until(mut self, is_over: Arc<AtomicBool>) -> Self {
        for number in 0_u64.. {
            if is_over.load(Ordering::SeqCst) {
                break;
            }
            let document = format!("doc-{}", self.random.usize(..DOCUMENTS));
            let mut clock = self.clocks.remove(&document).unwrap_or_default();
            let counter = clock.get(&self.name).and_then(Value::as_u64).unwrap_or(0).max(number) + 1;
            clock.insert(self.name.clone(), counter.into());
            let id = format!("{}-{number}", self.name);
            let operation = json!({
                "id": id, "type": "update", "collection": "todos", "docId": document,
                "data": {self.name.as_str(): number}, "timestamp": number + 1, "clientId": self.name,
                "vectorClock": clock,
            });
            let began = Instant::now();
            let answer = self.push(&operation).await;
            self.longest_wait = self.longest_wait.max(began.elapsed());
            match answer["conflicts"].as_array().expect("a list").first() {
                None => {
                    assert_eq!(answer["accepted"][0]["id"], id.as_str(), "an operation is in one of the lists");
                    self.accepted.push(id);
                    self.accepted_of_all.fetch_add(1, Ordering::SeqCst);
                }
                Some(conflict) => {
                    let theirs = conflict["vectorClock"].as_object().expect("a clock");
                    for (client, counter) in theirs {
                        let ours = clock.get(client).and_then(Value::as_u64).unwrap_or(0);
                        clock.insert(client.clone(), ours.max(counter.as_u64().expect("a counter")).into());
                    }
                }
            }
            self.clocks.insert(document, clock);
        }
        self
    }

    /// Repeats the push of an operation until it is answered.
    async fn push(&mut self, operation: &Value) -> Value {
        let body = json!({"clientId": self.name, "operations": [operation]}).to_string();
        loop {
            let request = self.http.post(format!("{}/operations", self.url)).body(body.clone());
            let response = request.send().await.expect("the server process lives on");
            let status = response.status().as_u16();
            let text = response.text().await.expect("a whole answer");
            match status {
                200 => return serde_json::from_str(&text).expect("JSON"),
                503 => tokio::time::sleep(Duration::from_millis(self.random.u64(10..50))).await,
                _ => panic!("{status}: {text}"),
            }
        }
    }
}

/// Pulls repeatedly while others write, and checks that each page begins where the one before ended. Returns the last
/// sequence number.
async fn poll_until(world: World, is_over: Arc<AtomicBool>) -> Seq {
    let (mut cursor, mut seen) = (Some(Cursor::BEGINNING), Seq::START);
    while !is_over.load(Ordering::SeqCst) {
        let request = ChangesRequest::operations(cursor, PAGE_MAX_OPERATIONS);
        match world.store.changes(&world.tenant, request).await {
            Ok(Changes::Page { page, .. }) => {
                for entry in &page.entries {
                    assert_eq!(entry.seq, seen.next(), "a number became visible before the one below it");
                    seen = entry.seq;
                }
                cursor = Some(page.next);
            }
            Ok(Changes::Reset) => panic!("the log forgot what it had shown"),
            // The server is down at the moment.
            Err(error) => assert!(error.can_retry(), "{error}"),
        }
    }
    seen
}

async fn whole_log(world: &World) -> Vec<LogEntry> {
    let mut log = Vec::new();
    let mut page = world.changes(Some(Cursor::BEGINNING), PAGE_MAX_OPERATIONS).await;
    loop {
        log.append(&mut page.entries);
        if !page.has_more {
            return log;
        }
        page = world.changes(Some(page.next), PAGE_MAX_OPERATIONS).await;
    }
}

/// Decides about the whole log again: every operation must have seen the state that it replaced.
async fn check_documents(world: &World, log: &[LogEntry]) {
    let mut documents: HashMap<&str, (VectorClock, Object, Rev)> = HashMap::new();
    for entry in log {
        let clock = VectorClock::parse(entry.clock.as_str()).expect("a clock");
        let data = entry.data().cloned().expect("an update has data");
        let (data, rev) = match documents.get(entry.key.id.as_str()) {
            None => (data, Rev::new(1)),
            Some((before, base, rev)) => {
                let relation = clock.compare(before);
                let has_seen_it = matches!(relation, Relation::HappensAfter | Relation::Equal);
                assert!(has_seen_it, "{:?} overwrote what it had not seen: {relation:?}", entry.id);
                (merge(base, &data).expect("both are objects"), rev.next())
            }
        };
        documents.insert(entry.key.id.as_str(), (clock, data, rev));
    }
    for (id, (_, data, rev)) in documents {
        let document = world.document(id).await.expect("it is there");
        assert_eq!((document.data, document.rev), (data, rev), "{id}");
    }
}

/// The length of the test in seconds.
pub(crate) fn seconds() -> u64 {
    variable("SYNCFLOW_RACE_SECONDS").unwrap_or(DEFAULT_SECONDS)
}

/// Runs `writers` writers through server processes with these settings, and a client that pulls, until the disturbance
/// is over and enough operations were accepted.
///
/// Afterwards it checks that the log is dense and has exactly the accepted operations, each once. It also checks that
/// no operation overwrote a state that it had not seen.
pub(crate) async fn write_while(
    writers: usize,
    settings: &[(&str, &str)],
    world: impl Fn() -> World,
    random: &mut Rng,
    disturbance: impl AsyncFnOnce(),
) {
    let processes = join_all((0..PROCESSES).map(|_| Process::start(settings))).await;
    let is_over = Arc::new(AtomicBool::new(false));
    let accepted_of_all = Arc::new(AtomicUsize::new(0));
    let began = Instant::now();
    let writers: Vec<JoinHandle<Writer>> = (0..writers)
        .map(|number| Writer {
            name: format!("writer-{number}"),
            url: processes[number % PROCESSES].url.clone(),
            http: Client::new(),
            random: random.fork(),
            clocks: HashMap::new(),
            accepted: Vec::new(),
            accepted_of_all: Arc::clone(&accepted_of_all),
            longest_wait: Duration::ZERO,
        })
        .map(|writer| tokio::spawn(writer.write_until(Arc::clone(&is_over))))
        .collect();
    let polling = tokio::spawn(poll_until(world(), Arc::clone(&is_over)));
    disturbance().await;
    while accepted_of_all.load(Ordering::SeqCst) < OPERATIONS_MIN {
        assert!(!writers.iter().any(JoinHandle::is_finished), "a writer has failed");
        assert!(began.elapsed() < PATIENCE, "too few operations for the test to tell");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let took = began.elapsed();
    is_over.store(true, Ordering::SeqCst);
    let last_seen = polling.await.expect("every page follows the one before");
    assert!(last_seen > Seq::START, "nothing was seen while it was written");
    let writers = join_all(writers).await.into_iter().map(|writer| writer.expect("a writer ends well"));
    let writers: Vec<Writer> = writers.collect();

    let world = world();
    let log = whole_log(&world).await;
    assert!(log.iter().map(|entry| entry.seq).eq(Seq::START.following().take(log.len())), "the log has a hole");
    let logged: HashSet<&str> = log.iter().map(|entry| entry.id.as_str()).collect();
    assert_eq!(logged.len(), log.len(), "an operation is in the log twice");
    let accepted: HashSet<&str> = writers.iter().flat_map(|writer| &writer.accepted).map(String::as_str).collect();
    assert_eq!(logged, accepted, "the log has what was accepted, and nothing else");
    check_documents(&world, &log).await;
    let longest_wait = writers.iter().map(|writer| writer.longest_wait).max().unwrap_or_default();
    let (operations, writers) = (log.len(), writers.len());
    println!("{operations} operations of {writers} writers in {took:?}, the longest push took {longest_wait:?}");
}
