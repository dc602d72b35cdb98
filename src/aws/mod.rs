//! Access to a database by means of AWS. Connection strings and passwords are read from Secrets Manager or Parameter
//! Store, and tokens log a process in to RDS under its own role.
//!
//! A secret is read when the store is opened, and again when the database refuses the login that was in it. So the next
//! connection after a rotation has the new password. For PostgreSQL only user and password are replaced then; the place
//! of the database stays the same until the process ends.
//!
//! Region, credentials and endpoints come from where every AWS SDK looks. These are variables (`AWS_REGION`,
//! `AWS_ACCESS_KEY_ID`, `AWS_PROFILE`, `AWS_ENDPOINT_URL`, …), files, and the role of the Lambda, container or machine.

#[cfg(feature = "lambda")]
mod appsync;
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

#[cfg(feature = "lambda")]
pub(crate) use self::appsync::EventApi;
#[cfg(feature = "mongodb")]
pub(crate) use self::mongodb::uri_from;
#[cfg(feature = "postgres")]
pub(crate) use self::postgres::{login_by_role, login_from};

/// The characters that are percent-encoded in a URL or a signature: all but the unreserved ones of RFC 3986.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
