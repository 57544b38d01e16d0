//! What is parked has a deadline, and the side that is waited for is the one that misses it.
//!
//! Not here: `--half-close-timeout` (`s_half_close`), and the stop (`s_stop`).

use crate::harness::{CHUNKED, End, GET, Proxy, Wire, each_row, ok, ronde_only, setup, tls};
use std::io::{ErrorKind, Read};
use std::thread;
use std::time::{Duration, Instant};

fn wait(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// More than all sockets on the way take.
const LARGE: usize = 16 << 20;

fn upload(length: usize) -> String {
    format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

fn assert_cause(proxy: &Proxy, cause: &str) {
    let line = proxy.process.stdout.line_with("HTTP/1.1\" ");
    assert!(line.contains(&format!("cause=\"{cause}\"")), "{line}");
}

fn assert_took(begun: Instant, least: u64) {
    let (took, least) = (begun.elapsed(), Duration::from_millis(least));
    assert!(least <= took && took < least + Duration::from_secs(1), "{took:?}");
}

#[test]
fn a_client_that_pauses_in_its_upload_is_408() {
    ronde_only!();
    let rows = [
        upload(70_000),
        format!("{}some", upload(70_000)),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\non".to_owned(),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nT".to_owned(),
    ];
    each_row(&rows, |request| {
        let flags = "--workers 2 --body-timeout 200ms --response-timeout 10s --max-fails 1";
        let (origin, proxy, mut client) = setup(flags);
        let begun = Instant::now();
        client.send(request);
        let mut backend = origin.accept();
        backend.request_head();
        assert_eq!(client.response().status(), 408);
        assert_took(begun, 200);
        assert_ne!(backend.rest().1, End::Silence);
        assert_cause(&proxy, "the request body did not arrive in time");
        proxy.assert_none_blamed();
    });
}

/// Each pause is shorter than the timeout, all of them together are not.
#[test]
fn a_client_that_sends_now_and_then_is_in_time() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("--workers 2 --body-timeout 400ms --response-timeout 200ms");
    client.send(upload(70_000));
    let mut backend = origin.accept();
    backend.request_head();
    for _ in 0..7 {
        wait(150);
        client.send([b'x'; 10_000]);
        assert_eq!(backend.take(10_000), [b'x'; 10_000]);
    }
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
}

/// A small body is collected, and its time is that of the client's silence as well.
#[test]
fn a_small_upload_that_comes_byte_by_byte_is_in_time() {
    ronde_only!();
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    each_row(&[upload(6), chunked.to_owned()], |head| {
        let (origin, _proxy, mut client) = setup("--body-timeout 400ms");
        client.send(head);
        for _ in 0..6 {
            wait(150);
            client.send(if head == chunked { "1\r\nx\r\n" } else { "x" });
        }
        if head == chunked {
            client.send("0\r\n\r\n");
        }
        let (_, request) = origin.answer(ok("thanks"));
        assert_eq!((request.text().as_str(), client.response().text().as_str()), ("xxxxxx", "thanks"));
    });
}

#[test]
fn a_backend_that_takes_no_more_of_an_upload_is_504() {
    ronde_only!();
    let flags = "--workers 2 --body-timeout 10s --response-timeout 200ms --max-fails 1";
    let (origin, proxy, mut client) = setup(flags);
    client.send(upload(LARGE));
    let mut sender = client.twin();
    let sending = thread::spawn(move || sender.try_send(vec![b'x'; LARGE]));
    let mut backend = origin.accept();
    backend.request_head();
    assert_eq!(client.response().status(), 504);
    // It may still send all of it, and is not reset before it has read the answer.
    sending.join().expect("its end").expect("all of it taken");
    assert_ne!(backend.rest().1, End::Silence);
    assert_cause(&proxy, "the backend does not read the request");
    proxy.process.stderr.line_with("out of the round");
}

#[test]
fn a_backend_that_has_the_request_and_does_not_answer_is_504() {
    ronde_only!();
    let rows = [
        GET.to_owned(),
        format!("{}{}", upload(3), "one"),
        format!("{}{}", upload(70_000), "x".repeat(70_000)),
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n".to_owned(),
    ];
    each_row(&rows, |request| {
        let (origin, proxy, mut client) = setup("--workers 2 --response-timeout 200ms --max-fails 1");
        client.send(request);
        let (mut backend, _) = origin.request();
        let begun = Instant::now();
        assert_eq!(client.response().status(), 504);
        assert_took(begun, 150);
        backend.expect_end();
        assert_cause(&proxy, "the backend did not answer in time");
        proxy.process.stderr.line_with("out of the round");
    });
}

#[test]
fn a_backend_that_begins_a_head_and_does_not_end_it_is_504() {
    ronde_only!();
    let (origin, proxy, mut client) = setup("--workers 2 --response-timeout 200ms");
    client.send(GET);
    let (mut backend, _) = origin.request();
    let mut sender = backend.twin();
    sender.send("HTTP/1.1 200 OK\r\nA: ");
    let begun = Instant::now();
    let dripping = thread::spawn(move || {
        while sender.try_send("x").is_ok() {
            wait(20);
        }
    });
    assert_eq!(client.response().status(), 504);
    assert_took(begun, 150);
    assert_cause(&proxy, "the backend did not answer in time");
    backend.expect_end();
    dripping.join().expect("its end");
}

#[test]
fn an_interim_response_restarts_the_response_timeout() {
    ronde_only!();
    each_row(&[102, 103], |status| {
        let (origin, proxy, mut client) = setup("--workers 2 --response-timeout 300ms");
        client.send(GET);
        let (mut backend, _) = origin.request();
        for _ in 0..4 {
            wait(150);
            backend.send(format!("HTTP/1.1 {status} Wait\r\n\r\n"));
            assert_eq!(client.response().status(), *status);
        }
        let begun = Instant::now();
        assert_eq!(client.response().status(), 504);
        assert_took(begun, 250);
        assert_cause(&proxy, "the backend did not answer in time");
    });
}

#[test]
fn a_backend_that_falls_silent_in_its_response_is_cut() {
    ronde_only!();
    let (origin, proxy, mut client) = setup("--workers 2 --idle-timeout 300ms");
    client.send(GET);
    let (mut backend, _) = origin.answer(CHUNKED);
    client.response_head();
    for _ in 0..3 {
        wait(150);
        backend.send("3\r\none\r\n");
        assert_eq!(client.chunk(), b"one");
    }
    let begun = Instant::now();
    let (rest, end) = client.rest();
    assert!(rest.is_empty() && end != End::Silence);
    assert_took(begun, 250);
    backend.expect_end();
    assert_cause(&proxy, "the backend fell silent in the middle of its response");
}

/// A response to a client with a small buffer, from a backend that sends as much as it can.
fn download(flags: &str) -> (Proxy, Wire, thread::JoinHandle<()>) {
    let (origin, proxy, _unused) = setup(flags);
    let mut client = Wire::connect_narrow(proxy.address, 4096);
    client.send(GET);
    let (mut backend, _) = origin.request();
    let sending = thread::spawn(move || {
        backend.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        let _cut = backend.try_send(vec![b'x'; LARGE]);
    });
    client.response_head();
    (proxy, client, sending)
}

#[test]
fn a_client_that_reads_nothing_is_cut() {
    ronde_only!();
    let begun = Instant::now();
    let (proxy, mut client, sending) = download("--workers 2 --idle-timeout 400ms --max-fails 1");
    assert_cause(&proxy, "the client does not read its response");
    assert_took(begun, 400);
    assert_ne!(client.rest().1, End::Silence);
    sending.join().expect("its end");
    proxy.assert_none_blamed();
}

/// The kernel calls a socket writable when a third of its send buffer is free, which is most of a megabyte here. At 20
/// KB a second that takes longer than the timeout.
#[test]
fn a_client_that_reads_slowly_but_steadily_is_not_cut() {
    ronde_only!();
    let (proxy, client, _sending) = download("--workers 2 --idle-timeout 600ms");
    let mut stream = client.stream();
    // Over TLS a client takes 16 KB off its socket at once, and nothing until they are read.
    let mut room = vec![0; if tls::is_on() { 4000 } else { 2000 }];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        wait(100);
        assert!(stream.read(&mut room).expect("bytes") > 0);
    }
    assert_eq!(proxy.process.stdout.text(), "", "it has not ended");
    client.set_timeout(Duration::from_millis(1));
    // Nor is an end on its way.
    let end = loop {
        match stream.read(&mut room) {
            Ok(1..) => continue,
            end => break end,
        }
    };
    assert!(end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock));
}

/// As a backend does that writes to a disk: neither side is silent for too long, and nothing is the client's fault.
#[test]
fn an_upload_to_a_backend_that_pauses_is_whole() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("--workers 2 --body-timeout 200ms --response-timeout 2s");
    client.send(upload(LARGE));
    let mut sender = client.twin();
    let sending = thread::spawn(move || sender.try_send(vec![b'x'; LARGE]));
    let mut backend = origin.accept();
    backend.request_head();
    wait(700);
    backend.take(LARGE / 2);
    wait(700);
    assert_eq!(backend.take(LARGE / 2).len(), LARGE / 2);
    sending.join().expect("its end").expect("all of it taken");
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
}
