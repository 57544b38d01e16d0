//! Who may ask the admin listener for what.
//!
//! The problem: there is no password, so what protects it is where it can be reached from. That is less than it seems: every
//! page that a browser on this host opens can have it ask `127.0.0.1`. Three things that such a page cannot do keep it out:
//!
//! - Its own name in Host: a page whose name was made to resolve to this host (DNS rebinding) asks by that name. So the host
//!   must be an address, `localhost`, or a name that the admin gave (`--admin-host`).
//! - Another Origin than its own: a browser says from which page a request comes (RFC 6454 §7), so that of another is
//!   refused.
//! - A field of ronde's own (`X-Ronde-Admin`): a form cannot send it, and a script only after a question (CORS preflight)
//!   that ronde does not answer with yes. Whatever changes something needs it.
//!
//! Not here: which requests there are (`answers`). Pure.

use crate::config::{Config, Peer};
use crate::http1::head::Request;
use crate::http1::target::{self, host_of};
use std::net::{Ipv4Addr, Ipv6Addr};

/// The field without which nothing is changed; its value is `1`.
pub const FIELD: &str = "X-Ronde-Admin";

/// What a client may do, by where it connects from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum May {
    Read,
    Change,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    ForeignHost,
    ForeignOrigin,
    FieldMissing,
    MayNotChange,
}

impl Refusal {
    pub fn status(self) -> u16 {
        match self {
            // "Not able to produce an authoritative response for the target URI" (RFC 9110 §15.5.20).
            Self::ForeignHost => 421,
            Self::ForeignOrigin | Self::FieldMissing | Self::MayNotChange => 403,
        }
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::ForeignHost => {
                "the Host of the request is neither an address nor localhost nor a name of --admin-host"
            }
            Self::ForeignOrigin => "the request comes from a page of another origin",
            Self::FieldMissing => "what changes something needs the field X-Ronde-Admin: 1",
            Self::MayNotChange => "this address may only read: see --admin-allow-changes",
        }
    }
}

impl May {
    /// `None`: not even read.
    pub fn of(peer: Peer, config: &Config) -> Option<Self> {
        let is_of_this_host = match peer {
            Peer::Unix => true,
            Peer::Ip(ip) => ip.is_loopback(),
            Peer::Unknown => false,
        };
        let is_allowed = || config.admin_allow.iter().any(|network| network.contains(peer));
        match config.admin_allow_changes {
            _ if is_of_this_host => Some(Self::Change),
            true => is_allowed().then_some(Self::Change),
            false => is_allowed().then_some(Self::Read),
        }
    }

    /// # Errors
    /// Whatever it is, a page of another site could have sent it.
    pub fn ask(request: &Request<'_>, config: &Config) -> Result<(), Refusal> {
        let (authority, _) = target::asked(request);
        if !is_own_name(host_of(authority), &config.admin_host) {
            return Err(Refusal::ForeignHost);
        }
        match values(request, "Origin").all(|origin| is_origin_of(origin, authority)) {
            true => Ok(()),
            false => Err(Refusal::ForeignOrigin),
        }
    }

    /// # Errors
    /// It may not be changed by this client, or by this request.
    pub fn change(self, request: &Request<'_>) -> Result<(), Refusal> {
        let mut fields = values(request, FIELD);
        match self {
            Self::Read => Err(Refusal::MayNotChange),
            Self::Change if fields.next() == Some(b"1") && fields.next().is_none() => Ok(()),
            Self::Change => Err(Refusal::FieldMissing),
        }
    }
}

fn values<'a>(request: &Request<'a>, name: &str) -> impl Iterator<Item = &'a [u8]> {
    let lines = request.fields.iter();
    lines.filter(move |(_, other, _)| other.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
}

