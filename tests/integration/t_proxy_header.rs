//! The PROXY protocol: which client a proxy names, and what becomes of a connection that does not begin with its header.

use crate::harness::{
    Backend, Proxy, Ronde, Wire, curl, each_row, eventually, needs, plain_only, ronde_only, socket_path,
};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const V1: &str = "PROXY TCP4 203.0.113.9 198.51.100.1 4711 80\r\n";
const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// With a header of version 2: this command, family and block of addresses.
fn v2(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n", &[0x20 | command, family][..], &length, block].concat()
}

fn v2_of_v4() -> Vec<u8> {
    v2(1, 0x11, &[203, 0, 113, 9, 198, 51, 100, 1, 0x12, 0x34, 0, 80])
}

/// A ronde whose one listener wants a header.
fn start(flags: &str) -> (Backend, Proxy) {
    let backend = Backend::mirror();
    let proxy = Proxy::with(&format!("--proxy-protocol 127.0.0.1:0 {flags}"), &[backend.address]);
    (backend, proxy)
}

/// Nothing said so: each request got a 400, and the admin searched elsewhere.
#[test]
fn a_listener_that_expects_the_header_says_so() {
    ronde_only!();
    let (backend, proxy) = start("--trust-proxy 127.0.0.1");
    let line = proxy.process.stderr.line_with("listening on ");
    // In a run where all speak TLS, there is another listener of that kind.
    let (_, said) = line.split_once("; the PROXY protocol is expected on ").expect("the word");
    let (expected_on, _) = said.split_once(';').expect("the backends behind it");
    let is_told = |address: &std::net::SocketAddr| expected_on.contains(&address.to_string());
    assert!(proxy.addresses.iter().chain(&proxy.with_tls).any(is_told), "{line}");
    let flags =
        "--listen 127.0.0.1:1 --listen 127.0.0.1:2 --proxy-protocol 127.0.0.1:2 --trust-proxy 127.0.0.1";
    let checked = Ronde::with(&format!("check {flags} {}", backend.address)).spawn().success();
    let expected = "listen   127.0.0.1:1\nlisten   127.0.0.1:2, expects the PROXY protocol\n";
    assert!(checked.contains(expected), "{checked}");
}

fn expect_logged(proxy: &Proxy, text: &str) {
    eventually(text, || proxy.process.stdout.text().contains(text));
}

#[test]
fn the_client_that_a_proxy_names_is_logged_and_forwarded() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1");
    let v6 = ["2001:db8::7", "2001:db8::1"].map(|ip| ip.parse::<std::net::Ipv6Addr>().unwrap().octets());
    let v6 = v2(1, 0x21, &[&v6.concat()[..], &[0x12, 0x34, 0, 80]].concat());
    each_row(
        &[
            (V1.as_bytes().to_vec(), "203.0.113.9"),
            (b"PROXY TCP6 2001:db8::7 2001:db8::1 4711 80\r\n".to_vec(), "2001:db8::7"),
            (v2_of_v4(), "203.0.113.9"),
            (v6, "2001:db8::7"),
        ],
        |(header, client)| {
            let mut wire = proxy.connect();
            let forged = "GET /named HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n";
            let seen = wire.ask([header, forged.as_bytes()].concat()).text();
            assert!(seen.contains(&format!("X-Forwarded-For: {client}\n")), "{seen}");
            // The header is for the connection, not for a request.
            let seen = wire.get("/again").text();
            assert!(seen.contains(&format!("X-Forwarded-For: {client}\n")), "{seen}");
            expect_logged(&proxy, &format!("Z {client} \"GET /named HTTP/1.1\" 200"));
        },
    );
    assert!(proxy.process.stdout.text().contains(" peer=127.0.0.1"));
}

#[test]
fn a_header_may_come_in_pieces_and_be_followed_by_anything() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1");
    each_row(&[V1.as_bytes().to_vec(), v2_of_v4()], |header| {
        let mut wire = proxy.connect();
        wire.send_apart(&header.chunks(1).collect::<Vec<_>>());
        assert!(wire.get("/").text().contains("X-Forwarded-For: 203.0.113.9\n"));
        let mut wire = proxy.connect();
        wire.send([header, GET.as_bytes(), GET.as_bytes()].concat());
        assert_eq!([wire.response().status(), wire.response().status()], [200, 200]);
    });
}

#[test]
fn a_proxy_speaks_for_itself_or_names_nobody() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1");
    let asked = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.66\r\n\r\n";
    let ask = |header: &[u8]| proxy.ask([header, asked.as_bytes()].concat()).text();
    // Its own connection, from its own address: trusted, as it would be without a header.
    let seen = ask(&v2(0, 0, &[]));
    assert!(seen.contains("X-Forwarded-For: 192.0.2.66, 127.0.0.1\n"), "{seen}");
    // A client of unknown origin has none of that trust.
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(1, 0, &[]), v2(1, 0x31, &[b'/'; 216])] {
        let seen = ask(&header);
        assert!(!seen.contains("X-Forwarded-For") && !seen.contains("192.0.2.66"), "{seen}");
    }
    expect_logged(&proxy, "Z unknown \"GET / HTTP/1.1\" 200");
}

