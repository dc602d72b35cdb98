//! Isolation of tenants over HTTP with real tokens (law 9). Tenants use the same names of documents, operations and
//! clients, and do the same things at the same time. No answer has a byte of another tenant.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all};
use proptest::collection::vec;
use proptest::prelude::*;
use reqwest::Method;
use serde_json::{Value, json};
use syncflow_server::auth::sign_hs256;
use syncflow_server::limits::api::WAIT_MAX_SECONDS;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;

use crate::endpoints::client::{Answer, Api, ids, list, text};
use crate::endpoints::server::{self, Server};
use crate::endpoints::waking::events::Events;
use crate::support::random::for_random;
use crate::support::stores::{TestStore, for_each_store};

const SECRET: &str = "a secret for tokens of several tenants";

/// How often a request is sent again while the server is busy.
const BUSY_MAX_RETRIES: usize = 20;

/// The tenants that make requests. One more is idle until the end.
const TENANTS: usize = 3;

/// A request of a tenant.
#[derive(Debug, Clone)]
enum Ask {
    Push {
        documents: Vec<usize>,
        is_stale: bool,
        is_again: bool,
    },
    Pull {
        is_original: bool,
    },
    Document {
        document: usize,
    },
    Query,
    Stats,
    /// A request for a tenant that the token does not name.
    Foreign,
}

/// Rounds of requests that are sent at the same time, each with the index of its tenant.
fn rounds() -> impl Strategy<Value = Vec<Vec<(usize, Ask)>>> {
    let ask = prop_oneof![
        6 => (vec(0..3_usize, 1..4), any::<bool>(), any::<bool>())
            .prop_map(|(documents, is_stale, is_again)| Ask::Push { documents, is_stale, is_again }),
        3 => any::<bool>().prop_map(|is_original| Ask::Pull { is_original }),
        1 => (0..3_usize).prop_map(|document| Ask::Document { document }),
        1 => Just(Ask::Query),
        1 => Just(Ask::Stats),
        1 => Just(Ask::Foreign),
    ];
    vec(vec((0..TENANTS, ask), 2..9), 1..6)
}

/// A tenant as its clients know it.
struct Tenant<'a> {
    api: &'a Api,
    name: String,
    /// The names of all others, none of which may be in an answer.
    others: Vec<String>,
    token: String,
    /// The number of the newest operation.
    numbers: AtomicU64,
}

fn token(tenants: &Value) -> String {
    let exp = TokioHost.now_ms().get() / 1_000 + 3_600;
    sign_hs256(SECRET.as_bytes(), &json!({"sub": "ann", "exp": exp, "tenant": tenants}))
}

fn tenants<'a>(api: &'a Api, name: &str) -> Vec<Tenant<'a>> {
    let names: Vec<String> = (0..=TENANTS).map(|number| format!("tq-{name}-{number}z")).collect();
    let tenant = |name: &String| {
        let others = names.iter().filter(|other| *other != name).cloned().collect();
        Tenant { api, name: name.clone(), others, token: token(&json!([name])), numbers: AtomicU64::new(0) }
    };
    names.iter().map(tenant).collect()
}

