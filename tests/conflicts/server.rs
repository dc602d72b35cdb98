//! The server that clients talk to: the routes in process.
//!
//! It has the policies, or `rule.rs` is in front of a server that rejects conflicts. It may begin as an Express server,
//! from which it takes over at some moment.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use syncflow_server::api::Api;
use syncflow_server::conformance::World;
use syncflow_server::conformance::world::query_of;
use syncflow_server::core::access::{Principal, Role};
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::names::Subject;
use syncflow_server::limits::protocol::PAGE_MAX_OPERATIONS;
use syncflow_server::service::{Host, SyncService};
use syncflow_server::store::Query;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::express;
use super::front::Front;
use super::observer::{Bug, Observer};
use super::rule::{Causality, Setting, policies};
use super::wire::{AuditedEntry, AuditedPage, Bases, COLLECTION, Data, Op, PullAnswer, PushAnswer};
use crate::operator::express::layout::{self, Express};

/// How a server treats conflicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Conflicts {
    /// As the original protocol does.
    Rejected,
    /// By the rule in front of a server that rejects them.
    SettledInFront(Setting),
    /// By the server itself.
    Settled(Setting),
    /// By the server itself, for clients of which some name revisions. The rule knows nothing of these.
    SettledWithRevisions(Setting),
    /// By the server itself, or not at all, after it has taken over from an Express server. The rule knows nothing of
    /// what was there.
    TakenOver(layout::Kind, Option<Setting>),
}

/// The beginning of the ids of resolutions.
const PREFIX: &str = "syncflow-server::resolved::";

/// The same if the rule is in front of the server, which refuses its own.
const PREFIX_IN_FRONT: &str = "in-front::";

/// The routes over a service with a policy. Without one, conflicts are rejected.
fn routes(world: &World, setting: Option<Setting>, has_quarantine: bool) -> Router {
    let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
    let service = service.with_conflict_policies(policies(setting));
    let service = if has_quarantine { service.with_quarantine() } else { service };
    let principal = Principal::new(world.tenant.clone(), Subject::literal("everybody"), Role::Admin);
    Api::builder(Arc::new(service)).fixed_principal(principal).build()
}

/// The body of a push.
fn push_body(client: &str, ops: &[Op], bases: Option<&Bases>) -> Value {
    let mut body = json!({"clientId": client, "operations": ops});
    let Some(Bases { cursor, revs }) = bases else { return body };
    body["cursor"] = json!(cursor);
    for (op, rev) in body["operations"].as_array_mut().into_iter().flatten().zip(revs) {
        op["baseRev"] = json!(rev);
        op.as_object_mut().and_then(|op| op.remove("vectorClock"));
    }
    body
}

/// Whether no server can decide an operation.
fn is_poison(op: &Op) -> bool {
    op.doc_id.is_empty()
}

/// Documents by their ids.
pub(crate) type Documents = BTreeMap<String, Data>;

/// A server, as one tenant sees it.
pub(crate) struct Server {
    pub(crate) world: World,
    runtime: Rc<Runtime>,
    routes: RefCell<Router>,
    /// The Express server, as long as clients talk to it.
    express: RefCell<Option<Express>>,
    /// Whether an operation that an Express server has forgotten, and that is pushed again, is not stuck for ever.
    may_forget: bool,
    /// The rule, with which the server is compared, or which is in front of it.
    rule: Option<RefCell<Front>>,
    is_in_front: bool,
    has_quarantine: bool,
    bug: Option<Bug>,
    observer: Option<RefCell<Observer>>,
}

impl Server {
    pub(crate) fn new(world: World, runtime: Rc<Runtime>, conflicts: Conflicts, bug: Option<Bug>) -> Self {
        let causality = Causality(bug != Some(Bug::StampWithoutCausality));
        let (setting, prefix) = match conflicts {
            Conflicts::Rejected => (None, PREFIX),
            Conflicts::SettledInFront(setting) => (Some(setting), PREFIX_IN_FRONT),
            Conflicts::Settled(setting) | Conflicts::SettledWithRevisions(setting) => (Some(setting), PREFIX),
            Conflicts::TakenOver(_, setting) => (setting, PREFIX),
        };
        let is_in_front = prefix == PREFIX_IN_FRONT;
        let routes = RefCell::new(routes(&world, setting.filter(|_| !is_in_front), false));
        let express = match conflicts {
            Conflicts::TakenOver(kind, _) => Some(runtime.block_on(Express::new(kind))),
            _ => None,
        };
        let with_revisions = matches!(conflicts, Conflicts::SettledWithRevisions(_));
        let of_rule = setting.filter(|_| !with_revisions && express.is_none());
        let rule = of_rule.map(|setting| RefCell::new(Front::new(prefix, setting, causality)));
        let observer = setting.filter(|_| express.is_none()).map(|_| RefCell::new(Observer::new(prefix)));
        let express = RefCell::new(express);
        let may_forget = setting.is_some();
        Self { world, runtime, routes, express, may_forget, rule, is_in_front, has_quarantine: false, bug, observer }
    }

