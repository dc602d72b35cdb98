//! What AWS knows of a database: connection strings and passwords in Secrets Manager or Parameter Store, and tokens that
//! log a process in to RDS as the role that it has.
//!
//! A secret is read when the store is opened. When the database refuses what it said, it is read again: after a
//! rotation the next connection has the new password. For PostgreSQL only user and password are taken anew; where the
//! database is counts until the process ends.
//!
//! Region, credentials and endpoints come from the variables and files that every AWS SDK knows (`AWS_REGION`,
//! `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, …), or from the role of the Lambda, container or machine.

mod client;
mod content;
#[cfg(feature = "mongodb")]
mod mongodb;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "postgres")]
mod rds;
mod secret;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC};

#[cfg(feature = "mongodb")]
pub(crate) use self::mongodb::uri_from;
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::{login_by_role, login_from};

/// What is encoded in a URL or a signature: all but RFC 3986's unreserved characters.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
