//! The header of the PROXY protocol: one line (version 1) or a block (version 2) in front of everything else, in which a
//! proxy that does not touch HTTP says which client a connection is from.
//!
//! The problem: the header decides which client is logged, forwarded and trusted, and it comes in pieces like everything
//! else. So it is read strictly: what is no header is told from what is not whole yet by its first bytes, and a header that
//! two readers could understand differently is refused.
//!
//! The protocol: <https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>, §2.1 and §2.2. The destination and the
//! extensions of version 2 (TLV) are skipped.
//!
//! Not here: from whom a header is accepted (`server::acceptor`), and how long it is waited for (`proxy::session`).

use crate::config::Peer;
use crate::observe::failure::Failure;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest line of version 1, its end included (§2.1).
const MOST_V1: usize = 107;

/// The longest block of version 2 that is read, in bytes. Addresses take 232 at most (§2.2), and the extensions of the
/// proxies in use some hundred more.
const MOST_V2: usize = 4096;

const PREFIX_V1: &[u8] = b"PROXY ";
const SIGNATURE_V2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";

/// Signature, version and command, family and transport, length.
const START_V2: usize = SIGNATURE_V2.len() + 4;

/// A connection that a proxy makes for itself, in version 2: a health check.
pub const LOCAL: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\x00\x00\x00";

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The proxy itself (`LOCAL`), which has the address that the connection comes from.
    Proxy,
    /// This client of the proxy; [`Peer::Unknown`] where the proxy does not say which, or where it has no IP address.
    Client(Peer),
}

/// Reads a header from the first bytes of a connection: what it says, and how many bytes it takes. `None`: more have to come.
///
/// # Errors
/// [`Failure::ProxyHeaderMissing`]: the bytes begin no header. [`Failure::ProxyHeaderMalformed`]: they do, but it is no valid
/// one, or longer than 107 bytes in version 1, or 4096 in version 2.
pub fn read(bytes: &[u8]) -> Result<Option<(Source, usize)>, Failure> {
    if bytes.starts_with(SIGNATURE_V2) {
        return read_v2(bytes);
    }
    if bytes.starts_with(PREFIX_V1) {
        return read_v1(bytes);
    }
    match [PREFIX_V1, SIGNATURE_V2].iter().any(|start| start.starts_with(bytes)) {
        true => Ok(None),
        false => Err(Failure::ProxyHeaderMissing),
    }
}

/// `PROXY TCP4 192.0.2.7 198.51.100.1 4711 80`, or `PROXY UNKNOWN` with anything behind it.
fn read_v1(bytes: &[u8]) -> Result<Option<(Source, usize)>, Failure> {
    let start = &bytes[..bytes.len().min(MOST_V1)];
    let Some(end) = start.iter().position(|&byte| byte == b'\n') else {
        return if start.len() < MOST_V1 { Ok(None) } else { Err(Failure::ProxyHeaderMalformed) };
    };
    let client = start[PREFIX_V1.len()..end].strip_suffix(b"\r").and_then(client_v1);
    client.map(|client| Some((Source::Client(client), end + 1))).ok_or(Failure::ProxyHeaderMalformed)
}

fn client_v1(line: &[u8]) -> Option<Peer> {
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(Peer::Unknown);
    }
    let (from, to) = (words.next()?, words.next()?);
    let (from, _to): (IpAddr, IpAddr) = match family {
        "TCP4" => (from.parse::<Ipv4Addr>().ok()?.into(), to.parse::<Ipv4Addr>().ok()?.into()),
        "TCP6" => (from.parse::<Ipv6Addr>().ok()?.into(), to.parse::<Ipv6Addr>().ok()?.into()),
        _ => return None,
    };
    let are_ports = is_port(words.next()?) && is_port(words.next()?);
    (are_ports && words.next().is_none()).then(|| from.into())
}

/// Digits without a leading zero: `parse` alone would accept `+80` and `080`.
fn is_port(word: &str) -> bool {
    let is_plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    is_plain && word.parse::<u16>().is_ok()
}

