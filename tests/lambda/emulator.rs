//! An emulation of Lambda for a function: the runtime API, and a process that is started, frozen and ended.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path as InPath, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::StatusCode;
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, oneshot};

use super::http::Listening;

/// Ends a test whose function never answers.
const NEVER: Duration = Duration::from_secs(60);

/// The trace header of every invocation.
pub(crate) const TRACE: &str = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1";

/// A counter that makes the ids of all invocations different.
static INVOCATIONS: AtomicU64 = AtomicU64::new(0);

/// A compiled function.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Binary<'a> {
    pub(crate) name: &'a str,
    pub(crate) path: &'a str,
}

/// The result of an event: the function's answer, or the error that it reported.
pub(crate) type Outcome = Result<Value, Value>;

struct Invocation {
    event: String,
    time_left: Duration,
    outcome: oneshot::Sender<Outcome>,
}

/// A running instance of a function, with its own runtime API.
pub(crate) struct Instance {
    invocations: mpsc::UnboundedSender<Invocation>,
    child: Child,
    directory: TempDir,
    _api: Listening,
}

struct RuntimeApi {
    invocations: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    in_work: Mutex<HashMap<String, oneshot::Sender<Outcome>>>,
}

impl Instance {
    /// Starts a function as Lambda would, with only Lambda's variables and the settings in its environment.
    pub(crate) async fn start(binary: Binary<'_>, settings: &[(String, String)]) -> Self {
        let (invocations, receiver) = mpsc::unbounded_channel();
        let api = Listening::start(runtime_api(receiver)).await;
        let directory = tempfile::tempdir().expect("a directory");
        let log = |name| std::fs::File::create(directory.path().join(name)).expect("a file");
        // A function does not start unless a variable says who may make requests.
        let is_said = settings.iter().any(|(name, _)| name.starts_with("AUTH"));
        let open = (!is_said).then_some(("AUTH", "off"));
        let mut command = Command::new(binary.path);
        command
            .env_clear()
            .envs(open)
            .envs(settings.iter().cloned())
            .env("AWS_LAMBDA_RUNTIME_API", api.authority())
            .env("AWS_LAMBDA_FUNCTION_NAME", binary.name)
            .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "256")
            .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
            .env("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{}", binary.name))
            .env("AWS_LAMBDA_LOG_STREAM_NAME", "stream")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(log("stdout"))
            .stderr(log("stderr"))
            .kill_on_drop(true);
        let child = command.spawn().expect("the function starts");
        Self { invocations, child, directory, _api: api }
    }

    /// Sends an event and waits for the result.
    pub(crate) async fn invoke(&mut self, event: &Value) -> Outcome {
        self.invoke_within(event, Duration::from_secs(30)).await
    }

    /// The same with so much time until the deadline, which this emulator does not enforce.
    pub(crate) async fn invoke_within(&mut self, event: &Value, time_left: Duration) -> Outcome {
        let (sender, outcome) = oneshot::channel();
        let invocation = Invocation { event: event.to_string(), time_left, outcome: sender };
        self.invocations.send(invocation).expect("the runtime API listens");
        let ended = tokio::select! {
            outcome = outcome => return outcome.expect("an outcome"),
            status = self.child.wait() => format!("the function ended: {status:?}"),
            () = tokio::time::sleep(NEVER) => "the function does not answer".to_owned(),
        };
        panic!("{ended}\n{}", self.log());
    }

    /// Waits for the end of a function that cannot start, and returns its exit code.
    pub(crate) async fn end(&mut self) -> Option<i32> {
        tokio::time::timeout(NEVER, self.child.wait()).await.expect("the function ends").expect("a status").code()
    }

    /// The function's log.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("stderr")).expect("the log is readable")
    }

    /// The lines that the function has written besides its log, which are metrics for CloudWatch.
    pub(crate) fn metrics(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.directory.path().join("stdout")).expect("the output is readable");
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|problem| panic!("{problem}: {line}"));
        text.lines().map(parse).collect()
    }

    /// Sends a signal. STOP and CONT emulate Lambda's freezing.
    pub(crate) async fn signal(&self, name: &str) {
        let id = self.child.id().expect("the function runs");
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().await;
        assert!(sent.expect("a shell").success());
    }

    /// The process's directory in `/proc`.
    pub(crate) fn proc(&self) -> PathBuf {
        Path::new("/proc").join(self.child.id().expect("the function runs").to_string())
    }
}

/// See <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>.
fn runtime_api(invocations: mpsc::UnboundedReceiver<Invocation>) -> Router {
    let api = RuntimeApi { invocations: invocations.into(), in_work: Mutex::default() };
    Router::new()
        .route("/2018-06-01/runtime/invocation/next", get(next))
        .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
        .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
        // Lambda's own limit is checked below.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::new(api))
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    let Some(invocation) = api.invocations.lock().await.recv().await else {
        return StatusCode::GONE.into_response();
    };
    let id = format!("8476a536-e9f4-11e8-9739-{:012}", INVOCATIONS.fetch_add(1, Ordering::Relaxed));
    let deadline = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time") + invocation.time_left;
    api.in_work.lock().expect("no panic").insert(id.clone(), invocation.outcome);
    let headers = [
        ("content-type", "application/json".to_owned()),
        ("lambda-runtime-aws-request-id", id),
        ("lambda-runtime-deadline-ms", deadline.as_millis().to_string()),
        ("lambda-runtime-invoked-function-arn", "arn:aws:lambda:eu-central-1:123456789012:function:f".to_owned()),
        ("lambda-runtime-trace-id", TRACE.to_owned()),
    ];
    (headers, invocation.event).into_response()
}

async fn response(State(api): State<Arc<RuntimeApi>>, InPath(id): InPath<String>, body: Bytes) -> StatusCode {
    assert!(body.len() <= 6 * 1024 * 1024, "Lambda hands nothing on that has {} bytes", body.len());
    settle(&api, &id, Ok(serde_json::from_slice(&body).expect("the answer is JSON")))
}

async fn error(State(api): State<Arc<RuntimeApi>>, InPath(id): InPath<String>, body: Bytes) -> StatusCode {
    settle(&api, &id, Err(serde_json::from_slice(&body).expect("the error is JSON")))
}

fn settle(api: &RuntimeApi, id: &str, outcome: Outcome) -> StatusCode {
    let waiting = api.in_work.lock().expect("no panic").remove(id);
    // A test that has ended meanwhile does not need the result.
    let _ = waiting.expect("an invocation in work").send(outcome);
    StatusCode::ACCEPTED
}
