//! Several databases of one original client: tabs of a browser, and devices that are restored from backups (law 6).
//!
//! They share a client id, and each continues with its own `since`.

use std::collections::HashSet;

use super::super::draft::insert;
use super::super::world::World;
use crate::core::numbers::UnixMs;
use crate::limits::protocol::{CLIENT_FORGOTTEN_AFTER_MS, CLIENT_MAX_PLACES, INTEGER_MAX};

async fn push_at(world: &World, id: &str, timestamp: u64) {
    world.apply([insert(id, id).at(timestamp)]).await;
}

/// One database of the client and its content.
#[derive(Debug, Clone, Default)]
struct Database {
    since: UnixMs,
    known: HashSet<String>,
}

impl Database {
    async fn pull(&mut self, world: &World, max_operations: usize) -> bool {
        let page = world.since("me", self.since, max_operations).await;
        self.known.extend(page.entries.iter().map(|entry| entry.id.as_str().to_owned()));
        if !page.entries.is_empty() {
            self.since = page.entries.iter().map(|entry| entry.timestamp).max().unwrap_or_default();
        }
        page.has_more
    }

    async fn pull_everything(&mut self, world: &World) {
        while self.pull(world, 3).await {}
    }

    fn assert_has_everything(&self, pushed: &[String]) {
        let missing: Vec<_> = pushed.iter().filter(|id| !self.known.contains(*id)).collect();
        assert!(missing.is_empty(), "missing: {missing:?}");
    }
}

/// One tab pulls so many pages that the place of the other one is forgotten, while operations are pushed late.
pub async fn two_tabs_of_one_client_miss_nothing(world: &World) {
    let mut pushed = Vec::new();
    let push = async |pushed: &mut Vec<String>, timestamp: u64| {
        pushed.push(format!("op-{}", pushed.len()));
        push_at(world, &pushed[pushed.len() - 1], timestamp).await;
    };
    let (mut busy, mut idle) = (Database::default(), Database::default());
    push(&mut pushed, 1_000).await;
    idle.pull_everything(world).await;
    // Some of the late operations have a timestamp that stood for a place of the other tab.
    for number in 0..=2 * CLIENT_MAX_PLACES as u64 {
        push(&mut pushed, if number % 5 == 4 { 1_000 } else { 1 + number }).await;
        busy.pull_everything(world).await;
    }
    push(&mut pushed, 2).await;
    idle.pull_everything(world).await;
    idle.assert_has_everything(&pushed);
    busy.pull_everything(world).await;
    busy.assert_has_everything(&pushed);
}

/// A device that was restored from a backup comes with an old `since` that is forgotten, and so does its next backup.
pub async fn a_restored_device_misses_nothing(world: &World) {
    let mut pushed = Vec::new();
    let mut device = Database::default();
    let mut backups = Vec::new();
    for number in 0..4 * CLIENT_MAX_PLACES as u64 {
        pushed.push(format!("op-{number}"));
        // Every number comes several times, and smaller numbers come in between.
        push_at(world, &pushed[pushed.len() - 1], 100 - number % 7).await;
        backups.push(device.clone());
        device.pull_everything(world).await;
    }
    device.assert_has_everything(&pushed);
    for mut backup in backups {
        backup.pull_everything(world).await;
        backup.assert_has_everything(&pushed);
    }
}

/// A client was silent for so long that the statistics forget it, while operations were pushed late. Its other database
/// comes even later, with a number that was given before.
pub async fn late_pushes_reach_a_client_that_was_silent_for_long(world: &World) {
    for is_compacted in [false, true] {
        let world = world.as_tenant(if is_compacted { "compacted" } else { "kept" });
        let (mut first, mut second) = (Database::default(), Database::default());
        push_at(&world, "op-1", 100).await;
        first.pull_everything(&world).await;
        push_at(&world, "op-2", 200).await;
        second.pull_everything(&world).await;
        world.host.advance_ms(CLIENT_FORGOTTEN_AFTER_MS + 1);
        if is_compacted {
            world.compact(INTEGER_MAX).await;
        }
        let mut pushed = vec!["op-1".to_owned(), "op-2".to_owned()];
        for (number, at) in (3..).zip([3, 150, 200, 201, 7, 200]) {
            pushed.push(format!("op-{number}"));
            push_at(&world, &pushed[pushed.len() - 1], at).await;
            first.pull(&world, 2).await;
        }
        first.pull_everything(&world).await;
        first.assert_has_everything(&pushed);
        second.pull_everything(&world).await;
        second.assert_has_everything(&pushed);
    }
}
