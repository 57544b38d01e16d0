//! Late responses: only the waiter waits for them, and in every other respect they are like other responses.

use crate::harness::{
    Backend, GET, Gate, Origin, Proxy, Wire, each_row, eventually, ok, plain_only, ronde_only, setup,
};
use rustix::process::Signal;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// Longer than a worker waits for a response.
const LATE: Duration = Duration::from_millis(60);

/// A backend that responds when the gate opens.
fn gated() -> (Gate, Backend) {
    Backend::gated(|wire, request, gate| {
        gate.pass();
        wire.send(ok(request.target()));
    })
}

/// `count` clients whose requests have reached the backend.
fn askers(proxy: &Proxy, backend: &Backend, count: usize) -> Vec<Wire> {
    let mut askers: Vec<_> = (0..count).map(|_| proxy.connect()).collect();
    for (number, asker) in askers.iter_mut().enumerate() {
        asker.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
    }
    eventually("all are with the backend", || backend.count() == count);
    askers
}

fn assert_answered(askers: &mut [Wire]) {
    for (number, asker) in askers.iter_mut().enumerate() {
        assert_eq!(asker.response().text(), format!("/{number}"));
    }
}

#[test]
fn two_hundred_late_responses_need_no_thread_beyond_four_workers() {
    ronde_only!();
    let (gate, backend) = gated();
    let proxy = Proxy::with("--workers 4", &[backend.address]);
    let mut askers = askers(&proxy, &backend, 200);
    // The others are the acceptor, the waiter, the prompter and the like.
    assert!(proxy.status("Threads") < 4 + 10);
    gate.open();
    assert_answered(&mut askers);
    assert_answered_again(&proxy);
}

fn assert_answered_again(proxy: &Proxy) {
    (0..10).for_each(|_| assert_eq!(proxy.get("/again").text(), "/again"));
}

#[test]
fn at_the_limit_of_descriptors_further_requests_are_503_until_there_are_some() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let (gate, backend) = gated();
    // What ronde reserves, a pipe for each worker, and two for each of eight requests.
    let proxy = Proxy::with_descriptors(24 + 4 + 16, "--workers 2", &[backend.address]);
    let mut askers = askers(&proxy, &backend, 8);
    assert_eq!(proxy.get("/").status(), 503);
    gate.open();
    assert_answered(&mut askers);
    assert_answered_again(&proxy);
}

#[test]
fn late_responses_still_arrive_while_ronde_stops() {
    ronde_only!();
    let (gate, backend) = gated();
    let mut proxy = Proxy::with("--workers 4", &[backend.address]);
    let mut askers = askers(&proxy, &backend, 100);
    proxy.process.signal(Signal::TERM);
    eventually("nobody else is let in", || TcpStream::connect(proxy.address).is_err());
    gate.open();
    assert_answered(&mut askers);
    assert!(proxy.process.exit_within(Duration::from_secs(5)).success());
}

#[test]
fn late_responses_that_outlast_the_grace_are_503() {
    ronde_only!();
    let (_shut, backend) = gated();
    let mut proxy = Proxy::with("--workers 4 --shutdown-grace 300ms", &[backend.address]);
    let mut askers = askers(&proxy, &backend, 100);
    proxy.process.signal(Signal::TERM);
    for asker in &mut askers {
        assert_eq!(asker.response().status(), 503);
    }
    assert!(proxy.process.exit_within(Duration::from_secs(5)).success());
}

#[test]
fn late_responses_end_with_the_response_timeout() {
    ronde_only!();
    let rows = [300, 1500];
    each_row(&rows, |timeout| {
        let (_shut, backend) = gated();
        let proxy = Proxy::with(&format!("--response-timeout {timeout}ms"), &[backend.address]);
        let begun = Instant::now();
        assert_eq!(proxy.get("/").status(), 504);
        let (took, timeout) = (begun.elapsed(), Duration::from_millis(*timeout));
        assert!(timeout <= took && took < timeout + Duration::from_millis(400), "{took:?}");
    });
}

#[test]
fn the_backend_connection_closes_when_the_client_of_a_late_response_leaves() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("--workers 4");
    client.send(GET);
    let (mut late, _) = origin.request();
    client.reset();
    late.expect_end();
}

/// Its first request was answered, its second waits for a late response, and it has sent a third.
fn pipelined_behind_a_late_response(flags: &str) -> (Origin, Proxy, Wire, Wire) {
    let (origin, proxy, mut client) = setup(flags);
    client.send(GET);
    let (mut backend, _) = origin.request();
    backend.send(ok("first"));
    assert_eq!(client.response().text(), "first");
    client.send(GET);
    backend.request();
    thread::sleep(LATE);
    client.send(GET);
    thread::sleep(LATE);
    (origin, proxy, client, backend)
}

