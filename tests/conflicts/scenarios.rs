//! The situations in which the original protocol diverges, one by one: without a policy, and with each of them.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::join;
use serde_json::Value;

use super::Theatre;
use super::observer::Bug;
use super::original::{Database, Tab};
use super::play::Play;
use super::rule::Setting;
use super::server::{Conflicts, Server};
use super::wire::{COLLECTION, Data, Kind, Op};
use crate::simulation::scheduler;
use crate::support::stores::memory;

/// The most syncs until all is quiet.
const SYNCS_MAX: usize = 40;

/// The number of documents about which two devices are in conflict in a row: more than fit into a push.
const CONFLICTS_IN_A_ROW: usize = 110;

/// The number of new documents behind these conflicts.
const NEW_DOCUMENTS: usize = 20;

/// The number of clients that an original client has met, and that its clock has entries of.
const CLIENTS_MET: usize = 1_200;

/// Browsers with one tab each, and a server. Nothing is lost on the way.
struct Stage {
    play: Rc<Play>,
    tabs: Vec<Tab>,
}

/// The state of all devices after many syncs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct End {
    /// The number of documents that some device has otherwise than the server.
    differing: usize,
    /// The number of operations that are still in an outbox.
    stuck: usize,
}

const CONVERGED: End = End { differing: 0, stuck: 0 };

fn data(field: &str, value: impl Into<Value>) -> Data {
    Data::from_iter([(field.to_owned(), value.into())])
}

impl Stage {
    fn new(theatre: &Theatre, conflicts: Conflicts, browsers: usize) -> Self {
        Self::of(theatre.server(conflicts, None::<Bug>), browsers)
    }

    fn of(server: Server, browsers: usize) -> Self {
        let play = Play::calm(server);
        let tab = |number| {
            let (database, ahead_ms) = (Rc::new(RefCell::new(Database::default())), Rc::new(Cell::new(0)));
            Tab::new(&format!("browser-{number}"), &database, &ahead_ms)
        };
        Self { play, tabs: (0..browsers).map(tab).collect() }
    }

    async fn edit(&self, browser: usize, kind: Kind, document: &str, data: Data) {
        self.play.server.world.host.advance_ms(1);
        self.tabs[browser].edit(&self.play, kind, document, data).await;
    }

    async fn insert(&self, browser: usize, document: &str, data: Data) {
        self.edit(browser, Kind::Insert, document, data).await;
    }

    async fn update(&self, browser: usize, document: &str, data: Data) {
        self.edit(browser, Kind::Update, document, data).await;
    }

    async fn sync(&self, browser: usize) {
        self.tabs[browser].sync(&self.play).await;
    }

    /// Both browsers have the document.
    async fn share(&self, document: &str, data: Data) {
        self.insert(0, document, data).await;
        self.sync(0).await;
        self.sync(1).await;
    }

    async fn end(&self) -> End {
        for _ in 0..SYNCS_MAX {
            let mut is_quiet = true;
            for tab in &self.tabs {
                is_quiet &= tab.database.borrow().stuck() == 0;
                let synced = tab.sync(&self.play).await;
                is_quiet &= synced.is_some_and(|synced| !synced.has_news && !synced.has_more);
            }
            if is_quiet {
                break;
            }
        }
        let documents = self.play.server.documents();
        let mut end = CONVERGED;
        for tab in &self.tabs {
            let database = tab.database.borrow();
            let shown = database.documents();
            end.stuck += database.stuck();
            let all = shown.keys().chain(documents.keys().filter(|id| !shown.contains_key(*id)));
            end.differing += all.filter(|id| shown.get(*id) != documents.get(*id)).count();
        }
        end
    }
}

/// Both devices change the same field.
async fn conflict(stage: &Stage) {
    stage.share("x", data("f", 0)).await;
    stage.update(0, "x", data("f", 1)).await;
    stage.update(1, "x", data("f", 2)).await;
}

