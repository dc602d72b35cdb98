//! Checks answers against the OpenAPI document. A check whose answer it does not describe fails.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use jsonschema::Validator;
use reqwest::Method;
use reqwest::header::{ALLOW, CONTENT_TYPE};
use serde_json::{Value, json};

use super::client::Answer;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(syncflow_server::api::description()).expect("the description is JSON"));

/// Panics if the document does not describe an answer.
pub(super) fn check(method: &Method, path: &str, answer: &Answer) {
    if let Err(problem) = describes(method, path, answer) {
        panic!("{method} {path} answered {}, but {problem}: {}", answer.status, answer.text());
    }
}

/// Checks an answer. The error says what the document does not allow.
pub(super) fn describes(method: &Method, path: &str, answer: &Answer) -> Result<(), String> {
    if method == Method::OPTIONS {
        let is_empty = answer.status == 204 && answer.bytes.is_empty();
        return if is_empty { Ok(()) } else { Err("a preflight is answered with 204 and nothing else".to_owned()) };
    }
    let documented = if method == Method::HEAD { "get".to_owned() } else { method.as_str().to_lowercase() };
    let template = template_of(path);
    let operation = template.as_ref().and_then(|template| DOCUMENT["paths"][template].get(&documented));
    let Some(operation) = operation else {
        return describes_missing(template.is_some(), answer);
    };
    let response = &operation["responses"][answer.status.to_string()];
    if response.is_null() {
        return Err("the status is not documented".to_owned());
    }
    let content = response["content"].get("application/json");
    if content.is_none() || method == Method::HEAD {
        return if answer.bytes.is_empty() { Ok(()) } else { Err("there should be no body".to_owned()) };
    }
    let pointer = format!(
        "/paths/{}/{documented}/responses/{}/content/application~1json/schema",
        escaped(&template.unwrap_or_default()),
        answer.status
    );
    is_json_of(&pointer, answer)
}

/// Whether the document allows a value as the body of a request.
pub(super) fn is_request(method: &str, template: &str, body: &Value) -> Result<(), String> {
    let pointer = format!("/paths/{}/{method}/requestBody/content/application~1json/schema", escaped(template));
    is_valid(&pointer, body)
}

/// Checks an answer for a route or method that does not exist.
fn describes_missing(is_route: bool, answer: &Answer) -> Result<(), String> {
    let expected = if is_route { 405 } else { 404 };
    if answer.status != expected {
        return Err(format!("{expected} was expected, because nothing is documented"));
    }
    if is_route && !answer.headers.contains_key(ALLOW) {
        return Err("a 405 says what is allowed".to_owned());
    }
    is_json_of("/components/schemas/Error", answer)
}

fn is_json_of(pointer: &str, answer: &Answer) -> Result<(), String> {
    let content_type = answer.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if content_type != Some("application/json; charset=utf-8") {
        return Err(format!("the content type is {content_type:?}"));
    }
    let body = serde_json::from_slice(&answer.bytes).map_err(|problem| format!("the body is not JSON ({problem})"))?;
    is_valid(pointer, &body)
}

fn is_valid(pointer: &str, value: &Value) -> Result<(), String> {
    static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);
    let build = || {
        assert!(DOCUMENT.pointer(pointer).is_some(), "{pointer} is not in the document");
        let mut schema = DOCUMENT.clone();
        schema["$ref"] = json!(format!("#{}", pointer.replace('{', "%7B").replace('}', "%7D")));
        Arc::new(jsonschema::validator_for(&schema).expect("the document has valid schemas"))
    };
    let mut validators = VALIDATORS.lock().expect("no check panics with the lock");
    let validator = Arc::clone(validators.entry(pointer.to_owned()).or_insert_with(build));
    drop(validators);
    let errors: Vec<String> =
        validator.iter_errors(value).map(|error| format!("{} at {}", error, error.instance_path())).collect();
    if errors.is_empty() { Ok(()) } else { Err(errors.join(", ")) }
}

/// The path in the document that matches the path of a request. The one with more literal parts is preferred.
fn template_of(path: &str) -> Option<String> {
    let path = path.split('?').next().unwrap_or_default();
    let path = path.strip_suffix('/').unwrap_or(path);
    let parts: Vec<&str> = path.split('/').collect();
    let templates = DOCUMENT["paths"].as_object().expect("the document has paths").keys();
    let fitting = templates.filter(|template| {
        let expected: Vec<&str> = template.split('/').collect();
        expected.len() == parts.len()
            && expected
                .iter()
                .zip(&parts)
                .all(|(expected, part)| expected == part || (expected.starts_with('{') && !part.is_empty()))
    });
    fitting.min_by_key(|template| template.matches('{').count()).cloned()
}

fn escaped(template: &str) -> String {
    template.replace('~', "~0").replace('/', "~1")
}
