//! The admin listener: it answers whatever the proxy does, one client of it disturbs no other, and no page of another site
//! gets anything out of it.
//!
//! Not here: what it says of requests (`observe`), and what `drain` does (`x_drain`).

use crate::harness::{
    ADMIN, Admin, Backend, Origin, Port, Proxy, Ronde, TIMEOUT, Wire, curl, each_row, eventually, next_event,
    open_many_files, ronde_only, scratch_directory, within,
};
use crate::harness::{End, GET, Process, needs, socket_path};
use rustix::process::Signal;
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

fn setup(flags: &str) -> (Backend, Proxy, Admin) {
    let backend = Backend::named("app");
    let proxy = Proxy::with(&format!("{ADMIN} {flags}"), &[backend.address]);
    let admin = Admin::of(&proxy);
    (backend, proxy, admin)
}

#[test]
fn without_the_flag_there_is_none() {
    ronde_only!();
    let backend = Backend::named("app");
    let proxy = Proxy::start(&[backend.address]);
    assert!(!proxy.process.stderr.text().contains("admin"));
}

#[test]
fn the_status_tells_what_happened() {
    ronde_only!();
    let (backend, proxy, admin) = setup("--workers 3");
    (0..3).for_each(|_| assert_eq!(proxy.get("/").text(), "app"));
    eventually("the requests are counted", || admin.status()["requests"]["total"] == 3);
    let status = admin.status();
    assert_eq!(status["version"], "ronde 0.1.0");
    assert_eq!(status["phase"], "running");
    assert!(status["uptime"].as_f64().expect("seconds") < 600.0);
    assert_eq!(status["workers"].as_array().expect("workers").len(), 3);
    assert_eq!(status["listeners"][0]["address"], proxy.plain.to_string());
    assert_eq!(status["requests"]["failed"], 0);
    let backend = admin.backend(backend.address);
    assert_eq!(
        (&backend["state"], &backend["turns"], &backend["next"]),
        (&"in".into(), &3.into(), &true.into())
    );
}

#[test]
fn a_failure_is_among_the_latest_with_its_cause() {
    ronde_only!();
    let (mut backend, proxy, admin) = setup("");
    backend.go_down();
    assert_eq!(proxy.get("/").status(), 502);
    eventually("the failure is told", || {
        let latest = admin.status()["failures"][0].clone();
        latest["status"] == 502 && latest["cause"] == "the backend refused the connection"
    });
    assert_eq!(admin.status()["requests"]["failed"], 1);
}

#[test]
fn a_client_is_told_where_it_stands() {
    ronde_only!();
    let (_backend, proxy, admin) = setup("");
    let mut client = proxy.connect();
    client.ask(GET);
    eventually("it is parked", || admin.status()["connections"]["parked"]["idle"] == 1);
    assert_eq!(admin.status()["connections"]["clients"], 1);
}

#[test]
fn it_answers_while_every_worker_is_busy_and_eight_thousand_clients_wait() {
    ronde_only!();
    const WAITING: usize = 8000;
    open_many_files();
    // Backends that never accept: the kernel does it for them, up to the length of its queue.
    let silent: Vec<_> = (0..4).map(|_| Port::reserve()).collect();
    let _queues: Vec<_> = silent.iter().map(|port| port.listen(4096)).collect();
    let busy = Backend::named("busy");
    let route = format!("--route /busy={} --workers 1 --queue-timeout 1m --queue 65536", busy.address);
    let addresses: Vec<_> = silent.iter().map(|port| port.address).collect();
    let proxy = Proxy::with(&format!("{ADMIN} {route}"), &addresses);
    let admin = Admin::of(&proxy);
    let ask = |_| {
        let mut client = proxy.connect();
        client.send(GET);
        client
    };
    let _waiting: Vec<_> = (0..WAITING).map(ask).collect();
    within(6 * TIMEOUT, "all wait for an answer", || {
        let parked = admin.status()["connections"]["parked"].clone();
        parked["response"].as_u64() >= Some(WAITING as u64)
    });
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(client.ask("GET /busy HTTP/1.1\r\nHost: a\r\n\r\n").text(), "busy");
                }
            });
        }
        let longest = (0..50).map(|_| {
            let begun = Instant::now();
            admin.status();
            begun.elapsed()
        });
        let longest = longest.max().expect("fifty");
        is_over.store(true, Ordering::Relaxed);
        assert!(longest < Duration::from_secs(2), "{longest:?}");
    });
}

