//! A stop while a conversation is parked: it is finished within the grace, and past the grace it is ended visibly.
//!
//! Not here: what is idle, and what never pauses (`i_lifecycle`, `q_pool`).

use crate::harness::{
    End, GET, Origin, PARKED, Proxy, SWITCH, UPGRADE, Wire, each_row, eventually, ronde_only, setup,
};
use rustix::process::Signal;
use std::net::TcpStream;
use std::thread;

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\non";
const UPLOAD_END: &str = "ly.\r\n0\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nanswer";
const CUT: &str = "the transfer was cut at the end of the shutdown grace";

/// A request and its response, each in two parts; the first part of each was sent when the stop comes.
type Row = ([&'static str; 2], [&'static str; 2]);

/// The request is complete or streams: a backend has it.
const WITH_BACKEND: [Row; 6] = [
    ([GET, ""], ["", OK]),
    ([GET, ""], ["HTTP/1.1 200 O", "K\r\nContent-Length: 6\r\n\r\nanswer"]),
    ([GET, ""], ["HTTP/1.1 103 Early Hints\r\n\r\n", OK]),
    ([UPLOAD, UPLOAD_END], ["", OK]),
    ([GET, ""], ["HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nan", "swer"]),
    (
        [UPLOAD, UPLOAD_END],
        ["HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nan", "swer\r\n0\r\n\r\n"],
    ),
];

/// No backend has been asked.
const WITHOUT_BACKEND: [Row; 2] = [
    (["GET / HTTP/1.1\r\nHo", "st: a\r\n\r\n"], ["", OK]),
    (["POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\non", "e"], ["", OK]),
];

fn begin(flags: &str, row: &Row) -> (Origin, Proxy, Wire, Wire) {
    let (origin, proxy, mut client) = setup(flags);
    client.send(row.0[0]);
    let mut backend = origin.accept();
    backend.request_head();
    if row.0[0] == UPLOAD {
        assert_eq!(backend.chunk(), b"on");
    }
    backend.send(row.1[0]);
    if row.1[0].contains("103") {
        assert_eq!(client.response().status(), 103);
    }
    thread::sleep(PARKED);
    (origin, proxy, client, backend)
}

fn stop(proxy: &Proxy) {
    proxy.process.signal(Signal::TERM);
    eventually("new clients are refused", || TcpStream::connect(proxy.address).is_err());
}

#[test]
fn what_is_parked_with_a_backend_is_finished_within_the_grace() {
    ronde_only!();
    each_row(&WITH_BACKEND, |row| {
        let (_origin, mut proxy, mut client, mut backend) = begin("--workers 2", row);
        stop(&proxy);
        client.send(row.0[1]);
        if row.0[0] == UPLOAD {
            assert_eq!((backend.chunk(), backend.chunk()), (b"ly.".to_vec(), Vec::new()));
        }
        backend.send(row.1[1]);
        assert_eq!(client.response().text(), "answer");
        drop(client);
        assert!(proxy.process.exit().success());
        let line = proxy.process.stdout.line_with("HTTP/1.1\" 200 6 ");
        assert!(!line.contains("cause"), "{line}");
    });
}

#[test]
fn half_a_request_is_finished_within_the_grace() {
    ronde_only!();
    each_row(&WITHOUT_BACKEND, |row| {
        let (origin, mut proxy, mut client) = setup("--workers 2");
        client.send(row.0[0]);
        thread::sleep(PARKED);
        stop(&proxy);
        client.send(row.0[1]);
        origin.answer(row.1[1]);
        let response = client.response();
        assert_eq!((response.text().as_str(), response.sole("connection").as_str()), ("answer", "close"));
        drop(client);
        assert!(proxy.process.exit().success());
    });
}

/// ronde's own answer, too, is the last of its connection. This one was not.
#[test]
fn an_options_for_ronde_itself_persisted_during_a_stop() {
    ronde_only!();
    let (_origin, mut proxy, mut client) = setup("--workers 2");
    client.send("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-For");
    thread::sleep(PARKED);
    stop(&proxy);
    client.send("wards: 0\r\n\r\n");
    let response = client.response();
    assert_eq!((response.status(), response.sole("connection").as_str()), (200, "close"));
    client.expect_eof();
    assert!(proxy.process.exit().success());
}

