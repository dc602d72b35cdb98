//! Devices go offline, lose answers and have wrong clocks. In the end all of them have the server's documents.

pub(crate) mod device;
mod simulation;
pub(crate) mod story;

use syncflow_server::conformance::World;

use crate::support::random::for_random;
use crate::support::{runtime, stores};
use simulation::Simulation;
use stores::TestStore;
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

#[test]
fn all_devices_converge_over_memory() {
    all_devices_converge(stores::memory, 3_000);
}

#[test]
fn all_devices_converge_over_sqlite() {
    all_devices_converge(stores::sqlite, 200);
}

#[test]
fn all_devices_converge_over_postgres() {
    all_devices_converge(stores::postgres, 200);
}

#[test]
fn all_devices_converge_over_mongodb() {
    all_devices_converge(stores::mongodb, 30);
}
