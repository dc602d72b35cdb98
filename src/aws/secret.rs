//! Reading a secret, and reading it again after a rotation.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::{AnyError, Aws, CallError, Service};
use crate::config::{SecretKeeper, SecretPlace};
use crate::limits::aws::SECRET_READ_PAUSE_MS;

const SECRETS_MANAGER: Service =
    Service { name: "secretsmanager", target: "secretsmanager", endpoint_variable: "AWS_ENDPOINT_URL_SECRETS_MANAGER" };

const SYSTEMS_MANAGER: Service =
    Service { name: "ssm", target: "AmazonSSM", endpoint_variable: "AWS_ENDPOINT_URL_SSM" };

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The stored value is not a text.
    #[error("the stored value is not a text")]
    NoText,
}

/// The text of a secret as it is stored now.
pub(super) async fn read(aws: &Aws, place: &SecretPlace) -> Result<String, ReadError> {
    let (region, id) = (region_of(&place.id), &place.id);
    let (answer, path) = match place.keeper {
        SecretKeeper::SecretsManager => {
            (aws.call(SECRETS_MANAGER, "GetSecretValue", region, &json!({"SecretId": id})).await?, "/SecretString")
        }
        SecretKeeper::ParameterStore => {
            let input = json!({"Name": id, "WithDecryption": true});
            (aws.call(SYSTEMS_MANAGER, "GetParameter", region, &input).await?, "/Parameter/Value")
        }
    };
    answer.pointer(path).and_then(Value::as_str).map(str::to_owned).ok_or(ReadError::NoText)
}

/// Makes a login from the text of a secret.
type Understand<T> = dyn Fn(&str) -> Result<T, AnyError> + Send + Sync;

/// A login from a secret. The secret is read again when the database refuses the login.
pub(super) struct Kept<T> {
    aws: Aws,
    place: SecretPlace,
    understand: Box<Understand<T>>,
    /// It is locked while the secret is read, so that the secret is read once for all requests that wait for it.
    known: Mutex<Known<T>>,
}

struct Known<T> {
    login: T,
    /// When the secret was last read without a new login in it.
    fruitless_at: Option<Instant>,
}

impl<T: Clone + PartialEq> Kept<T> {
    /// Keeps a login that was read from the secret just now.
    pub(super) fn new(
        aws: Aws,
        place: &SecretPlace,
        login: T,
        understand: impl Fn(&str) -> Result<T, AnyError> + Send + Sync + 'static,
    ) -> Self {
        let known = Mutex::new(Known { login, fruitless_at: None });
        Self { aws, place: place.clone(), understand: Box::new(understand), known }
    }

    /// The login that was read last.
    #[cfg(feature = "postgres")]
    pub(super) async fn now(&self) -> T {
        self.known.lock().await.login.clone()
    }

    /// Returns the login that replaces the refused one, or `None` if the secret still has the same one. The secret is
    /// not read again within [`SECRET_READ_PAUSE_MS`] after it was read in vain.
    pub(super) async fn after(&self, refused: &T) -> Result<Option<T>, AnyError> {
        let mut known = self.known.lock().await;
        if known.login != *refused {
            return Ok(Some(known.login.clone()));
        }
        let pause = Duration::from_millis(SECRET_READ_PAUSE_MS);
        if known.fruitless_at.is_some_and(|at| at.elapsed() < pause) {
            return Ok(None);
        }
        let read = read(&self.aws, &self.place).await;
        // This is set before the result is looked at, so that a service that fails is not called too often either.
        known.fruitless_at = Some(Instant::now());
        let login = (self.understand)(&read?)?;
        if login == *refused {
            return Ok(None);
        }
        tracing::info!(aws.secret = self.place.id, "the database's login was rotated");
        *known = Known { login: login.clone(), fruitless_at: None };
        Ok(Some(login))
    }
}

/// The region that an ARN names: `arn:aws:secretsmanager:eu-central-1:123456789012:secret:name`.
fn region_of(id: &str) -> Option<&str> {
    id.strip_prefix("arn:")?.split(':').nth(2).filter(|region| !region.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arn_says_in_which_region_it_is_and_a_name_does_not() {
        assert_eq!(
            region_of("arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-AbCdEf"),
            Some("eu-central-1")
        );
        assert_eq!(region_of("arn:aws-cn:ssm:cn-north-1:123456789012:parameter/prod/db"), Some("cn-north-1"));
        assert_eq!(region_of("/prod/db"), None);
        assert_eq!(region_of("arn:aws:ssm"), None);
    }
}
