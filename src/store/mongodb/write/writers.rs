//! Writers that die with an open transaction, and how other writers remove them.
//!
//! By default MongoDB keeps the transaction of a dead client, with everything that it has written, for a minute. Until
//! then no other client can write the same documents. So each session announces itself in a collection before its first
//! transaction for a tenant, and repeatedly during a transaction. A writer that cannot get past a tenant's head looks
//! twice. A session is killed if the head has not moved in between and the session has shown no life. This ends its
//! transaction. Users may kill their own sessions without a special right.
//!
//! Killing a session that is alive does no harm: its transaction is undone as a whole and begins again.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mongodb::ClientSession;
use mongodb::bson::{Binary, Bson, Document, RawBsonRef, doc};
use mongodb::options::WriteConcern;

use crate::core::names::TenantId;
use crate::core::numbers::Seq;
use crate::limits::store::mongodb::{
    STORE_WRITER_BEAT_MS, STORE_WRITER_FORGOTTEN_AFTER_SECONDS, STORE_WRITER_SILENT_MAX_MS,
    WRITERS_REMEMBERED_MAX_ENTRIES,
};
use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::failure::Failure;
use crate::store::mongodb::row::Row;

/// The sessions of this process that were announced for a tenant, and when.
#[derive(Debug, Default)]
pub(crate) struct Announcements(Mutex<HashMap<String, SystemTime>>);

impl Announcements {
    /// Announces a session before its first transaction for a tenant.
    pub(crate) async fn announce(
        &self,
        collections: &Collections,
        tenant: &TenantId,
        session: &ClientSession,
    ) -> Result<Writer, Failure> {
        let writer = Writer::new(tenant, session)?;
        if !self.is_recent(&writer.key) {
            writer.show(collections).await?;
            let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if times.len() >= WRITERS_REMEMBERED_MAX_ENTRIES {
                times.clear();
            }
            times.insert(writer.key.clone(), SystemTime::now());
        }
        Ok(writer)
    }

    /// Forgets all announcements.
    pub(crate) fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn is_recent(&self, key: &str) -> bool {
        let times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // It uses the time of day, because other clocks may stand still while a process is frozen.
        let age = times.get(key).and_then(|time| time.elapsed().ok());
        age.is_some_and(|age| age < Duration::from_secs(STORE_WRITER_FORGOTTEN_AFTER_SECONDS / 4))
    }
}

/// A session that writes for a tenant.
#[derive(Debug)]
pub(crate) struct Writer {
    key: String,
    tenant: TenantId,
    session_id: Binary,
    shown_at: Instant,
}

impl Writer {
    fn new(tenant: &TenantId, session: &ClientSession) -> Result<Self, Failure> {
        let Some(Bson::Binary(id)) = session.id().get("id") else { return Err(Failure::Answer("no id of a session")) };
        let mut key = format!("{tenant}\0");
        for byte in &id.bytes {
            // Writing to a string cannot fail.
            let _ = write!(key, "{byte:02x}");
        }
        Ok(Self { key, tenant: tenant.clone(), session_id: id.clone(), shown_at: Instant::now() })
    }

    /// Shows that the session is alive. Other processes must see it, but it need not survive the machines.
    async fn show(&self, collections: &Collections) -> Result<(), Failure> {
        let filter = doc! { "_id": &self.key, "tenant": self.tenant.as_str() };
        let change = doc! {
            "$set": { "session": self.session_id.clone() },
            "$inc": { "beats": 1_i64 },
            "$currentDate": { "seenAt": true },
        };
        let update = collections.writers.update_one(filter, change).upsert(true);
        collections.in_time(update.write_concern(WriteConcern::majority())).await.map(drop)
    }

    /// Shows repeatedly that the session is in use.
    pub(crate) async fn beat_for_ever(&self, collections: &Collections) -> Infallible {
        loop {
            tokio::time::sleep(Duration::from_millis(STORE_WRITER_BEAT_MS)).await;
            // A writer that cannot show that it is alive may lose its transaction, and then repeats it.
            let _ = self.show(collections).await;
        }
    }
}

