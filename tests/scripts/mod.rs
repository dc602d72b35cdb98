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
