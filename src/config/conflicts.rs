//! Settings that contradict each other.
//!
//! The problem: each is valid by itself, and together they would refuse every client. A server that starts so looks healthy.
//!
//! Not here: what is allowed and surely not meant (`remarks`).

use super::error::Error;
use super::{Config, Listen, Network, row};

impl Config {
    /// # Errors
    /// The first contradiction.
    pub(super) fn check_conflicts(&self) -> Result<(), Error> {
        self.check_certificates()?;
        self.check_tls_listeners()?;
        self.check_tls_backends()?;
        self.check_listeners()?;
        self.check_admin()?;
        self.proxy_protocol.iter().try_for_each(|address| self.check_proxy_protocol(address))?;
        self.check_fields().map_err(Error::new)
    }

    /// One address is for TLS or is not. The second of its two listeners would find it in use.
    fn check_listeners(&self) -> Result<(), Error> {
        let both =
            self.tls_listen.iter().find(|address| self.listen.iter().any(|other| other.overlaps(address)));
        both.map_or(Ok(()), |address| {
            let fault = format!("{address} is an address of {}, too", row::listen.flag);
            Err(Error::at(row::tls_listen.flag, fault))
        })
    }

    /// Whether the header can come on this address, and from somewhere.
    fn check_proxy_protocol(&self, address: &Listen) -> Result<(), Error> {
        let fault = |fault: String| Err(Error::at(row::proxy_protocol.flag, fault));
        let mut listeners = self.listen.iter().chain(&self.tls_listen);
        if !listeners.clone().any(|listen| listen == address) {
            return fault(format!(
                "{address} is no address of {} or {}",
                row::listen.flag,
                row::tls_listen.flag
            ));
        }
        if let Some(all) = listeners.find(|other| other.includes(address)) {
            return fault(format!("{address} is a part of {all}; name that, or listen on parts only"));
        }
        let is_usable = |network: &Network| match address {
            Listen::Unix(_) => *network == Network::Unix,
            _ => *network != Network::Unix,
        };
        if !self.trust_proxy.iter().any(is_usable) {
            let whom = if matches!(address, Listen::Unix(_)) { "unix:" } else { "and its address" };
            let flag = row::trust_proxy.flag;
            return fault(format!("the header is believed from trusted proxies only: add {flag} {whom}"));
        }
        Ok(())
    }
}
