//! The round, promise by promise: which backend has its turn, which is passed over, and at what cost.
//!
//! Not here: that clients notice no failure (`k_health`).

use crate::harness::{
    Backend, DnsReply, GET, NameService, Origin, Port, Process, Proxy, Ronde, Silent, Wire, each_row,
    eventually, ok, ronde_only, scratch_directory, within,
};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

fn some(count: usize) -> Vec<Backend> {
    (1..=count).map(|number| Backend::named(&number.to_string())).collect()
}

fn addresses(backends: &[Backend]) -> Vec<SocketAddr> {
    backends.iter().map(|backend| backend.address).collect()
}

/// The bodies of `count` responses over fresh connections, in order.
fn order(proxy: &Proxy, count: usize) -> String {
    (0..count).map(|_| proxy.get("/").text()).collect()
}

/// A ronde whose backends are tables in a configuration file.
fn configured(flags: &str, backends: &[(SocketAddr, &str)]) -> Proxy {
    let tables =
        backends.iter().map(|(address, more)| format!("[[backend]]\naddress = \"{address}\"\n{more}\n"));
    let path = scratch_directory().join("ronde.toml");
    std::fs::write(&path, tables.collect::<String>()).expect("the file");
    Ronde::with(&format!("--listen 127.0.0.1:0 {flags} --config {}", path.display())).serve()
}

fn lines(process: &Process, part: &str) -> Vec<String> {
    process.stderr.all().into_iter().filter(|line| line.contains(part)).collect()
}

fn hang_up(wire: &Wire) {
    wire.stream().shutdown(Shutdown::Both).expect("a shutdown");
}

/// Closes the connection on every request.
fn closing() -> Backend {
    Backend::start(|wire, _| hang_up(wire))
}

// Fairness.

#[test]
fn strict_turns_whether_connections_are_fresh_or_kept() {
    let closing_named = |name: &'static str| {
        Backend::start(move |wire, _| {
            wire.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\n{name}"));
            wire.finish();
        })
    };
    for backends in [some(3), vec![closing_named("1"), closing_named("2"), closing_named("3")]] {
        let proxy = Proxy::start(&addresses(&backends));
        let mut client = proxy.connect();
        let kept: String = (0..9).map(|_| client.get("/").text()).collect();
        assert_eq!((kept + &order(&proxy, 9)).as_str(), "123123123123123123");
        let mut mixed = String::new();
        for _ in 0..6 {
            mixed += &(client.get("/").text() + &proxy.get("/").text());
        }
        assert_eq!(mixed, "123123123123");
    }
}

#[test]
fn the_round_continues_after_a_fallback() {
    ronde_only!();
    let mut backends = some(3);
    let proxy = Proxy::with("--max-fails 0", &addresses(&backends));
    backends[0].go_down();
    assert_eq!(order(&proxy, 8), "23232323", "a backend that responded for another one has had its turn");
}

#[test]
fn with_some_backends_out_the_rest_share_evenly_to_the_request() {
    let mut backends = some(5);
    let proxy = Proxy::start(&addresses(&backends));
    for number in [1, 2] {
        backends[number].go_down();
    }
    if !Proxy::is_a_peer() {
        eventually("two backends are out", || {
            proxy.get("/");
            lines(&proxy.process, "is out of the round").len() == 2
        });
    }
    let before: Vec<_> = backends.iter().map(Backend::count).collect();
    order(&proxy, 30);
    let taken: Vec<_> =
        backends.iter().zip(before).map(|(backend, before)| backend.count() - before).collect();
    assert_eq!(taken, [10, 0, 0, 10, 10]);
}

#[test]
fn weights_interleave() {
    ronde_only!();
    let backends = some(3);
    let tables = ["weight = 4", "", "weight = 1"];
    let proxy = configured("", &backends.iter().map(|b| b.address).zip(tables).collect::<Vec<_>>());
    assert_eq!(order(&proxy, 18), "112113112113112113");
}

#[test]
fn a_backup_serves_only_when_no_other_backend_can() {
    ronde_only!();
    let mut backends = some(3);
    let proxy = configured(
        "",
        &[(backends[0].address, ""), (backends[2].address, "backup = true"), (backends[1].address, "")],
    );
    assert_eq!(order(&proxy, 6), "121212");
    backends[0].go_down();
    assert_eq!(order(&proxy, 6), "222222", "one regular backend is enough");
    backends[1].go_down();
    assert_eq!(order(&proxy, 10), "3333333333");
    backends[1].come_up();
    within(Duration::from_secs(3), "the second backend serves again", || proxy.get("/").text() == "2");
    assert_eq!(order(&proxy, 6), "222222", "and the backup stands by again");
}

