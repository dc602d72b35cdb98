//! Commands on a terminal show how far they are, and write nothing of that into a pipe.

use std::path::Path;
use std::process::Stdio;

use syncflow_server::conformance::World;
use syncflow_server::conformance::draft::inserts;
use tokio::process::Command;

use super::program::{directory, run};
use crate::endpoints::local::run_to_end;
use crate::support::stores::open_sqlite;

/// Runs the program that its arguments name on a terminal of its own, and copies the output of this.
const ON_A_TERMINAL: &str = "import os, pty, sys; sys.exit(os.waitstatus_to_exitcode(pty.spawn(sys.argv[1:])))";

/// The exit code of a command on a terminal, and all that is written there.
async fn on_a_terminal(directory: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new("python3");
    command.args(["-c", ON_A_TERMINAL, "env", "-i", "TERM=xterm", env!("CARGO_BIN_EXE_local")]).args(arguments);
    command.current_dir(directory).stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true);
    let ended = run_to_end(&mut command).await;
    (ended.status.code(), String::from_utf8_lossy(&ended.stdout).into_owned())
}

#[tokio::test]
async fn long_commands_show_a_bar_on_a_terminal_alone() {
    let directory = directory();
    let world = World::new(open_sqlite(&directory.path().join("syncflow.db"))).as_tenant("shop");
    world.apply(inserts(20)).await;
    drop(world);
    assert_eq!(run(directory.path(), &[], &["export", "shop", "shop.jsonl"]).await.0, Some(0));
    for (arguments, bar, end) in [
        (&["verify", "shop"][..], "shop, log entries 20", "shop: well (log entries 20, documents 20)"),
        (&["import", "copy", "shop.jsonl"], " lines", "copy: documents 20"),
    ] {
        let (code, screen) = on_a_terminal(directory.path(), arguments).await;
        assert_eq!(code, Some(0), "{screen}");
        let (before, _) = screen.split_once(end).unwrap_or_else(|| panic!("no {end:?} in {screen:?}"));
        assert!(before.contains(bar) && before.contains(" left)"), "no bar before the end: {screen:?}");
        let (code, said, log) = run(directory.path(), &[], arguments).await;
        assert_eq!((code, log.as_str()), (Some(0), ""), "{said}");
        assert!(said.starts_with(&end[..8]) && !said.contains(" left)"), "{said}");
    }
}
