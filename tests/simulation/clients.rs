//! The clients of a schedule: devices of both dialects, and clients that read, compact or follow the log.

use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;
use syncflow_server::conformance::draft::{COLLECTION, key};
use syncflow_server::conformance::world::query_of;
use syncflow_server::core::cursor::{Cursor, Position};
use syncflow_server::core::decide::Outcome;
use syncflow_server::core::names::ClientId;
use syncflow_server::core::operation::OperationKind;
use syncflow_server::service::{PullFrom, PullRequest, Pulled, PulledPage};

use super::world::World;
use crate::convergence::device::{Device, parse};
use crate::convergence::story::{Dialect, WallClock};
use crate::history::{Call, End, Found};

const DOCUMENTS: [&str; 3] = ["x", "y", "z"];
const FIELDS: [&str; 2] = ["k", "l"];

/// How often a device edits, pushes and pulls.
const TURNS: usize = 4;

/// How often a device sends a push before it does something else.
const PUSH_ATTEMPTS: usize = 3;

/// How often each of the other clients sends a request.
const QUESTIONS: usize = 4;

/// The most rounds or pages for settling, more than are needed.
const SETTLING_MAX: usize = 100;

/// The devices in their initial state.
pub(super) fn devices(world: &World) -> Vec<Device> {
    let dialects = [Dialect::Cursor, Dialect::Cursor, Dialect::Original];
    let device = |(number, dialect): (usize, Dialect)| {
        let clocks = [WallClock::True, WallClock::Stopped, WallClock::Backwards, WallClock::Cycling];
        Device::new(number, dialect, clocks[world.below(clocks.len())])
    };
    dialects.into_iter().enumerate().map(device).collect()
}

/// The tasks of all clients, one for each.
pub(super) fn tasks<'w>(world: &'w World, devices: &'w mut [Device]) -> Vec<LocalBoxFuture<'w, ()>> {
    let mut tasks: Vec<_> = devices.iter_mut().map(|device| live(world, device).boxed_local()).collect();
    tasks.extend([read(world).boxed_local(), compact(world).boxed_local(), follow(world).boxed_local()]);
    tasks
}

async fn live(world: &World, device: &mut Device) {
    for _ in 0..TURNS {
        for _ in 0..world.below(4) {
            let kinds = [OperationKind::Insert, OperationKind::Update, OperationKind::Update, OperationKind::Delete];
            let (document, field) = (DOCUMENTS[world.below(DOCUMENTS.len())], FIELDS[world.below(FIELDS.len())]);
            device.edit(&key(document), kinds[world.below(kinds.len())], field, world.now_ms());
        }
        let mut attempts = 0;
        while !push(world, device).await && attempts < PUSH_ATTEMPTS {
            attempts += 1;
        }
        if attempts < PUSH_ATTEMPTS {
            for _ in 0..world.below(3) {
                pull(world, device).await;
            }
        }
    }
}

/// Pushes the device's operations, if it may push. Returns whether the push was answered.
async fn push(world: &World, device: &mut Device) -> bool {
    let operations = device.pending().to_vec();
    if operations.is_empty() || !device.may_push() {
        return true;
    }
    world.note_pushed(&operations);
    let (sent, tenant, body) = (world.moment(), world.tenant.clone(), operations.clone());
    let answer = world.ask(|service| async move { service.push(&tenant, body).await }).await;
    let outcomes: Option<Vec<Outcome>> = match answer {
        Some(Ok(pushed)) => Some(pushed.outcomes().expect("the push is not refused")),
        // After contention or a failure of the store, it is unknown whether the push took effect.
        Some(Err(_)) | None => None,
    };
    world.record(device.client().as_str(), sent, Call::Push { operations, outcomes: outcomes.clone() });
    outcomes.is_some_and(|outcomes| {
        device.pushed(&outcomes);
        true
    })
}

