//! What is parked while a backend does not accept the connection.
//!
//! Not here: which backend is asked instead (`o_round`).

use crate::harness::{End, GET, PARKED, Proxy, Silent, Wire, each_row, ok, ronde_only};
use rustix::process::Signal;
use std::thread;
use std::time::{Duration, Instant};

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\none";
const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\non";
const FLAGS: &str =
    "--workers 2 --connect-timeout 5s --half-close-timeout 200ms --shutdown-grace 200ms --max-fails 1";

fn connecting(request: &str) -> (Silent, Proxy, Wire) {
    let silent = Silent::start();
    let proxy = Proxy::with(FLAGS, &[silent.address()]);
    let mut client = proxy.connect();
    client.send(request);
    thread::sleep(PARKED);
    (silent, proxy, client)
}

fn assert_line(proxy: &Proxy, cause: &str) {
    let line = proxy.process.stdout.line_with("HTTP/1.1\" ");
    assert!(line.contains(cause), "{line}");
    let stderr = proxy.process.stderr.text();
    assert!(!stderr.contains("out of the round"), "{stderr}");
}

#[test]
fn a_client_that_leaves_while_its_backend_is_connected_to_is_noticed_at_once() {
    ronde_only!();
    each_row(&[GET, POST], |request| {
        let (_silent, proxy, client) = connecting(request);
        let begun = Instant::now();
        client.reset();
        assert_line(&proxy, "the client is gone");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    });
}

#[test]
fn a_client_that_half_closes_while_its_backend_is_connected_to_is_not_waited_for() {
    ronde_only!();
    each_row(&[GET, POST], |request| {
        let (_silent, proxy, mut client) = connecting(request);
        client.finish();
        client.expect_eof();
        assert_line(&proxy, "the client closed its half of the connection, and the backend stayed silent");
    });
}

#[test]
fn a_connect_past_the_grace_is_503() {
    ronde_only!();
    each_row(&[GET, POST, UPLOAD], |request| {
        let (_silent, mut proxy, mut client) = connecting(request);
        proxy.process.signal(Signal::TERM);
        assert_eq!(client.response().status(), 503);
        client.finish();
        assert_ne!(client.rest().1, End::Silence);
        assert!(proxy.process.exit().success());
        assert_line(&proxy, "the transfer was cut at the end of the shutdown grace");
    });
}

/// The kernel sends the SYN again after a second.
#[test]
fn a_late_connect_goes_on_with_what_was_in_hand() {
    ronde_only!();
    let (silent, _proxy, mut client) = connecting(&format!("{POST}{GET}"));
    let accept = || Wire::over(silent.listener.accept().expect("a connection").0);
    let _filling = accept();
    let mut backend = accept();
    let request = backend.request();
    assert_eq!((request.method(), request.text().as_str()), ("POST", "one"));
    backend.send(ok("posted"));
    assert_eq!(client.response().text(), "posted");
    assert_eq!(backend.request().method(), "GET");
    backend.send(ok("got"));
    assert_eq!(client.response().text(), "got");
}
