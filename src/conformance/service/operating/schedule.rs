//! Compaction on a schedule, by one of several servers.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;

use crate::conformance::draft::{insert, inserts};
use crate::conformance::world::World;
use crate::core::names::{ClientId, TenantId};
use crate::core::numbers::{Rev, Seq};
use crate::core::places::Places;
use crate::limits::service::{SCHEDULE_HELD_MS, SCHEDULE_JITTER_MS};
use crate::service::{CompactionSchedule, Host as _};
use crate::store::{
    CompactStep, Compaction, ErrorKind, NewMemory, Remember, Result, Store, StoreError, delegate_store,
};

const HOUR_MS: u64 = 3_600_000;
const SCHEDULE: CompactionSchedule = CompactionSchedule { every_ms: HOUR_MS, older_than_ms: 0 };

/// Asks whether it is the server's turn. Returns how long it waits before it asks again, in milliseconds.
async fn take_turn(server: &World) -> u64 {
    server.service.take_turn(SCHEDULE).await.expect("the store works")
}

async fn entries(world: &World) -> u64 {
    world.stats().await.operations
}

/// Of several servers one does a run, and each of them does the next one when its time has come.
pub async fn one_of_several_servers_compacts_every_tenant(world: &World) {
    let (first, second) = (world, world.over(Arc::clone(&world.store)));
    let other = world.as_tenant("another");
    world.apply(inserts(3)).await;
    other.apply(inserts(2)).await;
    assert_eq!(take_turn(first).await, HOUR_MS);
    assert_eq!((entries(world).await, entries(&other).await), (0, 0));
    world.host.advance_ms(1_000);
    world.apply([insert("op-9", "doc-9")]).await;
    assert_eq!(take_turn(&second).await, HOUR_MS - 1_000, "the other server has run");
    assert_eq!(take_turn(first).await, HOUR_MS - 1_000);
    assert_eq!(entries(world).await, 1);
    world.host.advance_ms(HOUR_MS);
    assert_eq!(take_turn(&second).await, HOUR_MS);
    assert_eq!(entries(world).await, 0);
}

/// Servers that ask at the same moment do one run together.
pub async fn of_servers_that_begin_at_once_one_compacts(world: &World) {
    world.apply(inserts(3)).await;
    let servers: Vec<World> = (0..4).map(|_| world.over(Arc::clone(&world.store))).collect();
    let mut waits = join_all(servers.iter().map(take_turn)).await;
    waits.sort_unstable();
    assert_eq!(waits.last(), Some(&HOUR_MS), "one has run");
    let others = [SCHEDULE_JITTER_MS, SCHEDULE_HELD_MS, HOUR_MS];
    assert!(waits.iter().all(|wait| others.contains(wait)), "the others wait: {waits:?}");
    assert_eq!(entries(world).await, 0);
}

/// If the server that began is killed, another one begins when its mark is over, and not before.
pub async fn a_server_that_was_killed_is_followed_by_another(world: &World) {
    world.apply(inserts(3)).await;
    let mark = NewMemory {
        seen_revision: Rev::NONE,
        places: Places::default(),
        pulled_seq: Seq::START,
        seen_at_ms: world.host.now_ms().plus_ms(SCHEDULE_HELD_MS),
    };
    let (tenant, client) = (TenantId::literal("syncflow-server"), ClientId::server());
    let set = world.store.remember(&tenant, &client, mark).await.expect("the store works");
    assert_eq!(set, Remember::Done);
    assert_eq!(take_turn(world).await, SCHEDULE_HELD_MS);
    assert_eq!(entries(world).await, 3);
    world.host.advance_ms(SCHEDULE_HELD_MS);
    assert_eq!(take_turn(world).await, HOUR_MS);
    assert_eq!(entries(world).await, 0);
}

/// A store in which one tenant cannot be compacted.
#[derive(Debug)]
struct OneFails(Arc<dyn Store>, TenantId);

#[async_trait]
impl Store for OneFails {
    async fn compact(&self, tenant: &TenantId, step: CompactStep) -> Result<Compaction> {
        if *tenant == self.1 {
            return Err(StoreError::new(self.name(), "compact", ErrorKind::Failed, "on purpose"));
        }
        self.0.compact(tenant, step).await
    }

    delegate_store!(|this| &*this.0; name, load, commit, changes, note_pulled, changes_by_time, client, remember);
    delegate_store!(|this| &*this.0; claim, document, query, stats, survey, clients, count_clients, tenants, heads);
    delegate_store!(|this| &*this.0; audit, operation_ids, client_rows, learn, scrub, erase_tenant, watch, announce);
    delegate_store!(|this| &*this.0; check, aged_place, expire, count_expired);
}

/// Law 9: a tenant that cannot be compacted holds up no other one.
pub async fn a_tenant_that_fails_holds_up_no_other(world: &World) {
    let (first, last) = (world.as_tenant("a"), world.as_tenant("b"));
    first.apply(inserts(3)).await;
    last.apply(inserts(2)).await;
    let store = OneFails(Arc::clone(&world.store), first.tenant.clone());
    take_turn(&world.over(Arc::new(store))).await;
    assert_eq!((entries(&first).await, entries(&last).await), (3, 0));
}

/// A server that drains stops, and leaves the rest to another one soon.
pub async fn a_server_that_drains_leaves_the_rest_to_another(world: &World) {
    let next = world.over(Arc::clone(&world.store));
    world.apply(inserts(3)).await;
    world.service.drain();
    assert_eq!(take_turn(world).await, SCHEDULE_HELD_MS);
    assert_eq!(entries(world).await, 3);
    world.host.advance_ms(SCHEDULE_HELD_MS);
    assert_eq!(take_turn(&next).await, HOUR_MS);
    assert_eq!(entries(world).await, 0);
}

/// The mark is not a tenant, and no client of any tenant.
pub async fn the_schedule_leaves_no_trace_among_tenants_and_clients(world: &World) {
    world.apply(inserts(3)).await;
    take_turn(world).await;
    let tenants = world.store.tenants(None, 9).await.expect("they are listed");
    assert_eq!(tenants, std::slice::from_ref(&world.tenant));
    let counts = world.store.count_clients(&world.tenant, 9).await.expect("they are counted");
    assert_eq!((counts.remembered, counts.owned), (0, 0));
}
