//! HTTP/1.0 clients, and clients and backends that close half of their connection.

use crate::harness::{Backend, Framing, GET, Origin, Proxy, each_row, ok, ok_chunked, stage};

#[test]
fn a_1_0_client_gets_no_chunks() {
    let responses = [
        ("chunked", ok_chunked(&["hel", "lo"])),
        ("closed", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello".to_owned()),
        ("sized", ok("hello")),
    ];
    each_row(&responses, |(kind, response)| {
        let origin = Origin::start();
        let proxy = Proxy::before(&[origin.address]);
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
fn a_1_0_request_goes_on_as_1_1() {
    let (origin, _proxy, mut client) = stage("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(request.start, "GET / HTTP/1.1");
    assert_eq!(client.response().start, "HTTP/1.1 200 OK");
}

#[test]
fn a_1_0_client_keeps_its_connection_when_it_asks_and_the_length_is_known() {
    let backend = Backend::named("b");
    let proxy = Proxy::before(&[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..3 {
        let response = client.ask("GET / HTTP/1.0\r\nHost: a\r\nConnection: Keep-Alive\r\n\r\n");
        assert_eq!(response.text(), "b");
        assert_eq!(response.members("connection"), ["keep-alive"], "or the client would close");
    }
    client.ask("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    client.expect_eof();
}

#[test]
fn a_1_0_client_that_asks_to_keep_its_connection_is_closed_when_the_length_is_unknown() {
    let (origin, _proxy, mut client) = stage("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    origin.answer(ok_chunked(&["hel", "lo"]));
    let response = client.response();
    assert_eq!((response.framing, response.text().as_str()), (Framing::Close, "hello"));
    assert!(!response.members("connection").contains(&"keep-alive".to_owned()));
}

#[test]
fn a_1_0_request_without_a_host_goes_on_with_one() {
    let (origin, _proxy, mut client) = stage("");
    client.send("GET / HTTP/1.0\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(request.values("host").len(), 1);
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_1_0_request_with_absolute_form_needs_no_host() {
    let (origin, _proxy, mut client) = stage("");
    client.send("GET http://b.example/x HTTP/1.0\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!((request.target(), request.sole("host").as_str()), ("/x", "b.example"));
}

/// RFC 9110 §15.2: no 1xx to a 1.0 client.
#[test]
fn a_1_0_client_gets_no_interim_responses() {
    let (origin, _proxy, mut client) = stage("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    origin.answer(format!("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n{}", ok("hello")));
    assert_eq!(client.response().status(), 200);
}

/// RFC 9110 §10.1.1: the expectation of a 1.0 request is ignored.
#[test]
fn a_1_0_client_that_expects_100_gets_none() {
    let (origin, _proxy, mut client) = stage("");
    client.send("POST / HTTP/1.0\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\nhello");
    let (_, request) = origin.answer(ok("thanks"));
    assert_eq!(request.text(), "hello");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn an_upgrade_in_1_0_is_ignored() {
    let (origin, _proxy, mut client) = stage("");
    client.send("GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert!(!request.has("upgrade"), "{request}");
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn a_client_that_closed_its_half_still_gets_the_whole_response() {
    let (origin, _proxy, mut client) = stage("");
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
fn a_client_that_closes_half_way_through_its_body_makes_no_whole_request() {
    let backend = Backend::named("b");
    let proxy = Proxy::before(&[backend.address]);
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

/// The backend learns of it within a slice of the wait, not only when it writes.
#[test]
fn a_client_that_is_gone_ends_the_work_of_the_backend() {
    let (origin, _proxy, mut client) = stage("");
    client.send(GET);
    let (mut backend, _) = origin.request();
    client.reset();
    backend.expect_end();
}

#[test]
fn a_client_that_is_gone_in_the_middle_of_a_response_ends_the_work_of_the_backend() {
    let (origin, _proxy, mut client) = stage("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
    client.response_head();
    client.reset();
    while backend.try_send([0; 1 << 16]).is_ok() {}
}
