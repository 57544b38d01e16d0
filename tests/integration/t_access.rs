//! Who may come in: access lists, the ways around them, and how many connections a client may have.
//!
//! Most clients here are named by a header of the PROXY protocol, since every test connects from loopback.
//!
//! Not here: which paths have one reading (`http1::plain_path`), and all pairs of lists (`config::access`).

use crate::harness::{
    Backend, Message, Origin, Process, Proxy, Ronde, Wire, each_row, eventually, needs, ok, plain_only,
    ronde_only, scratch_directory, socket_path,
};
use std::process::Command;

const STRANGER: &str = "203.0.113.9";
const ADMIN: &str = "10.1.2.3";

fn filed(text: &str) -> Ronde {
    let file = scratch_directory().join("access.toml");
    std::fs::write(&file, format!("listen = '127.0.0.1:0'\n{text}")).expect("a file");
    Ronde::with(&format!("--config {}", file.display()))
}

/// A ronde that is told by a header which client it is, with these settings, and the routes behind them.
fn introduced(text: &str) -> Proxy {
    filed(&format!("proxy-protocol = '127.0.0.1:0'\ntrust-proxy = '127.0.0.1'\n{text}")).serve()
}

/// What lets a few into `/admin` and everybody to the rest.
fn guarded(backend: &Backend) -> Proxy {
    introduced(&format!(
        "backend = '{0}'\n[[route]]\npath = '/admin'\nbackend = '{0}'\nallow = '10.0.0.0/8'\n",
        backend.address
    ))
}

fn header(client: &str) -> String {
    match client {
        "unknown" => "PROXY UNKNOWN\r\n".to_owned(),
        v6 if v6.contains(':') => format!("PROXY TCP6 {v6} 2001:db8::ffff 4711 80\r\n"),
        v4 => format!("PROXY TCP4 {v4} 198.51.100.1 4711 80\r\n"),
    }
}

/// A connection of this client.
fn connect(proxy: &Proxy, client: &str) -> Wire {
    let mut wire = proxy.connect();
    wire.send(header(client));
    wire
}

fn get(proxy: &Proxy, client: &str, target: &str) -> Message {
    connect(proxy, client).get(target)
}

#[test]
fn each_route_lets_in_whom_it_lists() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = introduced(&format!(
        "deny = '203.0.113.66'\nbackend = '{0}'\n\
         [[route]]\npath = '/admin'\nbackend = '{0}'\nallow = ['10.0.0.0/8', '2001:db8::/64']\ndeny = '10.0.0.7'\n\
         [[route]]\npath = '/admin/public'\nbackend = '{0}'\nallow = 'all'\n\
         [[route]]\npath = '/open'\nbackend = '{0}'\ndeny = 'none'\n",
        backend.address
    ));
    for (client, target, status) in [
        (ADMIN, "/admin", 200),
        (ADMIN, "/admin/x?//../%61", 200),
        ("2001:db8::5", "/admin", 200),
        ("2001:db8:1::5", "/admin", 403),
        ("10.0.0.7", "/admin", 403),
        ("10.0.0.7", "/", 200),
        (STRANGER, "/admin", 403),
        (STRANGER, "/admin/x", 403),
        (STRANGER, "http://other/admin/", 403),
        (STRANGER, "/adminx", 200),
        (STRANGER, "/", 200),
        (STRANGER, "/admin/public", 200),
        ("unknown", "/admin", 403),
        ("unknown", "/admin/public", 200),
        ("unknown", "/", 200),
        // The top level's list is inherited, until a route has one of its own.
        ("203.0.113.66", "/", 403),
        ("203.0.113.66", "/admin/public", 403),
        ("203.0.113.66", "/open", 200),
    ] {
        assert_eq!(get(&proxy, client, target).status(), status, "{client} {target}");
    }
}