#[test]
fn it_answers_when_the_descriptors_are_used_up() {
    ronde_only!();
    let (gate, backend) = Backend::gated_named("late");
    let proxy = Proxy::with_descriptors(64, &format!("{ADMIN} --workers 2"), &[backend.address]);
    let admin = Admin::of(&proxy);
    let ask = |_| {
        let mut client = proxy.connect();
        client.send(GET);
        client
    };
    let _clients: Vec<_> = (0..60).map(ask).collect();
    eventually("none is left", || {
        proxy.process.stderr.text().contains("cannot accept") || proxy.descriptors() > 55
    });
    for _ in 0..20 {
        assert_eq!(admin.status()["phase"], "running");
    }
    gate.open();
}

#[test]
fn a_scrape_beside_as_many_streams_as_there_may_be_costs_the_oldest_stream() {
    ronde_only!();
    let (_backend, _proxy, admin) = setup("");
    let mut streams: Vec<_> = (0..32).map(|_| admin.events()).collect();
    streams.iter_mut().for_each(|stream| assert_eq!(next_event(stream)["phase"], "running"));
    admin.status();
    let mut rest = streams.split_off(1);
    let (_, end) = streams[0].rest();
    assert_eq!(end, End::Eof);
    for stream in &mut rest {
        (0..2).for_each(|_| assert_eq!(next_event(stream)["phase"], "running"));
    }
}

#[test]
fn where_there_is_no_stream_the_oldest_that_has_not_asked_gives_way() {
    ronde_only!();
    let (_backend, _proxy, admin) = setup("");
    let mut held: Vec<_> = (0..32).map(|_| Wire::connect_plain(admin.address)).collect();
    held.iter_mut().for_each(|wire| wire.send("GET /status HTTP/1.1\r\n"));
    // Each is answered, and then ends: it leaves its place to the next.
    (0..4).for_each(|_| assert_eq!(admin.status()["phase"], "running"));
    assert_ne!(held[0].rest().1, End::Silence);
    held[31].send("Host: localhost\r\n\r\n");
    assert_eq!(held[31].response().status(), 200, "the youngest has its place");
    // Half a head is not waited for.
    held[1..31].iter_mut().for_each(Wire::expect_end);
}

/// A ronde whose next reload lasts: the new backend accepts and says nothing to its first check, which has a minute.
fn slow_to_reload() -> (Origin, Proxy, Admin) {
    let (backend, silent) = (Backend::named("b"), Origin::start());
    let file = scratch_directory().join("ronde.toml");
    fs::write(&file, format!("backend = '{}'\n", backend.address)).expect("a file");
    let proxy = Proxy::with(&format!("{ADMIN} --config {}", file.display()), &[]);
    let admin = Admin::of(&proxy);
    let checks = "health-path = '/h'\nhealth-interval = '1m'\nhealth-timeout = '1m'\n";
    fs::write(&file, format!("{checks}backend = '{}'\n", silent.address)).expect("a file");
    (silent, proxy, admin)
}

#[test]
fn where_every_answer_is_under_way_the_thirty_third_is_503() {
    ronde_only!();
    let (silent, _proxy, admin) = slow_to_reload();
    let _held: Vec<_> = (0..32).map(|_| admin.begin("POST /reload", "X-Ronde-Admin: 1\r\n")).collect();
    let _check = silent.request();
    assert_eq!(Wire::connect_plain(admin.address).response().status(), 503);
}

/// The processor time that a process has had, in hundredths of a second.
fn ticks(proxy: &Proxy) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", proxy.process.id())).expect("its state");
    let (_, after_the_name) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<_> = after_the_name.split_whitespace().collect();
    fields[11..13].iter().map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_client_that_ends_while_it_waits_for_a_reload_costs_no_processor_time() {
    ronde_only!();
    let (silent, proxy, admin) = slow_to_reload();
    let order = || admin.begin("POST /reload", "X-Ronde-Admin: 1\r\n");
    let (half_closed, mut talks) = (order(), order());
    let _check = silent.request();
    half_closed.finish();
    talks.send("more");
    order().reset();
    let mut events = admin.events();
    next_event(&mut events);
    let before = ticks(&proxy);
    (0..2).for_each(|_| drop(next_event(&mut events)));
    let spent = ticks(&proxy) - before;
    assert!(spent < 20, "{spent} hundredths of a second in two");
}

#[test]
fn a_stream_is_no_place_to_send_to() {
    ronde_only!();
    let (_backend, _proxy, admin) = setup("");
    let mut stream = admin.events();
    next_event(&mut stream);
    stream.send("GET /status HTTP/1.1\r\n");
    assert_ne!(stream.rest().1, End::Silence);
}

