//! PostgreSQL servers for a single test, which it can configure, kill and start again, and poolers in front of them.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use tempfile::TempDir;
use tokio_postgres::NoTls;

use super::postgres::{connect, required};
use super::processes::{as_server_user, free_port, run, server_directory, signal, wait_until, write_for_server};

/// A server. It ends, and its data are removed, when this is dropped.
pub(crate) struct PostgresServer {
    directory: TempDir,
    port: u16,
    settings: Vec<String>,
    process: Child,
}

impl PostgresServer {
    /// Starts a server with settings such as `ssl=on`. `prepare` is called with its directory before.
    ///
    /// Nothing is flushed to the disk, because a test kills the server but never the machine.
    pub(crate) async fn start_with(settings: &[&str], prepare: impl FnOnce(&Path)) -> Self {
        let directory = server_directory();
        let data = directory.path().join("data");
        run(as_server_user(program("initdb")).current_dir(directory.path()).arg("--pgdata").arg(&data).args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]));
        prepare(&data);
        let port = free_port();
        let port_setting = format!("port={port}");
        let ours = ["listen_addresses=127.0.0.1", &port_setting, "unix_socket_directories=", "fsync=off"];
        let settings: Vec<String> = ours.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let process = spawn(&data, &settings);
        let mut server = Self { directory, port, settings, process };
        server.wait_until_it_answers().await;
        server
    }

    /// Starts a server with settings.
    pub(crate) async fn start(settings: &[&str]) -> Self {
        Self::start_with(settings, |_| {}).await
    }

    /// The URL for a superuser.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// The server's directory. Its data are in `data`.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Sends a signal and waits for the end: `INT` for a fast shutdown, `QUIT` for an end as in a crash.
    pub(crate) fn stop(&mut self, signal_name: &str) {
        signal(&self.process, signal_name);
        self.process.wait().expect("a server that is told to stop does");
    }

    /// Starts the server again and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(&self.directory.path().join("data"), &self.settings);
        self.wait_until_it_answers().await;
    }

    async fn wait_until_it_answers(&mut self) {
        let url = self.url();
        wait_until(&mut self.process, async || tokio_postgres::connect(&url, NoTls).await.is_ok()).await;
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // The server may have ended already, which is not an error.
        let _ = self.process.try_wait().map(|ended| ended.is_none().then(|| self.stop("QUIT")));
    }
}

fn spawn(data: &Path, settings: &[String]) -> Child {
    let mut command = as_server_user(program("postgres"));
    command.current_dir(data).arg("-D").arg(data).stdout(Stdio::null()).stderr(Stdio::null());
    for setting in settings {
        command.arg("-c").arg(setting);
    }
    command.spawn().expect("the server starts")
}

fn program(name: &str) -> PathBuf {
    PathBuf::from(required("TEST_POSTGRES_BIN")).join(name)
}

/// A PgBouncer that gives each transaction any of a few connections. It ends when this is dropped.
pub(crate) struct Pooler {
    process: Child,
    port: u16,
    _directory: TempDir,
}

impl Pooler {
    /// Starts a pooler with `connections` connections to the server at `url`.
    pub(crate) async fn start(url: &str, connections: usize) -> Self {
        let config: tokio_postgres::Config = url.parse().expect("a connection string");
        let [tokio_postgres::config::Host::Tcp(host)] = config.get_hosts() else { panic!("one host in {url}") };
        let (directory, port) = (server_directory(), free_port());
        let file = directory.path().join("pgbouncer.ini");
        let settings = format!(
            "[databases]\n\
             * = host={host} port={server_port} user={user} dbname={name}\n\
             [pgbouncer]\n\
             listen_addr = 127.0.0.1\n\
             listen_port = {port}\n\
             unix_socket_dir =\n\
             auth_type = any\n\
             pool_mode = transaction\n\
             default_pool_size = {connections}\n",
            server_port = config.get_ports().first().unwrap_or(&5432),
            user = config.get_user().expect("a user"),
            name = config.get_dbname().expect("a database"),
        );
        write_for_server(&file, settings);
        let mut command = as_server_user(required("TEST_PGBOUNCER"));
        let process = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts");
        let mut pooler = Self { process, port, _directory: directory };
        let url = pooler.url();
        wait_until(&mut pooler.process, async || tokio_postgres::connect(&url, NoTls).await.is_ok()).await;
        // The pooler is ready when the server behind it answers.
        connect(&url).await.simple_query("SELECT 1").await.expect("the server behind the pooler answers");
        pooler
    }

    /// The URL of the pooler.
    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@127.0.0.1:{}/any", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        // The pooler may have ended already, which is not an error.
        let _ = self.process.kill().and_then(|()| self.process.wait());
    }
}
