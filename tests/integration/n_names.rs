//! The round follows names: end to end, with a name service whose replies change.

use crate::harness::{
    Backend, DnsReply, NameService, Port, Proxy, eventually, ok, ok_chunked, ronde_only, scratch_directory,
    within,
};
use std::fs;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

/// resolv.conf(5): the resolver gives up on a silent name service soon, and tries again.
const BRISK: &str = "options timeout:1 attempts:3";

/// The resolver's defaults: 5 s, twice.
const AS_USUAL: &str = "";

macro_rules! name_service {
    () => {{
        ronde_only!();
        match NameService::start() {
            Some(service) => service,
            None => return,
        }
    }};
}

fn named(port: Port, name: &str) -> Backend {
    let name = name.to_owned();
    Backend::on(port, move |wire, _| wire.send(ok(&name)))
}

/// The bodies of `count` responses, sorted.
fn answers(proxy: &Proxy, count: usize) -> Vec<String> {
    let mut answers: Vec<_> = (0..count).map(|_| proxy.get("/").text()).collect();
    answers.sort();
    answers
}

/// Starts ronde and waits until it knows `known` addresses of `app.test`: on a busy machine ronde may start without
/// them.
fn serve(names: &NameService, flags: &str, known: usize) -> Proxy {
    let proxy = names.ronde(BRISK, flags).serve();
    eventually("the name is known", || lines(&proxy, "app.test: +") == known);
    proxy
}

fn lines(proxy: &Proxy, part: &str) -> usize {
    proxy.process.stderr.all().iter().filter(|line| line.contains(part)).count()
}

#[test]
fn a_name_that_resolves_later_is_503_until_then_and_a_backend_soon_after() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    let _app = named(port, "app");
    let start = Instant::now();
    let proxy = names.ronde(BRISK, &format!("later.test:{number}")).serve();
    assert!(start.elapsed() < Duration::from_secs(5), "ronde starts without the name: {:?}", start.elapsed());
    let refused = proxy.get("/");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("no backend address is known"), "{refused}");
    assert!(refused.sole("proxy-status").contains("destination_unavailable") && refused.has("retry-after"));
    proxy.process.stderr.line_with("later.test does not resolve");
    names.knows("later.test", [names.neighbour(1)]);
    // A name that does not resolve is looked up every second.
    within(Duration::from_secs(5), "the name is found", || proxy.get("/").text() == "app");
    proxy.process.stderr.line_with(&format!("later.test: + {}", names.neighbour(1)));
    assert_eq!(lines(&proxy, "does not resolve"), 1, "the failure is logged once, not every second");
}

#[test]
fn a_name_whose_addresses_were_never_up_is_one_warning_after_a_moment() {
    let names = name_service!();
    let [down, ..] = names.ports();
    let up = Backend::named("up");
    let number = down.address.port();
    let proxy = names.ronde(BRISK, &format!("late.test:{number} {}", up.address)).serve();
    // Not at the start, when the kernel is asked.
    names.knows("late.test", [names.neighbour(1), names.neighbour(2)]);
    let said =
        format!("late.test:{number} has accepted no connection yet: the backend refused the connection");
    within(Duration::from_secs(15), "the warning", || {
        proxy.get("/").text() == "up" && lines(&proxy, &said) == 1
    });
    assert_eq!(lines(&proxy, "is out of the round"), 2);
}