fn read_v2(bytes: &[u8]) -> Result<Option<(Source, usize)>, Failure> {
    let malformed = Failure::ProxyHeaderMalformed;
    let [version_and_command, family, length @ ..] = &bytes[SIGNATURE_V2.len()..] else { return Ok(None) };
    let is_local = match version_and_command {
        0x20 => true,
        0x21 => false,
        _ => return Err(malformed),
    };
    let &[high, low, ref rest @ ..] = length else { return Ok(None) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if START_V2 + length > MOST_V2 {
        return Err(malformed);
    }
    let Some(block) = rest.get(..length) else { return Ok(None) };
    let source = match is_local {
        true => Source::Proxy,
        false => Source::Client(client_v2(*family, block).ok_or(malformed)?),
    };
    Ok(Some((source, START_V2 + length)))
}

/// The source is the first address of the block. A datagram has no place in front of a stream.
fn client_v2(family: u8, block: &[u8]) -> Option<Peer> {
    let (least, client) = match family {
        0x00 => (0, Peer::Unknown),
        0x11 => (12, Peer::from(IpAddr::from(*block.first_chunk::<4>()?))),
        0x21 => (36, Peer::from(IpAddr::from(*block.first_chunk::<16>()?))),
        // A path on the proxy's own host.
        0x31 => (216, Peer::Unknown),
        _ => return None,
    };
    (block.len() >= least).then_some(client)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Failure::{ProxyHeaderMalformed as Malformed, ProxyHeaderMissing as Missing};
    use proptest::prelude::*;

    fn client(address: &str) -> Source {
        Source::Client(Peer::Ip(address.parse().unwrap()))
    }

    fn v2(version_and_command: u8, family: u8, block: &[u8]) -> Vec<u8> {
        let length = u16::try_from(block.len()).unwrap().to_be_bytes();
        [SIGNATURE_V2, &[version_and_command, family], &length, block].concat()
    }

    #[test]
    fn lines_of_version_1() {
        for (line, source) in [
            ("PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\n", client("192.0.2.7")),
            ("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", client("255.255.255.255")),
            ("PROXY TCP4 192.0.2.7 198.51.100.1 0 0\r\n", client("192.0.2.7")),
            ("PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n", client("2001:db8::7")),
            ("PROXY TCP6 ::ffff:192.0.2.7 ::1 4711 80\r\n", client("192.0.2.7")),
            ("PROXY UNKNOWN\r\n", Source::Client(Peer::Unknown)),
            ("PROXY UNKNOWN ffff:f...f:ffff ffff:f...f:ffff 65535 65535\r\n", Source::Client(Peer::Unknown)),
        ] {
            assert_eq!(read(line.as_bytes()), Ok(Some((source, line.len()))), "{line}");
        }
        for line in [
            "PROXY \r\n",
            "PROXY TCP4\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80\r\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80 1\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 80 \r\n",
            "PROXY TCP4  192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY TCP4\t192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.07 198.51.100.1 4711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 4711 65536\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 +4711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1 04711 80\r\n",
            "PROXY TCP4 192.0.2.7 198.51.100.1  80\r\n",
            "PROXY TCP4 2001:db8::7 2001:db8::1 4711 80\r\n",
            "PROXY TCP6 192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY TCP6 [2001:db8::7] 2001:db8::1 4711 80\r\n",
            "PROXY UDP4 192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY tcp4 192.0.2.7 198.51.100.1 4711 80\r\n",
            "PROXY UNKNOWNS\r\n",
            "PROXY \u{e4}\r\n",
        ] {
            assert_eq!(read(line.as_bytes()), Err(Malformed), "{line:?}");
        }
    }

    #[test]
    fn blocks_of_version_2() {
        let v4 = [[192, 0, 2, 7], [198, 51, 100, 1], [0x12, 0x34, 0, 80]].concat();
        let v6 = ["2001:db8::7", "2001:db8::1"].map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets()).concat();
        let v6 = [&v6[..], &[0x12, 0x34, 0, 80]].concat();
        let extended = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
        for (bytes, source) in [
            (v2(0x21, 0x11, &v4), client("192.0.2.7")),
            (v2(0x21, 0x11, &extended), client("192.0.2.7")),
            (v2(0x21, 0x21, &v6), client("2001:db8::7")),
            (v2(0x21, 0x31, &[0; 216]), Source::Client(Peer::Unknown)),
            (v2(0x21, 0x00, &[]), Source::Client(Peer::Unknown)),
            (v2(0x21, 0x00, &v4), Source::Client(Peer::Unknown)),
            (v2(0x20, 0x00, &[]), Source::Proxy),
            (v2(0x20, 0x11, &v4), Source::Proxy),
            (v2(0x20, 0xff, &[1; MOST_V2 - START_V2]), Source::Proxy),
            (LOCAL.to_vec(), Source::Proxy),
        ] {
            assert_eq!(read(&bytes), Ok(Some((source, bytes.len()))), "{bytes:x?}");
        }
        for bytes in [
            v2(0x11, 0x11, &v4),
            v2(0x22, 0x11, &v4),
            v2(0x21, 0x11, &v4[..11]),
            v2(0x21, 0x21, &v6[..35]),
            v2(0x21, 0x31, &[0; 215]),
            v2(0x21, 0x12, &v4),
            v2(0x21, 0x41, &v4),
            v2(0x21, 0x01, &v4),
            v2(0x20, 0x00, &[0; MOST_V2 - START_V2 + 1]),
        ] {
            assert_eq!(read(&bytes), Err(Malformed), "{bytes:x?}");
        }
    }

    #[test]
    fn no_header_is_told_by_its_first_bytes() {
        for bytes in
            ["GET / HTTP/1.1\r\n", "POST", "PRI * HTTP/2.0", "PROXY\r\n", "\r\nG", "\x16\x03\x01", "proxy "]
        {
            assert_eq!(read(bytes.as_bytes()), Err(Missing), "{bytes:?}");
        }
        for bytes in ["", "P", "PROXY", "PROXY ", "\r\n", "\r\n\r\n\0\r\nQUIT\n", "PROXY TCP4 192.0.2.7"] {
            assert_eq!(read(bytes.as_bytes()), Ok(None), "{bytes:?}");
        }
        let longest = format!("PROXY UNKNOWN {}\r\n", "x".repeat(MOST_V1 - 16));
        assert_eq!(longest.len(), MOST_V1);
        assert_eq!(read(longest.as_bytes()), Ok(Some((Source::Client(Peer::Unknown), MOST_V1))));
        assert_eq!(read(&longest.as_bytes()[..MOST_V1 - 1]), Ok(None));
        assert_eq!(read("PROXY UNKNOWN ".repeat(9).as_bytes()), Err(Malformed));
    }

    proptest! {
        /// Cut anywhere, a header is not whole; with anything behind it, it is the same.
        #[test]
        fn only_the_whole_header_is_one(
            address: IpAddr, port: u16, is_v2: bool, behind in prop::collection::vec(any::<u8>(), 0..20),
        ) {
            let header = match (address, is_v2) {
                (IpAddr::V4(ip), false) => format!("PROXY TCP4 {ip} {ip} {port} {port}\r\n").into_bytes(),
                (IpAddr::V6(ip), false) => format!("PROXY TCP6 {ip} {ip} {port} {port}\r\n").into_bytes(),
                (IpAddr::V4(ip), true) => v2(0x21, 0x11, &[&ip.octets()[..], &[0; 8]].concat()),
                (IpAddr::V6(ip), true) => v2(0x21, 0x21, &[&ip.octets()[..], &[0; 20]].concat()),
            };
            for cut in 0..header.len() {
                prop_assert_eq!(read(&header[..cut]), Ok(None), "{}", cut);
            }
            let source = Source::Client(Peer::from(address));
            prop_assert_eq!(read(&[&header[..], &behind].concat()), Ok(Some((source, header.len()))));
        }

        /// More bytes never change a verdict.
        #[test]
        fn a_verdict_stands(
            start in prop::sample::select(vec![&b""[..], PREFIX_V1, b"PROXY TCP4 1.2.3.4 ", SIGNATURE_V2]),
            rest in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [start, &rest].concat();
            let whole = read(&bytes);
            for cut in 0..bytes.len() {
                let part = read(&bytes[..cut]);
                prop_assert!(part == Ok(None) || part == whole, "{}: {:?} and {:?}", cut, part, whole);
            }
        }
    }
}