#[test]
fn a_named_client_that_is_a_trusted_proxy_is_believed() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1 --trust-proxy 203.0.113.0/24");
    let seen =
        proxy.ask(format!("{V1}GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n")).text();
    assert!(seen.contains("X-Forwarded-For: 192.0.2.1, 203.0.113.9\n"), "{seen}");
    expect_logged(&proxy, "Z 192.0.2.1 \"GET / HTTP/1.1\" 200");
}

#[test]
fn a_connection_without_a_valid_header_is_closed_with_its_cause() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    each_row(
        &[
            (GET.as_bytes().to_vec(), "does not begin with a header of the PROXY protocol"),
            (b"\x16\x03\x01".to_vec(), "does not begin with a header of the PROXY protocol"),
            (b"PROXY TCP4 here there 1 2\r\n".to_vec(), "the header of the PROXY protocol is malformed"),
            (v2(1, 0x11, b"short"), "the header of the PROXY protocol is malformed"),
            (b"PROXY TCP4 203".to_vec(), "did not arrive in time"),
            (v2_of_v4()[..20].to_vec(), "did not arrive in time"),
            (vec![], "did not arrive in time"),
        ],
        |(bytes, cause)| {
            let (backend, proxy) = start("--trust-proxy 127.0.0.1 --head-timeout 300ms");
            let mut wire = proxy.connect();
            wire.send(bytes);
            wire.expect_end();
            expect_logged(&proxy, cause);
            assert!(proxy.process.stdout.text().contains("Z 127.0.0.1 \"\" - 0"));
            assert_eq!(backend.count(), 0);
        },
    );
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1");
    let mut wire = proxy.connect();
    wire.send("PROXY TCP4 203");
    wire.finish();
    wire.expect_end();
    expect_logged(&proxy, "ended in the middle of a header of the PROXY protocol");
}

#[test]
fn anybody_can_write_a_header_so_only_a_trusted_proxy_is_heard() {
    ronde_only!();
    let (backend, proxy) = start("--trust-proxy 10.0.0.0/8");
    let mut wire = proxy.connect();
    let _reset = wire.try_send(format!("{V1}{GET}"));
    wire.expect_end();
    expect_logged(&proxy, "is believed from trusted proxies only");
    assert_eq!(backend.count(), 0);
}

#[test]
fn half_a_header_holds_no_worker() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1 --workers 1");
    let mut halves: Vec<Wire> = (0..200).map(|_| proxy.connect()).collect();
    halves.iter_mut().for_each(|wire| wire.send("PROXY TCP4 203.0.113.9 "));
    assert_eq!(proxy.ask(format!("{V1}{GET}")).status(), 200);
    for wire in &mut halves {
        assert_eq!(wire.ask(format!("198.51.100.1 4711 80\r\n{GET}")).status(), 200);
    }
}

#[test]
fn a_stop_does_not_wait_for_a_proxy_that_says_nothing() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, mut proxy) = start("--trust-proxy 127.0.0.1 --shutdown-grace 1h --head-timeout 3s");
    let mut silent = proxy.connect();
    let mut half = proxy.connect();
    half.send("PROXY ");
    assert_eq!(proxy.ask(format!("{V1}{GET}")).status(), 200);
    let stopped = Instant::now();
    proxy.process.signal(Signal::TERM);
    silent.expect_end();
    assert!(stopped.elapsed() < Duration::from_secs(2), "before its time for a header is up");
    half.expect_end();
    assert!(proxy.process.exit().success());
}

#[test]
fn a_unix_listener_takes_a_header_too() {
    ronde_only!();
    let (backend, path) = (Backend::mirror(), socket_path("front.sock"));
    let path = path.display();
    let flags = format!("--listen unix:{path} --proxy-protocol unix:{path} --trust-proxy unix:");
    let proxy = Proxy::with(&flags, &[backend.address]);
    // The other listener takes none.
    assert!(proxy.get("/").text().contains("X-Forwarded-For: 127.0.0.1\n"));
    let mut wire = Wire::connect_unix(path.to_string().as_ref());
    let seen = wire.ask(format!("{V1}{GET}")).text();
    assert!(seen.contains("X-Forwarded-For: 203.0.113.9\n"), "{seen}");
    expect_logged(&proxy, " peer=unix:");
}

#[test]
fn ronde_health_introduces_itself_where_it_has_to() {
    ronde_only!();
    plain_only!("a client of this run begins with TLS");
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1");
    let address = proxy.address;
    let flags = format!("health --listen {address} --proxy-protocol {address} --trust-proxy 127.0.0.1");
    assert!(Ronde::with(&flags).spawn().success().contains("is well"));
}

#[test]
fn curl_as_the_proxy() {
    ronde_only!();
    needs!(Curl);
    let (_backend, proxy) = start("--trust-proxy 127.0.0.1");
    let seen = curl(&["--haproxy-protocol", &proxy.url("/")]).success();
    assert!(seen.contains("X-Forwarded-For: 127.0.0.1"), "{seen}");
    let refused = curl(&[&proxy.url("/")]).exit();
    assert!(!refused.success());
}