#[test]
fn backends_follow_the_addresses_of_their_name() {
    let names = name_service!();
    let [one, two, _] = names.ports();
    let number = one.address.port();
    let (one, two) = (named(one, "1"), named(two, "2"));
    let (first, second) = (names.neighbour(1), names.neighbour(2));
    names.knows("app.test", [first]);
    let proxy = serve(&names, &format!("--resolve-interval 200ms app.test:{number}"), 1);
    let line = |sign: &str, ip: IpAddr| proxy.process.stderr.line_with(&format!("app.test: {sign} {ip}"));
    line("+", first);
    assert_eq!(answers(&proxy, 4), ["1"; 4]);
    names.knows("app.test", [second, first]);
    line("+", second);
    within(Duration::from_secs(2), "both addresses take turns", || {
        answers(&proxy, 4) == ["1", "1", "2", "2"]
    });
    names.knows("app.test", [second]);
    line("-", first);
    within(Duration::from_secs(2), "the first address is gone", || answers(&proxy, 2) == ["2"; 2]);
    let before = one.count();
    assert_eq!(answers(&proxy, 6), ["2"; 6]);
    assert_eq!((one.count(), two.count() > 6), (before, true));
    assert_eq!(
        (lines(&proxy, "app.test: +"), lines(&proxy, "app.test: -")),
        (2, 1),
        "each change is one line"
    );
}

#[test]
fn every_a_and_aaaa_record_is_a_backend_of_its_own() {
    let names = name_service!();
    let [one, two, three] = names.ports();
    let number = one.address.port();
    let [_one, _two, mut three] = [named(one, "1"), named(two, "2"), named(three, "3")];
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    names.knows("app.test", [names.neighbour(1), v6, names.neighbour(2)]);
    let proxy = serve(&names, &format!("--resolve-interval 1h app.test:{number}"), 3);
    for ip in [names.neighbour(1), names.neighbour(2), v6] {
        proxy.process.stderr.line_with(&format!("app.test: + {ip}"));
    }
    assert_eq!(answers(&proxy, 9), ["1", "1", "1", "2", "2", "2", "3", "3", "3"]);
    three.go_down();
    assert_eq!(
        answers(&proxy, 12).iter().filter(|answer| *answer == "3").count(),
        0,
        "each address has its own health"
    );
    proxy.process.stderr.line_with(&format!("app.test:{number} (::1) is out of the round"));
    assert_eq!(lines(&proxy, "is out of the round"), 1);
}

#[test]
fn the_last_good_addresses_are_kept_when_the_name_service_fails() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    let _app = named(port, "app");
    names.knows("app.test", [names.neighbour(1)]);
    let flags = format!("--resolve-interval 100ms --resolve-hold 0s app.test:{number}");
    let proxy = serve(&names, &flags, 1);
    assert_eq!(answers(&proxy, 2), ["app"; 2]);
    let none = || DnsReply::Addresses(Vec::new());
    let replies = [
        DnsReply::ServFail,
        DnsReply::Silent,
        DnsReply::Halves(Box::new([DnsReply::ServFail, none()])),
        DnsReply::Halves(Box::new([DnsReply::Silent, none()])),
    ];
    for (number, reply) in replies.into_iter().enumerate() {
        names.set("app.test", reply.clone());
        let then = Instant::now();
        eventually("the name is looked up", || names.asked_since(then, "app.test") >= 2);
        eventually("the failure is logged", || lines(&proxy, "app.test does not resolve") == number + 1);
        assert_eq!(answers(&proxy, 4), ["app"; 4], "{reply:?}");
        names.knows("app.test", [names.neighbour(1)]);
        let then = Instant::now();
        eventually("the name resolves again", || names.asked_since(then, "app.test") >= 3);
        assert_eq!(answers(&proxy, 4), ["app"; 4], "after {reply:?}");
    }
    assert_eq!(lines(&proxy, "app.test: -"), 0);
}

