//! Limits of size and time: each has its status, and the client can read it.

use crate::harness::{Backend, End, GET, Proxy, Wire, each_row, ok, ronde_only, setup, within};
use std::thread;
use std::time::{Duration, Instant};

#[test]
fn a_request_line_that_is_too_long_is_414() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    proxy.expect_refusal(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(70_000)), &[414]);
    proxy.expect_refusal(format!("GET /{}", "a".repeat(70_000)), &[414]);
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let lines = [
        format!("X: {}\r\n", "a".repeat(70_000)),
        format!("{}: a\r\n", "X".repeat(70_000)),
        format!("X: {}\r\n", "a".repeat(1000)).repeat(70),
        "X: a\r\n".repeat(5000),
    ];
    for lines in lines {
        proxy.expect_refusal(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n"), &[431]);
    }
    proxy.expect_refusal(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "a".repeat(70_000)), &[431]);
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_head_below_the_limit_passes() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let head = format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(30_000));
    assert_eq!(proxy.ask(head).text(), "b");
}

#[test]
fn max_head_is_a_setting() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with("--max-head 4k", &[backend.address]);
    proxy.expect_refusal(format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(5000)), &[414]);
    proxy.expect_refusal(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "a".repeat(5000)), &[431]);
    assert_eq!(proxy.get(&format!("/{}", "a".repeat(3000))).text(), "b");
}

#[test]
fn a_target_had_a_limit_that_nobody_could_set() {
    ronde_only!();
    let backend = Backend::named("b");
    for (flags, longest) in [("", 60_000), ("--max-head 1m", 1_000_000)] {
        let proxy = Proxy::with(flags, &[backend.address]);
        for length in [16_385, longest] {
            let target = format!("/{}", "a".repeat(length));
            assert_eq!(proxy.get(&target).text(), "b", "{length} bytes {flags}");
            assert_eq!(backend.targets().last().map(String::len), Some(target.len()));
        }
        let head = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "a".repeat(longest + 100_000));
        proxy.expect_refusal(head, &[414]);
    }
}

/// A chunked body of this size.
fn chunked(size: usize) -> String {
    format!("Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(size))
}

#[test]
fn a_body_over_the_limit_is_413() {
    let backend = Backend::named("b");
    let proxy = Proxy::with("--max-body 1000", &[backend.address]);
    let head = "POST / HTTP/1.1\r\nHost: a\r\n";
    proxy.expect_refusal(format!("{head}Content-Length: 1001\r\n\r\n"), &[413]);
    proxy.expect_refusal(format!("{head}Content-Length: 1001\r\nExpect: 100-continue\r\n\r\n"), &[413]);
    proxy.expect_refusal(format!("{head}{}", chunked(1001)), &[413]);
    assert_eq!(backend.count(), 0);
    let sized = format!("{head}Content-Length: 1000\r\n\r\n{}", "x".repeat(1000));
    assert_eq!(proxy.ask(sized).text(), "b");
    assert_eq!(proxy.ask(format!("{head}{}", chunked(1000))).text(), "b");
}

/// Closing with unread input would send an RST, and an RST destroys a response that the client has not read yet.
#[test]
fn a_refused_client_that_is_still_sending_can_read_its_response() {
    let backend = Backend::named("b");
    let proxy = Proxy::with("--max-body 1000", &[backend.address]);
    let requests = [
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n", 413),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", 400),
        ("BROKEN\r\n\r\n", 400),
    ];
    each_row(&requests, |(head, status)| {
        let mut client = proxy.connect();
        client.send(head);
        for _ in 0..200 {
            client.send([b'x'; 1000]);
        }
        assert_eq!(client.response().status(), *status);
        client.expect_eof();
    });
}

#[test]
fn a_refused_client_that_never_stops_sending_is_cut_off() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    assert_eq!(client.ask("BROKEN\r\n\r\n").status(), 400);
    within(Duration::from_secs(40), "the end of the drain", || {
        thread::sleep(Duration::from_millis(20));
        client.try_send([b'x'; 100]).is_err()
    });
}

