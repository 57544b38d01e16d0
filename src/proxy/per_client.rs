//! How many connections one client has at once: `--max-per-client`.
//!
//! The problem: `--max-connections` is for all, and one client could take them all; the others would lose their idle ones
//! to it. So connections are counted by the client's address, and the newcomer beyond the limit is refused before any
//! other gives way to it.
//!
//! An IPv6 client counts by its /64: no network is smaller (RFC 4291 §2.5.4), and a host in it picks any of its 2^64
//! addresses, a new one for each connection if it likes. What has no address that stands for one client is exempt: loopback
//! and Unix sockets, where an own proxy or the admin may be; trusted proxies, which bring the clients of others; and clients
//! that a proxy does not name.
//!
//! Memory: one entry for each address that is connected, so no more than connections. The lock is taken once at the start
//! of a connection and once at its end.
//!
//! Not here: the limit for all (`client`).

use crate::config::{Config, Peer};
use crate::observe::failure::Failure;
use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The count of each client. While there is no limit nothing is counted.
#[derive(Debug, Default)]
pub struct PerClient(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    connected: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that is counted; no longer when it is dropped.
#[derive(Debug)]
pub struct Counted {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl PerClient {
    /// Counts one more connection of this client, unless it is exempt.
    ///
    /// # Errors
    /// [`Failure::TooManyOfClient`]: it has as many as it may have.
    pub fn enter(&self, client: Peer, config: &Config) -> Result<Option<Box<Counted>>, Failure> {
        let (Some(most), Peer::Ip(address)) = (config.max_per_client, client) else { return Ok(None) };
        if address.is_loopback() || config.trusts(client) {
            return Ok(None);
        }
        let address = network_of(address);
        let mut connected = self.0.lock();
        let count = connected.entry(address).or_default();
        if *count >= most {
            return Err(Failure::TooManyOfClient);
        }
        *count += 1;
        Ok(Some(Box::new(Counted { counts: Arc::clone(&self.0), address })))
    }
}

impl Counts {
    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut connected = self.counts.lock();
        if let Some(count) = connected.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                connected.remove(&self.address);
            }
        }
    }
}

/// What an address is counted by: itself, or the first address of its /64.
fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn peer(text: &str) -> Peer {
        Peer::from(text.parse::<IpAddr>().unwrap())
    }

    fn at_most(most: usize) -> Config {
        Config { max_per_client: Some(most), ..Config::default() }
    }

    #[test]
    fn a_client_too_many_is_refused_until_another_is_gone() {
        let (limit, config) = (PerClient::default(), at_most(2));
        let enter = |text| limit.enter(peer(text), &config);
        let first = enter("192.0.2.1").unwrap();
        let _second = enter("::ffff:192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.1").unwrap_err(), Failure::TooManyOfClient);
        assert!(enter("192.0.2.2").is_ok());
        drop(first);
        assert!(enter("192.0.2.1").is_ok());
    }

    #[test]
    fn an_ipv6_client_counts_by_its_network() {
        let (limit, config) = (PerClient::default(), at_most(1));
        let _one = limit.enter(peer("2001:db8::1"), &config).unwrap();
        assert!(limit.enter(peer("2001:db8::ffff:0:0:2"), &config).is_err());
        assert!(limit.enter(peer("2001:db8:0:1::1"), &config).is_ok());
    }

    #[test]
    fn some_are_exempt_and_without_a_limit_all_are() {
        let trust_proxy = vec!["10.0.0.0/8".parse().unwrap()];
        let (limit, config) = (PerClient::default(), Config { trust_proxy, ..at_most(1) });
        let exempt =
            [peer("127.0.0.1"), peer("127.0.0.2"), peer("::1"), peer("10.1.2.3"), Peer::Unix, Peer::Unknown];
        for client in exempt {
            assert!(limit.enter(client, &config).unwrap().is_none(), "{client}");
        }
        let unlimited = Config::default();
        assert!(limit.enter(peer("192.0.2.1"), &unlimited).unwrap().is_none());
    }

    proptest! {
        /// Whatever comes and goes, the counts are those of a list of the connected, and none is kept of those that are gone.
        #[test]
        fn the_counts_are_those_of_a_list(steps in proptest::collection::vec((0u8..4, any::<bool>()), 0..60)) {
            let (limit, config) = (PerClient::default(), at_most(3));
            let mut connected: Vec<(u8, Box<Counted>)> = Vec::new();
            for (client, comes) in steps {
                let count = connected.iter().filter(|(other, _)| *other == client).count();
                if comes {
                    let entered = limit.enter(peer(&format!("192.0.2.{client}")), &config);
                    prop_assert_eq!(entered.is_ok(), count < 3);
                    connected.extend(entered.ok().flatten().map(|counted| (client, counted)));
                } else if let Some(at) = connected.iter().position(|(other, _)| *other == client) {
                    connected.remove(at);
                }
                let mut clients: Vec<_> = connected.iter().map(|(client, _)| *client).collect();
                clients.sort_unstable();
                clients.dedup();
                prop_assert_eq!(limit.0.lock().len(), clients.len());
            }
        }
    }
}