fn is_own_name(host: &str, names: &[String]) -> bool {
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let is_address = match bracketed {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let is = |own: &str| own.eq_ignore_ascii_case(name);
    is_address || is("localhost") || names.iter().any(|own| is(own))
}

/// The scheme is not compared: TLS may be taken off in front of ronde.
fn is_origin_of(origin: &[u8], authority: &str) -> bool {
    let named =
        [b"http://".as_slice(), b"https://"].into_iter().find_map(|scheme| origin.strip_prefix(scheme));
    named.is_some_and(|named| named.eq_ignore_ascii_case(authority.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{self, Lines};

    fn asked<T>(fields: &str, ask: impl FnOnce(&Request<'_>) -> T) -> T {
        let text = format!("POST /reload HTTP/1.1\r\n{fields}\r\n");
        let mut lines = Lines::new();
        ask(&head::request(text.as_bytes(), &mut lines).unwrap())
    }

    fn config() -> Config {
        Config {
            admin_host: vec!["ronde".to_owned()],
            admin_allow: vec!["10.0.0.0/8".parse().unwrap()],
            ..Config::default()
        }
    }

    #[test]
    fn a_name_that_is_not_ours_is_refused() {
        for (host, is_ours) in [
            ("127.0.0.1", true),
            ("127.0.0.1:9180", true),
            ("[::1]:9180", true),
            ("[::1]", true),
            ("192.0.2.7:80", true),
            ("localhost:9180", true),
            ("LocalHost.", true),
            ("ronde:9180", true),
            ("RONDE", true),
            ("evil.example", false),
            ("evil.example:9180", false),
            ("localhost.evil.example", false),
            ("127.0.0.1.evil.example", false),
            ("1.1", false),
            ("0x7f000001", false),
            ("rondex", false),
        ] {
            let refused = asked(&format!("Host: {host}\r\n"), |request| May::ask(request, &config()));
            assert_eq!(refused.err(), (!is_ours).then_some(Refusal::ForeignHost), "{host}");
        }
        let text = b"GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let mut lines = Lines::new();
        let request = head::request(text, &mut lines).unwrap();
        assert_eq!(May::ask(&request, &config()), Err(Refusal::ForeignHost), "the target wins over Host");
        let mut lines = Lines::new();
        let request = head::request(b"GET / HTTP/1.0\r\n\r\n", &mut lines).unwrap();
        assert_eq!(May::ask(&request, &config()), Err(Refusal::ForeignHost), "no name at all");
    }

    #[test]
    fn the_origin_has_to_be_our_own() {
        for (origin, is_ours) in [
            ("http://localhost:9180", true),
            ("https://localhost:9180", true),
            ("http://LOCALHOST:9180", true),
            ("http://localhost", false),
            ("http://localhost:9181", false),
            ("http://127.0.0.1:9180", false),
            ("https://evil.example", false),
            ("null", false),
            ("", false),
            ("localhost:9180", false),
        ] {
            let fields = format!("Host: localhost:9180\r\nOrigin: {origin}\r\n");
            let refused = asked(&fields, |request| May::ask(request, &config()));
            assert_eq!(refused.err(), (!is_ours).then_some(Refusal::ForeignOrigin), "{origin}");
        }
        let two = "Host: a\r\nOrigin: http://127.0.0.1\r\nOrigin: http://evil\r\n"
            .replace("Host: a", "Host: 127.0.0.1");
        assert_eq!(asked(&two, |request| May::ask(request, &config())), Err(Refusal::ForeignOrigin));
    }

    #[test]
    fn a_change_needs_the_field_and_a_place_to_ask_from() {
        for (fields, may, refused) in [
            ("", May::Change, Some(Refusal::FieldMissing)),
            ("X-Ronde-Admin: 1\r\n", May::Change, None),
            ("x-ronde-admin: 1\r\n", May::Change, None),
            ("X-Ronde-Admin: 0\r\n", May::Change, Some(Refusal::FieldMissing)),
            ("X-Ronde-Admin: 1\r\nX-Ronde-Admin: 1\r\n", May::Change, Some(Refusal::FieldMissing)),
            ("X-Ronde-Admin: 1\r\n", May::Read, Some(Refusal::MayNotChange)),
        ] {
            let fields = format!("Host: localhost\r\n{fields}");
            assert_eq!(asked(&fields, |request| may.change(request)).err(), refused, "{fields} {may:?}");
        }
    }

    #[test]
    fn other_machines_may_what_the_admin_says() {
        let ip = |text: &str| Peer::Ip(text.parse().unwrap());
        let (read, change) = (config(), Config { admin_allow_changes: true, ..config() });
        for (peer, reads, changes) in [
            (ip("127.0.0.1"), Some(May::Change), Some(May::Change)),
            (ip("::1"), Some(May::Change), Some(May::Change)),
            (Peer::Unix, Some(May::Change), Some(May::Change)),
            (ip("10.1.2.3"), Some(May::Read), Some(May::Change)),
            (ip("192.0.2.7"), None, None),
            (Peer::Unknown, None, None),
        ] {
            assert_eq!((May::of(peer, &read), May::of(peer, &change)), (reads, changes), "{peer}");
        }
    }
}
