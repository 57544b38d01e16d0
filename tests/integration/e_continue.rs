//! Expect and interim responses, when client and backend wait for each other.

use crate::harness::{Backend, End, GET, Proxy, each_row, ok, setup};

const EXPECTING: &str = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

#[test]
fn a_100_from_the_backend_releases_the_body() {
    let (origin, _proxy, mut client) = setup("");
    client.send(EXPECTING);
    let mut backend = origin.accept();
    assert_eq!(backend.request_head().sole("expect"), "100-continue");
    backend.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.response().status(), 100);
    client.send("hello");
    assert_eq!(backend.take(5), b"hello");
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
    client.send(GET);
    backend.request();
    backend.send(ok("next"));
    assert_eq!(client.response().text(), "next");
}

#[test]
fn a_chunked_body_can_wait_for_100_as_well() {
    let (origin, _proxy, mut client) = setup("");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut backend = origin.accept();
    backend.request_head();
    backend.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.response().status(), 100);
    client.send("5\r\nhello\r\n0\r\n\r\n");
    assert_eq!((backend.chunk(), backend.chunk()), (b"hello".to_vec(), Vec::new()));
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
}

/// The client does not send its body after a final status. Its connection must end, or stay in step.
#[test]
fn a_final_status_instead_of_100_reaches_the_client_at_once() {
    each_row(
        &["401 Unauthorized", "413 Content Too Large", "417 Expectation Failed", "302 Found"],
        |status| {
            let (origin, _proxy, mut client) = setup("");
            client.send(EXPECTING);
            let mut backend = origin.accept();
            backend.request_head();
            backend.send(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
            let response = client.response();
            assert_eq!(
                (response.status().to_string(), response.text()),
                (status[..3].to_owned(), "no".to_owned())
            );
        },
    );
}

#[test]
fn a_silent_backend_still_gets_the_body_of_a_client_that_does_not_wait() {
    let (origin, _proxy, mut client) = setup("");
    client.send(EXPECTING);
    let mut backend = origin.accept();
    backend.request_head();
    client.expect_silence();
    client.send("hello");
    assert_eq!(backend.take(5), b"hello");
    backend.send(ok("thanks"));
    let mut response = client.response();
    if response.status() == 100 {
        response = client.response();
    }
    assert_eq!(response.text(), "thanks");
}

#[test]
fn a_body_sent_along_with_its_expectation_arrives() {
    let (origin, _proxy, mut client) = setup("");
    client.send(format!("{EXPECTING}hello"));
    let (mut backend, request) = origin.request();
    assert_eq!(request.text(), "hello");
    backend.send(format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("thanks")));
    let mut response = client.response();
    if response.status() == 100 {
        response = client.response();
    }
    assert_eq!(response.text(), "thanks");
}

#[test]
fn the_backend_connection_closes_when_a_client_leaves_while_it_waits_for_100() {
    let (origin, _proxy, mut client) = setup("");
    client.send(EXPECTING);
    let mut backend = origin.accept();
    backend.request_head();
    client.reset();
    backend.expect_end();
}

/// RFC 9110 §10.1.1: `100-continue` is the only defined expectation.
#[test]
fn any_other_expectation_is_417() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(
        &["Expect: tea", "Expect: 100-continue, tea", "Expect: 100-continue\r\nExpect: tea"],
        |expectation| {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{expectation}\r\nContent-Length: 5\r\n\r\n");
            assert_eq!(proxy.ask(head).status(), 417);
        },
    );
    assert_eq!(backend.count(), 0);
}

#[test]
fn early_hints_arrive_before_the_final_head() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n");
    let hints = client.response();
    assert_eq!((hints.status(), hints.sole("link").as_str()), (103, "</a>; rel=preload"));
    backend.send(ok("hello"));
    assert_eq!(client.response().text(), "hello");
}

#[test]
fn several_interim_responses_are_relayed_in_order() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let interim =
        "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 199 X\r\n\r\n";
    let (mut backend, _) = origin.answer(format!("{interim}{}", ok("hello")));
    let statuses: Vec<_> = (0..4).map(|_| client.response().status()).collect();
    assert_eq!(statuses, [102, 103, 199, 200]);
    client.send(GET);
    backend.request();
    backend.send(ok("next"));
    assert_eq!(client.response().text(), "next", "the backend connection is in step");
}

#[test]
fn an_unrequested_100_is_never_taken_for_a_final_response() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    origin.answer(format!("HTTP/1.1 100 Continue\r\n\r\n{}", ok("hello")));
    let mut response = client.response();
    if response.status() == 100 {
        response = client.response();
    }
    assert_eq!(response.text(), "hello");
}

#[test]
fn endless_interim_responses_are_cut_off() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.request();
    let sender =
        std::thread::spawn(
            move || while backend.try_send("HTTP/1.1 102 Processing\r\n\r\n".repeat(100)).is_ok() {},
        );
    let heads = (0..100_000).map(|_| client.try_response());
    let end = heads
        .map(|head| head.map(|response| response.status()).map_err(|cut| cut.end))
        .find(|end| *end != Ok(102));
    assert!(matches!(end, Some(Ok(502) | Err(End::Eof | End::Reset))), "{end:?}");
    sender.join().unwrap();
}