/// The transaction of another writer that is in the way.
#[derive(Debug)]
pub(crate) struct Obstacle {
    since: Instant,
    before: Option<View>,
}

/// A waiting writer's view of the others.
#[derive(Debug, PartialEq)]
struct View {
    at: Instant,
    /// The tenant's newest sequence number and horizon.
    head: Option<(Seq, Seq)>,
    /// How often each session has shown that it is alive.
    beats: HashMap<String, (u64, Vec<u8>)>,
}

impl Obstacle {
    pub(crate) fn new() -> Self {
        Self { since: Instant::now(), before: None }
    }

    /// How long it has been in the way.
    pub(crate) fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Looks for dead writers from time to time, and kills their sessions.
    pub(crate) async fn look(
        &mut self,
        collections: &Collections,
        tenant: &TenantId,
        writer: &mut Writer,
    ) -> Result<(), Failure> {
        if writer.shown_at.elapsed() >= Duration::from_millis(STORE_WRITER_BEAT_MS) {
            writer.shown_at = Instant::now();
            writer.show(collections).await?;
            if self.before.is_none() {
                self.before = Some(View::take(collections, tenant).await?);
            }
        }
        let Some(before) = &self.before else { return Ok(()) };
        if before.at.elapsed() < Duration::from_millis(STORE_WRITER_SILENT_MAX_MS) {
            return Ok(());
        }
        let now = View::take(collections, tenant).await?;
        if now.head == before.head {
            kill(collections, now.silent_since(before)).await?;
        }
        self.before = Some(now);
        Ok(())
    }
}

impl View {
    async fn take(collections: &Collections, tenant: &TenantId) -> Result<Self, Failure> {
        let at = Instant::now();
        let head =
            collections.in_time(collections.heads.find_one(doc! { "_id": tenant.as_str(), "tenant": tenant.as_str() }));
        let head = match head.await? {
            Some(head) => Some((Row(&head).integer("seq")?, Row(&head).integer("horizon")?)),
            None => None,
        };
        let mut beats = HashMap::new();
        let mut found = collections.in_time(collections.writers.find(doc! { "tenant": tenant.as_str() })).await?;
        while collections.in_time(found.advance()).await? {
            let row = found.current();
            if let Ok(Some(RawBsonRef::Binary(session))) = row.get("session") {
                let key = Row(row).text("_id")?.to_owned();
                beats.insert(key, (Row(row).integer("beats")?, session.bytes.to_vec()));
            }
        }
        Ok(Self { at, head, beats })
    }

    /// The sessions that have not shown that they are alive since another view.
    fn silent_since<'a>(&'a self, before: &'a Self) -> impl Iterator<Item = &'a [u8]> {
        let is_silent = |(key, (beats, _)): &(&String, &(u64, Vec<u8>))| {
            before.beats.get(*key).is_some_and(|(beats_before, _)| beats_before == beats)
        };
        self.beats.iter().filter(is_silent).map(|(_, (_, session))| session.as_slice())
    }
}

async fn kill(collections: &Collections, sessions: impl Iterator<Item = &[u8]>) -> Result<(), Failure> {
    let id = |session: &[u8]| Binary { subtype: mongodb::bson::spec::BinarySubtype::Uuid, bytes: session.to_vec() };
    let sessions: Vec<Document> = sessions.map(|session| doc! { "id": id(session) }).collect();
    // An empty list would mean all sessions of the user.
    if sessions.is_empty() {
        return Ok(());
    }
    tracing::warn!(mongodb.sessions = sessions.len(), "sessions of writers that are silent are ended");
    let command = doc! { "killSessions": sessions };
    match collections.in_time(collections.database.run_command(command)).await {
        // Some hosted deployments do not allow it. There, the server's own time limit for transactions ends them.
        Err(Failure::Driver(error)) if error.server_response().is_some() => {
            tracing::warn!(%error, "sessions cannot be ended");
            Ok(())
        }
        answered => answered.map(drop),
    }
}