#[test]
fn max_connections_of_one_backend_is_respected() {
    ronde_only!();
    let (arrived, arrivals) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let (arrived, gate) = (Mutex::new(arrived), Mutex::new(gate));
    let narrow = Backend::start(move |wire, _| {
        arrived.lock().unwrap().send(()).unwrap();
        gate.lock().unwrap().recv().unwrap();
        wire.send(ok("narrow"));
    });
    let wide = Backend::named("wide");
    let both = [(narrow.address, "max-connections = 1"), (wide.address, "")];
    let proxy = configured("", &both);
    let mut held = proxy.connect();
    held.send(GET);
    arrivals.recv_timeout(Duration::from_secs(10)).expect("the turn of the narrow backend");
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "wide");
    }
    assert_eq!(narrow.count(), 1);
    open.send(()).unwrap();
    assert_eq!(held.response().text(), "narrow");
    open.send(()).unwrap();
    eventually("the narrow backend has its turns again", || proxy.get("/").text() == "narrow");
    arrivals.recv_timeout(Duration::from_secs(10)).expect("that turn");
    assert_eq!(narrow.connections(), 1, "it uses its only connection");

    let alone = configured("", &both[..1]);
    let mut held = alone.connect();
    held.send(GET);
    arrivals.recv_timeout(Duration::from_secs(10)).expect("its turn");
    let refused = alone.get("/");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("limit of requests in flight"), "{refused}");
    open.send(()).unwrap();
    assert_eq!(held.response().text(), "narrow");
}

/// A backend that may have one request at a time, with what it is told to answer.
fn one_at_a_time(flags: &str) -> (Backend, Proxy, mpsc::Sender<()>) {
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let backend = Backend::start(move |wire, request| {
        let is_open = gate.lock().expect("a gate").recv();
        wire.send(ok(if is_open.is_ok() { request.target() } else { "over" }));
    });
    let proxy = configured(&format!("--workers 1 {flags}"), &[(backend.address, "max-connections = 1")]);
    (backend, proxy, open)
}

/// The only worker has looked at all that came before this.
fn settle(proxy: &Proxy) {
    let options = "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    assert_eq!(proxy.ask(options).status(), 200);
}

fn ask_for(proxy: &Proxy, target: &str) -> Wire {
    let mut client = proxy.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    client
}

#[test]
fn requests_beyond_max_connections_wait_and_keep_their_order() {
    ronde_only!();
    let (backend, proxy, open) = one_at_a_time("--queue-timeout 1m");
    let mut clients: Vec<_> = (0..20)
        .map(|number| {
            let client = ask_for(&proxy, &format!("/{number}"));
            // Each is in its place before the next one comes.
            settle(&proxy);
            client
        })
        .collect();
    for number in 0..20 {
        eventually("its turn", || backend.count() == number + 1);
        open.send(()).expect("a backend");
    }
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(client.response().text(), format!("/{number}"));
    }
    let expected: Vec<_> = (0..20).map(|number| format!("/{number}")).collect();
    assert_eq!(backend.targets(), expected);
    let line = proxy.process.stdout.line_with("/19 ");
    assert!(!line.contains("queued=0.0"), "{line}");
}

#[test]
fn a_request_that_waits_too_long_for_a_backend_is_503_and_takes_no_turn() {
    ronde_only!();
    let (backend, proxy, open) = one_at_a_time("--queue-timeout 300ms");
    let mut held = ask_for(&proxy, "/held");
    eventually("it has the only connection", || backend.count() == 1);
    let refused = proxy.get("/refused");
    assert_eq!(refused.status(), 503);
    assert!(
        refused.text().contains("limit of requests in flight") && refused.has("retry-after"),
        "{refused}"
    );
    let line = proxy.process.stdout.line_with("/refused");
    assert!(!line.contains("queued=0") && !line.contains("tried="), "{line}");
    open.send(()).expect("a backend");
    assert_eq!(held.response().text(), "/held");
    assert_eq!(backend.targets(), ["/held"]);
}

