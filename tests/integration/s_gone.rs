//! One side leaves while a conversation is parked: the other side's connection ends, and the access line says why.
//!
//! Not here: a client that closes its half and still waits (`s_half_close`).

use crate::harness::{End, GET, Origin, PARKED, Proxy, SWITCH, UPGRADE, Wire, each_row, ronde_only, setup};
use std::io::Read;
use std::thread;
use std::time::Duration;

const UPLOAD: &str = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\non";
const FLAGS: &str = "--workers 2 --half-close-timeout 100ms --max-fails 1 --fail-timeout 1h";

const CLIENT_GONE: &str = "the client is gone";
const HALF_CLOSED: &str = "the client closed its half of the connection, and the backend stayed silent";
const BACKEND_CLOSED: &str = "the backend closed the connection without a response";
const BACKEND_RESET: &str = "the backend reset the connection before a response";
const HEAD_CUT: &str = "the backend closed the connection in the middle of its response head";
const ENDED_EARLY: &str = "the backend's response ended early";

/// What the client has sent and the backend has answered when the conversation is parked, and the cause in the access
/// line of each way to end it. Without a cause nothing failed.
#[derive(Debug)]
struct Stage {
    request: &'static str,
    answer: &'static str,
    client_closes: &'static str,
    client_resets: &'static str,
    backend_closes: &'static str,
    backend_resets: &'static str,
}

const fn stage(request: &'static str, answer: &'static str, causes: [&'static str; 4]) -> Stage {
    let [client_closes, client_resets, backend_closes, backend_resets] = causes;
    Stage { request, answer, client_closes, client_resets, backend_closes, backend_resets }
}

#[rustfmt::skip]
const STAGES: [Stage; 9] = [
    stage(GET, "", [HALF_CLOSED, CLIENT_GONE, BACKEND_CLOSED, BACKEND_RESET]),
    stage(GET, "HTTP/1.1 200 O", [HALF_CLOSED, CLIENT_GONE, HEAD_CUT, HEAD_CUT]),
    stage(GET, "HTTP/1.1 103 Early Hints\r\n\r\n", [HALF_CLOSED, CLIENT_GONE, HEAD_CUT, HEAD_CUT]),
    stage(GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nan",
        [HALF_CLOSED, CLIENT_GONE, ENDED_EARLY, ENDED_EARLY]),
    stage(GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nan\r\n0\r\nT",
        [HALF_CLOSED, CLIENT_GONE, ENDED_EARLY, ENDED_EARLY]),
    stage("GET / HTTP/1.0\r\nHost: a\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nan", [HALF_CLOSED, CLIENT_GONE, "", ENDED_EARLY]),
    stage(UPLOAD, "", [
        "the request ended before its body was complete", CLIENT_GONE, BACKEND_CLOSED, BACKEND_RESET,
    ]),
    stage(UPLOAD, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nan",
        [HALF_CLOSED, CLIENT_GONE, ENDED_EARLY, ENDED_EARLY]),
    stage(UPGRADE, SWITCH, ["", CLIENT_GONE, "", ENDED_EARLY]),
];

impl Stage {
    fn is_tunnel(&self) -> bool {
        self.answer == SWITCH
    }

    /// Whether the client has the head of a final response.
    fn is_answered(&self) -> bool {
        self.is_tunnel() || self.answer.starts_with("HTTP/1.1 200 OK\r\n")
    }

    /// Parked. The client has read what there was to be read.
    fn begin(&self) -> (Origin, Proxy, Wire, Wire) {
        let (origin, proxy, mut client) = setup(FLAGS);
        client.send(self.request);
        let mut backend = origin.accept();
        backend.request_head();
        if self.request == UPLOAD {
            assert_eq!(backend.chunk(), b"on");
        }
        backend.send(self.answer);
        if self.is_answered() || self.answer.contains("103") {
            client.response_head();
        }
        if self.answer.contains("an") {
            // A close over bytes that were not read would be a reset.
            client.take(if self.answer.contains("chunked") { 7 } else { 2 });
        }
        thread::sleep(PARKED);
        (origin, proxy, client, backend)
    }

    fn assert_line(&self, proxy: &Proxy, cause: &str) {
        let line = proxy.process.stdout.line_with("HTTP/1.");
        match cause {
            "" => assert!(!line.contains("cause="), "{line}"),
            cause => assert!(line.contains(&format!("cause=\"{cause}\"")), "{line}"),
        }
    }
}

#[test]
fn the_backends_connection_ends_when_the_parked_client_resets() {
    ronde_only!();
    each_row(&STAGES, |stage| {
        let (_origin, proxy, client, mut backend) = stage.begin();
        client.reset();
        backend.expect_end();
        stage.assert_line(&proxy, stage.client_resets);
        proxy.assert_none_blamed();
    });
}

#[test]
fn the_backends_connection_ends_when_the_parked_client_closes() {
    ronde_only!();
    each_row(&STAGES, |stage| {
        let (_origin, proxy, mut client, mut backend) = stage.begin();
        client.finish();
        backend.expect_end();
        if stage.is_tunnel() {
            drop(backend);
        }
        let (rest, end) = client.rest();
        assert!(matches!(end, End::Eof | End::Reset), "{end:?}");
        let is_told = !stage.is_answered() && stage.client_closes != HALF_CLOSED;
        assert_eq!(
            rest.is_empty(),
            !is_told,
            "an answer, if there was none, and a request that is not whole"
        );
        stage.assert_line(&proxy, stage.client_closes);
        proxy.assert_none_blamed();
    });
}

#[test]
fn the_client_is_told_when_the_backend_of_a_parked_conversation_closes() {
    ronde_only!();
    each_row(&STAGES, |stage| {
        let (_origin, proxy, client, backend) = stage.begin();
        drop(backend);
        assert_told(stage, client, &proxy, stage.backend_closes);
    });
}

#[test]
fn the_client_is_told_when_the_backend_of_a_parked_conversation_resets() {
    ronde_only!();
    each_row(&STAGES, |stage| {
        let (_origin, proxy, client, backend) = stage.begin();
        backend.reset();
        assert_told(stage, client, &proxy, stage.backend_resets);
    });
}

/// 502, or the end of the connection; as a reset where a FIN would be taken for the end of the response.
fn assert_told(stage: &Stage, mut client: Wire, proxy: &Proxy, cause: &str) {
    if stage.is_answered() {
        if stage.is_tunnel() && cause.is_empty() {
            client.expect_eof();
            client.finish();
        }
        let is_open_ended = stage.is_tunnel() || !stage.answer.contains("chunked");
        let (rest, end) = client.rest();
        assert!(!rest.ends_with(b"0\r\n\r\n"), "it looks whole");
        match (is_open_ended, cause) {
            (true, "") => assert_eq!(end, End::Eof),
            (true, _) => assert_eq!(end, End::Reset),
            (false, _) => assert_ne!(end, End::Silence),
        }
    } else {
        assert_eq!(client.response().status(), 502);
    }
    stage.assert_line(proxy, cause);
}

/// The rest of a request never comes, and no backend is concerned.
#[test]
fn half_a_request_is_refused_and_has_its_line() {
    ronde_only!();
    let rows = [
        ("GET / HTTP/1.1\r\nHo", "the connection ended in the middle of a request head"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\non",
            "the request ended before its body was complete",
        ),
    ];
    each_row(&rows, |(request, cause)| {
        let (origin, proxy, mut client) = setup(FLAGS);
        client.send(request);
        thread::sleep(PARKED);
        client.finish();
        assert_eq!(client.response().status(), 400);
        client.expect_eof();
        let line = proxy.process.stdout.line_with("HTTP/1.1\" 400 ");
        assert!(line.contains(cause) && !line.contains("total=0."), "{line}");
        let mut client = proxy.connect();
        client.send(request);
        thread::sleep(PARKED);
        client.reset();
        let line = proxy.process.stdout.line_with("HTTP/1.1\" - ");
        assert!(line.contains(cause), "{line}");
        origin.expect_no_connection();
    });
}

/// A client that reads nothing, and a backend that has more for it.
fn unread() -> (Origin, Proxy, Wire, Wire) {
    let (origin, proxy, mut client) = setup(FLAGS);
    client.send(GET);
    let (mut backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 16 << 20));
    backend.set_timeout(PARKED * 2);
    let sent = backend.try_send(vec![b'x'; 16 << 20]);
    sent.expect_err("more than the sockets on the way take");
    (origin, proxy, client, backend)
}

