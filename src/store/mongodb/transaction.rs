//! Transactions that write: begun with the tenant's head, retried as the driver's specification says, bounded.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::future::{Either, select};
use mongodb::ClientSession;

use super::database::{Collections, Database, durable};
use super::failure::Failure;
use super::writers::{Obstacle, Writer};
use crate::core::limits::{STORE_CONFLICT_PAUSE_MAX_MS, STORE_CONFLICT_TIME_MAX_MS, STORE_TRANSACTION_MAX_ATTEMPTS};
use crate::core::names::TenantId;

/// What a transaction is to do. It may be run several times, each time in a transaction of its own.
///
/// The first thing that it does must be to write the tenant's head: whoever holds that is the tenant's only writer until
/// its transaction ends, so a conflict is met at once, and everything read later is current.
#[async_trait]
pub(super) trait Work: Sync {
    type Outcome: Send;

    async fn run(
        &self,
        collections: &Collections,
        session: &mut ClientSession,
    ) -> Result<Verdict<Self::Outcome>, Failure>;
}

/// What becomes of a transaction whose work is done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Verdict<T> {
    /// It is committed.
    Keep(T),
    /// It is aborted; nothing of it remains.
    Undo(T),
    /// It is aborted, and the work is done anew, in another way.
    Again,
}

/// Runs some work for a tenant to its end: with its whole effect, or with none.
///
/// While others hold the head it is tried again and again, and those of them that are dead are put out of the way. A
/// commit whose answer was lost is asked for again, as often as time allows. When the whole work is done anew after that,
/// its guards find what it wrote the first time.
pub(super) async fn run<W: Work>(database: &Database, tenant: &TenantId, work: &W) -> Result<W::Outcome, Failure> {
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
            // The old one is aborted in the background, should the server still know it.
            session = collections.in_time(collections.client.start_session()).await?;
            writer = database.announcements.announce(collections, tenant, &session).await?;
        }
        pause(conflicts + failures).await;
    }
}

/// A random pause, so that those who met do not meet again.
async fn pause(attempt: u32) {
    let longest = (1_u64 << attempt.min(10)).min(STORE_CONFLICT_PAUSE_MAX_MS);
    tokio::time::sleep(Duration::from_micros(fastrand::u64(..longest * 1_000))).await;
}

/// One transaction; nothing where the work is to be done anew.
async fn attempt<W: Work>(
    collections: &Collections,
    session: &mut ClientSession,
    writer: &Writer,
    work: &W,
) -> Result<Option<W::Outcome>, Failure> {
    // Without a read concern: nothing is read but by guards, which fail where somebody else writes the same, and what they
    // have seen is committed by a majority when the transaction is.
    let begin = session.start_transaction().write_concern(durable());
    begin.max_commit_time(collections.time_limit).await?;
    match work_alive(collections, session, writer, work).await {
        Ok(Verdict::Keep(outcome)) => commit(collections, session).await.map(|()| Some(outcome)),
        Ok(Verdict::Undo(outcome)) => abort(collections, session).await.map(|()| Some(outcome)),
        Ok(Verdict::Again) => abort(collections, session).await.map(|()| None),
        // The server has undone it already; the driver must know too before the session can be used again.
        Err(failure) if failure.is_write_conflict() => abort(collections, session).await.and(Err(failure)),
        Err(failure) => Err(failure),
    }
}

/// Works, and shows now and then that it still does.
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

/// Commits, and asks again while it is unknown whether that was done; a commit has its effect once.
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