async fn same_id(stage: &Stage) {
    stage.insert(0, "x", data("f", 1)).await;
    stage.insert(1, "x", data("g", 2)).await;
}

async fn delete_against_update(stage: &Stage) {
    stage.share("x", data("f", 0)).await;
    stage.edit(0, Kind::Delete, "x", Data::new()).await;
    stage.update(1, "x", data("f", 2)).await;
}

async fn many_conflicts(stage: &Stage) {
    let ids: Vec<String> = (0..CONFLICTS_IN_A_ROW).map(|number| format!("shared-{number}")).collect();
    for id in &ids {
        stage.insert(0, id, data("f", 0)).await;
    }
    for browser in [0, 0, 1, 1, 1] {
        stage.sync(browser).await;
    }
    for browser in [0, 1] {
        for id in &ids {
            stage.update(browser, id, data("f", browser)).await;
        }
    }
    for number in 0..NEW_DOCUMENTS {
        stage.insert(1, &format!("new-{number}"), data("f", 1)).await;
    }
}

async fn reload(stage: &Stage) {
    stage.share("x", data("f", 0)).await;
    stage.update(0, "x", data("f", 1)).await;
    stage.sync(0).await;
    stage.tabs[0].reload();
    stage.update(0, "x", data("f", 2)).await;
}

/// The second browser has seen two operations of the first one, which loses its clock and counts to two again.
async fn counters_used_twice(stage: &Stage) {
    stage.insert(0, "x", data("f", 0)).await;
    stage.insert(0, "y", data("f", 0)).await;
    stage.sync(0).await;
    stage.sync(1).await;
    stage.update(1, "x", data("f", 1)).await;
    stage.tabs[0].reload();
    stage.insert(0, "z", data("f", 2)).await;
    stage.update(0, "x", data("g", 2)).await;
    stage.sync(0).await;
}

/// A page updates two fields of a document, and does not wait for the first update before it begins the second.
async fn unawaited_updates(stage: &Stage) {
    stage.share("x", data("f", 0)).await;
    join(stage.update(0, "x", data("g", 1)), stage.update(0, "x", data("h", 2))).await;
}

/// The clock of the second browser has an entry for each client that it ever met.
async fn many_clients(stage: &Stage) {
    let op = |number: usize| Op {
        id: format!("op-{number}"),
        kind: Kind::Insert,
        collection: COLLECTION.to_owned(),
        doc_id: format!("document-{number}"),
        data: Some(data("f", number)),
        timestamp: 1 + number as u64,
        client_id: format!("client-{number}"),
        synced: false,
        vector_clock: [(format!("client-{number}"), 1)].into(),
    };
    let ops: Vec<Op> = (0..CLIENTS_MET).map(op).collect();
    for ops in ops.chunks(100) {
        stage.play.server.push("importer", ops).expect("the push is answered");
    }
    for _ in 0..=CLIENTS_MET / stage.play.page_limit {
        stage.sync(1).await;
    }
    stage.insert(1, "x", data("f", 1)).await;
}

/// Every scenario, by its name.
const SCENARIOS: [&str; 8] = [
    "a conflict",
    "one id on two devices",
    "a delete against an update",
    "110 conflicts and 20 new documents behind them",
    "a reload",
    "counters used twice",
    "unawaited updates",
    "1,200 clients",
];

/// The end of a scenario.
fn end(theatre: &Theatre, scenario: &str, conflicts: Conflicts) -> End {
    let stage = Stage::new(theatre, conflicts, 2);
    let end = Cell::new(None);
    let task = async {
        match scenario {
            "a conflict" => conflict(&stage).await,
            "one id on two devices" => same_id(&stage).await,
            "a delete against an update" => delete_against_update(&stage).await,
            "110 conflicts and 20 new documents behind them" => many_conflicts(&stage).await,
            "a reload" => reload(&stage).await,
            "counters used twice" => counters_used_twice(&stage).await,
            "unawaited updates" => unawaited_updates(&stage).await,
            "1,200 clients" => many_clients(&stage).await,
            other => panic!("an unknown scenario: {other}"),
        }
        end.set(Some(stage.end().await));
    };
    scheduler::run(vec![task.boxed_local()], |_| 0, Vec::new);
    assert_eq!(stage.play.server.faults(), Vec::<String>::new(), "{scenario}");
    end.get().expect("it ended")
}

