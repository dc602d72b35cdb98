//! The server: the program `local` beside this one, as a process.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use crate::Result;

/// A server that runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    /// Its address, as `address:port`.
    pub(crate) host: String,
}

impl Server {
    /// Starts a server with its default settings on a database, and waits until it listens.
    pub(crate) fn start(variables: &[(&'static str, String)]) -> Result<Self> {
        let program = std::env::current_exe()?.with_file_name("local");
        let mut process = Command::new(&program)
            .env_clear()
            .envs(variables.iter().map(|(name, value)| (name, value)))
            .env("PORT", "0")
            // A file `.env` here would change the default settings.
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // The server writes its log as usual, but it is not read.
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", program.display()))?;
        let output = process.stdout.take().map(BufReader::new).ok_or("the server has no standard output")?;
        let mut host = None;
        for line in output.lines() {
            let line = line?;
            if let Some(address) = line.strip_prefix("listening  http://") {
                host = Some(address.to_owned());
            }
            if line.starts_with("stop") {
                break;
            }
        }
        match host {
            Some(host) => Ok(Self { process, host }),
            None => Err(format!("the server ended with {}", process.wait()?).into()),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // If the process has ended already, nothing is left to do.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
