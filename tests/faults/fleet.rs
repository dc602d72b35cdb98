//! The servers, each a process behind a proxy.

use std::fs::{self, File};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use super::database::Database;
use super::proxy::Proxy;
use crate::support::processes::free_port;

/// How many servers share the store.
const SERVERS: usize = 3;

/// How long a server works on a request.
pub(super) const REQUEST_TIMEOUT_SECONDS: u64 = 2;

/// How long a server gets to listen, in attempts 20 ms apart.
const START_ATTEMPTS: u32 = 1_500;

/// How much of each server's log a failed run shows, in lines.
const LOG_LINES: usize = 20;

/// The servers; they end with this.
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

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.servers.len()
    }

    /// What stands before each.
    pub(super) fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.servers.iter().map(|server| &server.proxy)
    }

    /// Kills a server, and starts it again after a while.
    pub(super) async fn kill(&mut self, number: usize, pause: Duration) {
        let server = &mut self.servers[number];
        server.process.kill().await.expect("a server can be killed");
        tokio::time::sleep(pause).await;
        let port = server.port;
        self.servers[number].process = self.spawn(number, port).await;
    }

    /// Stops a server where it is, and lets it go on after a while.
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

    /// The ends of the logs.
    pub(super) fn logs(&self) -> String {
        let log = |number| {
            let text = fs::read_to_string(self.log(number)).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            format!("server {number}:\n{}\n", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"))
        };
        (0..SERVERS).map(log).collect()
    }
}
