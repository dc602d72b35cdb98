//! Secrets in AWS: how a function and the local server use them.

use http::Method;
use serde_json::json;
use syncflow_server::api::Endpoint;

use super::database::Guarded;
use super::moto::{StoredSecret, put_parameter, settings};
use crate::endpoints::local::{Local, command, run_to_end};
use crate::lambda::binaries::binary_of;
use crate::lambda::emulator::Instance;
use crate::lambda::functions::{event, read};

/// A function with these settings in addition to those of AWS.
pub(super) async fn function(own: &[(&str, &str)]) -> Instance {
    let own = own.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Instance::start(binary_of(Endpoint::GetStats), &own.chain(settings()).collect::<Vec<_>>()).await
}

/// The status of a function's answer to a request for statistics.
pub(super) async fn status(function: &mut Instance) -> u64 {
    read(function.invoke(&event(&Method::GET, "/stats", "")).await).0
}

#[tokio::test]
async fn every_layout_of_a_secret_leads_to_the_database() {
    let database = Guarded::start("hunter-1").await;
    let address = database.address();
    for (stored, beside) in [
        (database.secret("hunter-1"), None),
        (database.connection_string("hunter-1"), None),
        (database.managed_secret("hunter-1"), Some(address.clone())),
        (database.secret("hunter-1"), Some(address)),
        ("hunter-1".to_owned(), Some(database.address_of_role())),
    ] {
        let secret = StoredSecret::new(&stored).await;
        let parameter = put_parameter(None, &stored).await;
        let beside = beside.unwrap_or_default();
        for place in [("POSTGRES_SECRET_ARN", secret.arn.as_str()), ("POSTGRES_PARAMETER", parameter.as_str())] {
            let mut function = function(&[place, ("POSTGRES_CONNECTION_STRING", &beside)]).await;
            assert_eq!(status(&mut function).await, 200, "{place:?}: {}", function.log());
            assert!(!function.log().contains("hunter-1"), "{}", function.log());
        }
    }
}

#[tokio::test]
async fn the_local_server_reads_its_secret_when_it_starts() {
    let database = Guarded::start("hunter-1").await;
    let secret = StoredSecret::new(&database.secret("hunter-1")).await;
    let directory = tempfile::tempdir().expect("a directory");
    let mut variables = settings();
    variables.push(("POSTGRES_SECRET_ARN".to_owned(), secret.arn.clone()));
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let local = Local::start(directory.path(), &variables).await;
    assert_eq!(reqwest::get(format!("http://{}/stats", local.authority())).await.expect("an answer").status(), 200);
}

#[tokio::test]
async fn a_function_whose_secret_is_missing_answers_503_until_it_is_there() {
    let database = Guarded::start("hunter-1").await;
    let name = format!("/test/{}", crate::support::postgres::unique_name());
    let mut function = function(&[("POSTGRES_PARAMETER", &name)]).await;
    assert_eq!(status(&mut function).await, 503);
    let log = function.log();
    let line = log.lines().find(|line| line.contains("POSTGRES_PARAMETER: ")).expect("a line with the variable");
    assert!(line.contains("ParameterNotFound"), "{line}");
    put_parameter(Some(&name), &database.secret("hunter-1")).await;
    assert_eq!(status(&mut function).await, 200, "{}", function.log());
}

#[tokio::test]
async fn what_is_wrong_with_a_secret_stops_the_local_server_with_one_line_that_names_the_variable() {
    let mysql = StoredSecret::new(r#"{"engine":"mysql","host":"h","username":"u","password":"hunter2"}"#).await;
    let unknown = StoredSecret::new(r#"{"user":"u","pass":"hunter2"}"#).await;
    let homeless = StoredSecret::new(r#"{"username":"u","password":"hunter2"}"#).await;
    let password = StoredSecret::new("hunter2").await;
    let secret = "POSTGRES_SECRET_ARN";
    for (variables, expected) in [
        ([(secret, "missing"), ("", "")], "POSTGRES_SECRET_ARN: AWS refuses GetSecretValue: ResourceNotFoundException"),
        ([(secret, mysql.arn.as_str()), ("", "")], "POSTGRES_SECRET_ARN: the secret is one of mysql"),
        ([(secret, unknown.arn.as_str()), ("", "")], "POSTGRES_SECRET_ARN: the secret is JSON without"),
        ([(secret, homeless.arn.as_str()), ("", "")], "POSTGRES_SECRET_ARN: the secret does not say where"),
        ([(secret, password.arn.as_str()), ("", "")], "POSTGRES_SECRET_ARN: the secret is neither"),
        ([(secret, "s"), ("AWS_ENDPOINT_URL", "http://127.0.0.1:9")], "POSTGRES_SECRET_ARN: AWS does not answer"),
        ([(secret, "s"), ("AWS_REGION", "")], "POSTGRES_SECRET_ARN: GetSecretValue of AWS cannot be called: no region"),
        (
            [(secret, "s"), ("AWS_ACCESS_KEY_ID", "")],
            "POSTGRES_SECRET_ARN: GetSecretValue of AWS cannot be called: there are no AWS credentials",
        ),
        (
            [("POSTGRES_CONNECTION_STRING", "postgresql://u@h/d?sslmode=prefer"), ("POSTGRES_IAM_AUTH", "true")],
            "POSTGRES_IAM_AUTH: needs sslmode",
        ),
    ] {
        let directory = tempfile::tempdir().expect("a directory");
        let aws = settings();
        let aws = aws.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        // An empty value removes the variable, because other programs read these variables too.
        let aws = aws.filter(|(name, _)| !variables.contains(&(*name, "")));
        let all: Vec<_> = aws.chain(variables.into_iter().filter(|(_, value)| !value.is_empty())).collect();
        let output = run_to_end(&mut command(directory.path(), &all)).await;
        let log = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(2), "{log}");
        assert!(log.starts_with(expected), "{expected}: {log}");
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(!log.contains("hunter2"), "{log}");
    }
}

#[tokio::test]
async fn a_push_over_a_login_from_a_parameter_is_there_for_the_next_pull() {
    let database = Guarded::start("hunter-1").await;
    let parameter = put_parameter(None, &database.connection_string("hunter-1")).await;
    let mut all = settings();
    all.push(("POSTGRES_PARAMETER".to_owned(), parameter));
    let mut push = Instance::start(binary_of(Endpoint::PushOperations), &all).await;
    let body = crate::lambda::functions::push_of(1, &json!({"title": "Buy milk"}));
    assert_eq!(read(push.invoke(&event(&Method::POST, "/operations", &body)).await).0, 200);
    let mut stats = Instance::start(binary_of(Endpoint::GetStats), &all).await;
    assert_eq!(read(stats.invoke(&event(&Method::GET, "/stats", "")).await).1["totalOperations"], 1);
}
