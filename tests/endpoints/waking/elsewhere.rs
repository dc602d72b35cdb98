//! A commit of one process wakes the listeners of another one in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use syncflow_server::conformance::draft::insert;
use syncflow_server::conformance::world::operations;
use syncflow_server::core::names::TenantId;
use syncflow_server::store::Store;
use tokio::time::{sleep, timeout};

use super::{A_WHILE, PATIENCE, service_over};
use crate::support::stores::for_each_store;

/// The number of commits, of which the median is taken.
const COMMITS: usize = 7;

/// The median time from the answer to a push of one process until a listener of another process is woken.
pub(crate) async fn median_wake_up([here, there]: [Arc<dyn Store>; 2]) -> Duration {
    let (here, there, tenant) = (service_over(here), service_over(there), TenantId::literal("t"));
    let mut wakes = here.wakes(&tenant).expect("there is room for a listener");
    timeout(PATIENCE, wakes.next()).await.expect("in time").expect("the place as it is");
    let mut times = Vec::new();
    for number in 0..COMMITS {
        // Commits that come more quickly are announced together.
        sleep(A_WHILE).await;
        let push = operations([insert(&format!("op-{number}"), &format!("doc-{number}"))]);
        assert!(there.push(&tenant, push).await.expect("it is pushed").outcomes().is_some());
        let answered = Instant::now();
        timeout(PATIENCE, wakes.next()).await.expect("in time").expect("another place");
        times.push(answered.elapsed());
    }
    times.sort_unstable();
    times[COMMITS / 2]
}

// The numbers are ten times what is promised, in milliseconds.
for_each_store!([sqlite: 2_000, postgres: 1_000, mongodb: 5_000] {
    #[tokio::test(flavor = "multi_thread")]
    async fn a_commit_of_another_process_wakes_a_listener_in_time() {
        let home = open().await;
        let median = super::median_wake_up([home.store(), home.open_again()]).await;
        assert!(median.as_millis() <= CASES.into(), "{median:?}");
    }
});
