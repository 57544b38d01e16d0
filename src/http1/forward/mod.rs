//! The head that ronde writes for the next hop.
//!
//! The problem: some fields belong to one connection only, some are ronde's to write (the client's address, the hops
//! the message passed), and some are a client's attempt to forge those. Everything else must arrive as it was sent:
//! order, case, duplicates, empty values and bytes beyond ASCII. So ronde writes a new head, line by line, and this
//! module gives the reason why each line is kept or dropped.
//!
//! Not here: what an admin changes in it (`edits`), framing decisions (`framing`), ronde's own responses (`reply`). No
//! socket; the only allocation is the growth of the worker's output buffer, which is kept for the next message.

mod client;
mod edits;
mod forwarded;
mod response;
mod trailers;

use crate::config::Peer;
use crate::http1::fields::{self, Fields, Name};
use crate::http1::framing::{Coding, Framing};
use crate::http1::head::{self, Request, Response, Target, Version};
use crate::http1::target::authority_of;
use crate::observe::failure::Failure;
pub use client::{asks_for_health, client, is_unnamed};
pub use edits::{Edits, Placeholders};
pub use response::{Delivery, Persistence, interim, response, switch};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
pub use trailers::trailers;

/// Members of all `Connection` lines of one message together, or of all `Upgrade` lines. Each is compared with every field line, or
/// with each member of another list: 64 KiB of them would cost 8 million comparisons.
const MAX_OPTIONS: usize = 32;

/// What ronde knows about a request besides its head.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    pub client: Peer,
    pub scheme: Scheme,
    pub trust: Trust,
    pub framing: Framing,
    pub upgrade: Upgrade,
    /// The address that the client connected to. It becomes the authority of a request without one (RFC 9112 §3.3).
    pub local: Option<SocketAddr>,
    /// What is taken off the front of the path: that of the request's route, or nothing.
    pub strip: &'a str,
    /// ronde's name, and the field that says it.
    pub pseudonym: &'a str,
    pub mark: Mark,
}

/// How the client speaks to ronde.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    Http,
    Https,
}

impl Scheme {
    /// As it stands in a URI and in fields.
    fn text(self) -> &'static [u8] {
        match self {
            Self::Http => b"http",
            Self::Https => b"https",
        }
    }
}

/// The field in which ronde names itself, to recognise a request that comes back to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// RFC 9110 §7.6.3, a MUST. Some servers answer a request with it differently: nginx does not compress.
    Via,
    /// RFC 8586 (`--no-via`). An application server does not look at it, and other proxies pass it on like any field.
    CdnLoop,
}

/// Whether the client is a proxy whose forwarding fields are believed (`--trust-proxy`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    Stranger,
    Proxy,
}

/// Whether the connection may switch to another protocol after this exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    NotAsked,
    /// To WebSocket, whose Close says where it ends (RFC 6455 §7).
    WebSocket,
    /// To something of which only the end of the connection may be the end.
    Other,
}

/// Whether the client asks for another protocol (RFC 9110 §7.8), and for one that ronde can tunnel.
///
/// Also with a body, as `docker exec` asks for one: the new protocol begins behind the request, whose end its framing
/// tells. Not in HTTP/1.0, where `Upgrade` must be ignored. Not to `h2c`: ronde could not check the requests in the
/// tunnel.
pub fn upgrade(head: &Request<'_>) -> Upgrade {
    let is_asked = head.version == Version::Http11 && head.fields.has_member(Name::Connection, "upgrade");
    let mut protocols =
        head.fields.members(Name::Upgrade).filter(|protocol| is_tunnelled(protocol)).peekable();
    if !is_asked || protocols.peek().is_none() {
        return Upgrade::NotAsked;
    }
    match protocols.all(|protocol| protocol.eq_ignore_ascii_case(b"websocket")) {
        true => Upgrade::WebSocket,
        false => Upgrade::Other,
    }
}

