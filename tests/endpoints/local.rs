//! The local server as a process: its output, its settings, and how it stops.

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

use super::client::{Api, insert};
use super::contract;
use super::raw::Connection;

/// A running server. It is killed at the end of the test.
pub(crate) struct Local {
    pub(super) child: Child,
    stdout: BufReader<ChildStdout>,
    pub(super) screen: String,
    /// The log as far as it was read.
    log: String,
    pub(super) api: Api,
}

/// The command that starts a server in a directory, with these settings and no others. Unless they set an address, it
/// listens on a free port, because the default port may be in use.
pub(crate) fn command(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
    command.env_clear().env("PORT", "0").current_dir(directory).envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a command that must soon end by itself.
pub(crate) async fn run_to_end(command: &mut Command) -> Output {
    const TIME_MAX: Duration = Duration::from_secs(120);
    let output = tokio::time::timeout(TIME_MAX, command.output()).await;
    output.unwrap_or_else(|_| panic!("{command:?} does not end")).expect("it runs")
}

impl Local {
    /// Starts a server in a directory and reads its first lines of output.
    pub(crate) async fn start(directory: &Path, settings: &[(&str, &str)]) -> Self {
        Self::run(command(directory, settings)).await
    }

    /// Runs the command of a server and reads its screen.
    pub(super) async fn run(mut command: Command) -> Self {
        let mut child = command.spawn().expect("the server starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut screen = String::new();
        while !screen.contains("Ctrl-C") {
            let read = stdout.read_line(&mut screen).await.expect("text");
            assert!(read > 0, "the server ended with {screen:?} and {:?}", rest_of_log(&mut child).await);
        }
        let address = screen.lines().find_map(|line| line.strip_prefix("listening")).expect("an address").trim();
        let api = Api::at(address.to_owned());
        Self { child, stdout, screen, log: String::new(), api }
    }

    /// The id of the process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("the server runs")
    }

    /// The URL of the listener for metrics, without a path.
    pub(super) fn metrics(&self) -> &str {
        let line = self.screen.lines().find_map(|line| line.strip_prefix("metrics")).expect("an address");
        line.trim().trim_end_matches("/metrics")
    }

    /// The host and port of the server.
    pub(crate) fn authority(&self) -> &str {
        self.api.authority()
    }

    pub(crate) async fn signal(&self, name: &str) {
        let id = self.id();
        let sent = Command::new("sh").arg("-c").arg(format!("kill -{name} {id}")).status().await;
        assert!(sent.expect("a shell").success());
    }

    /// Reads the log until it has a text.
    pub(crate) async fn log_until(&mut self, text: &str) {
        let stderr = self.child.stderr.as_mut().expect("a pipe");
        while !self.log.contains(text) {
            let mut some = [0; 1024];
            let count = stderr.read(&mut some).await.expect("bytes");
            assert!(count > 0, "the log ends without {text:?}: {}", self.log);
            self.log.push_str(&String::from_utf8_lossy(&some[..count]));
        }
    }

    /// Waits for the end and returns the exit code and the log.
    pub(crate) async fn end(mut self) -> (Option<i32>, String) {
        let log = self.log + &rest_of_log(&mut self.child).await;
        let mut more = String::new();
        self.stdout.read_to_string(&mut more).await.expect("text");
        assert_eq!(more, "", "the screen is all that is said on the standard output");
        (self.child.wait().await.expect("an end").code(), log)
    }

    /// Begins a push on a connection: the server has read its head and waits for the body.
    async fn push_in_flight(&self, body: &str) -> Connection {
        let mut connection = Connection::to(self.api.authority()).await;
        let length = body.len().to_string();
        connection.head("POST /operations", &[("content-length", &length), ("expect", "100-continue")]).await;
        assert_eq!(connection.answer().await.status, 100);
        connection
    }

    /// Waits until the server does not accept connections any more.
    async fn stopped_listening(&self) {
        while TcpStream::connect(self.api.authority()).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn rest_of_log(child: &mut Child) -> String {
    let mut log = String::new();
    if let Some(mut stderr) = child.stderr.take() {
        stderr.read_to_string(&mut log).await.expect("text");
    }
    log
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

fn push_of(number: u64) -> String {
    let operation = insert(&format!("op-{number}"), &format!("doc-{number}"), "a", number, number);
    json!({"clientId": "a", "operations": [operation]}).to_string()
}

#[tokio::test]
async fn with_nothing_set_it_serves_sqlite_and_says_so_in_one_screen() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    assert!(local.screen.lines().count() < 24, "{}", local.screen);
    assert!(local.screen.contains("sqlite, ./syncflow.db"), "{}", local.screen);
    let (_, url) = local.screen.split_once("curl ").expect("a line to try");
    let path = url.lines().next().unwrap().split_once(local.api.authority()).expect("its own address").1;
    let answer = local.api.get(path).await;
    assert_eq!(answer.json(), json!({"status": "ok", "adapter": "sqlite"}));
    assert!(directory.path().join("syncflow.db").exists());
    local.signal("TERM").await;
    assert_eq!(local.end().await.0, Some(0));
}

#[tokio::test]
async fn a_wrong_setting_stops_it_with_one_line_that_names_the_variable() {
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken_port = taken.local_addr().unwrap().port().to_string();
    for (variable, settings) in [
        ("PORT", vec![("PORT", "http")]),
        ("PORT", vec![("PORT", &*taken_port)]),
        ("BIND", vec![("BIND", "nowhere")]),
        ("ADAPTER", vec![("ADAPTER", "oracle")]),
        (
            "ADAPTER",
            vec![("MONGO_URI", "mongodb://u:hunter2@h"), ("POSTGRES_CONNECTION_STRING", "postgresql://u:hunter2@h/d")],
        ),
        ("MONGO_URI", vec![("ADAPTER", "mongodb")]),
        ("POSTGRES_CONNECTION_STRING", vec![("ADAPTER", "postgres"), ("POSTGRES_CONNECTION_STRING", "")]),
        ("SQLITE_PATH", vec![("SQLITE_PATH", "./no/such/directory/x.db")]),
        ("POOL_SIZE", vec![("POOL_SIZE", "none")]),
        ("REQUEST_TIMEOUT_SECONDS", vec![("REQUEST_TIMEOUT_SECONDS", "3600")]),
        ("ALLOWED_ORIGINS", vec![("ALLOWED_ORIGINS", "example.com")]),
        ("LOG_FORMAT", vec![("LOG_FORMAT", "xml")]),
        ("LOG_LEVEL", vec![("LOG_LEVEL", "chatty")]),
    ] {
        let directory = directory();
        let ended = run_to_end(&mut command(directory.path(), &settings)).await;
        let line = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{settings:?}: {line}");
        assert!(line.starts_with(&format!("{variable}: ")), "{settings:?}: {line}");
        assert_eq!(line.lines().count(), 1, "{settings:?}: {line}");
        assert!(!line.contains("hunter2"), "{line}");
    }
}

#[tokio::test]
async fn settings_in_dot_env_count_where_the_environment_has_none() {
    let directory = directory();
    let env = "# a comment\nPORT=not-a-port\nADAPTER='memory'\nLOG_LEVEL=\nUNKNOWN=1\n";
    std::fs::write(directory.path().join(".env"), env).unwrap();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    assert_eq!(local.api.get("/health").await.json()["adapter"], "memory");
}

#[tokio::test]
async fn a_malformed_dot_env_is_one_line_without_its_secrets() {
    let directory = directory();
    std::fs::write(directory.path().join(".env"), "PORT=0\nMONGO_URI='mongodb://u:hunter2@h\n").unwrap();
    let ended = run_to_end(&mut command(directory.path(), &[])).await;
    let line = String::from_utf8(ended.stderr).unwrap();
    assert_eq!((ended.status.code(), line.lines().count()), (Some(2), 1), "{line}");
    assert!(line.starts_with(".env: ") && line.contains("MONGO_URI") && !line.contains("hunter2"), "{line}");
}

#[tokio::test]
async fn the_example_of_the_settings_is_what_counts_without_any() {
    let directory = directory();
    let example = include_str!("../../local-dev/.env.example");
    std::fs::write(directory.path().join(".env"), example).unwrap();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    assert!(local.screen.contains("sqlite, ./syncflow.db"), "{}", local.screen);
}

#[tokio::test]
async fn a_push_in_flight_is_finished_on_sigterm_and_kept() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    let mut idle = Connection::to(local.api.authority()).await;
    idle.head("GET /health", &[]).await;
    assert_eq!(idle.answer().await.status, 200);
    let body = push_of(1);
    let mut push = local.push_in_flight(&body).await;
    push.write(&body[..50]).await;

    local.signal("TERM").await;
    // Without the shutdown, both connections would stay open until the time for another request is over.
    assert!(idle.is_closed_in_silence().await);
    local.stopped_listening().await;
    push.write(&body[50..]).await;
    let answer = push.answer().await;
    contract::check(&Method::POST, "/operations", &answer);
    assert_eq!((answer.status, answer.json()["accepted"].as_array().map(Vec::len)), (200, Some(1)));
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");

    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["syncflow.db"], "a store that was closed leaves one file");
    let again = Local::start(directory.path(), &[("PORT", "0")]).await;
    assert_eq!(again.api.stats().await["totalOperations"], 1);
}

#[tokio::test]
async fn sigint_stops_it_as_sigterm_does() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    local.api.post("/operations", push_of(1)).await;
    local.signal("INT").await;
    assert_eq!(local.end().await.0, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_the_waiting_for_what_is_in_flight() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0")]).await;
    let mut push = local.push_in_flight(&push_of(1)).await;
    local.signal("TERM").await;
    local.stopped_listening().await;
    local.signal("INT").await;
    assert!(push.is_closed_in_silence().await);
    let (code, log) = local.end().await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("cut off"), "{log}");
}

