//! The faults of a run, and when they happen.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::Database;
use super::fleet::Fleet;
use super::proxy::{Mischief, Mood, Proxy};
use super::record::{Record, count};

/// The longest pause between two faults of processes, in milliseconds.
const PEACE_MAX_MS: u64 = 1_000;

/// The longest time that a killed process stays down, in milliseconds.
const DOWN_MAX_MS: u64 = 700;

/// How long a server is frozen, in milliseconds: longer than clients wait and than servers work on a request.
const FROZEN_MS: std::ops::Range<u64> = 2_500..4_000;

/// One in this many freezes is longer than every timeout.
const FREEZES_TO_A_LONG_ONE: u64 = 6;

/// The length of such a freeze. A run must have time for it.
const LONG_FREEZE: Duration = Duration::from_secs(12);

/// All that can be broken.
pub(super) struct Nemesis {
    pub(super) database: Database,
    pub(super) fleet: Fleet,
    pub(super) record: Arc<Record>,
}

/// A fault of a process.
#[derive(Debug, Clone, Copy)]
enum Accident {
    ServerKilled,
    ServerFrozen,
    DatabaseKilled,
}

/// All faults, in an order in which each comes early.
const ACCIDENTS: [Accident; 3] = [Accident::ServerKilled, Accident::DatabaseKilled, Accident::ServerFrozen];

impl Nemesis {
    /// Causes faults until the time is over. In the end everything works again.
    pub(super) async fn rage(&mut self, until: Instant, random: &mut fastrand::Rng) {
        let left = || until.saturating_duration_since(Instant::now());
        for turn in 0.. {
            if left().is_zero() {
                break;
            }
            upset(proxies(&self.database, &self.fleet), random);
            let accident = ACCIDENTS.get(turn).copied().unwrap_or_else(|| ACCIDENTS[random.usize(..ACCIDENTS.len())]);
            self.happen(accident, left(), random).await;
            // The mood of the network changes before each fault of a process, and lasts for a while after it.
            upset(proxies(&self.database, &self.fleet), random);
            let peace = Duration::from_millis(random.u64(..PEACE_MAX_MS));
            tokio::time::sleep(peace.min(left())).await;
        }
        proxies(&self.database, &self.fleet).for_each(|proxy| proxy.set_mood(Mood::Calm));
    }

    async fn happen(&mut self, accident: Accident, left: Duration, random: &mut fastrand::Rng) {
        let server = random.usize(..self.fleet.len());
        let down = Duration::from_millis(random.u64(..DOWN_MAX_MS));
        match accident {
            Accident::ServerKilled => {
                count(&self.record.counts.servers_killed);
                self.fleet.kill(server, down).await;
            }
            Accident::ServerFrozen => {
                count(&self.record.counts.servers_frozen);
                let is_long = random.u64(..FREEZES_TO_A_LONG_ONE) == 0 && left > LONG_FREEZE;
                let frozen = Duration::from_millis(random.u64(FROZEN_MS));
                self.fleet.freeze(server, if is_long { LONG_FREEZE } else { frozen }).await;
            }
            Accident::DatabaseKilled => {
                if self.database.crash(down).await {
                    count(&self.record.counts.databases_killed);
                }
            }
        }
    }

    /// The sum of what all proxies did.
    pub(super) fn mischief(&self) -> Mischief {
        proxies(&self.database, &self.fleet).map(Proxy::mischief).fold(Mischief::default(), |sum, one| Mischief {
            cuts: sum.cuts + one.cuts,
            lost_answers: sum.lost_answers + one.lost_answers,
        })
    }
}

fn proxies<'p>(database: &'p Database, fleet: &'p Fleet) -> impl Iterator<Item = &'p Proxy> {
    fleet.proxies().chain(database.proxy())
}

/// Gives each proxy a mood. Two in five are calm.
fn upset<'p>(proxies: impl Iterator<Item = &'p Proxy>, random: &mut fastrand::Rng) {
    for proxy in proxies {
        let mood = if random.u32(..5) < 2 { Mood::Calm } else { Mood::BAD[random.usize(..Mood::BAD.len())] };
        proxy.set_mood(mood);
    }
}
