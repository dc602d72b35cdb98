//! The surroundings of the routes: bodies, browsers, connections, failures.

pub(super) mod bodies;
pub(super) mod browsers;
pub(super) mod budget;
pub(super) mod conflicts;
pub(super) mod connections;
pub(super) mod failures;
pub(super) mod quotas;
pub(super) mod rates;
pub(super) mod transport;
