//! Every store against the in-memory reference, answer by answer (law 8).

mod history;
mod subject;

use proptest::prop_assert_eq;
use proptest::test_runner::TestCaseResult;
use syncflow_server::store::conformance::World;

use crate::support::random::for_random;
use crate::support::{block_on, stores};
use history::{Step, histories};
use stores::TestStore;
use subject::Subject;

const CASES: u32 = 300;
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

fn a_random_history_is_answered_as_by_the_reference(open: impl AsyncFn() -> TestStore) {
    let home = block_on(open());
    for_random(CASES, &histories(MAX_STEPS), |history| {
        block_on(async {
            let reference = stores::memory().await;
            // A tenant of its own for each history: stores are dear to open, and tenants are worlds of their own.
            let store = World::new(home.store()).as_tenant(&home.next_name());
            compare(World::new(reference.store()).as_tenant(store.tenant.as_str()), store, &history).await
        })
    });
}

#[test]
fn a_random_history_is_answered_by_sqlite_as_by_the_reference() {
    a_random_history_is_answered_as_by_the_reference(stores::sqlite);
}

#[test]
fn a_random_history_is_answered_by_postgres_as_by_the_reference() {
    a_random_history_is_answered_as_by_the_reference(stores::postgres);
}
