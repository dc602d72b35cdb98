//! Settings from AWS: moto plays Secrets Manager and Systems Manager, the databases are real and ask for passwords.

mod database;
mod mongodb_login;
mod mongodb_rotation;
mod moto;
mod rotation;
mod secrets;
