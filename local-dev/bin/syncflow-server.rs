//! The program under the name by which it is installed. `local` is the same program under its development name.

use std::process::ExitCode;

#[path = "../main.rs"]
mod program;

fn main() -> ExitCode {
    program::main()
}
