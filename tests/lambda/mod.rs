//! The functions as Lambda runs them: the compiled binaries with an emulated runtime API.

pub(crate) mod binaries;
pub(crate) mod emulator;
pub(crate) mod events;
pub(crate) mod front;
pub(crate) mod functions;
pub(crate) mod http;

mod frozen;
mod large_pushes;
mod lifetime;
mod observability;
mod schedule;
