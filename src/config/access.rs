//! Which clients may come in: `--allow` and `--deny`, of the top level or of a route.
//!
//! The problem: two lists have three readings, and the one of nginx depends on the order in which they are written. Here it
//! is one sentence: deny wins, and with an allow list everything else is refused. A client without a known address is in no
//! range, so an allow list refuses it.
//!
//! Not here: which client a request comes from (`http1::forward`), and which paths are refused because of the lists
//! (`http1::plain_path`).

use super::error::shown;
use super::{Config, Network, Peer, RawValue, Setting};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// One entry of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clients {
    Of(Network),
    /// Every client, also one without a known address.
    All,
    /// No client. A route replaces a list that it inherits, and has no other word for an empty one.
    Nobody,
}

/// The reader of `--allow` and `--deny`.
pub(super) fn clients(raw: &RawValue, _: &Setting) -> Result<Clients, String> {
    match &*raw.text {
        "all" => Ok(Clients::All),
        "none" => Ok(Clients::Nobody),
        text if text.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
            Err(format!("{} is unknown; give a range such as 10.0.0.0/8, unix:, all or none", shown(text)))
        }
        text => text.parse().map(Clients::Of),
    }
}

impl Clients {
    fn contains(&self, client: Peer) -> bool {
        match self {
            Self::Of(network) => network.contains(client),
            Self::All => true,
            Self::Nobody => false,
        }
    }
}

impl fmt::Display for Clients {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(network) => network.fmt(f),
            Self::All => f.write_str("all"),
            Self::Nobody => f.write_str("none"),
        }
    }
}

impl Config {
    /// Whether this client may come in.
    pub fn lets_in(&self, client: Peer) -> bool {
        let is_in = |list: &[Clients]| list.iter().any(|some| some.contains(client));
        !is_in(&self.deny) && (self.allow.is_empty() || is_in(&self.allow))
    }

    /// Whether anything is said about who may come in.
    pub fn has_access_list(&self) -> bool {
        !self.allow.is_empty() || !self.deny.is_empty()
    }

    /// Whether the top level or any of its routes has a list.
    pub fn has_any_access_list(&self) -> bool {
        self.has_access_list() || self.route.iter().any(|route| route.config.has_access_list())
    }

