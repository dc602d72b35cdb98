//! MongoDB servers for a single test, which it can kill and start again.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use mongodb::bson::doc;
use tempfile::TempDir;

use super::mongo::connect;
use super::postgres::required;
use super::processes::{free_port, signal, wait_until, write_for_server};

/// A server. It ends, and its data are removed, when this is dropped.
pub(crate) struct MongoServer {
    directory: TempDir,
    port: u16,
    is_alone: bool,
    asks_for_logins: bool,
    process: Child,
}

impl MongoServer {
    /// A replica set of one node.
    pub(crate) async fn start() -> Self {
        Self::spawn_new(false).await
    }

    /// A server without transactions.
    pub(crate) async fn standalone() -> Self {
        Self::spawn_new(true).await
    }

    async fn spawn_new(is_alone: bool) -> Self {
        let (directory, port) = (tempfile::tempdir().expect("a directory can be made"), free_port());
        let process = spawn(directory.path(), port, is_alone, false);
        let mut server = Self { directory, port, is_alone, asks_for_logins: false, process };
        server.wait_until_it_answers().await;
        server
    }

    /// The URI of the server.
    pub(crate) fn uri(&self) -> String {
        format!("mongodb://127.0.0.1:{}/?directConnection=true", self.port)
    }

    /// The port of the server.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its data, which may be copied while the server is down.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills the server as in a crash.
    pub(crate) fn kill(&mut self) {
        signal(&self.process, "KILL");
        self.process.wait().expect("a server that is killed ends");
    }

    /// Starts the server again and waits until it answers.
    pub(crate) async fn start_again(&mut self) {
        self.process = spawn(self.directory.path(), self.port, self.is_alone, self.asks_for_logins);
        self.wait_until_it_answers().await;
    }

    /// Starts the server again so that it requires a login.
    pub(crate) async fn ask_for_logins(&mut self) {
        self.kill();
        self.asks_for_logins = true;
        self.start_again().await;
    }

    async fn wait_until_it_answers(&mut self) {
        let admin = connect(&format!("{}&serverSelectionTimeoutMS=500", self.uri())).await.database("admin");
        let (port, is_alone) = (self.port, self.is_alone);
        wait_until(&mut self.process, async || {
            let Ok(hello) = admin.run_command(doc! { "hello": 1 }).await else { return false };
            if is_alone || hello.get_bool("isWritablePrimary").unwrap_or(false) {
                return true;
            }
            let members = vec![doc! { "_id": 0, "host": format!("127.0.0.1:{port}") }];
            // This fails if the replica set was initiated before.
            let _ = admin.run_command(doc! { "replSetInitiate": { "_id": "rs0", "members": members } }).await;
            false
        })
        .await;
    }
}

impl Drop for MongoServer {
    fn drop(&mut self) {
        // The server may have ended already, which is not an error.
        let _ = self.process.try_wait().map(|ended| ended.is_none().then(|| self.kill()));
    }
}

fn spawn(directory: &Path, port: u16, is_alone: bool, asks_for_logins: bool) -> Child {
    // The server ends with the thread that started it, even after a panic.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(required("TEST_MONGO_PROGRAM")).stdin(Stdio::null());
    let port = port.to_string();
    if required("TEST_MONGO_KIND") == "mongod" {
        command.arg("--dbpath").arg(directory).args(["--port", &port, "--bind_ip", "127.0.0.1", "--nounixsocket"]);
        if !is_alone {
            command.args(["--replSet", "rs0"]);
        }
        if asks_for_logins {
            // Members of a replica set identify themselves with this key. If a key file is set, the server also
            // requires a login.
            let key = directory.join("key");
            write_for_server(&key, "x".repeat(32));
            command.arg("--keyFile").arg(key);
        }
    } else {
        command.arg("--storage-path").arg(directory).args(["--port", &port, "--host", "127.0.0.1"]);
        command.args(["--log-level", "ERROR"]);
        // This is what `j: true` demands of a server. Without it, the emulation does not flush its journal at a commit.
        command.arg("--sync-on-commit");
        if is_alone {
            command.arg("--standalone");
        }
        if asks_for_logins {
            command.arg("--auth");
        }
    }
    // The error output is shown because the emulation prints there why it does not start. The standard output of mongod
    // is long and not needed.
    command.current_dir(directory).stdout(Stdio::null()).spawn().expect("the server starts")
}
