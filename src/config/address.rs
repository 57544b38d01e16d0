//! Addresses as users write them: of listeners, of backends, of trusted proxies.
//!
//! The problem: the three look alike and mean different things. A listener is an address of this machine; a name is
//! refused there, because its address may change while the socket does not. A backend is an address or a name, which is
//! looked up again and again while ronde runs. A trusted proxy is a range, which compares without a look-up. Each may be a
//! Unix socket as well (`unix`).
//!
//! An IPv4 address written as IPv6 (`::ffff:10.0.0.1`) counts as the IPv4 address everywhere. On a dual-stack listener
//! every IPv4 client looks like that, and a range that missed them would trust or distrust clients by accident.
//!
//! Not here: look-ups, for nothing in this module asks the network; and what goes with a backend's address (`backend`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

use super::error::shown;
use super::{Address, Peer, RawValue, Setting, unix};

/// The reader of `--listen` and `--proxy-protocol`.
pub(super) fn listen(raw: &RawValue, _: &Setting) -> Result<Listen, String> {
    raw.text.parse()
}

/// The reader of `--trust-proxy`.
pub(super) fn network(raw: &RawValue, _: &Setting) -> Result<Network, String> {
    raw.text.parse()
}

/// Where to accept connections. Port 0 lets the system pick one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `:8080` or `*:8080`: every address of the machine, IPv6 and IPv4.
    Every(u16),
    /// `127.0.0.1:8080`, `[::1]:8080`.
    At(SocketAddr),
    /// `localhost:8080`: both loopback addresses, without asking a resolver what localhost is.
    Localhost(u16),
    /// `unix:/run/ronde.sock`.
    Unix(Arc<Path>),
}

impl Listen {
    /// What it stands for.
    pub fn addresses(&self) -> Vec<Address> {
        let at = |ip: IpAddr, port: u16| Address::from(SocketAddr::new(ip, port));
        match self {
            Self::At(address) => vec![Address::from(*address)],
            Self::Every(port) => {
                vec![at(Ipv4Addr::UNSPECIFIED.into(), *port), at(Ipv6Addr::UNSPECIFIED.into(), *port)]
            }
            Self::Localhost(port) => {
                vec![at(Ipv4Addr::LOCALHOST.into(), *port), at(Ipv6Addr::LOCALHOST.into(), *port)]
            }
            Self::Unix(path) => vec![Address::Unix(Arc::clone(path))],
        }
    }

    /// Whether a client of `other` reaches this listener as well, so that a socket for `other` is one too many, and would be
    /// refused as in use. Port 0 is a port of its own each time.
    pub fn includes(&self, other: &Listen) -> bool {
        let is_every = |address: IpAddr| address.is_unspecified();
        self != other
            && self.port() == other.port()
            && self.port().is_some_and(|port| port != 0)
            && match (self, other) {
                (Listen::Every(_), _) => true,
                (_, Listen::Every(_)) => false,
                (Listen::At(all), Listen::At(one)) if is_every(all.ip()) => {
                    !is_every(one.ip()) && (all.is_ipv6() || one.is_ipv4())
                }
                (Listen::At(all), Listen::Localhost(_)) => is_every(all.ip()) && all.is_ipv6(),
                (Listen::Localhost(_), Listen::At(one)) => {
                    [IpAddr::from(Ipv4Addr::LOCALHOST), Ipv6Addr::LOCALHOST.into()].contains(&one.ip())
                }
                _ => false,
            }
    }

    /// Whether no two sockets can be had for both.
    pub fn overlaps(&self, other: &Listen) -> bool {
        let is_same = self == other && self.port() != Some(0);
        is_same || self.includes(other) || other.includes(self)
    }

    pub(super) fn port(&self) -> Option<u16> {
        match self {
            Listen::Every(port) | Listen::Localhost(port) => Some(*port),
            Listen::At(address) => Some(address.port()),
            Listen::Unix(_) => None,
        }
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Listen, String> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Listen::At(canonical(address)));
        }
        let text_shown = shown(text);
        if text.parse::<u16>().is_ok() {
            return Err(format!(
                "{text_shown} is a port only; write :{text} for every address, or 127.0.0.1:{text}"
            ));
        }
        if let Some(path) = unix::path(text) {
            return path.map(Listen::Unix);
        }
        if let Some((_, rest)) = text.split_once("://") {
            let authority = rest.split('/').next().unwrap_or_default();
            let advice =
                if authority.parse::<Listen>().is_ok() { authority } else { "127.0.0.1:8080 or :8080" };
            return Err(format!("{text_shown} is a URL; write {advice}"));
        }
        if let Some(meant) = with_brackets(text) {
            return Err(format!("{text_shown} has no brackets; write {meant}"));
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Err(format!("{text_shown} has no port; write {}", SocketAddr::new(address, 8080)));
        }
        if text == "localhost" {
            return Err(format!("{text_shown} has no port; write localhost:8080"));
        }
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("{text_shown} is not an address; give one such as 127.0.0.1:8080 or :8080"));
        };
        let port =
            port_number(port).ok_or_else(|| format!("{text_shown} has no valid port; give 0 to 65535"))?;
        match host {
            "" | "*" => Ok(Listen::Every(port)),
            "localhost" => Ok(Listen::Localhost(port)),
            _ => Err(format!(
                "{text_shown} has a host that is not an IP address; give 127.0.0.1:8080 or :8080"
            )),
        }
    }
}

