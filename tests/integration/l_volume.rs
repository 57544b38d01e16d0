//! Large bodies pass in constant memory: a gigabyte each way.

use crate::harness::{Backend, GET, Gate, PARKED, Proxy, Wire, eventually, ok, ronde_only, setup};
use std::thread;

const SIZE: u64 = 1 << 30;
const PART: usize = 1 << 20;

/// A bound for the peak of resident memory, in kilobytes. 256 idle workers and their buffers stay well below it.
const CEILING: u64 = 64 << 10;

fn send_all(wire: &mut Wire, chunked: bool) {
    let data = vec![b'x'; PART];
    let part = if chunked { [format!("{PART:x}\r\n").as_bytes(), &data, b"\r\n"].concat() } else { data };
    for _ in 0..SIZE / PART as u64 {
        wire.send(&part);
    }
    wire.send(if chunked { "0\r\n\r\n" } else { "" });
}

fn assert_small(proxy: &Proxy) {
    if !Proxy::is_a_peer() {
        assert!(proxy.status("VmHWM") < CEILING, "{} kB", proxy.status("VmHWM"));
    }
}

#[test]
fn a_gigabyte_down_passes_in_constant_memory() {
    let (origin, proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
    let sender = thread::spawn(move || send_all(&mut backend, false));
    client.response_head();
    client.discard(SIZE);
    sender.join().unwrap();
    assert_small(&proxy);
}

#[test]
fn a_gigabyte_up_passes_in_constant_memory() {
    let (origin, proxy, mut client) = setup("");
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let mut sender = client.twin();
    let upload = thread::spawn(move || send_all(&mut sender, false));
    let mut backend = origin.accept();
    backend.request_head();
    backend.discard(SIZE);
    upload.join().unwrap();
    backend.send(ok("thanks"));
    assert_eq!(client.response().text(), "thanks");
    assert_small(&proxy);
}

/// Between two plain TCP connections the kernel passes a long body on, and ronde does not see it.
#[test]
fn what_is_spliced_arrives_as_it_was_and_nothing_of_it_later() {
    const LENGTH: usize = 12 << 20;
    let body: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    for (version, head) in [
        ("1.1", format!("HTTP/1.1 200 OK\r\nContent-Length: {LENGTH}\r\n\r\n")),
        ("1.0", "HTTP/1.0 200 OK\r\n\r\n".to_owned()),
    ] {
        let (origin, _proxy, mut client) = setup("");
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let (mut backend, _) = origin.answer(head);
        let (gate, sent) = (Gate::default(), body.clone());
        let passed = gate.clone();
        let sender = thread::spawn(move || {
            backend.send(&sent[..LENGTH / 2]);
            passed.pass();
            backend.send(&sent[LENGTH / 2..]);
            backend
        });
        client.response_head();
        // Nobody reads: the buffers are full, and the exchange is parked. Then the backend is waited for.
        thread::sleep(PARKED);
        let mut got = client.take(LENGTH / 2);
        thread::sleep(PARKED);
        gate.open();
        got.extend(client.take(LENGTH / 2));
        assert!(got == body, "HTTP/{version}");
        let mut backend = sender.join().unwrap();
        if version == "1.0" {
            drop(backend);
            client.expect_eof();
        } else {
            client.send(GET);
            backend.request_head();
            backend.send(ok("next"));
            assert_eq!(client.response().text(), "next");
        }
    }
}

#[test]
fn a_long_body_that_breaks_off_is_cut_where_it_broke() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n");
    backend.send(vec![b'x'; 800_000]);
    drop(backend);
    let cut = client.cut("GET").expect("a response that is not whole");
    assert_eq!(cut.so_far.expect("its beginning").body.len(), 800_000);
}

/// Chunks take another path: ronde decodes and reframes them.
#[test]
fn chunks_pass_in_constant_memory() {
    let (origin, proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let sender = thread::spawn(move || send_all(&mut backend, true));
    client.response_head();
    let mut received = 0;
    loop {
        match client.chunk().len() as u64 {
            0 => break,
            count => received += count,
        }
        client.received.clear();
    }
    assert_eq!(received, SIZE);
    sender.join().unwrap();
    assert_small(&proxy);
}

/// A million requests and a hundred thousand connections with `RONDE_FULL_SIZE=1`, a fiftieth of them without.
#[test]
fn nothing_grows_with_requests_and_connections() {
    ronde_only!();
    let (requests, connections) = match std::env::var_os("RONDE_FULL_SIZE") {
        Some(_) => (1_000_000, 100_000),
        None => (20_000, 2_000),
    };
    let backend = Backend::named("a");
    let proxy = Proxy::with("--access-log off --backend-keep-alive-timeout 500ms", &[backend.address]);
    const CLIENTS: usize = 8;
    let run = |requests: usize, connections: usize| {
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    let mut client = proxy.connect();
                    for _ in 0..requests / CLIENTS {
                        assert_eq!(client.get("/").status(), 200);
                        client.received.clear();
                    }
                });
                scope.spawn(|| {
                    for _ in 0..connections / CLIENTS {
                        assert_eq!(proxy.get("/").status(), 200);
                    }
                });
            }
        });
    };
    // A warm-up: buffers, idle connections and threads are allocated once.
    run(4_000, 800);
    let idle = 60;
    eventually("the connections are closed", || proxy.descriptors() < idle);
    let (threads, memory) = (proxy.status("Threads"), proxy.status("VmRSS"));
    run(requests, connections);
    eventually("the connections are closed again", || proxy.descriptors() < idle);
    assert!(proxy.status("Threads") <= threads, "{} threads, {threads} before", proxy.status("Threads"));
    let grown = proxy.status("VmRSS").saturating_sub(memory);
    assert!(grown < 2 << 10, "{grown} kB more than the {memory} before");
}
