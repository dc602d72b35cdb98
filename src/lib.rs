//! An offline-first sync backend.
//!
//! Clients that work offline push their operations and pull those of others. The server detects conflicts with vector
//! clocks, keeps an operation log and the current documents, and answers queries, statistics and compaction.
//! `ARCHITECTURE.md` has the map of the code, and `docs/protocol.md` describes the protocol.

#![cfg_attr(docsrs, feature(doc_cfg))]

pub mod api;
#[cfg(feature = "auth")]
pub mod auth;
#[cfg(all(feature = "aws", any(feature = "postgres", feature = "mongodb")))]
mod aws;
#[cfg(feature = "runtime")]
pub mod config;
#[cfg(feature = "conformance")]
pub mod conformance;
pub mod core;
#[cfg(feature = "lambda")]
pub mod lambda;
pub mod limits;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod service;
pub mod store;

/// The examples on the page about embedding, which must compile.
#[cfg(all(doctest, feature = "runtime", feature = "sqlite"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
