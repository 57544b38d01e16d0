//! How clients come from http to https, and stay there.
//!
//! The problem: a site with TLS still has its plain address. People type it, old links have it, and the issuer of its
//! certificate asks there for a proof (ACME's HTTP-01, RFC 8555 §8.3), which a redirect must not hide. So what a plain
//! request gets is decided before any route is looked for.
//!
//! Not here: TLS (`net::tls`), and the routes (`routing`).

use crate::http1::fields::{Fields, Name};
use crate::http1::forward::{Scheme, Trust};
use crate::http1::target::{host_of, path_of};

/// What becomes of a plain request instead of what its route says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detour {
    /// It goes to the server that has the proofs.
    Challenge,
    /// 308 to the same host and target over https.
    Redirect,
}

/// Which detours there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detours {
    pub challenge: bool,
    pub redirect: bool,
}

/// The detour of a request by this scheme, and for this path, with the query.
pub fn detour(scheme: Scheme, path: &str, detours: Detours) -> Option<Detour> {
    match scheme {
        Scheme::Https => None,
        Scheme::Http if detours.challenge && is_challenge(path) => Some(Detour::Challenge),
        Scheme::Http => detours.redirect.then_some(Detour::Redirect),
    }
}

/// A token of a challenge is base64url (RFC 8555 §8.3). Nothing else below the path is one: no `..` that leads out of
/// it.
fn is_challenge(path: &str) -> bool {
    let is_of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    path_of(path)
        .strip_prefix("/.well-known/acme-challenge/")
        .is_some_and(|token| !token.is_empty() && token.bytes().all(is_of_token))
}

/// How the client at the far end asked: by the scheme of its connection, or as a trusted proxy in front of ronde says.
/// Without that, a proxy that speaks TLS would be sent to https for ever. Of a WebSocket some proxies say `wss` (Traefik).
pub fn asked_by(connection: Scheme, fields: Fields<'_>, trust: Trust) -> Scheme {
    let mut named = fields.members(Name::XForwardedProto);
    let is_secure = |name: &[u8]| [&b"https"[..], b"wss"].iter().any(|it| name.eq_ignore_ascii_case(it));
    match (connection, trust) {
        (Scheme::Http, Trust::Proxy) if named.next().is_some_and(is_secure) => Scheme::Https,
        (connection, _) => connection,
    }
}

/// The origin over https of a host, which may have a port: that of the plain address, so it does not count.
pub fn origin(host: &[u8]) -> String {
    format!("https://{}", host_of(&String::from_utf8_lossy(host)))
}

const NAME: &str = "Strict-Transport-Security";

/// Adds the field to a whole head, with or without what follows it, unless it has one: a browser looks at the first
/// alone (RFC 6797 §8.1), and the backend knows its site better. Only over TLS: elsewhere it must not be sent (§7.2).
pub fn add_strict_transport_security(message: &mut Vec<u8>, value: &str) {
    let ends = memchr::memchr_iter(b'\n', message);
    let mut begin = 0;
    let mut after_status = None;
    for end in ends {
        let line = &message[begin..end];
        begin = end + 1;
        if line.trim_ascii_end().is_empty() {
            break;
        }
        after_status.get_or_insert(begin);
        let name = line.split(|&byte| byte == b':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case(NAME.as_bytes()) {
            return;
        }
    }
    if let Some(at) = after_status {
        message.splice(at..at, format!("{NAME}: {value}\r\n").into_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::head::{self, Lines};

    #[test]
    fn only_plain_requests_are_led_elsewhere() {
        use Detour::{Challenge, Redirect};
        const TOKEN: &str = "/.well-known/acme-challenge/aZ0-_";
        let some = |challenge, redirect| Detours { challenge, redirect };
        for (path, detours, found) in [
            ("/", some(false, false), None),
            ("/", some(true, false), None),
            ("/", some(false, true), Some(Redirect)),
            ("/", some(true, true), Some(Redirect)),
            ("", some(true, true), Some(Redirect)),
            (TOKEN, some(false, false), None),
            (TOKEN, some(true, false), Some(Challenge)),
            (TOKEN, some(false, true), Some(Redirect)),
            (TOKEN, some(true, true), Some(Challenge)),
            ("/.well-known/acme-challenge/a?b=/../c", some(true, true), Some(Challenge)),
            ("/.well-known/acme-challenge/", some(true, true), Some(Redirect)),
            ("/.well-known/acme-challenge", some(true, false), None),
            ("/.well-known/acme-challenge/../../etc/passwd", some(true, false), None),
            ("/.well-known/acme-challenge/%2e%2e", some(true, false), None),
            ("/.well-known/acme-challenge/a/b", some(true, true), Some(Redirect)),
            ("/.Well-Known/acme-challenge/a", some(true, false), None),
            ("/x/.well-known/acme-challenge/a", some(true, false), None),
        ] {
            assert_eq!(detour(Scheme::Http, path, detours), found, "{path} {detours:?}");
            assert_eq!(detour(Scheme::Https, path, detours), None, "{path}");
        }
    }

    #[test]
    fn the_scheme_is_that_of_the_connection_or_what_a_trusted_proxy_says() {
        use Scheme::{Http, Https};
        for (connection, named, trust, scheme) in [
            (Http, "", Trust::Stranger, Http),
            (Https, "", Trust::Stranger, Https),
            (Http, "X-Forwarded-Proto: https\r\n", Trust::Stranger, Http),
            (Http, "X-Forwarded-Proto: HTTPS\r\n", Trust::Proxy, Https),
            (Http, "X-Forwarded-Proto: https, http\r\n", Trust::Proxy, Https),
            (Http, "X-Forwarded-Proto: wss\r\n", Trust::Proxy, Https),
            (Http, "X-Forwarded-Proto: ws\r\n", Trust::Proxy, Http),
            (Http, "X-Forwarded-Proto: http\r\n", Trust::Proxy, Http),
            (Http, "", Trust::Proxy, Http),
            (Https, "X-Forwarded-Proto: http\r\n", Trust::Proxy, Https),
        ] {
            let text = format!("GET / HTTP/1.1\r\nHost: a\r\n{named}\r\n");
            let mut lines = Lines::new();
            let head = head::request(text.as_bytes(), &mut lines).unwrap();
            assert_eq!(asked_by(connection, head.fields, trust), scheme, "{connection:?} {named}");
        }
    }

    #[test]
    fn a_host_keeps_its_name_and_loses_its_port() {
        assert_eq!(origin(b"A.Example:8080"), "https://A.Example");
        assert_eq!(origin(b"[2001:db8::1]:8080"), "https://[2001:db8::1]");
    }

    #[test]
    fn the_field_is_added_once() {
        let with = |message: &str| {
            let mut bytes = message.as_bytes().to_vec();
            add_strict_transport_security(&mut bytes, "max-age=1");
            String::from_utf8(bytes).unwrap()
        };
        const FIELD: &str = "Strict-Transport-Security: max-age=1\r\n";
        for (status, rest) in [
            ("HTTP/1.1 200 OK\r\n", "Date: x\r\nA: b\r\n\r\n"),
            ("HTTP/1.1 204 \r\n", "\r\n"),
            ("HTTP/1.1 200 OK\r\n", "A: b\r\n\r\nStrict-Transport-Security: in the body\r\n\r\n"),
        ] {
            assert_eq!(with(&format!("{status}{rest}")), format!("{status}{FIELD}{rest}"));
        }
        let own = "HTTP/1.1 200 OK\r\nA: b\r\nstrict-transport-security: max-age=0\r\n\r\n";
        assert_eq!(with(own), own);
        assert_eq!(with(""), "");
    }
}
