//! A history while it is played: requests to the routes, and what must be in their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use futures_util::future::join;
use http_body_util::BodyExt as _;
use serde_json::{Map, Value, json};
use syncflow_server::api::Api;
use syncflow_server::config::parse_rules;
use syncflow_server::conformance::World;
use syncflow_server::core::access::rules::Rules;
use syncflow_server::core::access::{Claims, Principal, Role};
use syncflow_server::core::names::Subject;
use syncflow_server::core::operation::OperationKind;
use syncflow_server::limits::protocol::INTEGER_MAX;
use syncflow_server::service::{Host, SyncService};
use tower::ServiceExt as _;

use super::device::{Device, ViewKey, key_of};
use super::history::{COLLECTIONS, Draft, LISTS, Push, Step};
use super::markers::{in_text, of_document, of_operation};
use super::model::{Expected, Judge, Key, Model, Numbered};
use super::rules::{Person, SETS};

/// The world of a history.
pub(super) struct Play {
    world: World,
    routes: Router,
    rules: usize,
    epoch: u64,
    people: Vec<Person>,
    devices: Vec<Device>,
    model: Model,
    /// The number of the last operation.
    numbers: u64,
}

/// An answer as it was sent.
struct Answer {
    status: u16,
    body: Value,
    bytes: String,
}

