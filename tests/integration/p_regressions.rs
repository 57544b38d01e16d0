//! Regressions that attacks on ronde found. Each test is named by what went wrong.
//!
//! Not here: those of the pool (`q_pool`).

use crate::harness::{
    Backend, End, GET, Origin, PARKED, Port, Proxy, Ronde, SWITCH, UPGRADE, Wire, each_row, ok, ronde_only,
    setup,
};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::thread;
use std::time::Duration;

/// More than a client with a small window receives at once, and less than the kernel buffers for ronde.
const LARGE: usize = 3_000_000;

/// A client with a small receive buffer.
fn narrow(proxy: &Proxy) -> Wire {
    let client = proxy.connect();
    set_socket_recv_buffer_size(client.stream(), 128 * 1024).expect("SO_RCVBUF");
    client
}

fn large() -> String {
    ok(&"x".repeat(LARGE))
}

#[test]
fn a_close_with_unread_bytes_destroyed_the_response() {
    each_row(&["\r\n", GET], |extra| {
        let origin = Origin::start();
        let proxy = Proxy::start(&[origin.address]);
        let mut client = narrow(&proxy);
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let (mut backend, _) = origin.request();
        client.send(extra);
        // The kernel does not take all of it before the client reads.
        let sender = thread::spawn(move || backend.send(large()));
        assert_eq!(client.response().body.len(), LARGE);
        client.expect_eof();
        sender.join().expect("all of it is sent");
    });
}

#[test]
fn bytes_that_came_after_the_close_destroyed_the_response() {
    ronde_only!();
    let origin = Origin::start();
    let proxy = Proxy::start(&[origin.address]);
    let mut client = narrow(&proxy);
    client.send("GET / HTTP/1.0\r\n\r\n");
    origin.answer(large());
    // For ronde the exchange is over.
    proxy.process.stdout.line_with("\" 200 ");
    client.send("\r\n");
    assert_eq!(client.response().body.len(), LARGE);
    client.expect_eof();
}

#[test]
fn a_response_during_an_upload_was_destroyed_after_256_kilobytes() {
    let origin = Origin::start();
    let proxy = Proxy::start(&[origin.address]);
    let mut client = narrow(&proxy);
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n");
    let mut backend = origin.accept();
    backend.request_head();
    let sender = thread::spawn(move || {
        backend.send(large());
        backend
    });
    let mut uploader = client.twin();
    let upload = thread::spawn(move || uploader.try_send(vec![b'u'; 20_000_000]));
    assert_eq!(client.response().body.len(), LARGE);
    drop(client);
    let _backend = sender.join().expect("all of it is sent");
    let _cut_off_or_whole = upload.join().expect("an uploader");
}

#[test]
fn a_client_that_sent_20_megabytes_before_reading_never_saw_the_413() {
    let (_origin, _proxy, mut client) = setup("--max-body 1k");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n");
    client.send(vec![b'u'; 20_000_000]);
    assert_eq!(client.response().status(), 413);
    client.expect_eof();
}

/// A request in two pieces was late at its first one.
#[test]
fn an_options_or_an_empty_line_began_the_time_of_the_next_request() {
    ronde_only!();
    for before in ["OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n", "\r\n"] {
        let (origin, _proxy, mut client) = setup("--head-timeout 300ms");
        client.send(before);
        if before.starts_with("OPTIONS") {
            assert_eq!(client.response_to("OPTIONS").status(), 200);
        }
        thread::sleep(Duration::from_millis(400));
        client.send("GET / HTTP/1.1\r\n");
        thread::sleep(PARKED);
        client.send("Host: a\r\n\r\n");
        origin.answer(ok("in time"));
        assert_eq!(client.response().text(), "in time", "{before:?}");
    }
}

/// A body that came in time was late, because its head had been slow.
#[test]
fn the_time_of_a_head_was_charged_to_its_body() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("--head-timeout 10s --body-timeout 400ms");
    client.send("POST / HTTP/1.1\r\nHost: a\r\n");
    thread::sleep(Duration::from_millis(600));
    client.send("Content-Length: 4\r\n\r\nab");
    thread::sleep(PARKED);
    client.send("cd");
    origin.answer(ok("whole"));
    assert_eq!(client.response().text(), "whole");
}

/// What a client was idle before is not charged to its body.
#[test]
fn a_kept_client_may_be_idle_for_longer_than_a_body_may_take() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("--body-timeout 400ms");
    client.send(GET);
    let (mut backend, _) = origin.answer(ok("first"));
    assert_eq!(client.response().text(), "first");
    thread::sleep(Duration::from_millis(800));
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nabc");
    thread::sleep(PARKED);
    client.send("def");
    assert_eq!(backend.request().text(), "abcdef");
    backend.send(ok("whole"));
    assert_eq!(client.response().text(), "whole");
}