#[test]
fn a_refusal_has_its_cause_takes_no_turn_and_the_connection_goes_on() {
    ronde_only!();
    let [a, b] = ["a", "b"].map(Backend::named);
    let proxy = introduced(&format!(
        "backend = ['{0}', '{1}']\n[[route]]\npath = '/admin'\nbackend = ['{0}', '{1}']\nallow = '{ADMIN}'\n",
        a.address, b.address
    ));
    let (mut stranger, mut admin) = (connect(&proxy, STRANGER), connect(&proxy, ADMIN));
    for turn in ["a", "b", "a", "b"] {
        for request in [
            "GET /admin HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /admin HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        ] {
            let refused = stranger.ask(request);
            assert_eq!((refused.status(), refused.members("connection")), (403, vec![]));
            assert_eq!(refused.sole("proxy-status"), "ronde; error=http_request_denied");
            assert_eq!(refused.text(), "403 Forbidden: this client's address is not let in here\n");
        }
        assert_eq!(admin.get("/admin").text(), turn);
    }
    stranger.send("HEAD /admin HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(stranger.response_to("HEAD").status(), 403);
    assert_eq!(stranger.get("/").status(), 200);
    let line = proxy.process.stdout.line_with("GET /admin ");
    assert!(
        line.contains(&format!("Z {STRANGER} ")) && line.contains(" 403 ") && line.contains(" - queued"),
        "{line}"
    );
    assert!(line.contains("cause=\"this client's address is not let in here\""), "{line}");
}

#[test]
fn no_body_is_waited_for() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = guarded(&backend);
    for fields in [
        "Content-Length: 5",
        "Content-Length: 50000000000",
        "Transfer-Encoding: chunked",
        "Content-Length: 5\r\nExpect: 100-continue",
    ] {
        let mut wire = connect(&proxy, STRANGER);
        let refused = wire.ask(format!("POST /admin HTTP/1.1\r\nHost: a\r\n{fields}\r\n\r\n"));
        assert_eq!(
            (refused.status(), refused.members("connection")),
            (403, vec!["close".to_owned()]),
            "{fields}"
        );
        // What still comes takes nothing back of what was said.
        wire.send("hello");
        wire.finish();
        wire.expect_eof();
    }
    // Nor is a stranger told what the limit is.
    let limited =
        filed(&format!("allow = '192.0.2.0/24'\nmax-body = 5\nbackend = '{}'\n", backend.address)).serve();
    assert_eq!(limited.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello!").status(), 403);
    let upgrade = "GET /admin HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
    assert_eq!(connect(&proxy, STRANGER).ask(upgrade).status(), 403);
    assert_eq!(backend.count(), 0);
}

#[test]
fn no_other_name_of_a_path_leads_around_its_list() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = guarded(&backend);
    each_row(
        &[
            "//admin",
            "/x/../admin",
            "/./admin",
            "/%61dmin",
            "/admi%6e",
            "/%2e/admin",
            "/x/%2E%2e/admin",
            "/x%2f../admin",
            "/%2fadmin",
            "/%5cadmin",
            "/\\admin",
            "/x\\..\\admin",
            "/x/..%5cadmin",
            "/admin%00",
            "/admin%0a",
            "/%00/admin",
            "/%zz/admin",
            "/%",
            "/admin;x",
            "/admin;x=1/users",
            "/admin%3bx",
            "/;x/admin",
            "/x/..;/admin",
            "/.;/admin",
            "/x/..%3b/admin",
            "http://a//admin",
            "http://a/%61dmin",
            "http://a/x/../admin?y",
            "///",
            "/x//",
        ],
        |target| {
            // It is no matter of the client.
            for client in [STRANGER, ADMIN] {
                let mut wire = connect(&proxy, client);
                let refused = wire.get(target);
                assert_eq!(refused.status(), 400);
                assert_eq!(refused.sole("proxy-status"), "ronde; error=http_request_error");
                assert!(refused.text().contains("the path has a dot segment"), "{}", refused.text());
                wire.expect_eof();
            }
        },
    );
    assert_eq!(backend.targets(), [""; 0]);
    for target in [
        "/",
        "/x/",
        "/a%20b/%C3%A4",
        "/.well-known/x",
        "/x;jsessionid=1/y",
        "/;jsessionid=1",
        "/x?//../%61",
        "/Admin",
    ] {
        assert_eq!(get(&proxy, STRANGER, target).status(), 200, "{target}");
    }
    let line = proxy.process.stdout.line_with("GET //admin ");
    assert!(line.contains(" 400 ") && line.contains("cause=\"the path has a dot segment"), "{line}");
}

