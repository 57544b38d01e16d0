//! `Forwarded`, the standard's field for what `X-Forwarded-*` say (RFC 7239): a list with an element for each hop.
//!
//! The problem: an element is written by the proxy that it passes, about the connection on which the request came to
//! that proxy. So ronde appends one about its own client, and keeps what a trusted proxy sent before it. But many a
//! proxy speaks `X-Forwarded-*` alone, and its client would be lost; so where such a proxy is trusted, ronde writes the
//! element that the proxy would have written (§7.4).
//!
//! Not here: whether it is asked for (`edits`).

use super::edits::Placeholders;
use super::{Origin, Trust};
use crate::config::Peer;
use crate::http1::fields::{self, Fields, Name};
use std::io::Write;
use std::net::IpAddr;

/// Writes the line.
pub(super) fn write(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>, asked: &Placeholders<'_>) {
    out.extend_from_slice(b"Forwarded: ");
    if origin.trust == Trust::Proxy {
        write_earlier(out, fields, origin, asked);
    }
    write_element(out, origin.client, &asked.host, origin.scheme.text());
    out.extend_from_slice(b"\r\n");
}

/// The elements of the hops before this one, each with its comma. One that would say what ronde's own says is left out.
fn write_earlier(out: &mut Vec<u8>, fields: Fields<'_>, origin: &Origin<'_>, asked: &Placeholders<'_>) {
    let empty = out.len();
    for line in fields.lines(Name::Forwarded).map(fields::trim).filter(|line| is_whole(line)) {
        out.extend_from_slice(line);
        out.extend_from_slice(b", ");
    }
    let host = fields.members(Name::XForwardedHost).next().unwrap_or(&asked.host);
    let differs = asked.client != origin.client
        || *host != *asked.host
        || !asked.scheme.eq_ignore_ascii_case(origin.scheme.text());
    if out.len() == empty && differs {
        write_element(out, asked.client, host, &asked.scheme);
        out.extend_from_slice(b", ");
    }
}

/// Whether the line leaves no quoted string open, which would swallow the elements behind it.
fn is_whole(line: &[u8]) -> bool {
    let (mut is_quoted, mut bytes) = (false, line.iter());
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => is_quoted = !is_quoted,
            b'\\' if is_quoted && bytes.next().is_none() => return false,
            _ => {}
        }
    }
    !is_quoted && !line.is_empty()
}

fn write_element(out: &mut Vec<u8>, client: Peer, host: &[u8], proto: &[u8]) {
    // A client without an address is one whose identity is not known (§6.2). The name of its own that §6.3 allows would
    // tell an application nothing more.
    let _ = match client {
        Peer::Ip(IpAddr::V4(address)) => write!(out, "for={address}"),
        Peer::Ip(IpAddr::V6(address)) => write!(out, "for=\"[{address}]\""),
        Peer::Unix | Peer::Unknown => write!(out, "for=unknown"),
    };
    if !host.is_empty() {
        out.extend_from_slice(b";host=");
        write_value(out, host);
    }
    out.extend_from_slice(b";proto=");
    write_value(out, proto);
}

/// `token / quoted-string`. The colon before a port is in no token.
fn write_value(out: &mut Vec<u8>, value: &[u8]) {
    if fields::is_token(value) {
        return out.extend_from_slice(value);
    }
    out.push(b'"');
    for &byte in value {
        if matches!(byte, b'"' | b'\\') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    out.push(b'"');
}
