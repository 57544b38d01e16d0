//! Active checks: side by side, each in its time, and as an admin asks for them.

use crate::harness::{
    Backend, Message, NameService, Port, Proxy, Ronde, Silent, Wire, each_row, eventually, ok, ronde_only,
    scratch_directory, within,
};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

fn count(proxy: &Proxy, part: &str) -> usize {
    proxy.process.stderr.all().iter().filter(|line| line.contains(part)).count()
}

fn addresses<'a>(backends: impl IntoIterator<Item = &'a Backend>) -> Vec<SocketAddr> {
    backends.into_iter().map(|backend| backend.address).collect()
}

/// Answers `/up` as told, and everything else with `answer`.
fn checked(up: impl Fn(&mut Wire, &Message) + Send + Sync + 'static, answer: &'static str) -> Backend {
    Backend::start(move |wire, request| match request.target() {
        "/up" => up(wire, request),
        _ => wire.send(ok(answer)),
    })
}

fn says(status: u16) -> Backend {
    checked(move |wire, _| wire.send(format!("HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")), "asked")
}

/// Whether this backend passes its first check, and so takes turns beside another one.
fn is_well(flags: &str, backend: &Backend) -> bool {
    let other = Backend::named("other");
    let flags = format!("--health-path /up --health-interval 1h {flags}");
    let proxy = Proxy::with(&flags, &[backend.address, other.address]);
    let answers = [proxy.get("/").text(), proxy.get("/").text()];
    let is_in = answers.contains(&"asked".to_owned());
    assert_eq!(count(&proxy, "does not pass its first health check"), usize::from(!is_in), "{answers:?}");
    is_in
}

#[test]
fn ten_hung_backends_were_checked_one_after_another() {
    ronde_only!();
    let hung = Arc::new(AtomicBool::new(false));
    let ten: Vec<_> = (0..10)
        .map(|_| {
            let hung = Arc::clone(&hung);
            checked(
                move |wire, _| {
                    if !hung.load(Ordering::Relaxed) {
                        wire.send(ok("well"));
                    }
                },
                "one of ten",
            )
        })
        .collect();
    let good = Backend::named("good");
    let all = addresses(ten.iter().chain([&good]));
    let proxy = Proxy::with("--health-path /up --health-interval 1s", &all);
    let then = Instant::now();
    hung.store(true, Ordering::Relaxed);
    // The first of three checks begins within a second, the third two seconds later, and it takes one.
    within(Duration::from_secs(7), "all are out", || count(&proxy, "is out of the round") == 10);
    let out = then.elapsed();
    assert_eq!(proxy.get("/").text(), "good");
    let then = Instant::now();
    hung.store(false, Ordering::Relaxed);
    within(Duration::from_secs(5), "all are in again", || count(&proxy, "is in the round") == 10);
    println!("out after {out:?}, in again after {:?}", then.elapsed());
}

#[test]
fn connects_that_look_for_a_return_waited_for_each_other() {
    ronde_only!();
    let silent = Silent::some(20);
    let good = Backend::named("good");
    let all: Vec<_> = silent.iter().map(Silent::address).chain([good.address]).collect();
    let proxy = Proxy::with("--max-fails 1 --connect-timeout 500ms", &all);
    eventually("all silent ones are out", || {
        assert_eq!(proxy.get("/").text(), "good");
        count(&proxy, "is out of the round") == 20
    });
    let then = Instant::now();
    let last = silent.last().expect("one of twenty");
    let _filling = last.listener.accept().expect("room in the queue");
    let line = format!("{} is in the round: it accepts connections again", last.address());
    within(Duration::from_secs(4), "the last one is back", || count(&proxy, &line) == 1);
    println!("back after {:?}", then.elapsed());
}

#[test]
fn the_statuses_that_are_well_can_be_set() {
    ronde_only!();
    let set = "--health-status 200-299 --health-status 401";
    each_row(
        &[
            ("", 200, true),
            ("", 302, true),
            ("", 401, false),
            ("", 404, false),
            (set, 204, true),
            (set, 302, false),
            (set, 401, true),
            (set, 403, false),
        ],
        |&(flags, status, well)| assert_eq!(is_well(flags, &says(status)), well),
    );
}

#[test]
fn an_interim_response_was_taken_for_the_answer_to_a_check() {
    ronde_only!();
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    each_row(&[(200, true), (503, false)], |&(status, well)| {
        let backend = checked(
            move |wire, _| wire.send(format!("{hints}HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n")),
            "asked",
        );
        assert_eq!(is_well("", &backend), well);
    });
}

