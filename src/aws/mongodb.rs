//! LoginSource to MongoDB with a secret.

use std::sync::Arc;

use async_trait::async_trait;
use percent_encoding::utf8_percent_encode;

use super::ENCODED;
use super::client::{AnyError, Aws};
use super::content::{Content, ContentError, Fields};
use super::secret::{self, Kept};
use crate::config::{ConfigError, Secret, SecretPlace};
use crate::store::mongodb::UriSource;

/// The setting that says where the database is.
const GIVEN: &str = "MONGO_URI";

/// The arguments for opening a store: the URI, and the source of new URIs after a rotation.
type Opened = (String, Arc<dyn UriSource>);

/// Reads a secret with user and password, and makes the URI with them. The place of the database is taken from `given`,
/// or else from the secret.
pub(crate) async fn uri_from(place: &SecretPlace, given: Option<&Secret>) -> Result<Opened, ConfigError> {
    let wrong = |problem: AnyError| ConfigError::new(place.variable, problem);
    let given = given.map(|given| given.reveal().to_owned());
    let aws = Aws::load().await;
    let text = secret::read(&aws, place).await.map_err(|problem| wrong(problem.into()))?;
    let first = uri(&text, given.as_deref()).map_err(wrong)?;
    let uris = Kept::new(aws, place, first.clone(), move |text| uri(text, given.as_deref()));
    Ok((first, Arc::new(SecretUris(uris))))
}

/// The source of URIs that are made from a secret.
struct SecretUris(Kept<String>);

#[async_trait]
impl UriSource for SecretUris {
    async fn uri_after(&self, refused: &str) -> Result<Option<String>, AnyError> {
        self.0.after(&refused.to_owned()).await
    }
}

/// Makes the URI from a secret and the URI that is given beside it.
fn uri(secret: &str, given: Option<&str>) -> Result<String, AnyError> {
    match (Content::read(secret)?, given) {
        (Content::Fields(fields), given) => {
            let fields = fields.of_engine(|engine| engine.contains("mongo") || engine.contains("docdb"))?;
            let base = given.map_or_else(|| address(&fields), |given| Ok(given.to_owned()))?;
            with_login(&base, &encoded(&fields.username), &encoded(&fields.password))
        }
        (Content::Text(text), None) if is_uri(&text) => Ok(text),
        (Content::Text(_), None) => Err("the secret is neither RDS's JSON nor a MongoDB URI".into()),
        (Content::Text(text), Some(given)) if is_uri(&text) => match parts(&text).and_then(|(_, login, _)| login) {
            Some(login) => {
                let (user, password) = login.split_once(':').unwrap_or((login, ""));
                with_login(given, user, password)
            }
            None => Err("the URI in the secret has no user".into()),
        },
        (Content::Text(password), Some(given)) => {
            let user = parts(given).and_then(|(_, login, _)| login).ok_or(NO_USER)?;
            let user = user.split_once(':').map_or(user, |(user, _)| user);
            with_login(given, user, &encoded(&password))
        }
    }
}

const NO_USER: &str = "the secret is a password alone, and MONGO_URI names no user";

fn is_uri(text: &str) -> bool {
    text.starts_with("mongodb://") || text.starts_with("mongodb+srv://")
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, ENCODED).to_string()
}

/// The URI, without user and password, of a secret that says where the database is.
fn address(fields: &Fields) -> Result<String, ContentError> {
    let host = fields.host.as_deref().ok_or(ContentError::NoHost(GIVEN))?;
    let port = fields.port.as_ref().map(|port| format!(":{port}")).unwrap_or_default();
    let tls = if fields.ssl == Some(true) { "?tls=true" } else { "" };
    Ok(format!("mongodb://{host}{port}/{tls}"))
}

/// The three parts of a URI: the scheme, user and password as they are written there, and the rest.
fn parts(uri: &str) -> Option<(&str, Option<&str>, &str)> {
    let (scheme, rest) = uri.split_once("://")?;
    let end_of_hosts = rest.find(['/', '?']).unwrap_or(rest.len());
    Some(match rest[..end_of_hosts].rfind('@') {
        Some(at) => (scheme, Some(&rest[..at]), &rest[at + 1..]),
        None => (scheme, None, rest),
    })
}