    /// The same server, which keeps operations that cannot be decided.
    pub(crate) fn with_quarantine(self, conflicts: Conflicts) -> Self {
        let setting = match conflicts {
            Conflicts::Settled(setting) | Conflicts::SettledWithRevisions(setting) => Some(setting),
            Conflicts::Rejected | Conflicts::SettledInFront(_) | Conflicts::TakenOver(..) => None,
        };
        let routes = RefCell::new(routes(&self.world, setting, true));
        Self { routes, has_quarantine: true, ..self }
    }

    /// Starts the server again with another policy, if it has one.
    pub(crate) fn change_policy(&self, setting: Setting) {
        if let Some(rule) = &self.rule {
            rule.borrow_mut().set(setting);
        }
        if self.observer.is_some() {
            let setting = Some(setting).filter(|_| !self.is_in_front);
            *self.routes.borrow_mut() = routes(&self.world, setting, self.has_quarantine);
        }
    }

    /// Sends a request. Returns the status and the body.
    fn post(&self, path: &str, body: &Value) -> (StatusCode, String) {
        let request = Request::post(path).header("host", "localhost").body(Body::from(body.to_string()));
        let answer = self.routes.borrow().clone().oneshot(request.expect("a request"));
        self.runtime.block_on(async {
            let answer = answer.await.expect("the routes always answer");
            let status = answer.status();
            let bytes = answer.into_body().collect().await.expect("a whole answer").to_bytes();
            (status, String::from_utf8(bytes.to_vec()).expect("UTF-8"))
        })
    }

    /// Whether clients talk to an Express server.
    pub(crate) fn is_express(&self) -> bool {
        self.express.borrow().is_some()
    }

    /// Takes over from the Express server. Its clients notice nothing.
    pub(crate) fn take_over(&self, choose: impl FnMut(usize) -> usize) {
        let express = self.express.take().expect("there is an Express server");
        self.runtime.block_on(express::take_over(&express, &self.world, choose));
    }

