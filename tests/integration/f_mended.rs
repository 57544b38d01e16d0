//! Responses with an odd line: what RFC 9112 says how to mend is mended, and what could be read in two ways is 502.
//!
//! Not here: the same in requests, where it is refused (`b_syntax`).

use crate::harness::{Backend, End, GET, Proxy, each_row, ok, ronde_only, setup};

/// Field lines of a backend, and the line that the client gets.
const MENDED: &[(&str, &str)] = &[
    ("X : y", "X: y"),
    ("X\t: y", "X: y"),
    ("X  \t : y", "X: y"),
    ("X :", "X: "),
    ("X : a : b", "X: a : b"),
    ("X: a\r\n b", "X: a b"),
    ("X: a\r\n\tb", "X: a b"),
    ("X: a \r\n \t b\r\n c", "X: a b c"),
    ("X:\r\n y", "X: y"),
    ("X : a\r\n b", "X: a b"),
    ("X: a\r\n b: c", "X: a b: c"),
];

/// The rest of a response after its status line, and what could be read in it.
const AMBIGUOUS: &[(&str, &str)] = &[
    ("Content-Length : 5\r\n\r\nhello", "five bytes, or until the close"),
    ("Content-Length\t: 5\r\n\r\nhello", "five bytes, or until the close"),
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "chunked, or until the close"),
    ("Transfer-Encoding : chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", "chunked, or five bytes"),
    ("Content-Length:\r\n 5\r\n\r\nhello", "five bytes, or an empty length"),
    ("Content-Length: 5\r\n 0\r\n\r\nhello", "5, or 50, or two numbers"),
    ("Transfer-Encoding: x\r\n , chunked\r\n\r\n0\r\n\r\n", "the first line, or both"),
    ("X: y\r\n Content-Length: 5\r\n\r\nhello", "a fold, or a length"),
    ("X: y\r\n\tTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "a fold, or a coding"),
    ("X: y\r\n \r\nContent-Length: 5\r\n\r\nhello", "a fold, or the end of the head"),
    (" X: y\r\nContent-Length: 0\r\n\r\n", "a field, or a continued status line"),
    ("X y : z\r\nContent-Length: 0\r\n\r\n", "a name with a blank inside"),
    ("X\r\n : y\r\nContent-Length: 0\r\n\r\n", "a folded name"),
    ("X\x0b: y\r\nContent-Length: 0\r\n\r\n", "a vertical tab is no blank"),
];

#[test]
fn one_odd_line_cost_the_whole_response() {
    ronde_only!();
    each_row(MENDED, |(lines, line)| {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        let head = format!("HTTP/1.1 200 OK\r\nA: b\r\n{lines}\r\nContent-Length: 5\r\nC: d\r\n\r\n");
        let (mut backend, _) = origin.answer(format!("{head}hello"));
        let response = client.response();
        // A fold becomes one or more spaces.
        let value = response.sole("x").split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(format!("X: {value}"), *line);
        let others = (response.sole("a"), response.sole("c"), response.text());
        assert_eq!(others, ("b".into(), "d".into(), "hello".into()));
        client.send(GET);
        backend.request();
        backend.send(ok("next"));
        assert_eq!(client.response().text(), "next", "both connections are in step");
    });
}

#[test]
fn blanks_behind_a_chunk_size_cost_the_whole_response() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let chunks = "5   \r\nhello\r\n1\t\r\n!\r\n0 \r\n\r\n";
    origin.answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!(client.response().text(), "hello!");
}

#[test]
fn an_odd_line_with_two_readings_is_502() {
    ronde_only!();
    each_row(AMBIGUOUS, |(rest, _)| {
        let (origin, _proxy, mut client) = setup("--max-fails 0");
        client.send(GET);
        let (mut backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\n{rest}"));
        assert_eq!(client.response().status(), 502);
        assert_ne!(backend.rest().1, End::Silence);
    });
}

/// The line is mended before it is understood: here it concerns the connection.
#[test]
fn a_mended_line_has_its_meaning() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let head =
        "HTTP/1.1 200 OK\r\nConnection : close,\r\n X-Secret\r\nX-Secret: 1\r\nContent-Length: 2\r\n\r\n";
    let (mut backend, _) = origin.answer(format!("{head}hi"));
    let response = client.response();
    assert!(response.text() == "hi" && !response.has("x-secret"), "{response}");
    backend.expect_end();
}

#[test]
fn interim_responses_and_switches_are_mended_as_well() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink : </a>;\r\n rel=preload\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching\r\nConnection : upgrade\r\nUpgrade : x\r\n\r\n";
    origin.answer(format!("{hints}{switch}"));
    assert_eq!(
        client.response_head().sole("link").split_whitespace().collect::<String>(),
        "</a>;rel=preload"
    );
    let switched = client.response_head();
    assert_eq!((switched.status(), switched.sole("upgrade").as_str()), (101, "x"));
}

/// Otherwise a backend would be out of the round whose responses are fine.
#[test]
fn a_health_check_is_answered_with_an_odd_line() {
    ronde_only!();
    let odd = Backend::start(|wire, request| match request.target() {
        "/up" => wire.send("HTTP/1.2 200 OK\r\nX : y\r\n z\r\nContent-Length: 0\r\n\r\n"),
        _ => wire.send(ok("odd")),
    });
    let even = Backend::named("b");
    let proxy = Proxy::with("--health-path /up --health-interval 1h", &[odd.address, even.address]);
    assert_eq!([proxy.get("/").text(), proxy.get("/").text()], ["odd", "b"], "both are in the round");
}

/// RFC 9110 §2.5: a later minor version tells what else its sender supports, not what this message means.
#[test]
fn a_later_minor_version_of_a_backend_was_502() {
    ronde_only!();
    for minor in 2..=9 {
        let (origin, _proxy, mut client) = setup("");
        for body in ["hello", "again"] {
            client.send(GET);
            origin.answer(format!(
                "HTTP/1.{minor} 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n{body}"
            ));
            let response = client.response();
            assert_eq!((response.start.as_str(), response.text().as_str()), ("HTTP/1.1 200 OK", body));
        }
    }
}
