//! `GET /documents/:collection/:id` as a Lambda function.

use std::process::ExitCode;

use syncflow_server::api::Endpoint;
use syncflow_server::lambda;

fn main() -> ExitCode {
    lambda::serve(Endpoint::GetDocument)
}