#[test]
fn a_client_that_leaves_the_queue_takes_no_turn() {
    ronde_only!();
    let (backend, proxy, open) = one_at_a_time("--queue-timeout 1m");
    let mut held = ask_for(&proxy, "/held");
    eventually("it has the only connection", || backend.count() == 1);
    let gone = ask_for(&proxy, "/gone");
    settle(&proxy);
    let mut last = ask_for(&proxy, "/last");
    settle(&proxy);
    gone.reset();
    proxy.process.stdout.line_with("/gone");
    open.send(()).expect("a backend");
    open.send(()).expect("a backend");
    assert_eq!((held.response().text(), last.response().text()), ("/held".into(), "/last".into()));
    assert_eq!(backend.targets(), ["/held", "/last"]);
}

#[test]
fn a_thousand_requests_wait_for_two_connections() {
    ronde_only!();
    let both = [Backend::named("1"), Backend::named("2")];
    let limited = both.each_ref().map(|backend| (backend.address, "max-connections = 1"));
    let proxy = configured("--queue-timeout 1m", &limited);
    let mut clients: Vec<_> = (0..1000).map(|_| ask_for(&proxy, "/")).collect();
    let answers: Vec<_> = clients.iter_mut().map(|client| client.response().text()).collect();
    assert_eq!(answers.iter().filter(|answer| *answer == "1" || *answer == "2").count(), 1000);
    assert!(both.iter().all(|backend| backend.connections() <= 2), "kept connections serve them");
}

// Failover: a failure of a backend is not the client's problem.

#[test]
fn a_second_lap_waits_longer_for_silent_backends() {
    ronde_only!();
    let silent = Silent::some(2);
    let proxy = Proxy::with("--connect-timeout 5s", &[silent[0].address(), silent[1].address()]);
    let mut client = proxy.connect();
    let start = Instant::now();
    client.send(GET);
    // The first lap is over by then. The SYN that the kernel sends again after a second finds room.
    thread::sleep(Duration::from_millis(800));
    let (filling, _) = silent[0].listener.accept().expect("the connection that filled the queue");
    drop(filling);
    let (stream, _) = silent[0].listener.accept().expect("a connection of the second lap");
    let mut backend = Wire::over(stream);
    backend.request();
    backend.send(ok("late"));
    assert_eq!(client.response().text(), "late");
    assert!(start.elapsed() > Duration::from_millis(600), "{:?}", start.elapsed());
    let line = proxy.process.stdout.line_with("GET / HTTP");
    assert!(line.contains(&format!("tried={}", silent[1].address())), "{line}");
}

#[test]
fn all_connects_together_take_twice_the_timeout_at_most() {
    ronde_only!();
    each_row(&[(2, 500), (4, 500), (12, 500), (3, 200)], |&(count, milliseconds)| {
        let silent = Silent::some(count);
        let addresses: Vec<_> = silent.iter().map(Silent::address).collect();
        let proxy = Proxy::with(&format!("--connect-timeout {milliseconds}ms"), &addresses);
        let start = Instant::now();
        assert_eq!(proxy.get("/").status(), 504);
        let (taken, most) = (start.elapsed(), Duration::from_millis(2 * milliseconds));
        assert!(taken < most + Duration::from_millis(500), "{taken:?}, not {most:?}");
    });
}

#[test]
fn a_good_backend_is_found_after_any_number_of_silent_ones() {
    ronde_only!();
    each_row(&[(2, "300ms"), (2, "100ms"), (6, "500ms"), (12, "3s")], |&(count, timeout)| {
        let silent = Silent::some(count);
        let good = Backend::named("good");
        let all: Vec<_> = silent.iter().map(Silent::address).chain([good.address]).collect();
        let proxy = Proxy::with(&format!("--connect-timeout {timeout} --max-fails 0"), &all);
        for _ in 0..3 {
            let answer = proxy.get("/");
            assert_eq!((answer.status(), answer.text().as_str()), (200, "good"));
        }
    });
}

#[test]
fn the_wait_for_a_response_does_not_count_against_later_connects() {
    ronde_only!();
    let slow = Backend::start(|wire, _| {
        thread::sleep(Duration::from_millis(900));
        hang_up(wire);
    });
    let good = Backend::named("good");
    let proxy = Proxy::with("--connect-timeout 300ms", &[slow.address, good.address]);
    assert_eq!(proxy.get("/").text(), "good");
}

#[test]
fn under_a_general_failure_the_load_is_not_multiplied() {
    ronde_only!();
    let backends = [closing(), closing(), closing()];
    let proxy = Proxy::with("--workers 4 --max-fails 0", &addresses(&backends));
    for _ in 0..300 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    let arrived: usize = backends.iter().map(Backend::count).sum();
    assert_eq!(
        arrived,
        300 + 100,
        "the retry budget begins with a hundred retries, and no response adds to it"
    );
}

