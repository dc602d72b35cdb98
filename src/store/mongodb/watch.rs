//! Finds out of which tenants another process has changed the head: a change stream, over a connection of its own.
//!
//! An event is a hint. If the stream breaks, it is opened again at its end. A server may have no change streams, or may
//! have forgotten that place. The service looks at the heads from time to time all the same.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::unfold;
use mongodb::bson::{RawBsonRef, RawDocumentBuf, doc};
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::ResumeToken;
use tokio::time::{sleep, timeout};

use super::database::Database;
use super::failure::Failure;
use crate::core::names::TenantId;
use crate::limits::store::mongodb::{WATCH_AWAIT_MAX_MS, WATCH_PAUSE_MAX_MS, WATCH_PAUSE_MS, WATCH_SILENT_MAX_MS};
use crate::store::{Elsewhere, Watch};

/// See [`crate::store::Store::watch`].
pub(super) fn watch<'a>(database: impl Fn() -> Arc<Database> + Send + 'a) -> Watch<'a> {
    let ear = Ear { database: Box::new(database), open: None, place: None, failures: 0 };
    unfold(ear, async |mut ear: Ear<'_>| Some((ear.next().await, ear))).boxed()
}

/// Listens to the changes of the heads.
struct Ear<'a> {
    /// The database with the login that was accepted last.
    database: Box<dyn Fn() -> Arc<Database> + Send + 'a>,
    open: Option<ChangeStream<RawDocumentBuf>>,
    /// The place of the stream when it was last heard.
    place: Option<ResumeToken>,
    /// How often in a row it could not be opened.
    failures: u32,
}

impl Ear<'_> {
    /// The next hint.
    async fn next(&mut self) -> Elsewhere {
        loop {
            let Some(stream) = &mut self.open else {
                if self.listen().await && self.place.is_none() {
                    // Nothing was heard until now.
                    return Elsewhere::Anywhere;
                }
                continue;
            };
            let heard = timeout(Duration::from_millis(WATCH_SILENT_MAX_MS), stream.next_if_any()).await;
            let is_open = matches!(heard, Ok(Ok(_))) && stream.is_alive();
            self.place = stream.resume_token().or(self.place.take());
            if !is_open {
                self.open = None;
                tracing::debug!("the stream of commits of other processes broke");
                sleep(Duration::from_millis(WATCH_PAUSE_MS)).await;
            }
            if let Ok(Ok(Some(event))) = heard
                && let Some(tenant) = tenant_of(&event)
            {
                return Elsewhere::Tenants(vec![tenant]);
            }
        }
    }

    /// Opens the stream, at the place where it ended if that is possible. Returns whether it is open.
    async fn listen(&mut self) -> bool {
        match open((self.database)(), self.place.clone()).await {
            Ok(stream) => {
                self.failures = 0;
                self.open = Some(stream);
                true
            }
            Err(failure) => {
                // The server may have forgotten the place.
                self.place = None;
                if self.failures == 0 {
                    tracing::warn!(error.cause = %failure, "commits of other processes are noticed later for now");
                }
                // A server without change streams will have none soon either.
                let pause_ms = WATCH_PAUSE_MS.saturating_mul(1 << self.failures.min(10)).min(WATCH_PAUSE_MAX_MS);
                self.failures = self.failures.saturating_add(1);
                sleep(Duration::from_millis(pause_ms)).await;
                false
            }
        }
    }
}

async fn open(database: Arc<Database>, place: Option<ResumeToken>) -> Result<ChangeStream<RawDocumentBuf>, Failure> {
    let opening = async {
        database.ready().await?;
        let heads = database.heads_over_own_connection().await?;
        // The document itself is not needed.
        let stream = heads.watch().pipeline([doc! { "$project": { "documentKey": 1 } }]).resume_after(place);
        let stream = stream.max_await_time(Duration::from_millis(WATCH_AWAIT_MAX_MS)).await?;
        Ok(stream.with_type::<RawDocumentBuf>())
    };
    timeout(Duration::from_millis(WATCH_SILENT_MAX_MS), opening).await.unwrap_or(Err(Failure::Late))
}

/// The tenant whose head has changed. Other events have none, such as that the collection was dropped.
fn tenant_of(event: &RawDocumentBuf) -> Option<TenantId> {
    let Ok(Some(RawBsonRef::Document(key))) = event.get("documentKey") else { return None };
    TenantId::parse(key.get_str("_id").ok()?).ok()
}

#[cfg(test)]
mod tests {
    use mongodb::bson::Document;

    use super::*;

    #[test]
    fn an_event_names_its_tenant_if_it_is_about_a_head() {
        let tenant = |event: Document| tenant_of(&RawDocumentBuf::try_from(&event).unwrap());
        let key = |id| doc! { "_id": { "_data": "1" }, "documentKey": { "_id": id } };
        assert_eq!(tenant(key("é")), Some(TenantId::literal("é")));
        for other in [key("a\nb"), doc! { "_id": 1 }, doc! { "documentKey": { "_id": 5 } }, doc! { "documentKey": 5 }] {
            assert_eq!(tenant(other.clone()), None, "{other}");
        }
    }
}
