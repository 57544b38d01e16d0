//! Strict syntax: a request whose request line or field lines break the grammar is refused.

use crate::harness::{Backend, End, Proxy, each_row, plain_only, ronde_only, setup};

/// Whole requests, the statuses that may refuse them, and why they must be refused.
const BROKEN: &[(&str, &[u16], &str)] = &[
    ("GET / HTTP/1.1\nHost: a\n\n", &[400], "bare LF everywhere"),
    ("GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", &[400], "bare LF after a field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\n", &[400], "bare LF as the empty line"),
    ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "bare LF as an empty line before"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n", &[400], "bare CR in a value"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\r\n\r\n", &[400], "bare CR at a line's end"),
    ("GET /\r HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "bare CR in the target"),
    ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", &[400], "white space before the first field"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", &[400], "obs-fold with a space"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\tz\r\n\r\n", &[400], "obs-fold with a tab"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", &[400], "space before the colon"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\t: y\r\n\r\n", &[400], "tab before the colon"),
    ("GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", &[400], "no field name"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX y\r\n\r\n", &[400], "no colon"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX(y): z\r\n\r\n", &[400], "a parenthesis in a field name"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX y: z\r\n\r\n", &[400], "a space in a field name"),
    ("GET / HTTP/1.1\r\nHost: a\r\nXé: z\r\n\r\n", &[400], "a field name beyond ASCII"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n", &[400], "NUL in a value"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x01b\r\n\r\n", &[400], "a control byte in a value"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: a\x7fb\r\n\r\n", &[400], "DEL in a value"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX\0: b\r\n\r\n", &[400], "NUL in a field name"),
    ("G(T / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a method that is no token"),
    ("GÉT / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a method beyond ASCII"),
    (" GET / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a space before the method"),
    ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "two spaces before the target"),
    ("GET /  HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "two spaces after the target"),
    ("GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a tab instead of a space"),
    ("GET / HTTP/1.1 \r\nHost: a\r\n\r\n", &[400, 505], "a space after the version"),
    ("GET / x HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a space in the target"),
    ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "NUL in the target"),
    ("GET /\x7f HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "DEL in the target"),
    ("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a control byte in the target"),
    ("GET /a\tb HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a tab in the target"),
    ("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a fragment"),
    ("GET a HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a target without a slash"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "an asterisk without OPTIONS"),
    ("GET http://a\"b/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "a quote in the target's authority"),
    ("GET http://a<b>/ HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "angle brackets in the target's authority"),
    ("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", &[400], "authority-form without CONNECT"),
    ("GET /\r\n\r\n", &[400, 505], "HTTP/0.9"),
    ("GET / HTTP\r\nHost: a\r\n\r\n", &[400, 505], "half a version"),
    ("GET / HTTP/1\r\nHost: a\r\n\r\n", &[400, 505], "no minor version"),
    ("GET / HTTP/11\r\nHost: a\r\n\r\n", &[400, 505], "no dot"),
    ("GET / HTTP/1.1x\r\nHost: a\r\n\r\n", &[400, 505], "more than a version"),
    ("GET / HTTP/01.1\r\nHost: a\r\n\r\n", &[400, 505], "two digits"),
    ("GET / http/1.1\r\nHost: a\r\n\r\n", &[400, 505], "a version in lower case (RFC 9112 §2.3)"),
    ("GET / HTTX/1.1\r\nHost: a\r\n\r\n", &[400, 505], "another protocol"),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[505], "a version that is not 1.x"),
    ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", &[505], "a version that is not 1.x"),
    ("GET / HTTP/0.9\r\nHost: a\r\n\r\n", &[505], "a version that is not 1.x"),
    ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &[400, 505], "the HTTP/2 preface"),
    ("GET / HTTP/1.1\r\n\r\n", &[400], "no Host (RFC 9112 §3.2)"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400], "Host twice, the same"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", &[400], "Host twice, different"),
    ("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", &[400], "Host twice in HTTP/1.0"),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", &[400], "a space in Host"),
    ("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", &[400], "a slash in Host"),
    ("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", &[400], "user information in Host"),
    ("GET / HTTP/1.1\r\nHost: a:80x\r\n\r\n", &[400], "a port that is no number"),
    ("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", &[400], "an open bracket in Host"),
    ("GET http://b/ HTTP/1.1\r\n\r\n", &[400], "absolute-form does not excuse a missing Host"),
    ("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", &[405, 501], "ronde is not a forward proxy"),
];

#[test]
fn invalid_syntax_is_refused_and_the_connection_closed() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(BROKEN, |(bytes, statuses, _)| {
        proxy.expect_refusal(bytes, statuses);
    });
    assert_eq!(backend.targets(), Vec::<String>::new(), "no backend sees any of it");
}