    /// `allow 10.0.0.0/8, unix:; deny 10.0.0.7/32`, or nothing.
    pub fn access_text(&self) -> Option<String> {
        let listed = |word: &str, list: &[Clients]| {
            let names: Vec<_> = list.iter().map(Clients::to_string).collect();
            (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
        };
        let lists = [listed("allow", &self.allow), listed("deny", &self.deny)];
        let lists: Vec<_> = lists.into_iter().flatten().collect();
        (!lists.is_empty()).then(|| lists.join("; "))
    }

    /// Remarks about lists, of clients and of trusted proxies, that surely do something else than was meant.
    pub(super) fn odd_access_lists(&self) -> Vec<String> {
        let routes = self.route.iter().map(|route| (format!(" of {route}"), &*route.config));
        let closed =
            [(String::new(), self)].into_iter().chain(routes).filter(|(_, config)| config.is_closed());
        let mut remarks: Vec<_> = closed
            .map(|(of, _)| format!("--deny{of} wins over --allow, and takes in all of it: nobody is let in"))
            .collect();
        if let Some(every) = self.trust_proxy.iter().find(|network| has_every_address(network)) {
            let lists =
                if self.has_any_access_list() { ", so --allow and --deny hold nobody back" } else { "" };
            remarks.push(format!(
                "--trust-proxy {every} takes in every address: any client may say which address it has{lists}; give \
                 those of your proxies"
            ));
        }
        remarks
    }

    /// Whether everything that is allowed is denied, as in nginx's `allow ...; deny all;`, where the order decides.
    fn is_closed(&self) -> bool {
        let is_denied = |allowed| self.deny.contains(&Clients::All) || self.deny.contains(allowed);
        !self.allow.is_empty() && self.allow.iter().all(is_denied)
    }
}

/// Whether it is 0.0.0.0/0 or ::/0: a range that has the first and the last address has all.
fn has_every_address(network: &Network) -> bool {
    let ends: [[IpAddr; 2]; 2] = [
        [Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST].map(IpAddr::from),
        [Ipv6Addr::UNSPECIFIED, Ipv6Addr::from_bits(u128::MAX)].map(IpAddr::from),
    ];
    ends.iter().any(|ends| ends.iter().all(|end| network.contains(Peer::Ip(*end))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Clients> {
        let read = |text: &str| clients(&RawValue::new(text, "here"), &super::super::row::allow);
        text.split_whitespace().map(|text| read(text).unwrap()).collect()
    }

    fn config(allow: &str, deny: &str) -> Config {
        Config { allow: list(allow), deny: list(deny), ..Config::default() }
    }

    fn peer(text: &str) -> Peer {
        match text {
            "unix" => Peer::Unix,
            "unknown" => Peer::Unknown,
            address => Peer::Ip(address.parse().unwrap()),
        }
    }

    #[test]
    fn deny_wins_and_an_allow_list_refuses_the_rest() {
        let clients =
            ["10.1.2.3", "10.0.0.7", "::ffff:10.1.2.3", "192.0.2.7", "2001:db8::1", "unix", "unknown"];
        for (allow, deny, let_in) in [
            ("", "", "1111111"),
            ("10.0.0.0/8", "", "1110000"),
            ("10.0.0.0/8", "10.0.0.7", "1010000"),
            ("10.0.0.0/8 unix:", "", "1110010"),
            ("unix:", "", "0000010"),
            ("2001:db8::/32", "", "0000100"),
            ("0.0.0.0/0", "", "1111000"),
            ("0.0.0.0/0 ::/0", "", "1111100"),
            ("all", "", "1111111"),
            ("all", "unix:", "1111101"),
            ("none", "", "0000000"),
            ("", "10.0.0.0/8", "0001111"),
            ("", "unix:", "1111101"),
            ("", "all", "0000000"),
            ("", "none", "1111111"),
            ("10.0.0.0/8", "all", "0000000"),
            ("10.0.0.7", "10.0.0.0/8", "0000000"),
        ] {
            let config = config(allow, deny);
            let found: String =
                clients.map(|client| if config.lets_in(peer(client)) { '1' } else { '0' }).iter().collect();
            assert_eq!(found, let_in, "allow {allow}; deny {deny}");
        }
    }

    #[test]
    fn lists_that_let_nobody_in_are_remarked_upon() {
        for (allow, deny, is_odd) in [
            ("", "all", false),
            ("10.0.0.0/8", "", false),
            ("10.0.0.0/8", "10.0.0.7", false),
            ("10.0.0.0/8", "all", true),
            ("10.0.0.0/8 unix:", "10.0.0.0/8 unix:", true),
        ] {
            assert_eq!(
                !config(allow, deny).odd_access_lists().is_empty(),
                is_odd,
                "allow {allow}; deny {deny}"
            );
        }
        for (trusted, is_odd) in
            [("::/0", true), ("0.0.0.0/0", true), ("10.0.0.0/8", false), ("unix:", false)]
        {
            let trusting = Config { trust_proxy: vec![trusted.parse().unwrap()], ..config("10.0.0.0/8", "") };
            let told = |config: &Config| config.odd_access_lists().concat();
            assert_eq!(told(&trusting).contains("hold nobody back"), is_odd, "{trusted}");
            // The address is forged in the log and for the backend as well.
            let open = Config { allow: vec![], ..trusting };
            let begin = format!("--trust-proxy {trusted} takes in every address: any client may say which");
            assert_eq!(told(&open).starts_with(&begin), is_odd, "{trusted}");
            assert!(!told(&open).contains("--allow"));
        }
    }

    #[test]
    fn lists_are_told_as_they_are_written() {
        assert_eq!(config("", "").access_text(), None);
        let told = config("10.0.0.0/8 unix:", "10.0.0.7").access_text();
        assert_eq!(told.as_deref(), Some("allow 10.0.0.0/8, unix:; deny 10.0.0.7/32"));
    }
}
