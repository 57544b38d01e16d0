//! Upgrades: a 101 turns the connection into a tunnel, any other status is an ordinary exchange.

use crate::harness::{
    Backend, End, Framing, Origin, Proxy, Wire, each_row, eventually, ok, ronde_only, setup,
};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCH: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

/// Both ends of a tunnel through the proxy.
fn tunnel(flags: &str) -> (Origin, Proxy, Wire, Wire) {
    let (origin, proxy, mut client) = setup(flags);
    client.send(UPGRADE);
    let (backend, _) = origin.answer(SWITCH);
    assert_eq!(client.response().status(), 101);
    (origin, proxy, client, backend)
}

#[test]
fn an_upgrade_and_its_101_pass_with_their_fields() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE);
    let (_backend, request) = origin.answer(SWITCH);
    assert_eq!(
        (request.members("connection"), request.members("upgrade")),
        (vec!["upgrade".into()], vec!["websocket".into()])
    );
    assert_eq!(request.sole("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
    let response = client.response();
    assert_eq!((response.status(), response.framing), (101, Framing::Nothing));
    assert_eq!(
        (response.members("connection"), response.members("upgrade")),
        (vec!["upgrade".into()], vec!["websocket".into()])
    );
    assert_eq!(response.sole("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
}

#[test]
fn a_426_keeps_the_protocols_it_requires() {
    let (origin, _proxy, mut client) = setup("");
    for (fields, expected) in [
        ("Connection: Upgrade\r\nUpgrade: websocket, TLS/1.0\r\n", vec!["websocket", "tls/1.0"]),
        ("Connection: upgrade\r\nUpgrade: h2c, a/b/c, IRC/6.9\r\n", vec!["irc/6.9"]),
        ("Connection: upgrade\r\nUpgrade: h2c\r\n", vec![]),
    ] {
        client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        origin.answer(format!("HTTP/1.1 426 Upgrade Required\r\n{fields}Content-Length: 0\r\n\r\n"));
        let response = client.response();
        assert_eq!(
            (response.status(), response.members("upgrade")),
            (426, expected.iter().map(|p| (*p).into()).collect())
        );
        assert_eq!(response.members("connection").contains(&"upgrade".to_owned()), !expected.is_empty());
    }
    // In any other response the offer concerns the backend connection alone.
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    origin
        .answer("HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().members("upgrade"), Vec::<String>::new());
}

#[test]
fn a_tunnel_carries_bytes_both_ways() {
    let (_origin, _proxy, mut client, mut backend) = tunnel("");
    for round in 0..10 {
        let message = format!("\0\r\n\r\n{round}");
        client.send(&message);
        assert_eq!(backend.take(message.len()), message.as_bytes());
        backend.send(&message);
        assert_eq!(client.take(message.len()), message.as_bytes());
    }
}

#[test]
fn bytes_sent_along_with_the_101_are_not_lost() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE);
    let (mut backend, _) = origin.answer(format!("{SWITCH}welcome"));
    assert_eq!(client.response().status(), 101);
    assert_eq!(client.take(7), b"welcome");
    client.send("thanks");
    assert_eq!(backend.take(6), b"thanks");
}

#[test]
fn bytes_sent_along_with_the_upgrade_request_are_not_lost() {
    let (origin, _proxy, mut client) = setup("");
    client.send(format!("{UPGRADE}early"));
    let (mut backend, _) = origin.answer(SWITCH);
    assert_eq!(client.response().status(), 101);
    assert_eq!(backend.take(5), b"early");
}

#[test]
fn each_half_of_a_tunnel_closes_on_its_own() {
    let (_origin, _proxy, mut client, mut backend) = tunnel("");
    client.finish();
    backend.expect_eof();
    backend.send("still here");
    assert_eq!(client.take(10), b"still here");
    drop(backend);
    client.expect_eof();

    let (_origin, _proxy, mut client, mut backend) = tunnel("");
    backend.finish();
    client.expect_eof();
    client.send("still here");
    assert_eq!(backend.take(10), b"still here");
    drop(client);
    backend.expect_eof();
}

#[test]
fn a_reset_of_one_side_ends_the_other() {
    let (_origin, _proxy, client, mut backend) = tunnel("");
    client.reset();
    backend.expect_end();
    let (_origin, _proxy, mut client, backend) = tunnel("");
    backend.reset();
    client.expect_end();
}

#[test]
fn a_tunnel_that_is_full_both_ways_does_not_deadlock() {
    const SIZE: usize = 8 << 20;
    let (_origin, _proxy, client, backend) = tunnel("");
    let ends = [client, backend];
    thread::scope(|scope| {
        for wire in &ends {
            let (mut sender, mut receiver) = (wire.twin(), wire.twin());
            scope.spawn(move || sender.send(vec![b'x'; SIZE]));
            scope.spawn(move || receiver.discard(SIZE as u64));
        }
    });
}

#[test]
fn a_refused_upgrade_is_an_ordinary_exchange() {
    each_row(&["200 OK", "400 Bad Request", "426 Upgrade Required"], |status| {
        let (origin, _proxy, mut client) = setup("");
        client.send(UPGRADE);
        let (mut backend, _) = origin.answer(format!("HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\nno"));
        let response = client.response();
        assert_eq!((response.status().to_string().as_str(), response.text().as_str()), (&status[..3], "no"));
        client.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(backend.request().target(), "/next");
        backend.send(ok("next"));
        assert_eq!(client.response().text(), "next");
    });
}

/// `docker exec` starts with such a request: with a method that may be repeated or not, and a body that is collected,
/// chunked, or long.
#[test]
fn an_upgrade_with_a_body_lost_its_upgrade() {
    let long = "x".repeat(200_000);
    let rows = [
        ("POST", "{\"Detach\":false,\"Tty\":true}", Framing::Length(27)),
        ("PUT", "{\"Detach\":false,\"Tty\":true}", Framing::Length(27)),
        ("POST", &long, Framing::Length(200_000)),
        ("POST", "chunked body", Framing::Chunked),
    ];
    each_row(&rows, |(method, body, framing)| {
        let (origin, _proxy, mut client) = setup("");
        let asked =
            format!("{method} /exec/x/start HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n");
        client.send(match framing {
            Framing::Chunked => format!(
                "{asked}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\nearly",
                body.len()
            ),
            _ => format!("{asked}Content-Length: {}\r\n\r\n{body}early", body.len()),
        });
        let (mut backend, request) = origin.request();
        assert_eq!((request.members("upgrade"), request.text()), (vec!["tcp".into()], (*body).into()));
        backend.send("HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\nwelcome");
        assert_eq!(client.response().status(), 101);
        assert_eq!((client.take(7), backend.take(5)), (b"welcome".to_vec(), b"early".to_vec()));
        client.send("late");
        assert_eq!(backend.take(4), b"late");
    });
}

/// RFC 9110 §7.8: the protocol cannot change in the middle of a message. A 101 that comes before the request is whole
/// takes effect when it is.
#[test]
fn a_101_in_the_middle_of_the_request_waits_for_its_end() {
    let (origin, _proxy, mut client) = setup("");
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
        Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n",
    );
    let mut backend = origin.accept();
    backend.request_head();
    backend.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    assert_eq!(backend.take(8), b"3\r\none\r\n");
    client.expect_silence();
    client.send("3\r\ntwo\r\n0\r\n\r\ntunnelled");
    assert_eq!(client.response().status(), 101);
    assert_eq!(backend.take(22), b"3\r\ntwo\r\n0\r\n\r\ntunnelled");
}

/// Firefox sends Connection this way.
#[test]
fn an_upgrade_among_other_members_of_connection_works() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE.replace("Connection: Upgrade", "Connection: keep-alive, upgrade"));
    let (mut backend, request) = origin.answer(SWITCH);
    assert_eq!(request.members("upgrade"), ["websocket"]);
    assert_eq!(client.response().status(), 101);
    client.send("hi");
    assert_eq!(backend.take(2), b"hi");
}