#[test]
fn a_tunnel_whose_backend_half_closed_lost_bytes_of_the_client() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE);
    let (mut backend, _) = origin.answer(SWITCH);
    backend.finish();
    assert_eq!(client.response().status(), 101);
    client.expect_eof();
    let sender = thread::spawn(move || {
        client.send(vec![b'u'; 8_000_000]);
        client.finish();
        client
    });
    backend.discard(8_000_000);
    backend.expect_eof();
    sender.join().expect("a sender");
}

#[test]
fn a_tunnel_that_was_reset_looked_finished() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE);
    let (backend, _) = origin.answer(SWITCH);
    assert_eq!(client.response().status(), 101);
    backend.reset();
    assert_eq!(client.rest(), (vec![], End::Reset));
}

#[test]
fn the_101_to_an_upgrade_with_many_field_lines_was_taken_for_unrequested() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE.replacen("\r\n", &format!("\r\n{}", "A: b\r\n".repeat(253)), 1));
    origin.answer(SWITCH);
    assert_eq!(client.response().status(), 101);
}

#[test]
fn a_client_that_waits_for_its_100_was_blamed_for_a_slow_backend() {
    let (origin, _proxy, mut client) = setup("--body-timeout 100ms --response-timeout 5s");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut backend = origin.accept();
    backend.request_head();
    // The backend takes longer than several body timeouts.
    client.expect_silence();
    client.expect_silence();
    backend.send("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(client.response().status(), 100);
    client.send("hello");
    assert_eq!(backend.take(5), b"hello");
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
}

#[test]
fn an_empty_line_after_a_request_started_the_head_timeout_of_the_next() {
    let backend = Backend::named("a");
    let proxy = Proxy::with("--head-timeout 50ms", &[backend.address]);
    each_row(
        &[
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n\r\n",
        ],
        |request| {
            let mut client = proxy.connect();
            assert_eq!(client.ask(request).text(), "a");
            client.expect_silence();
            assert_eq!(client.get("/").text(), "a");
            client.send("\r\n");
            client.finish();
            client.expect_eof();
        },
    );
}

#[test]
fn a_response_with_many_connection_options_was_blamed_on_the_client() {
    let (origin, _proxy, mut client) = setup("");
    let options: Vec<_> = (0..40).map(|number| format!("x{number}")).collect();
    client.send(GET);
    origin.answer(format!(
        "HTTP/1.1 200 OK\r\nConnection: {}\r\nContent-Length: 2\r\n\r\nok",
        options.join(",")
    ));
    assert_eq!(client.response().status(), 502);
}

#[test]
fn a_1_0_client_waited_after_an_error_for_a_close_that_never_came() {
    ronde_only!();
    let origin = Origin::down();
    let proxy = Proxy::start(&[origin.address]);
    for (target, status) in [("GET / HTTP/1.0\r\n", 502), ("OPTIONS / HTTP/1.0\r\nMax-Forwards: 0\r\n", 200)]
    {
        let mut client = proxy.connect();
        assert_eq!(client.ask(format!("{target}Connection: keep-alive\r\n\r\n")).status(), status);
        client.expect_eof();
    }
}

#[test]
fn a_response_with_invalid_early_chunks_left_the_client_without_a_status() {
    each_row(
        &["ZZ\r\nok\r\n0\r\n\r\n", "2\r\nok\r\nZZ\r\n", "2\r\nok\r\n0\r\nbad trailer\r\n\r\n"],
        |body| {
            let (origin, _proxy, mut client) = setup("");
            client.send(GET);
            origin.answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
            assert_eq!(client.response().status(), 502);
        },
    );
}

#[test]
fn a_refused_head_request_got_a_body() {
    let (_origin, proxy, _) = setup("--max-body 1");
    each_row(
        &[
            ("Host: a\r\nContent-Length: 5\r\n", 413),
            ("Host: a\r\nExpect: tea\r\n", 417),
            ("Host: a\r\nHost: a\r\n", 400),
        ],
        |(fields, status)| {
            let mut client = proxy.connect();
            client.send(format!("HEAD / HTTP/1.1\r\n{fields}\r\n"));
            assert_eq!(client.response_to("HEAD").status(), *status);
            client.expect_eof();
        },
    );
}

#[test]
fn a_client_that_gave_way_counted_as_idle_since_before_its_request() {
    let backend = Backend::start(|wire, request| {
        if request.target() == "/slow" {
            thread::sleep(Duration::from_millis(700));
        }
        wire.send(ok("a"));
    });
    let flags = "--workers 1 --keep-alive-timeout 500ms --queue-timeout 10s";
    let proxy = Proxy::with(flags, &[backend.address]);
    let (mut first, mut second) = (proxy.connect(), proxy.connect());
    first.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    crate::harness::eventually("the first request is with the backend", || backend.count() == 1);
    second.send(GET);
    assert_eq!(first.response().text(), "a");
    first.expect_silence();
    assert_eq!(first.get("/").text(), "a");
    assert_eq!(second.response().text(), "a");
}

#[test]
fn a_v4_client_of_a_dual_stack_listener_got_a_v6_host() {
    ronde_only!();
    let backend = Backend::mirror();
    let port = Port::reserve().address.port();
    let proxy = Ronde::with(&format!("--listen :{port} {}", backend.address)).serve();
    let mut client = Wire::connect(([127, 0, 0, 1], port).into());
    let seen = client.ask("GET / HTTP/1.0\r\n\r\n").text();
    assert!(seen.contains(&format!("Host: 127.0.0.1:{port}")), "{seen}");
    drop(proxy);
}

#[test]
fn empty_lines_before_the_largest_request_left_no_room_for_its_end() {
    let backend = Backend::start(|wire, request| wire.send(ok(&request.body.len().to_string())));
    let proxy = Proxy::start(&[backend.address]);
    let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\nA: ";
    let filling = "a".repeat(65536 - head.len() - 4);
    let request = format!("\r\n\r\n{head}{filling}\r\n\r\n{}", "b".repeat(65536));
    assert_eq!(proxy.ask(request).text(), "65536");
}

#[test]
fn a_later_minor_version_was_refused() {
    let backend = Backend::named("a");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for _ in 0..2 {
        assert_eq!(client.ask("GET / HTTP/1.2\r\nHost: a\r\n\r\n").text(), "a");
    }
    proxy.expect_refusal("GET / HTTP/2.0\r\nHost: a\r\n\r\n", &[505]);
    proxy.expect_refusal("GET / HTTP/1.10\r\nHost: a\r\n\r\n", &[400]);
}

#[test]
fn a_response_head_that_was_cut_off_was_called_malformed() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    drop(origin.answer("HTTP/1.1 200 OK\r\nCont"));
    let response = client.response();
    assert_eq!(response.status(), 502);
    assert!(response.sole("proxy-status").contains("http_response_incomplete"), "{response}");
}

