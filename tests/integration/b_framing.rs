//! A request has exactly one length: one that two implementations could read differently is refused.

use crate::harness::{Backend, Framing, GET, Origin, Proxy, each_row, ok, setup};

/// The rest of a request after `POST / HTTP/1.1` and Host, the statuses that may refuse it, and why (RFC 9112 §6.3).
const AMBIGUOUS: &[(&str, &[u16], &str)] = &[
    ("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400], "both lengths"),
    (
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        &[400],
        "both lengths, in the other order",
    ),
    ("Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", &[400], "two lengths"),
    ("Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", &[400], "the same length twice"),
    ("Content-Length: 5, 5\r\n\r\nhello", &[400], "a list of lengths"),
    ("Content-Length: 5,\r\n\r\nhello", &[400], "a list with an empty member"),
    ("Content-Length: +5\r\n\r\nhello", &[400], "a sign"),
    ("Content-Length: -5\r\n\r\nhello", &[400], "a negative length"),
    ("Content-Length: -0\r\n\r\n", &[400], "a negative zero"),
    ("Content-Length: 5 5\r\n\r\nhello", &[400], "a space inside"),
    ("Content-Length: 0x5\r\n\r\nhello", &[400], "hexadecimal"),
    ("Content-Length: 5.0\r\n\r\nhello", &[400], "a fraction"),
    ("Content-Length: 1_0\r\n\r\nhellohello", &[400], "an underscore"),
    ("Content-Length: five\r\n\r\nhello", &[400], "a word"),
    ("Content-Length: \r\n\r\n", &[400], "nothing"),
    ("Content-Length: 18446744073709551616\r\n\r\n", &[400, 413], "overflows to 0"),
    ("Content-Length: 18446744073709551621\r\n\r\nhello", &[400, 413], "overflows to 5"),
    ("Content-Length: 99999999999999999999999999\r\n\r\n", &[400, 413], "overflows"),
    ("Content-Length : 5\r\n\r\nhello", &[400], "space before the colon"),
    ("Content-Length: 5\r\n 5\r\n\r\nhello", &[400], "a folded length"),
    ("Transfer-Encoding: gzip\r\n\r\n", &[400, 501], "an unknown coding"),
    ("Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", &[400, 501], "an unknown coding before chunked"),
    ("Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", &[400, 501], "chunked is not last"),
    ("Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[400, 501], "chunked twice"),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[400],
        "chunked twice, on two lines",
    ),
    (
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        &[400, 501],
        "chunked and identity",
    ),
    ("Transfer-Encoding: identity\r\n\r\n", &[400, 501], "identity is no longer a coding"),
    ("Transfer-Encoding: \r\n\r\n", &[400, 501], "no coding"),
    ("Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", &[400, 501], "almost chunked"),
    ("Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n", &[400, 501], "chunked takes no parameter"),
    ("Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", &[400, 501], "chunked in quotes"),
    ("Transfer-Encoding: chun ked\r\n\r\n0\r\n\r\n", &[400, 501], "chunked in two"),
    ("Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", &[400, 501], "a vertical tab"),
    ("Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", &[400], "space before the colon"),
    ("Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", &[400], "a folded coding"),
];

#[test]
fn an_ambiguous_request_is_refused_and_its_connection_closed() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(AMBIGUOUS, |(rest, statuses, _)| {
        proxy.expect_refusal(format!("POST / HTTP/1.1\r\nHost: a\r\n{rest}"), statuses);
    });
    let in_1_0 = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    proxy.expect_refusal(in_1_0, &[400]);
    assert_eq!(backend.targets(), Vec::<String>::new(), "no backend sees any of it");
}