#[test]
fn a_tunnel_is_finished_within_the_grace() {
    ronde_only!();
    let (_origin, mut proxy, mut client, mut backend) = begin("--workers 2", &([UPGRADE, ""], [SWITCH, ""]));
    assert_eq!(client.response().status(), 101);
    stop(&proxy);
    client.send("bye");
    client.finish();
    assert_eq!(backend.take(3), b"bye");
    backend.expect_eof();
    backend.send("good bye");
    backend.finish();
    assert_eq!(client.take(8), b"good bye");
    client.expect_eof();
    assert!(proxy.process.exit().success());
}

#[test]
fn what_is_parked_past_the_grace_is_ended_visibly() {
    ronde_only!();
    each_row(&WITH_BACKEND, |row| {
        let (_origin, mut proxy, mut client, mut backend) = begin("--workers 2 --shutdown-grace 100ms", row);
        proxy.process.signal(Signal::TERM);
        if row.1[0].contains(" 200 OK") {
            let cut = client.cut("GET").expect("a response that does not look whole");
            assert!(cut.so_far.is_some() && cut.end != End::Silence, "{cut:?}");
        } else {
            let response = client.response();
            assert_eq!((response.status(), response.sole("connection").as_str()), (503, "close"));
            client.finish();
            client.expect_eof();
        }
        backend.expect_end();
        assert!(proxy.process.exit().success());
        let line = proxy.process.stdout.line_with("HTTP/1.1\" ");
        assert!(line.contains(CUT), "{line}");
    });
}

#[test]
fn a_tunnel_past_the_grace_is_reset() {
    ronde_only!();
    let flags = "--workers 2 --shutdown-grace 100ms";
    let (_origin, mut proxy, mut client, mut backend) = begin(flags, &([UPGRADE, ""], [SWITCH, ""]));
    assert_eq!(client.response().status(), 101);
    proxy.process.signal(Signal::TERM);
    assert_eq!(client.rest().1, End::Reset, "a FIN would look like an end");
    backend.expect_end();
    assert!(proxy.process.exit().success());
    assert!(proxy.process.stdout.line_with("HTTP/1.1\" 101 ").contains(CUT));
}

#[test]
fn a_response_that_is_not_read_is_finished_within_the_grace_and_cut_past_it() {
    ronde_only!();
    const SIZE: usize = 16 << 20;
    each_row(&[true, false], |reads| {
        let grace = if *reads { "8s" } else { "200ms" };
        let (origin, mut proxy, mut client) = setup(&format!("--workers 2 --shutdown-grace {grace}"));
        client.send(GET);
        let (backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
        let mut sender = backend.twin();
        let sending = thread::spawn(move || sender.try_send(vec![b'x'; SIZE]));
        client.response_head();
        thread::sleep(PARKED);
        proxy.process.signal(Signal::TERM);
        if *reads {
            client.discard(SIZE as u64);
            assert!(sending.join().expect("its end").is_ok());
            drop((client, backend));
        } else {
            proxy.process.exit();
            let (rest, end) = client.rest();
            assert!(rest.len() < SIZE && end != End::Silence, "{} bytes and {end:?}", rest.len());
        }
        assert!(proxy.process.exit().success());
        assert_eq!(proxy.process.stdout.line_with("HTTP/1.1\" 200 ").contains(CUT), !reads);
    });
}

/// No request was complete, but a client that is told nothing cannot tell a stop from a broken network.
#[test]
fn half_a_request_past_the_grace_is_503() {
    ronde_only!();
    each_row(&WITHOUT_BACKEND, |row| {
        let (_origin, mut proxy, mut client) = setup("--workers 2 --shutdown-grace 100ms");
        client.send(row.0[0]);
        thread::sleep(PARKED);
        proxy.process.signal(Signal::TERM);
        assert!(proxy.process.exit().success());
        assert_eq!(client.response().status(), 503);
    });
}
