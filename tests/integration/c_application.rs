//! What the application receives: every row of docs/application.md.
//!
//! Not here: the finer points of each field (`c_fields`).

use crate::harness::{Message, each_row, ok, plain_only, ronde_only, setup};

/// A row of the table of requests: its first cell, the request, and what the application receives from a stranger and from
/// a trusted proxy. `name: value` is the only value of that field, `-name` its absence, anything else the request line.
type Row = (&'static str, &'static str, &'static [&'static str], &'static [&'static str]);

const REQUESTS: &[Row] = &[
    (
        "method and target",
        "PROPFIND /a?b=c HTTP/1.1|Host: a",
        &["PROPFIND /a?b=c HTTP/1.1"],
        &["PROPFIND /a?b=c HTTP/1.1"],
    ),
    (
        "target in absolute-form",
        "GET http://b:81/x HTTP/1.1|Host: a",
        &["GET /x HTTP/1.1", "host: b:81"],
        &["GET /x HTTP/1.1", "host: b:81"],
    ),
    ("`Host`", "GET / HTTP/1.1|Host: A.example:9", &["host: A.example:9"], &["host: A.example:9"]),
    ("no `Host`, in HTTP/1.0", "GET / HTTP/1.0", &["host: RONDE"], &["host: RONDE"]),
    (
        "`X-Forwarded-For`",
        "GET / HTTP/1.1|Host: a|X-Forwarded-For: 1.2.3.4",
        &["x-forwarded-for: 127.0.0.1"],
        &["x-forwarded-for: 1.2.3.4, 127.0.0.1"],
    ),
    (
        "no `X-Forwarded-For`",
        "GET / HTTP/1.1|Host: a",
        &["x-forwarded-for: 127.0.0.1"],
        &["x-forwarded-for: 127.0.0.1"],
    ),
    (
        "`X-Forwarded-Proto`",
        "GET / HTTP/1.1|Host: a|X-Forwarded-Proto: https",
        &["x-forwarded-proto: http"],
        &["x-forwarded-proto: https"],
    ),
    (
        "no `X-Forwarded-Proto`",
        "GET / HTTP/1.1|Host: a",
        &["x-forwarded-proto: http"],
        &["x-forwarded-proto: http"],
    ),
    (
        "`X-Forwarded-Host`",
        "GET / HTTP/1.1|Host: a|X-Forwarded-Host: b",
        &["x-forwarded-host: a"],
        &["x-forwarded-host: b"],
    ),
    ("no `X-Forwarded-Host`", "GET / HTTP/1.1|Host: a", &["x-forwarded-host: a"], &["x-forwarded-host: a"]),
    (
        "`X-Forwarded-Port`, `-Ssl`, `-Prefix` and all others",
        "GET / HTTP/1.1|Host: a|X-Forwarded-Port: 1|X-Forwarded-Ssl: on|X-Forwarded-Prefix: /p|X-Forwarded-Any: x",
        &["-x-forwarded-port", "-x-forwarded-ssl", "-x-forwarded-prefix", "-x-forwarded-any"],
        &["x-forwarded-port: 1", "x-forwarded-ssl: on", "x-forwarded-prefix: /p", "x-forwarded-any: x"],
    ),
    (
        "`Forwarded`",
        "GET / HTTP/1.1|Host: a|Forwarded: for=1.2.3.4",
        &["-forwarded"],
        &["forwarded: for=1.2.3.4"],
    ),
    ("`X-Real-IP`", "GET / HTTP/1.1|Host: a|X-Real-IP: 1.2.3.4", &["-x-real-ip"], &["x-real-ip: 1.2.3.4"]),
    (
        "`X_Forwarded_For`, `Content_Length`, `X.Real.IP` and their like, with `_` or another sign for `-`",
        "GET / HTTP/1.1|Host: a|X_Forwarded_For: 1.2.3.4|X_Real_IP: 1.2.3.4|Content_Length: 5|Transfer_Encoding: chunked|X.Real.IP: 6.6.6.6|X~Forwarded!For: 6.6.6.6",
        &["-x_forwarded_for", "-x_real_ip", "-content_length", "-transfer_encoding"],
        &["-x_forwarded_for", "-x_real_ip", "-content_length", "-transfer_encoding"],
    ),
    ("`Via`", "GET / HTTP/1.1|Host: a|Via: 1.0 b", &["via: 1.0 b, 1.1 ronde-"], &["via: 1.0 b, 1.1 ronde-"]),
    (
        "`Connection`, what it names, `Keep-Alive`, `Proxy-Connection`",
        "GET / HTTP/1.1|Host: a|Connection: x-a, keep-alive|X-A: 1|Keep-Alive: 5|Proxy-Connection: close",
        &["-connection", "-x-a", "-keep-alive", "-proxy-connection"],
        &["-connection", "-x-a", "-keep-alive", "-proxy-connection"],
    ),
    (
        "`Upgrade` with `Connection: upgrade`",
        "GET / HTTP/1.1|Host: a|Connection: upgrade|Upgrade: websocket",
        &["connection: upgrade", "upgrade: websocket"],
        &["connection: upgrade", "upgrade: websocket"],
    ),
    (
        "`Upgrade: h2c`, or `h2`",
        "GET / HTTP/1.1|Host: a|Connection: upgrade|Upgrade: h2c",
        &["-connection", "-upgrade"],
        &["-connection", "-upgrade"],
    ),
    (
        "`TE: trailers`",
        "GET / HTTP/1.1|Host: a|Connection: TE|TE: gzip, trailers",
        &["te: trailers"],
        &["te: trailers"],
    ),
    (
        "HTTP/1.0",
        "GET / HTTP/1.0|Host: a",
        &["GET / HTTP/1.1", "via: 1.0 ronde-"],
        &["GET / HTTP/1.1", "via: 1.0 ronde-"],
    ),
    (
        "a body with `Content-Length`",
        "POST / HTTP/1.1|Host: a|Content-Length: 5||hello",
        &["content-length: 5", "-transfer-encoding"],
        &["content-length: 5", "-transfer-encoding"],
    ),
    (
        "a chunked body",
        "POST / HTTP/1.1|Host: a|Transfer-Encoding: chunked||2|he|3|llo|0||",
        &["transfer-encoding: chunked", "-content-length"],
        &["transfer-encoding: chunked", "-content-length"],
    ),
    (
        "`Expect: 100-continue` with a body",
        "POST / HTTP/1.1|Host: a|Content-Length: 5|Expect: 100-continue||hello",
        &["expect: 100-continue"],
        &["expect: 100-continue"],
    ),
    (
        "any other field",
        "GET / HTTP/1.1|Host: a|X-A: 1|Cookie: b=2|X-a: |Authorization: c",
        &["x-a: 1, ", "cookie: b=2", "authorization: c"],
        &["x-a: 1, ", "cookie: b=2", "authorization: c"],
    ),
];

