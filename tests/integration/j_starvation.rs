//! Nothing can starve the fixed pool of workers: every way to hold a worker, at a size that runs in seconds.

use crate::harness::{
    Backend, End, GET, Origin, Proxy, SILENCE, TIMEOUT, Wire, eventually, ok, plain_only, ronde_only, within,
};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use std::io::Read;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// Responds to `/` at once, with 20 MB to `/big`, with one event and then silence to `/events`, with a tunnel to `/ws`,
/// and after half a second to `/slow`.
fn mixed_backend() -> Backend {
    Backend::start(|wire, request| match request.target() {
        "/big" => {
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 20 << 20));
            while wire.try_send(vec![b'x'; 1 << 16]).is_ok() {}
        }
        "/events" => {
            wire.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            );
            wire.send("9\r\ndata: 1\n\n\r\n");
            let _until_the_test_ends = wire.rest();
        }
        "/ws" => {
            wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
            let _until_the_test_ends = wire.rest();
        }
        "/slow" => {
            thread::sleep(Duration::from_millis(500));
            wire.send(ok("slow"));
        }
        _ => wire.send(ok("fine")),
    })
}

fn mixed_setup(flags: &str) -> (Backend, Proxy) {
    let backend = mixed_backend();
    let proxy = Proxy::with(flags, &[backend.address]);
    (backend, proxy)
}

/// New clients are served soon. The bound is generous for a busy machine; a starved client would wait for ever.
fn assert_prompt(proxy: &Proxy) {
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(proxy.get("/").text(), "fine");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
}

/// Opens `count` connections and prepares each the same way.
fn connect_many(count: usize, proxy: &Proxy, prepare: impl Fn(&mut Wire)) -> Vec<Wire> {
    let prepared = |_| {
        let mut wire = proxy.connect();
        prepare(&mut wire);
        wire
    };
    (0..count).map(prepared).collect()
}

/// Sends the part on every connection every 50 ms while `meanwhile` runs.
fn trickling(wires: &[Wire], part: &[u8], meanwhile: impl FnOnce()) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                for wire in wires {
                    let _cut_meanwhile = wire.twin().try_send(part);
                }
                thread::sleep(Duration::from_millis(50));
            }
        });
        let _stop = OnDrop(&over);
        meanwhile();
    });
}

struct OnDrop<'a>(&'a AtomicBool);

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn an_idle_client_does_not_hold_the_only_worker() {
    let (_backend, proxy) = mixed_setup("--workers 1");
    let mut idle = connect_many(3, &proxy, |wire| assert_eq!(wire.get("/").text(), "fine"));
    let _silent = connect_many(3, &proxy, |_| {});
    assert_prompt(&proxy);
    for wire in &mut idle {
        assert_eq!(wire.get("/").text(), "fine", "and is still served");
    }
}

#[test]
fn idle_and_silent_clients_hold_no_worker() {
    let (_backend, proxy) = mixed_setup("--workers 2");
    let mut idle = connect_many(100, &proxy, |wire| assert_eq!(wire.get("/").text(), "fine"));
    let _silent = connect_many(100, &proxy, |_| {});
    assert_prompt(&proxy);
    assert!(idle.iter_mut().all(|wire| wire.get("/").text() == "fine"));
}

#[test]
fn slow_heads_hold_no_worker_and_are_cut_off() {
    let (_backend, proxy) = mixed_setup("--workers 2 --head-timeout 2s");
    let mut slow = connect_many(100, &proxy, |wire| wire.send("GET / HTTP/1.1\r\nHost: a\r\nX: "));
    trickling(&slow.iter().map(Wire::twin).collect::<Vec<_>>(), b"x", || {
        assert_prompt(&proxy);
        for wire in &mut slow {
            assert_eq!(wire.response().status(), 408);
        }
    });
}

#[test]
fn slow_small_bodies_hold_no_worker() {
    let (_backend, proxy) = mixed_setup("--workers 2");
    let slow = connect_many(100, &proxy, |wire| {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000\r\n\r\nx")
    });
    trickling(&slow, b"x", || assert_prompt(&proxy));
}