/// `protocol-name ["/" protocol-version]`, both of them tokens, and not HTTP/2.
fn is_tunnelled(protocol: &[u8]) -> bool {
    let mut parts = protocol.splitn(2, |&byte| byte == b'/');
    let is_http2 = |name: &[u8]| name.eq_ignore_ascii_case(b"h2c") || name.eq_ignore_ascii_case(b"h2");
    parts.next().is_some_and(|name| fields::is_token(name) && !is_http2(name)) && parts.all(fields::is_token)
}

/// Whether a 101 switches to protocols that `asked`, the forwarded request head, asks for. A server must not switch to
/// any other (RFC 9110 §7.8). Of either list a few members are read: a backend that echoes thousands would have each compared with
/// each.
pub fn is_asked_for(switch: &Response<'_>, asked: &[u8]) -> bool {
    // The only such line is from `write_upgrade`: the client's own are not forwarded.
    let mut lines = asked.split(|&byte| byte == b'\n');
    let Some(asked) = lines.find_map(|line| line.strip_prefix(UPGRADE)) else { return false };
    let asked: Vec<_> = fields::members_of(asked.trim_ascii_end()).collect();
    let protocols: Vec<_> = switch.fields.members(Name::Upgrade).take(MAX_OPTIONS + 1).collect();
    let is_asked = |protocol: &&[u8]| asked.iter().any(|asked| asked.eq_ignore_ascii_case(protocol));
    (1..=MAX_OPTIONS).contains(&protocols.len()) && protocols.iter().all(is_asked)
}

/// How a message with these fields and this framing is framed for the next hop. If `Connection` nominates fields, they
/// may come as trailers (RFC 9110 §7.6.1). By then the head is gone, and with it the nominations: so all trailers are
/// dropped.
pub fn coding(fields: Fields<'_>, framing: Framing) -> Coding {
    match framing {
        Framing::Length(_) => Coding::Plain,
        Framing::Chunked | Framing::UntilClose if fields.members(Name::Connection).all(is_plain_option) => {
            Coding::Chunked
        }
        Framing::Chunked | Framing::UntilClose => Coding::ChunkedAlone,
    }
}

/// Whether a line of either [`Mark`] names this very ronde, which means that the message has passed through it before.
pub fn is_loop(fields: Fields<'_>, pseudonym: &str) -> bool {
    let is_own = |name: Option<&[u8]>| name == Some(pseudonym.as_bytes());
    // `received-protocol RWS received-by [ RWS comment ]`
    let in_via =
        |member: &[u8]| is_own(member.split(|&byte| byte == b' ').filter(|word| !word.is_empty()).nth(1));
    // `cdn-id *( OWS ";" OWS parameter )`
    let in_cdn_loop = |member: &[u8]| is_own(member.split(|&byte| byte == b';').next().map(fields::trim));
    fields.members(Name::Via).any(in_via) || fields.members(Name::CdnLoop).any(in_cdn_loop)
}

