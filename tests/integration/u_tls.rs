//! TLS towards the clients: what is agreed on, how a connection begins and ends, and what a byte in hand must not delay.
//!
//! Not here: what is said inside. `RONDE_TEST_TLS=1` runs the whole suite over TLS.

use crate::harness::tls::{self, Identity, Secured};
use crate::harness::{
    Backend, CHUNKED, End, GET, Origin, PARKED, Proxy, Ronde, SWITCH, UPGRADE, Wire, curl, eventually, needs,
    noise, ok, open_many_files, ronde_only, socket_path,
};
use rustls::version::{TLS12, TLS13};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::thread;
use std::time::{Duration, Instant};

/// Skips a test when the program under test is another, or was built without TLS.
macro_rules! tls_only {
    () => {
        ronde_only!();
        if cfg!(not(feature = "tls")) {
            println!("skipped: this build has no TLS");
            return;
        }
    };
}

const LARGE: usize = 12 << 20;

/// A backend that the test drives, the proxy in front of it, and a client with TLS.
fn setup(flags: &str) -> (Origin, Proxy, Wire) {
    let origin = Origin::start();
    let proxy = Proxy::with_tls(flags, &[origin.address]);
    let client = proxy.connect_tls();
    (origin, proxy, client)
}

/// A TCP connection to the port for TLS.
fn bare(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.with_tls[0]).expect("a connection");
    stream.set_read_timeout(Some(crate::harness::TIMEOUT)).expect("a timeout");
    stream
}

/// The first flight of a handshake.
fn hello() -> Vec<u8> {
    Secured::hello()
}

#[test]
fn the_backend_is_told_that_it_was_https() {
    tls_only!();
    let (origin, proxy, mut client) = setup("");
    client.send(GET);
    let (_, request) = origin.answer(ok("fine"));
    assert_eq!(request.sole("x-forwarded-proto"), "https");
    assert_eq!(client.response().text(), "fine");
    // The other listener has no TLS.
    Wire::connect_plain(proxy.plain).send(GET);
    assert_eq!(origin.request().1.sole("x-forwarded-proto"), "http");
}