/// A kept connection that ends under its second request costs the backend a second one, each time.
#[test]
fn second_sends_behind_ended_connections_use_the_retry_budget() {
    ronde_only!();
    let backend = Backend::start(|wire, _| {
        wire.send(ok("first"));
        let _second = wire.try_request();
        hang_up(wire);
    });
    let proxy = Proxy::with("--max-fails 0", &[backend.address]);
    let served = (0..400).filter(|_| proxy.get("/").status() == 200).count();
    // The first request has a connection of its own, and so has each that follows a failure.
    let sent_again = served - (400 - served) - 1;
    assert!((100..=100 + served / 5).contains(&sent_again), "{served} of 400 were served");
}

#[test]
fn failed_connects_do_not_use_the_retry_budget() {
    ronde_only!();
    let (down, good) = ([Origin::down(), Origin::down()], Backend::named("good"));
    let all = [down[0].address, down[1].address, good.address];
    let proxy = Proxy::with("--workers 1 --max-fails 0", &all);
    for _ in 0..40 {
        assert_eq!(proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").text(), "good");
    }
}

/// A second lap behind a backend that had the request would send it again.
#[test]
fn beyond_the_retry_budget_there_is_no_second_lap() {
    ronde_only!();
    let (port, one, mut other) = (Port::reserve(), closing(), closing());
    let all = [port.address, one.address, other.address];
    let proxy = Proxy::with("--max-fails 0 --connect-timeout 5s", &all);
    for _ in 0..250 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    // Of three requests, one at least asks the backend that closes last, when nobody else is left for it.
    other.go_down();
    let _silent = Silent::at(port);
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    eventually("the silent one is blamed, too", || {
        let lines = proxy.process.stdout.all();
        lines.iter().skip(250).any(|line| all.iter().all(|address| line.contains(&address.to_string())))
    });
}

#[test]
fn a_request_that_may_have_been_executed_is_not_sent_again() {
    ronde_only!();
    let (bad, good) = (closing(), Backend::named("good"));
    let proxy = Proxy::with("--max-fails 0", &[bad.address, good.address]);
    each_row(
        &[("GET", 200), ("PUT", 200), ("DELETE", 200), ("POST", 502), ("PATCH", 502)],
        |&(method, status)| {
            // Until it is the bad backend's turn.
            while good.count() % 2 == 1 && proxy.get("/").status() != 200 {}
            let before = bad.count();
            let mut statuses = Vec::new();
            for _ in 0..2 {
                let mut client = proxy.connect();
                client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"));
                statuses.push(client.response_to(method).status());
            }
            statuses.sort_unstable();
            assert_eq!((statuses[1], bad.count() - before >= 1), (status, true), "{statuses:?}");
        },
    );
}

// Passive health.

#[test]
fn every_kind_of_failure_takes_a_backend_out_and_is_logged() {
    ronde_only!();
    let garbage = || Backend::start(|wire, _| wire.send("garbage\r\n\r\n"));
    let hung = || Backend::start(|_, _| {});
    type Row = (&'static str, fn() -> Backend, &'static str);
    let rows: &[Row] = &[
        ("reset", closing, "the backend closed the connection without a response"),
        ("garbage", garbage, "the backend's response head is malformed"),
        ("hung", hung, "the backend did not answer in time"),
    ];
    each_row(rows, |(_, start, why)| {
        let (bad, good) = (start(), Backend::named("good"));
        let flags = "--max-fails 2 --fail-timeout 1h --response-timeout 200ms";
        let proxy = Proxy::with(flags, &[bad.address, good.address]);
        order(&proxy, 8);
        assert_eq!(bad.count(), 2);
        let line = proxy.process.stderr.line_with("is out of the round");
        let expected = format!(
            "{} is out of the round: {why}, 2 times in a row; a single request will try it",
            bad.address
        );
        assert!(line.ends_with(&expected), "{line}");
    });
}

#[test]
fn the_log_warns_of_a_backend_that_has_worked_and_mentions_one_that_never_did() {
    ronde_only!();
    let (mut first, second, never) = (Backend::named("1"), Backend::named("2"), Origin::down());
    let proxy = Proxy::start(&[first.address, second.address, never.address]);
    order(&proxy, 12);
    let log = &proxy.process;
    log.stderr.line_with(&format!("{} is out of the round", never.address));
    let told = lines(log, &never.address.to_string());
    let about_never: Vec<_> = told.iter().filter(|line| line.contains("is out")).collect();
    assert!(about_never.len() == 1 && about_never[0].contains("[INFO]"), "{told:#?}");
    first.go_down();
    order(&proxy, 12);
    let line = log.stderr.line_with(&format!("{} is out of the round", first.address));
    let why = "the backend refused the connection, 3 times in a row; ronde tries to connect every second";
    assert!(line.contains("[WARN]") && line.ends_with(why), "{line}");
    first.come_up();
    let line = log.stderr.line_with(&format!("{} is in the round", first.address));
    assert!(line.contains("[INFO]") && line.ends_with("it accepts connections again"), "{line}");
    assert_eq!(
        lines(log, "of the round:").len(),
        2,
        "the backend that never worked must not be logged again"
    );
    assert_eq!(lines(log, &format!("{} is", never.address)).len(), 1);
}

#[test]
fn that_all_backends_are_out_is_logged_once() {
    ronde_only!();
    let (mut first, mut second) = (Backend::named("1"), Backend::named("2"));
    let proxy = Proxy::start(&[first.address, second.address]);
    order(&proxy, 4);
    first.go_down();
    second.go_down();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    let said = "all backends are out: ronde asks them all the same";
    proxy.process.stderr.line_with(said);
    assert_eq!(lines(&proxy.process, said).len(), 1);
    second.come_up();
    assert_eq!(proxy.get("/").text(), "2", "it is asked all the same, and not after a pause");
}

/// The turns of the one that answers were taken and dropped, once the budget was used up, so that it never was again.
#[test]
fn a_retry_beyond_the_budget_takes_no_turn() {
    ronde_only!();
    let deaf = Backend::start(|client, _| client.finish());
    let good = Backend::named("good");
    let proxy = Proxy::with("--max-fails 0", &[deaf.address, good.address]);
    let statuses: Vec<_> = (0..400).map(|_| proxy.get("/").status()).collect();
    let served = statuses[300..].iter().filter(|status| **status == 200).count();
    assert!(served >= 50, "{served} of the last hundred");
}

/// Room at a backend was for anybody between being made and the first of the queue taking it, and a busy client was faster.
#[test]
fn a_client_that_asks_again_at_once_does_not_overtake_one_that_waits() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = configured("--queue-timeout 30s", &[(backend.address, "max-connections = 1")]);
    let address = proxy.address;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut busy = Wire::connect(address);
                while !is_over.load(Ordering::Relaxed) {
                    assert_eq!(busy.get("/").text(), "b");
                }
            });
        }
        let overtaken: Vec<_> = (0..50)
            .map(|_| {
                let before = backend.count();
                let text = proxy.get("/").text();
                (text, backend.count() - before)
            })
            .collect();
        is_over.store(true, Ordering::Relaxed);
        assert!(overtaken.iter().all(|(text, _)| text == "b"));
        // On a busy machine a request may wait for a core before it waits for room: for some dozen others, and not for thousands.
        assert!(overtaken.iter().all(|(_, count)| *count < 1000), "{overtaken:?}");
    });
}

