//! Random histories. They have few clients, few documents and tiny values, so that conflicts are frequent.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use syncflow_server::core::filter::{Condition, Expression, Operator};
use syncflow_server::core::operation::OperationKind;
use syncflow_server::core::policy::{ConflictPolicy, Deletes};
use syncflow_server::limits::protocol::{CLIENT_FORGOTTEN_AFTER_MS, CLIENT_SEEN_PRECISION_MS, INTEGER_MAX};
use syncflow_server::limits::service::CLIENT_ACTIVE_MS;

/// The clients, which both push and pull.
pub(crate) const CLIENTS: [&str; 3] = ["a", "b", "c"];
/// The collections.
pub(crate) const COLLECTIONS: [&str; 2] = ["todos", "lists"];
/// The documents of each collection.
pub(crate) const DOCUMENTS: [&str; 3] = ["x", "y", "z"];
/// The data of operations.
const DATA: [&str; 6] =
    ["{}", r#"{"k":1}"#, r#"{ "k": 1.0 }"#, r#"{"k":[1,null],"l":{"m":"x"}}"#, r#"{"l":null}"#, r#"{"k":2,"k":"1"}"#];
/// The conditions of queries.
const CONDITIONS: [(&str, &str); 7] =
    [("k", "1"), ("k", "\"1\""), ("l", "null"), ("l.m", "\"x\""), ("_rev", "2"), ("_id", "\"x\""), ("k", "[1,null]")];

/// Paths and the values that are expected there.
type Conditions = Vec<(&'static str, &'static str)>;

/// One request, or a change of the clock.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// A push.
    Push(Vec<Draft>),
    /// Decides about a push. The decision is kept for [`Step::Commit`].
    Decide(Vec<Draft>),
    /// Commits the last decision, however old it is.
    Commit,
    /// A pull with a cursor.
    PullCursor { client: Option<usize>, cursor: CursorChoice, max_operations: usize },
    /// A pull of documents with a cursor, of these collections or of all.
    PullDocuments { cursor: CursorChoice, collections: Option<Vec<usize>>, max_operations: usize },
    /// A pull with a timestamp.
    PullSince { client: Option<usize>, since: SinceChoice, max_operations: usize },
    /// A document by id.
    Document { collection: usize, document: usize },
    /// A query. With `is_next_page` it continues after the last document of the previous query.
    Query { collection: usize, conditions: Conditions, max_documents: usize, is_next_page: bool },
    /// All pages of a query with any filter, in any order.
    Select { collection: usize, filter: Expression, sort: Option<(&'static str, bool)>, max_documents: usize },
    /// The statistics.
    Stats,
    /// A compaction to its end.
    Compact { older_than_ms: u64 },
    /// One step of a compaction.
    CompactPartly { older_than_ms: u64, max_entries: usize },
    /// A compaction of everything, and retention of what was received so long ago. Clients are waited for that were
    /// seen so long ago or later.
    Retain { kept: Kept, clients_ms: u64 },
    /// One step of retention that waits for no client.
    ExpirePartly { kept: Kept, max_rows: usize },
    /// The policies of the service change.
    Policies { policy: ConflictPolicy, deletes: Deletes },
    /// The clock advances.
    Forward(u64),
    /// The clock is set back.
    Back(u64),
}

/// How long tombstones, and ids with fingerprints, are kept in milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    pub(crate) tombstones_ms: Option<u64>,
    pub(crate) remains_ms: Option<u64>,
}

/// An operation; its clock is completed when it is pushed.
#[derive(Debug, Clone)]
pub(crate) struct Draft {
    pub(crate) id: u8,
    pub(crate) kind: OperationKind,
    pub(crate) collection: usize,
    pub(crate) document: usize,
    pub(crate) data: &'static str,
    pub(crate) timestamp: u64,
    pub(crate) client: usize,
    pub(crate) clock: ClockChoice,
}

/// A vector clock.
#[derive(Debug, Clone)]
pub(crate) enum ClockChoice {
    /// Small counters, one for each client. A counter of 0 is left out.
    Small([u64; 3]),
    /// Greater than all earlier clocks.
    Newest,
    /// A revision in place of a clock.
    Revision(u64),
}

/// The beginning of a pull with a cursor.
#[derive(Debug, Clone)]
pub(crate) enum CursorChoice {
    /// From the beginning, without a cursor.
    Nothing,
    /// A cursor from an earlier answer.
    Seen(Index),
    /// A cursor that may not come from any answer.
    Invented(String),
}

/// The beginning of a pull with a timestamp.
#[derive(Debug, Clone)]
pub(crate) enum SinceChoice {
    /// This number.
    Number(u64),
    /// The greatest timestamp of an earlier page.
    Seen(Index),
}

/// Histories with up to `max_steps` steps.
pub(crate) fn histories(max_steps: usize) -> impl Strategy<Value = Vec<Step>> {
    vec(step(), 1..=max_steps)
}

/// The same with retention, after which a client may be told to start again.
pub(crate) fn histories_with_retention(max_steps: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        20 => step(),
        1 => (kept(), 0..30_u64).prop_map(|(kept, clients_ms)| Step::Retain { kept, clients_ms }),
        1 => (kept(), 1..6_usize).prop_map(|(kept, max_rows)| Step::ExpirePartly { kept, max_rows }),
    ];
    vec(step, 1..=max_steps)
}

