//! The clients of a run: devices that write, and clients that follow the log, read documents or compact.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use syncflow_server::conformance::draft::{COLLECTION, key};
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::numbers::UnixMs;
use syncflow_server::core::operation::OperationKind;
use syncflow_server::limits::protocol::DAY_MS;
use syncflow_server::service::{PullFrom, PulledPage};

use super::fleet::Fleet;
use super::record::{Record, count};
use super::wire;
use crate::convergence::device::Device;
use crate::convergence::story::{Dialect, WallClock};
use crate::history::{Call, Documents, End};

const DOCUMENTS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
const FIELDS: [&str; 3] = ["k", "l", "m"];

/// How long a client waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest pause of a client between two requests, in milliseconds.
const PAUSE_MAX_MS: u64 = 30;

/// The greatest age of the entries that a compaction leaves, in milliseconds. It is so small that clients which were
/// cut off for a while fall behind the horizon.
const COMPACT_AGE_MAX_MS: u64 = 4_000;

/// The most rounds, pages and attempts for settling, far more than are needed without faults.
const SETTLING_MAX: usize = 200;

/// Sends requests to any of the servers.
pub(super) struct Asker {
    name: String,
    http: reqwest::Client,
    ports: Vec<u16>,
    record: Arc<Record>,
    random: fastrand::Rng,
}

impl Asker {
    pub(super) fn new(name: &str, fleet: &Fleet, record: &Arc<Record>, random: &mut fastrand::Rng) -> Self {
        Self {
            name: name.to_owned(),
            http: reqwest::Client::builder().timeout(PATIENCE).build().expect("a client"),
            ports: fleet.proxies().map(super::proxy::Proxy::port).collect(),
            record: Arc::clone(record),
            random: random.fork(),
        }
    }

    /// The ports of the proxies before the servers.
    pub(super) fn ports(&self) -> &[u16] {
        &self.ports
    }

    pub(super) fn record(&self) -> &Record {
        &self.record
    }

    /// A random number below `count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.random.usize(..count)
    }

    /// Sends a request. Returns `None` if no answer comes, or one that says to try again later.
    async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Option<(u16, Value)> {
        let counts = &self.record.counts;
        count(&counts.requests);
        let port = self.ports[self.random.usize(..self.ports.len())];
        let mut request = self.http.request(method, format!("http://127.0.0.1:{port}{path}"));
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = async {
            let response = request.send().await?;
            Ok::<_, reqwest::Error>((response.status().as_u16(), response.text().await?))
        };
        let Ok((status, text)) = answer.await else {
            count(&counts.unanswered);
            return None;
        };
        match (status, serde_json::from_str(&text)) {
            (503, Ok(_)) => count(&counts.unavailable),
            (200 | 404, Ok(json)) => return Some((status, json)),
            _ => self.record.enter_unexpected(format!("{path}: {status} {text}")),
        }
        None
    }

    async fn post(&mut self, path: &str, body: &Value) -> Option<Value> {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await?;
        if status == 200 {
            return Some(answer);
        }
        self.record.enter_unexpected(format!("{path}: {status} {answer}"));
        None
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(self.random.u64(..PAUSE_MAX_MS))).await;
    }

    /// Pulls a page.
    pub(super) async fn page(&mut self, from: PullFrom, limit: usize) -> Option<PulledPage> {
        let sent = self.record.moment();
        let answer = self.post("/changes", &wire::pull(&self.name, &from, limit)).await?;
        let Some(page) = wire::page(&answer) else {
            self.record.enter_unexpected(format!("not a page: {answer}"));
            return None;
        };
        self.record.enter(&self.name, sent, Call::Pull { from, page: page.clone() });
        Some(page)
    }

    /// Reads a page of documents.
    async fn query(&mut self) -> Option<Vec<(String, crate::history::Found)>> {
        let sent = self.record.moment();
        let answer = self.post(&format!("/documents/{COLLECTION}/query"), &json!({})).await?;
        let documents: Vec<_> = answer["documents"].as_array()?.iter().filter_map(wire::document).collect();
        for (id, found) in &documents {
            self.record.enter(&self.name, sent, Call::Read { key: key(id), found: Some(found.clone()) });
        }
        Some(documents)
    }

    async fn read(&mut self, document: &str) {
        let sent = self.record.moment();
        let path = format!("/documents/{COLLECTION}/{document}");
        if let Some((status, answer)) = self.ask(Method::GET, &path, None).await {
            let found = if status == 200 { wire::document(&answer).map(|(_, found)| found) } else { None };
            self.record.enter(&self.name, sent, Call::Read { key: key(document), found });
        }
    }
}

