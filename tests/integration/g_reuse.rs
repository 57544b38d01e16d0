//! Stale kept connections, and which requests may be sent twice: a GET is never lost, a POST never sent twice.

use crate::harness::{ADMIN, Admin, Backend, GET, Origin, Proxy, Wire, each_row, ok, ronde_only, setup};
use std::thread;
use std::time::Duration;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";

/// A proxy with one kept connection to its backend, and the client that made it.
fn warmed(flags: &str) -> (Origin, Proxy, Wire, Wire) {
    let (origin, proxy, mut client) = setup(flags);
    client.send(GET);
    let (backend, _) = origin.answer(ok("warm"));
    assert_eq!(client.response().text(), "warm");
    (origin, proxy, client, backend)
}

#[test]
fn a_kept_connection_that_the_backend_closed_is_no_failure() {
    each_row(&[GET, POST], |request| {
        let (origin, _proxy, mut client, backend) = warmed("");
        drop(backend);
        client.send(request);
        origin.answer(ok("fresh"));
        assert_eq!(client.response().text(), "fresh");
    });
}

#[test]
fn a_kept_connection_that_the_backend_reset_is_no_failure() {
    each_row(&[GET, POST], |request| {
        let (origin, _proxy, mut client, backend) = warmed("");
        backend.reset();
        client.send(request);
        origin.answer(ok("fresh"));
        assert_eq!(client.response().text(), "fresh");
    });
}

/// The backend already has the request when it closes: only an idempotent one is sent again (RFC 9110 §9.2.2).
#[test]
fn an_idempotent_request_is_sent_again_when_its_kept_connection_closes() {
    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"] {
        let (origin, _proxy, mut client, mut backend) = warmed("");
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        backend.request();
        drop(backend);
        let (_, again) = origin.answer(ok("again"));
        assert_eq!(again.method(), method);
        assert_eq!(client.response_to(method).status(), 200);
    }
}

#[test]
fn an_idempotent_request_with_a_small_body_is_sent_again_whole() {
    let (origin, _proxy, mut client, mut backend) = warmed("");
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(backend.request().text(), "hello");
    drop(backend);
    assert_eq!(origin.answer(ok("again")).1.text(), "hello");
    assert_eq!(client.response().text(), "again");
}

#[test]
fn a_request_that_is_not_idempotent_is_never_sent_twice() {
    each_row(&["POST", "PATCH", "PURGE", "get"], |method| {
        let (origin, _proxy, mut client, mut backend) = warmed("");
        client.send(POST.replacen("POST", method, 1));
        let mut receiver = if backend_has_request(&mut backend) { backend } else { origin.accept() };
        if receiver.received.is_empty() {
            receiver.request();
        }
        drop(receiver);
        assert_eq!(client.response().status(), 502);
        origin.expect_no_connection();
    });
}

/// The request may come on the kept connection, which ronde has checked, or on a fresh one.
fn backend_has_request(backend: &mut Wire) -> bool {
    backend.received.clear();
    backend.set_timeout(crate::harness::SILENCE);
    let has = backend.try_request().is_ok();
    backend.set_timeout(crate::harness::TIMEOUT);
    has
}

#[test]
fn an_idempotent_request_goes_to_the_other_backend_when_a_fresh_connection_closes_without_a_response() {
    let closing = Backend::start(|wire, _| wire.finish());
    let good = Backend::named("good");
    let proxy = Proxy::start(&[closing.address, good.address]);
    for _ in 0..4 {
        assert_eq!(proxy.get("/").text(), "good");
    }
}

#[test]
fn after_a_timeout_nothing_is_sent_again() {
    ronde_only!();
    let (silent, other) = (Origin::start(), Backend::named("other"));
    let proxy = Proxy::with("--response-timeout 300ms", &[silent.address, other.address]);
    let mut client = proxy.connect();
    client.send(GET);
    let (_unanswered, _) = silent.request();
    assert_eq!(client.response().status(), 504);
    assert_eq!(other.count(), 0);
}

#[test]
fn after_the_first_byte_of_a_response_nothing_is_sent_again() {
    ronde_only!();
    let (half, other) = (Origin::start(), Backend::named("other"));
    each_row(&["H", "HTTP/1.1 200 OK\r\nContent-Le"], |part| {
        let proxy = Proxy::with("--max-fails 0", &[half.address, other.address]);
        let mut client = proxy.connect();
        client.send(GET);
        half.answer(part);
        assert_eq!(client.response().status(), 502);
        assert_eq!(other.count(), 0);
    });
}

