//! A secret, and reading it anew.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::client::{AnyError, Aws, CallError, Service};
use crate::config::{SecretKeeper, SecretPlace};
use crate::core::limits::SECRET_READ_PAUSE_MS;

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
    /// What is stored is no text.
    #[error("what is stored is no text")]
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

/// Reads what the text of a secret says.
type Understand<T> = dyn Fn(&str) -> Result<T, AnyError> + Send + Sync;

/// How a database lets us in by a secret, which is read again when the database refuses that.
pub(super) struct Kept<T> {
    aws: Aws,
    place: SecretPlace,
    understand: Box<Understand<T>>,
    /// Locked while the secret is read, so that it is read once for all who wait.
    known: Mutex<Known<T>>,
}

struct Known<T> {
    login: T,
    /// When the secret was last read and had nothing new.
    fruitless_at: Option<Instant>,
}

impl<T: Clone + PartialEq> Kept<T> {
    /// Keeps what a secret said that was read just now.
    pub(super) fn new(
        aws: Aws,
        place: &SecretPlace,
        login: T,
        understand: impl Fn(&str) -> Result<T, AnyError> + Send + Sync + 'static,
    ) -> Self {
        let known = Mutex::new(Known { login, fruitless_at: None });
        Self { aws, place: place.clone(), understand: Box::new(understand), known }
    }

    /// What it said last.
    pub(super) async fn now(&self) -> T {
        self.known.lock().await.login.clone()
    }

    /// What it says instead of what was refused; nothing where that is the same, or was a moment ago.
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
        // Set before the result is looked at, since a service that fails is to be spared too.
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
