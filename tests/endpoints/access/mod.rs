//! Access over HTTP: the rights of principals, and how a server finds the principal of a request.

mod clients;
mod jwks;
pub(super) mod roles;
pub(super) mod secrets;
pub(super) mod sign_in;
mod tenants;
pub(super) mod walk;