#[test]
fn slow_uploads_do_not_starve_other_clients() {
    let (_backend, proxy) = mixed_setup("--workers 4");
    let long = connect_many(15, &proxy, |wire| {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\nx")
    });
    trickling(&long, b"x", || assert_prompt(&proxy));
    let chunked = connect_many(15, &proxy, |wire| {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    });
    trickling(&chunked, b"1\r\nx\r\n", || assert_prompt(&proxy));
}

/// The backend waits for the body, the client for a 100: the client holds the exchange up, not the backend.
#[test]
fn clients_that_wait_for_100_do_not_starve_other_clients() {
    let (_backend, proxy) = mixed_setup("--workers 4");
    let expecting = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let _waiting = connect_many(20, &proxy, |wire| wire.send(expecting));
    assert_prompt(&proxy);
    // The backends do not count as stuck either, because ronde waits for the client.
    let fine = || {
        Backend::start(|wire, request| {
            if request.method() == "GET" {
                wire.send(ok("fine"))
            }
        })
    };
    let (first, second) = (fine(), fine());
    let proxy = Proxy::with("--workers 4", &[first.address, second.address]);
    let _waiting = connect_many(20, &proxy, |wire| wire.send(expecting));
    assert_prompt(&proxy);
}

/// A client that never pauses, however fast it is, would otherwise keep its worker as long as it likes.
#[test]
fn downloads_without_a_pause_do_not_starve_other_clients() {
    let endless = Backend::start(|wire, request| match request.target() {
        "/endless" => {
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", 1u64 << 40));
            while wire.try_send([b'x'; 1 << 16]).is_ok() {}
        }
        _ => wire.send(ok("fine")),
    });
    let proxy = Proxy::with("--workers 2", &[endless.address]);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            let mut wire = proxy.connect();
            wire.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n");
            let is_over = &is_over;
            scope.spawn(move || {
                let mut room = vec![0; 1 << 18];
                while !is_over.load(Ordering::Relaxed)
                    && wire.stream().read(&mut room).is_ok_and(|count| count > 0)
                {}
            });
        }
        assert_prompt(&proxy);
        is_over.store(true, Ordering::Relaxed);
    });
}

#[test]
fn slow_readers_do_not_starve_other_clients() {
    let (_backend, proxy) = mixed_setup("--workers 4 --queue-timeout 10s");
    let mut readers = connect_many(30, &proxy, |wire| {
        set_socket_recv_buffer_size(wire.stream(), 4096).expect("SO_RCVBUF");
        wire.send("GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    });
    assert_prompt(&proxy);
    for wire in &mut readers {
        assert_eq!(wire.response_head().status(), 200);
    }
    assert_prompt(&proxy);
}

#[test]
fn tunnels_and_event_streams_do_not_starve_other_clients() {
    let (_backend, proxy) = mixed_setup("--workers 4");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let _tunnels = connect_many(30, &proxy, |wire| assert_eq!(wire.ask(upgrade).status(), 101));
    let _streams = connect_many(30, &proxy, |wire| {
        wire.send("GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
        wire.response_head();
        assert_eq!(wire.chunk(), b"data: 1\n\n");
    });
    assert_prompt(&proxy);
}

#[test]
fn events_arrive_as_they_are_sent() {
    let origin = Origin::start();
    let proxy = Proxy::with("--workers 2", &[origin.address]);
    let mut streams: Vec<_> = (0..20)
        .map(|_| {
            let mut client = proxy.connect();
            client.send(GET);
            let head =
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";
            let (backend, _) = origin.answer(head);
            client.response_head();
            (client, backend)
        })
        .collect();
    for round in 0..5 {
        for (client, backend) in &mut streams {
            let start = Instant::now();
            backend.send(format!("1\r\n{round}\r\n"));
            assert_eq!(client.chunk(), round.to_string().as_bytes());
            assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
        }
    }
}

#[test]
fn five_hundred_tunnels_need_no_thread_and_all_of_them_work() {
    ronde_only!();
    let backend = Backend::start(|wire, _| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
        let (mut source, mut sink) = (wire.stream(), wire.stream());
        let _until_it_ends = std::io::copy(&mut source, &mut sink);
    });
    let proxy = Proxy::with("--workers 4", &[backend.address]);
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let mut tunnels = connect_many(500, &proxy, |wire| assert_eq!(wire.ask(upgrade).status(), 101));
    assert!(proxy.status("Threads") <= 4 + 10, "{} threads", proxy.status("Threads"));
    tunnels.iter_mut().for_each(|tunnel| tunnel.send("word"));
    for tunnel in &mut tunnels {
        assert_eq!(tunnel.take(4), b"word");
    }
}

#[test]
fn a_hung_backend_holds_only_its_share_of_workers() {
    let (hung, good) = (Backend::start(|_, _| {}), Backend::named("fine"));
    let proxy = Proxy::with("--workers 8 --response-timeout 1s", &[hung.address, good.address]);
    let (failed, served) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while start.elapsed() < Duration::from_secs(6) {
                    let counted = start.elapsed() > Duration::from_secs(3);
                    let counter = if proxy.get("/").status() == 200 { &served } else { &failed };
                    counter.fetch_add(usize::from(counted), Ordering::Relaxed);
                }
            });
        }
    });
    let (failed, served) = (failed.into_inner(), served.into_inner());
    assert!(served > 100 && failed * 50 < served, "{failed} failed, {served} served after the first seconds");
}

