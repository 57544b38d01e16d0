//! A thousand conversations that wait, and two workers: the others are served, no thread is added, hardly any time of a
//! processor is spent, and in the end all are whole.
//!
//! Not here: what holds a worker without waiting (`j_starvation`).

use crate::harness::{Backend, CHUNKED, Gate, PARKED, Proxy, Wire, eventually, within};
use crate::harness::{needs, ok, open_many_files, python, ronde_only};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

const THOUSAND: usize = 1000;

/// What a client that does not read is sent: more than the sockets on the way to it take.
const UNREAD: usize = 300_000;

/// More than the sockets take on the way to a client with a buffer of the usual size.
const LARGE: usize = 12 << 20;

/// What a reader has sent beyond its request, which ronde keeps for it. What it keeps of the response is up to the kernel:
/// a send that the socket does not take whole leaves anything from nothing to 64 KB, and mostly 2 KB.
const BEHIND: usize = 20_000;

const USED_UP: &str = "cause=\"the memory for slow clients is used up";

/// Answers `/` at once, and `/late` when the gate opens; `/events` sends one event at once, and the last one then.
fn gated() -> (Gate, Backend) {
    Backend::gated(|wire, request, gate| match request.target() {
        "/late" => {
            gate.pass();
            wire.send(ok("late"));
        }
        "/events" => {
            wire.send(format!("{CHUNKED}5\r\nfirst\r\n"));
            gate.pass();
            wire.send("4\r\nlast\r\n0\r\n\r\n");
        }
        "/upload" => wire.send(ok(&request.text())),
        "/" => wire.send(ok("fine")),
        unread => {
            let digit = unread.as_bytes()[unread.len() - 1];
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {UNREAD}\r\n\r\n"));
            wire.send(vec![digit; UNREAD]);
        }
    })
}

fn setup() -> (Gate, Backend, Proxy) {
    open_many_files();
    let (gate, backend) = gated();
    // On a busy machine a thousand at once may take longer to be accepted than the usual second.
    let proxy = Proxy::with("--workers 2 --queue-timeout 10s", &[backend.address]);
    (gate, backend, proxy)
}

fn thousand(proxy: &Proxy, request: &str) -> Vec<Wire> {
    let ask = |_| {
        let mut client = proxy.connect();
        client.send(request);
        client
    };
    (0..THOUSAND).map(ask).collect()
}

/// While the thousand wait.
fn assert_unburdened(proxy: &Proxy) {
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(proxy.get("/").text(), "fine");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    let threads = proxy.status("Threads");
    assert!(threads <= 2 + 10, "{threads} threads");
    let before = proxy.processor_time();
    thread::sleep(Duration::from_millis(300));
    let spent = proxy.processor_time() - before;
    assert!(spent <= Duration::from_millis(30), "{spent:?} of 300 ms");
}

#[test]
fn a_thousand_clients_wait_for_late_answers() {
    ronde_only!();
    let (gate, backend, proxy) = setup();
    let mut clients = thousand(&proxy, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("all are with the backend", || backend.count() == THOUSAND);
    assert_unburdened(&proxy);
    gate.open();
    for client in &mut clients {
        assert_eq!(client.response().text(), "late");
    }
}

#[test]
fn a_thousand_event_streams_are_idle() {
    ronde_only!();
    let (gate, _backend, proxy) = setup();
    let mut clients = thousand(&proxy, "GET /events HTTP/1.1\r\nHost: a\r\n\r\n");
    for client in &mut clients {
        assert_eq!((client.response_head().status(), client.chunk()), (200, b"first".to_vec()));
    }
    assert_unburdened(&proxy);
    gate.open();
    for client in &mut clients {
        assert_eq!((client.chunk(), client.chunk()), (b"last".to_vec(), Vec::new()));
    }
}

#[test]
fn a_thousand_uploads_pause() {
    ronde_only!();
    let (_gate, backend, proxy) = setup();
    let begun = "POST /upload HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\non";
    let mut clients = thousand(&proxy, begun);
    eventually("all are with the backend", || backend.connections() as usize == THOUSAND);
    assert_unburdened(&proxy);
    for client in &mut clients {
        client.send("ly.\r\n0\r\n\r\n");
    }
    for client in &mut clients {
        assert_eq!(client.response().text(), "only.");
    }
}

#[test]
fn a_thousand_clients_do_not_read() {
    ronde_only!();
    needs!(Python);
    let (_gate, backend, proxy) = setup();
    let gate = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let arguments = [proxy.plain.port().into(), gate.local_addr().expect("its address").port().into()];
    let arguments = [arguments[0], arguments[1], THOUSAND, UNREAD].map(|number: usize| number.to_string());
    let readers =
        python("tests/integration/clients/late_readers.py", &arguments.each_ref().map(String::as_str));
    let (waiting, _) = gate.accept().expect("all have asked");
    eventually("all are with the backend", || backend.count() == THOUSAND);
    let served = || proxy.process.stdout.all().len();
    assert_unburdened(&proxy);
    assert!(served() < THOUSAND / 2, "they are not parked: {} are served", served());
    drop(waiting);
    assert_eq!(readers.success(), "all have read");
}

/// Sends a large response as soon as it has the head of a request, and `fine` to a request for `/`.
fn generous() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    let body: Arc<[u8]> = vec![b'x'; LARGE].into();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let body = Arc::clone(&body);
            thread::spawn(move || {
                let mut wire = Wire::over(stream);
                if wire.request_head().target() == "/" {
                    return wire.send(ok("fine").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n"));
                }
                wire.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"));
                let _gives_way = wire.try_send(&body);
            });
        }
    });
    address
}