#[test]
fn without_a_policy_original_clients_diverge_or_are_stuck() {
    let theatre = Theatre::new(memory);
    let expected = [(1, 1), (1, 1), (1, 1), (130, 130), (0, 1), (1, 0), (1, 0), (0, 0)];
    let ends = SCENARIOS.map(|scenario| end(&theatre, scenario, Conflicts::Rejected));
    for (scenario, end) in SCENARIOS.iter().zip(ends) {
        println!("{scenario}: {end:?}");
    }
    assert_eq!(ends.map(|end| (end.differing, end.stuck)), expected);
}

#[test]
fn with_a_policy_original_clients_converge() {
    let theatre = Theatre::new(memory);
    for setting in Setting::all() {
        for scenario in SCENARIOS {
            let end = end(&theatre, scenario, Conflicts::Settled(setting));
            assert_eq!(end, CONVERGED, "{scenario}, {setting:?}");
        }
    }
}

/// The last scenario needs clocks with more entries than the front can push through.
#[test]
fn with_the_rule_in_front_original_clients_converge() {
    let theatre = Theatre::new(memory);
    for setting in Setting::all() {
        for scenario in &SCENARIOS[..SCENARIOS.len() - 1] {
            let end = end(&theatre, scenario, Conflicts::SettledInFront(setting));
            assert_eq!(end, CONVERGED, "{scenario}, {setting:?}");
        }
    }
}

/// An operation that can never be accepted stops its client: nothing that it writes later gets out.
#[test]
fn a_refused_operation_stops_an_original_client() {
    let theatre = Theatre::new(memory);
    let stage = Stage::new(&theatre, Conflicts::Rejected, 1);
    let task = async {
        stage.insert(0, "", data("f", 1)).await;
        stage.insert(0, "x", data("f", 2)).await;
        assert_eq!(stage.end().await, End { differing: 2, stuck: 2 });
    };
    scheduler::run(vec![task.boxed_local()], |_| 0, Vec::new);
}

/// With a quarantine it does not: it is accepted, and kept for the operator.
#[test]
fn an_operation_in_quarantine_does_not_stop_its_neighbours() {
    let theatre = Theatre::new(memory);
    for conflicts in [Conflicts::Rejected].into_iter().chain(Setting::all().map(Conflicts::Settled)) {
        let stage = Stage::of(theatre.server(conflicts, None).with_quarantine(conflicts), 2);
        let server = &stage.play.server;
        let task = async {
            stage.share("x", data("f", 1)).await;
            stage.update(0, "x", data("f", 2)).await;
            stage.insert(0, "", data("f", 3)).await;
            stage.update(0, "x", data("f", 4)).await;
            stage.insert(0, "y", data("f", 5)).await;
            // Its own device alone shows the document that cannot be stored.
            assert_eq!(stage.end().await, End { differing: 1, stuck: 0 }, "{conflicts:?}");
            let documents = server.documents();
            assert_eq!(["x", "y"].map(|id| &documents[id]), [&data("f", 4), &data("f", 5)], "{conflicts:?}");
            let texts = server.quarantined();
            assert!(texts.len() == 1 && texts[0].contains(r#""docId":"""#), "{texts:?}");
        };
        scheduler::run(vec![task.boxed_local()], |_| 0, Vec::new);
        assert_eq!(server.faults(), Vec::<String>::new(), "{conflicts:?}");
    }
}
