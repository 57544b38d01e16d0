//! What an admin changes in heads: fields that are set and removed, `X-Real-IP` and `Forwarded`, route by route.
//!
//! Not here: the fields that pass and those that ronde writes unasked (`c_fields`, `c_application`); every template and
//! every mistake in one (`config`).

use crate::harness::{
    Backend, GET, Message, Origin, Proxy, Ronde, Wire, each_row, ok, ronde_only, scratch_directory, setup,
    socket_path, tls,
};

fn filed(text: &str) -> Proxy {
    let file = scratch_directory().join("ronde.toml");
    std::fs::write(&file, format!("listen = '127.0.0.1:0'\n{text}")).expect("a file");
    Ronde::with(&format!("--config {}", file.display())).serve()
}

/// What a backend gets of a GET with these lines, which name the host, too.
fn forwarded_request(flags: &str, lines: &str) -> Message {
    let (origin, _proxy, mut client) = setup(flags);
    client.send(format!("GET /x HTTP/1.1\r\n{lines}\r\n"));
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(client.response().text(), "hello");
    request
}

#[test]
fn a_set_field_replaces_whatever_the_client_sent_under_its_name() {
    ronde_only!();
    let flags =
        "--set-request-header X-User:{client} --set-request-header X-Tenant:a --remove-request-header Cookie";
    each_row(
        &[
            "",
            "X-User: admin\r\n",
            "x-user: admin\r\nX-USER: root\r\nX-User:\r\n",
            "X_User: admin\r\nX-Tenant: b\r\nx_tenant: c\r\n",
            "Cookie: admin=1\r\ncookie: a=b\r\n",
            "Connection: x-user, x-tenant\r\nX-User: admin\r\n",
            "TE: trailers\r\nConnection: TE\r\n",
        ],
        |lines| {
            let request = forwarded_request(flags, &format!("Host: h\r\nX-First: 1\r\n{lines}x-last: 2\r\n"));
            assert_eq!((request.sole("x-user"), request.sole("x-tenant")), ("127.0.0.1".into(), "a".into()));
            for gone in ["x_user", "x_tenant", "cookie"] {
                assert!(!request.has(gone), "{gone} in {request}");
            }
            assert_eq!((request.sole("x-first"), request.sole("x-last")), ("1".into(), "2".into()));
            assert_eq!(request.sole("x-forwarded-for"), "127.0.0.1");
        },
    );
}

#[test]
fn what_is_set_or_removed_is_no_trailer_either() {
    ronde_only!();
    let flags = "--set-request-header X-User:a --remove-request-header X-Gone \
                 --set-response-header X-Server:a --remove-response-header X-Debug";
    let (origin, _proxy, mut client) = setup(flags);
    client.send(
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\
         X-Sum: 1\r\nx-user: admin\r\nX_User: root\r\nX-GONE: 2\r\n\r\n",
    );
    let (_, request) = origin.answer(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 2\r\nx-debug: 1\r\nX-SERVER: b\r\n\r\n",
    );
    assert_eq!(request.trailers, [("X-Sum".to_owned(), b"1".to_vec())]);
    assert_eq!((request.text(), request.sole("x-user")), ("hello".into(), "a".into()));
    let response = client.response();
    assert_eq!(response.trailers, [("X-Sum".to_owned(), b"2".to_vec())]);
    assert_eq!((response.text(), response.sole("x-server")), ("hello".into(), "a".into()));
}

#[test]
fn host_is_set_once_and_x_forwarded_host_keeps_what_was_asked_for() {
    ronde_only!();
    let of = |start: &str, lines: &str, flags: &str| {
        let (origin, _proxy, mut client) =
            setup(&format!("--set-request-header host:app.internal:8000 {flags}"));
        client.send(format!("{start}\r\n{lines}\r\n"));
        let (_, request) = origin.answer(ok(""));
        client.response();
        (request.sole("host"), request.values("x-forwarded-host").join(", "), request.target().to_owned())
    };
    let told =
        |host: &str, target: &str| ("app.internal:8000".to_owned(), host.to_owned(), target.to_owned());
    assert_eq!(of("GET /x HTTP/1.1", "Host: www.example:81\r\n", ""), told("www.example:81", "/x"));
    assert_eq!(of("GET http://abs.example/x HTTP/1.1", "Host: h\r\n", ""), told("abs.example", "/x"));
    assert_eq!(of("GET / HTTP/1.0", "", ""), told("", "/"));
    let forwarded = "Host: h\r\nX-Forwarded-Host: first.example\r\n";
    assert_eq!(of("GET / HTTP/1.1", forwarded, "--trust-proxy 127.0.0.1"), told("first.example", "/"));
    assert_eq!(of("GET / HTTP/1.1", forwarded, ""), told("h", "/"));
}