/// Pulls a page and returns it.
async fn page(world: &World, client: &str, from: PullFrom) -> Option<PulledPage> {
    let (sent, tenant) = (world.moment(), world.tenant.clone());
    let request = PullRequest::new(from.clone()).with_client(ClientId::literal(client));
    let request = request.with_max_operations(1 + world.below(4));
    let answer = world.ask(|service| async move { service.pull(&tenant, request).await }).await;
    match answer?.ok()? {
        Pulled::Page(page) => {
            world.record(client, sent, Call::Pull { from, page: page.clone() });
            Some(page)
        }
        other => panic!("no page but {other:?}"),
    }
}

/// Pulls a page for a device. If it is answered, returns whether there was news in it and whether there is more.
async fn pull(world: &World, device: &mut Device) -> Option<(bool, bool)> {
    let client = device.client().clone();
    let page = page(world, client.as_str(), device.pull_from()).await?;
    Some((device.pulled(&page), page.has_more))
}

async fn read(world: &World) {
    for _ in 0..QUESTIONS {
        let document = key(DOCUMENTS[world.below(DOCUMENTS.len())]);
        let (sent, tenant, asked) = (world.moment(), world.tenant.clone(), document.clone());
        let answer = world.ask(|service| async move { service.document(&tenant, &asked).await }).await;
        if let Some(Ok(found)) = answer {
            let found = found.map(|found| Found { rev: found.rev, data: parse(&found.data) });
            world.record("reader", sent, Call::Read { key: document, found });
        }
    }
}

async fn compact(world: &World) {
    for _ in 0..world.below(QUESTIONS) {
        // The age is the time of a few steps of other clients, so that some entries are old enough and some are not.
        let (sent, tenant, older_than_ms) = (world.moment(), world.tenant.clone(), world.below(100) as u64);
        let answer = world.ask(|service| async move { service.compact(&tenant, older_than_ms, 1_000).await }).await;
        let deleted_entries = answer.and_then(Result::ok).map(|done| done.deleted_entries);
        world.record("compactor", sent, Call::Compact { deleted_entries });
    }
}

/// Follows the log from the beginning.
async fn follow(world: &World) {
    let mut cursor = Cursor::Log(Position::START);
    for _ in 0..QUESTIONS * 4 {
        if let Some(page) = page(world, "follower", PullFrom::Cursor(Some(cursor))).await {
            cursor = page.cursor.expect("a page in log order has a cursor");
        }
    }
}

/// All devices push and pull until nothing is left to do. Then the log is read from the horizon on.
pub(super) async fn settle(world: &World, devices: &mut [Device]) -> End {
    let mut is_quiet = false;
    for _ in 0..SETTLING_MAX {
        is_quiet = true;
        for device in &mut *devices {
            push(world, device).await;
            is_quiet &= !pull_everything(world, device).await && device.pending().is_empty();
        }
        if is_quiet {
            break;
        }
    }
    assert!(is_quiet || !world.is_sound(), "the devices never settle");
    let mut cursor = Cursor::Log(Position::START);
    for _ in 0..SETTLING_MAX {
        let page = page(world, "follower", PullFrom::Cursor(Some(cursor))).await.expect("nothing is lost any more");
        cursor = page.cursor.expect("a page in log order has a cursor");
        if !page.has_more {
            break;
        }
    }
    end(world, devices).await
}

async fn pull_everything(world: &World, device: &mut Device) -> bool {
    let mut was_news = false;
    for _ in 0..SETTLING_MAX {
        let (is_news, has_more) = pull(world, device).await.expect("nothing is lost any more");
        was_news |= is_news;
        if !has_more {
            return was_news;
        }
    }
    assert!(!world.is_sound(), "{} pulls for ever", device.client());
    was_news
}

async fn end(world: &World, devices: &[Device]) -> End {
    let tenant = world.tenant.clone();
    let query = query_of(COLLECTION, &[]);
    let found = world.ask(|service| async move { service.query(&tenant, query).await }).await;
    let documents = found.expect("nothing is lost any more").expect("the store answers").documents.into_iter();
    End {
        documents: documents
            .map(|document| (document.key.clone(), Found { rev: document.rev, data: parse(&document.data) }))
            .collect(),
        replicas: devices.iter().map(|device| (device.client().to_string(), device.documents())).collect(),
    }
}
