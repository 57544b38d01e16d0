//! Regressions that attacks on the pool found. Each test is named by what went wrong.

use crate::harness::{
    Backend, CHUNKED, GET, PARKED, Proxy, Ronde, Thread, Wire, each_row, eventually, ok, plain_only,
    ronde_only,
};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use rustix::process::Signal;
use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// The pause of a trickling sender between two sends: shorter than any silence that ronde reacts to.
const PAUSE: Duration = Duration::from_millis(2);

const UPLOAD: &str = "POST /echo HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
const CHUNK: &str = "1\r\nx\r\n";

/// Sends the part again and again until the connection ends.
fn trickle(wire: &mut Wire, part: &str, pause: Duration) {
    while wire.try_send(part).is_ok() {
        thread::sleep(pause);
    }
}

/// Never silent for long: `/events` sends every 100 ms, `/trickle` and, within its head, `/head` every [`PAUSE`],
/// `/endless` without a pause, and `/ws` is a tunnel that trickles. `/` responds at once.
fn restless() -> Backend {
    Backend::start(|wire, request| {
        let (beginning, part, pause) = match request.target() {
            "/events" => (
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
                CHUNK.to_owned(),
                Duration::from_millis(100),
            ),
            "/trickle" => (CHUNKED, CHUNK.to_owned(), PAUSE),
            "/head" => ("HTTP/1.1 200 OK\r\nA: ", "x".to_owned(), PAUSE),
            "/endless" => (
                "HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n",
                "x".repeat(1 << 16),
                Duration::ZERO,
            ),
            "/ws" => (
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
                "x".to_owned(),
                PAUSE,
            ),
            _ => return wire.send(ok("fine")),
        };
        wire.send(beginning);
        trickle(wire, &part, pause);
    })
}

/// Responds to a POST after its head, and sends every byte of its body back as it comes. A GET gets `fine`.
fn echo() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut wire = Wire::over(stream);
                if wire.request_head().method() == "GET" {
                    return wire.send(ok("fine").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
                }
                wire.send(CHUNKED);
                let (mut source, mut sink) = (wire.stream(), wire.stream());
                let _until_either_ends = std::io::copy(&mut source, &mut sink);
            });
        }
    });
    address
}

/// Reads and discards until the connection ends.
fn drain(wire: &Wire) {
    let mut room = vec![0; 1 << 16];
    let mut stream = wire.stream();
    while stream.read(&mut room).is_ok_and(|count| count > 0) {}
}

/// Keeps a client busy on two threads: one reads all the time, the other sends the part all the time, if there is one.
fn keep_busy(client: Wire, sends: Option<&'static str>) {
    let mut sender = client.twin();
    thread::spawn(move || sends.map(|part| trickle(&mut sender, part, PAUSE)));
    thread::spawn(move || drain(&client));
}

/// New clients are served soon. Where all workers are held it would take the whole `--queue-timeout`, or for ever.
fn assert_served(proxy: &Proxy) {
    for _ in 0..20 {
        let start = Instant::now();
        assert_eq!(proxy.get("/").text(), "fine");
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    }
}

#[test]
fn a_stop_never_came_while_bytes_kept_moving() {
    ronde_only!();
    each_row(
        &[
            ("GET /events HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", Some("y")),
            (UPLOAD, Some(CHUNK)),
            ("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n", None),
            ("GET /head HTTP/1.1\r\nHost: a\r\n\r\n", None),
        ],
        |(request, sends)| {
            let backend = restless();
            let mut proxy = Proxy::with("--workers 4 --shutdown-grace 500ms", &[backend.address]);
            let mut client = proxy.connect();
            client.send(request);
            keep_busy(client, *sends);
            eventually("it is under way", || backend.connections() == 1);
            let start = Instant::now();
            proxy.process.signal(Signal::TERM);
            assert_eq!(proxy.process.exit().code(), Some(0));
            assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
        },
    );
}

#[test]
fn uploads_and_responses_that_trickled_without_a_pause_held_every_worker() {
    each_row(
        &[(UPLOAD, Some(CHUNK)), ("GET /trickle HTTP/1.1\r\nHost: a\r\n\r\n", None)],
        |(request, sends)| {
            let backend = restless();
            let proxy = Proxy::with("--workers 2 --queue-timeout 10s", &[backend.address]);
            for _ in 0..4 {
                let mut client = proxy.connect();
                client.send(request);
                keep_busy(client, *sends);
            }
            assert_served(&proxy);
        },
    );
}

#[test]
fn uploads_that_were_answered_early_held_every_worker() {
    let proxy = Proxy::with("--workers 2 --queue-timeout 10s", &[echo()]);
    // The last two get no worker while the first two hold both.
    let clients: [Wire; 4] = std::array::from_fn(|_| {
        let mut client = proxy.connect();
        client.send(UPLOAD);
        client
    });
    for mut client in clients {
        let mut sender = client.twin();
        thread::spawn(move || trickle(&mut sender, CHUNK, PAUSE));
        let start = Instant::now();
        assert_eq!(client.response_head().status(), 200);
        // ronde may merge two chunks that arrive together.
        assert!(client.chunk().starts_with(b"x"), "it comes back before the upload ends");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        thread::spawn(move || drain(&client));
    }
    assert_served(&proxy);
}

