//! Unix sockets, on either side.

use crate::harness::{
    Backend, Message, PARKED, Proxy, Ronde, Wire, curl, each_row, eventually, needs, ok, python_module,
    ronde_only, scratch_directory, serve_unix, socket_path,
};
use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A ronde that listens on a Unix socket as well, in front of a backend that shows what it gets.
fn start(flags: &str) -> (Backend, Proxy, PathBuf) {
    let (backend, path) = (Backend::mirror(), socket_path("ronde.sock"));
    let proxy = Proxy::with(&format!("--listen unix:{} {flags}", path.display()), &[backend.address]);
    (backend, proxy, path)
}

/// A ronde in front of Unix sockets.
fn in_front_of(flags: &str, paths: &[&Path]) -> Proxy {
    let backends: String = paths.iter().map(|path| format!(" unix:{}", path.display())).collect();
    Proxy::with(&format!("{flags}{backends}"), &[])
}

fn mirror(wire: &mut Wire, request: &Message) {
    wire.send(ok(&request.to_string()));
}

#[test]
fn a_unix_client_has_no_address() {
    ronde_only!();
    let (_backend, proxy, path) = start("");
    let mut wire = Wire::connect_unix(&path);
    let seen = wire.ask("GET /a HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n").text();
    assert!(!seen.contains("X-Forwarded-For") && seen.contains("X-Forwarded-Proto: http\n"), "{seen}");
    assert_eq!(wire.get("/kept").status(), 200);
    eventually("its line", || proxy.process.stdout.text().contains("Z unix: \"GET /kept HTTP/1.1\" 200"));
    // What names no host gets an empty one (RFC 9112 §3.2): the socket has no address to give.
    let without_host = Wire::connect_unix(&path).ask("GET / HTTP/1.0\r\n\r\n").text();
    assert!(without_host.contains("\nHost: \n"), "{without_host}");
}

#[test]
fn a_trusted_unix_client_is_believed() {
    ronde_only!();
    let (_backend, proxy, path) = start("--trust-proxy unix:");
    let asked =
        "GET /b HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Proto: https\r\n\r\n";
    let seen = Wire::connect_unix(&path).ask(asked).text();
    assert!(seen.contains("X-Forwarded-For: 192.0.2.1\n") && seen.contains("-Proto: https\n"), "{seen}");
    eventually("its line", || {
        let log = proxy.process.stdout.text();
        log.contains("Z 192.0.2.1 \"GET /b HTTP/1.1\" 200") && log.contains(" peer=unix:")
    });
    // The trust is for Unix clients alone.
    assert!(!proxy.ask(asked).text().contains("192.0.2.1"));
}

#[test]
fn the_file_has_its_mode_and_goes_with_ronde() {
    ronde_only!();
    for (flags, mode) in [("", 0o660), ("--listen-mode 666", 0o666), ("--listen-mode 0600", 0o600)] {
        let (_backend, mut proxy, path) = start(flags);
        let found = fs::metadata(&path).expect("the socket");
        assert!(found.file_type().is_socket());
        assert_eq!(found.permissions().mode() & 0o777, mode, "{flags}");
        proxy.process.signal(Signal::TERM);
        assert!(proxy.process.exit().success());
        assert!(!path.exists());
    }
}

#[test]
fn a_stale_file_is_replaced_and_a_live_one_is_in_use() {
    ronde_only!();
    let (_backend, mut first, path) = start("");
    let line = format!("--listen unix:{} 127.0.0.1:1", path.display());
    let mut second = Ronde::with(&line).spawn();
    assert_eq!(second.exit().code(), Some(1));
    assert!(
        second.stderr.text().contains("ronde.sock is in use by another program"),
        "{}",
        second.stderr.text()
    );
    assert_eq!(Wire::connect_unix(&path).get("/").status(), 200, "the first is unharmed");
    first.process.signal(Signal::KILL);
    first.process.exit();
    assert!(path.exists(), "a killed process leaves its file");
    let (backend, third) = (Backend::mirror(), format!("--listen unix:{}", path.display()));
    let _third = Proxy::with(&third, &[backend.address]);
    assert_eq!(Wire::connect_unix(&path).get("/").status(), 200);
}

