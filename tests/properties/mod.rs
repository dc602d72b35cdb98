//! Compares every store with the model store, answer by answer (law 8).

mod history;
mod subject;

use proptest::prop_assert_eq;
use proptest::test_runner::TestCaseResult;
use syncflow_server::conformance::World;

use crate::support::random::for_random;
use crate::support::{runtime, stores};
use history::{Step, histories};
use stores::TestStore;
use subject::Subject;

const CASES: u32 = 300;

/// The number of cases for a store that needs several round trips for each step.
const FEWER_CASES: u32 = 40;
const MAX_STEPS: usize = 40;

/// Plays a history on both stores and stops at the first difference.
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
    // There is one runtime for all histories, because a store's driver may have tasks in it.
    let runtime = runtime();
    let home = runtime.block_on(open());
    for_random(cases, &histories(MAX_STEPS), |history| {
        runtime.block_on(async {
            let reference = stores::memory().await;
            // Each history has its own tenant in one store, because opening a store takes long and tenants share
            // nothing.
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