/// An IPv4 address that is written as IPv6 cannot be listened on as IPv6 alone. Others keep their scope.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::new(ip.into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Listen::Every(port) => write!(f, "*:{port}"),
            Listen::At(address) => write!(f, "{address}"),
            Listen::Localhost(port) => write!(f, "localhost:{port}"),
            Listen::Unix(path) => write!(f, "{}", Address::Unix(Arc::clone(path))),
        }
    }
}

/// Where a backend is, before any look-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The host is an address without brackets, or a name in lower case; the port is never 0.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(Arc<Path>),
}

impl Endpoint {
    /// Its address, unless it has a name that is to be looked up.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp { host, port } => Some(SocketAddr::new(host.parse().ok()?, *port).into()),
            Self::Unix(path) => Some(Address::Unix(Arc::clone(path))),
        }
    }

    /// What a client without a proxy has in its Host field: without the dot that ends an absolute name, and without the
    /// port that its scheme has by default (RFC 9110 §4.2.3). A path is no host; for a Unix socket curl and nginx say
    /// `localhost`.
    pub fn authority(&self, default_port: u16) -> String {
        let Self::Tcp { host, port } = self else { return "localhost".into() };
        let host = host.strip_suffix('.').unwrap_or(host);
        let relative = Self::Tcp { host: host.into(), port: *port }.to_string();
        match *port == default_port {
            true => relative.strip_suffix(&format!(":{port}")).map(String::from).unwrap_or(relative),
            false => relative,
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match unix::path(text) {
            Some(path) => path.map(Self::Unix),
            None => host_and_port(text).map(|(host, port)| Self::Tcp { host, port }),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", Address::Unix(Arc::clone(path))),
        }
    }
}

fn host_and_port(text: &str) -> Result<(String, u16), String> {
    let text_shown = shown(text);
    if let Some((scheme, rest)) = text.split_once("://") {
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(format!(
                "{text_shown} is a URL of another scheme; write HOST:PORT, or https://HOST:PORT"
            ));
        }
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let authority = authority.rsplit('@').next().unwrap_or_default();
        let meant = [authority.to_string(), format!("{authority}:80")];
        let meant = meant.into_iter().find(|meant| host_and_port(meant).is_ok());
        return Err(format!("{text_shown} is a URL; write {}", meant.as_deref().unwrap_or("HOST:PORT")));
    }
    if text.parse::<Ipv6Addr>().is_ok() {
        let meant = with_brackets(text).unwrap_or_else(|| format!("[{text}]:8000"));
        return Err(format!("{text_shown} has no port, or no brackets; write {meant}"));
    }
    if text.contains(',') {
        return Err(format!("{text_shown} is a list; give each backend by itself"));
    }
    let authority = text.split('/').next().unwrap_or_default();
    if authority != text && host_and_port(authority).is_ok() {
        return Err(format!(
            "{text_shown} has a path; write {authority}: a request keeps its own path on its way to a backend"
        ));
    }
    let Some((host, port)) = text.rsplit_once(':').filter(|(_, port)| !port.ends_with(']')) else {
        return Err(format!("{text_shown} has no port; give HOST:PORT"));
    };
    let port = port_number(port)
        .filter(|port| *port != 0)
        .ok_or_else(|| format!("{text_shown} has no valid port; give 1 to 65535"))?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host.parse().ok().map(|address: Ipv6Addr| address.to_canonical().to_string()),
        None if host.parse::<Ipv4Addr>().is_ok() || is_name(host) => Some(host.to_ascii_lowercase()),
        None => None,
    };
    match host {
        Some(host) => Ok((host, port)),
        None => Err(format!("{text_shown} has no valid host; give a name or an address, IPv6 in brackets")),
    }
}