/// Writes the head of a request for a backend.
///
/// # Errors
/// [`Failure::TooManyOptions`] for more than 32 members in `Connection`.
pub fn request(out: &mut Vec<u8>, head: &Request<'_>, origin: &Origin<'_>) -> Result<(), Failure> {
    let options = ConnectionOptions::of(head.fields)?;
    out.clear();
    write_request_line(out, head, origin.strip);
    let host = authority_of(head);
    if !head.fields.contains(Name::Host) {
        // An HTTP/1.0 request may lack Host; the HTTP/1.1 request that ronde sends must not.
        match (host, origin.local) {
            (Some(host), _) => line(out, "Host", host),
            (None, Some(local)) => put(out, format_args!("Host: {local}\r\n")),
            (None, None) => out.extend_from_slice(b"Host:\r\n"),
        }
    }
    for (name, text, value) in head.fields.iter() {
        if name == Name::Host {
            line(out, text, host.unwrap_or(value));
        } else if let Some(left) = forwards_left(head.method, name, value) {
            put(out, format_args!("{text}: {}\r\n", left.saturating_sub(1)));
        } else if is_passed_on(name, head.version, origin) && !options.is_nominated(name, text) {
            line(out, text, value);
        }
    }
    write_framing(out, head, origin.framing);
    write_forwarded(out, head.fields, host, origin);
    write_mark(out, head.version, origin);
    write_connection(out, head.fields, origin.upgrade);
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The target goes in origin-form, whatever form was received (RFC 9112 §3.2.1). `*` stays, and is also the target of
/// an OPTIONS that was received in absolute-form without a path (§3.2.4).
fn write_request_line(out: &mut Vec<u8>, head: &Request<'_>, strip: &str) {
    let (slash, path) = match head.target {
        Target::Asterisk => ("", "*"),
        Target::Absolute { path: "", .. } if head.method == head::Method::Options => ("", "*"),
        Target::Origin(path) | Target::Absolute { path, .. } => {
            let path = path.strip_prefix(strip).unwrap_or(path);
            (if path.starts_with('/') { "" } else { "/" }, path)
        }
    };
    for part in [head.token, " ", slash, path, " HTTP/1.1\r\n"] {
        out.extend_from_slice(part.as_bytes());
    }
}

/// The target of a head that [`request`] wrote.
pub fn target(head: &[u8]) -> &[u8] {
    head.split(|&byte| byte == b' ').nth(1).unwrap_or_default()
}

/// The host of a head that [`request`] wrote, with its port.
pub fn host(head: &[u8]) -> &[u8] {
    let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii_end);
    let value = lines.find_map(|line| match line.split_at_checked(5) {
        Some((name, value)) if name.eq_ignore_ascii_case(b"Host:") => Some(value),
        _ => None,
    });
    fields::trim(value.unwrap_or_default())
}

/// How many more hops `Max-Forwards` allows an OPTIONS or TRACE (RFC 9110 §7.6.2). With other methods it means nothing,
/// and is forwarded unchanged. A number beyond 64 bits becomes the largest one, as that section says.
fn forwards_left(method: head::Method, name: Name, value: &[u8]) -> Option<u64> {
    let counts = matches!(method, head::Method::Options | head::Method::Trace);
    let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    (counts && name == Name::MaxForwards && is_number).then(|| {
        value.iter().fold(0u64, |left, byte| left.saturating_mul(10).saturating_add(u64::from(byte - b'0')))
    })
}

/// Whether `Max-Forwards` forbids to forward this request.
pub fn ends_here(head: &Request<'_>) -> bool {
    head.fields
        .lines(Name::MaxForwards)
        .any(|left| forwards_left(head.method, Name::MaxForwards, left) == Some(0))
}

/// Whether a client's field line is forwarded, unless its `Connection` field nominates it.
fn is_passed_on(name: Name, version: Version, origin: &Origin<'_>) -> bool {
    match name {
        Name::ContentLength | Name::Disguised => false,
        // Without a body there is nothing to continue with; in HTTP/1.0 it must be ignored (RFC 9110 §10.1.1).
        Name::Expect => origin.framing != Framing::Length(0) && version == Version::Http11,
        // `write_forwarded` writes it, after a trusted proxy's own list. The other forwarding fields are kept as the
        // trusted proxy sent them.
        Name::XForwardedFor => false,
        name if name.is_forwarding() => origin.trust == Trust::Proxy,
        name => !name.is_of_connection(),
    }
}

fn write_framing(out: &mut Vec<u8>, head: &Request<'_>, framing: Framing) {
    match framing {
        // `Content-Length: 0` has a meaning with POST (RFC 9110 §8.6), so it stays if the client sent it.
        Framing::Length(0) if !head.fields.contains(Name::ContentLength) => {}
        Framing::Length(length) => write_length(out, length),
        Framing::Chunked | Framing::UntilClose => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
    }
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    line(out, "Content-Length", itoa::Buffer::new().format(length).as_bytes());
}

