//! LoginSource to PostgreSQL with a secret or with the role of the process.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use super::client::{AnyError, Aws};
use super::content::{Content, ContentError, Fields};
use super::rds::RoleLogins;
use super::secret::{self, Kept};
use crate::config::{ConfigError, Secret, SecretPlace};
use crate::store::postgres::{Login, LoginSource, PostgresOptions};

/// The setting that says where the database is.
const GIVEN: &str = "POSTGRES_CONNECTION_STRING";

/// The arguments for opening a store: the connection string, and the source of logins.
type Opened = (String, Arc<dyn LoginSource>);

/// Reads a secret with user and password. The place of the database is taken from `given`, or else from the secret.
pub(crate) async fn login_from(place: &SecretPlace, given: Option<&Secret>) -> Result<Opened, ConfigError> {
    let wrong = |problem: AnyError| ConfigError::new(place.variable, problem);
    let given = given.map(|given| given.reveal().to_owned());
    let aws = Aws::load().await;
    let text = secret::read(&aws, place).await.map_err(|problem| wrong(problem.into()))?;
    let (connection_string, login) = access(&text, given.as_deref()).map_err(wrong)?;
    let logins = Kept::new(aws, place, login, move |text| Ok(access(text, given.as_deref())?.1));
    Ok((connection_string, Arc::new(SecretLogins(logins))))
}

/// Logs in to RDS with tokens, as the user in the connection string.
pub(crate) async fn login_by_role(connection_string: &Secret, ca_file: Option<&Path>) -> Result<Opened, ConfigError> {
    let connection_string = connection_string.reveal();
    let wrong = |problem: AnyError| ConfigError::new("POSTGRES_IAM_AUTH", problem);
    let ca_file = ca_file.map(Path::to_owned);
    let options = PostgresOptions { ca_file, ..PostgresOptions::new(connection_string) };
    let logins = RoleLogins::new(Aws::load().await, &options).map_err(wrong)?;
    Ok((connection_string.to_owned(), Arc::new(logins)))
}

/// The logins from a secret.
struct SecretLogins(Kept<Login>);

#[async_trait]
impl LoginSource for SecretLogins {
    async fn login(&self) -> Result<Login, AnyError> {
        Ok(self.0.now().await)
    }

    async fn login_after(&self, refused: &Login) -> Result<Option<Login>, AnyError> {
        self.0.after(refused).await
    }
}

/// Makes the connection string and the login from a secret and the connection string that is given beside it.
fn access(secret: &str, given: Option<&str>) -> Result<(String, Login), AnyError> {
    match (Content::read(secret)?, given) {
        (Content::Fields(fields), _) => {
            let fields = fields.of_engine(|engine| engine.contains("postgres"))?;
            let connection_string = given.map_or_else(|| key_values(&fields), |given| Ok(given.to_owned()))?;
            Ok((connection_string, Login { user: Some(fields.username), password: fields.password }))
        }
        (Content::Text(password), Some(given)) if !is_url(&password) => {
            Ok((given.to_owned(), Login { user: None, password }))
        }
        (Content::Text(text), given) => {
            let parts = PostgresOptions::new(&text).parts().map_err(|problem| {
                format!("the secret is neither RDS's JSON nor a connection string that can be used: {problem}")
            })?;
            Ok((given.unwrap_or(&text).to_owned(), parts.login))
        }
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("postgres://") || text.starts_with("postgresql://")
}

/// The connection string, without the password, of a secret that says where the database is.
fn key_values(fields: &Fields) -> Result<String, ContentError> {
    let host = fields.host.as_deref().ok_or(ContentError::NoHost(GIVEN))?;
    let port = fields.port.as_ref().map(ToString::to_string);
    let pairs = [
        ("host", Some(host)),
        ("port", port.as_deref()),
        ("dbname", fields.dbname.as_deref()),
        ("user", Some(&fields.username)),
    ];
    let pairs = pairs.into_iter().filter_map(|(key, value)| {
        let value = value?.replace('\\', "\\\\").replace('\'', "\\'");
        Some(format!("{key}='{value}'"))
    });
    Ok(pairs.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn login(user: Option<&str>, password: &str) -> Login {
        Login { user: user.map(str::to_owned), password: password.to_owned() }
    }

    const WHOLE: &str =
        r#"{"engine":"postgres","host":"h.example","port":5433,"username":"u'","password":"p' \"","dbname":"a b"}"#;

    #[test]
    fn a_secret_of_rds_says_everything_and_a_connection_string_beside_it_says_where() {
        let (connection_string, found) = access(WHOLE, None).unwrap();
        assert_eq!(connection_string, r"host='h.example' port='5433' dbname='a b' user='u\''");
        assert_eq!(found, login(Some("u'"), "p' \""));
        let parts = PostgresOptions::new(&connection_string).parts().unwrap();
        assert_eq!((parts.host.as_deref(), parts.port), (Some("h.example"), 5433));
        let (connection_string, found) = access(WHOLE, Some("postgresql://proxy.example/d")).unwrap();
        assert_eq!(connection_string, "postgresql://proxy.example/d");
        assert_eq!(found, login(Some("u'"), "p' \""));
    }

    #[test]
    fn a_secret_that_rds_manages_needs_a_connection_string_beside_it() {
        let managed = r#"{"username":"u","password":"p"}"#;
        let problem = access(managed, None).unwrap_err().to_string();
        assert!(problem.contains(GIVEN), "{problem}");
        assert_eq!(access(managed, Some("postgresql://h/d")).unwrap().1, login(Some("u"), "p"));
    }

    #[test]
    fn a_text_is_a_connection_string_or_beside_one_a_password() {
        let url = "postgresql://u:p%40@h/d?sslmode=verify-full";
        assert_eq!(access(url, None).unwrap(), (url.to_owned(), login(Some("u"), "p@")));
        assert_eq!(
            access(url, Some("postgresql://proxy/d")).unwrap(),
            ("postgresql://proxy/d".to_owned(), login(Some("u"), "p@"))
        );
        assert_eq!(access("host=h user=u password=p", None).unwrap().1, login(Some("u"), "p"));
        assert_eq!(
            access("host=h", Some("postgresql://u@h/d")).unwrap(),
            ("postgresql://u@h/d".to_owned(), login(None, "host=h"))
        );
    }

    #[test]
    fn what_cannot_be_used_is_refused_without_telling_it() {
        for (secret, given) in [
            ("hunter2", None),
            ("postgresql://u:hunter2@h:port/d", Some("postgresql://h/d")),
            (r#"{"engine":"mysql","username":"u","password":"hunter2"}"#, Some("postgresql://h/d")),
        ] {
            let problem = access(secret, given).unwrap_err().to_string();
            assert!(!problem.contains("hunter2"), "{problem}");
        }
        assert!(!format!("{:?}", login(Some("u"), "hunter2")).contains("hunter2"));
    }

    #[test]
    fn no_change_of_a_secret_makes_an_error_repeat_it() {
        let mut rng = fastrand::Rng::with_seed(42);
        for good in [
            r#"{"engine":"postgres","host":"h","port":1,"username":"u","password":"hunter2"}"#,
            "postgresql://u:hunter2@h/d",
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
                for given in [None, Some("postgresql://h/d")] {
                    if let Err(problem) = access(&secret, given) {
                        assert!(!problem.to_string().contains("hunter2"), "{secret}: {problem}");
                    }
                }
            }
        }
    }
}