#[test]
fn placeholders_say_what_ronde_knows_of_the_request() {
    ronde_only!();
    let flags = "--set-request-header X-Asked:{scheme}://{host}/#{client} --set-response-header x-told:{{{scheme}:{host}:{client}}}";
    let trusted = format!("{flags} --trust-proxy 127.0.0.1");
    let forwarded = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.9\r\n";
    for (flags, target, lines, asked, told) in [
        (flags, "/", "", "SCHEME://h:81/#127.0.0.1", "{SCHEME:h:81:127.0.0.1}"),
        (flags, "http://a/", "", "SCHEME://a/#127.0.0.1", "{SCHEME:a:127.0.0.1}"),
        (flags, "/", forwarded, "SCHEME://h:81/#127.0.0.1", "{SCHEME:h:81:127.0.0.1}"),
        (&trusted, "/", forwarded, "SCHEME://h:81/#192.0.2.9", "{SCHEME:h:81:192.0.2.9}"),
    ] {
        // Only a trusted proxy's word is another than that of the connection.
        let scheme = if flags == trusted { "https" } else { tls::scheme() };
        let (asked, told) = (asked.replace("SCHEME", scheme), told.replace("SCHEME", scheme));
        let (origin, _proxy, mut client) = setup(flags);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: h:81\r\n{lines}\r\n"));
        let (mut backend, request) =
            origin.answer("HTTP/1.1 200 OK\r\nX-TOLD: x\r\nContent-Length: 0\r\n\r\n");
        assert_eq!((request.sole("x-asked"), client.response().sole("x-told")), (asked, told));
        // The next request on the connection is another one.
        client.send("GET / HTTP/1.1\r\nHost: next\r\n\r\n");
        assert_eq!(backend.request().sole("x-asked"), format!("{}://next/#127.0.0.1", tls::scheme()));
        backend.send(ok(""));
        assert_eq!(client.response().sole("x-told"), format!("{{{}:next:127.0.0.1}}", tls::scheme()));
    }
}

#[test]
fn responses_lose_what_is_removed_and_have_what_is_set() {
    ronde_only!();
    let flags = "--set-response-header Server:r --set-response-header Cache-Control:no-cache,no-store \
                 --remove-response-header x-powered-by --set-request-header Server:not-of-responses";
    let (origin, _proxy, mut client) = setup(flags);
    client.send(GET);
    let (mut backend, _) = origin.answer(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nX-Powered-By: x\r\nSERVER: y\r\n\r\n\
         HTTP/1.1 200 OK\r\nserver: a\r\nX-POWERED-BY: b\r\nServer: c\r\nX_Powered_By: d\r\nSet-Cookie: e\r\nset-cookie: f\r\n\
         Content-Length: 5\r\n\r\nhello",
    );
    let early = client.response_head();
    assert_eq!((early.status(), early.fields.len(), early.sole("link")), (103, 1, "</a>".into()));
    let response = client.response();
    assert_eq!(response.text(), "hello");
    assert_eq!(
        (response.sole("server"), response.sole("cache-control")),
        ("r".into(), "no-cache,no-store".into())
    );
    assert_eq!(response.values("set-cookie"), ["e", "f"]);
    assert!(!response.has("x-powered-by") && !response.has("x_powered_by"), "{response}");
    // A switch of protocols is the last response of its kind.
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
    backend.request();
    backend.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\nX-Powered-By: x\r\n\r\nhi");
    let switch = client.response_head();
    assert_eq!(
        (switch.status(), switch.sole("upgrade"), switch.sole("server")),
        (101, "echo".into(), "r".into())
    );
    assert!(!switch.has("x-powered-by"), "{switch}");
    assert_eq!(client.take(2), b"hi");
}