#[test]
fn after_an_interim_response_nothing_is_sent_again() {
    ronde_only!();
    let (spoke, other) = (Origin::start(), Backend::named("other"));
    let proxy = Proxy::with("--max-fails 0", &[spoke.address, other.address]);
    let mut client = proxy.connect();
    client.send(GET);
    let (backend, _) = spoke.answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
    assert_eq!(client.response_head().status(), 103);
    drop(backend);
    assert_eq!(client.response().status(), 502);
    assert_eq!(other.count(), 0);
}

/// Nothing was sent, so a request of every method may go to the next backend, and to each at most once.
#[test]
fn after_a_refused_connect_every_method_goes_to_the_next_backend() {
    let down = [Origin::down(), Origin::down()];
    let up = Backend::named("up");
    let proxy = Proxy::start(&[down[0].address, down[1].address, up.address]);
    let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
    for request in [GET, POST, chunked, GET, POST, chunked] {
        assert_eq!(proxy.ask(request).text(), "up");
    }
    assert_eq!(up.count(), 6);
}

#[test]
fn a_backend_connection_with_close_is_not_reused() {
    let closes = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.1 200 OK\r\nconnection: foo, CLOSE\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ];
    each_row(&closes, |response| {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        let (mut backend, _) = origin.answer(response);
        assert_eq!(client.response().text(), "hi");
        backend.expect_end();
        client.send(GET);
        origin.answer(ok("fresh"));
        assert_eq!(client.response().text(), "fresh", "the client connection stays open");
    });
}

/// It may close while a request is on its way, and then nobody knows whether it was executed: 502. But the backend has only
/// closed an idle connection.
#[test]
fn a_kept_connection_that_ends_under_a_post_is_no_failure_of_its_backend() {
    ronde_only!();
    let (origin, proxy, mut client, mut backend) = warmed(&format!("{ADMIN} --max-fails 1"));
    client.send(POST);
    backend.request();
    drop(backend);
    assert_eq!(client.response().status(), 502);
    Admin::of(&proxy).assert_not_blamed(origin.address);
}

/// It is looked at when it is wanted, and not only when the sweep comes by, which is once a second.
#[test]
fn a_connection_that_was_idle_for_too_long_is_not_taken() {
    ronde_only!();
    let (origin, _proxy, mut client, mut backend) = warmed("--backend-keep-alive-timeout 100ms");
    thread::sleep(Duration::from_millis(150));
    client.send(GET);
    origin.answer(ok("fresh"));
    assert_eq!(client.response().text(), "fresh");
    backend.expect_eof();
}

#[test]
fn an_idle_backend_connection_is_closed_after_its_timeout() {
    let (origin, proxy, mut client, mut backend) = warmed("--backend-keep-alive-timeout 300ms");
    backend.expect_eof();
    client.send(GET);
    origin.answer(ok("fresh"));
    assert_eq!(client.response().text(), "fresh");
    drop(proxy);
}

#[test]
fn a_backend_connection_with_an_unfinished_response_is_not_reused() {
    let (origin, proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
    client.response_head();
    client.reset();
    backend.expect_end();
    let mut next = proxy.connect();
    next.send(GET);
    origin.answer(ok("fresh"));
    assert_eq!(next.response().text(), "fresh");
}

#[test]
fn after_a_fallback_the_round_continues_after_the_backend_that_responded() {
    let (down, second, third) = (Origin::down(), Backend::named("2"), Backend::named("3"));
    let proxy = Proxy::with("--max-fails 0", &[down.address, second.address, third.address]);
    let answers: Vec<_> = (0..6).map(|_| proxy.get("/").text()).collect();
    assert_eq!(answers, ["2", "3", "2", "3", "2", "3"]);
}

#[test]
fn a_post_is_executed_once_while_its_backend_restarts() {
    let mut backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for number in 0..20 {
        let response = client.ask(POST.replacen('/', &format!("/{number}"), 1));
        assert_eq!(response.status(), 200);
        if number % 5 == 0 {
            backend.go_down();
            backend.come_up();
        }
    }
    let executed: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    assert_eq!(backend.targets(), executed);
}
