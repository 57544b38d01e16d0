//! The round is fair and heals itself: no client notices a backend that is down.

use crate::harness::{
    Backend, End, GET, Origin, Port, Proxy, Ronde, TIMEOUT, Wire, eventually, ok, ronde_only, within,
};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn three() -> [Backend; 3] {
    ["1", "2", "3"].map(Backend::named)
}

fn counts(backends: &[Backend]) -> Vec<usize> {
    backends.iter().map(Backend::count).collect()
}

#[test]
fn the_share_of_a_dead_backend_is_spread_evenly() {
    let mut backends = three();
    let proxy = Proxy::start(&backends.each_ref().map(|backend| backend.address));
    backends[0].go_down();
    for _ in 0..60 {
        assert_eq!(proxy.get("/").status(), 200);
    }
    let counts = counts(&backends);
    assert!(
        counts[1].abs_diff(counts[2]) <= 2,
        "{counts:?}: the next backend must not inherit the whole share of the dead one"
    );
}

#[test]
fn under_concurrency_counts_differ_by_at_most_the_requests_in_flight() {
    let backends = three();
    let proxy = Proxy::start(&backends.each_ref().map(|backend| backend.address));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                for _ in 0..60 {
                    assert_eq!(client.get("/").status(), 200);
                }
            });
        }
    });
    let counts = counts(&backends);
    let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
    assert!(counts.iter().sum::<usize>() == 480 && most - least <= 8, "{counts:?}");
}

#[test]
fn a_backend_that_is_back_takes_its_turns_again_soon() {
    let (mut first, second) = (Backend::named("1"), Backend::named("2"));
    let proxy = Proxy::start(&[first.address, second.address]);
    for _ in 0..5 {
        first.go_down();
        for _ in 0..10 {
            assert_eq!(proxy.get("/").text(), "2");
        }
        first.come_up();
        within(Duration::from_secs(3), "the first backend takes its turns again", || {
            proxy.get("/").text() == "1"
        });
    }
    let answers = [proxy.get("/").text(), proxy.get("/").text()];
    assert_ne!(answers[0], answers[1], "backends take strict turns again");
}

#[test]
fn gets_never_fail_while_backends_are_killed_and_restarted() {
    let mut backends = three();
    let proxy = Proxy::start(&backends.each_ref().map(|backend| backend.address));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = proxy.connect();
                    let mut failed = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let response = client.get("/");
                        if response.status() != 200 {
                            failed.push(response.to_string());
                        }
                    }
                    failed
                })
            })
            .collect();
        for number in 0..6 {
            thread::sleep(Duration::from_millis(200));
            backends[number % 3].go_down();
            thread::sleep(Duration::from_millis(200));
            backends[number % 3].come_up();
        }
        over.store(true, Ordering::Relaxed);
        let failed: Vec<_> = clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
        assert!(failed.is_empty(), "{} failed, as {:?}", failed.len(), failed.first());
    });
}

#[test]
fn when_all_backends_are_out_they_are_tried_anyway() {
    let mut backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    backend.go_down();
    for _ in 0..10 {
        assert!([502, 503].contains(&proxy.get("/").status()));
    }
    backend.come_up();
    assert_eq!(proxy.get("/").text(), "b", "at once, not after a pause");
}

#[test]
fn an_error_response_does_not_take_its_backend_out() {
    let failing = Backend::start(|wire, _| wire.send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"));
    let good = Backend::named("good");
    let proxy = Proxy::start(&[failing.address, good.address]);
    for _ in 0..20 {
        proxy.get("/");
    }
    assert_eq!((failing.count(), good.count()), (10, 10));
}

#[test]
fn clients_that_go_away_do_not_take_a_backend_out() {
    let (origin, good) = (Origin::start(), Backend::named("good"));
    let proxy = Proxy::start(&[origin.address, good.address]);
    for _ in 0..5 {
        let mut client = proxy.connect();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\nhello");
        let mut backend = origin.accept();
        backend.request_head();
        client.reset();
        assert_ne!(backend.rest().1, End::Silence);
        assert_eq!(proxy.get("/").text(), "good", "it is the good backend's turn");
    }
}

#[test]
fn a_backend_whose_responses_time_out_leaves_the_round() {
    ronde_only!();
    let (hung, good) = (Backend::start(|_, _| {}), Backend::named("good"));
    let flags = "--max-fails 2 --fail-timeout 30s --response-timeout 300ms";
    let proxy = Proxy::with(flags, &[hung.address, good.address]);
    let failed = (0..20).filter(|_| proxy.get("/").status() != 200).count();
    assert_eq!((failed, hung.count()), (2, 2));
}

#[test]
fn a_backend_that_is_out_gets_one_trial_and_comes_back() {
    ronde_only!();
    let broken = Arc::new(AtomicBool::new(true));
    let first = Backend::start({
        let broken = Arc::clone(&broken);
        move |wire, _| {
            wire.send(if broken.load(Ordering::Relaxed) { "garbage\r\n\r\n".to_owned() } else { ok("1") })
        }
    });
    let second = Backend::named("2");
    let proxy = Proxy::with("--max-fails 1 --fail-timeout 500ms", &[first.address, second.address]);
    eventually("the first backend fails once", || proxy.get("/").status() == 502);
    for _ in 0..5 {
        assert_eq!(proxy.get("/").text(), "2");
    }
    broken.store(false, Ordering::Relaxed);
    eventually("the first backend is tried and is back", || proxy.get("/").text() == "1");
    let answers = [proxy.get("/").text(), proxy.get("/").text()];
    assert_ne!(answers[0], answers[1], "backends take strict turns again");
}

#[test]
fn a_change_of_a_backends_state_is_a_line_in_the_log() {
    ronde_only!();
    let (mut first, second) = (Backend::named("1"), Backend::named("2"));
    let proxy = Proxy::start(&[first.address, second.address]);
    let address = first.address.to_string();
    let lines = || proxy.process.stderr.all().iter().filter(|line| line.contains(&address)).count();
    let before = lines();
    first.go_down();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "2");
    }
    eventually("a line says that it is out", || lines() == before + 1);
    first.come_up();
    eventually("a line says that it is back", || lines() == before + 2);
}