/// RFC 9110 §7.8: without the connection option, Upgrade has no effect.
#[test]
fn an_upgrade_without_its_connection_option_is_ignored() {
    let (origin, _proxy, mut client) = setup("");
    client.send(UPGRADE.replace("Connection: Upgrade\r\n", ""));
    let (_, request) = origin.answer(ok("hello"));
    assert!(!request.has("upgrade"), "{request}");
    assert_eq!(client.response().text(), "hello");
}

/// RFC 9110 §7.8: a server must not switch to a protocol that the client did not list.
#[test]
fn a_101_to_a_protocol_that_was_not_requested_is_502() {
    // One without any is one to nothing that was listed (RFC 9110 §15.2.2).
    each_row(&["Upgrade: other\r\n", "Upgrade: websocket, other\r\n", ""], |fields| {
        let (origin, _proxy, mut client) = setup("");
        client.send(UPGRADE);
        origin.answer(SWITCH.replace("Upgrade: websocket\r\n", fields));
        assert_eq!(client.response().status(), 502);
    });
}

/// When TCP asks for a sign of life on the connection from this port to that one, by proc_net_tcp(5): no wish for one is none.
fn time_to_keep_alive(from: u16, to: u16) -> Option<Duration> {
    let table = std::fs::read_to_string("/proc/net/tcp").expect("the connections");
    let port = |field: &str| u16::from_str_radix(field.rsplit_once(':')?.1, 16).ok();
    table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [_, local, remote, _, _, timer, ..] = fields[..] else { return None };
        let (kind, ticks) =
            timer.split_once(':').filter(|_| (port(local), port(remote)) == (Some(from), Some(to)))?;
        (kind == "02").then(|| Duration::from_millis(u64::from_str_radix(ticks, 16).unwrap_or(0) * 10))
    })
}

