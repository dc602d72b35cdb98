//! The task `health`: whether the server with the same settings answers, for the health checks of containers.

use std::error::Error;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::super::{reachable, say, settings};

/// The exit code if the server does not answer, or says that it cannot work.
const DOES_NOT_WORK: u8 = 1;

/// How long the server may take to answer.
const TIME_MAX: Duration = Duration::from_secs(5);

/// Sends a request for `/health` to the address that the settings name, and reports the answer.
pub(crate) fn ask() -> Result<ExitCode, Box<dyn Error>> {
    let listen = settings::read()?.config.listen;
    let address = SocketAddr::new(reachable(listen.bind), listen.port);
    let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let problem = match tokio.block_on(async { timeout(TIME_MAX, status(address)).await }) {
        Ok(Ok(StatusCode::OK)) => return Ok(say("well\n")),
        Ok(Ok(status)) => format!("the server at {address} answers {status}"),
        Ok(Err(error)) => format!("no answer from {address}: {error}"),
        Err(_) => format!("no answer from {address} within {} s", TIME_MAX.as_secs()),
    };
    // The output may be closed already, which is not an error.
    let _ = writeln!(io::stderr(), "{problem}");
    Ok(ExitCode::from(DOES_NOT_WORK))
}

async fn status(address: SocketAddr) -> Result<StatusCode, Box<dyn Error>> {
    let stream = TcpStream::connect(address).await?;
    let (mut requests, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    // The server takes this name on every address.
    let request = Request::get("/health").header(HOST, "localhost").body(Empty::<Bytes>::new())?;
    Ok(requests.send_request(request).await?.status())
}