/// Clients that do not read are added until some have to give way: the next to time out, and so those that have not read
/// for the longest.
fn assert_slowest_give_way(request: impl Fn(usize) -> String) {
    // With equal timeouts the next to time out is the oldest, also while the newest still waits for its upload.
    let flags = "--workers 2 --parked-memory 1m --body-timeout 60s --idle-timeout 60s";
    let proxy = Proxy::with(flags, &[generous()]);
    let ended = || {
        let lines = proxy.process.stdout.all().into_iter().filter(|line| line.contains(USED_UP));
        let number =
            |line: String| line.split(['/', ' ']).find_map(|word| word.strip_prefix('n')?.parse().ok());
        lines.map(|line| number(line).expect("its number")).collect::<Vec<usize>>()
    };
    let mut clients = Vec::new();
    while ended().is_empty() {
        // Mostly 60; as many as this if the kernel leaves little of each response.
        assert!(clients.len() < 120, "all of them fit");
        let mut client = proxy.connect();
        client.send(request(clients.len()));
        client.response_head();
        clients.push(client);
        thread::sleep(PARKED / 4);
    }
    // Mostly 60. Over TLS 13, with 80 KB each: what is left of one read, and of two records that were made of it.
    assert!(clients.len() > (1 << 20) / (100 << 10), "{} do not fit", clients.len());
    for _ in 0..20 {
        assert_eq!(proxy.get("/").text(), "fine");
    }
    let ended = ended();
    assert!(ended.iter().all(|number| *number < clients.len() / 2), "{ended:?} of {}", clients.len());
    for number in &ended {
        assert!(clients[*number].rest().0.len() < LARGE);
    }
    // Those that are not next go on.
    for client in clients.iter_mut().rev().take(5) {
        client.discard(LARGE as u64);
    }
}

#[test]
fn past_the_memory_for_slow_clients_the_slowest_readers_give_way() {
    ronde_only!();
    // The head of its next request is not complete.
    let behind = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(BEHIND));
    assert_slowest_give_way(|number| format!("GET /n{number} HTTP/1.1\r\nHost: a\r\n\r\n{behind}"));
}

/// The cause is in the access line of some of forty clients that wait like this.
fn assert_some_give_way(part: &str) {
    let (_gate, backend) = gated();
    let proxy = Proxy::with("--workers 2 --parked-memory 1m", &[backend.address]);
    let mut clients: Vec<_> = (0..40).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.send(part);
        thread::sleep(PARKED / 8);
    }
    let lines = || proxy.process.stdout.all();
    let ended = || lines().iter().filter(|line| line.contains(USED_UP)).count();
    within(Duration::from_secs(2), "some give way", || ended() > 10);
    assert!(ended() < 35, "{} of 40", ended());
    let first = clients[0].response();
    assert_eq!(first.status(), 503, "{first}");
    assert_eq!(proxy.get("/").text(), "fine");
}

#[test]
fn past_the_memory_for_slow_clients_the_slowest_heads_give_way() {
    ronde_only!();
    assert_some_give_way(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}", "x".repeat(50_000)));
}

#[test]
fn past_the_memory_for_slow_clients_the_slowest_small_bodies_give_way() {
    ronde_only!();
    let body = "x".repeat(50_000);
    assert_some_give_way(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 60000\r\n\r\n{body}"));
}

/// Until there is a response, the head of the request is kept.
#[test]
fn past_the_memory_for_slow_clients_the_slowest_uploads_give_way() {
    ronde_only!();
    let x = "x".repeat(50_000);
    assert_some_give_way(&format!("POST / HTTP/1.1\r\nHost: a\r\nX: {x}\r\nContent-Length: 70000\r\n\r\nx"));
}

#[test]
fn past_the_memory_for_slow_clients_the_slowest_readers_give_way_though_their_upload_pauses() {
    ronde_only!();
    assert_slowest_give_way(|number| {
        format!("POST /n{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\n\r\nx")
    });
}