#[test]
fn what_is_pipelined_behind_a_late_response_is_answered_after_it() {
    ronde_only!();
    let (_origin, _proxy, mut client, mut backend) = pipelined_behind_a_late_response("--workers 2");
    backend.send(ok("second"));
    assert_eq!(client.response().text(), "second");
    backend.request();
    backend.send(ok("third"));
    assert_eq!(client.response().text(), "third");
    client.send(GET);
    backend.request();
    backend.send(ok("fourth"));
    assert_eq!(client.response().text(), "fourth");
}

#[test]
fn a_client_that_leaves_is_noticed_behind_what_it_has_pipelined() {
    ronde_only!();
    each_row(&["a FIN", "a reset"], |end| {
        let flags = "--workers 2 --half-close-timeout 150ms";
        let (_origin, _proxy, client, mut backend) = pipelined_behind_a_late_response(flags);
        let left = Instant::now();
        match *end {
            "a FIN" => client.finish(),
            _ => client.reset(),
        }
        backend.expect_end();
        assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
    });
}

#[test]
fn all_kinds_of_requests_and_responses_may_be_late() {
    let backend = Backend::start(|wire, request| {
        let answer = ok(&request.text());
        match request.target() {
            "/parts" => {
                let (first, second) = answer.split_at(20);
                wire.send(first);
                thread::sleep(LATE);
                wire.send(second);
            }
            "/hints" => {
                wire.send("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n");
                thread::sleep(LATE);
                wire.send(answer);
            }
            _ => {
                thread::sleep(LATE);
                wire.send(answer);
            }
        }
    });
    let proxy = Proxy::start(&[backend.address]);
    let large = "x".repeat(60_000);
    let with_body = |method: &str, body: &str| {
        format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
    };
    let rows = [
        (GET.to_owned(), ""),
        ("GET /parts HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), ""),
        (with_body("POST", "posted"), "posted"),
        (with_body("PUT", "put"), "put"),
        (with_body("PUT", &large), &large),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsent\r\n0\r\n\r\n"
                .to_owned(),
            "sent",
        ),
        (format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(10_000)), ""),
    ];
    let mut kept = proxy.connect();
    // In the second pass ronde knows that the backend is slow.
    for _ in 0..2 {
        for (request, body) in &rows {
            assert_eq!(kept.ask(request).text(), *body);
        }
        let hints = kept.ask("GET /hints HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!((hints.status(), hints.sole("link").as_str()), (103, "</a>"));
        assert_eq!(kept.response().status(), 200);
    }
    // Two pipelined requests.
    kept.send(format!("{}{}", with_body("POST", "one"), with_body("PUT", "two")));
    assert_eq!((kept.response().text(), kept.response().text()), ("one".to_owned(), "two".to_owned()));
}

#[test]
fn a_kept_connection_that_closes_before_its_late_response_is_retried_if_idempotent() {
    ronde_only!();
    let rows = [("GET", Some("again")), ("POST", None)];
    each_row(&rows, |(method, again)| {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        let (mut late, _) = origin.answer(ok("first"));
        assert_eq!(client.response().text(), "first");
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"));
        late.request();
        thread::sleep(LATE);
        drop(late);
        match again {
            Some(body) => {
                origin.answer(ok(body));
                assert_eq!(client.response().text(), *body);
            }
            None => assert_eq!(client.response().status(), 502),
        }
    });
}

/// A worker that waits for a late response in vain loses 10 ms. The prompt responses between the late ones once made it
/// wait for each late one again.
#[test]
fn prompt_responses_are_no_reason_to_wait_for_the_late_ones_between_them() {
    ronde_only!();
    const PAIRS: usize = 200;
    let (gate, backend) = Backend::gated(|wire, request, gate| {
        if request.target() == "/late" {
            gate.pass();
        }
        wire.send(ok(request.target()));
    });
    let proxy = Proxy::with("--workers 1 --explain", &[backend.address]);
    let mut prompt = proxy.connect();
    let mut ask = |_| {
        let mut late = proxy.connect();
        late.send("GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
        prompt.send("GET /prompt HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(prompt.response().text(), "/prompt");
        late
    };
    let mut late: Vec<_> = (0..PAIRS).map(&mut ask).collect();
    gate.open();
    assert!(late.iter_mut().all(|late| late.response().text() == "/late"));
    let explained = || proxy.process.stderr.all().join("\n");
    // All end within milliseconds, and a busy machine may not take all lines of the log.
    eventually("most are explained", || explained().matches("GET /late").count() >= PAIRS / 2);
    let waits_in_vain = explained().split("GET /").filter(|lines| waited(lines) > LATE / 12).count();
    assert!(waits_in_vain <= PAIRS / 20, "{waits_in_vain} of {PAIRS}, or of half as many");
}

/// How long a worker waited between sending a request and parking it.
fn waited(explanation: &str) -> Duration {
    let at = |step| {
        let line = explanation.lines().find(|line| line.contains(step))?;
        line.split_whitespace().next()?.parse().ok().map(|ms: f64| Duration::from_secs_f64(ms / 1000.0))
    };
    match (at("the request is sent"), at("parked")) {
        (Some(sent), Some(parked)) => parked.saturating_sub(sent),
        _ => Duration::ZERO,
    }
}