#[test]
fn the_host_of_a_check_is_the_backends_own_or_the_one_that_is_set() {
    ronde_only!();
    let set = "--health-host app.example";
    each_row(&[("", true), (set, false)], |&(flags, is_own)| {
        let port = Port::reserve();
        let host = if is_own { port.address.to_string() } else { "app.example".to_owned() };
        let backend = Backend::on(port, move |wire, request| match request.target() {
            "/up" if request.sole("host") != host => {
                wire.send("HTTP/1.1 400 Host\r\nContent-Length: 0\r\n\r\n")
            }
            _ => wire.send(ok("asked")),
        });
        assert!(is_well(flags, &backend));
    });
}

#[test]
fn a_check_had_no_timeout_of_its_own() {
    ronde_only!();
    let slow = || {
        checked(
            |wire, _| {
                std::thread::sleep(Duration::from_millis(2500));
                let _too_late = wire.try_send(ok("well"));
            },
            "asked",
        )
    };
    assert!(is_well("--health-timeout 10s", &slow()), "longer than it was");
    // It took two seconds. On a busy machine a start alone may take as long, but not each time.
    let is_short = || {
        let then = Instant::now();
        assert!(!is_well("--health-timeout 100ms", &slow()), "shorter than it was");
        then.elapsed() < Duration::from_millis(1900)
    };
    assert!((0..10).any(|_| is_short()), "a check that may take 100 ms takes longer each time");
}

#[test]
fn first_checks_of_a_new_address_that_hangs_piled_up() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let [one, two, _] = names.ports();
    let number = one.address.port();
    let _well = Backend::on(one, |wire, _| wire.send(ok("well")));
    let hung = Backend::on(two, |_, _| {});
    names.knows("app.test", [names.neighbour(1)]);
    let flags = "--health-path /up --health-interval 10s --health-timeout 5s --resolve-interval 100ms";
    let proxy = names.ronde("", &format!("{flags} app.test:{number}")).serve();
    names.knows("app.test", [names.neighbour(1), names.neighbour(2)]);
    eventually("the first check of the new address", || hung.count() == 1);
    // Three looks at all backends.
    let then = Instant::now();
    while then.elapsed() < Duration::from_secs(3) {
        assert_eq!(proxy.get("/").text(), "well");
    }
    assert_eq!(hung.targets(), ["/up"]);
}

#[test]
fn check_makes_the_health_check_too() {
    let run = |flags: &str| {
        let mut process = Ronde::with(&format!("check {flags}")).spawn();
        let code = process.exit().code();
        (code, process.stdout.text(), process.stderr.text())
    };
    let (well, ill) = (says(204), says(401));
    let (code, stdout, _) = run(&format!("--health-path /up {}", well.address));
    assert!(code == Some(0) && stdout.contains(" ms, passes the health check\n"), "{stdout}");
    let (code, _, stderr) = run(&format!("--health-path /up {} {}", well.address, ill.address));
    let expected =
        format!("the backend {} does not pass the health check: /up is answered with 401", ill.address);
    assert!(code == Some(1) && stderr.ends_with(&expected), "{stderr}");
    let (code, stdout, _) = run(&format!("--health-path /up --health-status 401 {}", ill.address));
    assert!(code == Some(0) && stdout.contains(" ms, passes the health check\n"), "{stdout}");
    let mute = checked(|_, _| {}, "asked");
    let (code, _, stderr) = run(&format!("--health-path /up --health-timeout 100ms {}", mute.address));
    assert!(code == Some(1) && stderr.ends_with("the backend did not answer in time"), "{stderr}");
}

/// It is tried once, unless its routes check it differently.
#[test]
fn check_tries_a_shared_backend_by_the_check_of_each_route() {
    ronde_only!();
    let backend = Backend::start(|wire, request| match request.target() {
        "/ill" => wire.send("HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"),
        _ => wire.send(ok("well")),
    });
    let file = scratch_directory().join("check.toml");
    let route = |path: &str, health: &str| {
        format!("[[route]]\npath = '{path}'\nbackend = '{}'\nhealth-path = '{health}'\n", backend.address)
    };
    for (second, code, asked) in [("/well", 0, 1), ("/ill", 1, 2)] {
        std::fs::write(&file, route("/a", "/well") + &route("/b", second)).expect("a file");
        let before = backend.count();
        let mut process = Ronde::with(&format!("check --config {}", file.display())).spawn();
        assert_eq!(process.exit().code(), Some(code), "{second}: {}", process.stderr.text());
        assert_eq!(backend.count() - before, asked, "{second}");
    }
}

#[test]
fn check_tried_silent_backends_one_after_another() {
    ronde_only!();
    let silent = Silent::some(20);
    let all: String = silent.iter().map(|silent| format!(" {}", silent.address())).collect();
    let then = Instant::now();
    let mut process = Ronde::with(&format!("check --connect-timeout 500ms{all}")).spawn();
    assert_eq!(process.exit_within(Duration::from_secs(5)).code(), Some(1));
    assert_eq!(process.stderr.text().matches("cannot connect").count(), 20);
    println!("checked in {:?}", then.elapsed());
}