/// Sets the limit of open files of a running ronde.
fn limit_descriptors(proxy: &Proxy, count: &str) {
    let nofile = format!("--nofile={count}:20000");
    let pid = proxy.process.id().to_string();
    assert!(Command::new("prlimit").args(["--pid", &pid, &nofile]).status().unwrap().success());
}

#[test]
fn kept_connections_are_closed_when_descriptors_run_out() {
    ronde_only!();
    let (first, second) = (Origin::start(), Origin::start());
    let proxy = Proxy::with("", &[first.address, second.address]);
    let mut client = proxy.connect();
    client.send(GET);
    let (mut kept, _) = first.answer(ok("first"));
    assert_eq!(client.response().text(), "first");
    limit_descriptors(&proxy, &proxy.descriptors().to_string());
    client.send(GET);
    second.answer(ok("second"));
    assert_eq!(client.response().text(), "second");
    kept.expect_end();
}

#[test]
fn a_lack_of_descriptors_is_not_blamed_on_the_backend() {
    ronde_only!();
    let backends = some(2);
    let proxy = Proxy::with("--backend-keep-alive-timeout 10ms", &addresses(&backends));
    let mut client = proxy.connect();
    client.get("/");
    let before: Vec<_> = std::fs::read_to_string(format!("/proc/{}/limits", proxy.process.id()))
        .unwrap()
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap()
        .split_whitespace()
        .map(str::to_owned)
        .collect();
    limit_descriptors(&proxy, "3");
    for _ in 0..10 {
        // Longer than the keep-alive timeout, so that no connection is reused.
        thread::sleep(Duration::from_millis(15));
        let refused = client.get("/");
        assert_eq!(refused.status(), 503);
        assert!(refused.text().contains("file descriptors"), "{refused}");
    }
    limit_descriptors(&proxy, &before[3]);
    assert_eq!(client.get("/").status(), 200);
    assert!(lines(&proxy.process, "out of the round").is_empty());
}

