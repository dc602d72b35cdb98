//! Pulls from a store that can be read and not written.

use super::super::draft::inserts;
use super::super::faults::FaultyStore;
use super::super::world::{World, page_of};
use crate::core::names::ClientId;
use crate::core::numbers::UnixMs;
use crate::limits::protocol::CLIENT_SEEN_PRECISION_MS;
use crate::service::{PullFrom, PullRequest};

/// No answer depends on data that only the statistics use: if the progress cannot be stored, the page is answered all
/// the same.
pub async fn a_page_is_answered_if_it_cannot_be_noted(world: &World) {
    world.apply(inserts(3)).await;
    let faulty = FaultyStore::new(world.store.clone());
    faulty.become_read_only();
    let page = page_of(world.over(faulty).pull(PullFrom::Cursor(None), Some("a"), 9).await);
    assert_eq!(page.entries.len(), 3);
    assert_eq!(world.memory("a").await, None);
}

/// Law 6: a page is answered without a write only if there is nothing new to remember about a `since`.
pub async fn a_page_is_answered_if_nothing_new_has_to_be_remembered(world: &World) {
    world.apply(inserts(3)).await;
    world.since("a", 0, 2).await;
    world.since("a", 0, 1).await;
    let before = world.memory("a").await;
    let faulty = FaultyStore::new(world.store.clone());
    faulty.become_read_only();
    let faulty = world.over(faulty);
    faulty.host.advance_ms(CLIENT_SEEN_PRECISION_MS);
    for max_operations in [1, 2] {
        assert_eq!(faulty.since("a", 0, max_operations).await.entries.len(), max_operations);
    }
    for (since, max_operations) in [(0, 3), (1, 1), (77, 1)] {
        let request = PullRequest::new(PullFrom::Since(UnixMs::new(since))).with_client(ClientId::literal("a"));
        let pulled = faulty.service.pull(&faulty.tenant, request.with_max_operations(max_operations)).await;
        let is_needed = (since, max_operations) != (1, 1);
        assert_eq!(pulled.is_err(), is_needed, "{since}: {pulled:?}");
    }
    assert_eq!(world.memory("a").await, before);
}
