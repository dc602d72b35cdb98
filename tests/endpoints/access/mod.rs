//! Who may do what, and how a server knows who asks.

pub(super) mod jwks;
pub(super) mod roles;
pub(super) mod secrets;
pub(super) mod sign_in;
pub(super) mod walk;