#[test]
fn unread_interim_responses_held_every_worker() {
    let backend = Backend::start(|wire, request| match request.target() {
        "/" => wire.send(ok("fine")),
        _ => {
            let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(60_000));
            let _cut_when_the_test_ends =
                wire.try_send(hint.repeat(20)).and_then(|()| wire.try_send(ok("late")));
        }
    });
    let proxy = Proxy::with("--workers 2 --queue-timeout 10s", &[backend.address]);
    // Each client pipelines more than all sockets on the way can buffer, and reads nothing.
    let _unread: [Wire; 4] = std::array::from_fn(|_| {
        let mut client = proxy.connect();
        set_socket_recv_buffer_size(client.stream(), 4096).expect("SO_RCVBUF");
        client.send("GET /hinted HTTP/1.1\r\nHost: a\r\n\r\n".repeat(30));
        client
    });
    eventually("all are under way", || backend.connections() >= 4);
    assert_served(&proxy);
}

#[test]
fn clients_beyond_the_descriptors_got_no_answer() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let hung = silent();
    // Room for 24 clients and 8 connections to the backend. A refused client leaves room for another, but only once
    // ronde has closed its connection: how many of the rest are refused depends on how fast they leave.
    let proxy = Proxy::with_descriptors(24 + 32, "--workers 4 --response-timeout 1h", &[hung.address]);
    let (told, tell) = mpsc::channel();
    for _ in 0..24 {
        let (mut client, told) = (proxy.connect(), told.clone());
        client.send(GET);
        thread::spawn(move || {
            if let Ok(response) = client.try_response() {
                let _test_is_over = told.send(response.status());
            }
        });
    }
    let mut statuses: Vec<_> = tell.iter().take(8).collect();
    eventually("the others are with the backend or refused, too", || {
        statuses.extend(tell.try_iter());
        statuses.len() + hung.count() == 24
    });
    assert!(hung.count() >= 8, "{}", hung.count());
    assert!(statuses.iter().all(|status| *status == 503), "{statuses:?}");
}

fn silent() -> Backend {
    Backend::start(|_, _| {})
}

/// How often the workers have gone to sleep so far.
fn sleeps_of_workers(proxy: &Proxy) -> u64 {
    let sleeps_of = |worker: &Thread| {
        let status = worker.proc_file("status")?;
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:\t")?.parse::<u64>().ok())
    };
    let threads = proxy.process.threads();
    threads.iter().filter(|thread| thread.name.starts_with("worker")).filter_map(sleeps_of).sum()
}

/// A worker that waits for a client itself left it in the epoll, where each of its requests woke an idle worker as well. A
/// worker sleeps twice a request: until it comes, and until its answer comes.
#[test]
fn each_request_of_a_lone_client_woke_two_workers() {
    ronde_only!();
    let backend = Backend::named("fine");
    let proxy = Proxy::with("--workers 4", &[backend.address]);
    let mut client = proxy.connect();
    assert_eq!(client.ask(GET).text(), "fine");
    thread::sleep(PARKED);
    let before = sleeps_of_workers(&proxy);
    for _ in 0..500 {
        assert_eq!(client.ask(GET).text(), "fine");
    }
    let sleeps = sleeps_of_workers(&proxy) - before;
    assert!(sleeps < 500 * 5 / 2, "{sleeps} sleeps in 500 requests");
}

/// A hung backend catches only its share of the requests; then the round passes it over.
#[test]
fn two_hung_backends_of_three_held_every_worker() {
    ronde_only!();
    let (hung, good) = ([silent(), silent()], Backend::named("fine"));
    let flags = "--workers 4 --response-timeout 1h --max-fails 0";
    let proxy = Proxy::with(flags, &[hung[0].address, good.address, hung[1].address]);
    let mut asking: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    asking.iter_mut().for_each(|client| client.send(GET));
    let caught = || hung.each_ref().map(Backend::count);
    eventually("each is answered or caught", || good.count() + caught().iter().sum::<usize>() == 40);
    eventually("ronde has the answers", || proxy.process.stdout.all().len() == good.count());
    // All requests came before any response could show which backends hang. Even so, a hung backend catches no more
    // than its turns, which are 13 or 14 of 40.
    let before = caught();
    assert!(before.iter().all(|caught| (3..=14).contains(caught)), "{before:?}");
    assert_served(&proxy);
    assert_eq!(caught(), before);
}

#[test]
fn long_polls_on_several_backends_held_every_worker() {
    ronde_only!();
    let backend = || {
        Backend::start(|wire, request| match request.target() {
            "/poll" => drop(wire.rest()),
            _ => wire.send(ok("fine")),
        })
    };
    let backends = [backend(), backend()];
    let proxy = Proxy::with("--workers 4", &backends.each_ref().map(|backend| backend.address));
    let mut polls: Vec<_> = (0..100).map(|_| proxy.connect()).collect();
    polls.iter_mut().for_each(|poll| poll.send("GET /poll HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_served(&proxy);
    eventually("all polls are with the backends", || {
        backends.iter().map(Backend::count).sum::<usize>() == 120
    });
}

#[test]
fn silent_backends_delayed_the_start_one_after_the_other() {
    ronde_only!();
    let silent: [_; 8] = std::array::from_fn(|_| silent());
    let start = Instant::now();
    let flags = "--health-path /up --health-interval 1s";
    let _proxy = Proxy::with(flags, &silent.each_ref().map(|backend| backend.address));
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn a_signal_during_the_start_killed_ronde() {
    ronde_only!();
    let silent = silent();
    let flags = format!("--listen 127.0.0.1:0 --health-path /up --health-interval 2s {}", silent.address);
    let mut process = Ronde::with(&flags).spawn();
    eventually("it is being checked", || silent.count() == 1);
    process.signal(Signal::TERM);
    assert_eq!(process.exit().code(), Some(0));
}
