//! Write transactions. They begin with the tenant's head, and are retried a bounded number of times by the rules of the
//! driver's specification.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::{Either, select};
use mongodb::ClientSession;

use super::writers::{Obstacle, Writer};
use crate::core::names::TenantId;
use crate::limits::store::mongodb::{
    STORE_CONFLICT_PAUSE_MAX_MS, STORE_CONFLICT_TIME_MAX_MS, STORE_TRANSACTION_MAX_ATTEMPTS,
};
use crate::store::mongodb::collections::Collections;
use crate::store::mongodb::database::{Database, durable};
use crate::store::mongodb::failure::Failure;

/// The work of a transaction. It may run several times, each time in a new transaction.
///
/// It must first write the tenant's head. The transaction that has written the head is the tenant's only writer until
/// its end. So a conflict is found at once, and everything that is read later is current.
#[async_trait]
pub(crate) trait Work: Sync {
    type Outcome: Send;

    async fn run(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Verdict<Self::Outcome>, Failure>;
}

/// The end of a transaction after its work.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Verdict<T> {
    /// It is committed.
    Keep(T),
    /// It is aborted and has no effect.
    Undo(T),
    /// It is aborted, and the work is done again in another way.
    Again,
}

/// Does some work for a tenant, with its whole effect or none.
///
/// While other processes hold the head, it is tried repeatedly, and those that are dead are removed. If the answer to a
/// commit was lost, the commit is repeated while there is time. If the whole work is repeated after that, its guards
/// find what the first attempt wrote.
pub(crate) async fn run<W: Work>(database: &Database, tenant: &TenantId, work: &W) -> Result<W::Outcome, Failure> {
    let collections = database.ready().await?;
    let mut session = collections.in_time(collections.client.start_session()).await?;
    let mut writer = database.announcements.announce(collections, tenant, &session).await?;
    let mut obstacle = Obstacle::new();
    let (mut conflicts, mut failures) = (0, 0);
    loop {
        let failure = match attempt(collections, &mut session, &writer, work).await {
            Ok(Some(outcome)) => return Ok(outcome),
            Ok(None) => continue,
            Err(failure) => failure,
        };
        if failure.is_write_conflict() {
            conflicts += 1;
            if obstacle.age() > Duration::from_millis(STORE_CONFLICT_TIME_MAX_MS) {
                return Err(Failure::Crowded);
            }
            obstacle.look(collections, tenant, &mut writer).await?;
        } else {
            failures += 1;
            if !failure.is_transient() || failure.is_no_server() || failures >= STORE_TRANSACTION_MAX_ATTEMPTS {
                return Err(failure);
            }
            tracing::debug!(error = %failure, "transaction made again");
            // The old transaction is aborted in the background, if the server still knows it.
            session = collections.in_time(collections.client.start_session()).await?;
            writer = database.announcements.announce(collections, tenant, &session).await?;
        }
        pause(conflicts + failures).await;
    }
}

/// A random pause, so that writers that met do not meet again.
async fn pause(attempt: u32) {
    let longest = (1_u64 << attempt.min(10)).min(STORE_CONFLICT_PAUSE_MAX_MS);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(..longest * 1_000))).await;
}

/// Makes one transaction. Returns `None` if the work must be done again.
async fn attempt<W: Work>(
    collections: &Collections,
    session: &mut ClientSession,
    writer: &Writer,
    work: &W,
) -> Result<Option<W::Outcome>, Failure> {
    // It needs no read concern: all reads are guards. They fail if another process writes the same documents, and a
    // majority has the data that they saw when the commit is done.
    let begin = session.start_transaction().write_concern(durable());
    begin.max_commit_time(collections.time_limit).await?;
    match work_alive(collections, session, writer, work).await {
        Ok(Verdict::Keep(outcome)) => commit(collections, session).await.map(|()| Some(outcome)),
        Ok(Verdict::Undo(outcome)) => abort(collections, session).await.map(|()| Some(outcome)),
        Ok(Verdict::Again) => abort(collections, session).await.map(|()| None),
        // The server has aborted it already, but the driver must also know before the session can be used again.
        Err(failure) if failure.is_write_conflict() => abort(collections, session).await.and(Err(failure)),
        Err(failure) => Err(failure),
    }
}

/// Does the work, and shows from time to time that it is alive.
async fn work_alive<W: Work>(
    collections: &Collections,
    session: &mut ClientSession,
    writer: &Writer,
    work: &W,
) -> Result<Verdict<W::Outcome>, Failure> {
    let beating = std::pin::pin!(writer.beat_for_ever(collections));
    match select(work.run(collections, session), beating).await {
        Either::Left((verdict, _)) => verdict,
        Either::Right((never, _)) => match never {},
    }
}

/// Commits, and repeats that while the result is unknown. A commit takes effect once.
async fn commit(collections: &Collections, session: &mut ClientSession) -> Result<(), Failure> {
    let began = Instant::now();
    let mut attempt = 0;
    loop {
        match collections.in_time(session.commit_transaction()).await {
            Err(failure)
                if failure.is_unknown_commit()
                    && began.elapsed() < Duration::from_millis(STORE_CONFLICT_TIME_MAX_MS) =>
            {
                tracing::debug!(error = %failure, "commit asked for again");
            }
            committed => return committed,
        }
        attempt += 1;
        pause(attempt).await;
    }
}

async fn abort(collections: &Collections, session: &mut ClientSession) -> Result<(), Failure> {
    collections.in_time(session.abort_transaction()).await
}
