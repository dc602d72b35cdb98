//! Every limit of the protocol and of the server's own work, by the layer that keeps it.
//!
//! The unit is the last word of a name. Settings may narrow a few of them (see `config`); nothing may widen them.
//! A layer may name its own limits and those of the layers below it. The limits in [`api`] and [`protocol`] are those
//! that a client meets. The others belong to the inside of the server, and may change in any version.

pub mod api;
#[doc(hidden)]
pub mod auth;
#[doc(hidden)]
pub mod aws;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod lambda;
pub mod protocol;
#[doc(hidden)]
pub mod runtime;
#[doc(hidden)]
pub mod service;
#[doc(hidden)]
pub mod store;
