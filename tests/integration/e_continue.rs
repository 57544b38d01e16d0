//! Expect and interim responses, when client and backend wait for each other.

use crate::harness::{ADMIN, Admin, Backend, End, GET, Proxy, Wire, each_row, ok, ronde_only, setup};

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

/// It is the client's turn then: its timeout, and not a failure of the backend.
#[test]
fn a_client_that_has_its_100_and_sends_no_body_is_408() {
    ronde_only!();
    let flags = format!("{ADMIN} --body-timeout 300ms --response-timeout 1h --max-fails 1");
    let (origin, proxy, mut client) = setup(&flags);
    client.send(EXPECTING);
    let mut backend = origin.accept();
    backend.request_head();
    backend.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!((client.response().status(), client.response().status()), (100, 408));
    Admin::of(&proxy).assert_not_blamed(origin.address);
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

/// Nor does it count against the backend. A long job says `102 Processing` for as long as it takes (RFC 9110 §15.2).
#[test]
fn the_33rd_interim_response_was_one_too_many() {
    ronde_only!();
    each_row(
        &[(33, "102 Processing"), (33, "104 Upload Resumption Supported"), (1000, "102 Processing")],
        |row| {
            let (count, status) = *row;
            let (origin, proxy, mut client) = setup("--max-fails 1");
            client.send(GET);
            let interim = format!("HTTP/1.1 {status}\r\nX: y\r\n\r\n");
            let (mut backend, _) = origin.answer(format!("{}{}", interim.repeat(count), ok("done")));
            for _ in 0..count {
                let head = client.response();
                assert_eq!(head.start, format!("HTTP/1.1 {status}"));
                assert_eq!(head.sole("x"), "y");
            }
            assert_eq!(client.response().text(), "done");
            client.send(GET);
            backend.request();
            backend.send(ok("next"));
            assert_eq!(client.response().text(), "next", "both connections are in step");
            let line = proxy.process.stdout.line_with("200 4");
            assert!(!line.contains("cause="), "{line}");
            proxy.assert_none_blamed();
        },
    );
}

/// `104 Upload Resumption Supported` (draft-ietf-httpbis-resumable-upload): one for each part that has arrived.
#[test]
fn the_progress_of_an_upload_was_cut_off() {
    let (origin, _proxy, mut client) = setup("");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut backend = origin.accept();
    backend.request_head();
    for part in 1..=50 {
        client.send("5\r\nhello\r\n");
        assert_eq!(backend.chunk(), b"hello");
        backend.send(format!("HTTP/1.1 104 Upload\r\nUpload-Offset: {}\r\n\r\n", 5 * part));
        let progress = client.response();
        assert_eq!((progress.status(), progress.sole("upload-offset")), (104, (5 * part).to_string()));
    }
    client.send("0\r\n\r\n");
    assert_eq!(backend.chunk(), b"");
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
}

/// It has them one after another: what it does not take stays with the backend. The client is to blame, not the backend.
#[test]
fn interim_responses_that_nobody_takes_fill_no_memory() {
    ronde_only!();
    let (origin, proxy, _unused) = setup("--workers 2 --idle-timeout 500ms --max-fails 1");
    let mut client = Wire::connect_narrow(proxy.address, 4096);
    client.send(GET);
    let (mut backend, _) = origin.request();
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(60_000));
    // 60 MB.
    let taken = backend.try_send(hint.repeat(1000));
    assert!(taken.is_err(), "not all of it was read");
    let line = proxy.process.stdout.line_with("HTTP/1.1\" ");
    assert!(line.contains("cause=\"the client does not read its response\""), "{line}");
    assert!(proxy.status("VmHWM") < 30_000, "{} kB", proxy.status("VmHWM"));
    proxy.assert_none_blamed();
    assert_ne!(client.rest().1, End::Silence);
}

/// Passing them on costs ronde more than it costs the backend to send them: more than a thousand within a second are its
/// failure.
#[test]
fn endless_interim_responses_are_cut_off() {
    let (origin, proxy, mut client) = setup("--max-fails 1");
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
    if !Proxy::is_a_peer() {
        let line = proxy.process.stdout.line_with("HTTP/1.1\" ");
        assert!(line.contains("cause=\"the backend sent too many interim responses\""), "{line}");
        proxy.process.stderr.line_with("out of the round");
    }
}
