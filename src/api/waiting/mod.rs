//! Requests that wait for changes: their bounds, and the share of the server that they give back meanwhile.

pub(crate) mod holdings;
pub(super) mod seats;
