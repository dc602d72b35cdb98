//! Tokens with which a process logs in to RDS: signed URLs that are valid for fifteen minutes. Each new connection gets
//! its own token.
//!
//! See <https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.html>.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use http::Request;
use percent_encoding::utf8_percent_encode;

use super::ENCODED;
use super::client::{AnyError, Aws};
use crate::limits::aws::RDS_TOKEN_TIME_MAX_SECONDS;
use crate::store::postgres::{Login, LoginSource, PostgresOptions};

/// The logins of one user of a database.
#[derive(Debug)]
pub(super) struct RoleLogins {
    aws: Aws,
    user: DatabaseUser,
}

/// The user whom a token logs in, and the place of the database.
#[derive(Debug)]
struct DatabaseUser {
    region: String,
    host: String,
    port: u16,
    name: String,
}

impl RoleLogins {
    /// Makes the logins of the user in the connection string.
    pub(super) fn new(aws: Aws, options: &PostgresOptions) -> Result<Self, AnyError> {
        let parts = options.parts()?;
        if !parts.is_always_encrypted {
            return Err("needs sslmode=verify-full or require in the connection string, or POSTGRES_CA_FILE".into());
        }
        let host = parts.host.ok_or("needs a connection string with one host")?;
        let name = parts.login.user.ok_or("needs a connection string with the user")?;
        // The host's name says in which region the database is, which may differ from the region of the process.
        let region = match region_in(&host) {
            Some(region) => region,
            None => aws.region()?,
        };
        let user = DatabaseUser { region: region.to_owned(), host, port: parts.port, name };
        Ok(Self { aws, user })
    }
}

#[async_trait]
impl LoginSource for RoleLogins {
    async fn login(&self) -> Result<Login, AnyError> {
        let password = token(&self.user, self.aws.credentials().await?, SystemTime::now())?;
        Ok(Login { user: None, password })
    }

    async fn login_after(&self, _: &Login) -> Result<Option<Login>, AnyError> {
        // The refused token was new already, so another one would not help.
        Ok(None)
    }
}

/// The region in a host such as `name.abc123.eu-central-1.rds.amazonaws.com`.
fn region_in(host: &str) -> Option<&str> {
    let domain = [".rds.amazonaws.com", ".rds.amazonaws.com.cn"];
    domain.iter().find_map(|domain| host.strip_suffix(domain))?.rsplit('.').next()
}

/// Makes a token: the signed URL without its scheme.
fn token(user: &DatabaseUser, credentials: Credentials, now: SystemTime) -> Result<String, AnyError> {
    let DatabaseUser { region, host, port, name } = user;
    let name = utf8_percent_encode(name, ENCODED);
    let url = format!("https://{host}:{port}/?Action=connect&DBUser={name}");
    let mut settings = SigningSettings::default();
    settings.expires_in = Some(Duration::from_secs(RDS_TOKEN_TIME_MAX_SECONDS));
    settings.signature_location = SignatureLocation::QueryParams;
    let identity = credentials.into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("rds-db")
        .time(now)
        .settings(settings)
        .build()?
        .into();
    let signable = SignableRequest::new("GET", &url, std::iter::empty(), SignableBody::empty())?;
    let (signature, _) = sign(signable, &params)?.into_parts();
    let mut request = Request::get(&url).body(())?;
    signature.apply_to_request_http1x(&mut request);
    let signed = request.uri().to_string();
    Ok(signed.trim_start_matches("https://").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_735_787_045; // 2025-01-02T03:04:05Z

    fn user(name: &str) -> DatabaseUser {
        let host = "db.abc123.eu-central-1.rds.amazonaws.com".to_owned();
        DatabaseUser { region: "eu-central-1".to_owned(), host, port: 5432, name: name.to_owned() }
    }

    fn token_at(seconds: u64, session: Option<&str>) -> String {
        let credentials = Credentials::new(
            "AKIDEXAMPLE",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            session.map(str::to_owned),
            None,
            "",
        );
        token(&user("sync_flow+a b"), credentials, SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap()
    }

    #[test]
    fn a_token_has_the_form_that_aws_documents() {
        let token = token_at(NOW, None);
        let (head, query) = token.split_once("/?").unwrap();
        assert_eq!(head, "db.abc123.eu-central-1.rds.amazonaws.com:5432");
        let signature = query.split('&').find_map(|pair| pair.strip_prefix("X-Amz-Signature=")).unwrap();
        // botocore makes the same signature for this time.
        assert_eq!(signature, "8a3ad45a385f41cbe1f1d1094ccc168ecd6e3ac499fb2b5c393bc492c4b51f56");
        let mut pairs: Vec<&str> = query.split('&').filter(|pair| !pair.starts_with("X-Amz-Signature=")).collect();
        pairs.sort_unstable();
        assert_eq!(
            pairs,
            [
                "Action=connect",
                "DBUser=sync_flow%2Ba%20b",
                "X-Amz-Algorithm=AWS4-HMAC-SHA256",
                "X-Amz-Credential=AKIDEXAMPLE%2F20250102%2Feu-central-1%2Frds-db%2Faws4_request",
                "X-Amz-Date=20250102T030405Z",
                "X-Amz-Expires=900",
                "X-Amz-SignedHeaders=host",
            ]
        );
    }

    #[test]
    fn a_token_of_a_role_carries_its_session() {
        let token = token_at(NOW, Some("session/token"));
        assert!(token.split('&').any(|pair| pair == "X-Amz-Security-Token=session%2Ftoken"), "{token}");
    }

    #[test]
    fn a_later_token_is_another_one() {
        assert_ne!(token_at(NOW, None), token_at(NOW + 1, None));
    }

    #[test]
    fn the_host_of_a_database_says_its_region() {
        assert_eq!(region_in("db.abc123.eu-central-1.rds.amazonaws.com"), Some("eu-central-1"));
        assert_eq!(region_in("proxy.proxy-abc.cn-north-1.rds.amazonaws.com.cn"), Some("cn-north-1"));
        assert_eq!(region_in("db.example.com"), None);
    }
}
