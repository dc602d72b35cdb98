//! Compares every store with the model store, answer by answer (law 8).

mod feeds;
pub(crate) mod history;
pub(crate) mod subject;

use proptest::prop_assert_eq;
use proptest::test_runner::TestCaseResult;
use syncflow_server::conformance::World;

use crate::support::random::for_random;
use crate::support::runtime;
use crate::support::stores::{self, TestStore, for_each_store};
use history::{Step, histories_with_retention};
use subject::Subject;

const MAX_STEPS: usize = 40;

/// Plays a history on both stores and stops at the first difference.
async fn compare(model: World, store: World, history: &[Step]) -> TestCaseResult {
    let (mut model, mut store) = (Subject::new(model), Subject::new(store));
    for (number, step) in history.iter().enumerate() {
        let (expected, found) = (model.step(step).await, store.step(step).await);
        prop_assert_eq!(found, expected, "step {}: {:?}", number, step);
    }
    prop_assert_eq!(store.everything().await, model.everything().await, "behind the last step");
    Ok(())
}

fn a_random_history_is_answered_as_by_the_model_store(cases: u32, open: impl AsyncFn() -> TestStore) {
    // There is one runtime for all histories, because a store's driver may have tasks in it.
    let runtime = runtime();
    let home = runtime.block_on(open());
    for_random(cases, &histories_with_retention(MAX_STEPS), |history| {
        runtime.block_on(async {
            let model = stores::memory().await;
            // Each history has its own tenant in one store, because opening a store takes long and tenants share
            // nothing.
            let store = World::new(home.store()).as_tenant(&home.next_name());
            compare(World::new(model.store()).as_tenant(store.tenant.as_str()), store, &history).await
        })
    });
}

// MongoDB needs several round trips for each step.
for_each_store!([sqlite: 300, postgres: 300, mongodb: 40] {
    #[test]
    fn a_random_history_is_answered_as_by_the_model_store() {
        super::a_random_history_is_answered_as_by_the_model_store(CASES, open);
    }
});
