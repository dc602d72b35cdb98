//! The watcher of a service: it reads the newest places of the tenants that somebody listens to.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::pending;

use super::registry::Registry;
use crate::limits::service::{WAKE_PAUSE_MS, WAKE_SWEEP_MS};
use crate::service::hooks::{Observers, tell};
use crate::service::host::Host;
use crate::store::{Elsewhere, Store};

/// Reads the newest places until nobody listens any more. A tenant that has changed is read at once. All tenants are
/// read from time to time, because other processes write too.
///
/// Only one read is in progress at a time, and it is for many tenants. So commits that come quickly cost few reads.
pub(super) async fn watch(registry: Arc<Registry>, store: Arc<dyn Store>, host: Arc<dyn Host>, observers: Observers) {
    let mut lost = Lost { registry: &registry, has_ended: false };
    let mut hints = store.watch();
    let mut sweep = host.sleep(Duration::from_millis(WAKE_SWEEP_MS));
    let mut is_failing = false;
    loop {
        let work = poll_fn(|context| registry.poll_work(context));
        let tenants = match select(work, select(hints.next(), &mut sweep)).await {
            Either::Left((Some(tenants), _)) => tenants,
            Either::Left((None, _)) => break,
            Either::Right((Either::Left((hint, _)), _)) => {
                match hint {
                    Some(Elsewhere::Tenants(tenants)) => {
                        let now_ms = host.now_ms();
                        for tenant in &tenants {
                            registry.changed(tenant, now_ms);
                        }
                    }
                    Some(Elsewhere::Anywhere) => registry.all_changed(),
                    None => hints = pending().boxed(),
                }
                continue;
            }
            Either::Right((Either::Right(_), _)) => {
                registry.all_changed();
                sweep = host.sleep(Duration::from_millis(WAKE_SWEEP_MS));
                continue;
            }
        };
        match store.heads(&tenants).await {
            Ok(places) => {
                is_failing = false;
                let now_ms = host.now_ms();
                for (tenant, changed_at_ms) in registry.publish(&tenants, places) {
                    let after = Duration::from_millis(now_ms.ms_since(changed_at_ms));
                    tell(&observers, |observer| observer.woken(tenant, after));
                }
            }
            // The next sweep reads them again.
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!(store.name = store.name(), error.cause = %error, "listeners learn of changes later");
            }
            Err(_) => {}
        }
        host.sleep(Duration::from_millis(WAKE_PAUSE_MS)).await;
    }
    lost.has_ended = true;
}

/// Says so if a watcher is dropped or panics, so that a listener can start another one.
struct Lost<'a> {
    registry: &'a Registry,
    has_ended: bool,
}

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            self.registry.lost_watcher();
        }
    }
}
