//! Which clients may come in: `--allow` and `--deny`, of the top level or of a route.
//!
//! The problem: two lists have three readings, and the one of nginx depends on the order in which they are written. Here it
//! is one sentence: deny wins, and with an allow list everything else is refused. A client without a known address is in no
//! range, so an allow list refuses it.
//!
//! Not here: which client a request comes from (`http1::forward`), and which paths are refused because of the lists
//! (`http1::plain_path`).

use super::{Config, Network, Peer, RawValue, Setting};

/// The reader of `--allow` and `--deny`. A route replaces what it inherits, and an empty list is none, so `all` and `none`
/// say what would else have no word.
pub(super) fn clients(raw: &RawValue, _: &Setting) -> Result<Network, String> {
    match &*raw.text {
        "all" => Ok(Network::All),
        "none" => Ok(Network::Nobody),
        text => text.parse().map_err(|fault| format!("{fault}, or unix:, all or none")),
    }
}

impl Config {
    /// Whether this client may come in.
    pub fn lets_in(&self, client: Peer) -> bool {
        let is_in = |list: &[Network]| list.iter().any(|network| network.contains(client));
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
        let listed = |word: &str, list: &[Network]| {
            let names: Vec<_> = list.iter().map(Network::to_string).collect();
            (!names.is_empty()).then(|| format!("{word} {}", names.join(", ")))
        };
        let lists = [listed("allow", &self.allow), listed("deny", &self.deny)];
        let lists: Vec<_> = lists.into_iter().flatten().collect();
        (!lists.is_empty()).then(|| lists.join("; "))
    }

    /// Remarks about lists that surely do something else than was meant.
    pub(super) fn odd_access_lists(&self) -> Vec<String> {
        let routes = self.route.iter().map(|route| (format!(" of {route}"), &route.config));
        let closed =
            [(String::new(), self)].into_iter().chain(routes).filter(|(_, config)| config.is_closed());
        let mut remarks: Vec<_> = closed
            .map(|(of, _)| format!("--deny{of} wins over --allow, and takes in all of it: nobody is let in"))
            .collect();
        if self.has_any_access_list() && self.trust_proxy.iter().any(Network::is_every_address) {
            remarks.push(
                "--allow and --deny hold nobody back while --trust-proxy takes in every address: any client may say \
                 which address it has"
                    .to_string(),
            );
        }
        remarks
    }

    /// Whether everything that is allowed is denied, as in nginx's `allow ...; deny all;`, where the order decides.
    fn is_closed(&self) -> bool {
        let is_denied = |allowed: &Network| self.deny.iter().any(|denied| denied.includes(allowed));
        !self.allow.is_empty() && self.allow.iter().all(is_denied)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> Vec<Network> {
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
            ("10.0.0.0/8", "0.0.0.0/0", true),
            ("10.0.0.0/8 unix:", "0.0.0.0/0", false),
            ("10.0.0.0/8 unix:", "10.0.0.0/8 unix:", true),
            ("::1", "0.0.0.0/0", false),
        ] {
            assert_eq!(
                !config(allow, deny).odd_access_lists().is_empty(),
                is_odd,
                "allow {allow}; deny {deny}"
            );
        }
        let trusting = Config { trust_proxy: list("::/0"), ..config("10.0.0.0/8", "") };
        assert_eq!(trusting.odd_access_lists().len(), 1);
        assert!(Config { allow: vec![], ..trusting }.odd_access_lists().is_empty());
    }

    #[test]
    fn lists_are_told_as_they_are_written() {
        assert_eq!(config("", "").access_text(), None);
        let told = config("10.0.0.0/8 unix:", "10.0.0.7").access_text();
        assert_eq!(told.as_deref(), Some("allow 10.0.0.0/8, unix:; deny 10.0.0.7/32"));
    }
}
