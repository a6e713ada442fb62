//! Where servers are. Pure.

use std::fmt;

use crate::error::{Error, Reason, Result};

/// The port of servers by default.
const PORT: u16 = 7420;

/// A server: a host and a port, and whether it is reached over TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) is_secure: bool,
}

impl Address {
    /// The server at `grpc://HOST:PORT`, over TLS at `grpcs://HOST:PORT`; `HOST:PORT` alone is without TLS.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let (is_secure, rest) = match text.split_once("://") {
            Some(("grpc", rest)) => (false, rest),
            Some(("grpcs", rest)) => (true, rest),
            Some(_) => return Err(unreadable(text)),
            None => (false, text),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (host, port) = split(rest).ok_or_else(|| unreadable(text))?;
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|port| *port > 0).ok_or_else(|| unreadable(text))?,
        };
        let is_host = !host.is_empty() && !host.contains(['/', '@', '[', ']', ' ']);
        // A port alone would be taken for a host: 7420 for 0.0.28.252.
        if !is_host || host.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(unreadable(text));
        }
        Ok(Self { host: host.to_owned(), port, is_secure })
    }

    /// Whether it is this machine.
    pub(crate) fn is_loopback(&self) -> bool {
        let address = self.host.parse::<std::net::IpAddr>();
        self.host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    }

    /// The authority of requests: `HOST:PORT`.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// A host and what follows its colon. An IPv6 address is in brackets.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']')?;
        return match after.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => after.is_empty().then_some((host, None)),
        };
    }
    match text.split_once(':') {
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
        None => Some((text, None)),
    }
}

fn unreadable(text: &str) -> Error {
    if text.contains(',') {
        let message = format!(
            "{text:?} is several addresses; give the first to Client::builder, and each further one to its address()"
        );
        return Error::new(Reason::Config, message);
    }
    let message = format!(
        "{text:?} is not the address of a server; write grpc://HOST:PORT, or grpcs://HOST:PORT for TLS, e.g. \
         grpc://127.0.0.1:{PORT}"
    );
    Error::new(Reason::Config, message)
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}", if self.is_secure { "grpcs" } else { "grpc" }, self.authority())
    }
}