/// Invalid chunked bodies, and why they are invalid.
const BROKEN_CHUNKS: &[(&str, &str)] = &[
    ("5\nhello\r\n0\r\n\r\n", "bare LF after a size"),
    ("5\r\nhello\n0\r\n\r\n", "bare LF after the data"),
    ("5\r\nhello\r\n0\n\r\n", "bare LF after the last size"),
    ("5\r\nhello\r\n0\r\n\n", "bare LF as the end"),
    ("5\rhello\r\n0\r\n\r\n", "bare CR after a size"),
    ("5 \r\nhello\r\n0\r\n\r\n", "a space after a size"),
    (" 5\r\nhello\r\n0\r\n\r\n", "a space before a size"),
    ("+5\r\nhello\r\n0\r\n\r\n", "a sign"),
    ("-5\r\nhello\r\n0\r\n\r\n", "a negative size"),
    ("0x5\r\nhello\r\n0\r\n\r\n", "a prefix"),
    ("g\r\nhello\r\n0\r\n\r\n", "no digit"),
    ("\r\nhello\r\n0\r\n\r\n", "no size"),
    (";a\r\nhello\r\n0\r\n\r\n", "an extension without a size"),
    ("5\r\nhello!\r\n0\r\n\r\n", "more data than its size"),
    ("6\r\nhello\r\n0\r\n\r\n", "less data than its size"),
    ("10000000000000005\r\nhello\r\n0\r\n\r\n", "a size that overflows to 5"),
    ("fffffffffffffffff\r\nhello\r\n0\r\n\r\n", "a size beyond 64 bits"),
    ("8000000000000005\r\nhello\r\n0\r\n\r\n", "a size that is negative in 64 bits"),
    ("000010000000000000005\r\nhello\r\n0\r\n\r\n", "a size that overflows to 5 behind leading zeros"),
    ("5;a=\0\r\nhello\r\n0\r\n\r\n", "NUL in an extension"),
    ("5;a\nb\r\nhello\r\n0\r\n\r\n", "bare LF in an extension"),
    ("5\r\nhello\r\n0\r\nX : y\r\n\r\n", "a trailer with a space before the colon"),
    ("5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", "a folded trailer"),
    ("5\r\nhello\r\n0\r\nno trailer\r\n\r\n", "a trailer without a colon"),
];

#[test]
fn an_invalid_chunked_body_is_refused_and_never_reaches_a_backend_whole() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(BROKEN_CHUNKS, |(body, _)| {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        proxy.expect_refusal(format!("{head}{body}"), &[400]);
    });
    assert_eq!(backend.targets(), Vec::<String>::new(), "no backend sees a whole request");
}

#[test]
fn chunk_extensions_and_trailers_are_bounded() {
    let endless = [
        ("an extension", "5;", "a"),
        ("a size with leading zeros", "", "0"),
        ("a trailer", "0\r\nX: ", "a"),
        ("trailers", "0\r\n", "X: y\r\n"),
    ];
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    each_row(&endless, |(_, start, repeated)| {
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{start}"));
        let _refused_meanwhile = client.try_send(repeated.repeat(1 << 20));
        assert!([400, 413, 431].contains(&client.response().status()));
    });
    assert_eq!(backend.count(), 0);
}

