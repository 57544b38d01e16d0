//! Routes: which backends a request meets, what ronde says instead of a backend, and what a route has of its own.
//!
//! Not here: the whole table of precedence (`http1::routing`), the settings as they are read (`config`).

use crate::harness::{Backend, Message, Origin, Proxy, Ronde, eventually, ok, ronde_only, scratch_directory};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, mpsc};
use std::time::Duration;

fn filed(text: &str) -> Ronde {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let name = format!("routes-{}.toml", NUMBER.fetch_add(1, Ordering::Relaxed));
    let file = scratch_directory().join(name);
    std::fs::write(&file, format!("listen = '127.0.0.1:0'\n{text}")).expect("a file");
    Ronde::with(&format!("--config {}", file.display()))
}

fn checked(text: &str, more: &str) -> (bool, String) {
    let mut ronde = filed(text);
    ronde.0.arg("check").args(more.split_whitespace());
    // The command is the first word.
    let words: Vec<_> = ronde.0.get_args().map(ToOwned::to_owned).collect();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ronde"));
    command.arg("check").args(words.iter().filter(|word| *word != "check"));
    let output = command.output().expect("ronde");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn ask(proxy: &Proxy, target: &str, host: &str) -> Message {
    proxy.ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n"))
}

#[test]
fn routes_to_the_same_backend_share_its_kept_connections() {
    ronde_only!();
    let backend = Backend::named("one");
    let table = |host| format!("[[route]]\nhost = '{host}'\nbackend = '{}'\n", backend.address);
    let proxy = filed(&["a", "b", "c"].map(table).concat()).serve();
    for host in ["a", "b", "c", "b", "a"] {
        assert_eq!(ask(&proxy, "/", host).text(), "one");
    }
    assert_eq!((backend.count(), backend.connections()), (5, 1));
}

#[test]
fn each_request_goes_to_the_most_specific_route() {
    ronde_only!();
    let names = ["site", "api", "below", "any-api", "rest"];
    let [site, api, below, any_api, rest] = names.map(Backend::named);
    let proxy = Ronde::with(&format!(
        "--listen 127.0.0.1:0 --route example.com={} --route example.com/api={} --route *.example.com={} \
         --route /api={} {}",
        site.address, api.address, below.address, any_api.address, rest.address
    ))
    .serve();
    for (target, host, name) in [
        ("/", "example.com", "site"),
        ("/", "EXAMPLE.com.:8080", "site"),
        ("/api", "example.com", "api"),
        ("/api/x?y", "example.com", "api"),
        ("/apix", "example.com", "site"),
        ("/api/../admin", "example.com", "api"),
        ("/%61pi", "example.com", "site"),
        ("/api", "www.example.com", "below"),
        ("/api", "a.b.example.com", "below"),
        ("/api", "other", "any-api"),
        ("/", "other", "rest"),
        ("http://example.com/api", "other", "api"),
        ("http://other/", "example.com", "rest"),
    ] {
        assert_eq!(ask(&proxy, target, host).text(), name, "{host} {target}");
    }
    assert_eq!(proxy.ask("GET /api HTTP/1.0\r\n\r\n").text(), "any-api");
    assert_eq!(proxy.ask("GET / HTTP/1.0\r\n\r\n").text(), "rest");
    assert_eq!(api.targets(), ["/api", "/api/x?y", "/api/../admin", "/api"]);
}

#[test]
fn one_connection_serves_several_routes_and_each_has_its_own_round() {
    ronde_only!();
    let [a1, a2, b1, b2] = ["a1", "a2", "b1", "b2"].map(Backend::named);
    let flags = format!(
        "--listen 127.0.0.1:0 --route a={},{} --route b={},{}",
        a1.address, a2.address, b1.address, b2.address
    );
    let proxy = Ronde::with(&flags).serve();
    let mut client = proxy.connect();
    let mut next = |host: &str| client.ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).text();
    let hosts = ["a", "b", "b", "a", "a", "b"];
    assert_eq!(hosts.map(&mut next), ["a1", "b1", "b2", "a2", "a1", "b1"]);
}

