//! Commits of other processes: a change stream that breaks and goes on, and a server that has none.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use syncflow_server::conformance::draft::insert;
use syncflow_server::core::names::TenantId;
use syncflow_server::limits::store::mongodb::WATCH_PAUSE_MS;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::SyncService;
use syncflow_server::store::{Elsewhere, Watch};
use tokio::time::{sleep, timeout};

use super::proxy::Guise;
use super::{watched, watched_in_guise, world};
use crate::support::mongo::Database;

/// How long a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until the watch speaks of a tenant. Returns whether it did so by name, and not of all tenants.
async fn hears(watch: &mut Watch<'_>, tenant: &str) -> bool {
    let heard = async {
        loop {
            match watch.next().await.expect("it does not end") {
                Elsewhere::Anywhere => return false,
                Elsewhere::Tenants(tenants) if tenants.contains(&TenantId::literal(tenant)) => return true,
                Elsewhere::Tenants(_) => {}
            }
        }
    };
    timeout(PATIENCE, heard).await.expect("it is heard")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_hears_commits_of_other_stores_also_after_its_connection_broke() {
    let database = Database::new();
    let (here, proxy) = watched(&database).await;
    let there = world(&database.options());
    let mut watch = here.store.watch();
    assert_eq!(timeout(PATIENCE, watch.next()).await.expect("it listens"), Some(Elsewhere::Anywhere));
    there.as_tenant("one").apply([insert("op-1", "doc-1")]).await;
    assert!(hears(&mut watch, "one").await);
    proxy.cut().await;
    there.as_tenant("two").apply([insert("op-1", "doc-1")]).await;
    assert!(hears(&mut watch, "two").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_while_a_watch_is_cut_off_are_heard_of_or_all_heads_are_looked_at() {
    let database = Database::new();
    let (here, proxy) = watched(&database).await;
    let there = world(&database.options());
    let mut watch = here.store.watch();
    assert_eq!(timeout(PATIENCE, watch.next()).await.expect("it listens"), Some(Elsewhere::Anywhere));
    for tenant in ["one", "two"] {
        proxy.cut_off().await;
        // The watch tries in vain meanwhile.
        let meanwhile = async {
            there.as_tenant(tenant).apply([insert("op-1", "doc-1")]).await;
            sleep(Duration::from_millis(3 * WATCH_PAUSE_MS)).await;
            proxy.let_in().await;
        };
        // If it does not name the tenant, all heads are looked at.
        tokio::join!(hears(&mut watch, tenant), meanwhile);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_misses_nothing_while_the_server_is_out_of_reach() {
    let database = Database::new();
    let (here, proxy) = watched(&database).await;
    let there = world(&database.options()).as_tenant("one");
    let service = SyncService::new(Arc::clone(&here.store), Arc::new(TokioHost));
    let mut wakes = service.wakes(&there.tenant).expect("there is room for a listener");
    let mut before = timeout(PATIENCE, wakes.next()).await.expect("the place as it is");
    for number in 1..=2 {
        proxy.cut_off().await;
        there.apply([insert(&format!("op-{number}"), "doc")]).await;
        let mut woken = wakes.next();
        assert!(timeout(Duration::from_millis(WATCH_PAUSE_MS), &mut woken).await.is_err(), "nothing can be read");
        proxy.let_in().await;
        let after = timeout(PATIENCE, woken).await.expect("the listener is woken");
        assert!(after.is_some() && after != before, "{number}");
        before = after;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_change_streams_the_heads_are_looked_at() {
    let database = Database::new();
    let (here, _proxy) = watched_in_guise(Guise::WithoutChangeStreams, &database).await;
    let there = world(&database.options()).as_tenant("one");
    let service = SyncService::new(Arc::clone(&here.store), Arc::new(TokioHost));
    let mut wakes = service.wakes(&there.tenant).expect("there is room for a listener");
    let before = timeout(PATIENCE, wakes.next()).await.expect("the place as it is");
    for number in 1..=3 {
        there.apply([insert(&format!("op-{number}"), "doc")]).await;
        let after = timeout(PATIENCE, wakes.next()).await.expect("the listener is woken");
        assert!(after.is_some() && after != before, "{number}");
    }
    let mut watch = here.store.watch();
    assert!(timeout(Duration::from_millis(1_500), watch.next()).await.is_err(), "there is nothing to hear");
}
