//! Once a worker's buffers have grown, the functions of `http1` allocate nothing. And what a route takes is bounded.

use ronde::config::{self, Command, Loaded, Peer};
use ronde::http1::chunked::Decoder;
use ronde::http1::forward::{self, Delivery, Mark, Origin, Persistence, Scheme, Trust, Upgrade};
use ronde::http1::framing;
use ronde::http1::head::{self, Lines, Method, Scan};
use ronde::observe::metrics::Metrics;
use ronde::proxy::route::Routes;
use std::net::{IpAddr, Ipv4Addr};

const REQUEST: &[u8] = b"POST /a/page?with=a&query=string HTTP/1.1\r\nHost: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: text/html, */*;q=0.8\r\nAccept-Encoding: gzip, br\r\n\
    Connection: keep-alive, X-One\r\nX-One: 1\r\nX-Forwarded-For: 192.0.2.1\r\nCookie: a=b; c=d\r\n\
    Transfer-Encoding: chunked\r\n\r\n";

const BODY: &[u8] = b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: t\r\n\r\n";

const RESPONSE: &[u8] =
    b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: 10240\r\n\
    Connection: keep-alive\r\nETag : \"0-2800\"\r\n\r\n";

/// Every computation for one request and its response.
fn exchange((body, received): (&mut [u8], &mut [u8]), request: &mut Vec<u8>, response: &mut Vec<u8>) {
    assert_eq!(head::scan(REQUEST), Scan::Complete { start: 0, end: REQUEST.len() });
    let mut lines = Lines::new();
    let asked = head::request(REQUEST, &mut lines).unwrap();
    let framing = framing::of_request(asked.version, asked.fields).unwrap();
    assert!(framing::persists(asked.version, asked.fields));
    let origin = Origin {
        client: Peer::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST)),
        scheme: Scheme::Http,
        trust: Trust::Stranger,
        framing,
        upgrade: forward::upgrade(&asked),
        local: None,
        strip: "",
        pseudonym: "ronde-0123456789abcdef",
        mark: Mark::Via,
    };
    assert_eq!(origin.upgrade, Upgrade::NotAsked);
    assert!(!forward::is_loop(asked.fields, origin.pseudonym));
    forward::request(request, &asked, &origin).unwrap();
    assert!(Decoder::new(framing).decode(body).unwrap().ended);

    assert_eq!(head::scan(received), Scan::Complete { start: 0, end: received.len() });
    let mut lines = Lines::new();
    let answer = head::response(received, &mut lines).unwrap();
    let framing = framing::of_response(Method::Get, answer.status, answer.version, answer.fields).unwrap();
    let delivery = Delivery::of(asked.version, asked.method, answer.status, framing);
    forward::response(response, &answer, asked.version, delivery, Persistence::Persist).unwrap();
}

#[test]
fn the_second_exchange_allocates_nothing() {
    let (mut request, mut response) = (Vec::new(), Vec::new());
    let mut measure = |mut body: Vec<u8>, mut received: Vec<u8>| {
        let count = || exchange((&mut body, &mut received), &mut request, &mut response);
        allocation_counter::measure(count).count_total
    };
    assert!(measure(BODY.to_vec(), RESPONSE.to_vec()) > 0, "the counter counts");
    assert_eq!(measure(BODY.to_vec(), RESPONSE.to_vec()), 0);
}

/// What the settings and the routes of so many names hold together, each with two backends that `address` gives.
fn held_for(names: u64, address: impl Fn(u64) -> String) -> u64 {
    let metrics = Metrics::new(4);
    let route = |name| format!("--route=site-{name}.example={},192.0.2.1:1", address(name));
    let words: Vec<_> = (0..names).map(|name| route(name).into()).collect();
    let mut site = None;
    let start = || {
        let Loaded { command: Ok(Command::Serve(config)), .. } = config::load(words, []) else { return };
        let routes = Routes::start(&config, None, &metrics);
        site = Some((config, routes.unwrap()));
    };
    let held = allocation_counter::measure(start).bytes_current;
    assert_eq!(site.unwrap().1.all().len() as u64, names + 1);
    held.try_into().unwrap()
}

/// 2.8 KB where all have the same settings, and 4.4 KB where each has its own.
#[test]
fn a_route_holds_few_bytes() {
    const NAMES: u64 = 200;
    let same = held_for(NAMES, |_| "192.0.2.2:1".to_owned());
    let own = held_for(NAMES, |name| format!("198.51.100.{name}:1"));
    assert!(same < NAMES * 3_000, "{} bytes a route", same / NAMES);
    assert!(own < NAMES * 4_700, "{} bytes a route", own / NAMES);
}
