//! Every store against the in-memory reference, answer by answer (law 8).

mod history;
mod subject;

use proptest::prop_assert_eq;
use proptest::test_runner::TestCaseResult;
use syncflow_server::store::conformance::World;

use crate::support::random::for_random;
use crate::support::{runtime, stores};
use history::{Step, histories};
use stores::TestStore;
use subject::Subject;

const CASES: u32 = 300;

/// For a store whose every step takes a few round trips.
const FEWER_CASES: u32 = 40;
const MAX_STEPS: usize = 40;

/// Plays a history on both and stops at the first answer that differs.
async fn compare(reference: World, store: World, history: &[Step]) -> TestCaseResult {
    let (mut reference, mut store) = (Subject::new(reference), Subject::new(store));
    for (number, step) in history.iter().enumerate() {
        let (expected, found) = (reference.step(step).await, store.step(step).await);
        prop_assert_eq!(found, expected, "step {}: {:?}", number, step);
    }
    prop_assert_eq!(store.everything().await, reference.everything().await, "behind the last step");
    Ok(())
}

fn a_random_history_is_answered_as_by_the_reference(cases: u32, open: impl AsyncFn() -> TestStore) {
    // One for all histories, since the driver of a store may have tasks of its own.
    let runtime = runtime();
    let home = runtime.block_on(open());
    for_random(cases, &histories(MAX_STEPS), |history| {
        runtime.block_on(async {
            let reference = stores::memory().await;
            // A tenant of its own for each history: stores are dear to open, and tenants are worlds of their own.
            let store = World::new(home.store()).as_tenant(&home.next_name());
            compare(World::new(reference.store()).as_tenant(store.tenant.as_str()), store, &history).await
        })
    });
}

#[test]
fn a_random_history_is_answered_by_sqlite_as_by_the_reference() {
    a_random_history_is_answered_as_by_the_reference(CASES, stores::sqlite);
}

#[test]
fn a_random_history_is_answered_by_postgres_as_by_the_reference() {
    a_random_history_is_answered_as_by_the_reference(CASES, stores::postgres);
}

#[test]
fn a_random_history_is_answered_by_mongodb_as_by_the_reference() {
    a_random_history_is_answered_as_by_the_reference(FEWER_CASES, stores::mongodb);
}
