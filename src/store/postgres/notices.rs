//! Notifications: a server tells the others of its commits, and hears of theirs.
//!
//! A notification is sent in a transaction of its own, for the commits of some time and of many tenants. Within a
//! commit it would take a lock of the whole database. All tenants together could then commit only a few hundred times
//! a second.
//!
//! A notification is a hint. If the connection that listens breaks, it is opened again, and meanwhile nothing is heard.

use std::fmt;
use std::future::poll_fn;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::{pending, unfold};
use tokio::time::{sleep, timeout};
use tokio_postgres::types::Type;
use tokio_postgres::{AsyncMessage, Notification};
use twox_hash::XxHash64;

use super::connections::Parameter;
use super::connections::manager::{Connector, Opened};
use super::database::Database;
use super::failure::Failure;
use crate::core::names::TenantId;
use crate::limits::store::STORE_CONNECT_TIME_MAX_MS;
use crate::limits::store::postgres::{NOTICE_MAX_BYTES, WATCH_PAUSE_MS, WATCH_SILENT_MAX_MS};
use crate::store::{Elsewhere, Watch};

/// The separator of the names in a notification. No name has a control character.
const SEPARATOR: char = '\n';

/// The notifications of one store.
pub(super) struct Notices {
    /// Opens the connection that listens. `None` if that is not possible.
    listener: Option<Connector>,
    /// Stands first in the notifications of this store, which need not hear them.
    origin: String,
}

impl Notices {
    pub(super) fn new(listener: Option<Connector>) -> Self {
        // Its keys are random.
        let random_bits = RandomState::new().build_hasher().finish();
        Self { listener, origin: format!("{random_bits:016x}") }
    }

    /// See [`crate::store::Store::announce`].
    pub(super) async fn announce(&self, database: &Database, tenants: &[TenantId]) -> Result<(), Failure> {
        let channel = channel_of(&database.schema().await?);
        let texts = texts(&self.origin, tenants);
        let sql = "SELECT pg_catalog.pg_notify($1, notice) FROM pg_catalog.unnest($2) AS notice";
        let parameters: [Parameter<'_>; 2] = [(&channel, Type::TEXT), (&texts, Type::TEXT_ARRAY)];
        database.rows(sql, &parameters).await.map(drop)
    }

    /// See [`crate::store::Store::watch`].
    pub(super) fn watch<'a>(&'a self, database: &'a Database) -> Watch<'a> {
        let Some(connector) = &self.listener else { return pending().boxed() };
        let ear = Ear { connector, database, origin: &self.origin, open: None, has_failed: false };
        unfold(ear, async |mut ear: Ear<'_>| Some((ear.next().await, ear))).boxed()
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Notices").finish_non_exhaustive()
    }
}

/// The channel of a schema.
fn channel_of(schema: &str) -> String {
    format!("syncflow_{:016x}", XxHash64::oneshot(0, schema.as_bytes()))
}

/// The texts of notifications about these tenants.
fn texts(origin: &str, tenants: &[TenantId]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for tenant in tenants {
        let needed_bytes = SEPARATOR.len_utf8() + tenant.as_str().len();
        match texts.last_mut().filter(|text| text.len() + needed_bytes <= NOTICE_MAX_BYTES) {
            Some(text) => {
                text.push(SEPARATOR);
                text.push_str(tenant.as_str());
            }
            None => texts.push(format!("{origin}{SEPARATOR}{tenant}")),
        }
    }
    texts
}

/// The tenants that another store's notification names. `None` if this store has sent it, or if another program has.
fn tenants_in(text: &str, own_origin: &str) -> Option<Vec<TenantId>> {
    let mut names = text.split(SEPARATOR);
    names.next().filter(|origin| *origin != own_origin && origin.len() == own_origin.len())?;
    // Every role of the database may send notifications, so this is a text from outside.
    names.map(|name| TenantId::parse(name).ok()).collect()
}

/// Listens over a connection of its own.
struct Ear<'a> {
    connector: &'a Connector,
    database: &'a Database,
    origin: &'a str,
    open: Option<Opened>,
    has_failed: bool,
}

impl Ear<'_> {
    /// The next hint.
    async fn next(&mut self) -> Elsewhere {
        loop {
            let Some(opened) = &mut self.open else {
                if let Some(opened) = self.listen().await {
                    self.open = Some(opened);
                    // Nothing was heard until now.
                    return Elsewhere::Anywhere;
                }
                sleep(Duration::from_millis(WATCH_PAUSE_MS)).await;
                continue;
            };
            let heard = timeout(Duration::from_millis(WATCH_SILENT_MAX_MS), hear(opened)).await;
            match heard {
                Ok(Some(notification)) => {
                    if let Some(tenants) = tenants_in(notification.payload(), self.origin) {
                        return Elsewhere::Tenants(tenants);
                    }
                }
                Ok(None) => self.close().await,
                // A connection whose server is gone without a word would be silent for ever.
                Err(_) => match answers(opened, "").await {
                    Ok(()) => {}
                    Err(_) => self.close().await,
                },
            }
        }
    }

