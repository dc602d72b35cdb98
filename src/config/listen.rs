//! The address at which the local server listens.

pub(super) mod connections;

use std::net::{IpAddr, ToSocketAddrs as _};

use super::variables::{ConfigError, Variables, wrong};
use crate::limits::runtime::DRAIN_MAX_SECONDS;

/// The address at which the local server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listen {
    /// The address.
    pub bind: IpAddr,
    /// The port, or 0 for any free one.
    pub port: u16,
    /// Whether there is a console at `/_console`.
    pub console: bool,
    /// For how long the server still takes requests after it was told to stop, in seconds.
    pub drain_seconds: u32,
}

impl Listen {
    pub(super) fn read(variables: &Variables<'_>) -> Result<Self, ConfigError> {
        let bind = bind(variables)?;
        Ok(Self {
            bind,
            port: variables.parse("PORT", "3000", "must be an integer from 0 to 65535")?,
            console: console(variables, bind)?,
            drain_seconds: drain_seconds(variables)?,
        })
    }
}

/// Whether there is a console. Other machines get one only if the settings say so.
fn console(variables: &Variables<'_>, bind: IpAddr) -> Result<bool, ConfigError> {
    const VARIABLE: &str = "CONSOLE";
    match variables.get(VARIABLE).as_deref() {
        None => Ok(bind.to_canonical().is_loopback()),
        Some("on") => Ok(true),
        Some("off") => Ok(false),
        Some(other) => Err(wrong(VARIABLE, "must be on or off", other)),
    }
}

fn drain_seconds(variables: &Variables<'_>) -> Result<u32, ConfigError> {
    const VARIABLE: &str = "DRAIN_SECONDS";
    let rule = format!("must be an integer from 0 to {DRAIN_MAX_SECONDS}");
    let seconds: u32 = variables.parse(VARIABLE, "0", &rule)?;
    if seconds <= DRAIN_MAX_SECONDS { Ok(seconds) } else { Err(wrong(VARIABLE, &rule, &seconds.to_string())) }
}

/// The address to listen on. If a name has several addresses, the first IPv4 address is used.
fn bind(variables: &Variables<'_>) -> Result<IpAddr, ConfigError> {
    const VARIABLE: &str = "BIND";
    let name = variables.get_or(VARIABLE, "127.0.0.1");
    if let Ok(address) = name.parse() {
        return Ok(address);
    }
    let addresses: Vec<IpAddr> =
        (name.as_str(), 0).to_socket_addrs().map(|found| found.map(|found| found.ip()).collect()).unwrap_or_default();
    let first = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
    let rule = "must be an IP address, or a name such as localhost that has one";
    first.copied().ok_or_else(|| wrong(VARIABLE, rule, &name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::variables::read_from;

    #[test]
    fn a_server_drains_for_a_bounded_time() {
        let drain =
            |value: &str| read_from(&[("DRAIN_SECONDS", value)], Listen::read).map(|listen| listen.drain_seconds);
        assert_eq!((drain(""), drain("20")), (Ok(0), Ok(20)));
        for wrong in ["21", "-1", "1.5", "long"] {
            assert!(drain(wrong).unwrap_err().starts_with("DRAIN_SECONDS: must be an integer from 0 to 20"), "{wrong}");
        }
    }

    #[test]
    fn a_name_to_listen_on_stands_for_its_address() {
        let bind = |name: &str| read_from(&[("BIND", name)], Listen::read).unwrap().bind;
        assert!(bind("localhost").is_loopback());
        assert_eq!(bind("::1"), "::1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn there_is_a_console_for_this_machine_and_for_others_if_it_is_said() {
        let console = |set: &[(&str, &str)]| read_from(set, Listen::read).map(|listen| listen.console);
        for here in ["127.0.0.1", "localhost", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(console(&[("BIND", here)]), Ok(true), "{here}");
            assert_eq!(console(&[("BIND", here), ("CONSOLE", "off")]), Ok(false), "{here}");
        }
        for everywhere in ["0.0.0.0", "::"] {
            assert_eq!(console(&[("BIND", everywhere)]), Ok(false), "{everywhere}");
            assert_eq!(console(&[("BIND", everywhere), ("CONSOLE", "on")]), Ok(true), "{everywhere}");
        }
        assert!(console(&[("CONSOLE", "yes")]).unwrap_err().starts_with("CONSOLE: must be on or off"));
    }
}
