//! Signing in to the local server and to the functions: settings, tokens, tenants.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use syncflow_server::auth::sign_hs256;
use syncflow_server::config::Config;
use syncflow_server::core::access::Role;
use syncflow_server::limits::api::LAMBDA_BODY_MAX_BYTES;
use syncflow_server::limits::auth::TOKEN_MAX_BYTES;
use syncflow_server::runtime::TokioHost;
use syncflow_server::service::Host as _;
use syncflow_server::store::memory::MemoryStore;

use super::roles::{REQUESTS, ask, body_of, each_role_may_do_what_the_table_says};
use crate::endpoints::client::{Answer, Api, ids, insert};
use crate::endpoints::local::{Local, command, run_to_end};
use crate::endpoints::server;
use crate::lambda::events::Source;
use crate::lambda::front::Front;

const SECRET: &str = "hunter2 is not a secret to be used";
const WITH_SECRET: [(&str, &str); 2] = [("AUTH_HS256_SECRET", SECRET), ("AUTH_TENANT_CLAIM", "tenants")];

fn now_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn token_for(seconds: u64, tenants: &Value, role: Option<&str>) -> String {
    let mut claims = json!({"sub": "ann", "exp": now_seconds() + seconds, "tenants": tenants});
    if let Some(role) = role {
        claims["role"] = role.into();
    }
    sign_hs256(SECRET.as_bytes(), &claims)
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

async fn stats(api: &Api, headers: &[(&str, &str)]) -> Answer {
    api.send(Method::GET, "/stats", headers, "").await
}

async fn push_as(api: &Api, authorization: &str, id: &str) -> Answer {
    let body = json!({"clientId": "a", "operations": [insert(id, id, "a", 1, 1)]}).to_string();
    api.send(Method::POST, "/operations", &[("authorization", authorization)], body).await
}

fn error_of(answer: &Answer) -> (u16, String) {
    (answer.status, answer.json()["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn no_token_reaches_a_tenant_of_the_server() {
    let directory = tempfile::tempdir().expect("a directory");
    let server = Local::start(directory.path(), &[&[("ADAPTER", "memory")], &WITH_SECRET[..]].concat()).await;
    for tenant in ["syncflow-server", "syncflow-server:quarantine:shop", "syncflow-server:more"] {
        let authorization = bearer(&token_for(60, &json!(tenant), Some("admin")));
        let answer = stats(&server.api, &[("authorization", &authorization)]).await;
        assert_eq!(error_of(&answer).0, 403, "{tenant}");
        let pull = json!({"since": 0, "clientId": "syncflow-server"}).to_string();
        let answer = server.api.send(Method::POST, "/changes", &[("authorization", &authorization)], pull).await;
        assert_eq!(error_of(&answer).0, 403, "{tenant}");
    }
    let authorization = bearer(&token_for(60, &json!("syncflow-servers"), Some("admin")));
    assert_eq!(stats(&server.api, &[("authorization", &authorization)]).await.status, 200);
}

#[tokio::test]
async fn a_server_with_a_secret_takes_its_tokens_and_nothing_else() {
    let mut settings = vec![("ADAPTER", "memory")];
    settings.extend(WITH_SECRET);
    let server = server::start(&settings, ()).await;
    let api = &server.api;
    let good = token_for(60, &json!("team"), None);
    assert_eq!(stats(api, &[("authorization", &bearer(&good))]).await.status, 200);
    assert_eq!(stats(api, &[("authorization", &format!("bEARER   {good}"))]).await.status, 200);
    let is = |status, error: &str| (status, error.to_owned());
    assert_eq!(error_of(&stats(api, &[]).await), is(401, "missing_token"));
    let just_expired = token_for(0, &json!("team"), None);
    let other = sign_hs256(
        b"another secret that is long enough",
        &json!({"sub": "a", "exp": now_seconds() + 60, "tenants": "t"}),
    );
    for (authorization, expected) in [
        ("Bearer x".to_owned(), is(401, "invalid_token")),
        (bearer(&other), is(401, "invalid_token")),
        (bearer(&format!("{good}x")), is(401, "invalid_token")),
        (bearer(&"x".repeat(TOKEN_MAX_BYTES + 1)), is(401, "invalid_token")),
        (bearer(&token_for(60, &json!("team"), Some("root"))), is(403, "no_access")),
        (bearer(&token_for(60, &json!(5), None)), is(403, "no_access")),
        ("Bearer".to_owned(), is(400, "malformed_token")),
        ("Bearer ".to_owned(), is(400, "malformed_token")),
        (good.clone(), is(400, "malformed_token")),
        (format!("Basic {good}"), is(400, "malformed_token")),
    ] {
        assert_eq!(error_of(&stats(api, &[("authorization", &authorization)]).await), expected, "{authorization:.40}");
    }
    // The token is still within the leeway.
    assert_eq!(stats(api, &[("authorization", &bearer(&just_expired))]).await.status, 200);
    let old = json!({"sub": "ann", "exp": now_seconds() - 60, "tenants": "team"});
    let old = bearer(&sign_hs256(SECRET.as_bytes(), &old));
    let answer = stats(api, &[("authorization", &old)]).await;
    assert_eq!(error_of(&answer), is(401, "expired"));
    assert!(answer.header("www-authenticate").contains("expired"));
    let good = bearer(&good);
    let twice = [("authorization", good.as_str()), ("authorization", good.as_str())];
    assert_eq!(error_of(&stats(api, &twice).await), is(400, "malformed_token"));
    // A token in a query is not accepted, because queries are logged.
    let in_query = format!("/stats?access_token={}", good.trim_start_matches("Bearer "));
    assert_eq!(api.send_unchecked(Method::GET, &in_query, &[], Vec::new()).await.status, 401);
}

#[tokio::test]
async fn a_token_that_expires_is_refused_although_it_is_remembered() {
    let mut settings = vec![("ADAPTER", "memory")];
    settings.extend(WITH_SECRET);
    let clock = server::Clock::at(TokioHost.now_ms());
    let server = server::start_with(Arc::new(MemoryStore::new()), clock.clone(), &settings).await;
    let authorization = bearer(&token_for(60, &json!("team"), None));
    let headers = [("authorization", authorization.as_str())];
    for _ in 0..3 {
        assert_eq!(stats(&server.api, &headers).await.status, 200);
    }
    clock.advance(60_000);
    assert_eq!(stats(&server.api, &headers).await.status, 200, "the clocks may differ a little");
    clock.advance(60_000);
    assert_eq!(error_of(&stats(&server.api, &headers).await), (401, "expired".to_owned()));
}

#[tokio::test]
async fn a_request_names_one_of_the_tenants_of_its_token() {
    let mut settings = vec![("ADAPTER", "memory")];
    settings.extend(WITH_SECRET);
    let server = server::start(&settings, ()).await;
    let api = &server.api;
    let several = bearer(&token_for(60, &json!({"ann": "admin", "team": "reader"}), None));
    let ask_as = async |tenant: &str, method: &str, path: &str| {
        let headers = [("authorization", several.as_str()), ("x-syncflow-tenant", tenant)];
        ask(api, method, path, &headers).await.status
    };
    assert_eq!(ask_as("ann", "POST", "/compact").await, 200);
    assert_eq!(ask_as("team", "POST", "/compact").await, 403);
    assert_eq!(ask_as("team", "GET", "/stats").await, 200);
    assert_eq!(ask_as("other", "GET", "/stats").await, 403);
    let without = stats(api, &[("authorization", &several)]).await;
    assert_eq!(error_of(&without), (400, "tenant_needed".to_owned()));
    let one = bearer(&token_for(60, &json!(["team"]), None));
    assert_eq!(stats(api, &[("authorization", &one)]).await.status, 200);
    let elsewhere = [("authorization", one.as_str()), ("x-syncflow-tenant", "ann")];
    assert_eq!(error_of(&stats(api, &elsewhere).await), (403, "forbidden_tenant".to_owned()));
    let twice = [elsewhere[0], ("x-syncflow-tenant", "team"), ("x-syncflow-tenant", "team")];
    assert_eq!(stats(api, &twice).await.status, 400);
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says_with_tokens() {
    let mut settings = vec![("ADAPTER", "memory")];
    settings.extend(WITH_SECRET);
    let headers =
        |role: Role| vec![("authorization".to_owned(), bearer(&token_for(60, &json!("team"), Some(role.as_str()))))];
    let server = server::start(&settings, ()).await;
    each_role_may_do_what_the_table_says(&server.api, headers).await;

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("syncflow.db");
    let mut settings = vec![("ADAPTER", "sqlite"), ("SQLITE_PATH", path.to_str().unwrap())];
    settings.extend(WITH_SECRET);
    let front = Front::start(Source::FunctionUrl, &settings).await;
    let api = Api::at(format!("http://{}", front.authority())).with_body_max_bytes(LAMBDA_BODY_MAX_BYTES);
    each_role_may_do_what_the_table_says(&api, headers).await;
    for (method, path, _) in REQUESTS {
        assert_eq!(ask(&api, method, path, &[]).await.status, 401, "{method} {path}");
    }
}

#[tokio::test]
async fn a_function_does_not_believe_what_the_gateway_says_of_a_token() {
    let settings: Vec<(String, String)> = [("ADAPTER", "memory")]
        .into_iter()
        .chain(WITH_SECRET)
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    let binary = crate::lambda::binaries::binary_of(syncflow_server::api::Endpoint::GetStats);
    let mut function = crate::lambda::emulator::Instance::start(binary, &settings).await;
    let mut event = crate::lambda::functions::event(&Method::GET, "/stats", "");
    event["requestContext"]["authorizer"] =
        json!({"jwt": {"claims": {"sub": "eve", "tenants": "team"}, "scopes": null}});
    let answer = function.invoke(&event).await.expect("an answer");
    assert_eq!(answer["statusCode"], 401, "{answer}");
}

#[tokio::test]
async fn a_server_that_others_reach_needs_to_be_told_who_may_ask() {
    let directory = tempfile::tempdir().unwrap();
    for bind in ["0.0.0.0", "::"] {
        let ended = run_to_end(&mut command(directory.path(), &[("BIND", bind)])).await;
        let line = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), line.lines().count()), (Some(2), 1), "{line}");
        assert!(
            line.starts_with("AUTH: ") && line.contains("AUTH_HS256_SECRET") && line.contains("AUTH=off"),
            "{line}"
        );
    }
    assert!(std::fs::read_dir(directory.path()).unwrap().next().is_none(), "nothing was opened");
    for more in [vec![("AUTH", "off")], WITH_SECRET.to_vec()] {
        let settings: Vec<_> = [("BIND", "0.0.0.0"), ("ADAPTER", "memory")].into_iter().chain(more).collect();
        let local = Local::start(directory.path(), &settings).await;
        local.signal("TERM").await;
        assert_eq!(local.end().await.0, Some(0));
    }
    for bind in ["127.0.0.1", "localhost", "127.0.0.7"] {
        let local = Local::start(directory.path(), &[("BIND", bind), ("ADAPTER", "memory")]).await;
        assert_eq!(local.api.get("/stats").await.status, 200);
    }
}

#[tokio::test]
async fn a_function_needs_to_be_told_who_may_ask() {
    let binary = crate::lambda::binaries::binary_of(syncflow_server::api::Endpoint::GetStats);
    // The emulator sets `AUTH=off` unless a test sets a variable of sign-in.
    let settings = [("AUTH".to_owned(), String::new()), ("ADAPTER".to_owned(), "memory".to_owned())];
    let mut function = crate::lambda::emulator::Instance::start(binary, &settings).await;
    assert_eq!(function.end().await, Some(1));
    let log = function.log();
    assert!(log.starts_with("AUTH: ") && log.lines().count() == 1, "{log}");
}

#[test]
fn settings_that_contradict_each_other_are_refused() {
    let read = |settings: &[(&str, &str)]| {
        let find = |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        Config::read(find).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let [secret, claim] = WITH_SECRET;
    assert_eq!(read(&[secret, claim]), "");
    for (settings, variable) in [
        (vec![("AUTH", "on")], "AUTH"),
        (vec![("AUTH", "OFF")], "AUTH"),
        (vec![("AUTH", "off"), secret, claim], "AUTH"),
        (vec![("AUTH", "off"), ("AUTH_TOKENS_FILE", "x")], "AUTH"),
        (vec![secret], "AUTH_TENANT_CLAIM"),
        (vec![secret, claim, ("AUTH_TENANT", "t")], "AUTH_TENANT_CLAIM"),
        (vec![secret, ("AUTH_TENANT", &*"t".repeat(257))], "AUTH_TENANT"),
        (vec![secret, claim, ("AUTH_JWKS", "{}")], "AUTH_JWKS"),
        (vec![secret, claim, ("AUTH_HS256_SECRET_FILE", "x")], "AUTH_HS256_SECRET_FILE"),
        (vec![("AUTH_JWKS", "{}"), claim], "AUTH_ISSUER"),
        (vec![("AUTH_JWKS", "{}"), claim, ("AUTH_ISSUER", "x")], "AUTH_AUDIENCE"),
        (vec![("AUTH_JWKS_FILE", "/no/such/file"), claim], "AUTH_JWKS_FILE"),
        (vec![claim], "AUTH_TENANT_CLAIM"),
        (vec![("AUTH_ISSUER", "x"), ("AUTH_TOKENS_FILE", "x")], "AUTH_ISSUER"),
    ] {
        assert!(read(&settings).starts_with(&format!("{variable}: ")), "{settings:?}: {}", read(&settings));
    }
}

async fn made(directory: &Path, arguments: &[&str], settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = command(directory, settings);
    let ended = run_to_end(command.arg("token").args(arguments)).await;
    let said = if ended.status.success() { ended.stdout } else { ended.stderr };
    (ended.status.code(), String::from_utf8(said).unwrap())
}

#[tokio::test]
async fn static_tokens_are_made_by_the_program_and_read_again_when_the_file_changes() {
    let directory = tempfile::tempdir().unwrap();
    let new = async |subject: &str, role: &str| {
        let arguments = ["new", "--tenant", "team", "--role", role, "--subject", subject];
        let (code, said) = made(directory.path(), &arguments, &[]).await;
        assert_eq!(code, Some(0), "{said}");
        let token = said.lines().find(|line| line.starts_with("sft_")).expect("a token").to_owned();
        (token, said.lines().last().expect("a line").to_owned())
    };
    let (ann, line_of_ann) = new("ann", "writer").await;
    let (bob, line_of_bob) = new("bob", "reader").await;
    assert!(ann != bob && !line_of_ann.contains(&ann[4..]), "the file has no token in it");
    let file = directory.path().join("tokens");
    std::fs::write(&file, format!("# ours\n{line_of_ann}\n")).unwrap();
    let settings = [("ADAPTER", "memory"), ("AUTH_TOKENS_FILE", file.to_str().unwrap())];
    let clock = server::Clock::at(TokioHost.now_ms());
    let server = server::start_with(Arc::new(MemoryStore::new()), clock.clone(), &settings).await;
    let (ann, bob) = (bearer(&ann), bearer(&bob));
    assert_eq!(push_as(&server.api, &ann, "op-1").await.status, 200);
    assert_eq!(push_as(&server.api, &bob, "op-2").await.status, 401);
    std::fs::write(&file, format!("{line_of_bob}\n")).unwrap();
    clock.advance(1_000);
    assert_eq!(push_as(&server.api, &ann, "op-3").await.status, 401, "a token that is removed is refused");
    assert_eq!(push_as(&server.api, &bob, "op-4").await.status, 403);
    let page = server.api.send(Method::POST, "/changes", &[("authorization", &bob)], r#"{"cursor":null}"#).await;
    assert_eq!(ids(&page.json()), ["op-1"]);
    // A file with a mistake leaves the old tokens in place.
    std::fs::write(&file, "a mistake").unwrap();
    clock.advance(1_000);
    assert_eq!(stats(&server.api, &[("authorization", &bob)]).await.status, 200);
    std::fs::remove_file(&file).unwrap();
    clock.advance(1_000);
    assert_eq!(stats(&server.api, &[("authorization", &bob)]).await.status, 200);
    std::fs::write(&file, format!("{line_of_bob} 1999-12-31\n")).unwrap();
    clock.advance(1_000);
    assert_eq!(error_of(&stats(&server.api, &[("authorization", &bob)]).await), (401, "expired".to_owned()));
}

#[tokio::test]
async fn a_token_for_trying_out_is_made_with_the_secret() {
    let directory = tempfile::tempdir().unwrap();
    let arguments = ["dev", "--tenant", "team", "--subject", "ann", "--role", "admin"];
    let more = [("AUTH_ISSUER", "me"), ("AUTH_AUDIENCE", "sync"), ("ADAPTER", "memory"), ("BIND", "0.0.0.0")];
    let settings: Vec<_> = WITH_SECRET.into_iter().chain(more).collect();
    let (code, token) = made(directory.path(), &arguments, &settings).await;
    assert_eq!(code, Some(0), "{token}");
    let server = server::start(&settings, ()).await;
    let headers = [("authorization", bearer(token.trim()))];
    let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
    let answer = server.api.send(Method::POST, "/compact", &headers, body_of("/compact")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let (code, said) = made(directory.path(), &arguments, &[]).await;
    assert!(code == Some(2) && said.starts_with("AUTH_HS256_SECRET: "), "{said}");
    for wrong in [&[][..], &["new"], &["dev", "--tenant", "hunter2"], &["new", "--tenant", "t", "--subject"], &["old"]]
    {
        let (code, said) = made(directory.path(), wrong, &[]).await;
        assert!(code == Some(2) && said.contains("token new --tenant") && !said.contains("hunter2"), "{said}");
    }
}

#[tokio::test]
async fn the_access_log_says_the_subject_and_no_token() {
    let directory = tempfile::tempdir().unwrap();
    let more = [("LOG_FORMAT", "json"), ("LOG_LEVEL", "trace"), ("ADAPTER", "memory")];
    let settings: Vec<_> = WITH_SECRET.into_iter().chain(more).collect();
    let local = Local::start(directory.path(), &settings).await;
    let tokens = [token_for(60, &json!("team"), None), token_for(60, &json!("team"), Some("root"))];
    for token in &tokens {
        stats(&local.api, &[("authorization", &bearer(token))]).await;
    }
    local.signal("TERM").await;
    let (_, log) = local.end().await;
    for token in &tokens {
        let signature = token.rsplit('.').next().unwrap();
        assert!(!log.contains(signature) && !log.contains("hunter2"), "{log}");
    }
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let subjects: Vec<&Value> =
        lines.iter().filter(|line| line["message"] == "answered").map(|line| &line["span"]["access.subject"]).collect();
    assert_eq!(subjects, [&json!("ann"), &Value::Null], "{log}");
    assert!(log.contains("the token grants nothing here"), "{log}");
}