    async fn close(&mut self) {
        self.open = None;
        tracing::debug!("the connection that listens for commits of other processes broke");
        sleep(Duration::from_millis(WATCH_PAUSE_MS)).await;
    }

    async fn listen(&mut self) -> Option<Opened> {
        match try_to_listen(self.connector, self.database).await {
            Ok(opened) => {
                self.has_failed = false;
                Some(opened)
            }
            Err(problem) => {
                if !self.has_failed {
                    self.has_failed = true;
                    tracing::warn!(error.cause = %problem, "commits of other processes are noticed later for now");
                }
                None
            }
        }
    }
}

async fn try_to_listen(connector: &Connector, database: &Database) -> Result<Opened, String> {
    let channel = channel_of(&database.schema().await.map_err(|failure| failure.to_string())?);
    let opening = timeout(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS), Box::pin(connector.open()));
    let opened = opening.await.map_err(|_| "no connection in time".to_owned())?;
    let mut opened = opened.map_err(|error| error.to_string())?;
    answers(&mut opened, &format!("LISTEN {channel}")).await?;
    Ok(opened)
}

/// Waits for a notification. `None` if the connection broke.
async fn hear((_, connection): &mut Opened) -> Option<Notification> {
    loop {
        match poll_fn(|context| connection.poll_message(context)).await {
            Some(Ok(AsyncMessage::Notification(notification))) => return Some(notification),
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return None,
        }
    }
}

/// Executes a statement on a connection that nobody else drives. Notifications that come meanwhile are lost.
async fn answers((client, connection): &mut Opened, sql: &str) -> Result<(), String> {
    let mut answer = pin!(client.batch_execute(sql));
    let both = poll_fn(|context| {
        loop {
            if let Poll::Ready(answer) = answer.as_mut().poll(context) {
                return Poll::Ready(answer.map_err(|error| error.to_string()));
            }
            match connection.poll_message(context) {
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.to_string())),
                Poll::Ready(None) => return Poll::Ready(Err("the connection was closed".to_owned())),
                Poll::Pending => break,
            }
        }
        // The answer may have come with what was just read.
        answer.as_mut().poll(context).map_err(|error| error.to_string())
    });
    let in_time = timeout(Duration::from_millis(STORE_CONNECT_TIME_MAX_MS), both).await;
    in_time.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: &str = "0123456789abcdef";

    fn name(number: usize) -> TenantId {
        TenantId::literal(&format!("{number:03} {}", "é".repeat(120)))
    }

    #[test]
    fn many_tenants_share_a_notification_of_bounded_length() {
        let tenants: Vec<TenantId> = (0..500).map(name).collect();
        let texts = texts("fedcba9876543210", &tenants);
        assert!(texts.len() < 20 && texts.iter().all(|text| text.len() <= NOTICE_MAX_BYTES), "{}", texts.len());
        let heard: Vec<TenantId> = texts.iter().flat_map(|text| tenants_in(text, ORIGIN).unwrap()).collect();
        assert_eq!(heard, tenants);
    }

    #[test]
    fn own_notifications_and_those_of_others_are_not_heard() {
        let own = texts(ORIGIN, &[name(1)]);
        assert_eq!(tenants_in(&own[0], ORIGIN), None);
        for foreign in ["", "hello", "fedcba9876543210\n", "fedcba9876543210\na\u{7}"] {
            assert_eq!(tenants_in(foreign, ORIGIN), None, "{foreign:?}");
        }
        assert_eq!(texts(ORIGIN, &[]), [""; 0]);
    }
}