#[test]
fn a_start_that_fails_harms_no_file_and_leaves_none() {
    ronde_only!();
    let directory = scratch_directory();
    let (precious, socket) = (directory.join("precious"), directory.join("a.sock"));
    fs::write(&precious, "precious").expect("a file");
    let fails = |line: &str, why: &str| {
        let mut ronde = Ronde::with(line).spawn();
        assert_eq!(ronde.exit().code(), Some(1), "{line}");
        assert!(ronde.stderr.text().contains(why), "{}", ronde.stderr.text());
        assert!(!socket.exists(), "{line}");
    };
    let (precious_shown, socket_shown) = (precious.display(), socket.display());
    fails(
        &format!("--listen unix:{socket_shown} --listen unix:{precious_shown} 127.0.0.1:1"),
        "there is a file that is no socket",
    );
    assert_eq!(fs::read_to_string(&precious).expect("its text"), "precious");
    fails(
        &format!("--listen unix:{socket_shown} unix:{socket_shown}"),
        "is ronde's own address; a request would go round for ever",
    );
    fails(&format!("--listen unix:{}/no/a.sock 127.0.0.1:1", directory.display()), "no such directory");
    // The admin's comes last.
    let taken = Backend::named("b");
    fails(
        &format!("--listen unix:{socket_shown} --admin {} 127.0.0.1:1", taken.address),
        "choose another address with --admin",
    );
    let own = directory.join("own.sock");
    let line = format!("--listen unix:{0} --admin unix:{socket_shown} unix:{0}", own.display());
    fails(&line, "is ronde's own address");
}

#[test]
fn a_backend_on_a_unix_socket_answers_and_is_named() {
    ronde_only!();
    let path = socket_path("app.sock");
    serve_unix(&path, mirror);
    let proxy = in_front_of("", &[&path]);
    let mut client = proxy.connect();
    for target in ["/one", "/two"] {
        let seen = client.get(target).text();
        assert!(seen.contains("Host: a\n") && seen.contains("X-Forwarded-For: 127.0.0.1\n"), "{seen}");
    }
    let name = format!(" unix:{} queued=", path.display());
    eventually("its line", || {
        let log = proxy.process.stdout.text();
        log.lines().any(|line| line.contains("\"GET /two HTTP/1.1\" 200") && line.contains(&name))
    });
}

#[test]
fn a_backend_whose_socket_is_not_there_is_tried_again() {
    ronde_only!();
    let (path, other) = (socket_path("late.sock"), Backend::named("other"));
    let flags = format!("--reveal-backends --backend unix:{}", path.display());
    let alone = in_front_of("--reveal-backends", &[&path]);
    alone.process.stderr.line_with("late.sock has accepted no connection yet: there is no such socket");
    let response = alone.get("/");
    assert_eq!(response.status(), 502);
    let status = response.to_string();
    assert!(status.contains("destination_unavailable") && status.contains("late.sock"), "{status}");
    let both = Proxy::with(&flags, &[other.address]);
    for _ in 0..4 {
        assert_eq!(both.get("/").text(), "other");
    }
    eventually("the attempt is in its line", || {
        both.process.stdout.text().contains(&format!("tried=unix:{}", path.display()))
    });
    serve_unix(&path, |wire, _| wire.send(ok("late")));
    eventually("it is in the round", || both.get("/").text() == "late");
    assert_eq!(alone.get("/").text(), "late");
}

#[test]
fn a_health_check_of_a_unix_socket_asks_for_localhost() {
    ronde_only!();
    let path = socket_path("app.sock");
    serve_unix(&path, |wire, request| {
        let is_check = request.target() == "/health";
        let is_well = !is_check || request.to_string().contains("Host: localhost\n");
        wire.send(if is_well { ok("well") } else { "HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n".into() });
    });
    let checked =
        Ronde::with(&format!("check --health-path /health unix:{}", path.display())).spawn().success();
    assert!(
        checked.contains("app.sock  connected in") && checked.contains("passes the health check"),
        "{checked}"
    );
    let proxy = in_front_of("--health-path /health --health-interval 100ms", &[&path]);
    assert_eq!(proxy.get("/").text(), "well");
    assert!(!proxy.process.stderr.text().contains("health check:"));
}

#[test]
fn a_full_backlog_is_waited_for_or_passed_by() {
    ronde_only!();
    let path = socket_path("busy.sock");
    let listener = UnixListener::bind(&path).expect("a Unix socket");
    // Calling it again changes the backlog; one more than it says is let in.
    rustix::net::listen(&listener, 0).expect("a short backlog");
    let _fills = UnixStream::connect(&path).expect("the one that fits");
    let other = Backend::named("other");
    let both = Proxy::with(&format!("--backend unix:{}", path.display()), &[other.address]);
    assert_eq!(both.get("/").text(), "other");
    let alone = in_front_of("--connect-timeout 300ms", &[&path]);
    assert_eq!(alone.get("/").status(), 504);
    let patient = in_front_of("", &[&path]);
    let mut client = patient.connect();
    client.send(GET);
    client.expect_silence();
    thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            thread::spawn(move || {
                let mut wire = Wire::over_unix(stream);
                while wire.try_request().is_ok() {
                    wire.send(ok("free"));
                }
            });
        }
    });
    assert_eq!(client.response().text(), "free");
}

