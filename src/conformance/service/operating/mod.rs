//! Checks of the work for an operator: the commands, the schedule of compactions, and retention.

pub mod erasing;
pub mod operator;
pub mod retention;
pub mod schedule;
