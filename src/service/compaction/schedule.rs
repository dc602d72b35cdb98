//! Compaction on a schedule, by one of several servers.
//!
//! The servers agree through their database alone. The mark of [`Turns`] is kept as the memory of a client that does
//! not exist. On every store, `remember` replaces it only if no other server has.

use std::time::Duration;

use crate::core::decide::turn::{Turn, Turns};
use crate::core::names::{ClientId, TenantId};
use crate::core::numbers::{Rev, UnixMs};
use crate::core::places::Places;
use crate::limits::service::{
    COMPACT_LIST_MAX_TENANTS, SCHEDULE_FAILED_MAX_TENANTS, SCHEDULE_HELD_MS, SCHEDULE_JITTER_MS, SCHEDULE_LOOK_MAX_MS,
    SCHEDULE_SLICE_MS,
};
use crate::service::{ServiceError, SyncService};
use crate::store::{Expired, FORGOTTEN_PULLED_SEQ, NewMemory, Remember};

/// When servers compact on a schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CompactionSchedule {
    /// How long after a run the next one begins, in milliseconds.
    pub every_ms: u64,
    /// The age of the entries to remove, in milliseconds.
    pub older_than_ms: u64,
}

impl CompactionSchedule {
    fn turns(self) -> Turns {
        Turns { every_ms: self.every_ms, held_ms: SCHEDULE_HELD_MS }
    }
}

/// The tenant of the mark. It has no documents and no log, so it is never listed among the tenants.
fn tenant() -> TenantId {
    TenantId::server()
}

/// The server's turn, as long as it has it.
struct Held {
    client: ClientId,
    revision: Rev,
    until_ms: UnixMs,
}

/// The result of a run.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Run {
    deleted_entries: u64,
    expired: Expired,
    finished_tenants: u64,
    /// Whether all tenants are finished.
    is_finished: bool,
    /// Whether another server has the turn.
    is_lost: bool,
}

impl SyncService {
    /// Compacts all tenants on a schedule, as one of any number of servers with the same database. It ends when the
    /// server [drains](SyncService::drain), and may be dropped at any time.
    ///
    /// Only one server does a run. It works in short slices, and between two of them it checks that it still has its
    /// turn. If it is killed, another server begins again within minutes; tenants that were finished take little time.
    pub async fn compact_on_schedule(&self, schedule: CompactionSchedule) {
        while !self.is_draining() {
            let pause_ms = match self.take_turn(schedule).await {
                Ok(pause_ms) => pause_ms,
                Err(error) => {
                    tracing::warn!(error.cause = %error, "the scheduled compaction failed and is tried again later");
                    SCHEDULE_HELD_MS
                }
            };
            // Servers that were started together do not ask together.
            let jitter_ms = self.random_bits() % (SCHEDULE_JITTER_MS + 1);
            self.sleep(Duration::from_millis(pause_ms.min(SCHEDULE_LOOK_MAX_MS) + jitter_ms)).await;
        }
    }

    /// Does a run if it is this server's turn. Returns how long the server waits before it asks again, in milliseconds.
    ///
    /// # Errors
    /// If the store fails. The steps before the failure keep their effect.
    pub(crate) async fn take_turn(&self, schedule: CompactionSchedule) -> Result<u64, ServiceError> {
        let turns = schedule.turns();
        let client = ClientId::server();
        let memory = self.store.client(&tenant(), &client).await?;
        let not_before_ms = memory.as_ref().map(|memory| memory.seen_at_ms);
        if let Turn::Wait { ms } = turns.decide(not_before_ms, self.now_ms()) {
            return Ok(ms);
        }
        let revision = memory.map_or(Rev::NONE, |memory| memory.revision);
        let mut held = Held { client, revision, until_ms: UnixMs::EPOCH };
        if !self.hold(&mut held, turns.while_working(self.now_ms())).await? {
            return Ok(SCHEDULE_JITTER_MS);
        }
        let ran = self.run(&mut held, schedule).await;
        let is_finished = ran.as_ref().is_ok_and(|run| run.is_finished);
        let is_lost = ran.as_ref().is_ok_and(|run| run.is_lost);
        let next_ms = turns.after_run(self.now_ms(), is_finished);
        if !is_lost {
            self.hold(&mut held, next_ms).await?;
        }
        let Run { deleted_entries, expired, finished_tenants, .. } = ran?;
        tracing::info!(
            compaction.deleted_entries = deleted_entries,
            compaction.expired_tombstones = expired.tombstones,
            compaction.expired_remains = expired.remains,
            compaction.finished_tenants = finished_tenants,
            compaction.is_finished = is_finished,
            "the scheduled compaction has run"
        );
        Ok(next_ms.ms_since(self.now_ms()))
    }

    /// Compacts tenants, one after the other, as long as this server has its turn and does not drain.
    async fn run(&self, held: &mut Held, schedule: CompactionSchedule) -> Result<Run, ServiceError> {
        let (mut run, mut last, mut failed_tenants) = (Run::default(), None, 0);
        loop {
            let tenants = self.store.tenants(last.as_ref(), COMPACT_LIST_MAX_TENANTS).await?;
            let is_end = tenants.is_empty();
            for tenant in tenants {
                loop {
                    if self.is_draining() {
                        return Ok(run);
                    }
                    if !self.still_holds(held, schedule.turns()).await? {
                        return Ok(Run { is_lost: true, ..run });
                    }
                    match self.remove_old(&tenant, schedule.older_than_ms, SCHEDULE_SLICE_MS).await {
                        Ok(done) => {
                            run.deleted_entries += done.entries;
                            run.expired = run.expired.plus(done.expired);
                            if done.is_finished {
                                run.finished_tenants += 1;
                                break;
                            }
                        }
                        Err(error) if failed_tenants < SCHEDULE_FAILED_MAX_TENANTS => {
                            // One tenant must not hold up those after it.
                            failed_tenants += 1;
                            tracing::warn!(
                                access.tenant = tenant.as_str(),
                                error.cause = %error,
                                "a tenant is not compacted this time"
                            );
                            break;
                        }
                        Err(error) => return Err(error),
                    }
                }
                last = Some(tenant);
            }
            if is_end {
                return Ok(Run { is_finished: failed_tenants == 0, ..run });
            }
        }
    }

    /// Whether this server has the turn for another slice. The mark is set again when half of its time is over.
    async fn still_holds(&self, held: &mut Held, turns: Turns) -> Result<bool, ServiceError> {
        let now_ms = self.now_ms();
        if held.until_ms.ms_since(now_ms) > SCHEDULE_HELD_MS / 2 {
            return Ok(true);
        }
        self.hold(held, turns.while_working(now_ms)).await
    }

    /// Sets the mark, unless another server has set it since.
    async fn hold(&self, held: &mut Held, until_ms: UnixMs) -> Result<bool, ServiceError> {
        let mark = NewMemory {
            seen_revision: held.revision,
            places: Places::default(),
            pulled_seq: FORGOTTEN_PULLED_SEQ,
            seen_at_ms: until_ms,
        };
        if self.store.remember(&tenant(), &held.client, mark).await? == Remember::Contended {
            return Ok(false);
        }
        (held.revision, held.until_ms) = (held.revision.next(), until_ms);
        Ok(true)
    }
}
