//! Secrets and parameters that tests store in the emulation of AWS.

use serde_json::{Value, json};

use crate::support::postgres::{required, unique_name};

const REGION: &str = "eu-central-1";

/// The settings with which a process uses the emulation of AWS.
pub(super) fn settings() -> Vec<(String, String)> {
    let pairs = [
        ("AWS_ENDPOINT_URL", required("TEST_AWS_URL")),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_ACCESS_KEY_ID", "testing".to_owned()),
        ("AWS_SECRET_ACCESS_KEY", "testing".to_owned()),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).into()
}

/// A secret of Secrets Manager.
pub(super) struct StoredSecret {
    pub(super) arn: String,
}

impl StoredSecret {
    /// Stores a text under a new name.
    pub(super) async fn new(text: &str) -> Self {
        let input = json!({"Name": unique_name(), "SecretString": text});
        let answer = call("secretsmanager", "secretsmanager.CreateSecret", &input).await;
        Self { arn: answer["ARN"].as_str().expect("an ARN").to_owned() }
    }

    /// Replaces the text.
    pub(super) async fn put(&self, text: &str) {
        let input = json!({"SecretId": self.arn, "SecretString": text});
        call("secretsmanager", "secretsmanager.PutSecretValue", &input).await;
    }
}

/// Stores an encrypted parameter of Systems Manager under the given or a new name, and returns the name.
pub(super) async fn put_parameter(name: Option<&str>, text: &str) -> String {
    let name = name.map_or_else(|| format!("/test/{}", unique_name()), str::to_owned);
    let input = json!({"Name": name, "Value": text, "Type": "SecureString", "Overwrite": true});
    call("ssm", "AmazonSSM.PutParameter", &input).await;
    name
}

async fn call(service: &str, target: &str, input: &Value) -> Value {
    let authorization = format!(
        "AWS4-HMAC-SHA256 Credential=testing/20250102/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let request = reqwest::Client::new()
        .post(required("TEST_AWS_URL"))
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", target)
        .header("authorization", authorization)
        .body(input.to_string());
    let answer = request.send().await.expect("moto answers");
    let (status, text) = (answer.status(), answer.text().await.expect("text"));
    assert!(status.is_success(), "{target}: {status} {text}");
    serde_json::from_str(&text).expect("the answer is JSON")
}