/// Even with workers to spare, a hung backend must not catch all clients.
#[test]
fn a_hung_backend_catches_only_a_few_of_many_clients() {
    ronde_only!();
    let (hung, good) = (Backend::start(|_, _| {}), Backend::named("fine"));
    let proxy = Proxy::with("--response-timeout 1h", &[hung.address, good.address]);
    let mut clients: Vec<_> = (0..64).map(|_| proxy.connect()).collect();
    let (told, tell) = mpsc::channel();
    for client in &mut clients {
        let (mut client, told) = (client.twin(), told.clone());
        thread::spawn(move || {
            let served =
                (0..200).take_while(|_| client.try_send(GET).is_ok() && client.try_response().is_ok());
            let _test_is_over = told.send(served.count());
        });
    }
    // Each client that is not caught is served to the end.
    for served in tell.iter().take(16) {
        assert_eq!(served, 200);
    }
    assert!((8..=48).contains(&hung.count()), "{} are caught", hung.count());
}

/// With few clients, a hung backend must not catch every second request.
#[test]
fn a_hung_backend_is_found_by_a_few_requests() {
    ronde_only!();
    let (hung, good) = (Backend::start(|_, _| {}), Backend::named("fine"));
    let proxy = Proxy::with("--response-timeout 1h", &[hung.address, good.address]);
    let is_answered = || {
        let mut client = proxy.connect();
        client.set_timeout(Duration::from_millis(1500));
        client.send(GET);
        client.try_response().is_ok()
    };
    eventually("it is found out", || (0..6).all(|_| is_answered()));
    assert!(hung.count() <= 8, "{} visitors had no answer", hung.count());
}

