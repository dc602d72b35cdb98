//! Clients that push and clients that pull at the same time.

use tokio::join;

use super::push::push_load;
use super::read::pull_load;
use super::{Bench, Pair};
use crate::Result;
use crate::report::Measure;

const PUSHERS: u64 = 8;
const PUSHED_OPERATIONS: usize = 10;
const PULLERS: u64 = 32;
const PULLED_OPERATIONS: u64 = 100;

impl Bench<'_> {
    /// 8 connections push batches of 10, and 32 connections pull pages of 100.
    pub(super) async fn mixed(&mut self, pair: &Pair) -> Result<()> {
        let (site, watch) = (&pair.site, self.watch(Some(&pair.site.server)));
        self.begin("mixed", u64::from(self.options.runs) * 2);
        let (mut pushes, mut pulls) = (Vec::new(), Vec::new());
        for _ in 0..self.options.runs {
            let (push, pull) = join!(
                self.measure(push_load(site, PUSHED_OPERATIONS, PUSHERS, watch)),
                self.measure(pull_load(site, PULLED_OPERATIONS, PULLERS, watch)),
            );
            pushes.push(push?);
            pulls.push(pull?);
        }
        let name = format!("mixed, {PUSHERS} push batches of {PUSHED_OPERATIONS}");
        self.add(name, &pushes, None, Measure::Rows, None);
        let name = format!("mixed, {PULLERS} pull pages of {PULLED_OPERATIONS}");
        self.add(name, &pulls, None, Measure::Rows, None);
        Ok(())
    }
}