/// A user with a device.
struct Writer {
    asker: Asker,
    device: Device,
}

impl Writer {
    async fn work(&mut self, until: Instant) {
        while Instant::now() < until {
            self.edit();
            // It repeats the push until it is answered, and does nothing else meanwhile, not even at the end. A pull
            // would put an operation on top that the server may have under those of others.
            while !self.push().await {
                if Instant::now() >= until {
                    return;
                }
                count(&self.asker.record.counts.retries);
                self.asker.pause().await;
            }
            for _ in 0..self.asker.random.usize(1..3) {
                self.pull().await;
            }
            self.asker.pause().await;
        }
    }

    fn edit(&mut self) {
        let random = &mut self.asker.random;
        for _ in 0..random.usize(..4) {
            let kinds = [OperationKind::Insert, OperationKind::Update, OperationKind::Update, OperationKind::Delete];
            let (kind, field) = (kinds[random.usize(..kinds.len())], FIELDS[random.usize(..FIELDS.len())]);
            let document = DOCUMENTS[random.usize(..DOCUMENTS.len())];
            let now_ms = UnixMs::new(1 + self.asker.record.moment() / 1_000);
            self.device.edit(&key(document), kind, field, now_ms);
        }
    }

    /// Pushes the device's operations, if it may push. Returns whether the push was answered.
    async fn push(&mut self) -> bool {
        let operations = self.device.pending().to_vec();
        if operations.is_empty() || !self.device.may_push() {
            return true;
        }
        let asker = &mut self.asker;
        let sent = asker.record.moment();
        let answer = asker.post("/operations", &wire::push(&asker.name, &operations)).await;
        let outcomes: Option<Vec<Outcome>> = answer.and_then(|answer| wire::outcomes(&operations, &answer));
        let whole = outcomes.clone().filter(|outcomes| outcomes.len() == operations.len());
        asker.record.enter(&asker.name, sent, Call::Push { operations, outcomes });
        whole.is_some_and(|outcomes| {
            self.device.pushed(&outcomes);
            true
        })
    }

    /// Pulls a page. If it is answered, returns whether there was news in it and whether there is more.
    async fn pull(&mut self) -> Option<(bool, bool)> {
        let limit = self.asker.random.usize(1..50);
        let page = self.asker.page(self.device.pull_from(), limit).await?;
        Some((self.device.pulled(&page), page.has_more))
    }

    /// Pushes, and pulls to the end. Returns whether anything was left to do.
    async fn sync(&mut self) -> bool {
        let mut was_news = !self.device.pending().is_empty();
        for _ in 0..SETTLING_MAX {
            if !self.push().await {
                continue;
            }
            match self.pull().await {
                Some((is_news, has_more)) => {
                    was_news |= is_news;
                    if !has_more {
                        return was_news;
                    }
                }
                None => self.asker.pause().await,
            }
        }
        panic!("{} does not get to the end", self.asker.name);
    }
}

/// All clients of a run.
pub(super) struct Crew {
    writers: Vec<Writer>,
    follower: Asker,
    cursor: Cursor,
    reader: Asker,
    compactor: Asker,
}

