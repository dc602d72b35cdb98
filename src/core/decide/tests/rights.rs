//! Rights to a tombstone, and to the data below it.

use std::collections::BTreeMap;

use serde_json::json;

use super::resolving::History;
use super::*;
use crate::core::access::rules::{CollectionRules, Holder, LabelSource, Rules};
use crate::core::access::{Claims, Principal, Role, View};
use crate::core::decide::policy::{ConflictPolicy, Deletes, Policies};
use crate::core::names::{Subject, TenantId};

/// The label `list` comes from the field and the claim `list`.
fn rules(read: &str, write: &str, create: &str) -> Rules {
    let source = LabelSource::new("list", "list").expect("two paths");
    let holders = |text: &str| vec![Holder::parse(text).expect("a holder")];
    let rules = CollectionRules { read: holders(read), write: holders(write), create: holders(create) };
    Rules::new([("list".to_owned(), source)].into(), BTreeMap::default(), rules).expect("all names exist")
}

fn view(rules: &Rules, lists: &[&str]) -> View {
    let claims = Claims::new([("list".to_owned(), json!(lists))]);
    let principal = Principal::new(TenantId::literal("t"), Subject::literal("s"), Role::Writer);
    rules.view(&principal.with_claims(claims))
}

/// The history of one document that several subjects change.
struct Shared {
    history: History,
    policies: Policies,
}

impl Shared {
    fn new(policy: ConflictPolicy, deletes: Deletes) -> Self {
        Self { history: History::new(policy, deletes), policies: Policies::for_all(policy, deletes) }
    }

    /// Pushes one operation for a subject; answers what became of it.
    fn push(&mut self, view: &View, (id, at): (&str, u64), change: &str, entries: &[(&str, u64)]) -> String {
        let kind = match change {
            "" => OperationKind::Delete,
            _ if id.starts_with("insert") => OperationKind::Insert,
            _ => OperationKind::Update,
        };
        let operations = [Operation { timestamp: UnixMs::new(at), ..operation(id, kind, "d", change, entries) }];
        let push = Push { view, policies: &self.policies, ..Push::from(&operations[..]) };
        let (decisions, batch) = decide(&[push], &self.history.snapshot, UnixMs::new(1_000));
        self.history.snapshot = after(std::mem::take(&mut self.history.snapshot), &batch);
        match &decisions[0].as_deref().expect("the push is decided")[0] {
            Outcome::Applied => "applied".to_owned(),
            Outcome::Resolved(resolved) => resolved.survival.as_str().to_owned(),
            Outcome::Forbidden(None) => "hidden".to_owned(),
            Outcome::Forbidden(Some(_)) => "forbidden".to_owned(),
            outcome => format!("{outcome:?}"),
        }
    }

    fn data(&self) -> Option<&str> {
        self.history.document().data.as_ref().map(Object::as_str)
    }
}

