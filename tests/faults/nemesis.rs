//! What goes wrong, and when.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::database::Database;
use super::fleet::Fleet;
use super::proxy::{Mischief, Mood, Proxy};
use super::record::{Record, count};

/// Pause between two accidents of processes, in milliseconds at most.
const PEACE_MAX_MS: u64 = 1_000;

/// How long a process that was killed stays down, in milliseconds at most.
const DOWN_MAX_MS: u64 = 700;

/// How long a server is frozen, in milliseconds: longer than clients wait and servers work on a request.
const FROZEN_MS: std::ops::Range<u64> = 2_500..4_000;

/// One in how many freezes is longer than any timeout that there is.
const FREEZES_TO_A_LONG_ONE: u64 = 6;

/// How long such a freeze is; a run must have time for it.
const LONG_FREEZE: Duration = Duration::from_secs(12);

/// Everything that can be broken.
pub(super) struct Nemesis {
    pub(super) database: Database,
    pub(super) fleet: Fleet,
    pub(super) record: Arc<Record>,
}

/// What happens to a process.
#[derive(Debug, Clone, Copy)]
enum Accident {
    ServerKilled,
    ServerFrozen,
    DatabaseKilled,
}

/// Accidents in an order in which each comes early.
const ACCIDENTS: [Accident; 3] = [Accident::ServerKilled, Accident::DatabaseKilled, Accident::ServerFrozen];

impl Nemesis {
    /// Breaks things until the time is over, and leaves everything whole.
    pub(super) async fn rage(&mut self, until: Instant, random: &mut fastrand::Rng) {
        let left = || until.saturating_duration_since(Instant::now());
        for turn in 0.. {
            if left().is_zero() {
                break;
            }
            upset(proxies(&self.database, &self.fleet), random);
            let accident = ACCIDENTS.get(turn).copied().unwrap_or_else(|| ACCIDENTS[random.usize(..ACCIDENTS.len())]);
            self.happen(accident, left(), random).await;
            // The network's mood outlasts the accident for a while, and changes before the next.
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

    /// What all proxies did.
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

/// Gives each proxy a mood: two in five are calm.
fn upset<'p>(proxies: impl Iterator<Item = &'p Proxy>, random: &mut fastrand::Rng) {
    for proxy in proxies {
        let mood = if random.u32(..5) < 2 { Mood::Calm } else { Mood::BAD[random.usize(..Mood::BAD.len())] };
        proxy.set_mood(mood);
    }
}
