//! The scripts end what takes too long, and say what it was.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

/// Runs a command at the repository's root, in a process group of its own, which may be killed.
fn run(program: &str, arguments: &[&str]) -> Output {
    Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .process_group(0)
        .output()
        .expect("it runs")
}

/// Runs a test command, of which a test may go on for two seconds after it was reported as slow.
fn watched(script: &str) -> Output {
    run("python3", &["local-dev/lib/watch-tests.py", "2", "sh", "-c", script])
}

const SLOW: &str = "echo 'test slow::one has been running for over 60 seconds'";

#[test]
fn a_test_that_hangs_is_killed_and_named() {
    let output = watched(&format!("{SLOW}; exec sleep 600"));
    assert_eq!(output.status.code(), None, "it is killed");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("slow::one did not end"), "{said}");
}

#[test]
fn a_slow_test_that_ends_is_let_be() {
    let output = watched(&format!("{SLOW}; echo 'test slow::one ... ok'; sleep 3; exit 7"));
    assert_eq!(output.status.code(), Some(7), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_part_of_the_tests_that_takes_too_long_is_killed_and_fails() {
    let script = "source local-dev/lib/common.sh
        run 0 'a slow part' sleep 600
        run 1 'a good part' true
        printf '%s\\n' \"${outcomes[@]}\"
        exit \"$status\"";
    let output = run("bash", &["-c", script]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let outcomes = String::from_utf8_lossy(&output.stdout);
    assert!(outcomes.contains("FAILED  a slow part") && outcomes.contains("passed  a good part"), "{outcomes}");
}

#[test]
fn half_an_installation_is_made_again_and_so_is_one_of_another_version_or_place() {
    let directory = tempfile::tempdir().expect("a directory");
    let script = "source local-dev/lib/common.sh
        cd \"$1\"; mkdir tool
        check() { if is_made \"$@\"; then echo made; else echo missing; fi; }
        check tool 1
        mark_made tool 1
        check tool 1
        check tool 2
        cp -r tool copy; check copy 1";
    let at = directory.path().to_str().expect("text");
    let output = run("bash", &["-c", script, "bash", at]);
    let said = String::from_utf8_lossy(&output.stdout);
    let found: Vec<&str> = said.lines().collect();
    assert_eq!(found, ["missing", "made", "missing", "missing"], "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_port_of_the_scripts_is_not_one_that_the_system_gives_to_others() {
    let output = run("bash", &["-c", "source local-dev/lib/common.sh; free_port"]);
    let port: u16 = String::from_utf8_lossy(&output.stdout).trim().parse().expect("a port");
    assert!((10_000..32_000).contains(&port), "{port}");
}
