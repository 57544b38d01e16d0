//! What counts as a failure of a backend, and that only failures in a row take it out.

use crate::harness::{Backend, Message, Proxy, Wire, each_row, eventually, ok, ronde_only};
use std::net::Shutdown;

fn hang_up(wire: &Wire) {
    wire.stream().shutdown(Shutdown::Both).expect("a shutdown");
}

/// Reads a response to where it ends or breaks off.
fn read_broken(proxy: &Proxy, target: &str) -> Vec<u8> {
    let mut client = proxy.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    client.rest().0
}

/// Begins a response, and goes on with it in a way of its own.
fn begin(wire: &mut Wire, fields: &str, rest: impl FnOnce(&mut Wire)) {
    wire.send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n"));
    rest(wire);
}

fn is_out(proxy: &Proxy, backend: &Backend) -> bool {
    let line = format!("{} is out of the round", backend.address);
    proxy.process.stderr.all().iter().any(|said| said.contains(&line))
}

#[test]
fn three_failures_with_successes_between_them_took_a_backend_out() {
    ronde_only!();
    let broken = |wire: &mut Wire, request: &Message| match request.target() {
        "/garbage" => wire.send("garbage\r\n\r\n"),
        "/late" => {}
        "/cut" => begin(wire, "Content-Length: 9", |wire| hang_up(wire)),
        _ => wire.send(ok("well")),
    };
    each_row(&["/garbage", "/late", "/cut"], |target| {
        let backend = Backend::start(broken);
        let proxy = Proxy::with("--response-timeout 200ms --fail-timeout 1h", &[backend.address]);
        for _ in 0..5 {
            for _ in 0..2 {
                read_broken(&proxy, target);
            }
            assert_eq!(proxy.get("/").text(), "well");
        }
        assert!(!is_out(&proxy, &backend), "two in a row are not three");
        for _ in 0..3 {
            read_broken(&proxy, target);
        }
        eventually("three in a row are", || is_out(&proxy, &backend));
    });
}

#[test]
fn a_response_that_broke_off_in_its_body_was_never_counted() {
    ronde_only!();
    type Row = (&'static str, &'static str, fn(&mut Wire), &'static str);
    let rows: &[Row] = &[
        ("a length", "Content-Length: 9", |wire| hang_up(wire), "the backend's response ended early"),
        (
            "chunks",
            "Transfer-Encoding: chunked",
            |wire| {
                wire.send("5\r\nhello\r\n");
                hang_up(wire);
            },
            "the backend's response ended early",
        ),
        ("silence", "Content-Length: 9", |_| {}, "the backend fell silent in the middle of its response"),
    ];
    each_row(rows, |(_, fields, rest, why)| {
        let (fields, rest) = (*fields, *rest);
        let (bad, good) = (Backend::start(move |wire, _| begin(wire, fields, rest)), Backend::named("good"));
        let flags = "--max-fails 3 --fail-timeout 1h --idle-timeout 200ms";
        let proxy = Proxy::with(flags, &[bad.address, good.address]);
        for _ in 0..10 {
            read_broken(&proxy, "/");
        }
        assert_eq!((bad.count(), good.count()), (3, 7));
        let line = proxy.process.stderr.line_with("is out of the round");
        assert!(line.ends_with(&format!("{why}, 3 times in a row; a single request will try it")), "{line}");
    });
}

#[test]
fn a_trial_whose_body_breaks_off_costs_one_request() {
    ronde_only!();
    let bad = Backend::start(|wire, _| begin(wire, "Content-Length: 9", |wire| hang_up(wire)));
    let good = Backend::named("good");
    let proxy = Proxy::with("--max-fails 3 --fail-timeout 300ms", &[bad.address, good.address]);
    let outs = || {
        let said = proxy.process.stderr.all();
        said.iter().filter(|line| line.contains("is out of the round")).count()
    };
    for trials in 0..3 {
        eventually("it is out", || {
            read_broken(&proxy, "/");
            outs() == 1 + trials
        });
        assert_eq!(bad.count(), 3 + trials, "three failures, and one for each trial");
    }
}

#[test]
fn streams_of_events_that_end_or_fall_silent_take_no_backend_out() {
    ronde_only!();
    let streams = Backend::start(|wire, request| match request.target() {
        "/cut" => begin(wire, "Content-Type: text/event-stream\r\nContent-Length: 9", |wire| hang_up(wire)),
        _ => begin(wire, "Content-Type: text/event-stream\r\nContent-Length: 9", |_| {}),
    });
    let proxy = Proxy::with("--max-fails 1 --idle-timeout 200ms", &[streams.address]);
    for target in ["/cut", "/silent"] {
        read_broken(&proxy, target);
        proxy.process.stdout.line_with(target);
    }
    assert!(!is_out(&proxy, &streams));
}

#[test]
fn clients_that_leave_in_the_middle_of_a_response_take_no_backend_out() {
    ronde_only!();
    let backend = Backend::start(|wire, _| begin(wire, "Content-Length: 9", |_| {}));
    let proxy = Proxy::with("--max-fails 1", &[backend.address]);
    for _ in 0..3 {
        let mut client = proxy.connect();
        client.send("GET /left HTTP/1.1\r\nHost: a\r\n\r\n");
        client.response_head();
        client.reset();
    }
    eventually("all have ended", || {
        proxy.process.stdout.all().iter().filter(|line| line.contains("/left")).count() == 3
    });
    assert!(!is_out(&proxy, &backend));
}