#[test]
fn a_stream_that_nobody_reads_is_cut_and_disturbs_no_other() {
    ronde_only!();
    // A state of some hundred kilobytes, which no narrow socket takes.
    let routes: String = (0..800).map(|number| format!(" --route /{number}=127.0.0.1:1")).collect();
    let (_backend, proxy, admin) = setup(&routes);
    let mut unread = Wire::connect_narrow(admin.address, 2048);
    unread.send(format!("GET /events HTTP/1.1\r\nHost: {}\r\n\r\n", admin.address));
    let mut read = admin.events();
    let before = proxy.descriptors();
    let begun = Instant::now();
    within(3 * TIMEOUT, "the unread stream is cut", || {
        let asked = Instant::now();
        admin.status();
        assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
        next_event(&mut read);
        proxy.descriptors() < before
    });
    assert!(
        begun.elapsed() >= Duration::from_secs(4),
        "{:?}: a slow reader has its five seconds",
        begun.elapsed()
    );
    assert_ne!(unread.rest().1, End::Silence);
}

#[test]
fn a_request_of_another_page_is_refused() {
    ronde_only!();
    let (backend, _proxy, admin) = setup("--admin-host ronde");
    let port = admin.address.port();
    let own = format!("Host: {}", admin.address);
    let drain = format!("POST /backends/{}/drain", backend.address);
    let field = "X-Ronde-Admin: 1";
    let rows: Vec<(&str, String, u16)> = vec![
        ("GET /status", own.clone(), 200),
        ("GET /status", "Host: localhost".into(), 200),
        ("GET /status", format!("Host: localhost:{port}"), 200),
        ("GET /status", "Host: ronde:9180".into(), 200),
        ("GET /status", "Host: evil.example".into(), 421),
        ("GET /status", format!("Host: 127.0.0.1.evil.example:{port}"), 421),
        ("GET http://evil.example/status", own.clone(), 421),
        ("GET /events", "Host: evil.example".into(), 421),
        ("GET /", "Host: evil.example".into(), 421),
        ("GET /status", format!("{own}\r\nOrigin: http://evil.example"), 403),
        ("GET /status", format!("{own}\r\nOrigin: null"), 403),
        ("GET /status", format!("{own}\r\nOrigin: http://{}", admin.address), 200),
        (&drain, own.clone(), 403),
        (&drain, format!("{own}\r\n{field}\r\nOrigin: http://evil.example"), 403),
        (&drain, format!("{own}\r\n{field}\r\nOrigin: http://127.0.0.1"), 403),
        (&drain, format!("Host: evil.example\r\n{field}"), 421),
        ("OPTIONS /status", format!("{own}\r\nOrigin: http://evil.example"), 403),
        ("GET /backends/a:1/drain", format!("{own}\r\n{field}"), 405),
        ("DELETE /status", own.clone(), 405),
        ("GET /nothing", own.clone(), 404),
        ("POST /backends/a:1/drain", format!("{own}\r\n{field}"), 404),
        ("GET /status", format!("{own}\r\nContent-Length: 1"), 413),
        ("GET /status", format!("{own}\r\nContent-Length: 1\r\nContent-Length: 2"), 400),
        ("GET /status", "Host: a\r\nHost: b".into(), 400),
        ("CONNECT a:1", own.clone(), 501),
    ];
    each_row(&rows, |(line, fields, status)| {
        let mut client = Wire::connect_plain(admin.address);
        client.send(format!("{line} HTTP/1.1\r\n{fields}\r\n\r\n"));
        let head = client.response_head();
        assert_eq!(head.status(), *status);
        for (name, value) in [("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff")] {
            assert_eq!(head.sole(name), value);
        }
        assert!(head.sole("Content-Security-Policy").contains("frame-ancestors 'none'"));
        assert!(!head.has("Access-Control-Allow-Origin"), "no page of another origin may read it");
    });
    assert_eq!(admin.backend(backend.address)["state"], "in", "nothing was changed");
}

#[test]
fn a_head_has_a_limit_and_head_has_no_body() {
    ronde_only!();
    let (_backend, _proxy, admin) = setup("");
    let long = format!("A: {}\r\n", "a".repeat(20_000));
    assert_eq!(admin.ask("GET /status", &long).status(), 431);
    for path in ["/", "/status", "/events", "/metrics"] {
        let mut client = admin.begin(&format!("HEAD {path}"), "");
        assert_eq!(client.response_head().status(), 200, "{path}");
        // Less than from one event to the next.
        client.set_timeout(Duration::from_millis(500));
        client.expect_eof();
    }
    assert_eq!(Wire::connect_plain(admin.address).ask("GET / HTTP/1.1\nHost: a\n\n").status(), 400);
}

#[test]
fn what_other_machines_reach_needs_a_range() {
    ronde_only!();
    let mut process = Ronde::with("--admin :0 127.0.0.1:1").spawn();
    assert_eq!(process.exit().code(), Some(2));
    assert!(process.stderr.text().contains("--admin-allow"), "{}", process.stderr.text());
}