#[test]
fn all_that_a_backend_sent_before_it_closed_arrives() {
    ronde_only!();
    const LONG: usize = 3_000_000;
    let path = socket_path("app.sock");
    serve_unix(&path, |wire, request| {
        // Long enough for the request to be parked: then the answer and the hang-up come as one event.
        if request.target().contains("late") {
            thread::sleep(crate::harness::PARKED);
        }
        match request.target().contains("long") {
            true => wire.send([b"HTTP/1.1 200 OK\r\n\r\n", &vec![b'x'; LONG][..]].concat()),
            false => wire.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"),
        }
        wire.stream().shutdown(std::net::Shutdown::Both).expect("a close");
    });
    let proxy = in_front_of("", &[&path]);
    each_row(&[("/", 2), ("/late", 2), ("/long", LONG), ("/late-long", LONG)], |(target, length)| {
        for _ in 0..5 {
            assert_eq!(proxy.get(target).body.len(), *length);
        }
    });
}

#[test]
fn large_bodies_pass_in_both_directions() {
    ronde_only!();
    const LONG: usize = 8_000_000;
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    serve_unix(&path, |wire, request| wire.send(ok(&String::from_utf8_lossy(&request.body))));
    let proxy = in_front_of(&format!("--listen unix:{}", front.display()), &[&path]);
    let mut client = Wire::connect_unix(&front);
    let mut sender = client.twin();
    let sent = thread::spawn(move || {
        sender.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LONG}\r\n\r\n"));
        sender.send(vec![b'x'; LONG]);
    });
    assert_eq!(client.response().body.len(), LONG);
    sent.join().expect("all sent");
    drop(proxy);
}

#[test]
fn a_slow_unix_client_holds_no_worker() {
    ronde_only!();
    const LONG: usize = 4_000_000;
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    serve_unix(&path, |wire, request| match request.target() {
        "/long" => wire.send(ok(&"x".repeat(LONG))),
        _ => wire.send(ok("short")),
    });
    let proxy = in_front_of(&format!("--workers 1 --listen unix:{}", front.display()), &[&path]);
    let mut slow: Vec<Wire> = (0..20).map(|_| Wire::connect_unix(&front)).collect();
    slow.iter_mut().for_each(|wire| wire.send("GET /long HTTP/1.1\r\nHost: a\r\n\r\n"));
    slow.iter_mut().for_each(|wire| drop(wire.take(1000)));
    assert_eq!(proxy.get("/").text(), "short");
    slow.iter_mut().for_each(|wire| wire.discard(LONG as u64 - 1000));
}

#[test]
fn a_client_that_leaves_ends_the_work() {
    ronde_only!();
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    serve_unix(&path, |_, _| {});
    let proxy = in_front_of(&format!("--listen unix:{}", front.display()), &[&path]);
    let mut client = Wire::connect_unix(&front);
    client.send(GET);
    client.expect_silence();
    drop(client);
    eventually("its line", || proxy.process.stdout.text().contains("cause=\"the client is gone\""));
}

