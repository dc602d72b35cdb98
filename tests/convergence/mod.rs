//! Devices go offline, lose answers and have wrong clocks. In the end all of them have the server's documents.

pub(crate) mod device;
mod simulation;
pub(crate) mod story;

use syncflow_server::conformance::World;
use syncflow_server::core::retention::Retention;

use crate::support::random::for_random;
use crate::support::runtime;
use crate::support::stores::{TestStore, for_each_store};
use simulation::Simulation;
use story::stories;

const MAX_EVENTS: usize = 60;

fn all_devices_converge(open: impl AsyncFn() -> TestStore, cases: u32) {
    // There is one runtime for all stories, because a store's driver may have tasks in it.
    let runtime = runtime();
    let home = runtime.block_on(open());
    for_random(cases, &stories(MAX_EVENTS), |story| {
        runtime.block_on(async {
            let world = World::new(home.store()).as_tenant(&home.next_name());
            let mut simulation = Simulation::new(world, &story.devices);
            for event in &story.events {
                simulation.event(event).await?;
            }
            simulation.settle().await
        })
    });
}

/// Everything goes that is older than a few ticks, and no client is silent for so long that it is not waited for.
const RETENTION: Retention =
    Retention { tombstones_ms: Some(5), ids_ms: Some(5), fingerprints_ms: Some(10), clients_ms: u64::MAX };

fn all_devices_converge_with_retention(open: impl AsyncFn() -> TestStore, cases: u32) {
    let runtime = runtime();
    let home = runtime.block_on(open());
    for_random(cases, &stories(MAX_EVENTS), |story| {
        runtime.block_on(async {
            let world = World::new(home.store()).as_tenant(&home.next_name());
            let mut simulation = Simulation::with_retention(world, &story.devices, RETENTION).await?;
            for event in &story.events {
                simulation.event(event).await?;
            }
            simulation.settle().await
        })
    });
}

for_each_store!([memory: 3_000, sqlite: 200, postgres: 200, mongodb: 30] {
    #[test]
    fn all_devices_converge() {
        super::all_devices_converge(open, CASES);
    }

    #[test]
    fn all_devices_converge_while_retention_removes_what_is_old() {
        super::all_devices_converge_with_retention(open, CASES / 2);
    }
});
