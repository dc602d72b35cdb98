//! Every limit of the protocol and of the server's own work, by the layer that keeps it.
//!
//! The unit is the last word of a name. Settings may narrow a few of them (see `config`); nothing may widen them.
//! A layer may name its own limits and those of the layers below it.

pub mod api;
pub mod auth;
pub mod aws;
pub mod config;
pub mod lambda;
pub mod protocol;
pub mod runtime;
pub mod service;
pub mod store;
