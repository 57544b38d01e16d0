//! What a route's admin changes in heads: fields that are set, names that do not pass, and two fields of ronde's own.
//!
//! The problem: nearly every route changes nothing, and must not pay for those that do. So a head is written first as
//! if there were no edits, and a route that has some writes it once more: it drops every line under a name that is
//! edited, whether a peer or ronde wrote that line, and puts the set fields behind the first line. So the admin's word
//! is the last one, also about `X-Forwarded-Proto`. A dropped name does not come back as a trailer or in an interim
//! response either; what is set is in the head alone.
//!
//! Not here: what a user writes and what is refused (`config::fields`). The name of a framing field is never edited, so
//! the framing that was decided stays true.

use super::{Origin, Trust, forwarded, write_address};
use crate::config::{Config, FieldName, Part, Peer, SetField, Template};
use crate::http1::fields::{Name, end_of_line};
use crate::http1::head::Request;
use crate::http1::target::authority_of;
use std::borrow::Cow;
use std::io::Write;
use std::sync::Arc;

/// The edits of all requests of a route, or of all its responses.
#[derive(Debug)]
pub struct Edits {
    set: Vec<SetField>,
    removed: Vec<FieldName>,
    own: Vec<Own>,
}

/// A field with which ronde tells the backend where a request comes from, if it is asked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Own {
    /// `X-Real-IP`.
    RealIp,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

impl Own {
    fn name(self) -> &'static str {
        match self {
            Self::RealIp => "X-Real-IP",
            Self::Forwarded => "Forwarded",
        }
    }
}

impl Edits {
    /// Those of a route's requests; `None`: there are none.
    pub fn of_requests(config: &Config) -> Option<Arc<Self>> {
        let switches = [(config.real_ip, Own::RealIp), (config.forwarded, Own::Forwarded)];
        let own = switches.into_iter().filter_map(|(is_on, own)| is_on.then_some(own));
        Self::new(&config.set_request_header, &config.remove_request_header, own)
    }

    /// Those of a route's responses; `None`: there are none.
    pub fn of_responses(config: &Config) -> Option<Arc<Self>> {
        Self::new(&config.set_response_header, &config.remove_response_header, [])
    }

    fn new(set: &[SetField], removed: &[FieldName], own: impl IntoIterator<Item = Own>) -> Option<Arc<Self>> {
        let mut edits = Self { set: set.to_vec(), removed: removed.to_vec(), own: Vec::new() };
        // A name that the admin edits is the admin's, whatever a switch says.
        edits.own = own.into_iter().filter(|own| !edits.takes(own.name().as_bytes())).collect();
        // Host is best the first of all fields (RFC 9110 §7.2).
        edits.set.sort_by_key(|field| !field.name.is(b"host"));
        let is_empty = edits.set.is_empty() && edits.removed.is_empty() && edits.own.is_empty();
        (!is_empty).then(|| Arc::new(edits))
    }

    /// Whether no line under this name goes on as it came.
    pub fn takes(&self, name: &[u8]) -> bool {
        self.set.iter().any(|field| field.name.is(name))
            || self.removed.iter().any(|removed| removed.is(name))
            || self.own.iter().any(|own| name.eq_ignore_ascii_case(own.name().as_bytes()))
    }

    /// Whether their values differ from request to request.
    pub fn have_placeholders(&self) -> bool {
        self.set.iter().any(|field| !field.value.is_literal())
    }

    /// Edits the head of a request, as [`super::request`] wrote it. `client` is the client behind trusted proxies.
    pub fn request(&self, out: &mut Vec<u8>, head: &Request<'_>, origin: &Origin<'_>, client: Peer) {
        let placeholders = Placeholders::of(head, origin, client);
        self.rewrite(out, |out| {
            self.write_set(out, Some(&placeholders));
            for own in &self.own {
                match (own, client) {
                    (Own::RealIp, Peer::Ip(address)) => {
                        out.extend_from_slice(b"X-Real-IP: ");
                        write_address(out, address);
                        out.extend_from_slice(b"\r\n");
                    }
                    (Own::RealIp, Peer::Unix | Peer::Unknown) => {}
                    (Own::Forwarded, _) => forwarded::write(out, head.fields, origin, &placeholders),
                }
            }
        });
    }

    /// Edits a final response, or the head of one. `placeholders` are needed where the values
    /// [have some](Self::have_placeholders).
    pub fn response(&self, out: &mut Vec<u8>, placeholders: Option<&Placeholders<'_>>) {
        self.rewrite(out, |out| self.write_set(out, placeholders));
    }

    /// Edits an interim response: nothing is set there, since the final response has it.
    pub fn interim(&self, out: &mut Vec<u8>) {
        self.rewrite(out, |_| {});
    }

