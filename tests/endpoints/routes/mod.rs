//! The answers of the routes.

pub(super) mod compaction;
pub(super) mod documents;
pub(super) mod input;
pub(super) mod openapi;
pub(super) mod pages;
pub(super) mod pull;
pub(super) mod push;
pub(super) mod revisions;
pub(super) mod seed;
