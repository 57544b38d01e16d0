//! Answers that come while the request is still being sent, from backends that read no more of it.
//!
//! Not here: an upload that goes on beside its answer (`s_parked`).

use crate::harness::{PARKED, Proxy, Wire, each_row, needs, python_server, ronde_only, tls};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

const ANSWER: &str = "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwho?";

#[derive(Debug, Clone, Copy, PartialEq)]
enum Then {
    /// Neither reads nor closes.
    Hangs,
    Closes,
}

/// Reads a small part of each request, answers, and reads no more. What it has not read makes its close a reset.
fn hasty(then: Then) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    // An accepted socket has the buffer of its listener.
    set_socket_recv_buffer_size(&listener, 4096).expect("SO_RCVBUF");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        let mut hanging = Vec::new();
        for stream in listener.incoming().map_while(Result::ok) {
            let mut wire = Wire::accepted(stream, tls::of_backends());
            wire.take(100);
            // The client's side goes as far as it can.
            thread::sleep(PARKED / 4);
            wire.send(ANSWER);
            if then == Then::Hangs {
                hanging.push(wire);
            }
        }
    });
    address
}

fn post(length: usize) -> String {
    format!("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length))
}

fn long_head() -> String {
    format!("GET /long HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(60_000))
}

/// Four clients and two workers: no client waits for another.
fn assert_answered_at_once(request: &str, then: Then) {
    let address = hasty(then);
    let proxy = Proxy::with("--workers 2 --max-fails 0", &[address]);
    let begun = Instant::now();
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                let mut sender = client.twin();
                scope.spawn(move || {
                    let _reset_once_it_has_its_answer = sender.try_send(request);
                });
                let response = client.response();
                assert_eq!((response.status(), response.text().as_str()), (401, "who?"));
            });
        }
    });
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[test]
fn an_answer_while_a_collected_body_is_sent_arrives_at_once() {
    ronde_only!();
    assert_answered_at_once(&post(65_536), Then::Hangs);
}

#[test]
fn an_answer_and_a_reset_while_a_collected_body_is_sent_arrive_as_an_answer() {
    ronde_only!();
    assert_answered_at_once(&post(65_536), Then::Closes);
}

#[test]
fn an_answer_while_a_long_head_is_sent_arrives_at_once() {
    ronde_only!();
    assert_answered_at_once(&long_head(), Then::Hangs);
}

#[test]
fn an_answer_and_a_reset_while_a_long_head_is_sent_arrive_as_an_answer() {
    ronde_only!();
    assert_answered_at_once(&long_head(), Then::Closes);
}

#[test]
fn an_answer_while_a_long_upload_is_sent_arrives_at_once() {
    ronde_only!();
    assert_answered_at_once(&post(6 << 20), Then::Hangs);
}

#[test]
fn an_answer_and_a_reset_while_a_long_upload_is_sent_arrive_as_an_answer() {
    ronde_only!();
    assert_answered_at_once(&post(6 << 20), Then::Closes);
}

/// A request with a head of 500 KB. The kernel takes megabytes on the way to a loopback backend, but less than this if
/// the backend has small segments.
fn long(target: &str, length: usize) -> String {
    let (x, body) = ("x".repeat(500_000), "y".repeat(length));
    format!("POST {target} HTTP/1.1\r\nHost: a\r\nX: {x}\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// Each of the bodies of [`LENGTHS`] is asked for, through a ronde whose backend takes little at a time.
fn each_length(ask: impl Fn(&Proxy, &mut Wire, usize)) {
    each_row(&LENGTHS, |length| {
        let (_server, address) = python_server("tests/integration/clients/narrow_backend.py", &[]);
        let proxy = Proxy::with("--workers 2 --max-fails 0 --max-head 1m", &[address]);
        let mut client = proxy.connect();
        client.set_timeout(Duration::from_secs(3));
        ask(&proxy, &mut client, *length);
    });
}

/// Up to 64 KB are collected before they are sent; more streams.
const LENGTHS: [usize; 3] = [30_000, 65_536, 70_000];

#[test]
fn a_connection_on_which_a_part_of_the_request_was_sent_gets_no_other_request() {
    ronde_only!();
    needs!(Python);
    each_length(|proxy, client, length| {
        assert_eq!(client.ask(long("/early", length)).text(), "early");
        // Not even by another client.
        let mut other = proxy.connect();
        other.set_timeout(Duration::from_secs(3));
        assert_eq!(other.get("/other").text(), "/other");
    });
}

#[test]
fn a_request_whose_answer_has_begun_is_sent_to_its_end() {
    ronde_only!();
    needs!(Python);
    each_length(|_, client, length| {
        assert_eq!(client.ask(long(&format!("/echo/{length}"), length)).text(), "y".repeat(length));
    });
}