/// Only the backend's end asked, and after the two hours of the system's default. A phone that was off the net kept its tunnel for
/// the whole `--tunnel-timeout`.
#[test]
fn a_client_that_vanished_was_not_missed() {
    ronde_only!();
    let (_origin, proxy, client, backend) = tunnel("");
    let (client, backend) = (client.stream(), backend.stream());
    let port = |address: std::io::Result<SocketAddr>| address.expect("an address").port();
    let ends = [
        (proxy.address.port(), port(client.local_addr())),
        (port(backend.peer_addr()), port(backend.local_addr())),
    ];
    for (own, peer) in ends {
        eventually("it is asked in five minutes", || {
            let left = time_to_keep_alive(own, peer);
            left.is_some_and(|left| (Duration::from_secs(200)..=Duration::from_secs(300)).contains(&left))
        });
    }
}

#[test]
fn a_silent_tunnel_outlives_the_other_timeouts_and_ends_with_its_own() {
    ronde_only!();
    let short = "--idle-timeout 300ms --response-timeout 300ms --body-timeout 300ms --keep-alive-timeout 300ms --head-timeout 300ms";
    let (_origin, _proxy, mut client, mut backend) = tunnel(short);
    for _ in 0..4 {
        client.expect_silence();
    }
    client.send("hi");
    assert_eq!(backend.take(2), b"hi");
    let (_origin, _proxy, mut client, mut backend) = tunnel("--tunnel-timeout 300ms");
    assert_ne!(client.rest().1, End::Silence);
    assert_ne!(backend.rest().1, End::Silence);
}

#[test]
fn a_tunnel_that_speaks_now_and_then_outlives_its_timeout() {
    ronde_only!();
    let (_origin, _proxy, mut client, mut backend) = tunnel("--tunnel-timeout 600ms");
    for _ in 0..8 {
        thread::sleep(Duration::from_millis(150));
        client.send("x");
        assert_eq!(backend.take(1), b"x");
    }
}

#[test]
fn no_request_is_read_from_a_tunnel() {
    let backend = Backend::start(|wire, request| match request.target() {
        "/chat" => {
            wire.send(SWITCH);
            let smuggled = wire.take(10);
            wire.send(smuggled);
            wire.finish();
        }
        _ => wire.send(ok("never")),
    });
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    assert_eq!(client.ask(UPGRADE).status(), 101);
    client.send("GET / HTTP");
    assert_eq!(client.take(10), b"GET / HTTP");
    client.expect_eof();
    assert_eq!(backend.targets(), ["/chat"]);
}
