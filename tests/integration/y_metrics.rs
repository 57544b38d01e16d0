//! `GET /metrics`: what it says agrees with what happened, and Prometheus reads it.
//!
//! Not here: who may ask the admin listener (`x_admin`), the text of each line (`observe::metrics::text`).

#[cfg(feature = "tls")]
use crate::harness::tls::{self, Secured};
use crate::harness::{
    Backend, Message, Origin, Process, Proxy, Ronde, TIMEOUT, Wire, eventually, free_address, needs, ok,
    open_many_files, ronde_only, scratch_directory, within,
};
use rustix::process::Signal;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// The samples of one scrape.
#[derive(Debug)]
struct Scrape(HashMap<String, f64>);

impl Scrape {
    fn of(admin: SocketAddr) -> Scrape {
        let text = text_of(admin);
        let samples = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("a value");
            (name.to_owned(), value.parse().expect("a number"))
        });
        let count = text.lines().filter(|line| !line.starts_with('#')).count();
        let samples = Scrape(samples.collect());
        assert_eq!(samples.0.len(), count, "each sample is there once:\n{text}");
        samples
    }

    /// The value of a sample; 0 if it is not there yet.
    fn get(&self, name: &str) -> f64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Of all samples of one metric that have these labels.
    fn sum(&self, metric: &str, labels: &str) -> f64 {
        let of_it = |name: &str| name.strip_prefix(metric).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let samples = self.0.iter().filter(|(name, _)| of_it(name) && name.contains(labels));
        samples.map(|(_, value)| value).sum()
    }

    fn requests(&self, route: &str, status: &str, cause: &str) -> f64 {
        self.get(&format!(r#"ronde_requests_total{{route="{route}",status="{status}",cause="{cause}"}}"#))
    }
}

fn text_of(admin: SocketAddr) -> String {
    let request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let response = Wire::connect_plain(admin).ask(request);
    assert_eq!(response.status(), 200);
    assert_eq!(response.sole("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    response.text()
}

/// A ronde that is watched, and where.
fn watched(flags: &str) -> (Proxy, SocketAddr) {
    watched_by(Ronde::with(&format!("--listen 127.0.0.1:0 --admin 127.0.0.1:0 {flags}")))
}

fn watched_by(ronde: Ronde) -> (Proxy, SocketAddr) {
    let proxy = ronde.serve();
    let line = proxy.process.stderr.line_with("; admin on ");
    let (_, admin) = line.split_once("; admin on ").expect("its admin listener");
    let admin = admin.split([';', ' ']).next().and_then(|address| address.parse().ok());
    (proxy, admin.expect("its address"))
}

/// Sends these bytes and reads to the end; returns how many came.
fn exchange(address: SocketAddr, bytes: &[u8]) -> usize {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
    stream.write_all(bytes).expect("a request sent");
    stream.shutdown(Shutdown::Write).expect("a half-close");
    let mut response = Vec::new();
    stream.read_to_end(&mut response).expect("a response");
    response.len()
}

fn get(target: &str, host: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes()
}

/// Answers with the status that the last part of the path is, and with a body of so many bytes as its query says.
fn by_path() -> Backend {
    Backend::start(|wire, request| {
        let target = request.target();
        let (path, length) = target.split_once('?').unwrap_or((target, "0"));
        let length: usize = length.parse().unwrap_or_default();
        match path.rsplit('/').next().and_then(|last| last.parse::<u16>().ok()) {
            Some(status) => {
                wire.send(format!("HTTP/1.1 {status} As Asked\r\nContent-Length: {length}\r\n\r\n"));
                wire.send(vec![b'x'; length]);
            }
            None => wire.send("no HTTP\r\n\r\n"),
        }
    })
}

#[test]
fn requests_are_counted_by_route_status_and_cause() {
    ronde_only!();
    let backend = by_path();
    let nobody = free_address();
    let (proxy, admin) = watched(&format!(
        "--route a.example/api={} --route /dead={nobody} {}",
        backend.address, backend.address
    ));
    let (mut sent, mut received) = (0, 0);
    let mut ask = |bytes: &[u8]| {
        sent += bytes.len();
        received += exchange(proxy.plain, bytes);
    };
    for (target, host, times) in [
        ("/200", "b", 5),
        ("/404", "b", 3),
        ("/api/301", "a.example", 2),
        ("/api/503", "a.example", 1),
        ("/dead/x", "b", 4),
        ("/garbage", "b", 2),
    ] {
        (0..times).for_each(|_| ask(&get(target, host)));
    }
    ask(b"GET / HTTP/1.1\r\n\r\n");
    ask(b"NO\x01HTTP\r\n\r\n");
    let mut scrape = Scrape::of(admin);
    eventually("all are counted", || {
        scrape = Scrape::of(admin);
        scrape.sum("ronde_requests_total", "") == 19.0
    });
    for (route, status, cause, count) in [
        ("default", "2xx", "", 5.0),
        ("default", "4xx", "", 3.0),
        ("a.example/api", "3xx", "", 2.0),
        ("a.example/api", "5xx", "", 1.0),
        ("a.example/api", "2xx", "", 0.0),
        ("/dead", "5xx", "refused", 4.0),
        ("default", "5xx", "response_malformed", 2.0),
        ("none", "4xx", "host_missing", 1.0),
        ("none", "4xx", "malformed_request_line", 1.0),
    ] {
        assert_eq!(scrape.requests(route, status, cause), count, "{route} {status} {cause}: {scrape:?}");
    }
    for (route, all, answered) in
        [("default", 10.0, 8.0), ("a.example/api", 3.0, 3.0), ("/dead", 4.0, 0.0), ("none", 2.0, 0.0)]
    {
        let count = |part| {
            let infinite = format!(r#"ronde_request_{part}_seconds_bucket{{route="{route}",le="+Inf"}}"#);
            let count = scrape.get(&format!(r#"ronde_request_{part}_seconds_count{{route="{route}"}}"#));
            assert_eq!(scrape.get(&infinite), count, "{route} {part}");
            count
        };
        assert_eq!((count("duration"), count("first_byte")), (all, answered), "{route}");
        assert_eq!(count("queue"), all, "{route}: each connection was new");
    }
    assert_eq!(scrape.get("ronde_client_received_bytes_total"), sent as f64);
    assert_eq!(scrape.get("ronde_client_sent_bytes_total"), received as f64);
}

#[test]
fn bytes_are_counted_however_they_pass() {
    ronde_only!();
    const LONG: usize = 3 << 20;
    let backend = by_path();
    let (proxy, admin) = watched(&backend.address.to_string());
    let request = get(&format!("/200?{LONG}"), "a");
    // Long enough for splice(2).
    let received = exchange(proxy.plain, &request);
    assert!(received > LONG);
    // An upload that streams.
    let upload = [
        format!("POST /200 HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {LONG}\r\n\r\n")
            .as_bytes(),
        &vec![b'y'; LONG],
    ]
    .concat();
    let answered = exchange(proxy.plain, &upload);
    eventually("all bytes are counted", || {
        let scrape = Scrape::of(admin);
        let counted = ["received", "sent"].map(|way| scrape.get(&format!("ronde_client_{way}_bytes_total")));
        counted == [(request.len() + upload.len()) as f64, (received + answered) as f64]
    });
}

#[test]
fn bytes_to_a_client_that_is_refused_are_counted() {
    ronde_only!();
    let origin = Origin::start();
    let (proxy, admin) = watched(&format!("--max-connections 1 {}", origin.address));
    let mut busy = Wire::connect_plain(proxy.plain);
    busy.send(get("/", "a"));
    let _asked = origin.request();
    let (answer, _) = Wire::connect_plain(proxy.plain).rest();
    assert!(answer.starts_with(b"HTTP/1.1 503 "), "{}", String::from_utf8_lossy(&answer));
    eventually("they are counted", || {
        Scrape::of(admin).get("ronde_client_sent_bytes_total") == answer.len() as f64
    });
}

#[test]
fn a_tunnel_counts_its_bytes_while_it_is_open() {
    ronde_only!();
    let origin = Origin::start();
    let (proxy, admin) = watched(&origin.address.to_string());
    let mut client = Wire::connect_plain(proxy.plain);
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n";
    client.send(upgrade);
    let (mut backend, _) =
        origin.answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    client.response_to("GET");
    client.send(vec![b'a'; 70_000]);
    assert_eq!(backend.take(70_000).len(), 70_000);
    eventually("the bytes of the open tunnel are counted", || {
        let scrape = Scrape::of(admin);
        scrape.get("ronde_client_received_bytes_total") == (upgrade.len() + 70_000) as f64
            && scrape.get(r#"ronde_connections{place="tunnel"}"#) == 1.0
    });
    assert_eq!(Scrape::of(admin).sum("ronde_requests_total", ""), 0.0, "it has not ended");
    drop((client, backend));
    eventually("its end is counted", || {
        Scrape::of(admin).sum("ronde_requests_total", r#"status="1xx""#) == 1.0
    });
}

#[test]
fn connections_are_counted_where_they_are() {
    ronde_only!();
    let (gate, backend) = Backend::gated(|wire, request, gate| {
        if request.target() == "/late" {
            gate.pass();
        }
        wire.send(ok("fine"));
    });
    let (proxy, admin) = watched(&format!("--max-connections 50 {}", backend.address));
    let connect = || Wire::connect_plain(proxy.plain);
    let clients = |count: usize, say: &str| -> Vec<Wire> {
        (0..count)
            .map(|_| {
                let mut wire = connect();
                wire.send(say);
                wire
            })
            .collect()
    };
    let mut idle = clients(3, "GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    idle.iter_mut().for_each(|wire| assert_eq!(wire.response().status(), 200));
    let _slow = clients(2, "GET / HTTP/1.1\r\nHo");
    let mut late = clients(4, "GET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    let places = |places: &[(&str, f64)]| {
        let scrape = Scrape::of(admin);
        let all = places.iter().map(|(_, count)| count).sum::<f64>();
        scrape.sum("ronde_connections", "place=") == all
            && places.iter().all(|(place, count)| {
                scrape.get(&format!(r#"ronde_connections{{place="{place}"}}"#)) == *count
            })
    };
    eventually("each is in its place", || places(&[("idle", 3.0), ("request", 2.0), ("response", 4.0)]));
    assert_eq!(Scrape::of(admin).get("ronde_connections_limit"), 50.0);
    assert!(Scrape::of(admin).get("ronde_parked_memory_bytes") > 0.0);
    gate.open();
    late.iter_mut().for_each(|wire| assert_eq!(wire.response().status(), 200));
    drop(idle);
    eventually("those that are answered are idle", || places(&[("idle", 4.0), ("request", 2.0)]));
    eventually("all workers rest", || {
        let scrape = Scrape::of(admin);
        let resting = scrape.get(r#"ronde_workers{activity="resting"}"#);
        resting > 0.0 && scrape.sum("ronde_workers", "activity=") == resting
    });
}

#[test]
fn backends_have_their_counts_and_their_state() {
    ronde_only!();
    let (mut one, two) = (Backend::named("one"), Backend::named("two"));
    let (proxy, admin) = watched(&format!("--max-fails 1 {} {}", one.address, two.address));
    let labels = |backend: &Backend| {
        let address = backend.address;
        format!(r#"{{route="default",backend="{address}",address="{address}""#)
    };
    let (first, second) = (labels(&one), labels(&two));
    (0..6).for_each(|_| assert!(exchange(proxy.plain, &get("/", "a")) > 0));
    let scrape = Scrape::of(admin);
    for labels in [&first, &second] {
        assert_eq!(scrape.get(&format!("ronde_backend_requests_total{labels}}}")), 3.0);
        assert_eq!(scrape.get(&format!("ronde_backend_failures_total{labels}}}")), 0.0);
        assert_eq!(scrape.get(&format!("ronde_backend_first_byte_seconds_count{labels}}}")), 3.0);
        assert!(scrape.get(&format!("ronde_backend_first_byte_seconds_sum{labels}}}")) > 0.0);
        assert_eq!(scrape.get(&format!(r#"ronde_backend_state{labels},state="in"}}"#)), 1.0);
    }
    one.go_down();
    (0..2).for_each(|_| assert!(exchange(proxy.plain, &get("/", "a")) > 0));
    let scrape = Scrape::of(admin);
    assert_eq!(scrape.get(&format!("ronde_backend_failures_total{first}}}")), 1.0);
    assert_eq!(scrape.get(&format!("ronde_backend_failures_total{second}}}")), 0.0);
    assert_eq!(scrape.get(&format!(r#"ronde_backend_state{first},state="unreachable"}}"#)), 1.0);
    assert_eq!(scrape.get(&format!(r#"ronde_backend_state{first},state="in"}}"#)), 0.0);
    // A request that another backend served has not failed.
    eventually("all are counted", || Scrape::of(admin).requests("default", "2xx", "") == 8.0);
    one.come_up();
    eventually("it is back", || {
        Scrape::of(admin).get(&format!(r#"ronde_backend_state{first},state="in"}}"#)) == 1.0
    });
}

#[test]
fn no_count_falls_at_a_reload() {
    ronde_only!();
    let backend = by_path();
    let file = scratch_directory().join("ronde.toml");
    let write = |path: &str| {
        let routes = format!("[[route]]\npath = '{path}'\nbackend = '{}'\n", backend.address);
        let top = format!("listen = '127.0.0.1:0'\nadmin = '127.0.0.1:0'\nbackend = '{}'\n", backend.address);
        std::fs::write(&file, top + &routes).expect("a file");
    };
    write("/old");
    let (proxy, admin) = watched_by(Ronde::with(&format!("--config {}", file.display())));
    for target in ["/200", "/old/200"] {
        assert!(exchange(proxy.plain, &get(target, "a")) > 0);
    }
    let count = |route: &str| Scrape::of(admin).requests(route, "2xx", "");
    eventually("both are counted", || count("default") == 1.0 && count("/old") == 1.0);
    let before = Scrape::of(admin);
    write("/new");
    proxy.process.signal(Signal::HUP);
    proxy.process.stderr.line_with("reloaded: ");
    for target in ["/200", "/new/200"] {
        assert!(exchange(proxy.plain, &get(target, "a")) > 0);
    }
    eventually("they go on", || count("default") == 2.0 && count("/new") == 1.0);
    let after = Scrape::of(admin);
    expect_consistent(&before, &after);
    assert_eq!(after.requests("/old", "2xx", ""), 1.0, "its requests did happen");
    assert_eq!(
        after.sum("ronde_backend_requests_total", r#"route="default""#),
        2.0,
        "it stays, and so do its counts"
    );
    assert_eq!(after.sum("ronde_backend_state", r#"route="/old""#), 0.0, "it is there no more");
}

#[test]
fn checks_are_counted() {
    ronde_only!();
    let backend = by_path();
    let (_proxy, admin) = watched(&format!("--health-path /503 --health-interval 1s {}", backend.address));
    within(2 * TIMEOUT, "checks that fail are counted", || {
        let scrape = Scrape::of(admin);
        scrape.sum("ronde_backend_checks_total", r#"result="failed""#) >= 4.0
            && scrape.sum("ronde_backend_checks_total", r#"result="passed""#) == 0.0
            && scrape.sum("ronde_backend_state", r#"state="unwell""#) == 1.0
    });
    assert_eq!(Scrape::of(admin).sum("ronde_requests_total", ""), 0.0, "a check is no request");
}

#[cfg(feature = "tls")]
#[test]
fn handshakes_are_counted_by_how_they_end() {
    ronde_only!();
    let backend = by_path();
    let (proxy, admin) = watched(&format!("{} {}", tls::flags(), backend.address));
    let config = tls::client_config(&["http/1.1"]);
    let request = get("/200?1000", "localhost");
    for _ in 0..3 {
        let stream = TcpStream::connect(proxy.with_tls[0]).expect("a connection");
        stream.set_read_timeout(Some(TIMEOUT)).expect("a timeout");
        let mut client = Wire::over_secured(Secured::with(stream, config.clone()));
        client.send(&request);
        assert_eq!(client.response().status(), 200);
        client.expect_eof();
    }
    exchange(proxy.with_tls[0], b"\x16\x03\x01\x00\x05hello");
    let outcome = |scrape: &Scrape, outcome| {
        scrape.get(&format!(r#"ronde_tls_handshakes_total{{outcome="{outcome}"}}"#))
    };
    let mut scrape = Scrape::of(admin);
    eventually("all have ended", || {
        scrape = Scrape::of(admin);
        outcome(&scrape, "failed") == 1.0 && scrape.requests("default", "2xx", "") == 3.0
    });
    assert_eq!((outcome(&scrape, "full"), outcome(&scrape, "resumed")), (1.0, 2.0));
    assert_eq!(scrape.requests("none", "none", "tls_handshake"), 1.0);
    assert!(scrape.sum("ronde_tls_certificate_expiry_timestamp_seconds", "file=") > 1e9);
    // What is inside of TLS.
    assert_eq!(scrape.get("ronde_client_received_bytes_total"), 3.0 * request.len() as f64);
}

#[test]
fn lines_that_are_lost_are_counted() {
    ronde_only!();
    let backend = Backend::named("one");
    let (reader, writer) = rustix::pipe::pipe().expect("a pipe");
    let mut ronde = Ronde::with(&format!("--listen 127.0.0.1:0 --admin 127.0.0.1:0 {}", backend.address));
    let (proxy, admin) = {
        let process = Process::spawn_onto(Stdio::from(writer), &mut ronde.0);
        let line = process.stderr.line_with("; admin on ");
        let (_, admin) = line.split_once("; admin on ").expect("its admin listener");
        let admin = admin.split([';', ' ']).next().and_then(|address| address.parse().ok());
        (Proxy::of(process), admin.expect("its address"))
    };
    // The pipe and the backlog hold some ten thousand lines of a hundred bytes.
    let target = format!("/{}", "x".repeat(900));
    let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
    let mut client = Wire::connect_plain(proxy.plain);
    within(6 * TIMEOUT, "lines are lost", || {
        for _ in 0..500 {
            assert_eq!(client.ask(&request).status(), 200);
        }
        Scrape::of(admin).get(r#"ronde_log_lines_lost_total{output="standard output"}"#) > 0.0
    });
    drop(reader);
}

#[test]
fn a_scrape_is_consistent_under_a_thousand_clients() {
    ronde_only!();
    open_many_files();
    const CLIENTS: usize = 1000;
    const EACH: usize = 20;
    let backend = fast_backend();
    let (proxy, admin) = watched(&format!("--workers 4 --queue-timeout 30s --access-log off {backend}"));
    let is_over = Arc::new(AtomicBool::new(false));
    let scraper = thread::spawn({
        let is_over = Arc::clone(&is_over);
        move || {
            let (mut before, mut count) = (Scrape::of(admin), 0);
            while !is_over.load(Ordering::Relaxed) {
                let scrape = Scrape::of(admin);
                expect_consistent(&before, &scrape);
                (before, count) = (scrape, count + 1);
            }
            count
        }
    });
    let request = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(|| {
                let mut clients: Vec<_> =
                    (0..CLIENTS / 10).map(|_| Wire::connect_plain(proxy.plain)).collect();
                for _ in 0..EACH {
                    clients.iter_mut().for_each(|client| client.send(request));
                    clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200));
                }
            });
        }
    });
    let all = (CLIENTS * EACH) as f64;
    eventually("all are counted", || Scrape::of(admin).requests("default", "2xx", "") == all);
    is_over.store(true, Ordering::Relaxed);
    assert!(scraper.join().expect("consistent scrapes") > 0);
    let scrape = Scrape::of(admin);
    assert_eq!(scrape.sum("ronde_requests_total", ""), all, "and nothing else");
    for part in ["duration", "first_byte"] {
        assert_eq!(scrape.sum(&format!("ronde_request_{part}_seconds_count"), "default"), all);
    }
    assert_eq!(scrape.sum("ronde_backend_requests_total", ""), all);
    assert_eq!(scrape.sum("ronde_backend_first_byte_seconds_count", ""), all);
    assert_eq!(scrape.get("ronde_client_received_bytes_total"), all * request.len() as f64);
}

/// No counter falls, but those of a backend go with it; and in no histogram a bucket has less than the one before it.
fn expect_consistent(before: &Scrape, now: &Scrape) {
    let is_there = |name: &str| now.0.contains_key(name) || !name.starts_with("ronde_backend");
    let grows = |name: &str| {
        ["_total{", "_total", "_bucket{", "_count{", "_sum{"].iter().any(|part| name.contains(part))
    };
    for (name, value) in before.0.iter().filter(|(name, _)| grows(name) && is_there(name)) {
        assert!(now.get(name) >= *value, "{name}: {value}, then {}", now.get(name));
    }
    let mut histograms: HashMap<&str, Vec<(f64, f64)>> = HashMap::new();
    for (name, value) in &now.0 {
        if let Some((histogram, bound)) = name.split_once(",le=\"") {
            let bound = bound.trim_end_matches("\"}").replace("+Inf", "inf").parse().expect("a bound");
            histograms.entry(histogram).or_default().push((bound, *value));
        }
    }
    for (histogram, mut buckets) in histograms {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by_key(|(_, count)| *count), "{histogram}: {buckets:?}");
    }
}

/// Answers each request of a connection at once; one thread for each connection.
fn fast_backend() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            thread::spawn(move || {
                let mut room = [0; 4096];
                while let Ok(count @ 1..) = stream.read(&mut room) {
                    let asked = room[..count].windows(4).filter(|four| four == b"\r\n\r\n").count();
                    if stream
                        .write_all("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok".repeat(asked).as_bytes())
                        .is_err()
                    {
                        break;
                    }
                }
            });
        }
    });
    address
}

#[test]
fn promtool_has_no_objection() {
    ronde_only!();
    needs!(Promtool);
    let backend = by_path();
    let (proxy, admin) = watched(&format!("--route a.example/api={} {}", backend.address, backend.address));
    exchange(proxy.plain, &get("/api/200", "a.example"));
    exchange(proxy.plain, b"GET / HTTP/1.1\r\n\r\n");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut promtool = promtool.spawn().expect("promtool");
    promtool.stdin.take().expect("its input").write_all(text_of(admin).as_bytes()).expect("the metrics");
    let judged = promtool.wait_with_output().expect("its judgement");
    let said = [judged.stdout, judged.stderr].concat();
    assert!(judged.status.success() && said.is_empty(), "{}", String::from_utf8_lossy(&said));
}

#[test]
fn the_alerts_in_the_docs_are_of_metrics_that_there_are_and_promtool_has_no_objection() {
    ronde_only!();
    needs!(Promtool);
    let docs = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"))
        .expect("the docs");
    let (_, rules) = docs.split_once("```yaml\ngroups:").expect("the alerts");
    let (rules, _) = rules.split_once("```").expect("their end");
    for name in rules.split(|letter: char| !letter.is_ascii_lowercase() && letter != '_') {
        assert!(!name.starts_with("ronde_") || docs.contains(&format!("\n| `{name}` |")), "{name}");
    }
    let file = scratch_directory().join("rules.yml");
    std::fs::write(&file, format!("groups:{rules}")).expect("the rules");
    let judged = Command::new("promtool").args(["check", "rules"]).arg(&file).output().expect("promtool");
    let said = [judged.stdout, judged.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(judged.status.success() && said.contains("SUCCESS: 6 rules found"), "{said}");
}

#[test]
fn a_real_prometheus_scrapes_it() {
    ronde_only!();
    needs!(Prometheus);
    let backend = by_path();
    let (proxy, admin) = watched(&backend.address.to_string());
    (0..7).for_each(|_| assert!(exchange(proxy.plain, &get("/200", "a")) > 0));
    let (directory, address) = (scratch_directory(), free_address());
    let file = directory.join("prometheus.yml");
    let config = format!(
        "scrape_configs:\n- job_name: ronde\n  scrape_interval: 200ms\n  scrape_timeout: 200ms\n  \
         static_configs:\n  - targets: ['{admin}']\n"
    );
    std::fs::write(&file, config).expect("its configuration");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", directory.join("data").display()));
    command.arg(format!("--web.listen-address={address}"));
    let _prometheus = Process::spawn(&mut command);
    within(3 * TIMEOUT, "Prometheus listens", || TcpStream::connect(address).is_ok());
    let query = |query: &str| {
        let response = Wire::connect_plain(address).ask(format!(
            "GET /api/v1/query?query={query} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        ));
        answer_of(&response)
    };
    within(3 * TIMEOUT, "it has scraped the requests", || {
        query("sum(ronde_requests_total)").as_deref() == Some("7")
            && query("up").as_deref() == Some("1")
            && query("sum(ronde_request_duration_seconds_count)").as_deref() == Some("7")
    });
    let quantile = query("histogram_quantile(0.5,sum(ronde_request_duration_seconds_bucket)by(le))");
    let quantile: f64 = quantile.and_then(|value| value.parse().ok()).expect("a quantile");
    assert!(quantile > 0.0 && quantile < TIMEOUT.as_secs_f64(), "{quantile}");
}

/// The value of the only result: `"value":[1700000000.1,"7"]`.
fn answer_of(response: &Message) -> Option<String> {
    let text = response.text();
    let (_, value) = text.split_once("\"value\":[")?;
    let (_, value) = value.split_once(",\"")?;
    Some(value.split('"').next()?.to_owned())
}