    fn ask<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Option<T> {
        if let Some(express) = &*self.express.borrow() {
            let answer = self.runtime.block_on(express::answer(express, path, body));
            return Some(serde_json::from_value(answer).expect("an answer"));
        }
        let (status, text) = self.post(path, body);
        match status {
            StatusCode::OK => Some(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))),
            _ if status.is_client_error() => None,
            _ => panic!("{status}: {text}"),
        }
    }

    /// Pushes operations. `None` if the push is refused.
    pub(crate) fn push(&self, client: &str, ops: &[Op]) -> Option<PushAnswer> {
        self.push_with(client, ops, None)
    }

    /// Pushes operations, which may name revisions in place of clocks.
    pub(crate) fn push_with(&self, client: &str, ops: &[Op], bases: Option<&Bases>) -> Option<PushAnswer> {
        let through = |ops: &[Op]| self.ask("/operations", &push_body(client, ops, bases));
        let now_ms = self.now_ms();
        let mut answer: PushAnswer = match &self.rule {
            Some(rule) if self.is_in_front => rule.borrow_mut().push(ops, now_ms, through),
            _ => through(ops),
        }?;
        if let Some(observer) = &self.observer {
            let observer = &mut *observer.borrow_mut();
            let audited = self.entries_behind(&mut observer.cursor);
            let entries: Vec<Op> = audited.iter().map(|entry| entry.op.clone()).collect();
            // An operation that is in quarantine becomes nothing.
            let ops: Vec<Op> = ops.iter().filter(|op| !self.has_quarantine || !is_poison(op)).cloned().collect();
            let accepted = answer.accepted.iter().filter(|op| ops.contains(op)).cloned().collect();
            observer.observe(&ops, &PushAnswer { accepted, ..answer.clone() }, &entries, self.bug);
            if !self.is_in_front {
                observer.check_kept(&ops, &answer, &audited);
            }
            if let Some(rule) = self.rule.as_ref().filter(|_| !self.is_in_front) {
                let expected = rule.borrow_mut().settle_all(&ops, now_ms);
                observer.compare((&entries, &answer.resolved), (&expected.0, &expected.1));
            }
            if self.bug == Some(Bug::ResolutionInAnswer) {
                observer.falsify_answer(&mut answer, &entries);
            }
        }
        Some(answer)
    }

    /// The entries of the log behind a cursor, which then stands at the end.
    fn entries_behind(&self, cursor: &mut Option<String>) -> Vec<AuditedEntry> {
        let mut entries = Vec::new();
        loop {
            let from = cursor.take().unwrap_or_else(|| Cursor::BEGINNING.to_string());
            let page: AuditedPage = self
                .ask("/changes", &json!({"cursor": from, "limit": PAGE_MAX_OPERATIONS, "resolutions": true}))
                .expect("the observer's cursor is right");
            entries.extend(page.operations);
            *cursor = page.cursor;
            if !page.has_more {
                return entries;
            }
        }
    }

    /// A page for an original client.
    pub(crate) fn pull_since(&self, client: &str, since: u64, limit: usize) -> PullAnswer {
        self.page(&json!({"clientId": client, "since": since, "limit": limit, "vectorClock": {}}))
    }

    /// A page behind a cursor: of operations, or of documents with their revisions.
    pub(crate) fn pull_cursor(
        &self,
        client: &str,
        cursor: Option<&str>,
        limit: usize,
        as_documents: bool,
    ) -> (PullAnswer, Vec<u64>) {
        let form = if as_documents { "documents" } else { "operations" };
        let body = json!({"clientId": client, "cursor": cursor, "limit": limit, "as": form});
        let page: Value = self.ask("/changes", &body).expect("a pull is answered");
        let operations = page["operations"].as_array().into_iter().flatten();
        let revs = operations.filter_map(|operation| operation["rev"].as_u64()).collect();
        (self.falsified(serde_json::from_value(page).expect("a page")), revs)
    }

    fn page(&self, body: &Value) -> PullAnswer {
        self.falsified(self.ask("/changes", body).expect("a pull is answered"))
    }

    fn falsified(&self, mut page: PullAnswer) -> PullAnswer {
        if let Some(observer) = &self.observer {
            observer.borrow().falsify_page(&mut page);
        }
        page
    }

    /// The texts of the operations in quarantine.
    pub(crate) fn quarantined(&self) -> Vec<String> {
        let page = self.runtime.block_on(self.world.service.quarantined(&self.world.tenant, None)).expect("a page");
        let text = |data: &str| -> Option<String> {
            let data: Data = serde_json::from_str(data).expect("data is an object");
            Some(data.get("text")?.as_str()?.to_owned())
        };
        page.documents.iter().filter_map(|document| text(document.data.as_str())).collect()
    }

    /// Removes the entries of the log that are so old.
    pub(crate) fn compact(&self, older_than_ms: u64) {
        if let Some(express) = &*self.express.borrow() {
            if self.may_forget {
                self.runtime.block_on(express::compact(express, self.now_ms().saturating_sub(older_than_ms)));
            }
            return;
        }
        self.runtime.block_on(self.world.compact(older_than_ms));
        if let Some(rule) = &self.rule {
            rule.borrow_mut().compact(self.now_ms().saturating_sub(older_than_ms));
        }
    }

    /// The documents that are not deleted.
    pub(crate) fn documents(&self) -> Documents {
        let data = |text: &str| serde_json::from_str(text).expect("data is an object");
        let (mut documents, mut before_seq) = (Documents::new(), None);
        loop {
            let query = Query { before_seq, ..query_of(COLLECTION, &[]) };
            let page = self.runtime.block_on(self.world.service.query(&self.world.tenant, query)).expect("a page");
            before_seq = page.more_before;
            let found = page.documents.into_iter();
            documents.extend(found.map(|found| (found.key.id.to_string(), data(found.data.as_str()))));
            if before_seq.is_none() {
                return documents;
            }
        }
    }

    /// The place of an entry in the log, if an observer reads it.
    pub(crate) fn place(&self, id: &str) -> Option<usize> {
        self.observer.as_ref()?.borrow().place(id)
    }

    /// The time of the server.
    pub(crate) fn now_ms(&self) -> u64 {
        self.world.host.now_ms().get()
    }

    /// The faults of the answers to pushes, which no client would notice. If a bug is planted, the clients must.
    pub(crate) fn faults(&self) -> Vec<String> {
        if self.bug.is_some() {
            return Vec::new();
        }
        self.observer.as_ref().map(|observer| observer.borrow().faults().to_vec()).unwrap_or_default()
    }
}
