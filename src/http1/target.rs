//! The parts of what a request asks for.
//!
//! The problem: a route, a redirect to https, an access list and the admin's page look at the same target. Where one takes a
//! part to end elsewhere than another does, a request is let in by one reading and served by the other. So it is cut here.
//!
//! Not here: whether a target is one (`head`), and what its path means (`routing`, `plain_path`).

use crate::http1::fields::Name;
use crate::http1::head::{Request, Target};

/// What a request asks for: its authority, and its path with the query. The authority is empty if it names none; the path is
/// empty in an OPTIONS for the server as a whole.
pub fn asked<'a>(head: &Request<'a>) -> (&'a str, &'a str) {
    let authority = std::str::from_utf8(authority_of(head).unwrap_or_default()).unwrap_or_default();
    match head.target {
        Target::Absolute { path, .. } | Target::Origin(path) => (authority, path),
        Target::Asterisk => (authority, ""),
    }
}

/// In absolute-form the target's authority replaces Host (RFC 9112 §3.2.2).
pub fn authority_of<'a>(head: &Request<'a>) -> Option<&'a [u8]> {
    match head.target {
        Target::Absolute { authority, .. } => Some(authority.as_bytes()),
        Target::Origin(_) | Target::Asterisk => head.fields.lines(Name::Host).next(),
    }
}

/// A host without the port that may follow it. The colons within the brackets of an IPv6 address begin none.
pub fn host_of(authority: &str) -> &str {
    match authority.rfind([':', ']']) {
        Some(at) if authority[at..].starts_with(':') => &authority[..at],
        _ => authority,
    }
}

/// A path without the query that may follow it.
pub fn path_of(target: &str) -> &str {
    target.split('?').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{self, Lines};

    #[test]
    fn what_a_target_asks_for() {
        for (line, asks) in [
            ("GET /a?b", ("host", "/a?b")),
            ("GET http://other:81/a?b", ("other:81", "/a?b")),
            ("GET http://other?b", ("other", "?b")),
            ("OPTIONS *", ("host", "")),
        ] {
            let text = format!("{line} HTTP/1.1\r\nHost: host\r\n\r\n");
            let mut lines = Lines::new();
            assert_eq!(asked(&head::request(text.as_bytes(), &mut lines).unwrap()), asks, "{line}");
        }
    }

    #[test]
    fn a_host_loses_its_port_and_a_path_its_query() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("A.Example:8080", "A.Example"),
            ("a.example:", "a.example"),
            ("192.0.2.1:80", "192.0.2.1"),
            ("[::1]", "[::1]"),
            ("[2001:db8::1]:8080", "[2001:db8::1]"),
            ("", ""),
        ] {
            assert_eq!(host_of(authority), host);
        }
        for (target, path) in [("/a?b?c", "/a"), ("/a", "/a"), ("?b", ""), ("", "")] {
            assert_eq!(path_of(target), path);
        }
    }
}
