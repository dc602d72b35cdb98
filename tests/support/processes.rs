//! Server processes that tests start.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::ops::Range;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// How often a starting server is asked whether it is ready.
const ATTEMPTS: u32 = 600;

/// The pause between two such attempts.
const PAUSE: Duration = Duration::from_millis(50);

/// The ports of servers. They are below the ports that the system gives to outgoing connections, which could otherwise
/// take the port of a server that is restarted.
const PORTS: Range<u16> = 10_000..32_000;

/// A port on which no process listens.
pub(crate) fn free_port() -> u16 {
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut ports = std::iter::repeat_with(|| fastrand::u16(PORTS)).take(1_000);
    ports.find(is_free).expect("a free port")
}

/// A directory that belongs to the user of the servers. It is removed when this is dropped.
pub(crate) fn server_directory() -> TempDir {
    let directory = tempfile::tempdir().expect("a directory can be made");
    if is_root() {
        run(Command::new("chown").arg("nobody").arg(directory.path()));
    }
    directory
}

/// Writes a file that only the user of the servers may read.
pub(crate) fn write_for_server(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("its rights can be set");
    if is_root() {
        run(Command::new("chown").arg("nobody").arg(path));
    }
}

/// A command that runs as the user of the servers, because some servers refuse to run as root. The process receives a
/// signal to quit when the thread that started it ends, even after a panic.
pub(crate) fn as_server_user(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if is_root() {
        command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]);
    }
    command.arg(program).stdin(Stdio::null());
    command
}

/// Runs a command, which must succeed.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sends a signal to a process.
pub(crate) fn signal(process: &Child, name: &str) {
    run(Command::new("kill").arg("-s").arg(name).arg(process.id().to_string()));
}

/// Waits until a server is ready, and fails if its process has ended.
pub(crate) async fn wait_until(process: &mut Child, is_ready: impl AsyncFn() -> bool) {
    for _ in 0..ATTEMPTS {
        if is_ready().await {
            return;
        }
        let ended = process.try_wait().expect("the state of a child is known");
        assert!(ended.is_none(), "the server ended with {ended:?}");
        tokio::time::sleep(PAUSE).await;
    }
    panic!("the server does not get ready");
}

fn is_root() -> bool {
    fs::metadata("/proc/self").expect("the system says who we are").uid() == 0
}