#[test]
fn a_response_that_breaks_off_is_visibly_cut() {
    ronde_only!();
    const LONG: usize = 500_000;
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    serve_unix(&path, |wire, request| {
        let framing = if request.target() == "/chunked" {
            "Transfer-Encoding: chunked"
        } else {
            "Content-Length: 900000"
        };
        let chunk = if request.target() == "/chunked" { "FFFFF\r\n" } else { "" };
        wire.send(format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n{chunk}{}", "x".repeat(LONG)));
        wire.stream().shutdown(std::net::Shutdown::Both).expect("a close");
    });
    let proxy = in_front_of(&format!("--listen unix:{}", front.display()), &[&path]);
    each_row(&["/chunked", "/length"], |target| {
        let mut client = Wire::connect_unix(&front);
        client.send(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert!(client.cut("GET").is_some());
        // A slow one has got all there was before the end.
        assert!(client.received.len() > LONG, "{}", client.received.len());
    });
    eventually("its line", || proxy.process.stdout.text().contains("response ended early"));
}

#[test]
fn a_tunnel_between_two_unix_sockets() {
    ronde_only!();
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    serve_unix(&path, |wire, _| {
        wire.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        let heard = wire.take(4);
        wire.send(heard);
        wire.expect_eof();
        wire.send("bye");
        wire.stream().shutdown(std::net::Shutdown::Both).expect("a close");
    });
    let _proxy = in_front_of(&format!("--listen unix:{}", front.display()), &[&path]);
    let mut client = Wire::connect_unix(&front);
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    client.send(upgrade);
    assert_eq!(client.response_head().status(), 101);
    client.send("ping");
    assert_eq!(client.take(4), b"ping");
    client.finish();
    assert_eq!(client.take(3), b"bye");
    client.expect_eof();
}

/// A Unix socket reports any close as a hang-up, with what was sent before it still unread: the end of a WebSocket was a failure
/// and a reset, and what its client had sent last was lost.
#[test]
fn a_tunnel_between_two_unix_sockets_ends_like_any_other() {
    ronde_only!();
    let upgrade = "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n";
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    serve_unix(&path, move |wire, _| {
        wire.send(switch);
        wire.take(4);
        wire.send("bye");
        wire.stream().shutdown(std::net::Shutdown::Both).expect("a close");
    });
    let proxy = in_front_of(&format!("--listen unix:{}", front.display()), &[&path]);
    let mut client = Wire::connect_unix(&front);
    client.send(upgrade);
    assert_eq!(client.response_head().status(), 101);
    thread::sleep(PARKED);
    client.send("ping");
    assert_eq!(client.take(3), b"bye");
    client.expect_eof();
    drop(client);
    let line = proxy.process.stdout.line_with("\" 101 ");
    assert!(!line.contains("cause="), "{line}");

    // ronde finds all that its client has sent together with the close.
    let (front, path) = (socket_path("front.sock"), socket_path("app.sock"));
    let (heard, all) = mpsc::channel();
    serve_unix(&path, move |wire, _| {
        wire.send(switch);
        heard.send(wire.take(LAST.len()) == LAST).expect("the test");
    });
    let proxy = in_front_of(&format!("--listen unix:{}", front.display()), &[&path]);
    let mut client = Wire::connect_unix(&front);
    client.send(upgrade);
    assert_eq!(client.response_head().status(), 101);
    thread::sleep(PARKED);
    proxy.process.signal(Signal::STOP);
    client.send(LAST);
    drop(client);
    proxy.process.signal(Signal::CONT);
    assert_eq!(all.recv_timeout(Duration::from_secs(5)), Ok(true), "all that the client has sent");
}

/// More than a worker takes at once, and less than two sockets keep.
const LAST: &[u8] = &[b'x'; 150_000];

#[test]
fn a_ring_of_two_is_a_loop() {
    ronde_only!();
    let [a, b] = ["a.sock", "b.sock"].map(socket_path);
    let first = in_front_of(&format!("--listen unix:{}", a.display()), &[&b]);
    let _second = in_front_of(&format!("--listen unix:{}", b.display()), &[&a]);
    assert_eq!(first.get("/").status(), 508);
}

#[test]
fn ronde_health_and_curl_reach_a_unix_socket() {
    ronde_only!();
    needs!(Curl);
    let (_backend, _proxy, path) = start("");
    let health = Ronde::with(&format!("health --listen unix:{}", path.display())).spawn().success();
    assert!(health.contains("ronde.sock is well"), "{health}");
    let seen = curl(&["--unix-socket", &path.display().to_string(), "http://app.example/x"]).success();
    assert!(seen.contains("Host: app.example"), "{seen}");
}

#[test]
fn gunicorn_on_a_unix_socket() {
    ronde_only!();
    needs!(Gunicorn, Curl);
    let directory = scratch_directory();
    let socket = directory.join("gunicorn.sock");
    let application = "def app(environ, start):\n    \
        body = (environ['HTTP_X_FORWARDED_FOR'] + ' ' + environ['HTTP_HOST']).encode() + environ['wsgi.input'].read()\n    \
        start('200 OK', [('Content-Length', str(len(body)))])\n    return [body]\n";
    fs::write(directory.join("hello.py"), application).expect("an application");
    let (shown, here) = (format!("unix:{}", socket.display()), directory.display().to_string());
    let arguments = ["gunicorn", "--bind", &shown, "--workers", "2", "--chdir", &here, "hello:app"];
    let mut gunicorn = python_module(&arguments);
    eventually("gunicorn listens", || UnixStream::connect(&socket).is_ok());
    let proxy = in_front_of("", &[&socket]);
    let url = proxy.url("/");
    let seen =
        curl(&["--data", " and a body", &url, "--next", "--header", "Host: b.example", &url]).success();
    let host = proxy.address;
    assert_eq!(seen, format!("127.0.0.1 {host} and a body127.0.0.1 b.example"));
    // It takes its socket away when it stops.
    gunicorn.signal(Signal::TERM);
    gunicorn.exit();
    assert_eq!(proxy.get("/").status(), 502);
    let _again = python_module(&arguments);
    eventually("it is back", || proxy.get("/").status() == 200);
}