#[test]
fn all_valid_chunks_are_accepted_and_reframed() {
    let bodies = [
        "5\r\nhello\r\n0\r\n\r\n",
        "1\r\nh\r\n4\r\nello\r\n0\r\n\r\n",
        "0005\r\nhello\r\n000\r\n\r\n",
        "0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n",
        "00000000000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "5;name\r\nhello\r\n0\r\n\r\n",
        "5;name=value;more=\"quo;ted\"\r\nhello\r\n0;last=1\r\n\r\n",
        "5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    ];
    let origin = Origin::start();
    each_row(&bodies, |body| {
        let proxy = Proxy::start(&[origin.address]);
        let mut client = proxy.connect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        let (_, request) = origin.answer(ok("thanks"));
        assert_eq!(request.text(), "hello");
        assert_eq!(client.response().text(), "thanks");
    });
    let proxy = Proxy::start(&[origin.address]);
    let mut client = proxy.connect();
    client
        .send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\nA\r\n0123456789\r\n0\r\n\r\n");
    let (_, request) = origin.answer(ok("thanks"));
    assert_eq!((request.text().as_str(), request.framing), ("0123456789", Framing::Chunked));
}

const DANGEROUS_TRAILERS: &str = "X-Sum: 1\r\nHost: evil\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\
    Connection: close\r\nX-Forwarded-For: 1.2.3.4\r\nTrailer: x\r\n";

/// RFC 9110 §6.5.1: framing and routing fields must not be sent as trailers.
#[test]
fn framing_and_routing_fields_never_pass_as_trailers_of_a_request() {
    let (origin, _proxy, mut client) = setup("");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(format!("5\r\nhello\r\n0\r\n{DANGEROUS_TRAILERS}\r\n"));
    let (_, request) = origin.answer(ok("thanks"));
    assert_eq!((request.text().as_str(), request.sole("host").as_str()), ("hello", "a"));
    let names: Vec<_> = request.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert!(names.iter().all(|name| name == "x-sum"), "{names:?}");
    assert_eq!(client.response().text(), "thanks");
}

#[test]
fn framing_and_routing_fields_never_pass_as_trailers_of_a_response() {
    let (origin, _proxy, mut client) = setup("");
    client.send("GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n";
    origin.answer(format!("{head}5\r\nhello\r\n0\r\n{DANGEROUS_TRAILERS}\r\n"));
    let response = client.response();
    assert_eq!(response.text(), "hello");
    let names: Vec<_> = response.trailers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    assert!(names.iter().all(|name| name == "x-sum"), "{names:?}");
}

#[test]
fn get_and_delete_with_bodies_pass() {
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for method in ["GET", "DELETE", "OPTIONS"] {
        let seen = client.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"));
        assert!(seen.text().ends_with("\n\nhello\n"), "{seen}");
    }
}

#[test]
fn a_post_without_a_body_keeps_its_length_of_zero() {
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    let seen = proxy.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n").text();
    assert!(seen.to_ascii_lowercase().contains("\ncontent-length: 0\n"), "{seen}");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let backend =
        Backend::start(|wire, request| wire.send(ok(&format!("{} {}", request.target(), request.text()))));
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    let requests: String = (0..20)
        .map(|number| match number % 3 {
            0 => format!("GET /{number} HTTP/1.1\r\nHost: a\r\n\r\n"),
            1 => format!("POST /{number} HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi"),
            _ => {
                format!("POST /{number} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
            }
        })
        .collect();
    client.send(requests);
    for number in 0..20 {
        let body = if number % 3 == 0 { "" } else { "hi" };
        assert_eq!(client.response().text(), format!("/{number} {body}"));
    }
}

#[test]
fn nothing_after_a_request_with_connection_close_is_read() {
    let backend = Backend::named("b");
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.response().text(), "b");
    client.expect_end();
    assert_eq!(backend.targets(), ["/1"]);
}

const WHOLE: &[&str] = &[
    "GET /a?b HTTP/1.1\r\nHost: a.example\r\nX-Empty:\r\nAccept: */*\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 12\r\n\r\n\r\n\r\nhello\r\n\n",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhe\r\no\r\n2\r\n\r\n\r\n0\r\nX-Sum: 1\r\n\r\n",
];

/// A message without the fields that may differ from one run to the next.
fn unframed(message: &str) -> String {
    let may_differ = ["content-length:", "transfer-encoding:", "date:"];
    let differs = |line: &&str| !may_differ.iter().any(|name| line.to_ascii_lowercase().starts_with(name));
    message.split_inclusive('\n').filter(differs).collect()
}

#[test]
fn a_request_split_at_any_byte_is_the_same_request() {
    let backend = Backend::mirror();
    let proxy = Proxy::start(&[backend.address]);
    let mut client = proxy.connect();
    for message in WHOLE.iter().map(|message| message.as_bytes()) {
        let expected = unframed(&client.ask(message).text());
        for at in 1..message.len() {
            client.send_apart(&[&message[..at], &message[at..]]);
            assert_eq!(unframed(&client.response().text()), expected, "split at {at}");
        }
    }
}

#[test]
fn a_response_split_at_any_byte_is_the_same_response() {
    let (origin, _proxy, mut client) = setup("");
    let messages = [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\na\r\n\r\n2\r\n\r\n\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ];
    client.send(GET);
    let (mut backend, _) = origin.answer(ok("first"));
    assert_eq!(client.response().text(), "first");
    for message in messages.map(str::as_bytes) {
        let mut expected = None;
        for at in 0..message.len() {
            client.send(GET);
            backend.request();
            backend.send_apart(&[&message[..at], &message[at..]]);
            let mut response = client.response();
            if response.status() == 103 {
                response = client.response();
            }
            let seen = unframed(&response.to_string());
            assert_eq!(*expected.get_or_insert(seen.clone()), seen, "split at {at}");
        }
    }
}

/// Every number of a message is `1*DIGIT` or `1*HEXDIG`: what matters is its value (RFC 9110 §8.6, RFC 9112 §7.1).
#[test]
fn leading_zeros_were_counted_as_digits() {
    let zeros = "0".repeat(40);
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{zeros}5\r\nhello\r\n{zeros}\r\n\r\n");
    let sized = format!("Content-Length: {zeros}5\r\n\r\nhello");
    each_row(&[chunked, sized], |rest| {
        let (origin, _proxy, mut client) = setup("");
        client.send(format!("POST / HTTP/1.1\r\nHost: a:{zeros}80\r\n{rest}"));
        let (_, request) = origin.answer(format!("HTTP/1.1 200 OK\r\n{rest}"));
        assert_eq!((request.text(), request.sole("host")), ("hello".to_owned(), format!("a:{zeros}80")));
        assert_eq!(client.response().text(), "hello");
    });
    let (origin, _proxy, mut client) = setup("");
    client.send(format!("TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {zeros}3\r\n\r\n"));
    assert_eq!(origin.answer(ok("")).1.sole("max-forwards"), "2");
}
