//! A backend that an admin has drained: no new request comes to it, and none that it has is lost.
//!
//! Not here: the command (`x_commands`).

use crate::harness::{ADMIN, Admin, Backend, NameService, Origin, Proxy, Wire, eventually, ok, ronde_only};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

fn two(flags: &str) -> ([Backend; 2], Proxy, Admin) {
    let backends = [Backend::named("one"), Backend::named("two")];
    let proxy = Proxy::with(&format!("{ADMIN} {flags}"), &[backends[0].address, backends[1].address]);
    let admin = Admin::of(&proxy);
    (backends, proxy, admin)
}

fn answers(proxy: &Proxy, count: usize) -> Vec<String> {
    (0..count).map(|_| proxy.get("/").text()).collect()
}

#[test]
fn it_gets_no_new_requests_until_it_is_let_in_again() {
    ronde_only!();
    for flags in ["", "--balance least-connections", "--balance client-address"] {
        let ([one, two], proxy, admin) = two(flags);
        admin.drain(one.address);
        assert_eq!(answers(&proxy, 4), ["two"; 4], "{flags}");
        assert_eq!(admin.backend(one.address)["state"], "drained");
        admin.undrain(one.address);
        admin.drain(two.address);
        assert_eq!(answers(&proxy, 4), ["one"; 4], "{flags}");
        admin.undrain(two.address);
        assert_eq!(admin.backend(two.address)["state"], "in");
    }
}

#[test]
fn a_drain_under_load_costs_no_request() {
    ronde_only!();
    let ([one, two], proxy, admin) = two("");
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut client = proxy.connect();
                while !is_over.load(Ordering::Relaxed) {
                    let response = client.get("/");
                    assert_eq!(response.status(), 200, "{}", response.text());
                }
            });
        }
        for backend in [&one, &two].into_iter().cycle().take(40) {
            admin.drain(backend.address);
            eventually("nothing is under way", || admin.backend(backend.address)["active"] == 0);
            let before = backend.count();
            let other = if backend.address == one.address { &two } else { &one };
            let others = other.count();
            eventually("the other serves", || other.count() > others + 20);
            assert_eq!(backend.count(), before, "a drained backend was asked");
            admin.undrain(backend.address);
        }
        is_over.store(true, Ordering::Relaxed);
    });
    assert_eq!(admin.status()["requests"]["failed"], 0);
}

#[test]
fn what_is_under_way_ends_as_if_nothing_had_happened() {
    ronde_only!();
    let (gate, slow) = Backend::gated(|wire, _, gate| {
        wire.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst");
        gate.pass();
        wire.send("-last");
    });
    let proxy = Proxy::with(ADMIN, &[slow.address]);
    let admin = Admin::of(&proxy);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client.response_head();
    assert_eq!(client.take(5), b"first");
    admin.drain(slow.address);
    assert_eq!(admin.backend(slow.address)["active"], 1);
    gate.open();
    assert_eq!(client.take(5), b"-last");
    eventually("it is over", || admin.backend(slow.address)["active"] == 0);
    assert_eq!(admin.backend(slow.address)["kept"], 0, "its connection is not kept");
}

#[test]
fn its_kept_connections_are_closed() {
    ronde_only!();
    let origin = Origin::start();
    let proxy = Proxy::with(&format!("{ADMIN} --backend-keep-alive-timeout 1h"), &[origin.address]);
    let admin = Admin::of(&proxy);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut kept, _) = origin.answer(ok("fine"));
    client.response();
    eventually("it is kept", || admin.backend(origin.address)["kept"] == 1);
    admin.drain(origin.address);
    kept.expect_eof();
}

#[test]
fn when_all_are_drained_it_is_503_with_a_cause_of_its_own() {
    ronde_only!();
    let ([one, two], proxy, admin) = two("");
    admin.drain(one.address);
    admin.drain(two.address);
    let refused = proxy.get("/");
    assert_eq!(refused.status(), 503);
    assert!(refused.text().contains("every backend is drained"), "{}", refused.text());
    assert_eq!((one.count(), two.count()), (0, 0));
}

