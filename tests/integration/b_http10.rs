//! HTTP/1.0 clients, and clients that close half of their connection or leave.

use crate::harness::{Backend, Framing, GET, Origin, Proxy, each_row, ok, ok_chunked, setup};

#[test]
fn a_1_0_client_gets_no_chunks() {
    let responses = [
        ("chunked", ok_chunked(&["hel", "lo"])),
        ("closed", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello".to_owned()),
        ("sized", ok("hello")),
    ];
    each_row(&responses, |(kind, response)| {
        let origin = Origin::start();
        let proxy = Proxy::start(&[origin.address]);
        let mut client = proxy.connect();
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let (backend, _) = origin.answer(response);
        if *kind == "closed" {
            backend.finish();
        }
        let response = client.response();
        assert_ne!(response.framing, Framing::Chunked);
        assert_eq!(response.text(), "hello");
        client.expect_eof();
    });
}

/// RFC 9112 §2.3: an intermediary sends its own version.
#[test]
fn a_1_0_request_is_forwarded_as_1_1() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(request.start, "GET / HTTP/1.1");
    assert_eq!(client.response().start, "HTTP/1.1 200 OK");
}

#[test]
fn a_1_0_client_keeps_its_connection_when_it_asks_and_the_length_is_known() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.ask("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(response.text(), "b");
        assert_eq!(response.members("connection"), ["keep-alive"], "without it the client would close");
    }
    client.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    client.expect_eof();
}

#[test]
fn a_1_0_client_that_asks_to_keep_its_connection_is_closed_when_the_length_is_unknown() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    origin.answer(ok_chunked(&["hel", "lo"]));
    let response = client.response();
    assert_eq!((response.framing, response.text().as_str()), (Framing::Close, "hello"));
    assert!(!response.members("connection").contains(&"keep-alive".to_owned()));
}

#[test]
fn a_1_0_request_without_a_host_is_forwarded_with_one() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.0\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(request.values("host").len(), 1);
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_1_0_request_with_absolute_form_needs_no_host() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET http://b.example/x HTTP/1.0\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!((request.target(), request.sole("host").as_str()), ("/x", "b.example"));
}

/// RFC 9110 §15.2: a server must not send a 1xx to a 1.0 client.
#[test]
fn a_1_0_client_gets_no_interim_responses() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(40);
    origin.answer(format!("{hints}{}", ok("hello")));
    assert_eq!(client.response().status(), 200);
}

/// RFC 9110 §10.1.1: the expectation of a 1.0 request is ignored.
#[test]
fn a_1_0_client_that_expects_100_gets_none() {
    let (origin, _proxy, mut client) = setup("");
    client.send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    let (_, request) = origin.answer(ok("thanks"));
    assert!(request.text() == "hello" && !request.has("expect"), "{request}");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn an_upgrade_in_1_0_is_ignored() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert!(!request.has("upgrade"), "{request}");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_client_that_half_closed_still_gets_the_whole_response() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    client.finish();
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n");
    assert_eq!(client.response_head().status(), 200);
    for part in ["hello", " world"] {
        backend.send(part);
        assert_eq!(client.take(part.len()), part.as_bytes());
    }
    client.expect_eof();
}

#[test]
fn an_unfinished_body_never_becomes_a_whole_request() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let bodies = [
        "Content-Length: 10\r\n\r\nhello",
        "Content-Length: 100000\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    ];
    each_row(&bodies, |body| {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{body}"));
        client.finish();
        let (rest, _) = client.rest();
        assert!(!rest.starts_with(b"HTTP/1.1 2"), "{:?}", String::from_utf8_lossy(&rest));
    });
    assert_eq!(backend.count(), 0);
}

/// The backend sees the close while it still works, not only when it writes.
#[test]
fn the_backend_connection_closes_when_the_client_is_gone() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.request();
    client.reset();
    backend.expect_end();
}

#[test]
fn the_backend_connection_closes_when_the_client_is_gone_in_the_middle_of_a_response() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    client.response_head();
    client.reset();
    while backend.try_send([0; 1 << 16]).is_ok() {}
}