#[test]
fn an_address_was_forgotten_when_only_the_question_for_its_family_failed() {
    let names = name_service!();
    let [one, _, three] = names.ports();
    let number = one.address.port();
    let (_one, _three) = (named(one, "4"), named(three, "6"));
    let v4 = || DnsReply::Addresses(vec![names.neighbour(1)]);
    let v6 = || DnsReply::Addresses(vec![Ipv6Addr::LOCALHOST.into()]);
    let halves = |a, aaaa| DnsReply::Halves(Box::new([a, aaaa]));
    names.set("app.test", halves(v4(), v6()));
    let flags = format!("--resolve-interval 100ms --resolve-hold 0s app.test:{number}");
    let proxy = serve(&names, &flags, 2);
    for reply in [
        halves(v4(), DnsReply::ServFail),
        halves(DnsReply::ServFail, v6()),
        halves(v4(), DnsReply::Silent),
        halves(DnsReply::Silent, v6()),
    ] {
        names.set("app.test", reply.clone());
        let then = Instant::now();
        eventually("the name is looked up", || names.asked_since(then, "app.test") >= 4);
        assert_eq!(answers(&proxy, 4), ["4", "4", "6", "6"], "{reply:?}");
    }
    names.set("app.test", halves(v4(), DnsReply::Addresses(Vec::new())));
    proxy.process.stderr.line_with("app.test: - ::1");
    within(Duration::from_secs(1), "an answer counts", || answers(&proxy, 4) == ["4"; 4]);
}

#[test]
fn requests_went_on_to_the_last_address_of_a_name_that_was_gone() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    let (_stranger, other) = (named(port, "stranger"), Backend::named("other"));
    type Row = (&'static str, fn(&NameService));
    let none: [Row; 2] = [
        ("no such name", |names| names.forgets("app.test")),
        ("no address", |names| names.knows("app.test", [])),
    ];
    names.knows("app.test", [names.neighbour(1)]);
    let flags = "--resolve-interval 100ms --resolve-hold 1s";
    let proxy = serve(&names, &format!("{flags} app.test:{number} {}", other.address), 1);
    for (count, (what, deny)) in none.into_iter().enumerate() {
        within(Duration::from_secs(2), "both take turns", || answers(&proxy, 2) == ["other", "stranger"]);
        let then = Instant::now();
        deny(&names);
        eventually("the address is out", || lines(&proxy, "app.test: -") == count + 1);
        assert!(then.elapsed() >= Duration::from_secs(1), "{what}: a single denial is not enough");
        assert!(then.elapsed() < Duration::from_secs(4), "{what}: {:?}", then.elapsed());
        within(Duration::from_secs(1), what, || answers(&proxy, 4) == ["other"; 4]);
        let said =
            "app.test does not resolve, ronde keeps trying: there is no such name, or it has no address";
        assert_eq!((lines(&proxy, said), lines(&proxy, "app.test is gone")), (count + 1, count + 1));
        names.knows("app.test", [names.neighbour(1)]);
        eventually("the address is back", || lines(&proxy, "app.test: +") == count + 2);
    }
}

#[test]
fn a_name_that_is_gone_for_less_than_the_hold_keeps_its_address() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    let _app = named(port, "app");
    names.knows("app.test", [names.neighbour(1)]);
    let proxy = serve(&names, &format!("--resolve-interval 100ms --resolve-hold 1h app.test:{number}"), 1);
    let then = Instant::now();
    names.forgets("app.test");
    eventually("the name is looked up", || names.asked_since(then, "app.test") >= 3);
    assert_eq!((answers(&proxy, 4), lines(&proxy, "app.test: -")), (vec!["app".to_owned(); 4], 0));
}

#[test]
fn when_the_only_name_is_gone_the_answer_is_503() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    let _app = named(port, "app");
    names.knows("app.test", [names.neighbour(1)]);
    let proxy = serve(&names, &format!("--resolve-interval 100ms --resolve-hold 0s app.test:{number}"), 1);
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "app");
    names.forgets("app.test");
    eventually("the address is out", || lines(&proxy, "app.test: -") == 1);
    within(Duration::from_secs(1), "no backend is left", || client.get("/").status() == 503);
    assert!(client.get("/").text().contains("no backend address is known"));
    names.knows("app.test", [names.neighbour(1)]);
    within(Duration::from_secs(3), "it is back", || client.get("/").text() == "app");
}