#[test]
fn data_below_a_tombstone_are_moved_and_brought_back_by_those_alone_who_may_change_them() {
    let rules = rules("list", "list", "role:writer");
    let (only_1, both, only_2) = (view(&rules, &["1"]), view(&rules, &["1", "2"]), view(&rules, &["2"]));
    let mut shared = Shared::new(ConflictPolicy::Merge, Deletes::Lose);
    assert_eq!(shared.push(&only_1, ("insert", 5), r#"{"list":"1"}"#, &[("a", 1)]), "applied");
    assert_eq!(shared.push(&only_1, ("delete", 10), "", &[("a", 2)]), "applied");
    let moved = shared.push(&both, ("move", 9), r#"{"list":"2","word":"secret"}"#, &[("b", 1), ("a", 1)]);
    assert_eq!((&*moved, shared.data()), ("lost", None));
    // The document is in the second list, so it is out of the sight of those who have the first one alone.
    assert_eq!(shared.push(&only_1, ("back", 11), r#"{"list":"1"}"#, &[("c", 1), ("a", 1)]), "hidden");
    assert_eq!(shared.data(), None);
    assert_eq!(shared.push(&only_2, ("edit", 12), r#"{"x":1}"#, &[("d", 1)]), "won");
    assert_eq!(shared.data(), Some(r#"{"list":"2","word":"secret","x":1}"#));
}

#[test]
fn nothing_is_put_over_data_below_a_tombstone_without_the_right_to_change_them() {
    let rules = rules("everyone", "list", "everyone");
    let (only_1, only_2) = (view(&rules, &["1"]), view(&rules, &["2"]));
    for policy in [ConflictPolicy::Merge, ConflictPolicy::LastWriterWins] {
        let mut shared = Shared::new(policy, Deletes::Lose);
        shared.push(&only_1, ("insert", 5), r#"{"list":"1","word":"secret"}"#, &[("a", 1)]);
        shared.push(&only_1, ("delete", 10), "", &[("a", 2)]);
        for at in [9, 11] {
            let taken = shared.push(&only_2, ("take", at), r#"{"list":"2"}"#, &[("b", 1), ("a", 1)]);
            assert_eq!((&*taken, shared.data()), ("forbidden", None), "{policy:?} at {at}");
        }
        let given = shared.push(&only_1, ("give", 9), r#"{"list":"2"}"#, &[("e", 1), ("a", 1)]);
        assert_eq!(given, if policy == ConflictPolicy::Merge { "forbidden" } else { "lost" });
        assert_eq!(shared.push(&only_2, ("delete-2", 12), "", &[("b", 1), ("a", 1)]), "forbidden", "{policy:?}");
        assert_eq!(shared.push(&only_1, ("edit", 13), r#"{"x":1}"#, &[("c", 1)]), "won", "{policy:?}");
        assert_eq!(shared.data(), Some(r#"{"list":"1","word":"secret","x":1}"#));
    }
}

#[test]
fn who_sees_a_tombstone_loses_against_it_and_is_not_forbidden() {
    let own = rules("list", "list", "list");
    let (ann, bob) = (view(&own, &["ann"]), view(&own, &["bob"]));
    for deletes in Deletes::ALL {
        for policy in [ConflictPolicy::Merge, ConflictPolicy::LastWriterWins, ConflictPolicy::ServerWins] {
            let mut shared = Shared::new(policy, deletes);
            shared.push(&ann, ("insert", 5), r#"{"list":"ann"}"#, &[("phone", 1)]);
            shared.push(&ann, ("delete", 10), "", &[("phone", 2)]);
            let entries = [("laptop", 1), ("phone", 1)];
            assert_eq!(shared.push(&ann, ("edit", 9), r#"{"x":1}"#, &entries), "lost", "{policy:?} {deletes:?}");
            assert_eq!(shared.push(&ann, ("delete-2", 8), "", &entries), "won", "{policy:?} {deletes:?}");
            assert_eq!(shared.push(&ann, ("delete-3", 11), "", &[("phone", 3), ("laptop", 2)]), "applied");
            assert_eq!(shared.push(&bob, ("edit-2", 9), r#"{"x":1}"#, &[("b", 1)]), "hidden");
            assert_eq!(shared.data(), None);
        }
    }
    // A right to see it alone is not enough.
    let rules = rules("list", "role:admin", "role:admin");
    let (all, reader) = (rules.view_of_all(), view(&rules, &["ann"]));
    let mut shared = Shared::new(ConflictPolicy::Merge, Deletes::Win);
    shared.push(&all, ("insert", 5), r#"{"list":"ann"}"#, &[("phone", 1)]);
    shared.push(&all, ("delete", 10), "", &[("phone", 2)]);
    assert_eq!(shared.push(&reader, ("edit", 9), r#"{"x":1}"#, &[("b", 1)]), "forbidden");
    assert_eq!(shared.push(&reader, ("delete-2", 12), "", &[("b", 1)]), "forbidden");
}
