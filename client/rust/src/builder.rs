//! How a client connects: addresses, deadlines, TLS, tokens.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use http::HeaderValue;

use crate::{
    address::Address,
    client::Client,
    connection::Connection,
    error::{Error, Reason, Result},
    tls,
    transport::Targets,
};

/// The time limit of a call with all its attempts.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The time limit of a query from its first entry to its last.
const QUERY_TIMEOUT: Duration = Duration::from_secs(3600);

/// Settings of a client; see [`Client::builder`].
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder {
    addresses: Vec<String>,
    timeout: Duration,
    query_timeout: Duration,
    is_retrying: bool,
    is_retrying_writes: bool,
    ca: Option<PathBuf>,
    identity: Option<(PathBuf, PathBuf)>,
    token: Option<String>,
    is_insecure: bool,
}

impl Builder {
    pub(crate) fn new(address: impl Into<String>) -> Self {
        Self {
            addresses: vec![address.into()],
            timeout: TIMEOUT,
            query_timeout: QUERY_TIMEOUT,
            is_retrying: true,
            is_retrying_writes: false,
            ca: None,
            identity: None,
            token: None,
            is_insecure: false,
        }
    }

    /// One more address, tried if those before cannot be reached.
    pub fn address(mut self, address: impl Into<String>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// The deadline of each call, over all its attempts and waits: 10 s by default. `Duration::MAX` for none.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The deadline of a query from its first entry to its last, and of an aggregate: an hour by default.
    pub fn query_timeout(mut self, timeout: Duration) -> Self {
        self.query_timeout = timeout;
        self
    }

    /// Whether calls are repeated where that is safe: yes, by default.
    pub fn retry(mut self, is_retrying: bool) -> Self {
        self.is_retrying = is_retrying;
        self
    }

    /// Whether writes whose outcome is unknown are sent again, too; each is still made only once. No, by default.
    pub fn retry_writes(mut self, is_retrying: bool) -> Self {
        self.is_retrying_writes = is_retrying;
        self
    }

    /// The file in PEM of the authorities to trust: the system's by default. For `grpcs:` only.
    pub fn ca(mut self, path: impl AsRef<Path>) -> Self {
        self.ca = Some(path.as_ref().to_owned());
        self
    }

    /// The files in PEM of the caller's certificate and its key, for a server that demands one. For `grpcs:` only.
    pub fn identity(mut self, cert: impl AsRef<Path>, key: impl AsRef<Path>) -> Self {
        self.identity = Some((cert.as_ref().to_owned(), key.as_ref().to_owned()));
        self
    }

    /// The token that says who calls; sent without TLS only to this machine, unless `insecure`.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// Whether the token may be sent to other machines without TLS, where others could read it. No, by default.
    pub fn insecure(mut self, is_insecure: bool) -> Self {
        self.is_insecure = is_insecure;
        self
    }

    /// The client. It connects at its first call, which must be made in a tokio runtime.
    ///
    /// # Errors
    /// `CONFIG` for an address or a file that is not valid, and for a token that would be sent unprotected; `INVALID`
    /// for `retry_writes` without `retry` and for a timeout of 0.
    pub fn connect(self) -> Result<Client> {
        if self.is_retrying_writes && !self.is_retrying {
            return Err(Error::new(Reason::Invalid, "retry_writes needs retry").with_field("retry_writes"));
        }
        if self.timeout.is_zero() || self.query_timeout.is_zero() {
            return Err(Error::new(Reason::Invalid, "a timeout must be above 0").with_field("timeout"));
        }
        let addresses = self.addresses.iter().map(|text| Address::parse(text)).collect::<Result<Vec<_>>>()?;
        let is_secure = addresses.iter().any(|address| address.is_secure);
        if !is_secure && (self.ca.is_some() || self.identity.is_some()) {
            return Err(config("ca and identity are for TLS: the address begins with grpcs:".to_owned()));
        }
        let identity = self.identity.as_ref().map(|(cert, key)| (cert.as_path(), key.as_path()));
        let targets = Targets {
            authorization: self
                .token
                .as_deref()
                .map(|token| authorization(token, &addresses, self.is_insecure))
                .transpose()?,
            tls: is_secure.then(|| tls::connector(self.ca.as_deref(), identity)).transpose()?,
            addresses,
        };
        let connection = Connection::new(targets, self.timeout, self.is_retrying);
        Ok(Client::new(connection, self.query_timeout, self.is_retrying_writes))
    }
}

fn config(message: String) -> Error {
    Error::new(Reason::Config, message)
}

/// The metadata `authorization` of a token, if it may be sent to these addresses.
fn authorization(token: &str, addresses: &[Address], is_insecure: bool) -> Result<HeaderValue> {
    let is_exposed = |address: &&Address| !address.is_secure && !address.is_loopback();
    if let Some(exposed) = addresses.iter().find(is_exposed).filter(|_| !is_insecure) {
        return Err(config(format!(
            "the token would be sent to {exposed} without encryption; use grpcs://{}, or insecure(true)",
            exposed.authority()
        )));
    }
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_token) {
        return Err(config("a token has letters, digits and -._~+/= only".to_owned()));
    }
    let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
        .map_err(|error| config("the token cannot be sent".to_owned()).with_source(error))?;
    value.set_sensitive(true);
    Ok(value)
}
