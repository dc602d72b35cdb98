//! Settings from AWS. moto emulates Secrets Manager and Systems Manager; the databases are real and require passwords.

mod database;
mod mongodb_login;
mod mongodb_rotation;
mod moto;
mod rotation;
mod secrets;
mod wake_ups;