/// Whether a message has what a row says. A `Via` ends in digits that no test knows.
fn assert_has(message: &Message, expected: &str, ronde: &str) {
    if let Some(name) = expected.strip_prefix('-') {
        return assert!(!message.has(name), "{expected} in {message}");
    }
    let Some((name, value)) = expected.split_once(": ") else {
        return assert_eq!(message.start, expected);
    };
    let values = message.fields.iter().filter(|(this, _)| this.eq_ignore_ascii_case(name));
    let values: Vec<_> = values.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
    let (found, value) = (values.join(", "), value.replace("RONDE", ronde));
    let is_open = value.ends_with("ronde-") && found.len() == value.len() + 8;
    assert!(found == value || is_open && found.starts_with(&value), "{expected} but {found} in {message}");
}

#[test]
fn the_application_receives_what_the_docs_say() {
    ronde_only!();
    plain_only!("the table is of plain clients");
    each_row(REQUESTS, |(_, request, from_stranger, from_proxy)| {
        for (flags, expected) in [("", from_stranger), ("--trust-proxy 127.0.0.1", from_proxy)] {
            let (origin, proxy, mut client) = setup(flags);
            let end = if request.contains("||") { "" } else { "\r\n\r\n" };
            client.send(request.replace('|', "\r\n") + end);
            let (_, received) = origin.answer(ok("hello"));
            let address = proxy.address.to_string();
            expected.iter().for_each(|expected| assert_has(&received, expected, &address));
        }
    });
}

