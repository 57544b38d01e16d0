//! TLS to the backends: what a backend has to prove, what becomes of a request when it does not, and that nothing is lost
//! that holds for plain connections.
//!
//! These tests choose between plain and TLS by themselves, so they are no part of a run that has all speak TLS.
//! `RONDE_TEST_TLS_BACKENDS=1` gives TLS to the backends of the whole suite.
//!
//! Not here: servers that are not ours (`v_tls_servers`).

use crate::harness::tls::{self, Secured};
use crate::harness::{
    Authority, Backend, End, GET, Issued, Message, Origin, PARKED, Proxy, Ronde, SWITCH, Stream, UPGRADE,
    Wire, each_row, eventually, noise, ok, open_many_files, ronde_only, scratch_directory,
};
use rustix::process::Signal;
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::server::{Acceptor, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Skips a test when the program under test is another, was built without TLS, or is given TLS by the run.
macro_rules! by_its_own_transport {
    () => {
        ronde_only!();
        if tls::is_on() || tls::is_on_to_backends() || cfg!(not(feature = "tls")) {
            println!("skipped: the backends of this run are others");
            return;
        }
    };
}
pub(crate) use by_its_own_transport;

const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi";
const LARGE: usize = 30 << 20;

/// A ronde that believes this authority, in front of backends with TLS.
fn ronde(flags: &str, authority: &Authority, backends: &[SocketAddr]) -> Proxy {
    let backends: String = backends.iter().map(|address| format!(" https://{address}")).collect();
    Proxy::with(&format!("{} {flags}{backends}", authority.flag()), &[])
}

/// A backend with TLS that the test drives, ronde in front of it, and a client.
fn setup(flags: &str) -> (Origin, Proxy, Wire) {
    setup_of(flags, |issued| issued.server())
}

fn setup_of(flags: &str, server: impl Fn(&Issued) -> Arc<ServerConfig>) -> (Origin, Proxy, Wire) {
    let authority = Authority::new();
    let origin = Origin::with_tls(server(&authority.issue(&["127.0.0.1"])));
    let proxy = ronde(flags, &authority, &[origin.address]);
    let client = proxy.connect();
    (origin, proxy, client)
}

fn secured(wire: &Wire) -> &Secured {
    match wire.stream() {
        Stream::Tls(secured) => secured,
        Stream::Plain(_) => panic!("no TLS"),
    }
}

#[test]
fn requests_go_over_one_connection_with_the_host_that_the_client_asked_for() {
    by_its_own_transport!();
    for version in [&TLS12, &TLS13] {
        let (origin, proxy, mut client) = setup_of("", |issued| issued.server_of(&[version]));
        client.send("GET /a HTTP/1.1\r\nHost: shop.example\r\n\r\n");
        let (mut backend, request) = origin.answer(ok("one"));
        assert_eq!((request.target(), request.sole("host")), ("/a", "shop.example".into()));
        assert_eq!(request.sole("x-forwarded-proto"), "http");
        assert_eq!(client.response().text(), "one");
        client.send(POST);
        assert_eq!(backend.request().text(), "hi");
        backend.send(ok("two"));
        assert_eq!(client.response().text(), "two");
        assert_eq!(secured(&backend).protocol().as_deref(), Some(&b"http/1.1"[..]));
        let line = proxy.process.stdout.line_with("/a HTTP/1.1");
        assert!(line.contains(&origin.address.to_string()), "{line}");
    }
}

/// A name is sent, so that the backend can choose a certificate; an address is not (RFC 6066 §3).
#[test]
fn the_host_is_sent_as_it_is_configured() {
    by_its_own_transport!();
    let authority = Authority::new();
    for (host, sent) in
        [("localhost", Some("localhost")), ("LOCALHOST", Some("localhost")), ("127.0.0.1", None)]
    {
        let origin = Origin::with_tls(authority.issue(&["localhost"]).server());
        let backend = format!("https://{host}:{}", origin.address.port());
        let proxy = Proxy::with(&format!("{} {backend}", authority.flag()), &[]);
        let mut client = proxy.connect();
        client.send(GET);
        let (mut stream, mut acceptor) = (origin.accept_bare(), Acceptor::default());
        let accepted = loop {
            acceptor.read_tls(&mut stream).expect("bytes");
            if let Some(accepted) = acceptor.accept().expect("a first message") {
                break accepted;
            }
        };
        let hello = accepted.client_hello();
        assert_eq!(hello.server_name(), sent, "{host}");
        assert_eq!(hello.alpn().expect("protocols").collect::<Vec<_>>(), [b"http/1.1"], "{host}");
    }
}

#[test]
fn a_session_is_gone_on_with_on_the_next_connection() {
    by_its_own_transport!();
    for version in [&TLS12, &TLS13] {
        let (origin, _proxy, mut client) = setup_of("", |issued| issued.server_of(&[version]));
        for is_resumed in [false, true] {
            client.send(GET);
            let (backend, _) =
                origin.answer("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx");
            assert_eq!(client.response().text(), "x");
            assert_eq!(secured(&backend).is_resumed(), is_resumed);
        }
    }
}

/// How a backend fails to prove what it is, the failure, its error type, and what the log says of the cause.
type Row = (fn(&Authority) -> Origin, &'static str, &'static str, &'static str);

fn shows(issued: Issued) -> Origin {
    Origin::with_tls(issued.server())
}

const ROWS: &[Row] = &[
    (
        |authority| shows(authority.issue_between(&["127.0.0.1"], 2020, 2021)),
        "the backend's certificate is not believed",
        "tls_certificate_error",
        "its certificate ran out on Fri, 01 Jan 2021 00:00:00 GMT",
    ),
    (
        |authority| shows(authority.issue_between(&["127.0.0.1"], 2090, 2091)),
        "the backend's certificate is not believed",
        "tls_certificate_error",
        "its certificate begins on Sun, 01 Jan 2090 00:00:00 GMT",
    ),
    (
        |authority| shows(authority.issue(&["app.example", "*.b.example", "127.0.0.2"])),
        "the backend's certificate is not believed",
        "tls_certificate_error",
        "its certificate is for app.example, *.b.example, 127.0.0.2, and not for 127.0.0.1",
    ),
    (
        |_| shows(Authority::new().issue(&["127.0.0.1"])),
        "the backend's certificate is not believed",
        "tls_certificate_error",
        "from an issuer that is not trusted; if the issuer is your own, name its certificate with --backend-ca",
    ),
    (
        |_| shows(Issued::by_itself(&["127.0.0.1"], 2020, 2040)),
        "the backend's certificate is not believed",
        "tls_certificate_error",
        "vouches for itself, and is not trusted; if it is the right one, name it with --backend-ca",
    ),
    (
        |authority| {
            let mut config = (*authority.issue(&["127.0.0.1"]).server()).clone();
            config.alpn_protocols = vec![b"h2".to_vec()];
            Origin::with_tls(Arc::new(config))
        },
        "the backend ended the TLS handshake with an alert",
        "tls_alert_received",
        "with the alert NoApplicationProtocol",
    ),
];

/// By TLS 1.3 that is told when the request may be out already, so no other backend gets it.
#[test]
fn a_backend_that_wants_a_certificate_of_ronde_is_said_to() {
    by_its_own_transport!();
    for version in [&TLS12, &TLS13] {
        let (origin, proxy, mut client) = setup_of("", |issued| {
            let provider = Arc::new(rustls::crypto::ring::default_provider());
            let mut roots = rustls::RootCertStore::empty();
            roots.add(issued.der.clone()).expect("a root");
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
            let builder =
                builder.expect("a version").with_client_cert_verifier(verifier.build().expect("a verifier"));
            let key = PrivatePkcs8KeyDer::from(issued.key_der.clone()).into();
            Arc::new(builder.with_single_cert(vec![issued.der.clone()], key).expect("a pair"))
        });
        client.send(POST);
        let _wire = origin.accept();
        let response = client.response();
        assert_eq!(response.status(), 502);
        assert!(response.sole("proxy-status").contains("tls_alert_received"), "{response}");
        let said = proxy.process.stderr.line_with("it ended the TLS handshake with the alert");
        assert!(said.contains("CertificateRequired") || said.contains("HandshakeFailure"), "{said}");
    }
}

#[test]
fn a_backend_that_does_not_prove_what_it_is_gets_no_request() {
    by_its_own_transport!();
    for (origin, failure, token, cause) in ROWS {
        let authority = Authority::new();
        let origin = origin(&authority);
        let proxy = ronde("--max-fails 0", &authority, &[origin.address]);
        let mut client = proxy.connect();
        for request in [GET, POST, GET] {
            client.send(request);
            let mut backend = origin.accept();
            assert!(backend.try_request().is_err_and(|cut| cut.so_far.is_none()), "{cause}");
            let response = client.response();
            assert_eq!(response.status(), 502, "{cause}");
            assert!(response.sole("proxy-status").contains(token), "{response}");
            assert!(response.text().contains(failure), "{response}");
        }
        let line = proxy.process.stdout.line_with("POST / ");
        assert!(line.contains(" 502 ") && line.contains(&format!("cause=\"{failure}\"")), "{line}");
        assert!(line.contains(&origin.address.to_string()), "{line}");
        let said = proxy.process.stderr.all();
        let said: Vec<_> = said.iter().filter(|line| line.contains("WARN")).collect();
        let [line] = &said[..] else { panic!("{said:#?}") };
        assert!(line.contains(&format!("https://{}: it", origin.address)) && line.contains(cause), "{line}");
    }
}

/// Nothing of the request was sent, so any method goes on.
#[test]
fn the_next_backend_is_asked_whatever_the_method() {
    by_its_own_transport!();
    for (origin, _, _, cause) in ROWS {
        let authority = Authority::new();
        let (bad, good) = (
            origin(&authority),
            Backend::with_tls(authority.issue(&["127.0.0.1"]).server(), |wire, _| {
                wire.send(ok("good"));
            }),
        );
        let proxy = ronde("", &authority, &[bad.address, good.address]);
        let ending = thread::spawn(move || {
            // The alert is read, and that is all.
            let mut wire = bad.accept();
            (wire.try_request().is_err(), bad)
        });
        let mut client = proxy.connect();
        assert_eq!(
            [client.ask(POST), client.ask(POST)].map(|response| response.text()),
            ["good", "good"],
            "{cause}"
        );
        assert!(ending.join().expect("the bad one").0);
        let line = proxy.process.stdout.line_with("POST / ");
        assert!(line.contains(" 200 "), "{line}");
    }
}

#[test]
fn what_is_no_tls_is_said_so() {
    by_its_own_transport!();
    type Answer = fn(&mut std::net::TcpStream);
    let rows: &[(Answer, &str)] = &[
        (
            |stream| {
                let _sent = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
                let _gone = stream.read_to_end(&mut Vec::new());
            },
            "what it answers is no TLS; does it speak plain HTTP on this port?",
        ),
        (
            |stream| {
                let _end = stream.shutdown(Shutdown::Write);
                let _gone = stream.read_to_end(&mut Vec::new());
            },
            "it closed the connection in the middle of the TLS handshake",
        ),
        (
            |stream| {
                rustix::net::sockopt::set_socket_linger(stream, Some(Duration::ZERO)).expect("SO_LINGER")
            },
            "the connection broke in the middle of the TLS handshake",
        ),
    ];
    for (answer, cause) in rows {
        let (authority, origin) = (Authority::new(), Origin::start());
        let proxy = ronde("", &authority, &[origin.address]);
        let mut client = proxy.connect();
        client.send(POST);
        let mut stream = origin.accept_bare();
        let _first = stream.read(&mut [0; 5]).expect("a first message");
        answer(&mut stream);
        drop(stream);
        let response = client.response();
        assert_eq!(response.status(), 502);
        assert!(response.sole("proxy-status").contains("tls_protocol_error"), "{response}");
        proxy.process.stderr.line_with(cause);
        proxy.process.stdout.line_with("cause=\"the TLS handshake with the backend failed\"");
    }
}

#[test]
fn a_plain_server_that_waits_for_more_is_given_up_in_the_time_of_a_connect() {
    by_its_own_transport!();
    let (authority, origin) = (Authority::new(), Origin::start());
    let proxy = ronde("--connect-timeout 300ms", &authority, &[origin.address]);
    let mut client = proxy.connect();
    let begun = Instant::now();
    client.send(POST);
    let _silent = origin.accept_bare();
    let response = client.response();
    assert_eq!(response.status(), 504);
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert!(response.sole("proxy-status").contains("connection_timeout"), "{response}");
    let line = proxy.process.stdout.line_with("POST / ");
    assert!(line.contains("cause=\"the TLS handshake with the backend did not end in time\""), "{line}");
}

/// It accepts, and that is all: two workers, two thousand clients that wait for it, and everybody else.
#[test]
fn thousands_wait_for_a_handshake_and_the_others_are_served() {
    by_its_own_transport!();
    open_many_files();
    const WAITING: usize = 2000;
    let authority = Authority::new();
    let hung = Origin::start();
    let good = Backend::with_tls(authority.issue(&["127.0.0.1"]).server(), |wire, _| wire.send(ok("good")));
    let flags = format!(
        "--workers 2 --queue-timeout 10s --connect-timeout 60s --route /hung=https://{}",
        hung.address
    );
    let proxy = ronde(&flags, &authority, &[good.address]);
    let ask = || {
        let mut client = proxy.connect();
        client.send("GET /hung HTTP/1.1\r\nHost: a\r\n\r\n");
        client
    };
    // The first alone, since two workers may connect for two clients in any order.
    let (mut waiting, mut held) = (vec![ask()], vec![hung.accept_bare()]);
    waiting.extend((1..WAITING).map(|_| ask()));
    held.extend((1..WAITING).map(|_| hung.accept_bare()));
    for _ in 0..20 {
        let begun = Instant::now();
        assert_eq!(proxy.get("/").text(), "good");
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    }
    let threads = proxy.status("Threads");
    assert!(threads <= 2 + 10, "{threads} threads");
    let before = proxy.processor_time();
    thread::sleep(Duration::from_millis(300));
    let spent = proxy.processor_time() - before;
    assert!(spent <= Duration::from_millis(30), "{spent:?} of 300 ms");
    // A client that leaves takes its connection along.
    waiting.truncate(1);
    let first = held.remove(0);
    for stream in &mut held {
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    drop(first);
    assert_eq!(waiting[0].response().status(), 502);
}

#[test]
fn a_backend_whose_handshake_hangs_is_passed_over_in_a_second() {
    by_its_own_transport!();
    let authority = Authority::new();
    let hung = Origin::start();
    let good = Backend::with_tls(authority.issue(&["127.0.0.1"]).server(), |wire, _| wire.send(ok("good")));
    let proxy = ronde("", &authority, &[hung.address, good.address]);
    for _ in 0..4 {
        let begun = Instant::now();
        let mut client = proxy.connect();
        assert_eq!(client.ask(POST).text(), "good");
        assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    }
}

/// New keys in the middle of nothing are no bytes that nobody asked for (RFC 8446 §4.6).
#[test]
fn what_tls_says_on_an_idle_connection_does_not_close_it() {
    by_its_own_transport!();
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer(ok("one"));
    assert_eq!(client.response().text(), "one");
    for number in 0..3 {
        secured(&backend).refresh_keys();
        thread::sleep(PARKED);
        client.send(POST);
        assert_eq!(backend.request().text(), "hi");
        backend.send(ok(&number.to_string()));
        assert_eq!(client.response().text(), number.to_string());
    }
}

#[test]
fn bytes_or_an_end_on_an_idle_connection_do() {
    by_its_own_transport!();
    type Ends = fn(&mut Wire);
    let rows: [(&str, Ends); 3] = [
        ("bytes", |wire| wire.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")),
        ("close_notify", |wire| wire.finish()),
        ("a FIN", |wire| wire.stream().shutdown(Shutdown::Write).expect("a FIN")),
    ];
    for (what, end) in rows {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        let (mut backend, _) = origin.answer(ok("one"));
        assert_eq!(client.response().text(), "one");
        end(&mut backend);
        thread::sleep(PARKED);
        client.send(POST);
        let (_other, request) = origin.answer(ok("two"));
        assert_eq!((request.text(), client.response().text()), ("hi".into(), "two".into()), "{what}");
    }
}

#[test]
fn an_idle_connection_that_is_closed_is_told_so() {
    by_its_own_transport!();
    let (origin, _proxy, mut client) = setup("--backend-keep-alive-timeout 200ms");
    client.send(GET);
    let (mut backend, _) = origin.answer(ok("one"));
    assert_eq!(client.response().text(), "one");
    backend.expect_eof();
}

#[test]
fn a_connection_that_serves_no_further_request_is_told_so() {
    by_its_own_transport!();
    for response in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    ] {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        let (mut backend, _) = origin.answer(response);
        assert_eq!(client.response().text(), "hi");
        backend.expect_eof();
    }
}

/// Routes with the same address: who has checked less must not hand its connection to who checks more.
#[test]
fn kept_connections_are_shared_among_those_that_check_the_same() {
    by_its_own_transport!();
    let authority = Authority::new();
    let backend = Backend::with_tls(authority.issue(&["127.0.0.1", "localhost"]).server(), |wire, _| {
        wire.send(ok("b"))
    });
    let port = backend.address.port();
    let file = scratch_directory().join("ronde.toml");
    let ca = authority.file.display();
    let config = format!(
        "listen = '127.0.0.1:0'\nbackend-ca = '{ca}'\n\
         [[route]]\npath = '/same'\nbackend = 'https://127.0.0.1:{port}'\n\
         [[route]]\npath = '/too'\nbackend-ca = '{ca}'\nbackend = 'https://127.0.0.1:{port}'\n\
         [[route]]\npath = '/blind'\nbackend-tls-insecure = true\nbackend = 'https://127.0.0.1:{port}'\n\
         [[route]]\npath = '/blind2'\nbackend-tls-insecure = true\nbackend = 'https://127.0.0.1:{port}'\n\
         [[route]]\npath = '/name'\n[[route.backend]]\naddress = 'https://localhost:{port}'\nweight = 2\n"
    );
    std::fs::write(&file, config).expect("the file");
    let proxy = Ronde::with(&format!("--config {}", file.display())).serve();
    for (path, connections) in
        [("/same", 1), ("/too", 1), ("/blind", 2), ("/blind2", 2), ("/same", 2), ("/name", 3)]
    {
        assert_eq!(proxy.get(path).text(), "b", "{path}");
        assert_eq!(backend.connections(), connections, "{path}");
    }
    let said = proxy.process.stderr.line_with("--backend-tls-insecure: whatever answers for");
    assert!(said.contains("WARN") && said.contains(&format!("https://127.0.0.1:{port} ")), "{said}");
}

/// A tunnel keeps the route before the reload alive, and with it what was kept for others.
#[test]
fn a_reload_closes_what_was_kept_for_another_proof() {
    by_its_own_transport!();
    let authority = Authority::new();
    let origin = Origin::with_tls(authority.issue(&["127.0.0.1"]).server());
    let file = scratch_directory().join("ronde.toml");
    let ca = authority.file.display();
    let config =
        format!("listen = '127.0.0.1:0'\nbackend-ca = '{ca}'\nbackend = 'https://{}'\n", origin.address);
    std::fs::write(&file, config).expect("the file");
    let proxy = Ronde::with(&format!("--config {}", file.display())).serve();
    let mut tunnel = proxy.connect();
    tunnel.send(UPGRADE);
    let (mut switched, _) = origin.answer(SWITCH);
    tunnel.response_head();
    let mut client = proxy.connect();
    client.send(GET);
    let (mut kept, _) = origin.answer(ok("kept"));
    assert_eq!(client.response().text(), "kept");
    proxy.process.signal(Signal::HUP);
    proxy.process.stderr.line_with(" reloaded: ");
    kept.expect_eof();
    tunnel.send("still");
    assert_eq!(switched.take(5), b"still");
}

#[test]
fn a_response_that_ends_without_close_notify_is_cut() {
    by_its_own_transport!();
    let head = "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n";
    for (is_whole, end) in [(true, End::Eof), (false, End::Reset)] {
        let (origin, proxy, mut client) = setup("");
        client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
        let (backend, _) = origin.answer(format!("{head}hello"));
        if is_whole {
            backend.finish();
        } else {
            backend.stream().shutdown(Shutdown::Write).expect("a FIN");
        }
        assert_eq!(client.response_head().status(), 200);
        assert_eq!(client.rest(), (b"hello".to_vec(), end));
        if !is_whole {
            proxy.process.stdout.line_with("cause=\"the backend's response ended early\"");
        }
        drop(backend);
    }
}

#[test]
fn a_kept_connection_that_ends_under_a_request_is_tried_again() {
    by_its_own_transport!();
    for is_clean in [true, false] {
        let (origin, _proxy, mut client) = setup("");
        client.send(GET);
        let (mut backend, _) = origin.answer(ok("one"));
        assert_eq!(client.response().text(), "one");
        client.send(GET);
        backend.request();
        if is_clean {
            backend.finish();
        }
        backend.stream().shutdown(Shutdown::Both).expect("an end");
        origin.answer(ok("two"));
        assert_eq!(client.response().text(), "two");
    }
}

#[test]
fn a_tunnel_carries_bytes_and_ends_both_ways() {
    by_its_own_transport!();
    for is_clean in [true, false] {
        let (origin, _proxy, mut client) = setup("");
        client.send(UPGRADE);
        let (mut backend, _) = origin.answer(format!("{SWITCH}hello"));
        assert_eq!(client.response().status(), 101);
        assert_eq!(client.take(5), b"hello");
        client.send("ping");
        assert_eq!(backend.take(4), b"ping");
        if is_clean {
            client.finish();
            backend.expect_eof();
            backend.send("pong");
            assert_eq!(client.take(4), b"pong");
            backend.finish();
            client.expect_eof();
        } else {
            backend.stream().shutdown(Shutdown::Write).expect("a FIN");
            assert_eq!(client.rest().1, End::Reset, "a tunnel that broke");
        }
    }
}

/// A server that closed its socket behind its Close had its client's connection reset, which may take the Close back.
#[test]
fn a_websocket_whose_backend_said_no_last_word_was_reset() {
    by_its_own_transport!();
    let (origin, proxy, mut client) = setup("");
    client.send(UPGRADE.replace("Upgrade: x", "Upgrade: WebSocket"));
    let (mut backend, _) = origin.answer(SWITCH.replace("Upgrade: x", "Upgrade: websocket"));
    client.response_head();
    backend.send("\u{88}\0");
    backend.stream().shutdown(Shutdown::Write).expect("a FIN");
    assert_eq!(client.take(3), "\u{88}\0".as_bytes());
    client.expect_eof();
    client.finish();
    let line = proxy.process.stdout.line_with(" 101 ");
    assert!(!line.contains("cause="), "{line}");
}

/// Many a server closes its socket without TLS's last word when its client has closed.
#[test]
fn a_tunnel_that_its_client_ends_needs_no_last_word_of_the_backend() {
    by_its_own_transport!();
    let (origin, proxy, mut client) = setup("");
    client.send(UPGRADE);
    let (mut backend, _) = origin.answer(SWITCH);
    client.response_head();
    client.finish();
    backend.expect_eof();
    backend.send("bye");
    assert_eq!(client.take(3), b"bye");
    backend.stream().shutdown(Shutdown::Both).expect("a FIN");
    client.expect_eof();
    let line = proxy.process.stdout.line_with(" 101 ");
    assert!(!line.contains("cause="), "{line}");
}

#[test]
fn a_tunnel_that_both_fill_goes_on() {
    by_its_own_transport!();
    let (origin, _proxy, mut client) = setup("--workers 2");
    client.send(UPGRADE);
    let (mut backend, _) = origin.answer(SWITCH);
    assert_eq!(client.response().status(), 101);
    let bytes = noise(4 << 20);
    let (mut to_backend, mut to_client) = (client.twin(), backend.twin());
    let (up, down) = (bytes.clone(), bytes.clone());
    let sending = [thread::spawn(move || to_backend.send(up)), thread::spawn(move || to_client.send(down))];
    let reading = thread::spawn(move || backend.take(4 << 20));
    assert!(client.take(4 << 20) == bytes);
    assert!(reading.join().expect("the backend") == bytes);
    for thread in sending {
        thread.join().expect("a sender");
    }
}

#[test]
fn large_bodies_pass_whole_in_both_directions() {
    by_its_own_transport!();
    for chunked in [false, true] {
        let (origin, _proxy, client) = setup("--workers 2");
        let body = noise(LARGE);
        let (sent, mut sender) = (body.clone(), client.twin());
        let sending = thread::spawn(move || {
            if chunked {
                sender.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
                for piece in sent.chunks(100_000) {
                    sender.send(format!("{:x}\r\n", piece.len()));
                    sender.send([piece, b"\r\n"].concat());
                }
                sender.send("0\r\n\r\n");
            } else {
                sender.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
                sender.send(&sent);
            }
        });
        let (mut backend, request) = origin.request();
        assert!(request.body == body, "chunked: {chunked}");
        sending.join().expect("the client");
        let back = body.clone();
        let answering = thread::spawn(move || {
            backend.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
            backend.send(&back);
        });
        // It pauses, and the response is parked with what is in hand.
        thread::sleep(Duration::from_millis(300));
        let mut client = client;
        assert!(client.response().body == body);
        answering.join().expect("the backend");
    }
}

#[test]
fn an_upload_waits_for_a_backend_that_does_not_read() {
    by_its_own_transport!();
    let (origin, _proxy, mut client) = setup("--workers 2");
    let body = noise(12 << 20);
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", body.len()));
    let (sent, mut sender) = (body.clone(), client.twin());
    let sending = thread::spawn(move || sender.send(sent));
    let mut backend = origin.accept();
    thread::sleep(Duration::from_millis(500));
    let request = backend.request();
    assert!(request.body == body);
    sending.join().expect("the client");
    backend.send(ok("all"));
    assert_eq!(client.response().text(), "all");
}

#[test]
fn an_early_answer_is_heard_while_the_request_is_sent() {
    by_its_own_transport!();
    for is_clean in [true, false] {
        let (origin, _proxy, client) = setup("");
        let mut sender = client.twin();
        let sending = thread::spawn(move || {
            sender.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
            let _refused = sender.try_send(noise(LARGE));
        });
        let mut backend = origin.accept();
        backend.request_head();
        backend.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig");
        if is_clean {
            backend.finish();
        }
        let mut client = client;
        let response = client.response();
        assert_eq!((response.status(), response.text()), (413, "big".into()));
        drop(backend);
        drop(client);
        sending.join().expect("the client");
    }
}

#[test]
fn a_health_check_speaks_tls() {
    by_its_own_transport!();
    let authority = Authority::new();
    let answer = |wire: &mut Wire, request: &Message| match request.target() {
        "/up" => wire.send(ok(&request.sole("host"))),
        _ => wire.send(ok("well")),
    };
    let good = Backend::with_tls(authority.issue(&["127.0.0.1"]).server(), answer);
    let late = Backend::with_tls(authority.issue_between(&["127.0.0.1"], 2020, 2021).server(), answer);
    for flags in ["--health-path /up --health-interval 200ms", "--health-interval 200ms"] {
        let proxy = ronde(flags, &authority, &[good.address, late.address]);
        let said = proxy.process.stderr.line_with("does not pass its first health check");
        assert!(said.contains(&late.address.to_string()) && said.contains("ran out on"), "{said}");
        for _ in 0..4 {
            assert_eq!(proxy.get("/").text(), "well");
        }
        let count = good.targets().iter().filter(|target| *target == "/up").count();
        eventually("more checks", || {
            !flags.contains("/up") || {
                good.targets().iter().filter(|target| *target == "/up").count() > count + 2
            }
        });
        assert!(!proxy.process.stderr.text().contains("out of the round"), "{}", proxy.process.stderr.text());
    }
}

#[test]
fn a_backend_comes_back_when_its_certificate_is_good() {
    by_its_own_transport!();
    let authority = Authority::new();
    let mut origin = Origin::with_tls(authority.issue_between(&["127.0.0.1"], 2020, 2021).server());
    let proxy = ronde("--max-fails 1", &authority, &[origin.address]);
    let mut client = proxy.connect();
    client.send(GET);
    drop(origin.accept());
    assert_eq!(client.response().status(), 502);
    let said = proxy.process.stderr.line_with("out of the round");
    assert!(said.contains("certificate is not believed; ronde tries to connect every second"), "{said}");
    // A look at whether it is back is not content with a connection.
    drop(origin.accept());
    drop(origin.accept());
    assert!(!proxy.process.stderr.text().contains("is in the round"));
    assert_eq!(
        proxy.process.stderr.text().matches("ran out on").count(),
        1,
        "{}",
        proxy.process.stderr.text()
    );
    origin.show(authority.issue(&["127.0.0.1"]).server());
    let _probe = origin.accept();
    proxy.process.stderr.line_with("is in the round: it accepts connections again");
    client.send(GET);
    origin.answer(ok("back"));
    assert_eq!(client.response().text(), "back");
}

#[test]
fn ronde_check_tells_what_a_backend_lacks() {
    by_its_own_transport!();
    let authority = Authority::new();
    let good = Backend::with_tls(authority.issue(&["127.0.0.1"]).server(), |wire, _| wire.send(ok("up")));
    let late = Backend::with_tls(authority.issue_between(&["127.0.0.1"], 2020, 2021).server(), |_, _| {});
    let plain = Backend::start(|_, _| {});
    let check = |flags: &str| {
        let mut process = Ronde::with(&format!("check {} {flags}", authority.flag())).spawn();
        let code = process.exit().code();
        (code, process.stdout.text() + &process.stderr.text())
    };
    for flags in ["", "--health-path /up"] {
        let (code, said) = check(&format!("{flags} https://{}", good.address));
        assert_eq!(code, Some(0), "{said}");
        assert!(
            said.contains(&format!("https://{}  {}  connected in", good.address, good.address)),
            "{said}"
        );
        assert_eq!(said.contains("passes the health check"), !flags.is_empty(), "{said}");
    }
    let (code, said) = check(&format!("https://{}", late.address));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no TLS: its certificate ran out on Fri, 01 Jan 2021"), "{said}");
    let (code, said) = check(&format!("--connect-timeout 500ms https://{}", plain.address));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no TLS: "), "{said}");
    let (code, said) = check(&format!("--backend-tls-insecure https://{}", late.address));
    assert_eq!(code, Some(0), "{said}");
    // Each route has its own to believe.
    let file = scratch_directory().join("check.toml");
    let route = |path: &str, more: &str| {
        format!("[[route]]\npath = '{path}'\nbackend = 'https://{}'\n{more}\n", late.address)
    };
    std::fs::write(&file, route("/a", "backend-tls-insecure = true") + &route("/b", "")).expect("a file");
    let (code, said) = check(&format!("--config {}", file.display()));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no TLS: its certificate ran out on Fri, 01 Jan 2021"), "{said}");
}

#[test]
fn without_anybody_to_believe_ronde_does_not_start() {
    by_its_own_transport!();
    let backend = Backend::named("b");
    for roots in ["/nonexistent.pem", "/dev/null"] {
        for command in ["", "check"] {
            let line = format!("{command} --listen 127.0.0.1:0 https://{}", backend.address);
            let mut process = Ronde::with(&line).env("SSL_CERT_DIR", "").env("SSL_CERT_FILE", roots).spawn();
            assert_eq!(process.exit().code(), Some(1));
            let said = process.stdout.text() + &process.stderr.text();
            assert!(said.contains("no certificates of issuers") && said.contains("--backend-ca"), "{said}");
        }
    }
    // Nobody to believe, and nobody that has to be.
    let line = format!("--listen 127.0.0.1:0 {}", backend.address);
    let proxy = Ronde::with(&line).env("SSL_CERT_DIR", "").env("SSL_CERT_FILE", "/nonexistent.pem").serve();
    assert_eq!(proxy.get("/").text(), "b");
    let empty = scratch_directory().join("empty.pem");
    std::fs::write(&empty, "").expect("a file");
    for (file, fault) in [("/nonexistent.pem", "cannot read"), (&*empty.display().to_string(), "it is empty")]
    {
        let line = format!("--listen 127.0.0.1:0 --backend-ca {file} https://{}", backend.address);
        let mut process = Ronde::with(&line).spawn();
        assert_eq!(process.exit().code(), Some(1));
        let said = process.stderr.text();
        assert!(said.contains("--backend-ca") && said.contains(fault), "{said}");
    }
}

#[test]
fn the_issuers_of_the_system_are_believed() {
    by_its_own_transport!();
    let authority = Authority::new();
    let backend = Backend::with_tls(authority.issue(&["127.0.0.1"]).server(), |wire, _| wire.send(ok("b")));
    let line = format!("--listen 127.0.0.1:0 https://{}", backend.address);
    let proxy = Ronde::with(&line)
        .env("SSL_CERT_DIR", "")
        .env("SSL_CERT_FILE", &authority.file.display().to_string())
        .serve();
    assert_eq!(proxy.get("/").text(), "b");
    let elsewhere = Authority::new();
    let line = format!("--listen 127.0.0.1:0 --backend-ca system https://{}", backend.address);
    let proxy = Ronde::with(&line)
        .env("SSL_CERT_DIR", "")
        .env("SSL_CERT_FILE", &elsewhere.file.display().to_string())
        .serve();
    assert_eq!(proxy.get("/").status(), 502);
}

/// Which webpki alone refuses, for it says that it is an issuer's.
#[test]
fn a_certificate_that_vouches_for_itself_is_believed_when_it_is_named() {
    by_its_own_transport!();
    let rows = [
        (["127.0.0.1"], (2020, 2040), "b"),
        (["127.0.0.2"], (2020, 2040), "is not believed"),
        (["127.0.0.1"], (2020, 2021), "is not believed"),
        (["127.0.0.1"], (2090, 2091), "is not believed"),
    ];
    each_row(&rows, |(names, (from, until), answer)| {
        for version in [&TLS12, &TLS13] {
            let issued = Issued::by_itself(names, *from, *until);
            let backend = Backend::with_tls(issued.server_of(&[version]), |wire, _| wire.send(ok("b")));
            let ca = issued.certificate.display();
            let proxy = Proxy::with(&format!("--backend-ca {ca} https://{}", backend.address), &[]);
            let text = proxy.get("/").text();
            assert!(text.contains(answer), "{text}");
        }
    });
}

#[test]
fn with_a_warning_everybody_is_believed() {
    by_its_own_transport!();
    let issued = Issued::by_itself(&["another.example"], 2020, 2021);
    for version in [&TLS12, &TLS13] {
        let backend = Backend::with_tls(issued.server_of(&[version]), |wire, _| wire.send(ok("b")));
        let proxy = Proxy::with(&format!("--backend-tls-insecure https://{}", backend.address), &[]);
        assert_eq!(proxy.get("/").text(), "b");
        let said = proxy.process.stderr.line_with("--backend-tls-insecure: whatever answers for");
        assert!(said.contains("WARN") && said.contains(&backend.address.to_string()), "{said}");
    }
}

#[test]
fn requests_wait_for_room_at_a_backend_with_tls() {
    by_its_own_transport!();
    let authority = Authority::new();
    let origin = Origin::with_tls(authority.issue(&["127.0.0.1"]).server());
    let file = scratch_directory().join("ronde.toml");
    let config = format!(
        "listen = '127.0.0.1:0'\nbackend-ca = '{}'\n[[backend]]\naddress = 'https://{}'\nmax-connections = 1\n",
        authority.file.display(),
        origin.address
    );
    std::fs::write(&file, config).expect("the file");
    let proxy = Ronde::with(&format!("--config {}", file.display())).serve();
    let mut clients = [proxy.connect(), proxy.connect(), proxy.connect()];
    clients[0].send("GET /0 HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut backend, mut request) = origin.request();
    for (number, client) in clients.iter_mut().enumerate().skip(1) {
        client.send(format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"));
        thread::sleep(PARKED);
    }
    backend.expect_silence();
    for (number, client) in clients.iter_mut().enumerate() {
        assert_eq!(request.target(), format!("/{number}"));
        backend.send(ok("x"));
        assert_eq!(client.response().text(), "x");
        if number < 2 {
            request = backend.request();
        }
    }
}

#[test]
fn a_thousand_clients_are_served_through_tls() {
    by_its_own_transport!();
    open_many_files();
    let authority = Authority::new();
    let server = authority.issue(&["127.0.0.1"]).server();
    let backends: Vec<_> = (0..3)
        .map(|_| Backend::with_tls(Arc::clone(&server), |wire, request| wire.send(ok(&request.text()))))
        .collect();
    let addresses: Vec<_> = backends.iter().map(|backend| backend.address).collect();
    let proxy = ronde(
        "--workers 4 --queue-timeout 30s --connect-timeout 30s --backend-keep-alive-timeout 60s",
        &authority,
        &addresses,
    );
    let mut clients: Vec<_> = (0..1000)
        .map(|_| {
            let client = proxy.connect();
            client.set_timeout(Duration::from_secs(60));
            client
        })
        .collect();
    for round in 0..3 {
        for (number, client) in clients.iter_mut().enumerate() {
            let body = format!("{round} {number}");
            client
                .send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
        }
        for (number, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().text(), format!("{round} {number}"));
        }
    }
    assert_eq!(backends.iter().map(Backend::count).sum::<usize>(), 3000);
    // On a busy machine a handshake may take longer than the second that it has while another backend could be asked.
    assert!(backends.iter().map(Backend::connections).sum::<u64>() < 3000, "none was kept");
}
