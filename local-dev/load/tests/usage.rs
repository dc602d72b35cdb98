//! The programs start and say how they are used. These tests also make `cargo test` build the programs.

use std::process::Command;

#[test]
fn the_load_generator_says_what_it_takes() {
    let output = Command::new(env!("CARGO_BIN_EXE_load")).arg("--help").output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("--store") && text.contains("--smoke"), "{text}");
}

#[test]
fn the_measurement_of_cold_starts_says_what_it_takes() {
    let output = Command::new(env!("CARGO_BIN_EXE_cold_start")).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains("usage: cold_start BINARY STARTS"), "{text}");
}
