//! The cost of the pure functions in `http1`, per call: `cargo bench --bench pure`.
//!
//! The yardstick is a system call, about a microsecond: all of these together should cost less than one. On a busy
//! machine, instruction counts are steadier than times: run the built bench under `valgrind --tool=callgrind` with
//! `--bench` and the name of a function.

use divan::{Bencher, black_box, counter::BytesCount};
use ronde::backend::balance::Round;
use ronde::config::{Host, Peer};
use ronde::http1::chunked::Decoder;
use ronde::http1::forward::{self, Delivery, Mark, Origin, Persistence, Scheme, Trust, Upgrade};
use ronde::http1::framing::{self, Framing};
use ronde::http1::head::{self, Lines, Scan, Version};
use ronde::http1::routing::Table;
use std::net::{IpAddr, Ipv4Addr};

fn main() {
    divan::main();
}

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 10240\r\nConnection: keep-alive\r\nETag: \"0-2800\"\r\n\
    Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\nAccept-Ranges: bytes\r\n\r\n";

/// A request head with this many field lines, Host included, of about 40 bytes each.
fn request(fields: usize) -> Vec<u8> {
    let mut bytes = b"GET /a/page?with=a&query=string HTTP/1.1\r\nHost: www.example.org\r\n".to_vec();
    for index in 1..fields {
        bytes.extend(format!("X-Field-{index:02}: some value, as long as many\r\n").bytes());
    }
    bytes.extend(b"\r\n");
    bytes
}

fn origin() -> Origin<'static> {
    Origin {
        client: Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        scheme: Scheme::Http,
        trust: Trust::Stranger,
        framing: Framing::Length(0),
        upgrade: Upgrade::NotAsked,
        local: None,
        strip: "",
        pseudonym: "ronde-0123456789abcdef",
        mark: Mark::Via,
    }
}

/// One host each. The cost is that of the host and the path, whatever the number of routes.
#[divan::bench(args = [1, 1000])]
fn find_a_route(bencher: Bencher<'_, '_>, routes: usize) {
    let mut table = Table::default();
    for number in 0..routes {
        table.insert(&[Host::Exact(format!("host{number}.example.com"))], "/api", number);
    }
    bencher.bench(|| table.find(black_box("host0.example.com"), black_box("/api/v1/users?id=7")).copied());
}

#[divan::bench(args = [2, 10, 1000])]
fn take_a_turn(bencher: Bencher<'_, '_>, members: usize) {
    let mut round = Round::new((0..members).map(|member| (member, 1)));
    bencher.bench_local(|| {
        round.skip_missed();
        round.first(|_| true).and_then(|place| round.take(place).copied())
    });
}

#[divan::bench(args = [8, 30])]
fn find_the_end_of_a_head(bencher: Bencher<'_, '_>, fields: usize) {
    let bytes = request(fields);
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| head::scan(black_box(&bytes)));
}

#[divan::bench(args = [8, 30])]
fn parse_a_request_head(bencher: Bencher<'_, '_>, fields: usize) {
    let bytes = request(fields);
    bencher.counter(BytesCount::of_slice(&bytes)).bench(|| {
        let mut lines = Lines::new();
        head::request(black_box(&bytes), &mut lines).map(|head| head.method)
    });
}

#[divan::bench(args = [8, 30])]
fn decide_the_framing_of_a_request(bencher: Bencher<'_, '_>, fields: usize) {
    let bytes = request(fields);
    let mut lines = Lines::new();
    let head = head::request(&bytes, &mut lines).unwrap();
    bencher.bench_local(|| framing::of_request(head.version, black_box(head.fields)));
}

#[divan::bench(args = [8, 30])]
fn write_a_request_head(bencher: Bencher<'_, '_>, fields: usize) {
    let bytes = request(fields);
    let mut lines = Lines::new();
    let head = head::request(&bytes, &mut lines).unwrap();
    let mut out = Vec::new();
    bencher.bench_local(|| forward::request(&mut out, black_box(&head), &origin()));
}

#[divan::bench]
fn parse_a_response_head(bencher: Bencher<'_, '_>) {
    assert!(matches!(head::scan(RESPONSE), Scan::Complete { .. }));
    let mut bytes = RESPONSE.to_vec();
    bencher.counter(BytesCount::of_slice(RESPONSE)).bench_local(|| {
        let mut lines = Lines::new();
        head::response(black_box(&mut bytes), &mut lines).map(|head| head.status)
    });
}

#[divan::bench]
fn write_a_response_head(bencher: Bencher<'_, '_>) {
    let (mut bytes, mut lines) = (RESPONSE.to_vec(), Lines::new());
    let head = head::response(&mut bytes, &mut lines).unwrap();
    let mut out = Vec::new();
    bencher.bench_local(|| {
        let (delivery, persistence) = (Delivery::Length(10_240), Persistence::Persist);
        forward::response(&mut out, black_box(&head), Version::Http11, delivery, persistence)
    });
}

#[divan::bench(args = [16, 1024, 16_384])]
fn decode_64_kib_of_chunks(bencher: Bencher<'_, '_>, size: usize) {
    let chunk = [format!("{size:x}\r\n").as_bytes(), &vec![b'x'; size], b"\r\n"].concat();
    let body = [chunk.repeat(65_536 / size), b"0\r\n\r\n".to_vec()].concat();
    bencher
        .counter(BytesCount::of_slice(&body))
        .with_inputs(|| body.clone())
        .bench_refs(|body| Decoder::new(Framing::Chunked).decode(body));
}