/// The client's address, the scheme and the Host that it asked for, and the prefix that its path had.
fn write_forwarded(out: &mut Vec<u8>, fields: Fields<'_>, host: Option<&[u8]>, origin: &Origin<'_>) {
    let is_proxy = origin.trust == Trust::Proxy;
    write_forwarded_for(out, fields, origin);
    if !(is_proxy && fields.contains(Name::XForwardedProto)) {
        out.extend_from_slice(match origin.scheme {
            Scheme::Http => b"X-Forwarded-Proto: http\r\n".as_slice(),
            Scheme::Https => b"X-Forwarded-Proto: https\r\n",
        });
    }
    if let Some(host) = host
        && !(is_proxy && fields.contains(Name::XForwardedHost))
    {
        line(out, "X-Forwarded-Host", host);
    }
    // After a trusted proxy's own, whose prefix is in front of this one.
    if !origin.strip.is_empty() {
        line(out, "X-Forwarded-Prefix", origin.strip.as_bytes());
    }
}

/// The hops so far, if they are believed, and the client. One without an address adds nothing: a word such as `unknown`
/// would be taken for an address by many an application.
fn write_forwarded_for(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>) {
    const SEPARATOR: &[u8] = b", ";
    let start = out.len();
    out.extend_from_slice(b"X-Forwarded-For: ");
    let empty = out.len();
    if origin.trust == Trust::Proxy {
        for address in fields.members(Name::XForwardedFor) {
            out.extend_from_slice(address);
            out.extend_from_slice(SEPARATOR);
        }
    }
    match origin.client {
        Peer::Ip(address) => write_address(out, address),
        Peer::Unix | Peer::Unknown if out.len() == empty => return out.truncate(start),
        Peer::Unix | Peer::Unknown => out.truncate(out.len() - SEPARATOR.len()),
    }
    out.extend_from_slice(b"\r\n");
}

/// After those that came, which stay.
fn write_mark(out: &mut Vec<u8>, received: Version, origin: &Origin<'_>) {
    out.extend_from_slice(match (origin.mark, received) {
        (Mark::Via, Version::Http10) => b"Via: 1.0 ",
        (Mark::Via, Version::Http11) => b"Via: 1.1 ",
        (Mark::CdnLoop, _) => b"CDN-Loop: ",
    });
    out.extend_from_slice(origin.pseudonym.as_bytes());
    out.extend_from_slice(b"\r\n");
}

fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    let IpAddr::V4(address) = address else { return put(out, format_args!("{address}")) };
    for (index, octet) in address.octets().into_iter().enumerate() {
        if index > 0 {
            out.push(b'.');
        }
        out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
    }
}

/// ronde's own `Connection` field for the backend: none, an upgrade, or a `TE` that accepts trailers.
fn write_connection(out: &mut Vec<u8>, fields: Fields<'_>, upgrade: Upgrade) {
    let wants_trailers = fields.has_member(Name::Te, "trailers");
    match (upgrade, wants_trailers) {
        (Upgrade::NotAsked, false) => {}
        (Upgrade::NotAsked, true) => out.extend_from_slice(b"TE: trailers\r\nConnection: TE\r\n"),
        (Upgrade::WebSocket | Upgrade::Other, _) => write_upgrade(out, fields),
    }
}

const UPGRADE: &[u8] = b"Upgrade: ";

/// The protocols in `Upgrade` that ronde can tunnel, if there are any: the first of them, which the client likes best.
fn write_upgrade(out: &mut Vec<u8>, fields: Fields<'_>) {
    let tunnelled = fields.members(Name::Upgrade).filter(|protocol| is_tunnelled(protocol));
    let mut protocols = tunnelled.take(MAX_OPTIONS);
    let Some(first) = protocols.next() else { return };
    out.extend_from_slice(b"Connection: upgrade\r\n");
    out.extend_from_slice(UPGRADE);
    out.extend_from_slice(first);
    for protocol in protocols {
        out.extend_from_slice(b", ");
        out.extend_from_slice(protocol);
    }
    out.extend_from_slice(b"\r\n");
}

/// The members of a message's `Connection` lines that nominate a field which is not hop-by-hop anyway. They are found once: among
/// 60 KB of blanks, they would be looked for with every field line.
struct ConnectionOptions<'a> {
    nominated: [&'a [u8]; MAX_OPTIONS],
    count: usize,
}

