//! Large bodies pass in constant memory: a gigabyte each way.

use crate::harness::{Backend, GET, Proxy, Wire, eventually, ok, ronde_only, setup};
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
