//! Once a worker's buffers have grown, the functions of `http1` allocate nothing.

use ronde::config::Peer;
use ronde::http1::chunked::Decoder;
use ronde::http1::forward::{self, Delivery, Mark, Origin, Persistence, Scheme, Trust, Upgrade};
use ronde::http1::framing;
use ronde::http1::head::{self, Lines, Method, Scan};
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