fn step() -> impl Strategy<Value = Step> {
    let client = || option::weighted(0.8, 0..CLIENTS.len());
    let collection = || 0..COLLECTIONS.len();
    prop_oneof![
        10 => vec(draft(), 0..4).prop_map(Step::Push),
        1 => vec(draft(), 1..4).prop_map(Step::Decide),
        1 => Just(Step::Commit),
        6 => (client(), cursor(), 1..5_usize)
            .prop_map(|(client, cursor, max_operations)| Step::PullCursor { client, cursor, max_operations }),
        4 => (cursor(), option::of(vec(collection(), 1..3)), 1..5_usize).prop_map(
            |(cursor, collections, max_operations)| Step::PullDocuments { cursor, collections, max_operations }
        ),
        8 => (client(), since(), 1..5_usize)
            .prop_map(|(client, since, max_operations)| Step::PullSince { client, since, max_operations }),
        2 => (collection(), 0..DOCUMENTS.len())
            .prop_map(|(collection, document)| Step::Document { collection, document }),
        3 => (collection(), vec(select(&CONDITIONS[..]), 0..3), 1..4_usize, any::<bool>()).prop_map(
            |(collection, conditions, max_documents, is_next_page)| {
                Step::Query { collection, conditions, max_documents, is_next_page }
            }
        ),
        4 => (collection(), expression(), sort(), 1..4_usize).prop_map(|(collection, filter, sort, max_documents)| {
            Step::Select { collection, filter, sort, max_documents }
        }),
        2 => Just(Step::Stats),
        1 => (0..30_u64).prop_map(|older_than_ms| Step::Compact { older_than_ms }),
        1 => (0..30_u64, 1..6_usize)
            .prop_map(|(older_than_ms, max_entries)| Step::CompactPartly { older_than_ms, max_entries }),
        2 => (select(&ConflictPolicy::ALL[..]), select(&Deletes::ALL[..]))
            .prop_map(|(policy, deletes)| Step::Policies { policy, deletes }),
        4 => (1..10_u64).prop_map(Step::Forward),
        1 => select(&[CLIENT_SEEN_PRECISION_MS, CLIENT_ACTIVE_MS, CLIENT_FORGOTTEN_AFTER_MS][..])
            .prop_map(Step::Forward),
        1 => (1..30_u64).prop_map(Step::Back),
    ]
}

fn kept() -> impl Strategy<Value = Kept> {
    (option::of(0..30_u64), option::of(0..30_u64))
        .prop_map(|(tombstones_ms, remains_ms)| Kept { tombstones_ms, remains_ms })
}

fn expression() -> impl Strategy<Value = Expression> {
    use Operator::{Equal, Exists, Greater, GreaterOrEqual, In, Less, LessOrEqual};
    let path = || select(&["k", "l", "l.m", "_id", "_rev"][..]);
    let scalar = || select(&["null", "1", "2.0", "\"1\"", "\"x\"", "\"y\"", "true"][..]);
    let order = select(&[Equal, Greater, GreaterOrEqual, Less, LessOrEqual][..]);
    let condition = prop_oneof![
        4 => (path(), order, scalar()),
        1 => (path(), Just(In), select(&["[]", "[1,null]", r#"["x",{"m":"x"},2]"#, "[[1,null]]"][..])),
        1 => (path(), Just(Exists), select(&["true", "false"][..])),
        1 => (path(), Just(Equal), select(&["[1,null]", r#"{"m":"x"}"#, "{}"][..])),
    ];
    let condition =
        condition.prop_map(|(path, operator, value)| Expression::Condition(Condition::with(path, operator, value)));
    condition.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Expression::All),
            vec(inner.clone(), 0..3).prop_map(Expression::Any),
            inner.prop_map(|part| Expression::Not(Box::new(part))),
        ]
    })
}

fn sort() -> impl Strategy<Value = Option<(&'static str, bool)>> {
    option::of((select(&["k", "l", "l.m", "_id", "_rev"][..]), any::<bool>()))
}

fn draft() -> impl Strategy<Value = Draft> {
    let kind = select(&[OperationKind::Insert, OperationKind::Update, OperationKind::Delete][..]);
    let clock = prop_oneof![
        [0..3_u64, 0..3, 0..3].prop_map(ClockChoice::Small),
        Just(ClockChoice::Newest),
        (0..4_u64).prop_map(ClockChoice::Revision),
    ];
    (0..40_u8, kind, 0..COLLECTIONS.len(), 0..DOCUMENTS.len(), select(&DATA[..]), timestamp(), 0..CLIENTS.len(), clock)
        .prop_map(|(id, kind, collection, document, data, timestamp, client, clock)| Draft {
            id,
            kind,
            collection,
            document,
            data,
            timestamp,
            client,
            clock,
        })
}

fn timestamp() -> impl Strategy<Value = u64> {
    prop_oneof![9 => 1..5_u64, 1 => Just(INTEGER_MAX)]
}

fn cursor() -> impl Strategy<Value = CursorChoice> {
    prop_oneof![
        2 => Just(CursorChoice::Nothing),
        6 => any::<Index>().prop_map(CursorChoice::Seen),
        1 => "l\\.[0-9a]\\.0|s\\.[0-9a]\\.0\\.[0-9a]".prop_map(CursorChoice::Invented),
    ]
}

fn since() -> impl Strategy<Value = SinceChoice> {
    prop_oneof![
        2 => Just(SinceChoice::Number(0)),
        1 => timestamp().prop_map(SinceChoice::Number),
        6 => any::<Index>().prop_map(SinceChoice::Seen),
    ]
}