#[test]
fn without_a_list_paths_pass_as_they_came() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    let targets = ["//admin", "/x/../admin", "/%61dmin", "/a%2fb", "/\\a", "/%zz", "/a;b"];
    targets.iter().for_each(|target| assert_eq!(proxy.get(target).status(), 200, "{target}"));
    assert_eq!(backend.targets(), targets);
}

#[test]
fn a_trusted_proxy_names_the_client_and_a_stranger_does_not() {
    ronde_only!();
    let backend = Backend::mirror();
    // The proxy itself is on the list, as it is where both are of one network.
    let start = |trusted: &str| {
        filed(&format!(
            "trust-proxy = '{trusted}'\nallow = ['10.0.0.0/8', '127.0.0.1']\nbackend = '{}'\n",
            backend.address
        ))
        .serve()
    };
    let ask = |proxy: &Proxy, fields: &str| {
        proxy.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")).status()
    };
    let proxy = start("127.0.0.1");
    for (fields, status) in [
        ("", 200),
        ("X-Forwarded-For: 10.0.0.1\r\n", 200),
        ("X-Forwarded-For: 203.0.113.9\r\n", 403),
        ("X-Forwarded-For: 10.0.0.1, 203.0.113.9\r\n", 403),
        ("X-Forwarded-For: 10.0.0.1\r\nX-Forwarded-For: 203.0.113.9\r\n", 403),
        ("X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-For: 10.0.0.1\r\n", 200),
        ("X-Forwarded-For: 203.0.113.9, 127.0.0.1\r\n", 403),
        ("X-Forwarded-For: ::ffff:10.0.0.1\r\n", 200),
        // It says that there is a client, and not which.
        ("X-Forwarded-For: unknown\r\n", 403),
        ("X-Forwarded-For: 10.0.0.1, unknown\r\n", 403),
        ("X-Forwarded-For: unknown, 127.0.0.1\r\n", 403),
        ("X-Forwarded-For: unknown, 10.0.0.1\r\n", 200),
        ("X-Forwarded-For: _hidden\r\n", 403),
        ("X-Real-IP: 10.0.0.1\r\nX-Forwarded-For: 203.0.113.9\r\n", 403),
    ] {
        assert_eq!(ask(&proxy, fields), status, "{fields:?}");
    }
    // The application is not told that it was the proxy, either.
    let origin = Origin::start();
    let proxy = Proxy::with("--trust-proxy 127.0.0.1 --real-ip --forwarded", &[origin.address]);
    let mut client = proxy.connect();
    for hops in ["unknown", "garbage", "unknown, 127.0.0.1"] {
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {hops}\r\n\r\n"));
        let (_, request) = origin.answer(ok(""));
        client.response();
        assert!(request.values("x-real-ip").is_empty(), "{hops}");
        assert_eq!(request.sole("x-forwarded-for"), format!("{hops}, 127.0.0.1"));
    }
    let proxy = filed(&format!("allow = '10.0.0.0/8'\nbackend = '{}'\n", backend.address)).serve();
    for name in ["X-Forwarded-For: 10.0.0.1", "Forwarded: for=10.0.0.1", "X-Real-IP: 10.0.0.1"] {
        assert_eq!(ask(&proxy, &format!("{name}\r\n")), 403, "{name}");
    }
    // Nor does one that a header of the PROXY protocol names.
    let proxy = introduced(&format!("allow = '10.0.0.0/8'\nbackend = '{}'\n", backend.address));
    let forged = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n";
    assert_eq!(connect(&proxy, STRANGER).ask(forged).status(), 403);
    assert_eq!(connect(&proxy, ADMIN).ask(forged).status(), 200);
}

#[test]
fn a_unix_client_has_to_be_listed_as_such() {
    ronde_only!();
    let backend = Backend::mirror();
    for (allow, status) in
        [("'unix:'", 200), ("'all'", 200), ("['0.0.0.0/0', '::/0']", 403), ("'127.0.0.1'", 403)]
    {
        let path = socket_path("front.sock");
        let proxy = filed(&format!("allow = {allow}\nbackend = '{}'\n", backend.address));
        let mut proxy = proxy;
        proxy.0.args(["--listen", "127.0.0.1:0", "--listen", &format!("unix:{}", path.display())]);
        let proxy = proxy.serve();
        assert_eq!(Wire::connect_unix(&path).get("/").status(), status, "{allow}");
        let by_tcp = if allow == "'unix:'" { 403 } else { 200 };
        assert_eq!(proxy.get("/").status(), by_tcp, "{allow}");
    }
}

