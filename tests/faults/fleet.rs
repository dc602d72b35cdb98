//! The servers, each a process behind its own proxy.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::database::Database;
use super::proxy::Proxy;
use crate::support::processes::free_port;

/// The number of servers on the store.
const SERVERS: usize = 3;

/// The time limit of a server for a request, in seconds.
pub(super) const REQUEST_TIMEOUT_SECONDS: u64 = 2;

/// How often a new server is asked whether it listens, with pauses of 20 ms.
const START_ATTEMPTS: u32 = 1_500;

/// How many lines of each server's log are shown after a failed run.
const LOG_LINES: usize = 20;

/// The servers. They end when this is dropped.
pub(super) struct Fleet {
    servers: Vec<Server>,
    settings: Vec<(&'static str, String)>,
    directory: TempDir,
}

struct Server {
    port: u16,
    proxy: Proxy,
    process: Child,
}

impl Fleet {
    /// Starts servers on a database and waits until they listen.
    pub(super) async fn start(database: &Database, random: &mut fastrand::Rng) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut settings = database.settings();
        settings.extend([
            ("REQUEST_TIMEOUT_SECONDS", REQUEST_TIMEOUT_SECONDS.to_string()),
            ("POOL_SIZE", "4".to_owned()),
            ("LOG_LEVEL", "warn".to_owned()),
        ]);
        let mut fleet = Self { servers: Vec::new(), settings, directory };
        for number in 0..SERVERS {
            let port = free_port();
            let proxy = Proxy::before(port, random.fork()).await;
            let process = fleet.spawn(number, port).await;
            fleet.servers.push(Server { port, proxy, process });
        }
        fleet
    }

    async fn spawn(&self, number: usize, port: u16) -> Child {
        let log = File::options().create(true).append(true).open(self.log(number)).expect("a log can be written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_local"));
        command.env_clear().current_dir(self.directory.path()).env("PORT", port.to_string());
        command.envs(self.settings.iter().map(|(name, value)| (*name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let mut process = command.spawn().expect("the server starts");
        for _ in 0..START_ATTEMPTS {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return process;
            }
            let ended = process.try_wait().expect("the state of a child is known");
            assert!(ended.is_none(), "a server ended with {ended:?}\n{}", self.logs());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("a server does not get ready\n{}", self.logs());
    }

    fn log(&self, number: usize) -> std::path::PathBuf {
        self.directory.path().join(format!("server-{number}.log"))
    }

    /// The number of servers.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// The ports of the servers themselves.
    pub(super) fn ports(&self) -> impl Iterator<Item = u16> {
        self.servers.iter().map(|server| server.port)
    }

    /// The proxies before the servers.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.servers.iter().map(|server| &server.proxy)
    }

    /// Kills a server and starts it again after a pause.
    pub(super) async fn kill(&mut self, number: usize, pause: Duration) {
        let server = &mut self.servers[number];
        server.process.kill().await.expect("a server can be killed");
        tokio::time::sleep(pause).await;
        let port = server.port;
        self.servers[number].process = self.spawn(number, port).await;
    }

    /// Suspends a server's process and resumes it after a pause.
    pub(super) async fn freeze(&self, number: usize, pause: Duration) {
        self.signal(number, "STOP").await;
        tokio::time::sleep(pause).await;
        self.signal(number, "CONT").await;
    }

    async fn signal(&self, number: usize, name: &str) {
        let id = self.servers[number].process.id().expect("the server runs").to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().await;
        assert!(sent.expect("a signal can be sent").success());
    }

    /// The last lines of all logs.
    pub(super) fn logs(&self) -> String {
        let log = |number| {
            let text = fs::read_to_string(self.log(number)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("server {number}:\n{}\n", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
        };
        (0..SERVERS).map(log).collect()
    }
}
