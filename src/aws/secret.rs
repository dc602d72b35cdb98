//! A secret, and reading it anew.

use serde_json::{Value, json};

use super::client::{Aws, CallError, Service};
use crate::config::{SecretKeeper, SecretPlace};

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
