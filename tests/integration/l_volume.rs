//! Large bodies pass in constant memory: a gigabyte each way.

use crate::harness::{GET, Proxy, Wire, ok, stage};
use std::thread;

const SIZE: u64 = 1 << 30;
const PART: usize = 1 << 20;

/// The highest resident memory so far, in kilobytes: 256 idle workers and their buffers stay well below this.
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
    let (origin, proxy, mut client) = stage("");
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
    let (origin, proxy, mut client) = stage("");
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

/// Chunks are taken apart and framed afresh.
#[test]
fn chunks_pass_in_constant_memory() {
    let (origin, proxy, mut client) = stage("");
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