/// The same for responses: the first cell, the version of the client, the response, and what the client receives.
const RESPONSES: &[(&str, &str, &str, &[&str])] = &[
    (
        "`Content-Length`",
        "HTTP/1.1",
        "HTTP/1.1 200 OK|Content-Length: 5||hello",
        &["content-length: 5", "-transfer-encoding"],
    ),
    (
        "a chunked body",
        "HTTP/1.1",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|he|3|llo|0||",
        &["transfer-encoding: chunked", "-content-length"],
    ),
    (
        "a body that ends with the connection",
        "HTTP/1.1",
        "HTTP/1.1 200 OK||hello",
        &["transfer-encoding: chunked", "-content-length"],
    ),
    (
        "either of these, for an HTTP/1.0 client",
        "HTTP/1.0",
        "HTTP/1.1 200 OK|Transfer-Encoding: chunked||2|he|3|llo|0||",
        &["connection: close", "-transfer-encoding", "-content-length"],
    ),
    ("HTTP/1.0", "HTTP/1.1", "HTTP/1.0 200 Fine||hello", &["HTTP/1.1 200 Fine"]),
    ("no `Date`", "HTTP/1.1", "HTTP/1.1 200 OK|Content-Length: 5||hello", &["date: "]),
    (
        "`Connection`, what it names, `Keep-Alive`, `Proxy-Connection`",
        "HTTP/1.1",
        "HTTP/1.1 200 OK|Connection: x-a|X-A: 1|Keep-Alive: 5|Proxy-Connection: x|Content-Length: 5||hello",
        &["-connection", "-x-a", "-keep-alive", "-proxy-connection"],
    ),
    (
        "any other field, `Server` among them",
        "HTTP/1.1",
        "HTTP/1.1 200 OK|Server: x/1|Set-Cookie: a|Set-Cookie: b|Content-Length: 5||hello",
        &["server: x/1", "set-cookie: a, b"],
    ),
];

#[test]
fn the_client_receives_what_the_docs_say() {
    ronde_only!();
    each_row(RESPONSES, |(_, version, response, expected)| {
        let (origin, _proxy, mut client) = setup("");
        client.send(format!("GET / {version}\r\nHost: a\r\n\r\n"));
        let (mut wire, _) = origin.request();
        wire.send(response.replace('|', "\r\n"));
        wire.finish();
        let received = client.response();
        assert_eq!(received.text(), "hello");
        for expected in *expected {
            match *expected {
                "date: " => assert!(received.sole("date").ends_with(" GMT"), "{received}"),
                expected => assert_has(&received, expected, ""),
            }
        }
    });
}

#[test]
fn the_docs_have_the_rows_that_are_tested_and_no_other() {
    let docs = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/application.md");
    let docs = std::fs::read_to_string(docs).expect("the docs");
    let first_cell = |line: &str| line.strip_prefix("| ")?.split(" | ").next().map(str::to_owned);
    let told: Vec<_> =
        docs.lines().filter_map(first_cell).filter(|cell| !cell.starts_with("in the re")).collect();
    let tested = REQUESTS.iter().map(|row| row.0).chain(RESPONSES.iter().map(|row| row.0));
    assert_eq!(told, tested.collect::<Vec<_>>());
}