    /// Writes a message once more behind itself, without the lines that are taken, and drops the one in front. So it
    /// needs no second buffer.
    fn rewrite(&self, message: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
        let end = message.len();
        let mut at = end_of_line(message, 0);
        message.extend_from_within(..at);
        write(message);
        while at < end && !message[at..].starts_with(b"\r\n") {
            let next = end_of_line(message, at);
            let name = message[at..next].split(|&byte| byte == b':').next().unwrap_or_default();
            if !self.takes(name) {
                message.extend_from_within(at..next);
            }
            at = next;
        }
        message.extend_from_within(at..end);
        message.drain(..end);
    }

    fn write_set(&self, out: &mut Vec<u8>, placeholders: Option<&Placeholders<'_>>) {
        for SetField { name, value } in &self.set {
            out.extend_from_slice(name.as_str().as_bytes());
            out.extend_from_slice(b": ");
            write_value(out, value, placeholders);
            out.extend_from_slice(b"\r\n");
        }
    }
}

/// No value breaks out of its line: a text is visible ASCII, and the others are an address, an authority and a scheme.
fn write_value(out: &mut Vec<u8>, value: &Template, placeholders: Option<&Placeholders<'_>>) {
    for part in value.parts() {
        match (part, placeholders) {
            (Part::Text(text), _) => out.extend_from_slice(text.as_bytes()),
            (Part::Client, Some(Placeholders { client: Peer::Ip(address), .. })) => {
                write_address(out, *address)
            }
            (Part::Client, Some(Placeholders { client, .. })) => {
                let _ = write!(out, "{client}");
            }
            (Part::Host, Some(placeholders)) => out.extend_from_slice(&placeholders.host),
            (Part::Scheme, Some(placeholders)) => out.extend_from_slice(&placeholders.scheme),
            (_, None) => {}
        }
    }
}

/// What the placeholders of a request, and of its response, stand for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placeholders<'a> {
    /// The client, as far as it is known behind trusted proxies.
    pub client: Peer,
    /// As it was asked for, with its port; empty, if the client named none and has connected to no address.
    pub host: Cow<'a, [u8]>,
    pub scheme: Cow<'a, [u8]>,
}

impl<'a> Placeholders<'a> {
    pub fn of(head: &Request<'a>, origin: &Origin<'_>, client: Peer) -> Self {
        let host = match (authority_of(head), origin.local) {
            (Some(host), _) => Cow::Borrowed(host),
            (None, Some(local)) => Cow::Owned(local.to_string().into_bytes()),
            (None, None) => Cow::Borrowed(&b""[..]),
        };
        // Of several the first, as most applications read them: the one nearest to the client.
        let said = head.fields.members(Name::XForwardedProto).next();
        let scheme = said
            .filter(|said| origin.trust == Trust::Proxy && is_scheme(said))
            .unwrap_or(origin.scheme.text());
        Self { client, host, scheme: Cow::Borrowed(scheme) }
    }

    /// The same, without the bytes of the request.
    pub fn kept(self) -> Placeholders<'static> {
        let kept = |bytes: Cow<'_, [u8]>| Cow::Owned(bytes.into_owned());
        Placeholders { client: self.client, host: kept(self.host), scheme: kept(self.scheme) }
    }

    /// Bytes of memory, itself included, of [those kept](Self::kept).
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.host.len() + self.scheme.len()
    }
}