impl Crew {
    pub(super) fn new(writers: usize, fleet: &Fleet, record: &Arc<Record>, random: &mut fastrand::Rng) -> Self {
        let clocks = [WallClock::True, WallClock::Stopped, WallClock::Backwards, WallClock::Cycling];
        let mut asker = |name: &str| Asker::new(name, fleet, record, random);
        let writer = |number: usize| {
            let dialect = if number % 3 == 2 { Dialect::Original } else { Dialect::Cursor };
            let device = Device::new(number, dialect, clocks[number % clocks.len()]);
            Writer { asker: asker(device.client().as_str()), device }
        };
        Self {
            writers: (0..writers).map(writer).collect(),
            follower: asker("follower"),
            cursor: Cursor::Log(Position::START),
            reader: asker("reader"),
            compactor: asker("compactor"),
        }
    }

    /// All clients work until the time is over.
    pub(super) async fn work(mut self, until: Instant) -> Self {
        let Self { writers, follower, cursor, reader, compactor } = &mut self;
        tokio::join!(
            join_all(writers.iter_mut().map(|writer| writer.work(until))),
            follow(follower, cursor, until),
            look(reader, until),
            compact(compactor, until),
        );
        self
    }

    /// All clients sync until nothing is left to do. There are no faults any more. Returns also the end of the log.
    pub(super) async fn settle(mut self) -> (End, Position) {
        let mut rounds = 0;
        loop {
            let mut is_quiet = true;
            for writer in &mut self.writers {
                is_quiet &= !writer.sync().await;
            }
            if is_quiet {
                break;
            }
            rounds += 1;
            assert!(rounds < SETTLING_MAX, "the devices never settle");
        }
        for _ in 0..SETTLING_MAX {
            if step_of_follower(&mut self.follower, &mut self.cursor).await == Some(false) {
                break;
            }
        }
        let mut documents = None;
        for _ in 0..SETTLING_MAX {
            documents = self.reader.query().await;
            if documents.is_some() {
                break;
            }
        }
        let documents = documents.expect("the servers answer when everything is well");
        let replica = |writer: &Writer| -> (String, Documents) {
            (writer.device.client().to_string(), writer.device.documents())
        };
        let end = End {
            documents: documents.into_iter().map(|(id, found)| (key(&id), found)).collect(),
            replicas: self.writers.iter().map(replica).collect(),
        };
        (end, self.cursor.position())
    }
}

/// Reads the next page of the log. Returns whether there is more.
async fn step_of_follower(follower: &mut Asker, cursor: &mut Cursor) -> Option<bool> {
    let page = follower.page(PullFrom::Cursor(Some(*cursor)), 1_000).await?;
    *cursor = page.cursor?;
    Some(page.has_more)
}

async fn follow(follower: &mut Asker, cursor: &mut Cursor, until: Instant) {
    while Instant::now() < until {
        let _ = step_of_follower(follower, cursor).await;
        follower.pause().await;
    }
}

async fn look(reader: &mut Asker, until: Instant) {
    while Instant::now() < until {
        let document = DOCUMENTS[reader.random.usize(..DOCUMENTS.len())];
        reader.read(document).await;
        let _ = reader.query().await;
        let _ = reader.ask(Method::GET, "/stats", None).await;
        reader.pause().await;
    }
}

async fn compact(compactor: &mut Asker, until: Instant) {
    #[expect(clippy::cast_precision_loss, reason = "small numbers")]
    let days = |age_ms: u64| age_ms as f64 / DAY_MS as f64;
    while Instant::now() < until {
        let (sent, age_ms) = (compactor.record.moment(), compactor.random.u64(500..COMPACT_AGE_MAX_MS));
        let answer = compactor.post("/compact", &json!({"olderThanDays": days(age_ms)})).await;
        let deleted_entries = answer.and_then(|answer| answer["deletedCount"].as_u64());
        compactor.record.enter("compactor", sent, Call::Compact { deleted_entries });
        tokio::time::sleep(Duration::from_millis(compactor.random.u64(..1_000))).await;
    }
}