#[test]
fn long_polls_on_good_backends_blocked_all_other_requests() {
    let backend = Backend::start(|wire, request| {
        if request.target() == "/poll" {
            thread::sleep(Duration::from_secs(6));
        }
        wire.send(ok("a"));
    });
    let proxy = Proxy::with("--workers 2 --queue-timeout 5s", &[backend.address]);
    let mut polls: Vec<_> = (0..6).map(|_| proxy.connect()).collect();
    for poll in &mut polls {
        poll.send("GET /poll HTTP/1.1\r\nHost: a\r\n\r\n");
    }
    crate::harness::eventually("all polls are with the backend", || backend.count() == 6);
    let begun = std::time::Instant::now();
    assert_eq!(proxy.get("/").status(), 200);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(polls.iter_mut().all(|poll| poll.response().status() == 200));
}

/// What the backend sent before it broke is the client's, whatever says that the rest is missing: a reset, for a client
/// that knows no chunks, or a last chunk that never comes.
#[test]
fn what_was_received_before_a_cut_was_taken_back() {
    for (version, end) in [("1.0", End::Reset), ("1.1", End::Eof)] {
        let (origin, proxy, _) = setup("");
        let mut client = Wire::connect_narrow(proxy.address, 4096);
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let (mut backend, _) = origin.request();
        backend.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nf4240\r\n");
        backend.send(vec![b'x'; 999_999]);
        drop(backend);
        // Only when ronde knows that the response is cut, the client begins to read.
        proxy.process.stdout.line_with("ended early");
        assert_eq!(client.response_head().status(), 200);
        let (body, seen) = client.rest();
        let received = body.iter().filter(|&&byte| byte == b'x').count();
        assert_eq!((received, seen), (999_999, end), "HTTP/{version}");
    }
}

/// The same for a tunnel, whose end is no end of anything.
#[test]
fn what_was_received_before_a_tunnel_broke_was_taken_back() {
    let (origin, proxy, _) = setup("--tunnel-timeout 500ms");
    let mut client = Wire::connect_narrow(proxy.address, 4096);
    client.send(UPGRADE);
    let (mut backend, _) = origin.answer(SWITCH);
    backend.send(vec![b'x'; 300_000]);
    proxy.process.stdout.line_with("fell silent");
    assert_eq!(client.response().status(), 101);
    let (body, end) = client.rest();
    assert_eq!((body.len(), end), (300_000, End::Reset));
}
