//! The four services that send HTTP to a function: how each converts requests and answers.
//!
//! The shapes are those of AWS's documentation. The services differ. An HTTP API decodes the path and puts the name of
//! a stage in front of it. All others leave the path unchanged. A REST API passes base64 on without decoding it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use serde_json::{Map, Value, json};

/// The service that sends the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// API Gateway, HTTP API, payload format 2.0, with a named stage.
    HttpApi,
    /// API Gateway, REST API.
    RestApi,
    /// An application load balancer, with multi-value headers.
    LoadBalancer,
    /// The URL of the function.
    FunctionUrl,
}

impl Source {
    pub(crate) const ALL: [Self; 4] = [Self::HttpApi, Self::RestApi, Self::LoadBalancer, Self::FunctionUrl];

    /// The event that the service makes from a request. The path may have a query behind it.
    pub(crate) fn event(self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut event = self.event_without_query(method, path, headers, body);
        if matches!(self, Self::HttpApi | Self::FunctionUrl) {
            event["rawQueryString"] = query.into();
        } else if !query.is_empty() {
            let mut parameters: Map<String, Value> = Map::new();
            for parameter in query.split('&') {
                let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
                let values = parameters.entry(name).or_insert_with(|| json!([]));
                values.as_array_mut().expect("a list").push(value.into());
            }
            event["multiValueQueryStringParameters"] = parameters.into();
        }
        event
    }

    fn event_without_query(self, method: &Method, path: &str, headers: &HeaderMap, body: &[u8]) -> Value {
        let (body, is_base64) = carried(headers, body);
        match self {
            Self::HttpApi => {
                let path = format!("/prod{}", decoded(path));
                v2("id.execute-api.eu-central-1.amazonaws.com", "prod", method, &path, headers, &body, is_base64)
            }
            Self::FunctionUrl => {
                v2("id.lambda-url.eu-central-1.on.aws", "$default", method, path, headers, &body, is_base64)
            }
            Self::RestApi => json!({
                "resource": "/{proxy+}", "path": path, "httpMethod": method.as_str(),
                "headers": single(headers), "multiValueHeaders": multiple(headers),
                "queryStringParameters": null, "multiValueQueryStringParameters": null,
                "pathParameters": {"proxy": path}, "stageVariables": null,
                "requestContext": {
                    "accountId": "123456789012", "resourceId": "abc", "stage": "prod", "requestId": "r",
                    "domainName": "id.execute-api.eu-central-1.amazonaws.com", "domainPrefix": "id",
                    "identity": {"sourceIp": "192.0.2.1"}, "resourcePath": "/{proxy+}", "path": format!("/prod{path}"),
                    "httpMethod": method.as_str(), "apiId": "id", "protocol": "HTTP/1.1", "requestTimeEpoch": 1,
                },
                "body": body, "isBase64Encoded": is_base64,
            }),
            Self::LoadBalancer => json!({
                "requestContext": {"elb": {"targetGroupArn": "arn:aws:elasticloadbalancing:eu-central-1:1:targetgroup/t/1"}},
                "httpMethod": method.as_str(), "path": path, "multiValueQueryStringParameters": {},
                "multiValueHeaders": multiple(headers), "body": body, "isBase64Encoded": is_base64,
            }),
        }
    }

    /// The response that the service makes from the function's answer.
    pub(crate) fn answer(self, function: &Value) -> Response<Vec<u8>> {
        let mut headers = HeaderMap::new();
        let mut add = |name: &str, value: &Value| {
            let value = value.as_str().expect("a header is text");
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a header's name");
            headers.append(name, HeaderValue::from_str(value).expect("a header's value"));
        };
        for (name, value) in function["headers"].as_object().into_iter().flatten() {
            if self != Self::LoadBalancer {
                add(name, value);
            }
        }
        if matches!(self, Self::RestApi | Self::LoadBalancer) {
            for (name, values) in function["multiValueHeaders"].as_object().into_iter().flatten() {
                values.as_array().expect("a list of values").iter().for_each(|value| add(name, value));
            }
        }
        let text = function["body"].as_str().unwrap_or_default();
        let is_base64 = function["isBase64Encoded"].as_bool().unwrap_or_default();
        let decodes = is_base64 && self != Self::RestApi;
        let body = if decodes { STANDARD.decode(text).expect("base64") } else { text.as_bytes().to_vec() };
        let status = function["statusCode"].as_u64().and_then(|status| u16::try_from(status).ok());
        let mut response = Response::new(body);
        *response.status_mut() = status.and_then(|status| status.try_into().ok()).expect("a status");
        *response.headers_mut() = headers;
        response
    }
}

fn v2(
    domain: &str,
    stage: &str,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
    body: &Value,
    is_base64: bool,
) -> Value {
    json!({
        "version": "2.0", "routeKey": "$default", "rawPath": path, "rawQueryString": "",
        "headers": single(headers),
        "requestContext": {
            "accountId": "123456789012", "apiId": "id", "domainName": domain, "domainPrefix": "id",
            "http": {
                "method": method.as_str(), "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": "r", "routeKey": "$default", "stage": stage, "time": "12/Mar/2026:19:03:58 +0000",
            "timeEpoch": 1,
        },
        "body": body, "isBase64Encoded": is_base64,
    })
}

/// A body in the service's form: text if the headers say that it is text, and otherwise base64.
fn carried(headers: &HeaderMap, body: &[u8]) -> (Value, bool) {
    let is_text = !headers.contains_key("content-encoding");
    match std::str::from_utf8(body) {
        Ok("") => (Value::Null, false),
        Ok(text) if is_text => (text.into(), false),
        _ => (STANDARD.encode(body).into(), true),
    }
}

fn text(value: &HeaderValue) -> String {
    String::from_utf8_lossy(value.as_bytes()).into_owned()
}

/// The headers, with repeated values joined by commas.
fn single(headers: &HeaderMap) -> Value {
    let joined = |name| headers.get_all(name).iter().map(text).collect::<Vec<_>>().join(",");
    headers.keys().map(|name| (name.to_string(), Value::from(joined(name)))).collect::<Map<_, _>>().into()
}

fn multiple(headers: &HeaderMap) -> Value {
    let all = |name| headers.get_all(name).iter().map(text).collect::<Vec<_>>();
    headers.keys().map(|name| (name.to_string(), Value::from(all(name)))).collect::<Map<_, _>>().into()
}

/// A path without percent escapes, as an HTTP API passes it on.
fn decoded(path: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if *first == b'%' => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            _ => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}