/// Sends a byte every 20 ms until the connection breaks.
fn trickle(client: &Wire, bytes: &'static [u8]) -> thread::JoinHandle<()> {
    let mut sender = client.twin();
    thread::spawn(move || {
        for byte in bytes.iter().cycle() {
            if sender.try_send([*byte]).is_err() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
    })
}

#[test]
fn an_unfinished_head_is_408() {
    let (_origin, proxy, _) = setup("--head-timeout 300ms");
    each_row(&["G", "GET / HTTP/1.1", "GET / HTTP/1.1\r\nHost: a\r\n", "\r\n\r\nG"], |part| {
        proxy.expect_refusal(part, &[408]);
    });
}

#[test]
fn the_head_timeout_is_total_and_not_restarted_by_each_byte() {
    let (_origin, _proxy, mut client) = setup("--head-timeout 500ms");
    client.send("GET / HTTP/1.1\r\nHost: a\r\n");
    let start = Instant::now();
    let sender = trickle(&client, b"X: y\r\n");
    assert_eq!(client.response().status(), 408);
    let waited = start.elapsed();
    assert!(waited > Duration::from_millis(400) && waited < Duration::from_secs(3), "{waited:?}");
    drop(client);
    drop(_proxy);
    sender.join().unwrap();
}

#[test]
fn an_unfinished_second_head_is_408() {
    let backend = Backend::named("b");
    let proxy = Proxy::with("--head-timeout 300ms", &[backend.address]);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "b");
    assert_eq!(client.ask("GET / HTT").status(), 408);
    client.expect_eof();
}

#[test]
fn a_connection_that_never_sends_a_byte_is_closed_silently() {
    let (_origin, _proxy, mut client) = setup("--head-timeout 300ms --keep-alive-timeout 300ms");
    client.expect_eof();
}

#[test]
fn an_idle_connection_is_closed_silently() {
    let backend = Backend::named("b");
    let proxy = Proxy::with("--keep-alive-timeout 300ms", &[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").text(), "b");
    }
    client.expect_eof();
}

const UNFINISHED: &[&str] = &[
    "Content-Length: 10\r\n\r\nhello",
    "Content-Length: 100000\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
];

#[test]
fn a_body_that_stops_is_408_and_never_reaches_a_backend_whole() {
    let backend = Backend::named("b");
    let proxy = Proxy::with("--body-timeout 300ms", &[backend.address]);
    each_row(UNFINISHED, |rest| {
        proxy.expect_refusal(format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}"), &[408]);
    });
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_body_below_the_minimum_rate_is_408() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with("--min-rate 100k --body-timeout 10s", &[backend.address]);
    thread::scope(|scope| {
        for framing in ["Content-Length: 50000", "Content-Length: 1000000", "Transfer-Encoding: chunked"] {
            let mut client = proxy.connect();
            scope.spawn(move || {
                client.set_timeout(Duration::from_secs(60));
                client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"));
                let _sender = trickle(&client, b"1\r\nx\r\n");
                assert_eq!(client.response().status(), 408, "{framing}");
            });
        }
    });
    assert_eq!(backend.count(), 0);
}

#[test]
fn a_slow_response_is_not_cut_while_it_makes_progress() {
    let (origin, _proxy, mut client) =
        setup("--idle-timeout 1s --response-timeout 1s --body-timeout 1s --head-timeout 1s");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n");
    client.response_head();
    for byte in b"slowly" {
        thread::sleep(Duration::from_millis(300));
        backend.send([*byte]);
    }
    assert_eq!(client.take(6), b"slowly");
    client.send(GET);
    backend.request();
    backend.send(ok("next"));
    assert_eq!(client.response().text(), "next");
}

#[test]
fn a_response_that_falls_silent_is_cut() {
    let bodies = ["Content-Length: 10\r\n\r\nhello", "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"];
    each_row(&bodies, |rest| {
        let (origin, _proxy, mut client) = setup("--idle-timeout 300ms");
        client.send(GET);
        let (mut backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\n{rest}"));
        let cut = client.cut("GET").expect("a cut");
        assert_ne!(cut.end, End::Silence);
        backend.expect_end();
    });
}
