//! A pull that waits for changes if there are none.

use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::{Either, OptionFuture, select};

use crate::api::access::Seating;
use crate::api::error::ApiError;
use crate::api::waiting::holdings::Holding;
use crate::core::access::Principal;
use crate::core::cursor::Cursor;
use crate::limits::api::WAIT_READ_PAUSE_MS;
use crate::service::{PullFrom, PullRequest, Pulled, PulledPage, SyncService, Wakes};

/// Reads a page.
pub(super) async fn pull(
    service: &SyncService,
    principal: &Principal,
    request: PullRequest,
) -> Result<PulledPage, ApiError> {
    match service.pull_as(principal, request).await? {
        Pulled::Page(page) => Ok(page),
        Pulled::Reset => Err(ApiError::CursorReset),
        Pulled::OtherView => Err(ApiError::OtherView),
        Pulled::CursorNeeded => Err(ApiError::CursorNeeded),
        Pulled::ForeignClient => Err(ApiError::ForeignClient { field: "clientId".to_owned() }),
        Pulled::RunTooLong => Err(ApiError::RunTooLong),
    }
}

/// Reads a page until it has something, or until the time is over. The request has a cursor.
///
/// While it waits, the request has no share of the server.
pub(super) async fn pull_within(
    time: Duration,
    service: &SyncService,
    principal: &Principal,
    (seating, holding): (&Seating, &Holding),
    mut request: PullRequest,
) -> Result<PulledPage, ApiError> {
    // It listens before it reads, so that no commit falls between the two. Without a seat it does not wait.
    let seat = seating.waits.take(principal).ok();
    let mut wakes = seat.as_ref().and_then(|_| service.wakes(&principal.tenant));
    let mut time_over = service.sleep(until_expired(time, service, principal));
    let mut has_read = false;
    loop {
        let page = pull(service, principal, request.clone()).await?;
        let (Some(wakes), Some(cursor)) = (&mut wakes, page.cursor) else { return Ok(page) };
        if !page.entries.is_empty() || page.has_more {
            return Ok(page);
        }
        holding.give_back();
        // The change may be in other collections, and may be followed by many such changes.
        let pause = has_read.then(|| service.sleep(Duration::from_millis(WAIT_READ_PAUSE_MS)));
        has_read = true;
        let changed = pin!(async {
            OptionFuture::from(pause).await;
            changed_since(cursor, wakes).await
        });
        let Either::Left((true, _)) = select(changed, &mut time_over).await else { return Ok(page) };
        if !holding.take_again().await {
            return Err(ApiError::Unavailable { cause: "there is no room for a pull that has waited".to_owned() });
        }
        request.view = page.view;
        request.from = match request.from {
            PullFrom::Documents { collections, .. } => PullFrom::Documents { after: Some(cursor), collections },
            PullFrom::Cursor(_) | PullFrom::Since(_) => PullFrom::Cursor(Some(cursor)),
        };
    }
}

/// Waits until the newest place is another than that of a cursor. Returns whether that happens before the service
/// stops.
async fn changed_since(cursor: Cursor, wakes: &mut Wakes) -> bool {
    while let Some(place) = wakes.next().await {
        if place != cursor.position() {
            return true;
        }
    }
    false
}

/// The time, but not longer than the principal is valid.
fn until_expired(time: Duration, service: &SyncService, principal: &Principal) -> Duration {
    let Some(until_ms) = principal.valid_until_ms else { return time };
    time.min(Duration::from_millis(until_ms.ms_since(service.now_ms())))
}