/// What is surely meant by an IPv6 address with a port and without brackets: `[::1]:8080` by `::1:8080`.
fn with_brackets(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let (host, port): (Ipv6Addr, u16) = (host.parse().ok()?, port_number(port)?);
    Some(SocketAddr::new(host.into(), port).to_string())
}

/// Whether it is a name to look up: labels of letters, digits, `-` and `_` (Compose allows `_` in a service's name).
///
/// A name whose last label is a number is refused: `10.0.0.256` is a mistake, and `10.1` would silently resolve to
/// 10.0.0.1.
pub(super) fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            && !label.starts_with('-')
    };
    let relative = host.strip_suffix('.').unwrap_or(host);
    let last = relative.rsplit('.').next().unwrap_or_default();
    host.len() <= 253 && relative.split('.').all(label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

/// Digits only: `parse` alone would accept `+80`.
fn port_number(text: &str) -> Option<u16> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// A set of clients: a range of addresses, or those of Unix sockets (`unix:`), which have none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    Range(Cidr),
    Unix,
}

impl Network {
    pub fn contains(&self, client: Peer) -> bool {
        match (self, client) {
            (Self::Range(range), Peer::Ip(address)) => range.contains(address),
            (Self::Unix, Peer::Unix) => true,
            (Self::Range(_), Peer::Unix) | (Self::Unix, Peer::Ip(_)) | (_, Peer::Unknown) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix("unix:") {
            Some("") => Ok(Self::Unix),
            Some(_) => Err(format!("{} names one socket; write unix: for the clients of all", shown(text))),
            None => text.parse().map(Self::Range),
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Unix => Peer::Unix.fmt(f),
        }
    }
}

/// A range of addresses, such as `10.0.0.0/8`; an address alone is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// Whether `address` lies in the range; an IPv4 address written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (network, width) = bits(self.network);
        let (address, address_width) = bits(address.to_canonical());
        width == address_width && (network ^ address) & !low_bits(width - self.prefix) == 0
    }
}

/// An address as a number, and how many bits that number has.
fn bits(address: IpAddr) -> (u128, u32) {
    match address {
        IpAddr::V4(address) => (address.to_bits().into(), 32),
        IpAddr::V6(address) => (address.to_bits(), 128),
    }
}

