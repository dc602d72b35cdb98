//! The endpoints, one file for each; the documentation of a file is the HTTP contract of its endpoint.

pub(super) mod changes;
pub(super) mod clients;
pub(super) mod compact;
pub(super) mod document;
pub(super) mod health;
pub(super) mod openapi;
pub(super) mod probes;
pub(super) mod push;
pub(super) mod query;
pub(super) mod stats;
pub(super) mod stream;
