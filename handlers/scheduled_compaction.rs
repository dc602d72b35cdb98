//! The compaction of every tenant, started by EventBridge Scheduler, as a Lambda function.

use std::process::ExitCode;

use syncflow_server::lambda;

fn main() -> ExitCode {
    lambda::serve_scheduled_compaction()
}