#[test]
fn no_fallback_chooses_it() {
    ronde_only!();
    let (backends, proxy, admin) = two("--max-fails 1");
    let [mut one, two] = backends;
    admin.drain(two.address);
    one.go_down();
    // The one that is down, then the same again as the one that is out; never the one that is drained.
    for _ in 0..5 {
        assert_eq!(proxy.get("/").status(), 502);
    }
    assert_eq!(two.count(), 0);
}

#[test]
fn a_retry_status_goes_to_no_drained_backend() {
    ronde_only!();
    let busy = Backend::start(|wire, _| wire.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"));
    let other = Backend::named("other");
    let proxy = Proxy::with(&format!("{ADMIN} --retry-status 503"), &[busy.address, other.address]);
    let admin = Admin::of(&proxy);
    admin.drain(other.address);
    assert_eq!(proxy.get("/").text(), "busy");
    assert_eq!(other.count(), 0);
}

#[test]
fn a_backend_at_its_limit_does_not_send_requests_to_a_drained_one() {
    ronde_only!();
    let (gate, limited) = Backend::gated_named("limited");
    let other = Backend::named("other");
    let file = crate::harness::scratch_directory().join("ronde.toml");
    let backends = format!(
        "backend = [{{ address = \"{}\", max-connections = 1 }}, \"{}\"]\nqueue-timeout = \"10s\"\n",
        limited.address, other.address
    );
    std::fs::write(&file, backends).expect("the file");
    let proxy = Proxy::with(&format!("{ADMIN} --config {}", file.display()), &[]);
    let admin = Admin::of(&proxy);
    admin.drain(other.address);
    let mut clients: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n"));
    eventually("one waits for room", || admin.status()["connections"]["parked"]["room"] == 1);
    gate.open();
    clients.iter_mut().for_each(|client| assert_eq!(client.response().text(), "limited"));
    assert_eq!(other.count(), 0);
}

#[test]
fn its_health_goes_on() {
    ronde_only!();
    let (backends, _proxy, admin) = two("--health-path /health --health-interval 100ms");
    let [one, _two] = backends;
    admin.drain(one.address);
    let before = one.count();
    eventually("it is checked", || one.count() > before + 3);
    assert_eq!(admin.backend(one.address)["check"]["passed"], true);
}

#[test]
fn it_is_drained_in_every_route() {
    ronde_only!();
    let [one, two] = [Backend::named("one"), Backend::named("two")];
    let routes = format!("{ADMIN} --route /a={} --route /b={}", one.address, one.address);
    let proxy = Proxy::with(&routes, &[one.address, two.address]);
    let admin = Admin::of(&proxy);
    let told = admin.post(&format!("/backends/{}/drain", one.address)).text();
    assert_eq!(told, format!("{{\"backends\":[\"{}\"]}}", one.address), "once");
    assert_eq!((proxy.get("/a").status(), proxy.get("/b").status()), (503, 503));
    assert_eq!(answers(&proxy, 3), ["two"; 3]);
    admin.undrain(one.address);
    assert_eq!((proxy.get("/a").text(), proxy.get("/b").text()), ("one".into(), "one".into()));
    let known = admin.post("/backends/app9:1/drain").text();
    assert_eq!(
        known,
        format!("no backend is called app9:1; there is {}, {}\n", one.address, two.address),
        "each once"
    );
}

#[test]
fn a_tunnel_is_under_way_until_it_ends() {
    ronde_only!();
    let origin = Origin::start();
    let proxy = Proxy::with(ADMIN, &[origin.address]);
    let admin = Admin::of(&proxy);
    let mut client = proxy.connect();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    let (mut backend, _) =
        origin.answer("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
    client.response_head();
    admin.drain(origin.address);
    client.send("over the tunnel");
    assert_eq!(backend.take(15), b"over the tunnel");
    assert_eq!(admin.backend(origin.address)["active"], 1);
    drop((client, backend));
    eventually("it has ended", || admin.backend(origin.address)["active"] == 0);
}

/// A ronde whose backend is `app.test` at this address.
fn of_name(names: &NameService, address: SocketAddr) -> (Proxy, Admin) {
    let flags = format!("{ADMIN} --resolve-interval 100ms --resolve-hold 100ms app.test:{}", address.port());
    let proxy = names.ronde("options timeout:1 attempts:3", &flags).serve();
    let admin = Admin::of(&proxy);
    (proxy, admin)
}

/// The same, with a backend there that the name leads to.
fn app(names: &NameService) -> (Backend, Proxy, Admin) {
    let [port, ..] = names.ports();
    names.knows("app.test", [port.address.ip()]);
    let backend = Backend::on(port, |wire, _| wire.send(ok("app")));
    let (proxy, admin) = of_name(names, backend.address);
    (backend, proxy, admin)
}

/// The address and the state of the only backend; of a name without an address, the former is empty.
fn only(admin: &Admin) -> (String, String) {
    let status = admin.status();
    let field = |name| status["routes"][0]["backends"][0][name].as_str().expect("a text").to_owned();
    (field("address"), field("state"))
}

fn is_gone(admin: &Admin) -> bool {
    only(admin).0.is_empty()
}

#[test]
fn it_stays_drained_when_its_name_resolves_anew() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let (app, proxy, admin) = app(&names);
    let address = app.address;
    for name in [address.to_string(), format!("app.test:{}", address.port())] {
        eventually("its name is known", || only(&admin).1 == "in");
        assert_eq!(proxy.get("/").text(), "app");
        admin.drain(&name);
        names.forgets("app.test");
        eventually("its address is gone", || is_gone(&admin));
        names.knows("app.test", [address.ip()]);
        eventually("its address is back", || !is_gone(&admin));
        assert_eq!(only(&admin).1, "drained", "by {name}");
        assert_eq!(proxy.get("/").status(), 503);
        admin.undrain(&name);
    }
    assert_eq!(app.count(), 2);
}

/// An update may take its name out of the name service for longer than the hold. `undrain` knew no such backend then, and it
/// came back drained.
#[test]
fn what_had_no_address_could_not_be_undrained() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let (app, proxy, admin) = app(&names);
    let address = app.address;
    let name = format!("app.test:{}", address.port());
    for called in [address.to_string(), name.clone(), name.to_uppercase()] {
        eventually("its name is known", || only(&admin).1 == "in");
        admin.drain(&called);
        names.forgets("app.test");
        eventually("its address is gone", || is_gone(&admin));
        admin.undrain(&called);
        assert_eq!(only(&admin).1, "out", "by {called}");
        names.knows("app.test", [address.ip()]);
        eventually("it is back", || only(&admin).1 == "in");
        assert_eq!(proxy.get("/").text(), "app", "by {called}");
    }
    names.forgets("app.test");
    eventually("its address is gone", || is_gone(&admin));
    admin.drain(&name);
    assert_eq!(only(&admin).1, "drained");
    names.knows("app.test", [address.ip()]);
    eventually("its address is back", || !is_gone(&admin));
    assert_eq!(only(&admin).1, "drained", "it was drained while it had no address");
    assert_eq!(admin.post("/backends/other.test:1/undrain").status(), 404);
}