/// A ronde in a network of its own, which other machines would reach at 192.0.2.1 and 192.0.2.2.
fn elsewhere(flags: &str) -> Process {
    let line = format!(
        "ip link set lo up; ip address add 192.0.2.1/32 dev lo; ip address add 192.0.2.2/32 dev lo; \
         exec {} --listen 127.0.0.1:8080 --admin :9180 {flags} 127.0.0.1:1",
        env!("CARGO_BIN_EXE_ronde")
    );
    let ronde = Process::spawn(Command::new("unshare").args(["--net", "sh", "-c", &line]));
    ronde.stderr.line_with("listening on ");
    ronde
}

/// The status of an answer to curl from this address, in the network of this ronde.
fn from(ronde: &Process, address: &str, arguments: &[&str]) -> String {
    let id = ronde.id().to_string();
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &id, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}"]);
    Process::spawn(command.args(["--interface", address]).args(arguments)).success()
}

#[test]
fn other_machines_read_if_they_are_allowed_and_change_nothing() {
    ronde_only!();
    needs!(Curl, Ip);
    let change = ["-X", "POST", "-H", "X-Ronde-Admin: 1", "http://192.0.2.1:9180/backends/127.0.0.1:1/drain"];
    let read = ["http://192.0.2.1:9180/status"];
    let ronde = elsewhere("--admin-allow 192.0.2.1");
    assert_eq!(from(&ronde, "192.0.2.1", &read), "200");
    assert_eq!(from(&ronde, "192.0.2.2", &read), "403", "not in the range");
    assert_eq!(from(&ronde, "192.0.2.1", &change), "403", "only read");
    let here = change.map(|word| {
        if word.starts_with("http") { "http://127.0.0.1:9180/backends/127.0.0.1:1/drain" } else { word }
    });
    assert_eq!(from(&ronde, "127.0.0.1", &here), "200", "this host may");
    let trusting = elsewhere("--admin-allow 192.0.2.1 --admin-allow-changes");
    assert_eq!(from(&trusting, "192.0.2.1", &change), "200");
    assert_eq!(from(&trusting, "192.0.2.2", &change), "403");
}

#[test]
fn a_unix_socket_is_its_owners_alone_and_goes_with_ronde() {
    ronde_only!();
    let path = socket_path("admin.sock");
    let backend = Backend::named("app");
    let mut proxy = Proxy::with(&format!("--admin unix:{}", path.display()), &[backend.address]);
    let mode = std::fs::metadata(&path).expect("the socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let mut client = Wire::connect_unix(&path);
    let response = client.ask("GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let status: Value = serde_json::from_slice(&response.body).expect("JSON");
    assert_eq!(status["phase"], "running");
    proxy.process.signal(Signal::TERM);
    assert!(proxy.process.exit().success());
    assert!(!path.exists());
}

#[test]
fn it_tells_that_ronde_drains_until_the_last_answer_is_out() {
    ronde_only!();
    let (gate, backend) = Backend::gated_named("late");
    let mut proxy = Proxy::with(ADMIN, &[backend.address]);
    let admin = Admin::of(&proxy);
    let mut client = proxy.connect();
    client.send(GET);
    eventually("the backend has it", || backend.count() == 1);
    proxy.process.signal(Signal::TERM);
    eventually("ronde drains", || admin.status()["phase"] == "draining");
    let refused = admin.post("/reload");
    assert_eq!((refused.status(), refused.text()), (503, "ronde stops\n".into()));
    gate.open();
    assert_eq!(client.response().text(), "late");
    assert!(proxy.process.exit().success());
}

#[test]
fn curl_reads_the_page_the_status_and_the_events() {
    ronde_only!();
    needs!(Curl);
    let (_backend, _proxy, admin) = setup("");
    let url = |path: &str| format!("http://{}{path}", admin.address);
    let page = curl(&["--fail", "-i", &url("/")]).success();
    assert!(
        page.contains("<title>ronde</title>") && page.contains("Content-Security-Policy: default-src 'none'")
    );
    let status: Value = serde_json::from_str(&curl(&["--fail", &url("/status")]).success()).expect("JSON");
    assert_eq!(status["phase"], "running");
    let stream = curl(&["--fail", "--no-buffer", &url("/events")]);
    eventually("two events", || {
        stream.stdout.all().iter().filter(|line| line.starts_with("data: {")).count() >= 2
    });
}

#[test]
fn the_demo_says_where_to_look_also_when_the_usual_port_is_taken() {
    ronde_only!();
    // Whichever of the two is second finds it taken, and so may both: another program of this machine may have it.
    let demos = [(); 2].map(|()| Ronde::with("demo --listen 127.0.0.1:0").spawn());
    let urls = demos.each_ref().map(|demo| demo.stdout.line_with("Watch it live: "));
    assert_ne!(urls[0], urls[1]);
    for url in urls {
        let address = url.rsplit('/').next().and_then(|address| address.parse().ok()).expect("an address");
        assert_eq!(Admin { address }.status()["phase"], "running");
    }
}