#[test]
fn both_versions_are_spoken_and_of_protocols_http_1_1_alone() {
    tls_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("", &[backend.address]);
    for versions in [&[&TLS12][..], &[&TLS13], &[&TLS13, &TLS12]] {
        for (offered, agreed) in
            [(&[][..], None), (&["http/1.1"], Some("http/1.1")), (&["h2", "http/1.1"], Some("http/1.1"))]
        {
            let secured = Secured::with(bare(&proxy), tls::client_config_of(versions, offered));
            assert_eq!(secured.protocol().as_deref(), agreed.map(str::as_bytes));
            assert_eq!(Wire::over_secured(secured).get("/").text(), "b");
        }
        let refused = Secured::begin(bare(&proxy), tls::client_config_of(versions, &["h2"]));
        let error = refused.shake_hands().expect_err("an alert");
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
}

#[test]
fn requests_that_came_in_one_record_are_served_at_once() {
    tls_only!();
    let backend = Backend::mirror();
    let proxy = Proxy::with_tls("", &[backend.address]);
    let mut client = proxy.connect_tls();
    // More than are served in a row, and a body whose reads are bounded.
    let upload =
        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n{}", "x".repeat(100_000));
    for pipelined in [GET.repeat(40), format!("{upload}{}", GET.repeat(12))] {
        let begun = Instant::now();
        client.send(&pipelined);
        for _ in 0..pipelined.matches(" HTTP/1.1\r\n").count() {
            assert_eq!(client.response().status(), 200);
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

/// One read takes the first record and the head of the second; two requests are served, and then the client is idle.
#[test]
fn what_one_read_left_in_the_socket_behind_whole_requests_is_served() {
    tls_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("--workers 1", &[backend.address]);
    let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Long: ";
    let half_a_record = format!("{head}{}\r\n\r\n", "x".repeat((8 << 10) - head.len() - 4));
    let mut clients: Vec<_> = (0..40).map(|_| proxy.connect_tls()).collect();
    for _ in 0..5 {
        for client in &mut clients {
            client.send(half_a_record.repeat(3));
        }
        for client in &mut clients {
            for _ in 0..3 {
                assert_eq!(client.response().text(), "b");
            }
        }
    }
}

/// No event of the socket tells of it.
#[test]
fn what_was_decrypted_with_the_end_of_a_parked_request_is_served() {
    tls_only!();
    let backend = Backend::mirror();
    let proxy = Proxy::with_tls("--workers 2", &[backend.address]);
    let mut clients: Vec<_> = (0..40).map(|_| proxy.connect_tls()).collect();
    for client in &mut clients {
        client.send("PUT /small HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\nhello");
    }
    thread::sleep(PARKED);
    for client in &mut clients {
        client.send(format!(" world{GET}"));
    }
    for client in &mut clients {
        assert!(client.response().text().contains("hello world"));
        assert_eq!(client.response().status(), 200);
    }
}

#[test]
fn a_record_goes_on_wherever_it_was_cut() {
    tls_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("--workers 2", &[backend.address]);
    let length = GET.len() + 22;
    let mut clients: Vec<_> = (1..length)
        .map(|cut| {
            let secured = Secured::over(bare(&proxy));
            let record = secured.encrypted(GET.as_bytes());
            secured.stream().write_all(&record[..cut]).expect("a part sent");
            (secured, record[cut..].to_vec())
        })
        .collect();
    thread::sleep(PARKED);
    for (secured, rest) in &mut clients {
        secured.stream().write_all(rest).expect("the rest sent");
        assert_eq!(Wire::over_secured(secured.clone()).response().text(), "b");
    }
}

#[test]
fn a_handshake_goes_on_wherever_it_was_cut() {
    tls_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("--workers 2", &[backend.address]);
    let length = hello().len();
    let mut begun: Vec<_> = (1..length)
        .map(|cut| {
            let secured = Secured::begin(bare(&proxy), tls::client_config(&[]));
            let hello = secured.outgoing();
            secured.stream().write_all(&hello[..cut]).expect("a part sent");
            (secured, hello[cut..].to_vec())
        })
        .collect();
    thread::sleep(PARKED);
    for (secured, rest) in &mut begun {
        secured.stream().write_all(rest).expect("the rest sent");
        assert_eq!(Wire::over_secured(secured.clone()).get("/").text(), "b");
    }
}

#[test]
fn a_slow_client_gets_all_that_the_backend_sent() {
    tls_only!();
    let (origin, _proxy, mut client) = {
        let origin = Origin::start();
        let proxy = Proxy::with_tls("--workers 2", &[origin.address]);
        let client = Wire::connect_tls_narrow(proxy.with_tls[0], 16 * 1024);
        (origin, proxy, client)
    };
    client.send(format!("{GET}{GET}"));
    let (mut backend, _) = origin.request();
    let body = noise(LARGE);
    let whole = body.clone();
    let sending = thread::spawn(move || {
        backend.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n"));
        backend.send(&whole);
        backend
    });
    thread::sleep(Duration::from_millis(300));
    assert!(client.response().body == body);
    let mut backend = sending.join().expect("the backend");
    backend.request();
    backend.send(ok("next"));
    assert_eq!(client.response().text(), "next");
}

#[test]
fn close_notify_is_a_half_close_and_a_fin_alone_is_none() {
    tls_only!();
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.request();
    client.finish();
    thread::sleep(PARKED);
    backend.send(ok("late"));
    assert_eq!(client.response().text(), "late");
    client.expect_eof();

    let (origin, proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.request();
    client.stream().shutdown(Shutdown::Write).expect("a FIN");
    backend.expect_end();
    proxy.process.stdout.line_with("cause=\"the client is gone\"");
}

#[test]
fn an_upload_that_ends_without_close_notify_is_incomplete() {
    tls_only!();
    let cut = "cause=\"the request ended before its body was complete\"";
    for head in ["Content-Length: 1000", "Content-Length: 1000000", "Transfer-Encoding: chunked"] {
        let (origin, proxy, mut client) = setup("");
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n5\r\nhello\r\n"));
        // A small body is collected before a backend is asked.
        let backend = (!head.ends_with(" 1000")).then(|| origin.accept());
        thread::sleep(PARKED);
        client.stream().shutdown(Shutdown::Write).expect("a FIN");
        assert_eq!(client.response().status(), 400, "{head}");
        proxy.process.stdout.line_with(cut);
        if let Some(mut backend) = backend {
            assert!(matches!(backend.rest().1, End::Eof | End::Reset));
        }
    }
}

#[test]
fn a_tunnel_carries_over_close_notify_and_no_fin() {
    tls_only!();
    for is_clean in [true, false] {
        let (origin, _proxy, mut client) = setup("");
        client.send(UPGRADE);
        let (mut backend, _) = origin.answer(SWITCH);
        assert_eq!(client.response().status(), 101);
        client.send("ping");
        assert_eq!(backend.take(4), b"ping");
        if is_clean {
            client.finish();
            backend.expect_eof();
            backend.send("pong");
            assert_eq!(client.take(4), b"pong");
            drop(backend);
            client.expect_eof();
        } else {
            client.stream().shutdown(Shutdown::Write).expect("a FIN");
            backend.expect_end();
            assert_ne!(client.rest().1, End::Eof, "a tunnel that broke");
        }
    }
}

/// A client that closed its socket behind its WebSocket's end was a failure, and so was each of ten thousand.
#[test]
fn a_websocket_whose_client_said_no_last_word_was_a_failure() {
    tls_only!();
    let (origin, proxy, mut client) = setup("");
    client.send(UPGRADE.replace("Upgrade: x", "Upgrade: websocket"));
    let (mut backend, _) = origin.answer(SWITCH.replace("Upgrade: x", "Upgrade: websocket"));
    client.response_head();
    backend.send("bye");
    backend.finish();
    assert_eq!(client.take(3), b"bye");
    client.expect_eof();
    client.stream().shutdown(Shutdown::Write).expect("a FIN");
    backend.expect_eof();
    let line = proxy.process.stdout.line_with(" 101 ");
    assert!(!line.contains("cause="), "{line}");
}

#[test]
fn only_a_whole_response_ends_with_close_notify() {
    tls_only!();
    let asked = "GET / HTTP/1.0\r\nHost: a\r\n\r\n";
    for (response, end) in [
        (format!("{CHUNKED}5\r\nhello\r\n0\r\n\r\n"), End::Eof),
        (format!("{CHUNKED}5\r\nhello\r\n"), End::Reset),
    ] {
        let (origin, _proxy, mut client) = setup("");
        client.send(asked);
        let (backend, _) = origin.answer(response);
        drop(backend);
        assert!(client.response_head().status() == 200);
        assert_eq!(client.rest(), (b"hello".to_vec(), end));
    }
}

#[test]
fn an_idle_client_is_told_the_end() {
    tls_only!();
    let backend = Backend::named("b");
    for flags in ["--keep-alive-timeout 100ms", "--shutdown-grace 5s"] {
        let proxy = Proxy::with_tls(flags, &[backend.address]);
        let mut client = proxy.connect_tls();
        assert_eq!(client.get("/").text(), "b");
        if flags.starts_with("--shut") {
            thread::sleep(PARKED);
            proxy.process.signal(rustix::process::Signal::TERM);
        }
        client.expect_eof();
    }
}

#[test]
fn plain_http_is_answered_and_other_bytes_are_not() {
    tls_only!();
    let backend = Backend::named("b");
    let mut proxy = Proxy::with_tls("--log-level debug", &[backend.address]);
    let cause = "the connection is not encrypted, and this port is for HTTPS only";
    let mut client = Wire::over(bare(&proxy));
    let response = client.ask(GET);
    assert_eq!(response.status(), 400);
    assert!(response.text().contains(cause), "{response}");
    client.expect_eof();
    assert!(proxy.process.stdout.line_with(cause).contains("\"GET / HTTP/1.1\" 400"));
    for bytes in [&b"\x80\x2e\x01\x03\x01"[..], b"\0\0\0\0", b"\x16\x03\x01\x00\x05hello", b"\x16HTTP"] {
        let mut scanner = bare(&proxy);
        scanner.write_all(bytes).expect("bytes sent");
        scanner.shutdown(Shutdown::Write).expect("a FIN");
        let mut answer = Vec::new();
        let _reset = scanner.read_to_end(&mut answer);
        assert!(answer.is_empty() || answer.starts_with(b"\x15\x03"), "{answer:?}, and no alert");
    }
    // Without a word there is nothing to be said either.
    drop(bare(&proxy));
    proxy.process.signal(rustix::process::Signal::TERM);
    proxy.process.exit();
    assert_eq!(proxy.process.stdout.all().len(), 1, "{}", proxy.process.stdout.text());
    let summary = proxy.process.stderr.line_with("stopped: ");
    assert!(summary.contains("(3)") && summary.contains("the TLS handshake failed (2)"), "{summary}");
    let told = proxy.process.stderr.all().iter().filter(|line| line.contains("127.0.0.1: the ")).count();
    assert_eq!(told, 4, "{}", proxy.process.stderr.text());
}

#[test]
fn a_handshake_has_the_time_of_a_head() {
    tls_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("--head-timeout 300ms --log-level debug", &[backend.address]);
    let silent = bare(&proxy);
    let (begun, hello) = (Instant::now(), hello());
    let mut slow = bare(&proxy);
    let mut half = bare(&proxy);
    half.write_all(&hello).expect("the first flight");
    for byte in hello.chunks(1) {
        if begun.elapsed() > Duration::from_secs(2) || slow.write_all(byte).is_err() {
            break;
        }
        thread::sleep(Duration::from_millis(20));
    }
    for mut stream in [silent, slow, half] {
        let _reset = stream.read_to_end(&mut Vec::new());
    }
    assert!(begun.elapsed() >= Duration::from_millis(300));
    eventually("all three are told of", || {
        proxy.process.stderr.text().matches("the TLS handshake did not end in time").count() == 3
    });
    assert_eq!(proxy.process.stdout.text(), "");
    assert_eq!(proxy.connect_tls().get("/").text(), "b");
}

#[test]
fn a_proxy_names_the_client_before_the_handshake() {
    tls_only!();
    let origin = Origin::start();
    let flags = "--proxy-protocol 127.0.0.1:0 --trust-proxy 127.0.0.1";
    let proxy = Proxy::with_tls(flags, &[origin.address]);
    let header = "PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";
    for is_together in [true, false] {
        let secured = Secured::begin(bare(&proxy), tls::client_config(&[]));
        let hello = secured.outgoing();
        if is_together {
            secured.stream().write_all(&[header.as_bytes(), &hello].concat()).expect("both sent");
        } else {
            secured.stream().write_all(header.as_bytes()).expect("the header sent");
            thread::sleep(PARKED);
            secured.stream().write_all(&hello).expect("the hello sent");
        }
        let mut client = Wire::over_secured(secured);
        client.send(GET);
        let (_, request) = origin.answer(ok("fine"));
        assert_eq!(request.sole("x-forwarded-for"), "192.0.2.7");
        assert_eq!(request.sole("x-forwarded-proto"), "https");
        assert_eq!(client.response().text(), "fine");
    }
}

/// Its deadline is the nearer one.
#[test]
fn an_idle_client_gives_way_before_a_handshake() {
    tls_only!();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("--max-connections 2", &[backend.address]);
    let mut idle = proxy.connect_tls();
    idle.send(GET);
    assert_eq!(idle.response().text(), "b");
    let silent = bare(&proxy);
    thread::sleep(PARKED);
    let mut third = proxy.connect_tls();
    third.send(GET);
    assert_eq!(third.response().text(), "b");
    idle.expect_eof();
    let secured = Secured::with(silent, tls::client_config(&[]));
    assert_eq!(Wire::over_secured(secured).get("/").text(), "b");
}

#[test]
fn a_client_too_many_is_told_nothing_before_its_handshake() {
    tls_only!();
    let backend = Backend::named("b");
    let flags = "--proxy-protocol 127.0.0.1:0 --trust-proxy 127.0.0.1 --max-per-client 1";
    let proxy = Proxy::with_tls(flags, &[backend.address]);
    let introduced = || {
        let secured = Secured::begin(bare(&proxy), tls::client_config(&[]));
        let header = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 443\r\n";
        secured.stream().write_all(&[&header[..], &secured.outgoing()].concat()).expect("both sent");
        secured
    };
    let mut first = Wire::over_secured(introduced());
    first.send(GET);
    assert_eq!(first.response().text(), "b");
    let mut told = Vec::new();
    // The close may be a reset, as the hello was not read.
    let _ = introduced().stream().read_to_end(&mut told);
    assert_eq!(told, b"", "no word in the clear");
    let line = proxy.process.stdout.line_with("too many connections from this client");
    assert!(line.contains(" 192.0.2.7 \"\" - "), "{line}");
}

#[test]
fn a_unix_socket_may_have_tls_too() {
    tls_only!();
    let origin = Origin::start();
    let path = socket_path("tls.sock");
    let Identity { certificate, key, .. } = tls::identity();
    let flags = format!(
        "--listen 127.0.0.1:0 --tls-listen unix:{} --tls-certificate {} --tls-key {} {}",
        path.display(),
        certificate.display(),
        key.display(),
        origin.address
    );
    let proxy = Ronde::with(&flags).spawn();
    proxy.stderr.line_with("with TLS on unix:");
    let stream = UnixStream::connect(&path).expect("a connection");
    let mut client = Wire::over_secured(Secured::over(TcpStream::from(OwnedFd::from(stream))));
    client.send(GET);
    let (_, request) = origin.answer(ok("fine"));
    assert_eq!((request.sole("x-forwarded-proto"), request.has("x-forwarded-for")), ("https".into(), false));
    assert_eq!(client.response().text(), "fine");
}

#[test]
fn curl_speaks_every_version() {
    tls_only!();
    needs!(Curl);
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("", &[backend.address]);
    let url = format!("https://{}/", proxy.with_tls[0]);
    for version in [&["--tls-max", "1.2"][..], &["--tlsv1.3"], &["--http1.0"], &["--http2"]] {
        assert_eq!(curl(&[version, &[&*url]].concat()).success(), "b", "{version:?}");
    }
}

#[test]
fn slow_handshakes_and_idle_clients_hold_no_thread() {
    tls_only!();
    open_many_files();
    let backend = Backend::named("b");
    let proxy = Proxy::with_tls("--workers 2 --queue-timeout 10s", &[backend.address]);
    let hello = hello();
    let slow: Vec<_> = (0..300)
        .map(|number| {
            let mut stream = bare(&proxy);
            stream.write_all(&hello[..hello.len() * (number % 3) / 2]).expect("a part sent");
            stream
        })
        .collect();
    let mut idle: Vec<_> = (0..300)
        .map(|_| {
            let mut client = proxy.connect_tls();
            assert_eq!(client.get("/").text(), "b");
            client
        })
        .collect();
    for address in [proxy.plain, proxy.with_tls[0]].repeat(10) {
        let begun = Instant::now();
        let mut client =
            if address == proxy.plain { Wire::connect_plain(address) } else { proxy.connect_tls() };
        assert_eq!(client.get("/").text(), "b");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
    let threads = proxy.status("Threads");
    assert!(threads <= 2 + 10, "{threads} threads");
    let before = proxy.processor_time();
    thread::sleep(Duration::from_millis(300));
    let spent = proxy.processor_time() - before;
    assert!(spent <= Duration::from_millis(30), "{spent:?} of 300 ms");
    for client in &mut idle {
        assert_eq!(client.get("/").text(), "b");
    }
    drop(slow);
}