#[test]
fn a_wildcard_in_the_search_domain_answers_for_a_name_that_is_gone_unless_it_ends_with_a_dot() {
    let names = name_service!();
    let [port, wild, _] = names.ports();
    let number = port.address.port();
    let (_app, _wild) = (named(port, "app"), named(wild, "wild"));
    names.knows("app.test", [names.neighbour(1)]);
    names.knows("app.test.wild.test", [names.neighbour(2)]);
    let options = format!("{BRISK}\nsearch wild.test");
    for (name, answer) in [("app.test", "wild"), ("app.test.", "503")] {
        names.knows("app.test", [names.neighbour(1)]);
        let flags = format!("--resolve-interval 100ms --resolve-hold 0s {name}:{number}");
        let proxy = names.ronde(&options, &flags).serve();
        eventually("the name is known", || lines(&proxy, ": +") == 1);
        names.forgets("app.test");
        eventually("the address is out", || lines(&proxy, ": -") == 1);
        within(Duration::from_secs(2), answer, || {
            let response = proxy.get("/");
            response.text() == answer || response.status().to_string() == answer
        });
    }
}

#[test]
fn a_silent_name_service_delays_neither_the_start_nor_another_name() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    let _app = named(port, "app");
    names.set("mute.test", DnsReply::Silent);
    names.knows("app.test", [names.neighbour(1)]);
    let flags = format!("--resolve-interval 200ms mute.test:{number} app.test:{number}");
    let start = Instant::now();
    let proxy = names.ronde(AS_USUAL, &flags).serve();
    let taken = start.elapsed();
    // ronde waits for a second, and a busy machine needs time to start four processes. The resolver gives up after ten.
    assert!(taken < Duration::from_secs(3), "the start took {taken:?}");
    within(Duration::from_secs(2), "the other name serves", || proxy.get("/").text() == "app");
    names.knows("app.test", [names.neighbour(2)]);
    proxy.process.stderr.line_with(&format!("app.test: + {}", names.neighbour(2)));
    assert!(start.elapsed() < Duration::from_secs(5), "the other name must be followed meanwhile");
    assert_eq!(
        lines(&proxy, "mute.test"),
        lines(&proxy, "mute.test:"),
        "no line about the silent name has an address"
    );
}