#[test]
fn a_refusal_comes_before_all_that_a_route_says() {
    ronde_only!();
    let proxy = introduced(
        "allow = '10.0.0.0/8'\n\
         [[route]]\nhost = 'old.example'\nredirect = 'https://www.example.com'\n\
         [[route]]\nhost = 'down.example'\nrespond = 503\n",
    );
    for (host, status) in [("old.example", 308), ("down.example", 503), ("other.example", 404)] {
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(connect(&proxy, ADMIN).ask(&request).status(), status);
        assert_eq!(connect(&proxy, STRANGER).ask(&request).status(), 403, "{host}");
    }
}

#[test]
fn this_hosts_own_probe_is_let_in_and_no_other_question() {
    ronde_only!();
    let backend = Backend::mirror();
    let proxy = filed(&format!("allow = '10.0.0.0/8'\nbackend = '{}'\n", backend.address)).serve();
    assert!(Ronde::with(&format!("health --listen {}", proxy.address)).spawn().success().contains("is well"));
    let ask = |target: &str, fields: &str| {
        let asked = format!("OPTIONS {target} HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n{fields}\r\n");
        proxy.ask(asked).status()
    };
    assert_eq!((ask("*", ""), ask("/", ""), ask("*", "Via: 1.1 a\r\n")), (200, 403, 403));
    let proxy = introduced(&format!("allow = '10.0.0.0/8'\nbackend = '{}'\n", backend.address));
    let question = "OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 0\r\n\r\n";
    let mut stranger = connect(&proxy, STRANGER);
    assert_eq!([stranger.ask(question).status(), stranger.ask(question).status()], [403, 403]);
    assert_eq!(connect(&proxy, ADMIN).ask(question).status(), 200);
    let (address, health) = (proxy.address, "is well");
    let flags = format!("health --listen {address} --proxy-protocol {address} --trust-proxy 127.0.0.1");
    assert!(Ronde::with(&flags).spawn().success().contains(health));
}

#[test]
fn one_client_cannot_take_the_connections_of_the_others() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let backend = Backend::mirror();
    let flags =
        "--proxy-protocol 127.0.0.1:0 --trust-proxy 127.0.0.1 --max-per-client 20 --max-connections 300";
    let proxy = Proxy::with(flags, &[backend.address]);
    let mut crowd: Vec<_> = (0..200).map(|_| connect(&proxy, STRANGER)).collect();
    let mut served = Vec::new();
    for mut wire in crowd.drain(..) {
        let _closed_already = wire.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let response = wire.response();
        if response.status() == 200 {
            served.push(wire);
            continue;
        }
        assert_eq!((response.status(), response.sole("retry-after")), (429, "1".into()));
        assert_eq!(response.sole("proxy-status"), "ronde; error=connection_limit_reached");
        wire.finish();
        wire.expect_end();
    }
    assert_eq!(served.len(), 20);
    assert_eq!(get(&proxy, ADMIN, "/").status(), 200);
    // Those that are served go on.
    assert!(served.iter_mut().all(|wire| wire.get("/").status() == 200));
    let line = proxy.process.stdout.line_with(" 429 ");
    assert!(
        line.contains(&format!("Z {STRANGER} ")) && line.contains("too many connections from this client"),
        "{line}"
    );
    // One that ends makes room for one.
    drop(served.pop());
    eventually("room for one", || get(&proxy, STRANGER, "/").status() == 200);
    assert_eq!(backend.count(), 20 + 1 + 20 + 1);
}