/// `https://` with the port of a plain listener: it was said to be a bare line feed, or waited for until its time was up.
#[test]
fn tls_at_a_plain_listener_is_said_to_be_tls() {
    ronde_only!();
    plain_only!("this run's listeners speak TLS");
    let (_origin, proxy, mut client) = setup("");
    client.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    let response = client.response();
    assert_eq!(response.status(), 400);
    client.expect_end();
    proxy.process.stdout.line_with("cause=\"the client speaks TLS, and this listener does not\"");
}

#[test]
fn targets_pass_unchanged() {
    let targets = [
        "/",
        "/?",
        "//twice//",
        "/a/../b/./c",
        "/%7Euser/%2e%2E/%2f",
        "/A/b;c=d,e/f:g@h",
        "/?a=b&c=%20+d?e/f",
        "/~!$&'()*+,;=:@-._",
    ];
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(&targets, |target| {
        proxy.get(target);
        assert_eq!(backend.targets().last().map(String::as_str), Some(*target));
    });
}

/// Grafana, Prometheus and people's scripts send these as they are; nginx and HAProxy pass them.
#[test]
fn visible_characters_of_a_target_were_refused() {
    let targets = ["/q?query=up{job=\"n\"}", "/<a>?b=<c>", "/a|b^c`d\\e", "/[a]{b}"];
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    each_row(&targets, |target| {
        let seen = proxy.get(target).text();
        assert_eq!(seen.lines().next(), Some(format!("GET {target} HTTP/1.1").as_str()));
    });
}

/// One server reads them as UTF-8 and another as Latin-1: HAProxy refuses them, too.
#[test]
fn a_target_beyond_ascii_is_refused() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(&[&b"\xc3\xa9"[..], b"\xe9", b"\xff"], |beyond| {
        let head = [&b"GET /"[..], beyond, b" HTTP/1.1\r\nHost: a\r\n\r\n"].concat();
        proxy.expect_refusal(head, &[400]);
    });
    assert_eq!(backend.count(), 0);
}

/// RFC 9112 §3.2.2: the authority of an absolute-form target wins over Host.
#[test]
fn absolute_form_is_forwarded_in_origin_form_with_its_authority_as_host() {
    let rows = [
        ("GET http://b.example:81/x?y HTTP/1.1\r\nHost: a", "GET /x?y HTTP/1.1", "b.example:81"),
        ("GET http://b.example HTTP/1.1\r\nHost: a", "GET / HTTP/1.1", "b.example"),
        ("GET http://b.example?q HTTP/1.1\r\nHost: a", "GET /?q HTTP/1.1", "b.example"),
        ("GET HTTP://b.example/ HTTP/1.1\r\nHost: a", "GET / HTTP/1.1", "b.example"),
        ("GET http://[::1]:81/ HTTP/1.1\r\nHost: a", "GET / HTTP/1.1", "[::1]:81"),
        ("OPTIONS http://b.example HTTP/1.1\r\nHost: a", "OPTIONS * HTTP/1.1", "b.example"),
    ];
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    each_row(&rows, |(head, start, host)| {
        let seen = proxy.ask(format!("{head}\r\n\r\n")).text();
        assert_eq!(seen.lines().next(), Some(*start));
        assert!(seen.to_ascii_lowercase().contains(&format!("\nhost: {host}\n")), "Host {host} in {seen}");
    });
}

#[test]
fn an_asterisk_passes_with_options() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    assert_eq!(proxy.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").status(), 200);
    assert_eq!(backend.targets(), ["*"]);
}

#[test]
fn unknown_methods_pass() {
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    each_row(&["TRACE", "PURGE", "get", "M-SEARCH", "X!#$%&'*+.^_`|~"], |method| {
        let seen = proxy.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n")).text();
        assert_eq!(seen.lines().next(), Some(format!("{method} / HTTP/1.1").as_str()));
    });
}

/// RFC 9112 §2.2: a server should ignore at least one.
#[test]
fn empty_lines_before_a_request_are_ignored() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for empty in ["\r\n", "\r\n\r\n\r\n", ""] {
        let response = client.ask(format!("{empty}GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!(response.text(), "b");
    }
}

#[test]
fn endless_empty_lines_are_cut_off() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    let _refused_meanwhile = client.try_send("\r\n".repeat(500_000));
    let (_, end) = client.rest();
    assert!(matches!(end, End::Eof | End::Reset), "{end:?}");
}