fn with_login(uri: &str, user: &str, password: &str) -> Result<String, AnyError> {
    // The driver would only say that it cannot read the URI, and would repeat the password.
    let (scheme, _, rest) =
        parts(uri).filter(|_| is_uri(uri)).ok_or("MONGO_URI must begin with mongodb:// or mongodb+srv://")?;
    Ok(format!("{scheme}://{user}:{password}@{rest}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_password_of_a_secret_stand_in_the_uri_that_says_where() {
        let managed = r#"{"username":"u@x","password":"p/:%"}"#;
        for (given, expected) in [
            ("mongodb://h1:1,h2:2/?replicaSet=rs0", "mongodb://u%40x:p%2F%3A%25@h1:1,h2:2/?replicaSet=rs0"),
            ("mongodb+srv://old:pw@cluster.example/db", "mongodb+srv://u%40x:p%2F%3A%25@cluster.example/db"),
            ("mongodb://h?appName=a@b", "mongodb://u%40x:p%2F%3A%25@h?appName=a@b"),
        ] {
            assert_eq!(uri(managed, Some(given)).unwrap(), expected);
        }
    }

    #[test]
    fn a_secret_may_say_everything() {
        let whole = r#"{"engine":"mongo","host":"h","port":27017,"username":"u","password":"p","ssl":true}"#;
        assert_eq!(uri(whole, None).unwrap(), "mongodb://u:p@h:27017/?tls=true");
        assert_eq!(uri("mongodb+srv://u:p@h/", None).unwrap(), "mongodb+srv://u:p@h/");
        assert_eq!(
            uri("mongodb://u:p%40@h/", Some("mongodb://other/?tls=true")).unwrap(),
            "mongodb://u:p%40@other/?tls=true"
        );
    }

    #[test]
    fn a_password_alone_needs_a_user_beside_it() {
        assert_eq!(uri("p@", Some("mongodb://u@h/")).unwrap(), "mongodb://u:p%40@h/");
        assert_eq!(uri("p", Some("mongodb://h/")).unwrap_err().to_string(), NO_USER);
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_telling_it() {
        for (secret, given) in [
            ("hunter2", None),
            ("hunter2", Some("postgresql://u@h/")),
            (r#"{"engine":"postgres","username":"u","password":"hunter2"}"#, Some("mongodb://h")),
            (r#"{"username":"u","password":"hunter2"}"#, None),
            (r#"{"username":"u","password":"hunter2"}"#, Some("h:27017")),
        ] {
            let problem = uri(secret, given).unwrap_err().to_string();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }

    #[test]
    fn no_change_of_a_secret_makes_an_error_repeat_it() {
        let mut rng = fastrand::Rng::with_seed(42);
        for good in [
            r#"{"engine":"mongo","host":"h","port":1,"username":"u","password":"hunter2"}"#,
            "mongodb://u:hunter2@h/d",
            "host=h user=u password=hunter2",
            "hunter2",
        ] {
            for _ in 0..500 {
                let (before, after) = good.split_once("hunter2").unwrap();
                let (mut before, mut after) = (before.to_owned(), after.to_owned());
                for _ in 0..rng.usize(1..4) {
                    let part = if rng.bool() { &mut before } else { &mut after };
                    let at = rng.usize(..=part.len());
                    match rng.u8(..3) {
                        0 => part.truncate(at),
                        1 if at < part.len() => drop(part.remove(at)),
                        _ => part.insert_str(at, ["@", "/", "?", "%", "\"", "engine\":\"", ":", " "][rng.usize(..8)]),
                    }
                }
                let secret = format!("{before}hunter2{after}");
                for given in [None, Some("mongodb://u@h/d")] {
                    if let Err(problem) = uri(&secret, given) {
                        assert!(!problem.to_string().contains("hunter2"), "{secret}: {problem}");
                    }
                }
            }
        }
    }
}