#[test]
fn overload_is_refused_soon_and_leaves_no_trace() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let backend = mixed_backend();
    // Room for 30 clients and as many connections to the backend.
    let proxy = Proxy::with_descriptors(24 + 60, "--workers 2", &[backend.address]);
    let statuses: Vec<u16> = thread::scope(|scope| {
        let ask = || {
            let start = Instant::now();
            let response = proxy.get("/slow");
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
            assert!(response.status() == 200 || response.has("retry-after"), "{response}");
            response.status()
        };
        let clients: Vec<_> = (0..60).map(|_| scope.spawn(ask)).collect();
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let of = |status: u16| statuses.iter().filter(|this| **this == status).count();
    assert!(of(200) > 0 && of(503) > 0 && of(200) + of(503) == 60, "{statuses:?}");
    thread::sleep(Duration::from_secs(1));
    assert_prompt(&proxy);
}

#[test]
fn a_client_that_never_pauses_does_not_keep_its_worker() {
    let (_backend, proxy) = mixed_setup("--workers 1");
    let mut greedy = proxy.connect();
    let mut sender = greedy.twin();
    let pipelining = thread::spawn(move || while sender.try_send(GET.repeat(50)).is_ok() {});
    let reading = thread::spawn(move || while greedy.try_response().is_ok() {});
    assert_prompt(&proxy);
    drop(proxy);
    pipelining.join().unwrap();
    reading.join().unwrap();
}

#[test]
fn at_the_connection_limit_an_idle_client_is_closed() {
    ronde_only!();
    let (_backend, proxy) = mixed_setup("--max-connections 4");
    let mut idle = connect_many(4, &proxy, |wire| assert_eq!(wire.get("/").text(), "fine"));
    eventually("one is parked and can go", || proxy.get("/").text() == "fine");
    idle.iter().for_each(|wire| wire.set_timeout(SILENCE));
    let gone = idle.iter_mut().filter_map(|wire| (wire.rest().1 != End::Silence).then_some(())).count();
    assert_eq!(gone, 1);
}

#[test]
fn closed_connections_leave_no_descriptors_and_no_threads() {
    ronde_only!();
    let (_backend, proxy) = mixed_setup("--workers 8");
    let churn = || {
        for number in 0..500 {
            let mut wire = proxy.connect();
            match number % 4 {
                0 => assert_eq!(wire.get("/").text(), "fine"),
                1 => wire.send("GET / HT"),
                2 => assert_eq!(wire.ask("BROKEN\r\n\r\n").status(), 400),
                _ => {
                    wire.send(GET);
                    wire.reset();
                }
            }
        }
    };
    churn();
    let settled =
        |limit: usize| within(TIMEOUT * 2, "descriptors come free", || proxy.descriptors() <= limit);
    settled(60);
    let (descriptors, threads) = (proxy.descriptors(), proxy.status("Threads"));
    churn();
    settled(descriptors + 8);
    eventually("threads end", || proxy.status("Threads") <= threads + 8);
}

#[test]
fn without_descriptors_ronde_neither_dies_nor_spins_and_recovers() {
    ronde_only!();
    let backend = Backend::named("fine");
    let proxy = Proxy::with_descriptors(64, "--workers 4", &[backend.address]);
    let held = connect_many(100, &proxy, |_| {});
    let before = proxy.processor_time();
    thread::sleep(Duration::from_secs(1));
    let spent = proxy.processor_time() - before;
    assert!(spent < Duration::from_millis(300), "{spent:?} of a second");
    drop(held);
    within(TIMEOUT, "it serves again", || {
        let mut client = proxy.connect();
        client.send(GET);
        client.try_response().is_ok_and(|response| response.text() == "fine")
    });
    assert_prompt(&proxy);
}

#[test]
fn ronde_stops_within_the_grace_whatever_is_in_flight() {
    ronde_only!();
    let (_backend, mut proxy) = mixed_setup("--workers 4 --shutdown-grace 1s");
    let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let mut all = connect_many(5, &proxy, |wire| assert_eq!(wire.get("/").text(), "fine"));
    all.extend(connect_many(5, &proxy, |_| {}));
    all.extend(connect_many(5, &proxy, |wire| wire.send("GET / HT")));
    all.extend(connect_many(5, &proxy, |wire| {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nx")
    }));
    all.extend(connect_many(5, &proxy, |wire| {
        wire.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\nx")
    }));
    all.extend(connect_many(5, &proxy, |wire| assert_eq!(wire.ask(upgrade).status(), 101)));
    for target in ["/events", "/big"] {
        all.extend(connect_many(5, &proxy, |wire| {
            wire.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
            wire.response_head();
        }));
    }
    let start = Instant::now();
    proxy.process.signal(rustix::process::Signal::TERM);
    assert_eq!(proxy.process.exit().code(), Some(0));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    for wire in &mut all {
        assert_ne!(wire.rest().1, End::Silence);
    }
}
