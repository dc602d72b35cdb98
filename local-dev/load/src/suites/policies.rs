//! The cost of conflict policies: the same pushes and pulls without conflicts, by `reject` and by two other policies.

use super::Bench;
use super::push::push_load;
use crate::Result;
use crate::client::Client;
use crate::load::{Load, Watch, drive};
use crate::report::{Goal, Measure};
use crate::site::Site;
use crate::work::Work;

const CONNECTIONS: u64 = 8;
const PUSHED_OPERATIONS: usize = 50;
const PULLED_OPERATIONS: u64 = 1_000;

/// When the suite begins, the log has this many operations for each document.
const LOG_PER_DOCUMENT: u64 = 3;

const POLICIES: [&str; 3] = ["reject", "last-writer-wins", "merge"];

/// The least rate of a policy, as a multiple of that of `reject`.
const MIN_RATIO: f64 = 0.85;

/// Pulls the log from the end of what the suite began with, so that all entries are of its own pushes.
async fn pull_load(site: &Site, start: &str, watch: Watch) -> Result<Load> {
    let mut readers: Vec<(Client, String)> =
        site.clients(CONNECTIONS).await?.into_iter().map(|client| (client, start.to_owned())).collect();
    drive(&mut readers, watch, async |(client, cursor)| {
        let body = format!(r#"{{"cursor":"{cursor}","limit":{PULLED_OPERATIONS}}}"#);
        let page = client.pull(body, PULLED_OPERATIONS).await?;
        *cursor = if page.has_more { page.cursor } else { start.to_owned() };
        Ok(Some(page.rows))
    })
    .await
}

impl Bench<'_> {
    /// Pushes and pulls by each policy, against `reject`.
    pub(super) async fn policies(&mut self) -> Result<()> {
        let mut sites = Vec::new();
        for policy in POLICIES {
            let (documents, database) = (self.options.documents(), self.databases.make().await?);
            self.progress.set_message("rows");
            let (work, operations) = (Work::new(documents, true), documents * LOG_PER_DOCUMENT);
            let variables = [("CONFLICT_POLICY", policy.to_owned())];
            let site = Site::start_with(&database, work, operations, &variables, &self.progress).await?;
            let start = site.client().await?.pull(r#"{"cursor":"now"}"#.to_owned(), PULLED_OPERATIONS).await?;
            sites.push((policy, site, start.cursor));
        }
        for is_push in [true, false] {
            let name = if is_push {
                format!("push, batches of {PUSHED_OPERATIONS}")
            } else {
                format!("pull, pages of {PULLED_OPERATIONS}")
            };
            self.begin(&name, u64::from(self.options.runs) * POLICIES.len() as u64);
            let mut samples = vec![Vec::new(); POLICIES.len()];
            for _ in 0..self.options.runs {
                for ((_, site, start), samples) in sites.iter().zip(&mut samples) {
                    let watch = self.watch(Some(&site.server));
                    let sample = if is_push {
                        self.measure(push_load(site, PUSHED_OPERATIONS, CONNECTIONS, watch)).await?
                    } else {
                        self.measure(pull_load(site, start, watch)).await?
                    };
                    samples.push(sample);
                }
            }
            let (rejecting, others) = samples.split_first().ok_or("there are three servers")?;
            for (policy, samples) in POLICIES[1..].iter().zip(others) {
                let (name, goal) = (format!("{name}, {policy}"), Some(Goal::AtLeast(MIN_RATIO)));
                self.add(name, samples, Some(("reject", rejecting)), Measure::Rows, goal);
            }
        }
        for (_, site, _) in &sites {
            self.note_peak(&site.server);
        }
        Ok(())
    }
}