#[test]
fn an_ipv6_client_counts_by_its_network_and_some_do_not_count() {
    ronde_only!();
    plain_only!("nothing can be said before the handshake");
    let backend = Backend::mirror();
    let flags =
        "--proxy-protocol 127.0.0.1:0 --trust-proxy 127.0.0.1 --trust-proxy 192.0.2.0/24 --max-per-client 1";
    let proxy = Proxy::with(flags, &[backend.address]);
    let mut first = connect(&proxy, "2001:db8::1");
    assert_eq!(first.get("/").status(), 200);
    assert_eq!(get(&proxy, "2001:db8::ffff:ffff:ffff:ffff", "/").status(), 429);
    assert_eq!(get(&proxy, "2001:db8:0:1::1", "/").status(), 200);
    for exempt in ["192.0.2.1", "127.0.0.1", "unknown"] {
        let mut wires = [(); 3].map(|()| connect(&proxy, exempt));
        assert!(wires.iter_mut().all(|wire| wire.get("/").status() == 200), "{exempt}");
    }
    // The peer itself, where nothing names another.
    let proxy = Proxy::with("--max-per-client 1", &[backend.address]);
    let mut wires = [(); 3].map(|()| proxy.connect());
    assert!(wires.iter_mut().all(|wire| wire.get("/").status() == 200));
}

/// Where no proxy introduces it, the acceptor refuses it. That takes an address that is no loopback one.
#[test]
fn a_peer_too_many_is_refused_at_once() {
    ronde_only!();
    needs!(Python, Ip);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/integration/clients/from_one_address.py");
    let line = "ip link set lo up && ip address add 192.0.2.1/32 dev lo && exec python3 \"$0\" \"$1\"";
    let mut command = Command::new("unshare");
    command.args(["--net", "sh", "-c", line, script, env!("CARGO_BIN_EXE_ronde")]);
    let said = Process::spawn(&mut command).success();
    let let_in = ["502"; 5].join(" ");
    assert_eq!(
        said,
        format!("stranger {let_in} 429 429 429\nloopback {let_in} 502 502 502\nafter one has ended 502")
    );
}

#[test]
fn check_tells_who_may_come_in() {
    ronde_only!();
    let backend = Backend::named("b");
    let text = format!(
        "deny = '203.0.113.66'\ntrust-proxy = '0.0.0.0/0'\nbackend = '{0}'\n\
         [[route]]\npath = '/admin'\nbackend = '{0}'\nallow = ['10.0.0.0/8', 'unix:']\ndeny = 'all'\n",
        backend.address
    );
    let file = scratch_directory().join("check.toml");
    std::fs::write(&file, text).expect("a file");
    let check = |more: &str| {
        let mut process = Ronde::with(&format!("check --config {} {more}", file.display())).spawn();
        assert!(process.exit().success());
        (process.stdout.text(), process.stderr.text())
    };
    // The list of a route is enough.
    let file = scratch_directory().join("route.toml");
    let route = format!("[[route]]\npath = '/admin'\nbackend = '{0}'\nallow = '10.0.0.1'\n", backend.address);
    std::fs::write(&file, route).expect("a file");
    let told =
        Ronde::with(&format!("check --url http://a//admin --config {}", file.display())).spawn().success();
    assert!(told.contains("route    none: 400 because the path has a dot segment"), "{told}");
    let (all, remarks) = check("");
    assert!(
        all.contains(&format!(
            "route    /admin           to {}  allow 10.0.0.0/8, unix:; deny all\n",
            backend.address
        )),
        "{all}"
    );
    assert!(
        all.contains(&format!("route    everything else  to {}  deny 203.0.113.66/32\n", backend.address)),
        "{all}"
    );
    assert!(
        remarks.contains("--deny of /admin wins over --allow, and takes in all of it: nobody is let in"),
        "{remarks}"
    );
    assert!(
        remarks.contains(
            "--trust-proxy 0.0.0.0/0 takes in every address: any client may say which address it has, so --allow and \
             --deny hold nobody back"
        ),
        "{remarks}"
    );
    let (one, _) = check("--url http://a/admin/x");
    assert!(one.contains("  allow 10.0.0.0/8, unix:; deny all\n"), "{one}");
    for url in ["http://a//admin", "http://a/admin;x"] {
        let (none, _) = check(&format!("--url {url}"));
        assert!(none.contains("route    none: 400 because the path has a dot segment"), "{none}");
    }
}