#[test]
fn trials_come_one_at_a_time_with_doubling_pauses_and_delay_no_other_request() {
    ronde_only!();
    let broken = Arc::new(AtomicBool::new(true));
    let trials = Arc::new(Mutex::new(Vec::new()));
    let first = Backend::start({
        let (broken, trials) = (Arc::clone(&broken), Arc::clone(&trials));
        move |wire, _| {
            trials.lock().unwrap().push(Instant::now());
            if broken.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(200));
                wire.send("garbage\r\n\r\n");
            } else {
                wire.send(ok("1"));
            }
        }
    });
    let second = Backend::named("2");
    let flags = "--max-fails 1 --fail-timeout 400ms";
    let proxy = Proxy::with(flags, &[first.address, second.address]);
    let over = AtomicBool::new(false);
    let failed = AtomicUsize::new(0);
    thread::scope(|scope| {
        // One failure takes the backend out. The clients below come after it.
        eventually("the first backend is out", || proxy.get("/").status() == 502);
        for _ in 0..4 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while !over.load(Ordering::Relaxed) {
                    let start = Instant::now();
                    if client.get("/").status() != 200 {
                        failed.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert!(
                            start.elapsed() < Duration::from_secs(2),
                            "no other request waits for a trial"
                        );
                    }
                    thread::sleep(Duration::from_millis(2));
                }
            });
        }
        eventually("three trials after the first failure", || trials.lock().unwrap().len() >= 4);
        broken.store(false, Ordering::Relaxed);
        eventually("the first backend is back", || {
            !lines(&proxy.process, "is in the round: it answers again").is_empty()
        });
        over.store(true, Ordering::Relaxed);
    });
    let trials = trials.lock().unwrap();
    let gaps: Vec<_> = trials.windows(2).map(|pair| pair[1] - pair[0]).take(3).collect();
    // A pause begins when the previous trial has failed, 200 ms after its arrival.
    for (gap, least) in gaps.iter().zip([600, 1000, 1800]) {
        assert!(*gap >= Duration::from_millis(least - 50), "{gaps:?}");
    }
    let failed = failed.load(Ordering::Relaxed);
    assert!((2..=3).contains(&failed), "{failed} requests were trials that failed");
}

#[test]
fn a_restarted_backend_needs_no_trial() {
    ronde_only!();
    let broken = Arc::new(AtomicBool::new(true));
    let mut first = Backend::start({
        let broken = Arc::clone(&broken);
        move |wire, _| if broken.load(Ordering::Relaxed) { hang_up(wire) } else { wire.send(ok("1")) }
    });
    let second = Backend::named("2");
    let proxy = Proxy::with("--fail-timeout 1h", &[first.address, second.address]);
    assert_eq!(order(&proxy, 12), "222222222222");
    proxy.process.stderr.line_with("without a response, 3 times in a row; a single request will try it");
    first.go_down();
    // ronde probes it every second, so it sees that the backend is down.
    thread::sleep(Duration::from_millis(2500));
    broken.store(false, Ordering::Relaxed);
    first.come_up();
    within(Duration::from_secs(3), "it takes its turns again", || proxy.get("/").text() == "1");
    proxy.process.stderr.line_with("is in the round: it accepts connections again");
}

