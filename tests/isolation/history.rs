//! Random histories of people who share documents: few people, few documents, and rights that change all the time.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use syncflow_server::core::operation::OperationKind;

/// The people, of whom each has a device or two.
pub(super) const PEOPLE: usize = 5;
/// The devices.
pub(super) const DEVICES: usize = 7;
/// The collections.
pub(super) const COLLECTIONS: [&str; 3] = ["todos", "notes", "news"];
/// How many documents each collection has.
pub(super) const DOCUMENTS: usize = 3;
/// The lists that documents are in, and that people have.
pub(super) const LISTS: [&str; 2] = ["a", "b"];

/// The fields of documents that labels are made of.
const FIELDS: [&str; 12] = [
    "",
    r#""list":"a","#,
    r#""list":"b","#,
    r#""list":["a","b"],"#,
    r#""list":[],"#,
    r#""list":null,"#,
    r#""list":"b","list":"a","#,
    r#""at":{"list":"a"},"#,
    r#""at":{"list":["b",7,null]},"list":"a","#,
    r#""at":5,"list":"b","#,
    r#""owner":"ann","#,
    r#""owner":["bob","eve"],"list":"a","#,
];

/// A request, or a change of rights.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// A push. If its answer is lost, the same push comes again.
    Push(Push),
    /// Two pushes at the same time, which probably share a commit.
    PushTogether(Push, Push),
    /// A device pulls a page, which it does not receive if the answer is lost.
    Pull { device: usize, limit: usize, is_lost: bool },
    /// A document by its id.
    Document { person: usize, collection: usize, document: usize, with_clock: bool },
    /// All pages of a query.
    Query { person: usize, collection: usize, limit: usize, is_sorted: bool, filter: &'static str },
    /// A request whose answer has no document for a person with restrictions.
    Odd { person: usize, request: usize },
    /// A person gets other lists.
    Grant { person: usize, lists: [bool; 2] },
    /// The server starts again with other rules.
    Rules(usize),
    /// The whole log is removed.
    Compact,
}

/// The operations of a person.
#[derive(Debug, Clone)]
pub(super) struct Push {
    pub(super) person: usize,
    pub(super) drafts: Vec<Draft>,
    pub(super) is_partial: bool,
    pub(super) is_lost: bool,
}

/// An operation.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    pub(super) kind: OperationKind,
    pub(super) collection: usize,
    pub(super) document: usize,
    /// The beginning of the members of its data.
    pub(super) fields: &'static str,
    /// Whether its author has not seen the document that exists.
    pub(super) is_stale: bool,
}

/// Histories with up to `max_steps` steps, each with the rules at its beginning.
pub(super) fn histories(max_steps: usize) -> impl Strategy<Value = (usize, Vec<Step>)> {
    (prop_oneof![8 => Just(0), 3 => Just(1), 1 => 2..4_usize], vec(step(), 1..=max_steps))
}

fn step() -> impl Strategy<Value = Step> {
    let (person, collection) = (|| 0..PEOPLE, || 0..COLLECTIONS.len());
    let filter = select(&["{}", r#"{"list":"a"}"#, r#"{"owner":{"$exists":false}}"#, r#"{"m0":{"$gt":""}}"#][..]);
    prop_oneof![
        10 => push().prop_map(Step::Push),
        2 => (push(), push()).prop_map(|(first, second)| Step::PushTogether(first, second)),
        12 => (0..DEVICES, 1..4_usize, prop::bool::weighted(0.2))
            .prop_map(|(device, limit, is_lost)| Step::Pull { device, limit, is_lost }),
        2 => (person(), collection(), 0..DOCUMENTS, any::<bool>()).prop_map(
            |(person, collection, document, with_clock)| Step::Document { person, collection, document, with_clock }
        ),
        2 => (person(), collection(), 1..3_usize, any::<bool>(), filter).prop_map(
            |(person, collection, limit, is_sorted, filter)| {
                Step::Query { person, collection, limit, is_sorted, filter }
            }
        ),
        2 => (person(), 0..5_usize).prop_map(|(person, request)| Step::Odd { person, request }),
        3 => (0..3_usize, any::<[bool; 2]>()).prop_map(|(person, lists)| Step::Grant { person, lists }),
        1 => (0..4_usize).prop_map(Step::Rules),
        1 => Just(Step::Compact),
    ]
}

fn push() -> impl Strategy<Value = Push> {
    // Programs and admins push less often than users.
    let person = prop_oneof![6 => 0..2_usize, 1 => 2..PEOPLE];
    (person, vec(draft(), 1..4), any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(person, drafts, is_partial, is_lost)| Push { person, drafts, is_partial, is_lost })
}

fn draft() -> impl Strategy<Value = Draft> {
    use OperationKind::{Delete, Insert, Update};
    let kind = prop_oneof![3 => Just(Insert), 4 => Just(Update), 1 => Just(Delete)];
    let fields = option::weighted(0.8, select(&FIELDS[..])).prop_map(Option::unwrap_or_default);
    (kind, 0..COLLECTIONS.len(), 0..DOCUMENTS, fields, prop::bool::weighted(0.1)).prop_map(
        |(kind, collection, document, fields, is_stale)| Draft { kind, collection, document, fields, is_stale },
    )
}