#[test]
fn a_client_that_leaves_its_response_unread_ends_the_backends_connection() {
    ronde_only!();
    let (_origin, proxy, client, mut backend) = unread();
    // A close over unread bytes is a reset.
    drop(client);
    backend.set_timeout(Duration::from_secs(5));
    assert_ne!(backend.rest().1, End::Silence);
    let line = proxy.process.stdout.line_with("GET / ");
    assert!(line.contains(CLIENT_GONE), "{line}");
    proxy.assert_none_blamed();
}

#[test]
fn a_client_that_reads_late_finds_the_end_of_a_response_whose_backend_left() {
    ronde_only!();
    let (_origin, proxy, mut client, backend) = unread();
    backend.reset();
    let mut room = vec![0; 1 << 18];
    let mut read = 0;
    client.response_head();
    while let Ok(count @ 1..) = client.stream().read(&mut room) {
        read += count;
    }
    assert!(read < 16 << 20, "{read} bytes");
    let line = proxy.process.stdout.line_with("GET / ");
    assert!(line.contains(ENDED_EARLY), "{line}");
}

/// A broken connection is reported by epoll for as long as it is watched.
#[test]
fn a_backend_that_broke_costs_nothing_while_its_client_reads_nothing() {
    ronde_only!();
    each_row(&[GET, UPGRADE], |request| {
        let (origin, proxy, mut client) = setup(FLAGS);
        client.send(request);
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 16 << 20);
        let (mut backend, _) = origin.answer(if *request == UPGRADE { SWITCH } else { &head });
        backend.set_timeout(PARKED * 2);
        backend.try_send(vec![b'x'; 16 << 20]).expect_err("more than the sockets on the way take");
        backend.reset();
        let before = proxy.processor_time();
        thread::sleep(Duration::from_millis(500));
        let spent = proxy.processor_time() - before;
        assert!(spent < Duration::from_millis(100), "{spent:?} of half a second");
    });
}

/// As a process does that closes its socket and is then sent something.
#[test]
fn a_tunnel_whose_backend_finished_and_then_broke_ends() {
    ronde_only!();
    let (_origin, proxy, mut client, backend) = STAGES[8].begin();
    backend.finish();
    client.expect_eof();
    thread::sleep(PARKED);
    let before = proxy.processor_time();
    backend.reset();
    thread::sleep(Duration::from_millis(300));
    let spent = proxy.processor_time() - before;
    assert!(spent < Duration::from_millis(100), "{spent:?} of 300 ms");
    let line = proxy.process.stdout.line_with("HTTP/1.1\" 101 ");
    assert!(line.contains(ENDED_EARLY), "{line}");
}
