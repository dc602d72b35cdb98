//! An offline-first sync backend.
//!
//! Clients that work offline push their operations and pull those of others. The server detects conflicts with vector
//! clocks, keeps an operation log and the current documents, and answers queries, statistics and compaction.
//! `ARCHITECTURE.md` has the map of the code, and `docs/protocol.md` describes the protocol.
//!
//! # Run it
//!
//! `cargo run --bin local` starts the local server on SQLite, and `handlers/` has the functions for AWS Lambda.
//!
//! # Mount it in an application
//!
//! The routes are an `axum::Router`. With the features `tokio-host` and that of a store:
//!
#![cfg_attr(feature = "tokio-host", doc = "```")]
#![cfg_attr(not(feature = "tokio-host"), doc = "```text")]
//! use std::sync::Arc;
//!
//! use syncflow_server::store::memory::MemoryStore;
//! use syncflow_server::{Api, Principal, Role, Subject, SyncService, TenantId, TokioHost};
//!
//! fn application() -> Result<axum::Router, Box<dyn std::error::Error>> {
//!     let service = SyncService::new(Arc::new(MemoryStore::new()), Arc::new(TokioHost));
//!     let everybody = Principal::new(TenantId::parse("team")?, Subject::parse("me")?, Role::Admin);
//!     let sync = Api::builder(Arc::new(service)).fixed_principal(everybody).build();
//!     Ok(axum::Router::new().nest("/sync", sync))
//! }
//! ```
//!
//! | to | use |
//! |---|---|
//! | find out who makes a request | [`Api::authenticate`] or a middleware of your own |
//! | refuse operations | [`SyncService::with_validation`] |
//! | hear of operations at once, or react to each of them | [`SyncService::with_observer`], [`SyncService::follow`] |
//! | write documents yourself | [`SyncService::put`], [`SyncService::patch`], [`SyncService::delete`] |
//!
//! `docs/embedding.md` has an example for each, and `examples/embed.rs` is a whole application.
//!
//! # Extend it
//!
//! - *A store* implements [`store::Store`]. The feature `conformance` has the checks that it must pass.
//! - *An endpoint* is a file in `src/api/endpoints/`; `CONTRIBUTING.md` says which other files a new one needs. An
//!   application adds routes of its own beside these, over the same [`SyncService`].

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
#[cfg(feature = "tokio-host")]
mod tokio_host;

pub use crate::core::access::{Principal, Role};
pub use crate::core::clock::VectorClock;
pub use crate::core::decide::{Conflict, Outcome};
pub use crate::core::document::{Document, LiveDocument};
pub use crate::core::names::{ClientId, Collection, DocumentId, DocumentKey, OperationId, Subject, TenantId};
pub use crate::core::numbers::{Rev, Seq, UnixMs};
pub use crate::core::operation::{Change, LogEntry, Operation};
pub use api::{Api, Authenticate, Denied};
pub use service::{Caller, Observer, ServiceError, SyncService, Write, Written};
pub use store::{Store, StoreError};
#[cfg(feature = "tokio-host")]
pub use tokio_host::TokioHost;

/// The examples on the page about embedding, which must compile.
#[cfg(all(doctest, feature = "tokio-host", feature = "sqlite"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