#[tokio::test]
async fn the_access_log_has_what_is_needed_and_nothing_secret() {
    let directory = directory();
    let local = Local::start(directory.path(), &[("PORT", "0"), ("LOG_FORMAT", "json")]).await;
    let headers = [("authorization", "Bearer hunter2"), ("x-request-id", "request-7"), ("cookie", "hunter2")];
    let body = push_of(1).replace("doc-1", "hunter2");
    local.api.send(Method::POST, "/operations?token=hunter2", &headers, body).await;
    local.api.send(Method::POST, "/operations?token=hunter2", &headers, "{\"hunter2").await;
    local.signal("TERM").await;
    let (_, log) = local.end().await;
    assert!(!log.contains("hunter2"), "{log}");
    let lines: Vec<Value> =
        log.lines().map(|line| serde_json::from_str(line).expect("one JSON object a line")).collect();
    let answered: Vec<&Value> = lines.iter().filter(|line| line["message"] == "answered").collect();
    assert_eq!(answered.len(), 2, "{log}");
    for (line, status) in answered.iter().zip([200, 400]) {
        assert_eq!((&line["level"], &line["http.status"]), (&json!("INFO"), &json!(status)));
        assert!(line["http.latency_ms"].is_u64() && line["timestamp"].is_string());
        let span = &line["span"];
        assert_eq!((&span["http.method"], &span["http.path"]), (&json!("POST"), &json!("/operations")));
        assert_eq!(span["request.id"], "request-7");
        assert_eq!((&span["peer.address"], &span["client.address"]), (&json!("127.0.0.1"), &json!("127.0.0.1")));
    }
}