fn people() -> Vec<Person> {
    let person =
        |subject, role, lists: &[&'static str]| Person { subject, role, lists: lists.iter().copied().collect() };
    vec![
        person("ann", Role::Writer, &["a"]),
        person("bob", Role::Writer, &["a", "b"]),
        person("eve", Role::Reader, &["b"]),
        person("root", Role::Admin, &[]),
        person("job", Role::Service, &[]),
    ]
}

fn routes(world: &World, rules: usize, epoch: u64) -> Router {
    let host = Arc::clone(&world.host) as Arc<dyn Host>;
    let rules = match &SETS[rules] {
        Some(set) => parse_rules(&set.toml(epoch)).expect("the rules are right"),
        None => Rules::default(),
    };
    Api::builder(Arc::new(SyncService::new(Arc::clone(&world.store), host).with_rules(rules))).build()
}

impl Play {
    pub(super) fn new(world: World, rules: usize) -> Self {
        let (epoch, model) = (0, Model::default());
        let routes = routes(&world, rules, epoch);
        Self { world, routes, rules, epoch, people: people(), devices: Device::all(), model, numbers: 0 }
    }

    fn judge(&self, person: usize) -> Judge<'_> {
        Judge { rules: SETS[self.rules].as_ref(), who: &self.people[person] }
    }

    fn view(&self, person: usize) -> ViewKey {
        let judge = self.judge(person);
        (!judge.sees_all()).then(|| (self.epoch, judge.who.lists.clone()))
    }

    pub(super) async fn step(&mut self, step: &Step) {
        match step {
            Step::Push(push) => self.push(push).await,
            Step::PushTogether(first, second) => self.push_together(first, second).await,
            Step::Pull { device, limit, is_lost } => drop(self.pull(*device, *limit, *is_lost).await),
            Step::Document { person, collection, document, with_clock } => {
                self.document(*person, (*collection, *document), *with_clock).await;
            }
            Step::Query { person, collection, limit, is_sorted, filter } => {
                self.query(*person, *collection, (*limit, *is_sorted, filter)).await;
            }
            Step::Odd { person, request } => self.odd(*person, *request).await,
            Step::Grant { person, lists } => {
                let has = LISTS.into_iter().zip(lists).filter(|(_, has)| **has);
                self.people[*person].lists = has.map(|(list, _)| list).collect();
            }
            Step::Rules(rules) => {
                (self.rules, self.epoch) = (*rules, self.epoch + 1);
                self.routes = routes(&self.world, self.rules, self.epoch);
            }
            Step::Compact => {
                let service = &self.world.service;
                service.compact(&self.world.tenant, 0, INTEGER_MAX).await.expect("the store compacts");
            }
        }
    }

    /// All devices pull until there is no more. Each must then have what its owner may see.
    pub(super) async fn end(mut self) {
        for device in 0..self.devices.len() {
            while self.pull(device, 2, false).await {}
            let Device { person, documents, .. } = &self.devices[device];
            let visible = self.model.visible(self.judge(*person));
            let wanted = visible.into_iter().filter(|(key, _)| self.devices[device].wants(*key));
            let expected: BTreeMap<Key, Map<String, Value>> = wanted.map(|(key, data)| (key, data.clone())).collect();
            assert_eq!(*documents, expected, "device {device}");
        }
        for person in 0..self.people.len() {
            for collection in 0..COLLECTIONS.len() {
                self.query(person, collection, (2, false, "{}")).await;
            }
        }
    }

    /// Sends a request of a person.
    async fn send(&self, person: usize, method: Method, path: &str, body: &str) -> Answer {
        let Person { subject, role, lists } = &self.people[person];
        let claims = Claims::new([("lists".to_owned(), json!(lists))]);
        let principal = Principal::new(self.world.tenant.clone(), Subject::literal(subject), *role).with_claims(claims);
        let mut request =
            Request::builder().method(method).uri(path).body(Body::from(body.to_owned())).expect("a request");
        request.extensions_mut().insert(principal);
        let response = self.routes.clone().oneshot(request).await.expect("routes cannot fail");
        let (status, headers) = (response.status().as_u16(), format!("{:?}", response.headers()));
        let body = response.into_body().collect().await.expect("the body is whole").to_bytes();
        let text = String::from_utf8(body.to_vec()).expect("text");
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path}: {status} {text}"));
        assert!(status < 500, "{path}: {status} {text}");
        Answer { status, body, bytes: format!("{headers}\n{text}") }
    }

    /// Every marker in an answer is one of the request, of a document that the person may see, or allowed otherwise.
    fn check_bytes(&self, person: usize, request: &str, answer: &Answer, others: &BTreeSet<String>) {
        let judge = self.judge(person);
        if judge.sees_all() {
            return;
        }
        let (seen, asked) = (self.model.markers(judge), in_text(request));
        let may_have = |marker: &String| seen.contains(marker) || asked.contains(marker) || others.contains(marker);
        let leaked: Vec<String> = in_text(&answer.bytes).into_iter().filter(|marker| !may_have(marker)).collect();
        assert!(leaked.is_empty(), "{} must not learn of {leaked:?}: {request} {}", judge.who.subject, answer.bytes);
    }

    /// Sends a request whose answer says nothing of a hidden document.
    async fn ask(&self, person: usize, method: Method, path: &str, body: &str) -> Answer {
        let answer = self.send(person, method, path, body).await;
        self.check_bytes(person, &format!("{path} {body}"), &answer, &BTreeSet::new());
        answer
    }

    fn numbered(&mut self, push: &Push) -> Vec<Numbered> {
        let number = |draft: &Draft| {
            self.numbers += 1;
            let (number, marker) = (self.numbers, of_operation(self.numbers));
            let text = format!("{{{}\"m{}\":\"{marker}\"}}", draft.fields, number % 3);
            let clock = if draft.is_stale { 1 } else { number + 1 };
            let data = serde_json::from_str(&text).expect("an object");
            Numbered { number, kind: draft.kind, key: (draft.collection, draft.document), clock, text, data }
        };
        push.drafts.iter().map(number).collect()
    }

    fn body(&self, push: &Push, operations: &[Numbered]) -> String {
        let client = format!("c-{}", self.people[push.person].subject);
        let mut body = format!(r#"{{"clientId":"{client}","partial":{},"operations":["#, push.is_partial);
        for (index, operation) in operations.iter().enumerate() {
            let Numbered { number, kind, key, clock, text, .. } = operation;
            let clock: BTreeMap<String, u64> =
                self.people.iter().map(|person| (format!("c-{}", person.subject), *clock)).collect();
            let data = if *kind == OperationKind::Delete { String::new() } else { format!("\"data\":{text},") };
            let comma = if index == 0 { "" } else { "," };
            write!(
                body,
                r#"{comma}{{"id":"op-{}","type":"{}","collection":"{}","docId":"{}",{data}"timestamp":1,"clientId":"{client}","vectorClock":{}}}"#,
                of_operation(*number),
                kind.as_str(),
                COLLECTIONS[key.0],
                of_document(*key),
                json!(clock)
            )
            .expect("a text takes everything");
        }
        body + "]}"
    }

    /// Decides in the model. Returns what is expected, and the markers of everything that the author saw meanwhile.
    fn decide(&mut self, person: usize, operations: &[Numbered]) -> (Vec<Expected>, BTreeSet<String>) {
        let judge = Judge { rules: SETS[self.rules].as_ref(), who: &self.people[person] };
        let mut seen = self.model.markers(judge);
        let mut expected = Vec::new();
        for operation in operations {
            expected.push(self.model.take(judge, operation));
            seen.extend(self.model.markers(judge));
        }
        (expected, seen)
    }

    fn check_push(
        &self,
        push: &Push,
        operations: &[Numbered],
        expected: (Vec<Expected>, BTreeSet<String>),
        sent: (&str, &Answer),
    ) {
        let (body, answer) = sent;
        let (expected, seen) = expected;
        self.check_bytes(push.person, body, answer, &seen);
        if self.people[push.person].role < Role::Writer {
            assert_eq!(answer.status, 403, "{}", answer.bytes);
            return;
        }
        assert_eq!(answer.status, 200, "{}", answer.bytes);
        let in_list = |list: &str, number: u64| {
            let id = json!(format!("op-{}", of_operation(number)));
            let entries = answer.body[list].as_array().expect("a list");
            entries.iter().find(|entry| entry["id"] == id).cloned()
        };
        for (operation, expected) in operations.iter().zip(expected) {
            let found = match in_list("conflicts", operation.number) {
                None => in_list("accepted", operation.number).map(|_| Expected::Accepted),
                Some(entry) if entry["conflict"]["relation"] == "forbidden" => {
                    Some(Expected::Forbidden { is_shown: entry["conflict"].get("rev").is_some() })
                }
                Some(_) => Some(Expected::Conflict),
            };
            assert_eq!(found, Some(expected), "{operation:?} in {}", answer.bytes);
        }
    }

    async fn push(&mut self, push: &Push) {
        let operations = self.numbered(push);
        let body = self.body(push, &operations);
        for _ in 0..=usize::from(push.is_lost) {
            let expected = self.expected(push, &operations);
            let answer = self.send(push.person, Method::POST, "/operations", &body).await;
            self.check_push(push, &operations, expected, (&body, &answer));
        }
    }

    async fn push_together(&mut self, first: &Push, second: &Push) {
        let (of_first, of_second) = (self.numbered(first), self.numbered(second));
        let bodies = (self.body(first, &of_first), self.body(second, &of_second));
        let expected_first = self.expected(first, &of_first);
        let (expected, mut seen) = self.expected(second, &of_second);
        seen.extend(self.model.markers(self.judge(second.person)));
        let answers = join(
            self.send(first.person, Method::POST, "/operations", &bodies.0),
            self.send(second.person, Method::POST, "/operations", &bodies.1),
        );
        let (answer_first, answer_second) = answers.await;
        self.check_push(first, &of_first, expected_first, (&bodies.0, &answer_first));
        self.check_push(second, &of_second, (expected, seen), (&bodies.1, &answer_second));
    }

    /// The outcomes that the operations of a push must have. A reader changes nothing.
    fn expected(&mut self, push: &Push, operations: &[Numbered]) -> (Vec<Expected>, BTreeSet<String>) {
        if self.people[push.person].role < Role::Writer {
            return (Vec::new(), BTreeSet::new());
        }
        self.decide(push.person, operations)
    }

    /// A device pulls a page. Returns whether it has to pull again.
    async fn pull(&mut self, device: usize, limit: usize, is_lost: bool) -> bool {
        let Device { person, cursor, view, in_sync_at, .. } = &self.devices[device];
        let (person, in_sync_at, has_cursor) = (*person, *in_sync_at, cursor.is_some());
        let is_refused = has_cursor && *view != self.view(person);
        let body = self.devices[device].request(self.people[person].subject, limit).to_string();
        let answer = self.send(person, Method::POST, "/changes", &body).await;
        if is_refused {
            self.check_bytes(person, &body, &answer, &BTreeSet::new());
            assert_eq!((answer.status, &answer.body["reason"]), (410, &json!("view")), "{}", answer.bytes);
            if !is_lost {
                self.devices[device].begin_again();
            }
            return true;
        }
        assert_eq!(answer.status, 200, "{body} {}", answer.bytes);
        let mut removed = BTreeSet::new();
        for entry in answer.body["operations"].as_array().expect("a list") {
            if entry.get("removed").is_some() {
                let key = key_of(entry);
                let may_have_it = has_cursor && self.model.could_see_since(self.judge(person), key, in_sync_at);
                assert!(may_have_it, "device {device} never had {entry}, it was in sync at {in_sync_at}");
                removed.insert(of_document(key));
            }
        }
        self.check_bytes(person, &body, &answer, &removed);
        if is_lost {
            return true;
        }
        let (head, view) = (self.model.head, self.view(person));
        self.devices[device].take(&answer.body, head, view)
    }

    async fn document(&self, person: usize, key: Key, with_clock: bool) {
        let query = if with_clock { "?clock=1" } else { "" };
        let path = format!("/documents/{}/{}{query}", COLLECTIONS[key.0], of_document(key));
        let answer = self.ask(person, Method::GET, &path, "").await;
        let is_visible = self.model.document(self.judge(person), key).is_some();
        assert_eq!(answer.status, if is_visible { 200 } else { 404 }, "{path} {}", answer.bytes);
    }

    async fn query(&self, person: usize, collection: usize, (limit, is_sorted, filter): (usize, bool, &str)) {
        let path = format!("/documents/{}/query", COLLECTIONS[collection]);
        let (mut found, mut cursor) = (BTreeMap::new(), Value::Null);
        loop {
            let filter: Value = serde_json::from_str(filter).expect("a filter");
            let mut body = json!({"filter": filter, "limit": limit, "cursor": cursor});
            if is_sorted {
                body["sort"] = json!({"m0": 1});
            }
            let answer = self.ask(person, Method::POST, &path, &body.to_string()).await;
            assert_eq!(answer.status, 200, "{}", answer.bytes);
            for document in answer.body["documents"].as_array().expect("a list") {
                let mut data = document.as_object().cloned().expect("an object");
                let id = data.remove("_id").expect("an id");
                data.remove("_rev");
                found.insert(id.as_str().expect("a text").to_owned(), data);
            }
            cursor = answer.body["cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        let visible = self.model.visible(self.judge(person));
        let matching = visible.into_iter().filter(|(key, data)| key.0 == collection && matches(filter, data));
        let expected: BTreeMap<String, Map<String, Value>> =
            matching.map(|(key, data)| (of_document(key), data.clone())).collect();
        assert_eq!(found, expected, "{filter} of {}", self.people[person].subject);
    }

    async fn odd(&self, person: usize, request: usize) {
        let (method, path, body) = match request {
            0 => (Method::POST, "/changes", r#"{"since":0,"clientId":"odd"}"#),
            1 => (Method::GET, "/stats", ""),
            2 => (Method::POST, "/changes", r#"{"cursor":"l.1.5"}"#),
            3 => (Method::POST, "/documents/todos/query", r#"{"filter":{"m0":{"$no":1}}}"#),
            _ => (Method::POST, "/changes", r#"{"since":0}"#),
        };
        let answer = self.ask(person, method, path, body).await;
        let expected: &[u16] = match request {
            0 | 4 if !self.judge(person).sees_all() => &[403],
            0 | 1 => &[200, 403],
            2 => &[410],
            3 => &[400],
            // All timestamps are equal, which this form of a pull cannot tell apart on small pages.
            _ => &[200, 422],
        };
        assert!(expected.contains(&answer.status), "{path} {body}: {}", answer.bytes);
    }
}

/// Whether a document meets one of the filters of the histories.
fn matches(filter: &str, data: &Map<String, Value>) -> bool {
    match filter {
        "{}" => true,
        r#"{"list":"a"}"# => match data.get("list") {
            Some(Value::Array(lists)) => lists.contains(&json!("a")),
            list => list == Some(&json!("a")),
        },
        r#"{"owner":{"$exists":false}}"# => !data.contains_key("owner"),
        r#"{"m0":{"$gt":""}}"# => data.contains_key("m0"),
        _ => panic!("{filter} is not one of them"),
    }
}
