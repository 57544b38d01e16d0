//! What the sockets are for that were passed to ronde: their names say it.
//!
//! | `FileDescriptorName=` | what is served on it |
//! |---|---|
//! | `http`, or no name at all | clients without TLS, as on `--listen` |
//! | `https` | clients with TLS, as on `--tls-listen` |
//! | `http-proxy-protocol`, `https-proxy-protocol` | the same behind a proxy that sends its header first, as with `--proxy-protocol` |
//! | `admin` | the admin, as on `--admin` |
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
use crate::server::listeners::{Entrance, StartError};
use std::fmt;
use std::sync::Arc;

const NAMES: [(&str, Purpose); 5] = [
    ("http", Purpose::Clients(Scheme::Http, Opening::Client)),
    ("https", Purpose::Clients(Scheme::Https, Opening::Client)),
    ("http-proxy-protocol", Purpose::Clients(Scheme::Http, Opening::ProxyHeader)),
    ("https-proxy-protocol", Purpose::Clients(Scheme::Https, Opening::ProxyHeader)),
    ("admin", Purpose::Admin),
];

#[derive(Clone, Copy)]
enum Purpose {
    Clients(Scheme, Opening),
    Admin,
}

/// Why a passed socket cannot be served.
#[derive(Debug)]
pub enum Misnamed {
    Unknown(String),
    /// The system does not say where it listens.
    Nowhere,
    /// It is an address of this setting, which is for something else.
    Contradicts(&'static str),
    NoCertificate,
    /// No client's header would be believed.
    NoTrustedProxy,
    /// Other machines reach the admin listener, and nothing says which may.
    OpenToOthers,
}

impl fmt::Display for Misnamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                let [first, others @ .., last] = NAMES.map(|(name, _)| name);
                let others = others.join(", ");
                write!(
                    f,
                    "its name {name:?} says nothing to ronde; give FileDescriptorName={first}, {others} or {last} in its \
                     unit"
                )
            }
            Self::Nowhere => f.write_str("the system does not say its address"),
            Self::Contradicts(flag) => {
                write!(f, "it is an address of {flag}, and its name says something else")
            }
            Self::NoCertificate => f.write_str("it needs a certificate; add --tls-certificate and --tls-key"),
            Self::NoTrustedProxy => {
                f.write_str("the header is believed from trusted proxies only; add --trust-proxy")
            }
            Self::OpenToOthers => {
                let flag = row::admin_allow.flag;
                write!(f, "other machines reach it; say which may read it, with {flag} CIDR")
            }
        }
    }
}

/// The passed sockets, each at its place.
#[derive(Default)]
pub(super) struct Activated {
    pub entrances: Vec<Entrance>,
    pub admin: Vec<Listener>,
}

impl Activated {
    /// # Errors
    /// [`StartError::Passed`], for the first that says nothing to ronde, or cannot be the admin's.
    pub fn of(passed: Vec<Passed>, config: &Config) -> Result<Self, StartError> {
        let mut activated = Self::default();
        for Passed { listener, name } in passed {
            let (address, name) = (listener.address(), name.as_deref());
            let refuse = |why| Err(StartError::Passed(listener.address(), why));
            let known = NAMES.into_iter().find(|(known, _)| *known == name.unwrap_or(NAMES[0].0));
            let Some((_, purpose)) = known else {
                return refuse(Misnamed::Unknown(name.unwrap_or_default().to_owned()));
            };
            let Some(address) = address else { return refuse(Misnamed::Nowhere) };
            log::info!("{address} was passed to ronde as {}", name.unwrap_or("a socket without a name"));
            match purpose {
                Purpose::Clients(scheme, opening) => {
                    let wanted = match address {
                        Address::Tcp(address) => Listen::At(address),
                        Address::Unix(path) => Listen::Unix(path),
                    };
                    let (listener, closing) = (Arc::new(listener), Arc::default());
                    activated.entrances.push(Entrance { listener, wanted, opening, scheme, closing });
                }
                Purpose::Admin => activated.admin.push(listener),
            }
        }
        check_admin(&activated.admin, config)?;
        Ok(activated)
    }
}

/// Those that were passed.
pub(super) fn passed(entrances: &[Entrance]) -> Vec<Entrance> {
    entrances.iter().filter(|entrance| entrance.listener.is_passed()).cloned().collect()
}

/// Whether a listener shows certificates: one of the configuration, or one that was passed.
pub(super) fn is_tls_served(config: &Config, entrances: &[Entrance]) -> bool {
    let is_secured = |it: &Entrance| it.listener.is_passed() && it.scheme == Scheme::Https;
    !config.tls_listen.is_empty() || entrances.iter().any(is_secured)
}

/// Whether the configuration agrees with what the passed sockets are for.
///
/// # Errors
/// [`StartError::Passed`], for the first that cannot be served.
pub(super) fn check(passed: &[Entrance], config: &Config) -> Result<(), StartError> {
    for Entrance { listener, scheme, opening, .. } in passed {
        let refuse = |why| Err(StartError::Passed(listener.address(), why));
        let of_the_other_scheme = match scheme {
            Scheme::Http => (&*config.tls_listen, row::tls_listen.flag),
            Scheme::Https => (&*config.listen, row::listen.flag),
        };
        let of_the_other_opening = match opening {
            Opening::Client => Some((&*config.proxy_protocol, row::proxy_protocol.flag)),
            Opening::ProxyHeader => None,
        };
        let of_the_admin = (config.admin.as_slice(), row::admin.flag);
        let others = [of_the_other_scheme, of_the_admin].into_iter().chain(of_the_other_opening);
        if let Some(flag) = contradicted(listener, others) {
            return refuse(Misnamed::Contradicts(flag));
        }
        if *scheme == Scheme::Https && config.tls_certificate.is_empty() {
            return refuse(Misnamed::NoCertificate);
        }
        let is_unix = matches!(listener.address(), Some(Address::Unix(_)));
        let is_usable = |network: &Network| (*network == Network::Unix) == is_unix;
        if *opening == Opening::ProxyHeader && !config.trust_proxy.iter().any(is_usable) {
            return refuse(Misnamed::NoTrustedProxy);
        }
    }
    Ok(())
}

/// The same for those that are the admin's.
///
/// # Errors
/// See [`check`].
fn check_admin(passed: &[Listener], config: &Config) -> Result<(), StartError> {
    for listener in passed {
        let refuse = |why| Err(StartError::Passed(listener.address(), why));
        let clients =
            [(&*config.listen, row::listen.flag), (&*config.tls_listen, row::tls_listen.flag)].into_iter();
        if let Some(flag) = contradicted(listener, clients) {
            return refuse(Misnamed::Contradicts(flag));
        }
        let is_local = match listener.address() {
            Some(Address::Tcp(address)) => Listen::At(address).is_of_this_host(),
            Some(Address::Unix(_)) | None => true,
        };
        if !is_local && config.admin_allow.is_empty() {
            return refuse(Misnamed::OpenToOthers);
        }
    }
    Ok(())
}

/// The first flag that has this listener's address for something else.
fn contradicted<'a>(
    listener: &Listener,
    mut others: impl Iterator<Item = (&'a [Listen], &'static str)>,
) -> Option<&'static str> {
    let is_served = |(listens, _): &(&[Listen], _)| listens.iter().any(|it| is_served_by(it, listener));
    others.find(is_served).map(|(_, flag)| flag)
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
pub(super) fn is_served_by(listen: &Listen, listener: &Listener) -> bool {
    listen.addresses().iter().any(|address| listener.includes(address))
}
