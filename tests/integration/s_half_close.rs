//! A client that closes its half of the connection is waited for as long as an ordinary answer takes.
//!
//! Not here: a client whose request is not whole (`s_gone`), and tunnels as such (`h_upgrade`, `s_parked`).

use crate::harness::{
    CHUNKED, End, GET, Origin, PARKED, Proxy, Ronde, SWITCH, UPGRADE, Wire, each_row, ok, ronde_only,
    scratch_directory, setup,
};
use std::thread;
use std::time::{Duration, Instant};

const EVENT: &str = "3\r\none\r\n";
const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
const CHUNKED_POST: &str =
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n";
const HALF_CLOSED: &str = "the client closed its half of the connection, and the backend stayed silent";

fn wait(milliseconds: u64) {
    thread::sleep(Duration::from_millis(milliseconds));
}

/// A client that has sent this and its FIN, and a backend that has the request.
fn finished(flags: &str, request: &str) -> (Origin, Proxy, Wire, Wire) {
    let (origin, proxy, mut client) = setup(&format!("--workers 2 --max-fails 1 {flags}"));
    client.send(request);
    client.finish();
    let (backend, _) = origin.request();
    (origin, proxy, client, backend)
}

/// A backend that takes one request at a time, and a queue in which there is time.
fn with_room_for_one(flags: &str) -> (Origin, Proxy) {
    let (origin, file) = (Origin::start(), scratch_directory().join("ronde.toml"));
    let config = format!(
        "listen = '127.0.0.1:0'\nqueue-timeout = '30s'\n[[backend]]\naddress = '{}'\nmax-connections = 1\n",
        origin.address
    );
    std::fs::write(&file, config).expect("the file");
    let proxy = Ronde::with(&format!("--config {} {flags}", file.display())).serve();
    (origin, proxy)
}

#[test]
fn an_answer_within_the_timeout_reaches_a_client_that_has_half_closed() {
    ronde_only!();
    each_row(&[GET, POST, CHUNKED_POST], |request| {
        let (_origin, proxy, mut client, mut backend) = finished("--half-close-timeout 2s", request);
        wait(150);
        backend.send(ok("answer"));
        assert_eq!(client.response().text(), "answer");
        client.expect_eof();
        assert!(!proxy.process.stdout.line_with(" 200 6 ").contains("cause"));
    });
}

#[test]
fn pipelined_requests_before_the_half_close_are_all_answered() {
    ronde_only!();
    let flags = "--half-close-timeout 2s";
    let (_origin, _proxy, mut client, mut backend) = finished(flags, &GET.repeat(3));
    for number in ["one", "two", "three"] {
        wait(50);
        backend.send(ok(number));
        assert_eq!(client.response().text(), number);
        if number != "three" {
            backend.request();
        }
    }
    client.expect_eof();
}

#[test]
fn a_later_answer_is_not_waited_for() {
    ronde_only!();
    each_row(&[GET, POST, CHUNKED_POST], |request| {
        let begun = Instant::now();
        let (_origin, proxy, mut client, mut backend) = finished("--half-close-timeout 150ms", request);
        // Not the start of ronde, which takes seconds on a busy machine.
        let asked = Instant::now();
        backend.expect_end();
        let (most, least) = (begun.elapsed(), asked.elapsed());
        assert!(most > Duration::from_millis(150) && least < Duration::from_secs(1), "{least:?} to {most:?}");
        client.expect_eof();
        let line = proxy.process.stdout.line_with("HTTP/1.1\" - ");
        assert!(line.contains(HALF_CLOSED), "{line}");
        proxy.assert_none_blamed();
    });
}

/// Its time is another one, and the room that it waits for is the same.
#[test]
fn a_client_that_has_half_closed_gets_its_turn_at_a_backend_with_a_limit() {
    ronde_only!();
    let (origin, proxy) = with_room_for_one("--half-close-timeout 10s");
    let [mut first, mut second] = [proxy.connect(), proxy.connect()];
    first.send(GET);
    let (mut backend, _) = origin.request();
    second.send(GET);
    second.finish();
    thread::sleep(PARKED);
    let freed = Instant::now();
    backend.send(ok("one"));
    assert_eq!(first.response().text(), "one");
    backend.request();
    backend.send(ok("two"));
    assert_eq!(second.response().text(), "two");
    assert!(freed.elapsed() < Duration::from_secs(5), "{:?}", freed.elapsed());
}

/// They had closed their tab or pressed reload, and their answers, which nobody read, took the room of those who waited.
#[test]
fn clients_that_have_closed_their_half_are_behind_all_others_in_a_queue() {
    ronde_only!();
    let (origin, proxy) = with_room_for_one("");
    let mut first = proxy.connect();
    first.send(GET);
    let (mut backend, _) = origin.request();
    let targets = ["/closed/1", "/closed/2", "/closed/3"];
    let closed = targets.map(|target| {
        let mut client = proxy.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.finish();
        client
    });
    thread::sleep(PARKED);
    let mut live = proxy.connect();
    live.send("GET /live HTTP/1.1\r\nHost: a\r\n\r\n");
    thread::sleep(PARKED);
    backend.send(ok("one"));
    assert_eq!(first.response().text(), "one");
    assert_eq!(backend.request().target(), "/live");
    backend.send(ok("live"));
    assert_eq!(live.response().text(), "live");
    // Each by another worker, they may have come into the queue in any order.
    for _ in targets {
        let request = backend.request();
        backend.send(ok(request.target()));
    }
    for (mut client, target) in closed.into_iter().zip(targets) {
        assert_eq!(client.response().text(), target);
    }
}

