//! Clients that pull documents, of any collections, end with the documents of a client that applies operations.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;
use serde_json::Value;
use syncflow_server::conformance::World;
use syncflow_server::core::cursor::Cursor;
use syncflow_server::core::document::merge;
use syncflow_server::core::feed::Collections;
use syncflow_server::core::json::Object;
use syncflow_server::core::names::{Collection, DocumentKey};
use syncflow_server::core::operation::{Change, LogEntry};
use syncflow_server::service::{PullFrom, Pulled};

use super::history::{COLLECTIONS, Step, histories};
use super::subject::Subject;
use crate::support::random::for_random;
use crate::support::runtime;
use crate::support::stores::{TestStore, for_each_store};

/// The form in which a client pulls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Operations,
    Documents(Option<&'static [&'static str]>),
}

const FORMS: [Form; 5] = [
    Form::Operations,
    Form::Documents(None),
    Form::Documents(Some(&[COLLECTIONS[0]])),
    Form::Documents(Some(&[COLLECTIONS[1]])),
    Form::Documents(Some(&COLLECTIONS)),
];

/// A client that only pulls.
struct Client {
    form: Form,
    cursor: Option<Cursor>,
    documents: BTreeMap<DocumentKey, Object>,
}

impl Client {
    fn wants(&self, key: &DocumentKey) -> bool {
        match self.form {
            Form::Documents(Some(collections)) => collections.contains(&key.collection.as_str()),
            Form::Documents(None) | Form::Operations => true,
        }
    }

    /// Pulls a page and applies it. Returns whether there is more.
    async fn pull(&mut self, world: &World, max_operations: usize) -> bool {
        let from = match self.form {
            Form::Operations => PullFrom::Cursor(self.cursor),
            Form::Documents(collections) => PullFrom::Documents {
                after: self.cursor,
                collections: collections
                    .map(|names| Collections::new(names.iter().copied().map(Collection::literal)).expect("some names")),
            },
        };
        let Pulled::Page(page) = world.pull(from, None, max_operations).await else { panic!("the log is the same") };
        for entry in page.entries {
            self.apply(entry);
        }
        self.cursor = page.cursor;
        page.has_more
    }

    fn apply(&mut self, LogEntry { key, change, rev, .. }: LogEntry) {
        assert!(self.wants(&key), "{key:?} was not asked for");
        assert_eq!(rev.is_some(), self.form != Form::Operations);
        match change {
            Change::Insert(data) => drop(self.documents.insert(key, data)),
            Change::Delete => drop(self.documents.remove(&key)),
            Change::Update(patch) => {
                assert!(rev.is_none(), "a document is whole");
                let base = self.documents.get(&key).cloned().unwrap_or_else(|| Object::literal("{}"));
                self.documents.insert(key, merge(&base, &patch).expect("both are objects"));
            }
        }
    }
}

/// A document with the value of its data, whatever spaces the text has.
fn value_of<'a>((key, data): (&'a DocumentKey, &Object)) -> (&'a DocumentKey, Value) {
    (key, serde_json::from_str(data.as_str()).expect("it is JSON"))
}

/// Plays a history. After each step some of the clients pull a page, and at the end all clients pull everything.
async fn play(world: World, history: &[(Step, Vec<(usize, usize)>)]) -> TestCaseResult {
    let mut clients = FORMS.map(|form| Client { form, cursor: None, documents: BTreeMap::new() });
    let mut subject = Subject::new(world.clone());
    for (step, pulls) in history {
        subject.step(step).await;
        for (client, max_operations) in pulls {
            clients[*client].pull(&world, *max_operations).await;
        }
    }
    for client in &mut clients {
        while client.pull(&world, 2).await {}
    }
    let [folding, others @ ..] = clients;
    for other in others {
        let found: BTreeMap<_, _> = other.documents.iter().map(value_of).collect();
        let wanted = folding.documents.iter().filter(|(key, _)| other.wants(key));
        let expected: BTreeMap<_, _> = wanted.map(value_of).collect();
        prop_assert_eq!(found, expected, "{:?}", other.form);
    }
    Ok(())
}

fn documents_are_those_that_result_from_the_operations(cases: u32, open: impl AsyncFn() -> TestStore) {
    let runtime = runtime();
    let home = runtime.block_on(open());
    let pulls = vec((0..FORMS.len(), 1..4_usize), 0..3);
    let histories = histories(30).prop_flat_map(move |steps| {
        let count = steps.len();
        (Just(steps), vec(pulls.clone(), count))
            .prop_map(|(steps, pulls)| steps.into_iter().zip(pulls).collect::<Vec<_>>())
    });
    for_random(cases, &histories, |history| {
        runtime.block_on(async {
            let world = World::new(home.store()).as_tenant(&home.next_name());
            play(world, &history).await
        })
    });
}

for_each_store!([memory: 500, sqlite: 100, postgres: 100, mongodb: 15] {
    #[test]
    fn documents_are_those_that_result_from_the_operations() {
        super::documents_are_those_that_result_from_the_operations(CASES, open);
    }
});