#[tokio::test]
async fn http_2_is_spoken_with_prior_knowledge_if_it_is_asked_for() {
    let directory = directory();
    let settings = [("PORT", "0"), ("ADAPTER", "memory"), ("HTTP2", "on")];
    let local = Local::start(directory.path(), &settings).await;
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let response = client.get(format!("http://{}/health", local.api.authority())).send().await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, reqwest::Version::HTTP_2));
    drop(client);
    local.signal("TERM").await;
    assert_eq!(local.end().await.0, Some(0));
}

#[tokio::test]
async fn the_log_has_the_client_of_a_trusted_proxy_and_the_beginning_of_a_path() {
    let directory = directory();
    for (proxies, client) in [("127.0.0.1", "1.2.3.4"), ("none", "127.0.0.1")] {
        let settings = [("ADAPTER", "memory"), ("LOG_FORMAT", "json"), ("TRUSTED_PROXIES", proxies)];
        let local = Local::start(directory.path(), &settings).await;
        let path = format!("/documents/todos/{}", "x".repeat(5_000));
        let headers = [("x-forwarded-for", "6.6.6.6, 1.2.3.4")];
        local.api.send_unchecked(Method::GET, &path, &headers, Vec::new()).await;
        local.signal("TERM").await;
        let (_, log) = local.end().await;
        let line = log.lines().find(|line| line.contains("answered")).expect("a line of the access log");
        let span = &serde_json::from_str::<Value>(line).unwrap()["span"];
        assert_eq!((&span["peer.address"], &span["client.address"]), (&json!("127.0.0.1"), &json!(client)));
        let logged = span["http.path"].as_str().unwrap();
        assert_eq!(logged.chars().count(), 257, "256 characters and a sign that there were more");
    }
}