#[test]
fn requests_in_flight_to_a_removed_address_are_finished() {
    let names = name_service!();
    let [one, two, _] = names.ports();
    let number = one.address.port();
    let (arrived, arrivals) = mpsc::channel();
    let (open, gate) = mpsc::channel::<()>();
    let (arrived, gate) = (Mutex::new(arrived), Arc::new(Mutex::new(gate)));
    let _old = Backend::on(one, move |wire, request| {
        let wait = || gate.lock().unwrap().recv().expect("the gate opens");
        let head = ok_chunked(&["begun"]);
        match request.target() {
            "/body" => {
                wire.send(head.trim_end_matches("0\r\n\r\n"));
                arrived.lock().unwrap().send(()).unwrap();
                wait();
                wire.send("5\r\n-over\r\n0\r\n\r\n");
            }
            "/head" => {
                arrived.lock().unwrap().send(()).unwrap();
                wait();
                wire.send(ok("late"));
            }
            // The log line comes shortly before the change itself.
            _ => wire.send(ok("old")),
        }
    });
    let _new = named(two, "new");
    names.knows("app.test", [names.neighbour(1)]);
    let proxy = serve(&names, &format!("--resolve-interval 200ms app.test:{number}"), 1);
    let (mut body, mut head) = (proxy.connect(), proxy.connect());
    body.send("GET /body HTTP/1.1\r\nHost: a\r\n\r\n");
    head.send("POST /head HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
    for _ in 0..2 {
        arrivals.recv_timeout(Duration::from_secs(10)).expect("both requests arrive");
    }
    names.knows("app.test", [names.neighbour(2)]);
    proxy.process.stderr.line_with(&format!("app.test: - {}", names.neighbour(1)));
    within(Duration::from_secs(2), "new requests go to the new address", || proxy.get("/").text() == "new");
    open.send(()).unwrap();
    open.send(()).unwrap();
    assert_eq!(
        (body.response().text(), head.response().text()),
        ("begun-over".to_owned(), "late".to_owned())
    );
    assert_eq!((body.get("/").text(), head.get("/").text()), ("new".to_owned(), "new".to_owned()));
}

/// One reply had not all addresses, and with the next one an address was another backend: nothing was under way there.
#[test]
fn what_is_under_way_at_an_address_was_forgotten_with_it() {
    let names = name_service!();
    let [one, ..] = names.ports();
    let number = one.address.port();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let backend = Backend::on(one, move |wire, request| {
        if request.target() == "/held" {
            gate.lock().unwrap().recv().expect("the gate opens");
        }
        wire.send(ok("b"));
    });
    names.knows("app.test", [names.neighbour(1)]);
    let file = scratch_directory().join("ronde.toml");
    let limited = format!("[[backend]]\naddress = 'app.test:{number}'\nmax-connections = 1\n");
    fs::write(&file, limited).expect("a file");
    let flags = "--resolve-interval 100ms --resolve-hold 0s --queue-timeout 300ms";
    let proxy = serve(&names, &format!("{flags} --config {}", file.display()), 1);
    let mut held = proxy.connect();
    held.send("GET /held HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("the request is with the backend", || backend.targets() == ["/held"]);
    names.forgets("app.test");
    eventually("the address is gone", || lines(&proxy, "app.test: -") == 1);
    names.knows("app.test", [names.neighbour(1)]);
    eventually("the address is back", || lines(&proxy, "app.test: +") == 2);
    assert_eq!(proxy.get("/").status(), 503, "the one that is under way is all that there may be");
    open.send(()).unwrap();
    assert_eq!(held.response().text(), "b");
    assert_eq!(proxy.get("/").text(), "b");
}

#[test]
fn a_failed_connect_triggers_a_look_up_at_once() {
    let names = name_service!();
    let [old, new, _] = names.ports();
    let number = old.address.port();
    let mut old = named(old, "old");
    let _new = named(new, "new");
    names.knows("app.test", [names.neighbour(1)]);
    let proxy = serve(&names, &format!("--resolve-interval 1h app.test:{number}"), 1);
    assert_eq!(answers(&proxy, 2), ["old"; 2]);
    let then = Instant::now();
    names.knows("app.test", [names.neighbour(2)]);
    old.go_down();
    within(Duration::from_secs(3), "the new address is found", || proxy.get("/").text() == "new");
    assert!(names.asked_since(then, "app.test") >= 1);
    assert_eq!(answers(&proxy, 4), ["new"; 4]);
}

#[test]
fn failed_connects_do_not_flood_the_name_service() {
    let names = name_service!();
    let [port, ..] = names.ports();
    let number = port.address.port();
    names.knows("app.test", [names.neighbour(1)]);
    let flags = format!("--max-fails 0 --resolve-interval 1h app.test:{number}");
    let proxy = serve(&names, &flags, 1);
    let then = Instant::now();
    let mut client = proxy.connect();
    let mut count = 0;
    while then.elapsed() < Duration::from_secs(2) {
        assert_eq!(client.get("/").status(), 502);
        count += 1;
    }
    let asked = names.asked_since(then, "app.test");
    let most = then.elapsed().as_millis() / 200 + 2;
    assert!(count > 50 && asked >= 2 && asked as u128 <= most, "{asked} look-ups for {count} failures");
}

#[test]
fn a_name_has_one_turn_for_each_address_in_a_shared_round() {
    let names = name_service!();
    let [one, two, _] = names.ports();
    let number = one.address.port();
    let [_one, _two, other] = [named(one, "1"), named(two, "2"), Backend::named("other")];
    names.knows("app.test", [names.neighbour(1), names.neighbour(2)]);
    let proxy = serve(&names, &format!("app.test:{number} {}", other.address), 2);
    assert_eq!(answers(&proxy, 9), ["1", "1", "1", "2", "2", "2", "other", "other", "other"]);
}
