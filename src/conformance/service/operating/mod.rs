//! Checks of the work for an operator: the commands, and the schedule of compactions.

pub mod erasing;
pub mod operator;
pub mod schedule;