#[test]
fn a_routes_own_answers_have_them_and_ronde_s_failures_have_not() {
    ronde_only!();
    let down = Origin::down();
    let proxy = filed(&format!(
        "set-response-header = {{ X-Frame-Options = 'DENY', X-Host = '{{host}}' }}\nremove-response-header = 'Vary'\n\
         [[route]]\nhost = 'old'\nredirect = 'https://new'\n[[route]]\nhost = 'text'\nrespond = 503\ntext = 'Back at noon.'\n\
         [[route]]\nhost = 'json'\nrespond = 404\ntext = '{{}}'\nset-response-header = {{ Content-Type = 'application/json' }}\n\
         [[route]]\nhost = 'down'\nbackend = '{}'\n",
        down.address
    ));
    let mut client = proxy.connect();
    let mut ask =
        |host: &str| client.ask(format!("GET /a HTTP/1.1\r\nHost: {host}\r\nAccept: text/html\r\n\r\n"));
    let moved = ask("old");
    assert_eq!((moved.status(), moved.sole("location")), (308, "https://new/a".into()));
    assert_eq!((moved.sole("x-frame-options"), moved.sole("x-host")), ("DENY".into(), "old".into()));
    let text = ask("text");
    assert_eq!((text.status(), text.sole("x-host"), text.has("vary")), (503, "text".into(), false));
    assert!(text.text().starts_with("<!doctype html>"), "{text}");
    let json = ask("json");
    assert_eq!((json.sole("content-type"), json.text()), ("application/json".into(), "{}\n".into()));
    assert!(!json.has("x-frame-options") && !json.has("vary"), "{json}");
    for (host, status) in [("down", 502), ("nowhere", 404)] {
        let failure = ask(host);
        assert_eq!(
            (failure.status(), failure.has("x-frame-options"), failure.sole("vary")),
            (status, false, "Accept".into())
        );
    }
}

#[test]
fn each_route_has_its_own() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = filed(&format!(
        "backend = '{0}'\nset-request-header = {{ X-A = 'top', X-B = 'top' }}\nremove-request-header = ['X-C']\n\
         [[route]]\npath = '/inherits'\nbackend = '{0}'\n\
         [[route]]\npath = '/own'\nbackend = '{0}'\n[route.set-request-header]\nx-a = 'own'\nX-C = 'own'\n\
         [[route]]\npath = '/nothing'\nbackend = '{0}'\nset-request-header = {{}}\nremove-request-header = []\n",
        backend.address
    ));
    let mut client = proxy.connect();
    let mut seen = |path: &str| {
        let mirrored = client
            .ask(format!("GET {path} HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-B: 2\r\nX-C: 3\r\n\r\n"))
            .text();
        let lines = mirrored
            .lines()
            .filter(|line| line.to_ascii_lowercase().starts_with("x-") && line.as_bytes()[3] == b':');
        lines.collect::<Vec<_>>().join(" ")
    };
    for (path, fields) in [
        ("/", "X-A: top X-B: top"),
        ("/inherits", "X-A: top X-B: top"),
        ("/own", "X-C: own x-a: own X-B: 2"),
        ("/nothing", "X-A: 1 X-B: 2 X-C: 3"),
        ("/", "X-A: top X-B: top"),
    ] {
        assert_eq!(seen(path), fields, "{path}");
    }
}

#[test]
fn the_variable_has_a_line_for_each_field() {
    ronde_only!();
    let origin = Origin::start();
    let ronde = Ronde::with(&format!("--listen 127.0.0.1:0 {}", origin.address)).env(
        "RONDE_SET_RESPONSE_HEADER",
        "Strict-Transport-Security: max-age=9; preload\nCache-Control: a, b\n",
    );
    let proxy = ronde.serve();
    let mut client = proxy.connect();
    client.send(GET);
    origin.answer(ok(""));
    let response = client.response();
    let read = (response.sole("strict-transport-security"), response.sole("cache-control"));
    assert_eq!(read, ("max-age=9; preload".into(), "a, b".into()));
}