/// `scheme` of RFC 3986 §3.1, which needs no quotes anywhere.
fn is_scheme(text: &[u8]) -> bool {
    text.iter().all(|&byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::forward::{self, Mark, Upgrade};
    use crate::http1::framing;
    use crate::http1::head::{self, Lines};
    use proptest::prelude::*;
    use std::net::SocketAddr;

    const CLIENT: Peer = Peer::Ip(std::net::IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

    /// The settings of a command line.
    fn config(words: &[&str]) -> Config {
        let words = ["health"].iter().chain(words).map(Into::into).collect();
        match crate::config::load(words, []).command {
            Ok(crate::config::Command::Health(config)) => config,
            other => panic!("{other:?}"),
        }
    }

    /// The head that a backend gets of this one, from this peer; the client behind it is `client`.
    fn sent(words: &[&str], asked: &str, (peer, client): (Peer, Peer), trust: Trust) -> String {
        let mut lines = Lines::new();
        let head = head::request(asked.as_bytes(), &mut lines).unwrap();
        let origin = Origin {
            client: peer,
            trust,
            scheme: forward::Scheme::Http,
            framing: framing::of_request(head.version, head.fields).unwrap(),
            upgrade: Upgrade::NotAsked,
            local: Some(SocketAddr::from(([127, 0, 0, 1], 80))),
            strip: "",
            pseudonym: "ronde-00c0ffee",
            mark: Mark::Via,
        };
        let mut out = vec![];
        forward::request(&mut out, &head, &origin).unwrap();
        Edits::of_requests(&config(words)).expect("edits").request(&mut out, &head, &origin, client);
        String::from_utf8(out).unwrap()
    }

    fn of_stranger(words: &[&str], lines: &str) -> String {
        let asked = format!("GET /a:b HTTP/1.1\r\nHost: h:81\r\n{lines}\r\n");
        sent(words, &asked, (CLIENT, CLIENT), Trust::Stranger)
    }

    #[test]
    fn a_set_field_stands_in_front_and_nothing_else_under_its_name() {
        let words = [
            "--set-request-header",
            "X-User: {client} {{{scheme}://{host}}}",
            "--set-request-header",
            "host:b",
        ];
        assert_eq!(
            of_stranger(&words, "x-user: 1\r\nA: b\r\nX_USER: 2\r\nX-User2: 3\r\nX-User:\r\n"),
            "GET /a:b HTTP/1.1\r\nhost: b\r\nX-User: 192.0.2.7 {http://h:81}\r\nA: b\r\nX-User2: 3\r\n\
             X-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: h:81\r\n\
             Via: 1.1 ronde-00c0ffee\r\n\r\n"
        );
    }

    #[test]
    fn the_admins_word_is_the_last_one_about_what_ronde_writes() {
        let words = [
            "--set-request-header",
            "X-Forwarded-Proto:https",
            "--remove-request-header",
            "X-FORWARDED-HOST",
        ];
        let more = ["--set-request-header", "X-Real-IP: 1.1.1.1", "--remove-request-header", "Forwarded"];
        let switches = ["--real-ip", "--forwarded"];
        assert_eq!(
            of_stranger(&[&words[..], &more, &switches].concat(), "X-Real-IP: 2.2.2.2\r\n"),
            "GET /a:b HTTP/1.1\r\nX-Forwarded-Proto: https\r\nX-Real-IP: 1.1.1.1\r\nHost: h:81\r\n\
             X-Forwarded-For: 192.0.2.7\r\nVia: 1.1 ronde-00c0ffee\r\n\r\n"
        );
    }

    #[test]
    fn placeholders_of_any_request() {
        let unix = (Peer::Unix, Peer::Unix);
        let asked = |target: &str, lines: &str| format!("GET {target} HTTP/1.1\r\nHost: h\r\n{lines}\r\n");
        let old = "GET / HTTP/1.0\r\n\r\n".to_owned();
        for (asked, peers, trust, value) in [
            (asked("/", ""), unix, Trust::Stranger, "unix: h http"),
            (asked("http://b:8/", ""), unix, Trust::Stranger, "unix: b:8 http"),
            (old, (Peer::Unknown, Peer::Unknown), Trust::Stranger, "unknown 127.0.0.1:80 http"),
            (asked("/", "X-Forwarded-Proto: https\r\n"), unix, Trust::Stranger, "unix: h http"),
            (asked("/", "X-Forwarded-Proto: https, http\r\n"), unix, Trust::Proxy, "unix: h https"),
            (
                asked("/", "X-Forwarded-Proto: \"x\"\r\n"),
                (Peer::Unix, CLIENT),
                Trust::Proxy,
                "192.0.2.7 h http",
            ),
        ] {
            let out = sent(&["--set-request-header", "A:{client} {host} {scheme}"], &asked, peers, trust);
            assert!(out.contains(&format!("\r\nA: {value}\r\n")), "{out}");
        }
    }

    #[test]
    fn x_real_ip_is_the_client_or_nothing() {
        let asked = "GET / HTTP/1.1\r\nHost: h\r\nx-real-ip: 9.9.9.9\r\n\r\n";
        for (client, line) in [(CLIENT, "X-Real-IP: 192.0.2.7\r\n"), (Peer::Unix, ""), (Peer::Unknown, "")] {
            for trust in [Trust::Stranger, Trust::Proxy] {
                let out = sent(&["--real-ip"], asked, (Peer::Unix, client), trust);
                assert!(out.starts_with(&format!("GET / HTTP/1.1\r\n{line}Host: h\r\n")), "{out}");
                assert!(!out.contains("9.9.9.9") && !out.contains("Forwarded:"), "{out}");
            }
        }
    }

    #[test]
    fn forwarded_is_appended_to_what_a_trusted_proxy_sent() {
        let proxy = Peer::Ip("2001:db8::1".parse().unwrap());
        let own = "for=\"[2001:db8::1]\";host=\"h:81\";proto=http";
        let of_it = |lines: &str, peers, trust| {
            let asked = format!("GET / HTTP/1.1\r\nHost: h:81\r\n{lines}\r\n");
            let out = sent(&["--forwarded"], &asked, peers, trust);
            let mut found =
                out.lines().filter_map(|line| line.strip_prefix("Forwarded: ").map(str::to_owned));
            let line = found.next().unwrap();
            assert_eq!(found.next(), None);
            line
        };
        let strange = "Forwarded: for=9.9.9.9\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n";
        assert_eq!(of_it(strange, (proxy, proxy), Trust::Stranger), own);
        assert_eq!(of_it("", (proxy, proxy), Trust::Proxy), own);
        assert_eq!(of_it("", (Peer::Unix, Peer::Unix), Trust::Proxy), "for=unknown;host=\"h:81\";proto=http");
        for (lines, before) in [
            (
                "Forwarded: for=1.1.1.1\r\nforwarded: for=_x;by=\"a,\\\"b\"\r\n",
                "for=1.1.1.1, for=_x;by=\"a,\\\"b\"",
            ),
            // One that is left open would take what follows with it.
            ("Forwarded: for=\"1.1.1.1\r\nForwarded: for=_x\r\n", "for=_x"),
            ("Forwarded: for=\"\\\r\nForwarded: for=_x\r\n", "for=_x"),
            ("Forwarded:\r\n", "for=192.0.2.7;host=\"h:81\";proto=http"),
            ("X-Forwarded-Proto: https\r\nX-Forwarded-Host: a\r\n", "for=192.0.2.7;host=a;proto=https"),
            ("X-Forwarded-Host: \"\\\r\n", "for=192.0.2.7;host=\"\\\"\\\\\";proto=http"),
        ] {
            assert_eq!(of_it(lines, (proxy, CLIENT), Trust::Proxy), format!("{before}, {own}"), "{lines}");
        }
        // A proxy may name no client of its own, or one on its own host.
        for (lines, before) in [
            ("X-Forwarded-Proto: https\r\n", "for=\"[2001:db8::1]\";host=\"h:81\";proto=https, "),
            ("X-Forwarded-Host: a\r\n", "for=\"[2001:db8::1]\";host=a;proto=http, "),
            ("X-Forwarded-Host: h:81\r\nX-Forwarded-Proto: HTTP\r\n", ""),
        ] {
            assert_eq!(of_it(lines, (proxy, proxy), Trust::Proxy), format!("{before}{own}"), "{lines}");
        }
    }

    #[test]
    fn responses_and_what_goes_with_them() {
        let words = ["--set-response-header", "Server: ronde", "--remove-response-header", "x-debug"];
        let edits = Edits::of_responses(&config(&words)).unwrap();
        assert!(!edits.have_placeholders() && Edits::of_requests(&config(&words)).is_none());
        let came = b"HTTP/1.1 200 server: x\r\nSERVER: a\r\nX-Debug: 1\r\nA: b\r\n\r\nServer: of the body\r\n\r\nX-Debug: 2\r\n";
        let mut out = came.to_vec();
        edits.response(&mut out, None);
        let body = "\r\nServer: of the body\r\n\r\nX-Debug: 2\r\n";
        let left = |set: &str| format!("HTTP/1.1 200 server: x\r\n{set}A: b\r\n{body}");
        assert_eq!(String::from_utf8(out).unwrap(), left("Server: ronde\r\n"));
        let mut out = came.to_vec();
        edits.interim(&mut out);
        assert_eq!(String::from_utf8(out).unwrap(), left(""));
        let mut out = vec![];
        forward::trailers(&mut out, b"A: b\r\nX-debug: 1\r\nServer: 2\r\n\r\n", Some(&edits));
        assert_eq!(out, b"A: b\r\n\r\n");
        assert!(Edits::of_responses(&config(&[])).is_none());
    }

    proptest! {
        #[test]
        fn only_taken_lines_go(
            lines in prop::collection::vec("(A|a|B|b|A_|C|Ab|X-A): [ab:]{0,3}\r\n", 0..9),
            body in "(A: b\r\n|\r\n|x){0,4}",
        ) {
            let edits = Edits::of_responses(&config(&["--set-response-header", "a:1", "--remove-response-header", "B"])).unwrap();
            let message = |lines: String| format!("HTTP/1.1 200 A: b\r\n{lines}\r\n{body}").into_bytes();
            let mut out = message(lines.concat());
            edits.response(&mut out, None);
            let is_taken = |line: &str| ["a:", "b:"].contains(&&*line[..2].to_ascii_lowercase());
            let left: String = lines.iter().filter(|line| !is_taken(line)).cloned().collect();
            prop_assert_eq!(out, message(format!("a: 1\r\n{left}")));
        }
    }
}
