//! Pushes: new versions, duplicates and conflicts.

use std::time::Duration;

use axum::body::Bytes;

use super::{Bench, Pair};
use crate::Result;
use crate::client::Client;
use crate::floor::HeadRow;
use crate::load::{Load, Watch, drive};
use crate::options::StoreName;
use crate::report::{Goal, Measure};
use crate::site::Site;
use crate::work::{Made, Share, Work, body};

/// How many operations are made for each second: more than any server can accept.
const MADE_PER_SECOND: f64 = 60_000.0;

/// The batch size and the number of connections for comparisons with duplicates and conflicts.
const COMPARED: (usize, u64) = (50, 8);

/// A connection and its batches.
struct Pusher {
    client: Client,
    bodies: std::vec::IntoIter<Bytes>,
}

/// Pushes new versions, which are made before the measurement begins.
pub(super) async fn push_load(site: &Site, batch: usize, connections: u64, watch: Watch) -> Result<Load> {
    let mut pushers = Vec::new();
    for batches in batches(&site.work, batch, connections, watch.time) {
        let bodies: Vec<Bytes> = batches.iter().map(|batch| body(batch)).collect();
        pushers.push(Pusher { client: site.client().await?, bodies: bodies.into_iter() });
    }
    drive(&mut pushers, watch, async |pusher| {
        let Some(body) = pusher.bodies.next() else { return Ok(None) };
        pusher.client.push(body).await?;
        Ok(Some(batch as u64))
    })
    .await
}

/// The batches of each connection.
pub(super) fn batches(work: &Work, batch: usize, connections: u64, time: Duration) -> Vec<Vec<Vec<Made>>> {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of some thousands")]
    let total = (time.as_secs_f64() * MADE_PER_SECOND) as usize;
    let each = total / batch / usize::try_from(connections).unwrap_or(1) + 1;
    let of = |connection| {
        let share = Share { connection, connections };
        (0..each).map(|_| work.batch(share, batch)).collect()
    };
    (0..connections).map(of).collect()
}

/// Pushes the same bodies repeatedly.
async fn push_again(clients: &mut [(Client, Vec<Bytes>, usize)], watch: Watch, are_conflicts: bool) -> Result<Load> {
    drive(clients, watch, async |(client, bodies, turn)| {
        let body = bodies[*turn % bodies.len()].clone();
        *turn += 1;
        if are_conflicts {
            client.push_conflicts(body).await?;
        } else {
            client.push(body).await?;
        }
        Ok(Some(COMPARED.0 as u64))
    })
    .await
}

impl Bench<'_> {
    /// Batches of 1, 10, 50 and 100 over 1, 8 and 32 connections.
    pub(super) async fn push(&mut self, pair: &Pair) -> Result<()> {
        let largest = self.options.largest_push;
        for batch in [1, 10, 50, 100].into_iter().filter(|batch| *batch <= largest) {
            for connections in [1, 8, 32] {
                let goal = match (batch, connections, self.store) {
                    (100, 8, _) => Some(Goal::AtLeast(0.6)),
                    (1, 32, StoreName::Sqlite) => Some(Goal::AtLeast(5.0)),
                    (1, 32, StoreName::Postgres) => Some(Goal::AtLeast(3.0)),
                    _ => None,
                };
                self.push_to_floor(pair, batch, connections, ("floor", HeadRow::Written), goal).await?;
                if goal.is_some() {
                    let without = ("floor without the head", HeadRow::LeftAlone);
                    self.push_to_floor(pair, batch, connections, without, None).await?;
                }
            }
        }
        Ok(())
    }

    async fn push_to_floor(
        &mut self,
        pair: &Pair,
        batch: usize,
        connections: u64,
        (floor_name, head): (&str, HeadRow),
        goal: Option<Goal>,
    ) -> Result<()> {
        let name = format!("push, batches of {batch}, {connections} connections");
        self.begin(&name, u64::from(self.options.runs) * 2);
        let floor = async || {
            let watch = self.watch(None);
            let batches = batches(&pair.floor_work, batch, connections, watch.time);
            self.measure(pair.floor.push(batches, head, watch)).await
        };
        let server = async || {
            let watch = self.watch(Some(&pair.site.server));
            self.measure(push_load(&pair.site, batch, connections, watch)).await
        };
        let (floor, server) = self.in_turns(floor, server).await?;
        self.add(name, &server, Some((floor_name, &floor)), Measure::Rows, goal);
        Ok(())
    }

    /// Operations that took effect before, compared with operations that take effect now.
    pub(super) async fn duplicates(&mut self, pair: &Pair) -> Result<()> {
        self.again(pair, "duplicates", false, Some(Goal::AtLeast(2.0))).await
    }

    /// Operations whose authors had not seen their documents.
    pub(super) async fn conflicts(&mut self, pair: &Pair) -> Result<()> {
        self.again(pair, "conflicts", true, None).await
    }

    async fn again(&mut self, pair: &Pair, what: &str, are_conflicts: bool, goal: Option<Goal>) -> Result<()> {
        let (watch, work) = (self.watch(Some(&pair.site.server)), &pair.site.work);
        let (batch, connections) = COMPARED;
        let name = format!("{what}, batches of {batch}, {connections} connections");
        self.begin(&name, u64::from(self.options.runs) * 2);
        let fresh = async || self.measure(push_load(&pair.site, batch, connections, watch)).await;
        let again = async || {
            let mut clients = Vec::new();
            for connection in 0..connections {
                let share = Share { connection, connections };
                let make = |_| if are_conflicts { work.conflicts(share, batch) } else { work.batch(share, batch) };
                let bodies: Vec<Bytes> =
                    (0..self.options.repeated_pushes()).map(make).map(|made| body(&made)).collect();
                let mut client = pair.site.client().await?;
                if !are_conflicts {
                    for body in &bodies {
                        client.push(body.clone()).await?;
                    }
                }
                clients.push((client, bodies, 0));
            }
            self.measure(push_again(&mut clients, watch, are_conflicts)).await
        };
        let (fresh, again) = self.in_turns(fresh, again).await?;
        self.add(name, &again, Some(("push of the same", &fresh)), Measure::Rows, goal);
        Ok(())
    }
}
