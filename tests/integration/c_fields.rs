//! Which fields pass between the two connections, which are dropped, and which ronde sets.

use crate::harness::{
    Backend, Framing, GET, Message, Origin, Port, Proxy, Ronde, each_row, ok, ronde_only, setup, tls,
};

/// The request that a backend gets for a GET with these field lines.
fn forwarded_request(flags: &str, lines: &str) -> Message {
    let (origin, _proxy, mut client) = setup(flags);
    client.send(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{lines}\r\n"));
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(client.response().text(), "hello");
    request
}

/// The response that a client gets for a 200 with these field lines.
fn relayed_response(lines: &str) -> Message {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    origin.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n{lines}\r\nhello"));
    let response = client.response();
    assert_eq!(response.text(), "hello");
    response
}

/// Field lines that must pass unchanged: order, case, duplicates, empty values and obs-text (RFC 9110 §5.5).
const FAITHFUL: &[(&str, &[u8])] = &[
    ("X-First", b"1"),
    ("x-lower", b"a, b"),
    ("X-EMPTY", b""),
    ("Set-Cookie", b"a=1; Path=/"),
    ("X-Latin", b"caf\xe9"),
    ("Set-Cookie", b"b=\"2\""),
    ("X-Tab", b"a\tb"),
    ("x-Last!#$%&'*+-.^_`|~", b": ;\\"),
    ("Set-Cookie", b"a=1; Path=/"),
];

fn faithful_lines() -> Vec<u8> {
    let line = |(name, value): &(&str, &[u8])| [name.as_bytes(), b": ", value, b"\r\n"].concat();
    FAITHFUL.iter().flat_map(line).collect()
}

fn assert_faithful(message: &Message) {
    let shown = |(name, value): (&str, &[u8])| format!("{name}: {}", value.escape_ascii());
    let ours = message.fields.iter().filter(|(name, _)| FAITHFUL.iter().any(|(this, _)| this == name));
    let seen: Vec<_> = ours.map(|(name, value)| shown((name, value))).collect();
    let sent: Vec<_> = FAITHFUL.iter().map(|line| shown(*line)).collect();
    assert_eq!(seen, sent);
}

#[test]
fn field_lines_of_a_request_keep_order_case_duplicates_and_bytes() {
    let (origin, _proxy, mut client) = setup("");
    client.send([b"GET / HTTP/1.1\r\nHost: a\r\n", &faithful_lines()[..], b"\r\n"].concat());
    assert_faithful(&origin.answer(ok("")).1);
}

#[test]
fn field_lines_of_a_response_keep_order_case_duplicates_and_bytes() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    origin.answer([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", &faithful_lines()[..], b"\r\n"].concat());
    assert_faithful(&client.response());
}

#[test]
fn status_and_reason_pass_unchanged() {
    each_row(&["200 Fine", "299 Miscellaneous", "404 ", "418 I'm a teapot", "599 Late"], |status| {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        origin.answer(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        assert_eq!(client.response().start, format!("HTTP/1.1 {status}"));
    });
}

#[test]
fn authentication_between_client_and_backend_passes() {
    let request = forwarded_request("", "Authorization: Basic dTpw\r\nCookie: a=1\r\n");
    assert_eq!((request.sole("authorization"), request.sole("cookie")), ("Basic dTpw".into(), "a=1".into()));
    assert_eq!(relayed_response("WWW-Authenticate: Basic\r\n").sole("www-authenticate"), "Basic");
}

/// RFC 9110 §7.6.1: fields that `Connection` names concern one connection alone.
#[test]
fn hop_by_hop_fields_of_the_client_are_not_forwarded() {
    let lines = "Connection: X-A, keep-alive,, x-b \r\nX-A: 1\r\nX-B: 2\r\nconnection: x-C\r\nX-C: 3\r\n\
        Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nUpgrade: foo\r\nX-Kept: 4\r\n";
    let request = forwarded_request("", lines);
    for name in ["x-a", "x-b", "x-c", "keep-alive", "proxy-connection", "upgrade"] {
        assert!(!request.has(name), "{name} in {request}");
    }
    assert!(!request.members("connection").iter().any(|member| member.starts_with("x-")), "{request}");
    assert_eq!(request.sole("x-kept"), "4");
}

#[test]
fn hop_by_hop_fields_of_the_backend_are_not_relayed() {
    let lines = "Connection: X-A\r\nX-A: 1\r\nconnection: x-b, keep-alive\r\nX-B: 2\r\nKeep-Alive: timeout=5\r\n\
        Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 4\r\n";
    let response = relayed_response(lines);
    for name in ["x-a", "x-b", "proxy-connection", "upgrade"] {
        assert!(!response.has(name), "{name} in {response}");
    }
    assert!(!response.members("connection").iter().any(|member| member.starts_with("x-")), "{response}");
    assert_ne!(response.values("keep-alive"), ["timeout=5"]);
    assert_eq!(response.sole("x-kept"), "4");
}

/// RFC 9110 §10.1.4: TE is hop-by-hop. Only its member `trailers` concerns the next hop too.
#[test]
fn only_the_trailers_member_of_te_passes() {
    each_row(
        &[("gzip", false), ("trailers", true), ("gzip;q=0.5, Trailers", true), ("trailersx", false)],
        |row| {
            let (te, may_pass) = row;
            let members = forwarded_request("", &format!("TE: {te}\r\nConnection: TE\r\n")).members("te");
            assert!(members.is_empty() || (*may_pass && members == ["trailers"]), "{members:?}");
        },
    );
}

#[test]
fn a_client_cannot_strip_fields_that_the_message_needs() {
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    let names = ["host", "content-length", "x-forwarded-for", "x-forwarded-proto", "x-forwarded-host"];
    each_row(&names, |name| {
        let response = proxy.ask(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close, {name}\r\nContent-Length: 5\r\n\r\nhello"
        ));
        let seen = response.text().to_ascii_lowercase();
        let intact = seen.contains(&format!("\n{name}: ")) && seen.ends_with("\n\nhello\n");
        assert!(response.status() == 400 || intact, "{name} in {seen}");
    });
}

const FORGED: &str = "X-Forwarded-For: 1.2.3.4\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: forged\r\n";

#[test]
fn forwarding_fields_are_set() {
    let request = forwarded_request("", "");
    assert_eq!(request.sole("host"), "a.example");
    assert_eq!(request.sole("x-forwarded-for"), "127.0.0.1");
    assert_eq!(request.sole("x-forwarded-proto"), tls::scheme());
    assert_eq!(request.sole("x-forwarded-host"), "a.example");
}

#[test]
fn forwarding_fields_of_an_untrusted_client_are_dropped() {
    ronde_only!();
    each_row(&["", "--trust-proxy 10.0.0.0/8", "--trust-proxy ::1/128"], |flags| {
        let more = "x-forwarded-FOR: 5.6.7.8\r\nForwarded: for=1.2.3.4\r\nX-Real-IP: 1.2.3.4\r\n\
            X-Forwarded-Port: 1\r\nX-Forwarded-Prefix: /x\r\nX-Forwarded-Anything: y\r\n";
        let request = forwarded_request(flags, &format!("{FORGED}{more}"));
        assert_eq!(request.sole("x-forwarded-for"), "127.0.0.1");
        assert_eq!(request.sole("x-forwarded-proto"), tls::scheme());
        assert_eq!(request.sole("x-forwarded-host"), "a.example");
        for name in
            ["forwarded", "x-real-ip", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-anything"]
        {
            assert!(!request.has(name), "{name} in {request}");
        }
    });
}

/// WSGI reads `_` as `-`, so a client could forge a field by spelling it with `_`.
#[test]
fn fields_that_collide_with_rondes_under_wsgi_are_dropped_and_other_underscores_pass() {
    let names = [
        "X_Forwarded_For",
        "X-Forwarded_For",
        "x_forwarded-proto",
        "X_FORWARDED_HOST",
        "X_Real_IP",
        "Content_Length",
        "Transfer_Encoding",
    ];
    let forged: String = names.iter().map(|name| format!("{name}: 7\r\n")).collect();
    let request = forwarded_request("", &format!("{forged}X_Other: 1\r\nuser_id: 2\r\n"));
    let collides = |name: &str| names.iter().any(|forged| forged.eq_ignore_ascii_case(name));
    let passed: Vec<_> = request.fields.iter().filter(|(name, _)| collides(name)).collect();
    assert!(passed.is_empty(), "{passed:?}");
    assert_eq!((request.sole("x_other"), request.sole("user_id")), ("1".to_owned(), "2".to_owned()));
    assert_eq!(request.framing, Framing::Nothing);
}

#[test]
fn forwarding_fields_of_a_trusted_proxy_are_kept_and_extended() {
    ronde_only!();
    for flags in ["--trust-proxy 127.0.0.0/8", "--trust-proxy 10.0.0.0/8 --trust-proxy 127.0.0.1/32"] {
        let request = forwarded_request(flags, FORGED);
        assert_eq!(request.members("x-forwarded-for"), ["1.2.3.4", "127.0.0.1"]);
        assert_eq!(request.sole("x-forwarded-proto"), "https");
        assert_eq!(request.sole("x-forwarded-host"), "forged");
        let plain = forwarded_request(flags, "");
        assert_eq!(
            (plain.sole("x-forwarded-for"), plain.sole("x-forwarded-proto")),
            ("127.0.0.1".into(), tls::scheme().into())
        );
    }
}

fn is_a_pseudonym(via: &str, version: &str) -> bool {
    let digits = via.strip_prefix(version).and_then(|rest| rest.strip_prefix(" ronde-"));
    digits.is_some_and(|digits| digits.len() == 8 && digits.bytes().all(|digit| digit.is_ascii_hexdigit()))
}

#[test]
fn via_is_appended_to_earlier_ones() {
    ronde_only!();
    let alone = forwarded_request("", "").members("via");
    assert!(alone.len() == 1 && is_a_pseudonym(&alone[0], "1.1"), "{alone:?}");
    let continued =
        forwarded_request("", "Via: 1.0 fred, 1.1 ronde-00000000\r\nVia: 1.1 b\r\n").members("via");
    assert_eq!(continued[..3], ["1.0 fred", "1.1 ronde-00000000", "1.1 b"]);
    assert!(continued.len() == 4 && is_a_pseudonym(&continued[3], "1.1"), "{continued:?}");
}

#[test]
fn two_chained_rondes_are_no_loop() {
    let backend = Backend::named("b");
    let inner = Proxy::start(&[backend.address]);
    let outer = Proxy::start(&[inner.plain]);
    assert_eq!(outer.get("/").text(), "b");
}

#[test]
fn a_real_loop_is_508() {
    ronde_only!();
    each_row(&[("", ""), ("--no-via", ""), ("", "--no-via"), ("--no-via", "--no-via")], |(outer, inner)| {
        let port = Port::reserve();
        let second = Proxy::with(inner, &[port.address]);
        let first = Ronde::with(&format!("{outer} --listen {} {}", port.address, second.plain)).serve();
        let response = first.get("/");
        assert_eq!(response.status(), 508);
    });
}

/// nginx does not compress the response to a request with Via, unless its `gzip_proxied` says so.
#[test]
fn via_stopped_a_backend_from_compressing() {
    ronde_only!();
    let foreign = "Via: 1.0 fred\r\nCDN-Loop: fred; a=b\r\n";
    let names = |request: &Message| {
        let own = |name| request.members(name).into_iter().filter(|member| member.contains("ronde-")).count();
        let kept = (request.values("via")[..1].to_vec(), request.values("cdn-loop")[..1].to_vec());
        assert_eq!(kept, (vec!["1.0 fred".to_owned()], vec!["fred; a=b".to_owned()]), "of others");
        (own("via"), own("cdn-loop"))
    };
    assert_eq!(names(&forwarded_request("", foreign)), (1, 0));
    assert_eq!(names(&forwarded_request("--no-via", foreign)), (0, 1));
    let alone = forwarded_request("--no-via", "");
    assert!(!alone.has("via"), "{alone}");
    assert!(is_a_pseudonym(&format!("1.1 {}", alone.sole("cdn-loop")), "1.1"), "{alone}");
}

/// A proxy in the loop may drop Via; it passes on what it does not know.
#[test]
fn a_request_that_comes_back_is_508() {
    ronde_only!();
    each_row(&["", "--no-via"], |flags| {
        let (origin, proxy, mut client) = setup(flags);
        client.send(GET);
        let (_backend, request) = origin.request();
        let lines: String = request
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {}\r\n", String::from_utf8_lossy(value)))
            .collect();
        for hop in ["", "CDN-Loop: fred\r\nVia: 1.1 fred\r\n"] {
            let response = proxy.ask(format!("{}\r\n{lines}{hop}\r\n", request.start));
            assert_eq!(response.status(), 508);
        }
    });
}

#[test]
fn h2c_is_not_forwarded() {
    let lines = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n";
    let request = forwarded_request("", lines);
    assert!(!request.has("upgrade") && !request.has("http2-settings"), "{request}");
}

#[test]
fn a_hundred_and_twenty_eight_field_lines_pass_each_way() {
    let lines: String = (0..127).map(|number| format!("X-{number}: {number}\r\n")).collect();
    let count = |message: &Message| message.fields.iter().filter(|(name, _)| name.starts_with("X-")).count();
    let request = forwarded_request("", &lines);
    assert_eq!(
        count(&request) - request.fields.iter().filter(|(name, _)| name.starts_with("X-F")).count(),
        127
    );
    assert_eq!(count(&relayed_response(&lines)), 127);
}

/// RFC 9110 §6.6.1: a recipient with a clock adds the Date that is missing.
#[test]
fn a_response_gets_a_date_when_it_has_none_and_keeps_its_own() {
    let added = relayed_response("").sole("date");
    let shape: String = added.chars().map(|mark| if mark.is_ascii_digit() { '0' } else { mark }).collect();
    assert_eq!((&shape[3..8], &shape[11..]), (", 00 ", " 0000 00:00:00 GMT"), "{added}");
    let own = "Sun, 06 Nov 1994 08:49:37 GMT";
    assert_eq!(relayed_response(&format!("Date: {own}\r\n")).sole("date"), own);
}

#[test]
fn connection_close_of_a_client_does_not_close_the_backend_connection() {
    let origin = Origin::start();
    let proxy = Proxy::start(&[origin.address]);
    let mut client = proxy.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let (mut backend, request) = origin.answer(ok("1"));
    assert!(!request.members("connection").contains(&"close".to_owned()));
    client.response();
    let mut next = proxy.connect();
    next.send("GET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(backend.request().target(), "/2");
}