#[test]
fn requests_sent_before_a_backend_was_out_are_no_trial() {
    ronde_only!();
    let (arrived, arrivals) = mpsc::channel();
    let arrived = Mutex::new(arrived);
    let bad = Backend::start(move |wire, request| match request.target() {
        "/hang" => arrived.lock().unwrap().send(()).unwrap(),
        "/trial" => {
            arrived.lock().unwrap().send(()).unwrap();
            thread::sleep(Duration::from_secs(3));
            wire.send(ok("bad"));
        }
        _ => wire.send("garbage\r\n\r\n"),
    });
    let good = Backend::named("good");
    let proxy = Proxy::with("--max-fails 1 --fail-timeout 200ms", &[bad.address, good.address]);
    let arrive = || arrivals.recv_timeout(Duration::from_secs(10)).expect("a request");
    let mut old = proxy.connect();
    old.send("GET /hang HTTP/1.1\r\nHost: a\r\n\r\n");
    arrive();
    eventually("the bad backend is out", || proxy.get("/").status() == 502);
    thread::sleep(Duration::from_millis(300));
    let mut trial = proxy.connect();
    let start = Instant::now();
    while bad.targets().last().is_none_or(|target| target != "/trial") {
        assert!(start.elapsed() < Duration::from_secs(5), "a trial");
        trial = proxy.connect();
        trial.send("GET /trial HTTP/1.1\r\nHost: a\r\n\r\n");
        thread::sleep(Duration::from_millis(20));
    }
    arrive();
    // The end of the old request says nothing about the trial in flight.
    old.reset();
    proxy.process.stdout.line_with("/hang");
    let before = bad.count();
    for _ in 0..6 {
        assert_eq!(proxy.get("/").text(), "good");
    }
    assert_eq!(bad.count(), before, "no second trial may run beside the first");
    // One without a result is no reason to leave the backend out: the next request is the next trial.
    trial.reset();
    proxy.process.stdout.line_with("/trial");
    eventually("another trial", || {
        proxy.get("/");
        bad.count() > before
    });
}

// Active health.

#[test]
fn with_an_interval_alone_a_connect_is_the_check() {
    ronde_only!();
    let (mut first, second, down) = (Backend::named("1"), Backend::named("2"), Origin::down());
    let flags = "--health-interval 100ms --health-rise 2 --health-fall 2";
    let proxy = Proxy::with(flags, &[down.address, first.address, second.address]);
    let log = &proxy.process;
    log.stderr.line_with(&format!("{} does not pass its first health check", down.address));
    assert_eq!(order(&proxy, 6), "121212");
    let tried = proxy.process.stdout.all().iter().filter(|line| line.contains("tried=")).count();
    assert_eq!(tried, 0, "the first check comes before the first request");
    first.go_down();
    // The check finds the failure, before any request does.
    log.stderr.line_with(&format!("{} is out of the round: the backend refused", first.address));
    assert_eq!(order(&proxy, 4), "2222");
    first.come_up();
    log.stderr.line_with(&format!("{} is in the round: it passes its health check again", first.address));
    assert_eq!(order(&proxy, 4).matches('1').count(), 2);
}

#[test]
fn a_connect_check_does_not_bring_back_a_backend_whose_responses_fail() {
    ronde_only!();
    let (bad, good) = (Backend::start(|wire, _| wire.send("garbage\r\n\r\n")), Backend::named("good"));
    let flags = "--health-interval 100ms --health-rise 1 --max-fails 1 --fail-timeout 1h";
    let proxy = Proxy::with(flags, &[bad.address, good.address]);
    let until = Instant::now() + Duration::from_secs(1);
    let mut failed = 0;
    while Instant::now() < until {
        failed += usize::from(proxy.get("/").status() != 200);
    }
    assert_eq!(failed, 1, "a connect says nothing about the backend's responses");
}

#[test]
fn the_status_decides_the_result_of_a_check() {
    ronde_only!();
    each_row(
        &[(200, true), (204, true), (302, true), (404, false), (500, false), (503, false)],
        |&(status, up)| {
            let asked = Backend::start(move |wire, request| match request.target() {
                "/up?a=b" => wire.send(format!("HTTP/1.1 {status} X\r\nConnection: close\r\n\r\n")),
                _ => wire.send(ok("asked")),
            });
            let other = Backend::named("other");
            let flags = "--health-path /up?a=b --health-interval 1h";
            let proxy = Proxy::with(flags, &[asked.address, other.address]);
            let answers = [proxy.get("/").text(), proxy.get("/").text()];
            assert_eq!(answers.contains(&"asked".to_owned()), up, "{answers:?}");
            let said = lines(&proxy.process, "does not pass its first health check");
            assert_eq!(
                said.iter().any(|line| line.ends_with(&format!("/up?a=b is answered with {status}"))),
                !up
            );
        },
    );
}