#[test]
fn what_fits_no_route_is_a_404_with_its_cause_and_the_connection_goes_on() {
    ronde_only!();
    let backend = Backend::named("b");
    let proxy = Ronde::with(&format!("--listen 127.0.0.1:0 --route a/x={}", backend.address)).serve();
    let mut client = proxy.connect();
    for request in [
        "GET /y HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /xy HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        "GET /x HTTP/1.1\r\nHost: b\r\n\r\n",
    ] {
        let response = client.ask(request);
        assert_eq!(response.status(), 404);
        assert_eq!(response.sole("proxy-status"), "ronde; error=destination_not_found");
        assert_eq!(response.text(), "404 Not Found: no route is configured for this host and path\n");
    }
    assert_eq!(client.ask("GET /x HTTP/1.1\r\nHost: a\r\n\r\n").text(), "b");
    let line = proxy.process.stdout.line_with("GET /y ");
    assert!(line.contains(" 404 ") && line.contains("cause=\"no route is configured"), "{line}");
    assert_eq!(backend.count(), 1);
    assert_eq!(proxy.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").status(), 200);
}

#[test]
fn a_route_redirects_or_responds_without_a_backend() {
    ronde_only!();
    let proxy = filed(
        "[[route]]\nhost = 'old.example'\nredirect = 'https://www.example.com'\n\
         [[route]]\nhost = 'down.example'\nrespond = 503\ntext = 'Back <at> noon.'\n",
    )
    .serve();
    let mut client = proxy.connect();
    let moved = client.ask("POST /a/../b?c=%20 HTTP/1.1\r\nHost: old.example\r\nContent-Length: 2\r\n\r\nhi");
    assert_eq!(
        (moved.status(), moved.sole("location")),
        (308, "https://www.example.com/a/../b?c=%20".into())
    );
    assert_eq!(moved.sole("proxy-status"), "ronde; error=proxy_internal_response");
    let down = client.ask("GET / HTTP/1.1\r\nHost: down.example\r\n\r\n");
    assert_eq!((down.status(), down.text()), (503, "Back <at> noon.\n".into()));
    let page = client.ask("GET / HTTP/1.1\r\nHost: down.example\r\nAccept: text/html\r\n\r\n");
    assert!(page.text().contains("Back &lt;at&gt; noon."), "{page}");
    client.send("HEAD / HTTP/1.1\r\nHost: down.example\r\n\r\n");
    let head = client.response_to("HEAD");
    assert_eq!((head.status(), head.sole("content-length")), (503, "16".into()));
    // A body that was not collected is not read, and so this connection ends.
    let streamed = "POST / HTTP/1.1\r\nHost: old.example\r\nTransfer-Encoding: chunked\r\n\r\n";
    let moved = client.ask(streamed);
    assert_eq!((moved.status(), moved.members("connection")), (308, vec!["close".to_owned()]));
    let line = proxy.process.stdout.line_with("GET / HTTP/1.1");
    assert!(line.contains(" 503 ") && !line.contains("cause="), "{line}");
}

#[test]
fn a_prefix_is_stripped_and_told() {
    ronde_only!();
    let backend = Backend::start(|wire, request| {
        let prefix = request.values("x-forwarded-prefix").join(", ");
        wire.send(ok(&format!("{} {prefix}", request.target())));
    });
    let proxy = filed(&format!(
        "trust-proxy = '192.0.2.1'\n[[route]]\npath = '/app'\nstrip = true\nbackend = '{0}'\n\
         [[route]]\npath = '/kept'\nbackend = '{0}'\n",
        backend.address
    ))
    .serve();
    for (target, seen) in [
        ("/app", "/ /app"),
        ("/app/", "/ /app"),
        ("/app?x", "/?x /app"),
        ("/app/a/../b?x", "/a/../b?x /app"),
        ("/app//x", "//x /app"),
        ("/kept/x", "/kept/x "),
        ("http://a/app/x", "/x /app"),
    ] {
        assert_eq!(ask(&proxy, target, "a").text(), seen, "{target}");
    }
    // A stranger's own word about it is not passed on.
    let forged = "GET /app HTTP/1.1\r\nHost: a\r\nX-Forwarded-Prefix: /forged\r\n\r\n";
    assert_eq!(proxy.ask(forged).text(), "/ /app");
}

#[test]
fn a_route_has_limits_and_timeouts_of_its_own() {
    ronde_only!();
    let backend = Backend::named("b");
    let silent = Backend::start(|_, _| {});
    let proxy = filed(&format!(
        "backend = '{0}'\nmax-body = '2k'\n[[route]]\npath = '/small'\nbackend = '{0}'\nmax-body = 10\n\
         [[route]]\npath = '/silent'\nbackend = '{1}'\nresponse-timeout = '200ms'\n",
        backend.address, silent.address
    ))
    .serve();
    let post = |target: &str, length: usize| {
        let head = format!("POST {target} HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
        proxy.ask(head + &"x".repeat(length)).status()
    };
    assert_eq!(
        (post("/", 1000), post("/small", 10), post("/small", 11), post("/", 3000)),
        (200, 200, 413, 413)
    );
    let chunked =
        "POST /small HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n";
    assert_eq!(proxy.ask(chunked).status(), 413);
    assert_eq!(ask(&proxy, "/silent", "a").status(), 504);
}

#[test]
fn each_route_checks_its_backends_in_its_own_way() {
    ronde_only!();
    let ill = Backend::start(|wire, request| {
        wire.send(if request.target() == "/health" {
            "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into()
        } else {
            ok("ill")
        });
    });
    let well = Backend::named("well");
    let proxy = filed(&format!(
        "[[route]]\nhost = 'a'\nbackend = ['{0}', '{1}']\nhealth-path = '/health'\nhealth-interval = '100ms'\n\
         [[route]]\nhost = 'b'\nbackend = ['{0}', '{1}']\n",
        ill.address, well.address
    ))
    .serve();
    for _ in 0..4 {
        assert_eq!(ask(&proxy, "/", "a").text(), "well");
    }
    let mut of_b = [ask(&proxy, "/", "b").text(), ask(&proxy, "/", "b").text()];
    of_b.sort();
    assert_eq!(of_b, ["ill", "well"]);
    eventually("it is checked again and again", || {
        ill.targets().iter().filter(|t| *t == "/health").count() > 3
    });
}

/// One address may serve several routes, and its line in the log said of none which it was.
#[test]
fn the_log_says_of_which_route_a_backend_is_out() {
    ronde_only!();
    let (mut shared, rest) = (Backend::named("shared"), Backend::named("rest"));
    let proxy =
        Ronde::with(&format!("--listen 127.0.0.1:0 --route /api={0} {0} {1}", shared.address, rest.address))
            .serve();
    assert_eq!(ask(&proxy, "/api", "a").text(), "shared");
    shared.go_down();
    for _ in 0..8 {
        assert_eq!(ask(&proxy, "/api", "a").status(), 502);
        assert_eq!(ask(&proxy, "/", "a").text(), "rest");
    }
    let log = &proxy.process.stderr;
    log.line_with(&format!("{} of route /api is out of the round: the backend refused", shared.address));
    log.line_with("all backends of route /api are out: ronde asks them all the same");
    log.line_with(&format!("{} of route default is out of the round: the backend refused", shared.address));
    shared.come_up();
    log.line_with(&format!("{} of route /api is in the round", shared.address));
}

/// A full queue of one route would otherwise be in front of every other.
#[test]
fn a_route_whose_backend_is_at_its_limit_delays_no_other() {
    ronde_only!();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let busy = Backend::start(move |wire, request| {
        let _ = gate.lock().expect("a gate").recv();
        wire.send(ok(request.target()));
    });
    let other = Backend::named("other");
    let route = |host: &str, address| {
        format!("[[route]]\nhost = '{host}'\n[[route.backend]]\naddress = '{address}'\nmax-connections = 1\n")
    };
    let text = format!(
        "workers = 1\nqueue-timeout = '1m'\n{}{}",
        route("busy", busy.address),
        route("other", other.address)
    );
    let proxy = filed(&text).serve();
    let mut held: Vec<_> = (0..10)
        .map(|number| {
            let mut client = proxy.connect();
            client.send(format!("GET /{number} HTTP/1.1\r\nHost: busy\r\n\r\n"));
            // The only worker has looked at it before the next one comes.
            assert_eq!(proxy.ask("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n").status(), 200);
            client
        })
        .collect();
    for _ in 0..5 {
        assert_eq!(ask(&proxy, "/", "other").text(), "other");
    }
    let before = proxy.processor_time();
    std::thread::sleep(Duration::from_millis(300));
    assert!(proxy.processor_time() - before < Duration::from_millis(100), "it does not spin");
    for (number, client) in held.iter_mut().enumerate() {
        open.send(()).expect("a backend");
        assert_eq!(client.response().text(), format!("/{number}"));
    }
}

#[test]
fn least_connections_chooses_the_backend_with_fewer_requests() {
    ronde_only!();
    let (open, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let slow = Backend::start(move |wire, _| {
        let _ = gate.lock().expect("a gate").recv();
        wire.send(ok("slow"));
    });
    let quick = Backend::named("quick");
    let flags =
        format!("--listen 127.0.0.1:0 --balance least-connections {} {}", slow.address, quick.address);
    let proxy = Ronde::with(&flags).serve();
    let mut held = proxy.connect();
    held.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    eventually("its turn", || slow.count() == 1);
    for _ in 0..10 {
        assert_eq!(proxy.get("/").text(), "quick");
    }
    open.send(()).expect("a backend");
    assert_eq!(held.response().text(), "slow");
}

#[test]
fn client_address_keeps_a_client_at_its_backend() {
    ronde_only!();
    let mut backends: Vec<_> = ["a", "b", "c"].map(Backend::named).into();
    let addresses: String = backends.iter().map(|backend| format!(" {}", backend.address)).collect();
    let flags = format!("--listen 127.0.0.1:0 --trust-proxy 127.0.0.0/8 --balance client-address{addresses}");
    let proxy = Ronde::with(&flags).serve();
    let met = |number: usize| {
        proxy.ask(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.{number}\r\n\r\n")).text()
    };
    let before: Vec<_> = (0..60).map(met).collect();
    assert_eq!((0..60).map(met).collect::<Vec<_>>(), before);
    for name in ["a", "b", "c"] {
        assert!(before.iter().filter(|met| *met == name).count() > 5, "{name}: {before:?}");
    }
    backends[0].go_down();
    for (number, before) in before.iter().enumerate().filter(|(_, before)| *before != "a") {
        assert_eq!(met(number), *before, "those of the others stay");
    }
    assert!(["b", "c"].contains(&&*met(before.iter().position(|met| met == "a").expect("one of a"))));
}

#[test]
fn check_lists_the_routes_and_says_which_one_a_url_takes() {
    ronde_only!();
    let (api, rest) = (Backend::named("api"), Backend::named("rest"));
    let down = Origin::down();
    let text = format!(
        "backend = '{}'\n[[route]]\nhost = ['example.com', '*.example.com']\npath = '/api'\nbackend = '{}'\n\
         [[route]]\nhost = 'old.example'\nredirect = 'https://example.com'\n\
         [[route]]\npath = '/down'\nbackend = '{}'\n",
        rest.address, api.address, down.address
    );
    let (is_sound, said) = checked(&text, "");
    assert!(!is_sound && said.contains(&format!("the backend {}: cannot connect", down.address)), "{said}");
    for line in [
        format!("route    example.com,*.example.com/api  to {}", api.address),
        "route    old.example                    308 to https://example.com".to_owned(),
        format!("route    everything else                to {}", rest.address),
    ] {
        assert!(said.contains(&line), "{line} in {said}");
    }
    for (url, route, address) in [
        (
            "http://example.com/api/x",
            "example.com,*.example.com/api: the host is example.com, and /api is the longest path that fits",
            api.address,
        ),
        (
            "https://www.example.com:8443/api?x",
            "example.com,*.example.com/api: the host is a name below example.com, and /api is the longest path that fits",
            api.address,
        ),
        ("http://example.com/apix", "everything else: no route fits", rest.address),
    ] {
        let (is_sound, said) = checked(&text, &format!("--url {url}"));
        assert!(is_sound && said.contains(&format!("route    {route}  to {address}\n")), "{said}");
        assert!(
            said.contains(&format!("backend  {address}")) && !said.contains(&down.address.to_string()),
            "{said}"
        );
    }
}

/// It was said to go to the route that it takes with TLS.
#[test]
fn a_url_without_tls_was_said_to_take_a_route() {
    ronde_only!();
    let text = "redirect-to-https = true\nacme-challenge = '127.0.0.1:8888'\nbackend = '127.0.0.1:9'\n";
    for (url, told) in [
        ("http://a.example/x", "none: without TLS it is 308 to https"),
        ("a.example/.well-known/acme-challenge/abc", "none: a challenge without TLS goes to 127.0.0.1:8888"),
        ("HTTPS://a.example/x", "everything else: no route fits  to 127.0.0.1:9"),
    ] {
        let (_, said) = checked(text, &format!("--offline --url {url}"));
        assert!(said.contains(&format!("route    {told}\n")), "{said}");
    }
}

/// A proxy that sends to itself answers every request with a 508.
#[test]
fn a_route_to_ronde_itself_is_refused_at_the_start() {
    ronde_only!();
    let port = crate::harness::Port::reserve();
    let ronde = Ronde::with(&format!("--listen {0} --route /x={0}", port.address));
    drop(port);
    let mut process = ronde.spawn();
    assert_eq!(process.exit().code(), Some(1), "{}", process.stderr.text());
}
