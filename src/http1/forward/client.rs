//! The client at the other end of a chain of proxies, and what no proxy has passed on.
//!
//! The problem: behind a proxy every request comes from the proxy's address, and a log of that names nobody.
//! `X-Forwarded-For` names the client, but each hop only appends to it: all that stands left of the last trusted hop is
//! what a stranger wrote.
//!
//! Not here: the field that goes on (`forward`), and which networks are trusted (`config`).

use crate::config::Peer;
use crate::http1::fields::{Fields, Name};
use crate::http1::head::{Request, Target};
use std::net::{IpAddr, SocketAddr};

/// The client that a trusted `peer` names: the address nearest to ronde in `X-Forwarded-For` that is not a trusted
/// proxy's itself. If all of them are, it is the farthest. What is no address, such as `unknown`, ends the chain: the
/// hop before it is the last one that is known.
pub fn client(fields: Fields<'_>, peer: Peer, is_trusted: impl Fn(IpAddr) -> bool) -> Peer {
    let mut chain = Chain::Unknown;
    // From the farthest hop to the nearest.
    for member in fields.members(Name::XForwardedFor) {
        chain = match (address(member), chain) {
            (None, _) => Chain::Unknown,
            (Some(address), _) if !is_trusted(address) => Chain::Client(address),
            (Some(_), Chain::Client(client)) => Chain::Client(client),
            (Some(_), Chain::Proxies(farthest)) => Chain::Proxies(farthest),
            (Some(address), Chain::Unknown) => Chain::Proxies(address),
        };
    }
    match chain {
        Chain::Client(address) | Chain::Proxies(address) => Peer::Ip(address),
        Chain::Unknown => peer,
    }
}

/// Whether trusted proxies leave the client unnamed: what stands there is no address, and only their own stand after it.
pub fn is_unnamed(fields: Fields<'_>, is_trusted: impl Fn(IpAddr) -> bool) -> bool {
    let hops = fields.members(Name::XForwardedFor);
    hops.fold(false, |is_unnamed, hop| match address(hop) {
        None => true,
        Some(address) => is_unnamed && is_trusted(address),
    })
}

/// What the hops so far are, the farthest first.
#[derive(Clone, Copy)]
enum Chain {
    Unknown,
    /// Trusted proxies alone, of which this is the farthest.
    Proxies(IpAddr),
    /// A client, and trusted proxies after it.
    Client(IpAddr),
}

/// An address as proxies write it: alone, in brackets, or with a port.
fn address(member: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(member).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let alone = bare.parse::<IpAddr>().ok();
    let address = alone.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

/// Whether a request that ends here (`Max-Forwards: 0`) asks for ronde's health: `OPTIONS *`, and from the asker
/// itself, without a sign of a proxy between.
pub fn asks_for_health(head: &Request<'_>) -> bool {
    let is_passed_on = |name: Name| name.is_forwarding() || name == Name::Via;
    head.target == Target::Asterisk && !head.fields.iter().any(|(name, _, _)| is_passed_on(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{self, Lines};
    use proptest::prelude::*;

    const PEER: &str = "10.0.0.1";

    fn named(list: &str) -> String {
        let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{list}\r\n");
        let mut lines = Lines::new();
        let head = head::request(text.as_bytes(), &mut lines).unwrap();
        let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
        client(head.fields, Peer::Ip(PEER.parse().unwrap()), is_trusted).to_string()
    }

    /// The same, told from ronde outwards: each hop is believed as long as the one before it is a trusted proxy.
    fn walked<'a>(hops: &[&'a str]) -> &'a str {
        let mut last = PEER;
        for hop in hops.iter().rev() {
            match *hop {
                "unknown" => return last,
                hop if hop.starts_with("10.") => last = hop,
                hop => return hop,
            }
        }
        last
    }

    proptest! {
        #[test]
        fn the_chain_is_followed_from_its_near_end(
            hops in prop::collection::vec(
                prop::sample::select(&["10.0.0.2", "10.0.0.3", "192.0.2.1", "192.0.2.2", "unknown"][..]), 0..8)
        ) {
            prop_assert_eq!(named(&format!("X-Forwarded-For: {}\r\n", hops.join(", "))), walked(&hops));
        }
    }

    #[test]
    fn the_nearest_untrusted_address_is_the_client() {
        for (list, client) in [
            ("", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1, 10.0.0.2\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1\r\nx-forwarded-for: 10.0.0.2\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 198.51.100.9, 192.0.2.1,10.0.0.3, 10.0.0.2\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 10.0.0.3, 10.0.0.2\r\n", "10.0.0.3"),
            ("X-Forwarded-For: 10.0.0.3, 192.0.2.1, 10.0.0.2\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 192.0.2.1, unknown, 10.0.0.2\r\n", "10.0.0.2"),
            ("X-Forwarded-For: 192.0.2.1, unknown\r\n", "10.0.0.1"),
            ("X-Forwarded-For: 192.0.2.1:4711\r\n", "192.0.2.1"),
            ("X-Forwarded-For: 2001:db8::1\r\n", "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]\r\n", "2001:db8::1"),
            ("X-Forwarded-For: [2001:db8::1]:4711\r\n", "2001:db8::1"),
            ("X-Forwarded-For: ::ffff:192.0.2.1\r\n", "192.0.2.1"),
            ("X-Forwarded-For: \" - [x] \\n\"\r\n", "10.0.0.1"),
            ("X-Forwarded-For: ,,\r\n", "10.0.0.1"),
        ] {
            assert_eq!(named(list), client, "{list:?}");
        }
    }

    #[test]
    fn a_client_is_unnamed_where_only_proxies_stand_behind_no_address() {
        for (list, expected) in [
            ("", false),
            ("192.0.2.1", false),
            ("10.0.0.2", false),
            ("unknown", true),
            ("192.0.2.1, unknown", true),
            ("192.0.2.1, unknown, 10.0.0.2", true),
            ("unknown, 192.0.2.1", false),
            ("unknown, 192.0.2.1, 10.0.0.2", false),
            ("fe80::1%eth0", true),
            (",,", false),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {list}\r\n\r\n");
            let mut lines = Lines::new();
            let head = head::request(text.as_bytes(), &mut lines).unwrap();
            let is_trusted = |address: IpAddr| address.to_string().starts_with("10.");
            assert_eq!(is_unnamed(head.fields, is_trusted), expected, "{list:?}");
        }
    }

    #[test]
    fn a_probe_is_an_asterisk_that_no_proxy_passed_on() {
        for (text, is_probe) in [
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", true),
            ("OPTIONS /a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", false),
            ("OPTIONS http://a HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", false),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n", false),
            ("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\nVia: 1.1 a\r\n\r\n", false),
        ] {
            let mut lines = Lines::new();
            let head = head::request(text.as_bytes(), &mut lines).unwrap();
            assert_eq!(asks_for_health(&head), is_probe, "{text:?}");
        }
    }
}
