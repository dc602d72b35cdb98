//! Signed requests to AWS. Credentials and region are found in the same way as in every AWS SDK.

use std::borrow::Cow;
use std::error::Error;
use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4::SigningParams;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_types::body::SdkBody;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use serde_json::Value;
use tokio::time::timeout;

use crate::limits::aws::{AWS_ANSWER_MAX_BYTES, AWS_CALL_MAX_ATTEMPTS, AWS_CALL_TIME_MAX_MS};

/// An error that no variant describes more closely.
pub(super) type AnyError = Box<dyn Error + Send + Sync>;

/// TLS is done by the same library as in the stores.
const TLS: Provider = Provider::Rustls(CryptoMode::Ring);

/// The AWS configuration of the process: region, endpoint, and the source of its credentials.
#[derive(Debug)]
pub(super) struct Aws {
    config: SdkConfig,
}

/// An AWS service, and how its calls are named.
#[derive(Debug, Clone, Copy)]
pub(super) struct Service {
    /// The name of the service in signatures and in the name of its host.
    pub(super) name: &'static str,
    /// The part of a call's name before the dot.
    pub(super) target: &'static str,
    /// The variable with an endpoint for this service alone, which every AWS SDK knows.
    pub(super) endpoint_variable: &'static str,
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    /// The service refused the call and gave a reason.
    #[error("AWS refuses {call}: {code}: {message}")]
    Refused { call: &'static str, code: String, message: String },
    /// There are no credentials, or no region.
    #[error("{call} of AWS cannot be called: {problem}")]
    NotMade { call: &'static str, problem: AnyError },
    /// No answer came, or the answer was not from the service itself, such as an error page of a proxy.
    #[error("AWS does not answer {call}: {problem}")]
    NoAnswer { call: &'static str, problem: AnyError },
}

impl Aws {
    /// Reads the variables and the configuration files that every AWS SDK reads.
    pub(super) async fn load() -> Self {
        let http = Builder::new().tls_provider(TLS).build_https();
        Self { config: aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http).load().await }
    }

    /// The region of the process.
    pub(super) fn region(&self) -> Result<&str, AnyError> {
        let region = self.config.region().map(AsRef::as_ref).filter(|region: &&str| !region.is_empty());
        region.ok_or_else(|| "no region is known; set AWS_REGION".into())
    }

    /// The credentials of the process. Expired ones are replaced first.
    pub(super) async fn credentials(&self) -> Result<Credentials, AnyError> {
        let provider = self.config.credentials_provider().ok_or("there are no AWS credentials")?;
        let answer = timeout(Duration::from_millis(AWS_CALL_TIME_MAX_MS), provider.provide_credentials()).await;
        let credentials = answer.map_err(|_| "AWS credentials did not come in time")?;
        credentials.map_err(|error| format!("there are no AWS credentials: {}", with_causes(&error)).into())
    }

    /// Calls a service, in the region of the process if `region` is `None`. Tries again if there is no answer.
    pub(super) async fn call(
        &self,
        service: Service,
        call: &'static str,
        region: Option<&str>,
        input: &Value,
    ) -> Result<Value, CallError> {
        let mut attempt = 1;
        loop {
            match self.call_once(service, call, region, input).await {
                Err(CallError::NoAnswer { problem, .. }) if attempt < AWS_CALL_MAX_ATTEMPTS => {
                    tracing::debug!(error.cause = %problem, aws.call = call, "call to AWS tried again");
                    attempt += 1;
                }
                result => return result,
            }
        }
    }

    async fn call_once(
        &self,
        service: Service,
        call: &'static str,
        region: Option<&str>,
        input: &Value,
    ) -> Result<Value, CallError> {
        let not_made = |problem| CallError::NotMade { call, problem };
        let no_answer = |problem| CallError::NoAnswer { call, problem };
        let answered = timeout(Duration::from_millis(AWS_CALL_TIME_MAX_MS), async {
            let request = self.request(service, call, region, input).await.map_err(not_made)?;
            answer(request).await.map_err(no_answer)
        });
        let answered = answered.await;
        let (status, body) = answered.unwrap_or_else(|_| Err(no_answer("no answer in time".into())))?;
        let json: Option<Value> = serde_json::from_slice(&body).ok();
        match json {
            Some(json) if status.is_success() => Ok(json),
            Some(json) if status.is_client_error() => Err(refusal(call, &json)),
            _ => Err(no_answer(format!("the answer has the status {status}").into())),
        }
    }

    /// Makes a signed request in the protocol AWS JSON 1.1.
    async fn request(
        &self,
        service: Service,
        call: &'static str,
        region: Option<&str>,
        input: &Value,
    ) -> Result<Request<SdkBody>, AnyError> {
        let region = region.map_or_else(|| self.region(), Ok)?;
        let url = self.endpoint(service, region);
        let target = format!("{}.{call}", service.target);
        let headers = [("content-type", "application/x-amz-json-1.1"), ("x-amz-target", target.as_str())];
        self.signed(service.name, region, &url, &headers, &input.to_string()).await
    }

    /// Posts JSON to a URL of a service, once, and returns the answer.
    #[cfg(feature = "lambda")]
    pub(super) async fn post(
        &self,
        service: &str,
        region: &str,
        url: &str,
        body: &str,
    ) -> Result<(StatusCode, Vec<u8>), AnyError> {
        answer(self.signed(service, region, url, &[("content-type", "application/json")], body).await?).await
    }

    /// Makes a signed request.
    async fn signed(
        &self,
        service: &str,
        region: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Request<SdkBody>, AnyError> {
        let credentials = self.credentials().await?;
        let identity = credentials.into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(region)
            .name(service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signable =
            SignableRequest::new("POST", url, headers.iter().copied(), SignableBody::Bytes(body.as_bytes()))?;
        let (signature, _) = sign(signable, &params)?.into_parts();
        let mut request = Request::post(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(SdkBody::from(body))?;
        signature.apply_to_request_http1x(&mut request);
        Ok(request)
    }

    fn endpoint(&self, service: Service, region: &str) -> Cow<'_, str> {
        let of_service = std::env::var(service.endpoint_variable).ok().filter(|url| !url.is_empty());
        match (of_service, self.config.endpoint_url()) {
            (Some(url), _) => url.into(),
            (None, Some(url)) => url.into(),
            (None, None) => format!("https://{}.{region}.{}/", service.name, domain(region)).into(),
        }
    }
}

/// The domain of AWS to which a region belongs.
fn domain(region: &str) -> &'static str {
    if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" }
}

/// Sends the request and reads the answer. Each call has its own connection: calls are rare, and an idle connection
/// could have died meanwhile.
async fn answer(request: Request<SdkBody>) -> Result<(StatusCode, Vec<u8>), AnyError> {
    let connector = Connector::builder().tls_provider(TLS).build();
    let response = connector.call(request.try_into()?).await;
    let response = response.map_err(|error| with_causes(&error))?;
    let status = StatusCode::from_u16(response.status().as_u16())?;
    let body = Limited::new(response.into_body(), AWS_ANSWER_MAX_BYTES).collect().await?;
    Ok((status, body.to_bytes().to_vec()))
}

/// The refusal in the service's answer. The namespace before its code is left out.
fn refusal(call: &'static str, json: &Value) -> CallError {
    let text = |keys: [&str; 2]| keys.iter().find_map(|key| json.get(key)?.as_str()).unwrap_or_default();
    let code = text(["__type", "code"]);
    let code = code.rsplit('#').next().unwrap_or(code).to_owned();
    CallError::Refused { call, code, message: text(["message", "Message"]).to_owned() }
}

/// The text of an error and of all its causes. Without the causes, the errors of AWS's crates say nothing useful.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_refusal_has_the_bare_code_and_the_message_in_any_spelling() {
        for answer in [
            json!({"__type": "com.amazonaws.secretsmanager#ResourceNotFoundException", "Message": "no such secret"}),
            json!({"__type": "ResourceNotFoundException", "message": "no such secret"}),
        ] {
            let error = refusal("GetSecretValue", &answer).to_string();
            assert_eq!(error, "AWS refuses GetSecretValue: ResourceNotFoundException: no such secret");
        }
    }

    #[test]
    fn china_has_a_domain_of_its_own() {
        assert_eq!(domain("cn-north-1"), "amazonaws.com.cn");
        assert_eq!(domain("eu-central-1"), "amazonaws.com");
    }
}
