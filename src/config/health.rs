//! Where `ronde health` finds the ronde that runs with this configuration.
//!
//! The problem: it is a client like others, and may not be let in like others. A listener that expects the PROXY protocol hears
//! trusted proxies alone, and this host may be none of them. A health check that can never succeed has a container restarted
//! for ever, so it is remarked on before.
//!
//! Not here: asking (`cli::health`), and the checks of backends (`check`).

use super::{Address, Config, Listen, Peer, row};
use std::net::{Ipv4Addr, SocketAddr};

impl Listen {
    /// An address that reaches it from this machine: a wildcard address includes loopback.
    pub fn reachable(&self) -> Address {
        match self {
            Self::Every(port) | Self::Localhost(port) => {
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), *port).into()
            }
            Self::Unix(path) => Address::Unix(path.clone()),
            // `[::]` serves IPv4 as well, and a container may have no `::1`.
            Self::At(address) if address.ip().is_unspecified() => {
                SocketAddr::new(Ipv4Addr::LOCALHOST.into(), address.port()).into()
            }
            Self::At(address) => Address::Tcp(*address),
        }
    }
}

impl Config {
    /// The listener that is asked: the first that expects no header of the PROXY protocol, if there is one.
    pub fn asked_for_health(&self) -> Option<&Listen> {
        let plain = self.listen.iter().find(|listen| !self.proxy_protocol.contains(listen));
        plain.or(self.listen.first())
    }

    /// What is sent to this machine's own address comes from that address. A Unix socket trusts its clients by `unix:`, or
    /// expects no header.
    pub(super) fn refused_health(&self) -> Option<String> {
        let asked = self.asked_for_health().filter(|listen| self.proxy_protocol.contains(listen))?;
        let Address::Tcp(own) = asked.reachable() else { return None };
        (!self.trusts(Peer::Ip(own.ip()))).then(|| {
            let [listen, header, trust] = [row::listen.flag, row::proxy_protocol.flag, row::trust_proxy.flag];
            format!(
                "`ronde health` fails: each {listen} has {header}, and {trust} does not have {}, from where it asks; add \
                 a {listen} of this host without {header}, or trust that address",
                own.ip()
            )
        })
    }
}
