//! A backend as users write it: where it is, how ronde speaks to it, and its share of the requests.
//!
//! ```text
//! app1:8000    unix:/run/app.sock    https://app1:8443    https://app1
//! ```
//!
//! The problem: plain HTTP to a backend that has TLS gets an error page, and TLS to one that has none gets nothing. So which
//! of the two it is stands in the address, where nobody can forget it, and not in a setting beside it.
//!
//! Not here: which certificates are believed (`--backend-ca`; `net::tls`), and look-ups.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use super::error::shown;
use super::{Config, Endpoint, Error, RawValue, Setting, row};

/// The reader of `--backend`: an address from any source, with the options that only a `[[backend]]` table can set.
pub(super) fn backend(raw: &RawValue, _: &Setting) -> Result<Backend, String> {
    let options = raw.options;
    Ok(Backend {
        weight: options.weight,
        backup: options.backup,
        max_connections: options.max_connections,
        ..raw.text.parse()?
    })
}

/// A server that ronde proxies to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    pub endpoint: Endpoint,
    pub transport: Transport,
    /// Its turns per round, relative to the weights of the other backends: 1 to 256; default 1.
    pub weight: u32,
    /// Whether it gets requests only while every other is out of the round, or at its `max_connections`; default false.
    pub backup: bool,
    /// The most requests that are with it at once, 1 to 1048576; connections that are kept do not count; default: no limit of its own.
    pub max_connections: Option<usize>,
}

/// What HTTP goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Plain,
    /// `https://`
    Tls,
}

impl Transport {
    /// The port of its scheme (RFC 9110 §4.2).
    fn default_port(self) -> u16 {
        match self {
            Self::Plain => 80,
            Self::Tls => 443,
        }
    }
}

impl Backend {
    /// A backend with an address instead of a name, and the default options.
    pub fn at(address: SocketAddr) -> Self {
        let host = address.ip().to_canonical().to_string();
        Self::new(Endpoint::Tcp { host, port: address.port() }, Transport::Plain)
    }

    fn new(endpoint: Endpoint, transport: Transport) -> Self {
        Self { endpoint, transport, weight: 1, backup: false, max_connections: None }
    }

    /// The Host of a request that is ronde's own; see [`Endpoint::authority`].
    pub fn authority(&self) -> String {
        self.endpoint.authority(self.transport.default_port())
    }

    /// With its options, by their keys in the file, where they are not the defaults:
    /// `app1:8000 (weight 2, backup, max-connections 9)`.
    pub fn with_options(&self) -> String {
        let weight = (self.weight != 1).then(|| format!("weight {}", self.weight));
        let backup = self.backup.then(|| "backup".to_string());
        let most = self.max_connections.map(|most| format!("max-connections {most}"));
        let options: Vec<_> = [weight, backup, most].into_iter().flatten().collect();
        if options.is_empty() { self.to_string() } else { format!("{self} ({})", options.join(", ")) }
    }
}

impl FromStr for Backend {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((_, authority)) =
            text.split_once("://").filter(|(scheme, _)| scheme.eq_ignore_ascii_case("https"))
        else {
            return Ok(Self::new(text.parse()?, Transport::Plain));
        };
        let (host, rest) = authority.split_at(authority.find(['/', '?', '#']).unwrap_or(authority.len()));
        if !rest.is_empty() {
            return Err(format!(
                "{} has a path; write https://{host}: a request keeps its own path on its way to a backend",
                shown(text)
            ));
        }
        if host.starts_with("unix:") {
            return Err(format!("{} is a Unix socket, which is not for TLS; write {host}", shown(text)));
        }
        // An IPv6 address has its colons in brackets.
        let has_port = host.rsplit(']').next().is_some_and(|behind| behind.contains(':'));
        let port = if has_port { String::new() } else { format!(":{}", Transport::Tls.default_port()) };
        let endpoint = format!("{host}{port}").parse().map_err(|fault| format!("https: {fault}"))?;
        Ok(Self::new(endpoint, Transport::Tls))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.transport {
            Transport::Plain => self.endpoint.fmt(f),
            Transport::Tls => write!(f, "https://{}", self.endpoint),
        }
    }
}

impl Config {
    /// Whether a backend of these settings, without those of the routes, speaks TLS.
    pub fn has_tls_backends(&self) -> bool {
        self.backend.iter().any(|backend| backend.transport == Transport::Tls)
    }

    /// The settings of each route, and last those of the top level.
    pub fn with_routes(&self) -> impl Iterator<Item = &Config> {
        self.route.iter().map(|route| &*route.config).chain([self])
    }

    /// # Errors
    /// A backend needs TLS, and this build has none.
    pub(super) fn check_tls_backends(&self) -> Result<(), Error> {
        if cfg!(feature = "tls") {
            return Ok(());
        }
        let mut all = self.with_routes().flat_map(|config| &config.backend).chain(&self.acme_challenge);
        match all.find(|backend| backend.transport == Transport::Tls) {
            Some(backend) => Err(Error::at(
                row::backend.flag,
                format!("{backend} needs TLS, and this ronde was built without it"),
            )),
            None => Ok(()),
        }
    }

    /// What is said of the checks of backends: that there is none, or that a setting is for nothing.
    pub(super) fn remarks_on_backends(&self) -> Vec<String> {
        let (ca, insecure) = (row::backend_ca.flag, row::backend_tls_insecure.flag);
        let challenges = self.challenges();
        let all = self.with_routes().chain(&challenges);
        let secured: Vec<_> = all.filter(|config| config.has_tls_backends()).collect();
        let unchecked = secured.iter().filter(|config| config.backend_tls_insecure);
        let mut names: Vec<_> =
            unchecked.flat_map(|config| &config.backend).map(Backend::to_string).collect();
        names.retain(|name| name.starts_with("https:"));
        names.dedup();
        let mut remarks = Vec::new();
        if !names.is_empty() {
            remarks.push(format!(
                "{insecure}: whatever answers for {} is believed; {ca} names an issuer instead",
                names.join(", ")
            ));
        }
        let is_idle = |flag: &str| format!("{flag} changes nothing without a backend with https://");
        if secured.is_empty() && self.backend_ca.is_some() {
            remarks.push(is_idle(ca));
        }
        if secured.is_empty() && self.backend_tls_insecure {
            remarks.push(is_idle(insecure));
        }
        remarks
    }
}

#[cfg(test)]
mod tests {
    use super::{Backend, Transport};

    #[test]
    fn https_has_a_port_of_its_own_by_default() {
        for (text, shown, authority) in [
            ("https://app", "https://app:443", "app"),
            ("https://app:443", "https://app:443", "app"),
            ("HTTPS://App.:8443", "https://app.:8443", "app:8443"),
            ("https://app:80", "https://app:80", "app:80"),
            ("https://10.0.0.1", "https://10.0.0.1:443", "10.0.0.1"),
            ("https://[::1]", "https://[::1]:443", "[::1]"),
            ("https://[::1]:8443", "https://[::1]:8443", "[::1]:8443"),
        ] {
            let backend: Backend = text.parse().unwrap();
            assert_eq!((backend.to_string(), backend.authority()), (shown.into(), authority.into()));
            assert_eq!(backend.transport, Transport::Tls);
            assert_eq!(backend.to_string().parse(), Ok(backend));
        }
        assert_eq!("app:443".parse::<Backend>().unwrap().authority(), "app:443");
        for text in
            ["https://", "https://app/", "https://app:0", "https://u@app", "https://::1", "https://a,b"]
        {
            assert!(text.parse::<Backend>().is_err(), "{text}");
        }
    }
}