impl<'a> ConnectionOptions<'a> {
    fn of(fields: Fields<'a>) -> Result<Self, Failure> {
        let mut options = Self { nominated: [&[]; MAX_OPTIONS], count: 0 };
        for (place, member) in fields.members(Name::Connection).enumerate() {
            if place >= MAX_OPTIONS {
                return Err(Failure::TooManyOptions);
            }
            if !is_plain_option(member) {
                options.nominated[options.count] = member;
                options.count += 1;
            }
        }
        Ok(options)
    }

    /// Whether they nominate this field. A sender cannot nominate a field that the message or ronde needs.
    fn is_nominated(&self, name: Name, text: &str) -> bool {
        let nominated = &self.nominated[..self.count];
        nominated.iter().any(|nominated| nominated.eq_ignore_ascii_case(text.as_bytes()))
            && !name.is_forwarding()
            && !matches!(name, Name::Via | Name::CdnLoop | Name::Expect | Name::Date)
    }
}

/// `close`, or a field that is hop-by-hop even if it is not nominated.
fn is_plain_option(member: &[u8]) -> bool {
    member.eq_ignore_ascii_case(b"close") || Name::of(member).is_of_connection()
}

fn line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    let value = fields::trim(value);
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Writing to a `Vec` cannot fail.
fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::framing;

    const LOCAL: Option<SocketAddr> = Some(SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 80));
    const CLIENT: Peer = Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

    fn onward(bytes: &str, trust: Trust) -> Result<String, Failure> {
        marked(bytes, trust, Mark::Via)
    }

    fn marked(bytes: &str, trust: Trust, mark: Mark) -> Result<String, Failure> {
        sent_by(CLIENT, bytes, trust, mark)
    }

    fn sent_by(client: Peer, bytes: &str, trust: Trust, mark: Mark) -> Result<String, Failure> {
        let mut lines = head::Lines::new();
        let head = head::request(bytes.as_bytes(), &mut lines)?;
        let framing = framing::of_request(head.version, head.fields)?;
        let upgrade = upgrade(&head);
        let mut out = b"old".to_vec();
        request(
            &mut out,
            &head,
            &Origin {
                client,
                scheme: Scheme::Http,
                trust,
                framing,
                upgrade,
                local: LOCAL,
                strip: "",
                pseudonym: "ronde-00c0ffee",
                mark,
            },
        )?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    fn stranger(bytes: &str) -> String {
        onward(bytes, Trust::Stranger).unwrap()
    }

    #[test]
    fn order_case_duplicates_and_empty_values_stay() {
        assert_eq!(
            stranger(
                "GET /A%2f?q HTTP/1.1\r\naccept: x\r\nHOST: h\r\nX-B: 1\r\nx-b:\r\nX-B:  2 \r\nA_b: c\r\n\r\n"
            ),
            "GET /A%2f?q HTTP/1.1\r\naccept: x\r\nHOST: h\r\nX-B: 1\r\nx-b: \r\nX-B: 2\r\nA_b: c\r\n\
             X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h\r\n\
             Via: 1.1 ronde-00c0ffee\r\n\r\n"
        );
    }

    #[test]
    fn hop_by_hop_fields_are_dropped() {
        let out = stranger(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: x-one, keep-alive\r\nX-One: 1\r\nconnection: X-Two\r\n\
             X-Two: 2\r\nX-Three: 3\r\nKeep-Alive: 5\r\nProxy-Connection: close\r\nTE: gzip\r\nUpgrade: websocket\r\n\r\n",
        );
        for gone in ["X-One", "X-Two", "Keep-Alive", "Proxy-Connection", "TE:", "Upgrade", "onnection"] {
            assert!(!out.contains(gone), "{gone} in {out}");
        }
        assert!(out.contains("X-Three: 3\r\n"));
    }

    #[test]
    fn a_client_cannot_strip_needed_fields() {
        let out = stranger(
            "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\
             Connection: host, content-length, x-forwarded-for, via, transfer-encoding\r\n\r\n",
        );
        for kept in ["Host: h", "Content-Length: 3", "X-Forwarded-For: 192.0.2.7", "Via: 1.1 ronde-"] {
            assert!(out.contains(kept), "{kept} not in {out}");
        }
        let named = "Connection: expect, x-forwarded-proto, x-forwarded-host, forwarded, x-real-ip\r\n";
        let proxys = "Expect: 100-continue\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: x\r\n\
                      Forwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n";
        let asked = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n{named}{proxys}\r\n");
        let out = onward(&asked, Trust::Proxy).unwrap();
        assert!(proxys.lines().all(|line| out.contains(&format!("\r\n{line}\r\n"))), "{out}");
        let many = |count| {
            let options = "a,".repeat(count);
            onward(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {options}\r\n\r\n"), Trust::Stranger)
        };
        assert!(many(MAX_OPTIONS).is_ok());
        assert_eq!(many(MAX_OPTIONS + 1), Err(Failure::TooManyOptions));
    }

    /// Each of 7,500 protocols was compared with each that the backend echoed: 130 ms of a core for one request.
    #[test]
    fn of_many_protocols_the_first_are_asked_for() {
        let list: Vec<_> = (0..7_500).map(|number| format!("p{number}")).collect();
        let asked = format!(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: {}\r\n\r\n",
            list.join(",")
        );
        let out = stranger(&asked);
        let first = list[..MAX_OPTIONS].join(", ");
        assert!(out.contains(&format!("\r\nUpgrade: {first}\r\n")), "{out}");
    }

    #[test]
    fn a_stranger_is_not_believed_and_a_trusted_proxy_is() {
        let asked = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nx-forwarded-for: 3.3.3.3\r\n\
                     X-Forwarded-Proto: https\r\nX-Forwarded-Host: x\r\nForwarded: for=1.1.1.1\r\nX-Real-IP: 1.1.1.1\r\n\
                     X_Forwarded_For: 4.4.4.4\r\nTransfer_Encoding: chunked\r\n\r\n";
        let out = stranger(asked);
        for gone in
            ["1.1.1.1", "2.2.2.2", "3.3.3.3", "4.4.4.4", "https", "Host: x", "Forwarded: ", "Transfer"]
        {
            assert!(!out.contains(gone), "{gone} in {out}");
        }
        let out = onward(asked, Trust::Proxy).unwrap();
        assert!(out.contains("X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 192.0.2.7\r\n"), "{out}");
        assert!(out.contains("X-Forwarded-Proto: https\r\n") && out.contains("X-Forwarded-Host: x\r\n"));
        assert!(
            !out.contains("Proto: http\r\n")
                && !out.contains("4.4.4.4")
                && out.contains("X-Real-IP: 1.1.1.1")
        );
    }

    #[test]
    fn a_client_without_an_address_adds_none() {
        let asked = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n\r\n";
        let alone = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
        for client in [Peer::Unix, Peer::Unknown] {
            let out = |asked, trust| sent_by(client, asked, trust, Mark::Via).unwrap();
            assert!(
                out(asked, Trust::Proxy)
                    .contains("\r\nX-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-Proto")
            );
            for none in [out(asked, Trust::Stranger), out(alone, Trust::Stranger), out(alone, Trust::Proxy)] {
                assert!(
                    !none.contains("ed-For") && none.contains("Host: h\r\nX-Forwarded-Proto: http\r\n"),
                    "{none}"
                );
            }
        }
    }

    #[test]
    fn targets_and_hosts() {
        for (asked, line, host) in [
            (
                "GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /x?y HTTP/1.1\r\n",
                "\r\nHost: b:81\r\n",
            ),
            ("GET http://b HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n", "\r\nHost: b\r\n"),
            ("GET http://b?q HTTP/1.0\r\n\r\n", "GET /?q HTTP/1.1\r\n", "\r\nHost: b\r\n"),
            ("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\n", "\r\nHost: b\r\n"),
            ("GET / HTTP/1.0\r\n\r\n", "GET / HTTP/1.1\r\n", "\r\nHost: 127.0.0.1:80\r\n"),
        ] {
            let out = stranger(asked);
            assert!(out.starts_with(line) && out.contains(host), "{out}");
            assert_eq!(out.matches("\r\nHost:").count(), 1);
        }
    }

    #[test]
    fn framing_upgrades_and_expectations() {
        let chunked = stranger(
            "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nExpect: 100-continue\r\n\r\n",
        );
        assert!(
            chunked.contains("Transfer-Encoding: chunked\r\n") && chunked.contains("Expect: 100-continue")
        );
        let empty =
            stranger("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 00\r\nExpect: 100-continue\r\n\r\n");
        assert!(empty.contains("Content-Length: 0\r\n") && !empty.contains("Expect"));
        let socket = "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: WebSocket, h2c\r\n\r\n";
        assert!(stranger(socket).contains("Connection: upgrade\r\nUpgrade: WebSocket\r\n"));
        let others = [socket.replace("WebSocket, h2c", "H2"), socket.replace("WebSocket, h2c", "H2/1")];
        let ignored = [socket.replace("WebSocket, ", ""), socket.replace("HTTP/1.1", "HTTP/1.0")];
        for ignored in ignored.iter().chain(&others) {
            assert!(!stranger(ignored).contains("pgrade"), "{ignored}");
        }
        let also =
            stranger(&socket.replace("Connection: Upgrade", "TE: trailers\r\nConnection: TE, Upgrade"));
        assert!(also.contains("Connection: upgrade\r\nUpgrade: WebSocket\r\n"), "{also}");
        let old = "POST / HTTP/1.0\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n";
        assert!(!stranger(old).contains("Expect"));
        let trailers = stranger("GET / HTTP/1.1\r\nHost: h\r\nTE: gzip, Trailers\r\nConnection: TE\r\n\r\n");
        assert!(trailers.contains("TE: trailers\r\nConnection: TE\r\n"));
    }

    #[test]
    fn max_forwards_counts_down_for_the_methods_it_is_about() {
        let with = |method, left| {
            stranger(&format!("{method} / HTTP/1.1\r\nHost: h\r\nmax-forwards: {left}\r\n\r\n"))
        };
        assert!(with("OPTIONS", "10").contains("max-forwards: 9\r\n"));
        assert!(with("TRACE", "1").contains("max-forwards: 0\r\n"));
        assert!(with("GET", "7").contains("max-forwards: 7\r\n"));
        assert!(with("TRACE", "0000000000000000000000003").contains("max-forwards: 2\r\n"));
        assert!(with("TRACE", "99999999999999999999999").contains("max-forwards: 18446744073709551614\r\n"));
        assert!(with("TRACE", "many").contains("max-forwards: many\r\n"));
    }

    #[test]
    fn loops_are_recognised_by_name() {
        for (field, value, is_same) in [
            ("VIA", "1.1 ronde-00c0ffee", true),
            ("Via", "1.0 fred, 1.1  ronde-00c0ffee (x)", true),
            ("Via", "1.1 ronde-00c0ffed", false),
            ("Via", "1.1 not-ronde-00c0ffee", false),
            ("cdn-loop", "ronde-00c0ffee", true),
            ("CDN-Loop", "fred; a=b, ronde-00c0ffee ; c", true),
            ("CDN-Loop", "fred; ronde-00c0ffee", false),
            ("CDN-Loop", "1.1 ronde-00c0ffee", false),
        ] {
            let lines = [httparse::Header { name: field, value: value.as_bytes() }];
            assert_eq!(
                is_loop(Fields::new(&lines, &mut [Name::Other]), "ronde-00c0ffee"),
                is_same,
                "{value}"
            );
        }
    }

    #[test]
    fn via_says_in_which_version_the_request_came() {
        assert!(stranger("GET / HTTP/1.0\r\n\r\n").contains("\r\nVia: 1.0 ronde-00c0ffee\r\n"));
        assert!(stranger("GET / HTTP/1.1\r\nHost: h\r\n\r\n").contains("\r\nVia: 1.1 ronde-00c0ffee\r\n"));
    }

    #[test]
    fn without_via_cdn_loop_names_ronde() {
        let asked =
            "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.1 a\r\nCDN-Loop: b\r\nConnection: via, cdn-loop\r\n\r\n";
        for (mark, with, without) in [
            (Mark::Via, "Via: 1.1 ronde-00c0ffee", "CDN-Loop: ronde"),
            (Mark::CdnLoop, "CDN-Loop: ronde-00c0ffee", "1.1 ronde"),
        ] {
            let out = marked(asked, Trust::Stranger, mark).unwrap();
            for kept in ["Via: 1.1 a", "CDN-Loop: b", with] {
                assert!(out.contains(&format!("\r\n{kept}\r\n")), "{kept} not in {out}");
            }
            assert!(!out.contains(without), "{out}");
        }
    }

    #[test]
    fn trailers_are_dropped_where_connection_nominates_fields() {
        for (options, expected) in [
            (&[][..], Coding::Chunked),
            (&["close"], Coding::Chunked),
            (&["Keep-Alive, TE", "CLOSE"], Coding::Chunked),
            (&["close, x-sum"], Coding::ChunkedAlone),
            (&["close", "X-Sum"], Coding::ChunkedAlone),
        ] {
            let line =
                |value: &&'static str| httparse::Header { name: "Connection", value: value.as_bytes() };
            let lines: Vec<_> = options.iter().map(line).collect();
            assert_eq!(
                coding(Fields::new(&lines, &mut [Name::Other; 2]), Framing::Chunked),
                expected,
                "{options:?}"
            );
        }
    }

    #[test]
    fn responses() {
        let onward = |bytes: &str, version, asked, persistence| {
            let mut lines = head::Lines::new();
            let mut bytes = bytes.as_bytes().to_vec();
            let head = head::response(&mut bytes, &mut lines).unwrap();
            let framed = framing::of_response(asked, head.status, head.version, head.fields).unwrap();
            let delivery = Delivery::of(version, asked, head.status, framed);
            let mut out = vec![];
            response(&mut out, &head, version, delivery, persistence).unwrap();
            String::from_utf8(out).unwrap()
        };
        use Persistence::{Close, Persist};
        use Version::{Http10, Http11};
        use head::Method::{Get, Head};
        assert_eq!(
            onward(
                "HTTP/1.0 200 Fine\r\nDate: d\r\nA: b\r\nConnection: c\r\nC: d\r\nContent-Length: 05\r\n\r\n",
                Http11,
                Get,
                Persist
            ),
            "HTTP/1.1 200 Fine\r\nDate: d\r\nA: b\r\nContent-Length: 5\r\n\r\n"
        );
        assert_eq!(
            onward("HTTP/1.1 200\r\nDate: d\r\nTransfer-Encoding: chunked\r\n\r\n", Http11, Get, Close),
            "HTTP/1.1 200 \r\nDate: d\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(
            onward("HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 7\r\n\r\n", Http10, Head, Persist),
            "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 7\r\nConnection: keep-alive\r\n\r\n"
        );
        assert_eq!(
            onward(
                "HTTP/1.1 200 OK\r\nDate: d\r\nConnection: date, x\r\nX: y\r\nContent-Length: 0\r\n\r\n",
                Http11,
                Get,
                Persist
            ),
            "HTTP/1.1 200 OK\r\nDate: d\r\nContent-Length: 0\r\n\r\n"
        );
        assert_eq!(
            onward("HTTP/1.1 204 None\r\nDate: d\r\nContent-Length: 0\r\n\r\n", Http11, Get, Persist),
            "HTTP/1.1 204 None\r\nDate: d\r\n\r\n"
        );
        // The length of a 304 is that of the 200 (RFC 9110 §8.6): a zero would be wrong.
        for length in ["Content-Length: 7\r\n", ""] {
            assert_eq!(
                onward(
                    &format!("HTTP/1.1 304 Same\r\nDate: d\r\n{length}ETag: x\r\n\r\n"),
                    Http11,
                    Get,
                    Persist
                ),
                format!("HTTP/1.1 304 Same\r\nDate: d\r\nETag: x\r\n{length}\r\n")
            );
        }
        assert!(
            onward("HTTP/1.1 200 OK\r\n\r\n", Http10, Get, Close).contains(" GMT\r\nConnection: close\r\n")
        );
    }
}