/// The lowest `count` bits set. `::/0` needs all 128, on which `<<` alone would panic.
fn low_bits(count: u32) -> u128 {
    1u128.checked_shl(count).map_or(u128::MAX, |bit| bit - 1)
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Cidr, String> {
        let not_a_range =
            || format!("{} is not a range of addresses; give 10.0.0.0/8 or 10.1.2.3", shown(text));
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(port_number(prefix).ok_or_else(not_a_range)?)),
            None => (text, None),
        };
        let written: IpAddr = address.parse().map_err(|_| not_a_range())?;
        let (_, width) = bits(written);
        let prefix = prefix.map_or(width, u32::from);
        if prefix > width {
            return Err(format!("{} has too long a prefix; give /0 to /{width}", shown(text)));
        }
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`; a range wider than all of IPv4 stays as written.
        let (network, prefix) = match written.to_canonical() {
            mapped if mapped != written && prefix >= 96 => (mapped, prefix - 96),
            _ => (written, prefix),
        };
        let (number, width) = bits(network);
        // Either the host or its network was meant. A wrong guess would trust the wrong clients, so there is none.
        if number & low_bits(width - prefix) != 0 {
            return Err(format!(
                "{} has bits beyond its prefix; give the range's first address",
                shown(text)
            ));
        }
        Ok(Cidr { network, prefix })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Cidr, Endpoint, Listen, Network, Peer, host_and_port};

    #[test]
    fn listeners() {
        for (text, shown) in [
            (":8080", "*:8080"),
            ("*:8080", "*:8080"),
            (":0", "*:0"),
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            ("[::]:80", "[::]:80"),
            ("localhost:8080", "localhost:8080"),
            ("[::ffff:127.0.0.1]:80", "127.0.0.1:80"),
            ("unix:/run/ronde.sock", "unix:/run/ronde.sock"),
        ] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()), Ok(shown.to_string()));
        }
        for text in
            ["", ":", ":x", ":+1", ":65536", "8080", "localhost", "::1", "::1:80", "app1:80", "[::1]", "*"]
        {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_host_field_for_a_backend() {
        for (text, authority) in [
            ("app1:8000", "app1:8000"),
            ("app1.:8000", "app1:8000"),
            ("app1:80", "app1"),
            ("app1.:80", "app1"),
            ("app1:8080", "app1:8080"),
            ("[::1]:80", "[::1]"),
            ("10.0.0.1:8000", "10.0.0.1:8000"),
            ("unix:/run/app.sock", "localhost"),
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().authority(80), authority);
        }
    }

    #[test]
    fn a_wildcard_includes_the_addresses_of_its_port() {
        let listen = |text: &str| text.parse::<Listen>().unwrap();
        for (all, one) in [
            (":80", "0.0.0.0:80"),
            (":80", "[::]:80"),
            (":80", "localhost:80"),
            (":80", "10.0.0.1:80"),
            ("[::]:80", "10.0.0.1:80"),
            ("[::]:80", "[::1]:80"),
            ("[::]:80", "localhost:80"),
            ("0.0.0.0:80", "10.0.0.1:80"),
            ("localhost:80", "127.0.0.1:80"),
            ("localhost:80", "[::1]:80"),
        ] {
            assert!(listen(all).includes(&listen(one)), "{all} {one}");
            assert!(!listen(one).includes(&listen(all)), "{one} {all}");
        }
        for (one, other) in [
            ("0.0.0.0:80", "[::]:80"),
            ("0.0.0.0:80", "[::1]:80"),
            ("0.0.0.0:80", "localhost:80"),
            ("0.0.0.0:80", "10.0.0.1:81"),
            ("localhost:80", "127.0.0.2:80"),
            ("10.0.0.1:80", "10.0.0.2:80"),
            (":0", "127.0.0.1:0"),
            ("unix:/a", "unix:/b"),
            ("unix:/a", ":80"),
        ] {
            assert!(!listen(one).includes(&listen(other)), "{one} {other}");
            assert!(!listen(other).includes(&listen(one)), "{other} {one}");
        }
    }

    #[test]
    fn backends() {
        for (text, host, port) in [
            ("app1:8000", "app1", 8000),
            ("App_1.Example.:80", "app_1.example.", 80),
            ("127.0.0.1:1", "127.0.0.1", 1),
            ("[::1]:8000", "::1", 8000),
            ("[::ffff:10.0.0.1]:8000", "10.0.0.1", 8000),
            ("1and1.com:65535", "1and1.com", 65535),
        ] {
            assert_eq!(host_and_port(text), Ok((host.to_string(), port)), "{text}");
        }
        for text in [
            "app1",
            ":8000",
            "app1:",
            "app1:0",
            "app1:65536",
            "app1:+1",
            "app1:80/x",
            "a..b:80",
            "-a:80",
            "a b:80",
            "a@b:80",
            "ä:80",
            "10.0.0.256:80",
            "10.1:80",
            "::1",
            "::1:80:",
            "[::1]",
            "[10.0.0.1]:80",
            "[app]:80",
            "[:80",
        ] {
            assert!(host_and_port(text).is_err(), "{text}");
        }
    }

    #[test]
    fn clients_without_an_address_are_in_no_range() {
        let [every, unix]: [Network; 2] = ["0.0.0.0/0", "unix:"].map(|text| text.parse().unwrap());
        let client = Peer::Ip([192, 0, 2, 7].into());
        assert!(every.contains(client) && !every.contains(Peer::Unix) && !every.contains(Peer::Unknown));
        assert!(unix.contains(Peer::Unix) && !unix.contains(client) && !unix.contains(Peer::Unknown));
        assert_eq!(unix.to_string(), "unix:");
        assert!("unix:/run/a.sock".parse::<Network>().is_err());
    }

    #[test]
    fn ranges() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.0.1", "11.0.0.0"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
            ("::ffff:10.0.0.0/104", "10.1.2.3", "11.1.2.3"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("0.0.0.0/0", "255.1.2.3", "::1"),
            ("::/0", "2001:db8::1", "10.0.0.1"),
            ("2001:db8::/32", "2001:db8:ffff::", "2001:db9::"),
            ("::1", "::1", "::2"),
        ] {
            let cidr: Cidr = range.parse().unwrap();
            let contains = |address: &str| cidr.contains(address.parse::<IpAddr>().unwrap());
            assert!(contains(inside), "{range} {inside}");
            assert!(!contains(outside), "{range} {outside}");
            assert_eq!(cidr.to_string().parse(), Ok(cidr));
        }
        for text in
            ["", "x", "10.0.0.0/", "10.0.0.0/33", "::/129", "10.0.0.1/8", "10.0.0.0/8/8", "/8", "10.0.0.0/-1"]
        {
            assert!(text.parse::<Cidr>().is_err(), "{text}");
        }
    }
}
