//! The functions as Lambda runs them: the compiled binaries against an emulated runtime API.

pub(crate) mod binaries;
pub(crate) mod emulator;
pub(crate) mod events;
pub(crate) mod front;
pub(crate) mod http;

mod frozen;
mod functions;
mod large_pushes;
mod lifetime;
mod observability;
mod schedule;