impl Tenant<'_> {
    fn headers(&self) -> [(&'static str, String); 1] {
        [("authorization", format!("Bearer {}", self.token))]
    }

    /// Sends a request. Its answer has nothing of another tenant.
    async fn send(&self, method: Method, path: &str, more: &[(&str, &str)], body: String) -> Answer {
        let headers = self.headers();
        let mut headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        headers.extend(more);
        let mut answer = self.api.send(method.clone(), path, &headers, body.clone()).await;
        for _ in 0..BUSY_MAX_RETRIES {
            if answer.status != 503 {
                break;
            }
            // On a busy machine the emulation of MongoDB may need longer than the store waits.
            tokio::time::sleep(Duration::from_secs(1)).await;
            answer = self.api.send(method.clone(), path, &headers, body.clone()).await;
        }
        let all = format!("{:?}\n{}", answer.headers, answer.text());
        let leaked = self.others.iter().find(|other| all.contains(other.as_str()));
        assert_eq!(leaked, None, "{} {path}: {all}", self.name);
        answer
    }

    async fn post(&self, path: &str, body: Value) -> Value {
        let answer = self.send(Method::POST, path, &[], body.to_string()).await;
        assert_eq!(answer.status, 200, "{path} {body}: {}", answer.text());
        answer.json()
    }

    /// An operation whose data say the tenant. The ids are the same in every tenant.
    fn operation(&self, number: u64, document: usize, is_stale: bool) -> Value {
        let counter = if is_stale { 1 } else { number + 1 };
        json!({
            "id": format!("op-{number}"), "type": "update", "collection": "todos", "docId": format!("doc-{document}"),
            "data": {"of": self.name, "number": number}, "timestamp": number, "clientId": "phone",
            "vectorClock": {"phone": counter, "tab": counter},
        })
    }

    async fn ask(&self, ask: &Ask, foreign: &str) {
        match ask {
            Ask::Push { documents, is_stale, is_again } => {
                let operations: Vec<Value> = documents
                    .iter()
                    .map(|document| {
                        let number = self.numbers.fetch_add(1, Ordering::SeqCst) + 1;
                        self.operation(number, *document, *is_stale)
                    })
                    .collect();
                for _ in 0..=usize::from(*is_again) {
                    let pushed = self.post("/operations", json!({"clientId": "phone", "operations": operations})).await;
                    let answered = list(&pushed["accepted"]).len() + list(&pushed["conflicts"]).len();
                    assert_eq!(answered, operations.len(), "{pushed}");
                }
            }
            Ask::Pull { is_original } => {
                let place = if *is_original { "since" } else { "cursor" };
                let body = json!({place: if *is_original { json!(0) } else { json!("l.0.0") }, "clientId": "phone"});
                self.post("/changes", body).await;
            }
            Ask::Document { document } => {
                let path = format!("/documents/todos/doc-{document}?clock=1");
                self.send(Method::GET, &path, &[], String::new()).await;
            }
            Ask::Query => drop(self.post("/documents/todos/query", json!({"filter": {"number": {"$gt": 0}}})).await),
            Ask::Stats => drop(self.send(Method::GET, "/stats", &[], String::new()).await),
            Ask::Foreign => {
                let named = [("x-syncflow-tenant", foreign)];
                let answer = self.send(Method::POST, "/changes", &named, r#"{"cursor":null}"#.to_owned()).await;
                assert_eq!((answer.status, &answer.json()["error"]), (403, &json!("forbidden_tenant")));
            }
        }
    }

    /// Its log, its documents and its statistics are its own, as if it were alone.
    async fn check(&self) {
        let mut documents = BTreeMap::new();
        let page = self.post("/changes", json!({"cursor": "l.0.0", "limit": 1000})).await;
        let mut known = ids(&page);
        for entry in list(&page["operations"]) {
            assert_eq!(entry["data"]["of"], json!(self.name), "{entry}");
            documents.insert(text(&entry["docId"]), entry["data"].clone());
        }
        let count = known.len();
        known.sort_unstable();
        known.dedup();
        assert_eq!(known.len(), count, "an operation takes effect once");
        assert!(text(&page["cursor"]).starts_with(&format!("l.{count:x}.")), "the log is dense: {page}");
        let found = self.post("/documents/todos/query", json!({})).await;
        let found: BTreeMap<String, Value> = list(&found["documents"])
            .into_iter()
            .map(|document| (text(&document["_id"]), json!({"of": document["of"], "number": document["number"]})))
            .collect();
        assert_eq!(found, documents, "{}", self.name);
        let stats = self.send(Method::GET, "/stats", &[], String::new()).await.json();
        let counts = (&stats["totalOperations"], &stats["totalDocuments"]);
        assert_eq!(counts, (&json!(count), &json!(documents.len())), "{}", self.name);
    }
}

async fn play(server: &Server, name: &str, rounds: &[Vec<(usize, Ask)>]) {
    let tenants = tenants(&server.api, name);
    let (idle, busy) = tenants.split_last().expect("there are tenants");
    let headers = idle.headers();
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut events = Events::of(&server.api, &headers).await;
    assert_eq!(events.changed().await, "l.0.0");

    let began = Instant::now();
    let waiting = async {
        let page = idle.post("/changes", json!({"cursor": "l.0.0", "wait": WAIT_MAX_SECONDS})).await;
        (page, began.elapsed())
    };
    let working = async {
        for round in rounds {
            let asks = round.iter().map(|(tenant, ask)| busy[*tenant].ask(ask, &busy[(tenant + 1) % TENANTS].name));
            join_all(asks).await;
        }
        for tenant in busy {
            tenant.check().await;
        }
        idle.ask(&Ask::Push { documents: vec![0], is_stale: false, is_again: false }, "").await;
    };
    let ((page, waited), ()) = join(waiting, working).await;
    // On a slow machine the time of the wait may be over before there is anything.
    if !ids(&page).is_empty() || waited < Duration::from_secs(WAIT_MAX_SECONDS) {
        assert_eq!(ids(&page), ["op-1"], "nothing of other tenants ends the wait");
    }
    let newest = idle.post("/changes", json!({"cursor": null})).await;
    assert_eq!(json!(events.changed().await), newest["cursor"], "nothing of other tenants makes an event");
    idle.check().await;
}

fn tenants_do_the_same_at_once_and_never_meet(cases: u32, open: impl AsyncFn() -> TestStore) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let (home, server) = runtime.block_on(async {
        let settings = [("AUTH_HS256_SECRET", SECRET), ("AUTH_TENANT_CLAIM", "tenant"), ("ADAPTER", "memory")];
        let home = open().await;
        let server = server::start_with(home.store(), Arc::new(TokioHost), &settings).await;
        (home, server)
    });
    for_random(cases, &rounds(), |rounds| {
        runtime.block_on(play(&server, &home.next_name(), &rounds));
        Ok(())
    });
    runtime.block_on(async { drop(server) });
}

for_each_store!([memory: 40, sqlite: 15, postgres: 10, mongodb: 2] {
    #[test]
    fn tenants_do_the_same_at_once_and_never_meet() {
        super::tenants_do_the_same_at_once_and_never_meet(CASES, open);
    }
});