#[test]
fn the_access_line_names_the_backend_that_responded_and_the_one_tried_before() {
    ronde_only!();
    let (down, up) = (Origin::down(), Backend::named("up"));
    let proxy = Proxy::with("--access-log plain --max-fails 0", &[down.address, up.address]);
    assert_eq!(proxy.get("/tried").text(), "up");
    let line = proxy.process.stdout.line_with("/tried");
    assert!(line.contains(&up.address.to_string()) && line.contains(&down.address.to_string()), "{line}");
}

#[test]
fn active_checks_decide_which_backends_are_in_the_round() {
    ronde_only!();
    let well = Arc::new(AtomicBool::new(false));
    let first = Backend::start({
        let well = Arc::clone(&well);
        move |wire, request| match request.target() {
            "/up" if !well.load(Ordering::Relaxed) => {
                wire.send("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n")
            }
            _ => wire.send(ok("1")),
        }
    });
    let second = Backend::named("2");
    let flags = "--health-path /up --health-interval 200ms --health-rise 1 --health-fall 1";
    let proxy = Proxy::with(flags, &[first.address, second.address]);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "2", "the first check comes before the first request");
    }
    well.store(true, Ordering::Relaxed);
    eventually("the first backend is in the round", || proxy.get("/").text() == "1");
    well.store(false, Ordering::Relaxed);
    eventually("the first backend is out again", || (0..4).all(|_| proxy.get("/").text() == "2"));
}

#[test]
fn a_name_that_does_not_resolve_harms_no_other_backend() {
    ronde_only!();
    let good = Backend::named("good");
    let flags = format!("--listen 127.0.0.1:0 no-such-name.invalid:80 {}", good.address);
    let proxy = Ronde::with(&flags).serve();
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "good");
    }
}

#[test]
fn a_name_that_resolves_is_a_backend() {
    ronde_only!();
    let backend = Backend::named("b");
    let port = backend.address.port();
    let proxy = Ronde::with(&format!("--listen 127.0.0.1:0 localhost:{port}")).serve();
    within(TIMEOUT, "the name is resolved", || proxy.get("/").text() == "b");
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "b");
    }
}

/// A listener whose queue is full drops every SYN, like an address that has vanished.
#[test]
fn a_backend_that_drops_syns_is_passed_over_soon() {
    let port = Port::reserve();
    let _listener = port.listen(0);
    let _filling = TcpStream::connect(port.address).expect("the only slot of the queue");
    let good = Backend::named("good");
    let proxy = Proxy::with("--connect-timeout 3s", &[port.address, good.address]);
    for _ in 0..4 {
        let start = Instant::now();
        assert_eq!(proxy.get("/").text(), "good");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

#[test]
fn an_only_backend_that_drops_syns_is_504_within_the_connect_timeout() {
    let port = Port::reserve();
    let _listener = port.listen(0);
    let _filling = TcpStream::connect(port.address).expect("the only slot of the queue");
    let proxy = Proxy::with("--connect-timeout 500ms", &[port.address]);
    let start = Instant::now();
    let mut client: Wire = proxy.connect();
    assert_eq!(client.ask(GET).status(), 504);
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

/// A check took all that had come before it looked at the time, and so each held a worker for as long as its backend sent.
#[test]
fn a_check_that_interim_responses_keep_busy_held_a_worker() {
    ronde_only!();
    let backend = Backend::start(|wire, request| match request.target() {
        "/health" => {
            let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(10_000);
            while wire.try_send(&flood).is_ok() {}
        }
        _ => wire.send(ok("fine")),
    });
    let flags = "--workers 2 --health-path /health --health-interval 300ms --health-timeout 300ms";
    let proxy = Proxy::with(flags, &[backend.address]);
    proxy
        .process
        .stderr
        .line_with("does not pass its first health check: the backend did not answer in time");
    let (mut client, start) = (proxy.connect(), Instant::now());
    while start.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.get("/").text(), "fine");
        thread::sleep(Duration::from_millis(10));
    }
}
