//! The basics: turns, bodies, keep-alive, and a response in every case.
//!
//! Not here: exact framing (`b_framing`), fields (`c_fields`), failures in detail (`f_responses`, `k_health`).

use crate::harness::{Backend, Framing, GET, Origin, Proxy, each_row, ok, ok_chunked, setup};
use std::net::SocketAddr;

#[test]
fn a_get_and_its_response_pass_through() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET /path?query HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, request) = origin.answer(ok("hello"));
    assert_eq!(request.start, "GET /path?query HTTP/1.1");
    let response = client.response();
    assert_eq!((response.start.as_str(), response.text().as_str()), ("HTTP/1.1 200 OK", "hello"));
    assert_eq!(response.framing, Framing::Length(5));
}

/// Backends that respond with their names, and the bodies that `requests` requests in a row must get.
fn turns(names: &[&str], requests: usize) -> (Vec<Backend>, Vec<SocketAddr>, Vec<String>) {
    let backends: Vec<_> = names.iter().map(|name| Backend::named(name)).collect();
    let addresses = backends.iter().map(|backend| backend.address).collect();
    let expected = names.iter().cycle().take(requests).map(|name| (*name).to_owned()).collect();
    (backends, addresses, expected)
}

#[test]
fn backends_take_strict_turns_over_fresh_connections() {
    each_row(&[&["1", "2"][..], &["1", "2", "3"]], |names| {
        let (_backends, addresses, expected) = turns(names, 12);
        let proxy = Proxy::start(&addresses);
        let answers: Vec<_> = (0..12).map(|_| proxy.get("/").text()).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn backends_take_strict_turns_over_a_kept_connection() {
    each_row(&[&["1", "2"][..], &["1", "2", "3"]], |names| {
        let (_backends, addresses, expected) = turns(names, 12);
        let proxy = Proxy::start(&addresses);
        let mut client = proxy.connect();
        let answers: Vec<_> = (0..12).map(|_| client.get("/").text()).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn turns_continue_across_connections() {
    let (_backends, addresses, expected) = turns(&["1", "2"], 8);
    let proxy = Proxy::start(&addresses);
    let mut kept = proxy.connect();
    let answers: Vec<_> = (0..4).flat_map(|_| [kept.get("/").text(), proxy.get("/").text()]).collect();
    assert_eq!(answers, expected);
}

#[test]
fn bodies_with_a_length_pass_both_ways() {
    let origin = Origin::start();
    let proxy = Proxy::start(&[origin.address]);
    each_row(&[0, 1, 1000, 70_000, 1_000_000], |&size| {
        let body = "x".repeat(size);
        let mut client = proxy.connect();
        let mut sender = client.twin();
        let head =
            format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n");
        let sent = std::thread::spawn({
            let message = head + &body;
            move || sender.send(message)
        });
        let (_, request) = origin.answer(ok(&body).replace("200 OK\r\n", "200 OK\r\nConnection: close\r\n"));
        assert_eq!(request.framing, Framing::Length(size as u64));
        assert!(request.text() == body, "the request's body");
        let response = client.response();
        assert_eq!(response.framing, Framing::Length(size as u64));
        assert!(response.text() == body, "the response's body");
        sent.join().unwrap();
    });
}

#[test]
fn chunked_bodies_pass_both_ways() {
    let (origin, _proxy, mut client) = setup("");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    let (_, request) = origin.answer(ok_chunked(&["good", "bye"]));
    assert_eq!((request.framing, request.text().as_str()), (Framing::Chunked, "hello world"));
    let response = client.response();
    assert_eq!((response.framing, response.text().as_str()), (Framing::Chunked, "goodbye"));
}

#[test]
fn a_response_that_ends_with_its_connection_is_chunked_for_a_1_1_client() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    origin.answer("HTTP/1.1 200 OK\r\n\r\nuntil the end").0.finish();
    let response = client.response();
    assert_eq!((response.framing, response.text().as_str()), (Framing::Chunked, "until the end"));
    client.send(GET);
    origin.answer(ok("kept"));
    assert_eq!(client.response().text(), "kept");
}

#[test]
fn a_head_response_has_no_body_and_keeps_its_content_length() {
    let (origin, _proxy, mut client) = setup("");
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut backend, request) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
    assert_eq!(request.method(), "HEAD");
    assert_eq!(client.response_to("HEAD").sole("content-length"), "1000");
    client.send(GET);
    backend.request();
    backend.send(ok("next"));
    assert_eq!(client.response().text(), "next");
}

#[test]
fn responses_204_and_304_have_no_body() {
    let heads = [
        "204 No Content\r\n",
        "204 No Content\r\nContent-Length: 0\r\n",
        "304 Not Modified\r\nETag: \"a\"\r\n",
        "304 Not Modified\r\nContent-Length: 1000\r\n",
    ];
    let origin = Origin::start();
    each_row(&heads, |head| {
        let proxy = Proxy::start(&[origin.address]);
        let mut client = proxy.connect();
        client.send(GET);
        let (mut backend, _) = origin.answer(format!("HTTP/1.1 {head}\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status().to_string(), response.framing),
            (head[..3].to_owned(), Framing::Nothing)
        );
        client.send(GET);
        backend.request();
        backend.send(ok("next"));
        assert_eq!(client.response().text(), "next");
    });
}

#[test]
fn one_connection_carries_many_requests() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..100 {
        assert_eq!(client.get("/").text(), "b");
    }
    assert_eq!(backend.connections(), 1, "the backend connection is kept as well");
}

#[test]
fn a_client_that_asks_to_close_is_closed_after_its_response() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    let response = client.ask("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_eq!((response.text(), response.members("connection")), ("b".to_owned(), vec!["close".to_owned()]));
    client.expect_eof();
}

#[test]
fn a_kept_connection_to_a_backend_serves_other_clients() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "b");
    }
    assert!(backend.connections() <= 2, "{} connections for 20 requests in a row", backend.connections());
}

#[test]
fn an_unreachable_backend_is_502() {
    let proxy = Proxy::start(&[Origin::down().address]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 502);
}

#[test]
fn a_backend_that_does_not_respond_is_504() {
    let origin = Origin::start();
    let proxy = Proxy::with("--response-timeout 300ms", &[origin.address]);
    let mut client = proxy.connect();
    client.send(GET);
    let (mut backend, _) = origin.request();
    assert_eq!(client.response().status(), 504);
    backend.expect_end();
}

#[test]
fn an_unreachable_backend_is_passed_over() {
    let (down, up) = (Origin::down(), Backend::named("up"));
    let proxy = Proxy::start(&[down.address, up.address]);
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "up");
    }
    let post = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
    assert_eq!(proxy.ask(post).text(), "up", "nothing was sent, so any method may be retried");
}

#[test]
fn a_restarted_backend_goes_unnoticed() {
    let mut backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "b");
        backend.go_down();
        backend.come_up();
    }
}

#[test]
fn the_death_of_one_of_two_backends_goes_unnoticed() {
    let (mut first, second) = (Backend::named("1"), Backend::named("2"));
    let proxy = Proxy::start(&[first.address, second.address]);
    let mut client = proxy.connect();
    for _ in 0..4 {
        assert_eq!(client.get("/").status(), 200);
    }
    first.go_down();
    for _ in 0..10 {
        assert_eq!(client.get("/").text(), "2");
    }
}

#[test]
fn response_bytes_are_relayed_as_they_arrive() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response_head().framing, Framing::Chunked);
    for event in ["one", "two", "three"] {
        backend.send(format!("{:x}\r\n{event}\r\n", event.len()));
        assert_eq!(client.chunk(), event.as_bytes());
    }
    backend.send("0\r\n\r\n");
    assert_eq!(client.chunk(), b"");
}