/// `X-Real-IP` is what ronde knows, also from a proxy that passed on what a stranger wrote.
#[test]
fn x_real_ip_is_the_client_whatever_was_sent_in_it() {
    ronde_only!();
    let forged = "Host: h\r\nX-Real-IP: 6.6.6.6\r\nx-real-ip: 7.7.7.7\r\nX_Real_IP: 8.8.8.8\r\n";
    let chained = format!("{forged}X-Forwarded-For: 6.6.6.6, 192.0.2.9\r\n");
    let trusting = "--real-ip --trust-proxy 127.0.0.1";
    for (flags, lines, values) in [
        ("", forged, &[][..]),
        ("--trust-proxy 127.0.0.1", forged, &["6.6.6.6", "7.7.7.7"]),
        ("--real-ip", forged, &["127.0.0.1"]),
        ("--real-ip", &chained, &["127.0.0.1"]),
        (trusting, forged, &["127.0.0.1"]),
        (trusting, &chained, &["192.0.2.9"]),
    ] {
        let request = forwarded_request(flags, lines);
        assert_eq!(request.values("x-real-ip"), values, "{flags}");
        assert!(!request.has("x_real_ip"));
    }
}

#[test]
fn forwarded_has_an_element_for_each_hop() {
    ronde_only!();
    let own = format!("for=127.0.0.1;host=\"h:81\";proto={}", tls::scheme());
    let sent = "Host: h:81\r\nForwarded: for=6.6.6.6\r\nforwarded: for=\"[2001:db8::1]\";proto=https\r\n";
    let chain = "Host: h:81\r\nX-Forwarded-For: 2001:db8::2\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: a.example\r\n";
    let trusting = "--forwarded --trust-proxy 127.0.0.1";
    for (flags, lines, values) in [
        ("", sent, vec![]),
        (
            "--trust-proxy 127.0.0.1",
            sent,
            vec!["for=6.6.6.6".to_owned(), "for=\"[2001:db8::1]\";proto=https".to_owned()],
        ),
        ("--forwarded", sent, vec![own.clone()]),
        ("--forwarded", chain, vec![own.clone()]),
        (trusting, sent, vec![format!("for=6.6.6.6, for=\"[2001:db8::1]\";proto=https, {own}")]),
        (trusting, chain, vec![format!("for=\"[2001:db8::2]\";host=a.example;proto=https, {own}")]),
        (trusting, "Host: h:81\r\n", vec![own.clone()]),
    ] {
        assert_eq!(forwarded_request(flags, lines).values("forwarded"), values, "{flags}");
    }
}

#[test]
fn a_unix_client_is_unknown_unless_a_trusted_one_names_another() {
    ronde_only!();
    let lines = "X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n";
    let named = "X-Forwarded-For: 192.0.2.9\r\n";
    for (flags, lines, real, forwarded) in [
        ("", lines, &[][..], "for=unknown;host=h;proto=http"),
        ("", named, &[], "for=unknown;host=h;proto=http"),
        ("--trust-proxy unix:", lines, &[], "for=6.6.6.6, for=unknown;host=h;proto=http"),
        (
            "--trust-proxy unix:",
            named,
            &["192.0.2.9"],
            "for=192.0.2.9;host=h;proto=http, for=unknown;host=h;proto=http",
        ),
    ] {
        let (origin, path) = (Origin::start(), socket_path("ronde.sock"));
        let flags = format!(
            "--listen unix:{} --real-ip --forwarded --set-request-header X-A:{{client}} {flags}",
            path.display()
        );
        let _proxy = Proxy::with(&flags, &[origin.address]);
        let mut client = Wire::connect_unix(&path);
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{lines}\r\n"));
        let (_, request) = origin.answer(ok(""));
        client.response();
        assert_eq!(
            (request.values("x-real-ip"), request.sole("forwarded")),
            (real.iter().map(ToString::to_string).collect(), forwarded.into())
        );
        assert_eq!(request.sole("x-a"), real.first().copied().unwrap_or("unix:"));
    }
}