#[test]
fn a_new_address_is_checked_before_it_serves() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let [one, two, _] = names.ports();
    let flags = format!(
        "--health-path /up --health-interval 1h --resolve-interval 100ms app.test:{}",
        one.address.port()
    );
    let well = Backend::on(one, |wire, _| wire.send(ok("well")));
    let starting =
        Backend::on(two, |wire, _| wire.send("HTTP/1.1 503 Starting\r\nContent-Length: 0\r\n\r\n"));
    names.knows("app.test", [names.neighbour(1)]);
    let proxy = names.ronde("", &flags).serve();
    within(Duration::from_secs(5), "the name is known", || proxy.get("/").status() == 200);
    names.set("app.test", DnsReply::Addresses(vec![names.neighbour(1), names.neighbour(2)]));
    proxy.process.stderr.line_with(&format!("app.test: + {}", names.neighbour(2)));
    let until = Instant::now() + Duration::from_secs(3);
    while Instant::now() < until {
        assert_eq!(proxy.get("/").status(), 200);
    }
    assert!(well.count() > 10 && starting.targets().iter().all(|target| target == "/up"));
    assert_eq!(starting.count(), 1);
}

#[test]
fn checks_of_hung_backends_do_not_delay_the_stop() {
    ronde_only!();
    let silent = Silent::some(8);
    let good = Backend::named("good");
    let all: Vec<_> = silent.iter().map(Silent::address).chain([good.address]).collect();
    let mut proxy = Proxy::with("--health-interval 500ms --shutdown-grace 1s", &all);
    assert_eq!(proxy.get("/").text(), "good");
    // In the middle of a pass over all backends.
    thread::sleep(Duration::from_millis(1200));
    let start = Instant::now();
    proxy.process.signal(rustix::process::Signal::TERM);
    assert!(proxy.process.exit().success());
    assert!(start.elapsed() < Duration::from_millis(1500), "{:?}", start.elapsed());
}

// The log.

#[test]
fn each_access_line_names_all_backends_tried_and_the_one_that_responded() {
    ronde_only!();
    let (down, silent, good) = (Origin::down(), Silent::start(), Backend::named("good"));
    let garbage = Backend::start(|wire, _| wire.send("garbage\r\n\r\n"));
    let rows = [
        (
            "answered",
            good.address,
            format!("{} ", good.address),
            format!("tried={},{}", down.address, silent.address()),
        ),
        (
            "failed",
            garbage.address,
            "502 ".to_owned(),
            format!("tried={},{},{}", down.address, silent.address(), garbage.address),
        ),
    ];
    each_row(&rows, |(name, last, part, tried)| {
        let proxy = Proxy::with("--max-fails 0", &[down.address, silent.address(), *last]);
        proxy.get("/line");
        let line = proxy.process.stdout.line_with("/line");
        let named = |address: SocketAddr| line.matches(&address.to_string()).count();
        assert!(line.contains(part), "{name}: {line}");
        assert_eq!(
            [named(down.address), named(silent.address()), named(*last)],
            [1, 1, 1],
            "{name}: {line}: {tried}"
        );
    });
}

// Invalid settings.

#[test]
fn an_impossible_round_is_refused() {
    ronde_only!();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let file = |text: &str| {
        let path = scratch_directory().join("ronde.toml");
        std::fs::write(&path, text).unwrap();
        format!("--config {}", path.display())
    };
    let rows = [
        (String::new(), "no backends"),
        ("--backend app1".to_owned(), "\"app1\" has no port; give HOST:PORT"),
        (file("[[backend]]\naddress = \"a:1\"\nweight = 0\n"), "weight: 0 is out of bounds; give 1 to 256"),
        (
            file("[[backend]]\naddress = \"a:1\"\nmax-connections = 0\n"),
            "max-connections: 0 is out of bounds",
        ),
        ("a:1 b:1 A:1".to_owned(), "a:1 is given twice"),
        (format!("--listen {taken} {taken}"), "is ronde's own address"),
        (format!("--listen :{} 127.0.0.1:{}", taken.port(), taken.port()), "is ronde's own address"),
        (format!("--listen localhost:{} [::1]:{}", taken.port(), taken.port()), "is ronde's own address"),
    ];
    each_row(&rows, |(flags, complaint)| {
        let mut process = Ronde::with(flags).spawn();
        let code = process.exit().code();
        assert!(matches!(code, Some(1 | 2)), "{code:?}");
        let stderr = process.stderr.text();
        assert!(stderr.lines().last().is_some_and(|line| line.contains(complaint)), "{stderr}");
    });
}

#[test]
fn a_name_that_leads_back_to_ronde_is_508() {
    ronde_only!();
    let free = Port::reserve().address.port();
    let proxy = Ronde::with(&format!("--listen localhost:{free} localhost:{free}")).serve();
    eventually("the name is known", || proxy.get("/").status() == 508);
}