/// It was in no metric, so that no alert could tell of it.
#[test]
fn a_name_without_an_address_was_nowhere_to_be_seen() {
    ronde_only!();
    let Some(names) = NameService::start() else { return };
    let (proxy, admin) = of_name(&names, SocketAddr::from(([127, 0, 0, 1], 9)));
    assert_eq!(only(&admin), (String::new(), "out".to_owned()));
    let metrics = admin.ask("GET /metrics", "").text();
    let series = r#"ronde_backend_state{route="default",backend="app.test:9",address="","#;
    for state in [r#"state="in"} 0"#, r#"state="absent"} 1"#] {
        assert!(metrics.contains(&format!("{series}{state}")), "{metrics}");
    }
    assert_eq!(proxy.get("/").status(), 503);
}

#[test]
fn a_unix_socket_is_drained_by_its_path() {
    ronde_only!();
    let path = crate::harness::socket_path("app.sock");
    crate::harness::serve_unix(&path, |wire: &mut Wire, _: &_| wire.send(ok("app")));
    let proxy = Proxy::with(&format!("{ADMIN} unix:{}", path.display()), &[]);
    let admin = Admin::of(&proxy);
    assert_eq!(proxy.get("/").text(), "app");
    let encoded = path.display().to_string().replace('/', "%2F");
    admin.drain(format!("unix:{encoded}"));
    assert_eq!(proxy.get("/").status(), 503);
    admin.undrain(format!("unix:{}", path.display()));
    assert_eq!(proxy.get("/").text(), "app");
}