/// The half-close comes long after the request.
#[test]
fn the_timeout_counts_from_the_half_close() {
    ronde_only!();
    let (origin, proxy, mut client) = setup("--workers 2 --half-close-timeout 300ms --max-fails 1");
    client.send(GET);
    let (mut backend, _) = origin.request();
    wait(400);
    let closed = Instant::now();
    client.finish();
    backend.expect_end();
    let took = closed.elapsed();
    assert!(took >= Duration::from_millis(295) && took < Duration::from_secs(1), "{took:?}");
    assert!(proxy.process.stdout.line_with("HTTP/1.1\" ").contains(HALF_CLOSED));
    proxy.assert_none_blamed();
}

/// A backend that is silent beyond its own timeout is to blame, whoever has closed what.
#[test]
fn a_shorter_response_timeout_comes_first() {
    ronde_only!();
    let flags = "--half-close-timeout 5s --response-timeout 150ms";
    let (_origin, proxy, mut client, _backend) = finished(flags, GET);
    assert_eq!(client.response().status(), 504);
    let line = proxy.process.stdout.line_with("HTTP/1.1\" ");
    assert!(line.contains("the backend did not answer in time"), "{line}");
    proxy.process.stderr.line_with("out of the round");
}

#[test]
fn an_interim_response_restarts_the_timeout() {
    ronde_only!();
    let (_origin, _proxy, mut client, mut backend) = finished("--half-close-timeout 300ms", GET);
    for _ in 0..3 {
        wait(150);
        backend.send("HTTP/1.1 102 Processing\r\n\r\n");
        assert_eq!(client.response().status(), 102);
    }
    backend.send(ok("answer"));
    assert_eq!(client.response().text(), "answer");
}

#[test]
fn a_silent_event_stream_ends_and_events_prolong_it() {
    ronde_only!();
    let flags = "--half-close-timeout 300ms";
    let (_origin, proxy, mut client, mut backend) = finished(flags, GET);
    backend.send(CHUNKED);
    client.response_head();
    for _ in 0..3 {
        wait(150);
        backend.send(EVENT);
        assert_eq!(client.chunk(), b"one");
    }
    let last = Instant::now();
    backend.expect_end();
    let took = last.elapsed();
    assert!(took > Duration::from_millis(250) && took < Duration::from_secs(1), "{took:?}");
    let (rest, end) = client.rest();
    assert!(rest.is_empty() && end != End::Silence, "no last chunk, but the end");
    let line = proxy.process.stdout.line_with("HTTP/1.1\" 200 9 ");
    assert!(line.contains(HALF_CLOSED), "{line}");
    proxy.assert_none_blamed();
}

#[test]
fn a_tunnel_has_its_own_timeout() {
    ronde_only!();
    let (origin, proxy, mut client) = setup("--workers 2 --half-close-timeout 50ms");
    client.send(UPGRADE);
    let (mut backend, _) = origin.answer(SWITCH);
    assert_eq!(client.response().status(), 101);
    client.finish();
    backend.expect_eof();
    for _ in 0..2 {
        wait(200);
        backend.send("still here");
        assert_eq!(client.take(10), b"still here");
    }
    backend.finish();
    client.expect_eof();
    assert!(!proxy.process.stdout.line_with("HTTP/1.1\" 101 20 ").contains("cause"));
}

#[test]
fn a_client_that_is_slow_to_take_bytes_is_not_hurried() {
    ronde_only!();
    const SIZE: usize = 8 << 20;
    let (_origin, proxy, mut client, backend) = finished("--half-close-timeout 50ms", GET);
    let mut sender = backend.twin();
    let sending = thread::spawn(move || {
        sender.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        sender.send(vec![b'x'; SIZE]);
    });
    client.response_head();
    wait(400);
    client.discard(SIZE as u64);
    client.expect_eof();
    sending.join().expect("all of it sent");
    assert!(!proxy.process.stdout.line_with("HTTP/1.1\" 200 ").contains("cause"));
}

/// While the client is slow the backend's connection may well be read empty; its silence counts from then on.
#[test]
fn a_backend_that_falls_silent_after_its_client_was_slow_has_the_whole_timeout() {
    ronde_only!();
    const PART: usize = 8 << 20;
    let (_origin, _proxy, mut client, backend) = finished("--half-close-timeout 300ms", GET);
    let mut sender = backend.twin();
    let sending = thread::spawn(move || {
        sender.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PART + 4));
        sender.send(vec![b'x'; PART]);
        wait(150);
        sender.send("last");
    });
    client.response_head();
    wait(400);
    client.discard(PART as u64);
    assert_eq!(client.take(4), b"last");
    sending.join().expect("all of it sent");
}