/// Waits for the end of a server whose log is not read.
pub(super) async fn end_unread(local: &mut Local) -> Option<i32> {
    tokio::time::timeout(Duration::from_secs(120), local.child.wait()).await.expect("an end").unwrap().code()
}

#[tokio::test]
async fn a_log_that_nobody_reads_stops_neither_requests_nor_the_end() {
    let directory = directory();
    let mut local = Local::start(directory.path(), &[("ADAPTER", "memory"), ("LOG_FORMAT", "json")]).await;
    // Far more than a pipe holds.
    let path = format!("/{}", "x".repeat(300));
    for _ in 0..1_000 {
        assert_eq!(local.api.send(Method::GET, &path, &[], "").await.status, 404);
    }
    local.signal("TERM").await;
    assert_eq!(end_unread(&mut local).await, Some(0));
}

#[tokio::test]
async fn whatever_runs_the_server_ends_in_time() {
    let directory = directory();
    let mut local = Local::start(directory.path(), &[("LOG_FORMAT", "json"), ("LOG_LEVEL", "trace")]).await;
    let mut operation = insert("op-1", "doc-1", "a", 1, 1);
    operation["data"] = json!({ "text": "x".repeat(900_000) });
    local.api.accept(&[operation]).await;
    // The store cannot write while another connection does.
    let other_writer = rusqlite::Connection::open(directory.path().join("syncflow.db")).unwrap();
    other_writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let body = push_of(2);
    let mut blocked = local.push_in_flight(&body).await;
    blocked.write(&body).await;
    let half = local.push_in_flight(&body).await;
    let mut unread = Connection::to(local.api.authority()).await;
    let asked = "POST /changes HTTP/1.1\r\nhost: localhost\r\ncontent-length: 14\r\n\r\n{\"limit\":1000}";
    unread.write(asked.repeat(40)).await;
    let told_at = std::time::Instant::now();
    local.signal("TERM").await;
    assert_eq!(end_unread(&mut local).await, Some(0));
    // The limit is 35 s; a slow machine may need longer to notice.
    assert!(told_at.elapsed() < Duration::from_secs(60), "{:?}", told_at.elapsed());
    drop((blocked, half, unread, other_writer));
}

#[tokio::test]
async fn a_server_may_open_more_files_than_it_is_given_at_first() {
    let directory = directory();
    let settings = [("PORT", "0"), ("ADAPTER", "memory")];
    let program = command(directory.path(), &settings).as_std().get_program().to_owned();
    let mut limited = Command::new("sh");
    limited.arg("-c").arg("ulimit -Sn 64; exec \"$0\"").arg(program);
    limited.env_clear().envs(settings).current_dir(directory.path());
    limited.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let local = Local::run(limited).await;
    let mut connections = Vec::new();
    for _ in 0..100 {
        let mut connection = Connection::to(local.authority()).await;
        connection.head("GET /health", &[]).await;
        assert_eq!(connection.answer().await.status, 200);
        connections.push(connection);
    }
    for connection in &mut connections {
        connection.head("GET /health", &[]).await;
        assert_eq!(connection.answer().await.status, 200, "all of them are open");
    }
}
