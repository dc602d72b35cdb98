//! A year of a tenant, in which the clock of the server is moved. With retention, what it keeps is bounded by its
//! documents and a time.

mod bytes;

use std::sync::Arc;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::{Draft, delete, insert, update};
use syncflow_server::conformance::replica::Replica;
use syncflow_server::conformance::world::page_of;
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::numbers::{Seq, UnixMs};
use syncflow_server::core::retention::{Expiry, Retention};
use syncflow_server::limits::protocol::{CLIENT_MAX_PLACES, DAY_MS, INTEGER_MAX};
use syncflow_server::service::{Host, PullFrom, SyncService};
use syncflow_server::store::Expired;

use crate::support::runtime;
use crate::support::stores::{TestStore, for_each_store};

/// Everything that only clients need goes after a month.
const A_MONTH: Retention = Retention {
    tombstones_ms: Some(30 * DAY_MS),
    ids_ms: Some(30 * DAY_MS),
    fingerprints_ms: Some(30 * DAY_MS),
    clients_ms: 30 * DAY_MS,
};

/// The age of what compaction removes.
const LOG_MS: u64 = 7 * DAY_MS;

/// The number of documents that are not deleted, after a few days.
const DOCUMENTS: u64 = 20;

const DAYS: u64 = 360;
const DAYS_OF_MONTH: u64 = 30;

/// A tenant that has so many operations a day, and as many documents at the end as at the beginning.
struct Tenant {
    world: World,
    /// The number of operations so far, of documents that were begun, and of those that were deleted.
    operations: u64,
    begun: u64,
    deleted: u64,
    cursor: Option<Cursor>,
    replica: Replica,
    since: UnixMs,
}

impl Tenant {
    fn new(world: World, retention: Option<Retention>) -> Self {
        let service = SyncService::new(Arc::clone(&world.store), Arc::clone(&world.host) as Arc<dyn Host>);
        let service = retention.map_or(Arc::clone(&world.service), |kept| Arc::new(service.with_retention(kept)));
        let world = World { service, ..world };
        let (operations, begun, deleted) = (0, 0, 0);
        Self { world, operations, begun, deleted, cursor: None, replica: Replica::default(), since: UnixMs::EPOCH }
    }

    /// Of five operations, two begin a document, one changes one, and two delete the oldest ones, if there are many.
    fn next(&mut self) -> Draft {
        self.operations += 1;
        let (id, data) = (format!("operation-{}", self.operations), r#"{"title":"milk","done":false}"#);
        let draft = match self.operations % 5 {
            3 => update(&id, &format!("document-{}", self.begun)).data(r#"{"done":true}"#),
            0 | 4 if self.begun > self.deleted + DOCUMENTS => {
                self.deleted += 1;
                delete(&id, &format!("document-{}", self.deleted))
            }
            _ => {
                self.begun += 1;
                insert(&id, &format!("document-{}", self.begun)).data(data)
            }
        };
        draft.at(self.world.host.now_ms()).clock(&[("phone", self.operations)])
    }

    /// Days pass: operations, a pull of each client, and the nightly compaction.
    async fn days(&mut self, days: u64, operations: u64) {
        let mut left = days * operations;
        while left > 0 {
            let drafts: Vec<Draft> = (0..left.min(1_000)).map(|_| self.next()).collect();
            left -= drafts.len() as u64;
            self.world.apply(drafts).await;
        }
        self.world.host.advance_ms(days * DAY_MS);
        loop {
            let page = page_of(self.world.pull(PullFrom::Cursor(self.cursor), Some("phone"), 1_000).await);
            self.replica.apply(&page.entries);
            self.cursor = page.cursor;
            if !page.has_more {
                break;
            }
        }
        loop {
            let page = self.world.since("browser", self.since, 1_000).await;
            self.since = page.entries.iter().map(|entry| entry.timestamp).max().unwrap_or(self.since);
            if !page.has_more {
                break;
            }
        }
        self.world.compact(LOG_MS).await;
    }

    /// A year, and a number at the end of each month.
    async fn year(&mut self, operations: u64, days: u64, measure: impl AsyncFn(&World) -> u64) -> Vec<u64> {
        let (mut months, mut day) = (Vec::new(), 0);
        while day < DAYS {
            self.days(days, operations).await;
            day += days;
            if day.is_multiple_of(DAYS_OF_MONTH) {
                months.push(measure(&self.world).await);
            }
        }
        assert_eq!(self.replica, Replica::of_server(&self.world).await, "the client has missed nothing");
        months
    }
}

/// All rows that grow: entries of the log, remains, and tombstones.
async fn rows(world: &World) -> u64 {
    let everything = Seq::new(INTEGER_MAX);
    let expiry = Expiry { floor: Position::START, tombstones_up_to: everything, remains_before: everything };
    let Expired { tombstones, remains } =
        world.store.count_expired(&world.tenant, expiry).await.expect("the store works");
    let mut ids = 0;
    let mut last = None;
    loop {
        let mut page = world.store.operation_ids(&world.tenant, last.as_ref(), 1_000).await.expect("the store works");
        ids += page.len() as u64;
        last = page.pop();
        if last.is_none() {
            return tombstones + remains + ids;
        }
    }
}

async fn rows_are_bounded(home: &TestStore, operations: u64) {
    let days = if operations < 4 { 10 } else { 1 };
    let worlds = [None, Some(A_MONTH)].map(|retention| {
        let world = World::new(home.store()).as_tenant(&home.next_name());
        Tenant::new(world, retention)
    });
    let [mut kept, mut retained] = worlds;
    let with = retained.year(operations, days, rows).await;
    // An operation leaves an entry or its remains, an id, and often a tombstone. They stay for a month, or for as long
    // as the server remembers the last places of the browser. Two compactions are on their way.
    let of_days = |days: u64| operations * days * 12 / 5;
    let bound = of_days(DAYS_OF_MONTH.max(CLIENT_MAX_PLACES as u64 * days) + 2 * days);
    assert!(with.iter().all(|rows| *rows <= bound), "{with:?} are more than {bound}");
    let without = kept.year(operations, days, rows).await;
    let expected: Vec<u64> = (1..=12).map(|month| 2 * operations * DAYS_OF_MONTH * month).collect();
    assert!(without.iter().zip(&expected).all(|(rows, expected)| rows >= expected), "{without:?} below {expected:?}");
}

// With few operations a day there are fewer compactions too.
for_each_store!([memory: 20, sqlite: 20, postgres: 5, mongodb: 1] {
    #[test]
    fn rows_are_bounded_by_documents_and_a_time() {
        let runtime = super::runtime();
        runtime.block_on(async {
            let home = open().await;
            super::rows_are_bounded(&home, u64::from(CASES)).await;
        });
    }
});
