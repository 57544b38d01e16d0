//! What the sockets are for that were passed to ronde: their names say it.
//!
//! | `FileDescriptorName=` | what is served on it |
//! |---|---|
//! | `http`, or no name at all | clients without TLS, as on `--listen` |
//! | `https` | clients with TLS, as on `--tls-listen` |
//! | `http-proxy-protocol`, `https-proxy-protocol` | the same behind a proxy that sends its header first, as with `--proxy-protocol` |
//!
//! The problem: a socket has an address and no purpose, and an address of the configuration may be one that is passed. So
//! a passed socket takes the place of that address, and the two must agree what it is for. The other addresses of the
//! configuration are opened as well, but not the default one: nobody has asked for it.
//!
//! Not here: taking the sockets from the environment (`net::passed`).

use crate::config::{Address, Config, Listen, Network, row};
use crate::http1::forward::Scheme;
use crate::net::listener::Listener;
use crate::net::passed::Passed;
use crate::proxy::conversation::Opening;
use crate::server::listeners::Entrance;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

const NAMES: [(&str, Scheme, Opening); 4] = [
    ("http", Scheme::Http, Opening::Client),
    ("https", Scheme::Https, Opening::Client),
    ("http-proxy-protocol", Scheme::Http, Opening::ProxyHeader),
    ("https-proxy-protocol", Scheme::Https, Opening::ProxyHeader),
];

/// Why a passed socket cannot be served.
#[derive(Debug)]
pub enum Misnamed {
    Unknown(String),
    /// It is an address of this setting, which is for something else.
    Contradicts(&'static str),
    NoCertificate,
    /// No client's header would be believed.
    NoTrustedProxy,
}

impl fmt::Display for Misnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let [http, https, http_proxied, https_proxied] = NAMES.map(|(name, ..)| name);
                write!(
                    f,
                    "its name {name:?} says nothing to ronde; give FileDescriptorName={http}, {https}, {http_proxied} or \
                     {https_proxied} in its unit"
                )
            }
            Self::Contradicts(flag) => {
                write!(f, "it is an address of {flag}, and its name says something else")
            }
            Self::NoCertificate => f.write_str("it needs a certificate; add --tls-certificate and --tls-key"),
            Self::NoTrustedProxy => {
                f.write_str("the header is believed from trusted proxies only; add --trust-proxy")
            }
        }
    }
}

/// Each passed socket, with what its connections begin with.
///
/// # Errors
/// The first that cannot be served.
pub(super) fn entrances(
    passed: Vec<Passed>,
    config: &Config,
) -> Result<Vec<Entrance>, (Option<Address>, Misnamed)> {
    passed.into_iter().map(|passed| entrance(passed, config)).collect()
}

fn entrance(
    Passed { listener, name }: Passed,
    config: &Config,
) -> Result<Entrance, (Option<Address>, Misnamed)> {
    let address = listener.address();
    let (scheme, opening) = match purpose(&listener, name.as_deref().unwrap_or(NAMES[0].0), config) {
        Ok(purpose) => purpose,
        Err(misnamed) => return Err((address, misnamed)),
    };
    if let Some(address) = address {
        log::info!(
            "{address} was passed to ronde as {}",
            name.as_deref().unwrap_or("a socket without a name")
        );
    }
    Ok(Entrance { listener, opening, scheme })
}

fn purpose(listener: &Listener, name: &str, config: &Config) -> Result<(Scheme, Opening), Misnamed> {
    let known = NAMES.into_iter().find(|(known, ..)| *known == name);
    let Some((_, scheme, opening)) = known else { return Err(Misnamed::Unknown(name.to_owned())) };
    let of_the_other_scheme = match scheme {
        Scheme::Http => (&config.tls_listen, row::tls_listen.flag),
        Scheme::Https => (&config.listen, row::listen.flag),
    };
    let of_the_other_opening = match opening {
        Opening::Client => Some((&config.proxy_protocol, row::proxy_protocol.flag)),
        Opening::ProxyHeader => None,
    };
    for (others, flag) in [of_the_other_scheme].into_iter().chain(of_the_other_opening) {
        if others.iter().any(|listen| is_served_by(listen, listener)) {
            return Err(Misnamed::Contradicts(flag));
        }
    }
    if scheme == Scheme::Https && config.tls_certificate.is_empty() {
        return Err(Misnamed::NoCertificate);
    }
    let is_unix = matches!(listener.address(), Some(Address::Unix(_)));
    let is_usable = |network: &Network| (*network == Network::Unix) == is_unix;
    if opening == Opening::ProxyHeader && !config.trust_proxy.iter().any(is_usable) {
        return Err(Misnamed::NoTrustedProxy);
    }
    Ok((scheme, opening))
}

/// The addresses of `--listen` or `--tls-listen` that are still to be opened.
pub(super) fn not_passed<'a>(wanted: &'a [Listen], scheme: Scheme, passed: &[Entrance]) -> Vec<&'a Listen> {
    if !passed.is_empty() && scheme == Scheme::Http && wanted == Config::default().listen {
        return Vec::new();
    }
    let is_passed = |listen: &&Listen| passed.iter().any(|entrance| is_served_by(listen, &entrance.listener));
    wanted.iter().filter(|listen| !is_passed(listen)).collect()
}

/// Whether this listener stands for an address of the configuration. For one that is two (`localhost`, or `:80` where IPv4
/// has a socket of its own) either will do: which of them are served, the socket's unit says.
fn is_served_by(listen: &Listen, listener: &Listener) -> bool {
    let at = |ip: IpAddr, port: u16| Address::from(SocketAddr::new(ip, port));
    let addresses = match listen {
        Listen::At(address) => vec![Address::from(*address)],
        Listen::Every(port) => {
            vec![at(Ipv4Addr::UNSPECIFIED.into(), *port), at(Ipv6Addr::UNSPECIFIED.into(), *port)]
        }
        Listen::Localhost(port) => {
            vec![at(Ipv4Addr::LOCALHOST.into(), *port), at(Ipv6Addr::LOCALHOST.into(), *port)]
        }
        Listen::Unix(path) => vec![Address::Unix(Arc::clone(path))],
    };
    addresses.iter().any(|address| listener.includes(address))
}
