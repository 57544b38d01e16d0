//! Backends that misbehave: garbage is 502, a truncated body is visibly cut, and no byte of it reaches the next client.

use crate::harness::{Backend, End, GET, Origin, Proxy, Wire, each_row, ok, ok_chunked, ronde_only, setup};
use std::thread;

/// A backend's response, the statuses that a client may get for it, and why.
const BAD: &[(&str, &[u16], &str)] = &[
    ("garbage\r\n\r\n", &[502], "no status line"),
    ("\0\0\0\0\r\n\r\n", &[502], "binary"),
    ("SSH-2.0-OpenSSH_9.2\r\n\r\n", &[502], "another protocol"),
    ("HTTP/1.1\r\n\r\n", &[502], "no status"),
    ("HTTP/1.1 abc OK\r\n\r\n", &[502], "a status that is no number"),
    ("HTTP/1.1 20 OK\r\n\r\n", &[502], "two digits"),
    ("HTTP/1.1 2000 OK\r\n\r\n", &[502], "four digits"),
    ("HTTP/1.1 +20 OK\r\n\r\n", &[502], "a sign"),
    ("HTTP/1.1 000 OK\r\n\r\n", &[502], "a status below 100"),
    ("HTTP/1.1  200 OK\r\n\r\n", &[502], "two spaces"),
    (" HTTP/1.1 200 OK\r\n\r\n", &[502], "a leading space"),
    ("http/1.1 200 OK\r\n\r\n", &[502], "a version in lower case"),
    ("HTTP/2.0 200 OK\r\n\r\n", &[502], "another version"),
    ("HTTP/1.10 200 OK\r\n\r\n", &[502], "two digits in a version"),
    ("HTTP/0.9 200 OK\r\n\r\n", &[502], "an older version"),
    ("HTTP/1.1 200 O\0K\r\n\r\n", &[502], "NUL in the reason"),
    ("HTTP/1.1 200 O\rK\r\n\r\n", &[502], "bare CR in the reason"),
    ("HTTP/1.1 200 OK\r\nno colon\r\n\r\n", &[502], "no colon"),
    ("HTTP/1.1 200 OK\r\n: y\r\n\r\n", &[502], "no field name"),
    ("HTTP/1.1 200 OK\r\nX y: z\r\n\r\n", &[502], "a space in a field name"),
    ("HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n", &[502], "NUL in a value"),
    ("HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", &[502], "bare CR in a value"),
    (
        "HTTP/1.1 200 OK\r\nX : y\r\nContent-Length: 0\r\n\r\n",
        &[200, 502],
        "RFC 9112 §5.1: refused or mended (`f_mended`)",
    ),
    (
        "HTTP/1.1 200 OK\r\nX: y\r\n z\r\nContent-Length: 0\r\n\r\n",
        &[200, 502],
        "RFC 9112 §5.2: refused or mended (`f_mended`)",
    ),
    ("HTTP/1.1 200 OK\nContent-Length: 0\n\n", &[200, 502], "RFC 9112 §2.2: a bare LF may be accepted"),
    (
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[502],
        "both lengths",
    ),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", &[502], "two lengths"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5, 6\r\n\r\nhello!", &[502], "a list of lengths"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", &[200, 502], "RFC 9110 §8.6: refused or merged"),
    ("HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", &[502], "a sign"),
    ("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", &[502], "a negative length"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 5x\r\n\r\nhello", &[502], "no number"),
    ("HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello", &[502], "overflows to 5"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx", &[502], "an unknown coding"),
    (
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        &[502],
        "an unknown coding before chunked",
    ),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[502], "chunked twice"),
    ("HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nx", &[502], "identity is no longer a coding"),
    (
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        &[502],
        "RFC 9112 §6.1: none in HTTP/1.0",
    ),
    (
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        &[502],
        "an unrequested upgrade",
    ),
];

/// Responds to `/bad` with these bytes and to every other target with `good`.
fn bad_backend(bytes: String) -> Backend {
    Backend::start(move |wire, request| match request.target() {
        "/bad" => wire.send(&bytes),
        _ => wire.send(ok("good")),
    })
}

#[test]
fn a_bad_response_is_502_and_its_connection_is_not_reused() {
    each_row(BAD, |(bytes, statuses, _)| {
        let backend = bad_backend((*bytes).to_owned());
        let proxy = Proxy::with("--max-fails 0", &[backend.address]);
        let mut client = proxy.connect();
        assert_eq!(client.get("/good").text(), "good");
        let response = client.get("/bad");
        assert!(statuses.contains(&response.status()), "{response}");
        assert_eq!(proxy.get("/good").text(), "good");
    });
}

#[test]
fn a_response_head_that_is_too_large_is_502() {
    let lines = [format!("X: {}\r\n", "a".repeat(1 << 20)), "X: a\r\n".repeat(20_000)];
    each_row(&lines, |lines| {
        let backend = bad_backend(format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: 0\r\n\r\n"));
        let proxy = Proxy::with("--max-fails 0", &[backend.address]);
        assert_eq!(proxy.get("/bad").status(), 502);
        assert_eq!(proxy.get("/good").text(), "good");
    });
}

#[test]
fn a_head_may_be_as_long_as_its_limit_and_no_longer() {
    ronde_only!();
    let padded = |begin: &str, length: usize| {
        format!("{begin}X: {}\r\n\r\n", "x".repeat(length - begin.len() - "X: \r\n\r\n".len()))
    };
    let rows = [1024, 1025].map(|length| [(length, 1), (length, length / 2)]).concat();
    each_row(&rows, |&(length, cut)| {
        let (origin, _proxy, mut client) = setup("--max-head 1k");
        let request = padded("GET / HTTP/1.1\r\nHost: a\r\n", length);
        client.send_apart(&[&request.as_bytes()[..cut], &request.as_bytes()[cut..]]);
        if length > 1024 {
            return assert_eq!(client.response().status(), 431);
        }
        origin.answer(ok("fine"));
        assert_eq!(client.response().text(), "fine");
    });
    each_row(&rows, |&(length, cut)| {
        let (origin, _proxy, mut client) = setup("--max-head 1k");
        client.send(GET);
        let (mut backend, _) = origin.request();
        let response = padded("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n", length);
        backend.send_apart(&[&response.as_bytes()[..cut], &response.as_bytes()[cut..]]);
        assert_eq!(client.response().status(), if length > 1024 { 502 } else { 200 });
    });
}

#[test]
fn the_connection_of_a_bad_response_is_closed() {
    let (origin, _proxy, mut client) = setup("");
    client.send(GET);
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n");
    assert_eq!(client.response().status(), 502);
    backend.expect_end();
}

/// Ends a connection with FIN or with RST.
fn end(wire: Wire, how: &End) {
    match how {
        End::Reset => wire.reset(),
        _ => drop(wire),
    }
}

#[test]
fn a_backend_that_closes_before_its_head_is_whole_is_502() {
    let heads = ["", "HTTP/1.1 20", "HTTP/1.1 200 OK\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n"];
    let rows: Vec<_> = heads.iter().flat_map(|head| [(*head, End::Eof), (*head, End::Reset)]).collect();
    each_row(&rows, |(head, how)| {
        let (origin, _proxy, mut client) = setup("--max-fails 0");
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi");
        let (mut backend, _) = origin.request();
        backend.send(head);
        end(backend, how);
        assert_eq!(client.response().status(), 502);
        origin.expect_no_connection();
    });
}

/// Responses whose end is missing. The last one is delimited only by the end of its connection.
const TRUNCATED: &[&str] = &[
    "Content-Length: 10\r\n\r\n",
    "Content-Length: 10\r\n\r\nhello",
    "Transfer-Encoding: chunked\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n",
    "Connection: close\r\n\r\nhello",
];

/// The client gets a 502, or can tell that the response is incomplete.
fn assert_visibly_cut(client: &mut Wire) {
    match client.try_response() {
        Ok(response) => assert_eq!(response.status(), 502, "{response}"),
        Err(cut) => assert_ne!(cut.end, End::Silence),
    }
}

#[test]
fn a_truncated_response_is_visibly_cut() {
    let (closed, sized) = TRUNCATED.split_last().unwrap();
    let mut rows: Vec<_> = sized.iter().flat_map(|rest| [(*rest, End::Eof), (*rest, End::Reset)]).collect();
    rows.push((closed, End::Reset));
    for version in ["1.1", "1.0"] {
        each_row(&rows, |(rest, how)| {
            let (origin, _proxy, mut client) = setup("--max-fails 0");
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            let (backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\n{rest}"));
            end(backend, how);
            assert_visibly_cut(&mut client);
        });
    }
}

#[test]
fn a_response_that_breaks_off_after_its_head_is_visibly_cut() {
    for version in ["1.1", "1.0"] {
        each_row(TRUNCATED, |rest| {
            let (origin, _proxy, mut client) = setup("--max-fails 0");
            client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
            let (head, body) = rest.split_once("\r\n\r\n").unwrap();
            let (mut backend, _) = origin.answer(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n"));
            let head = client.response_head();
            backend.send(body);
            backend.reset();
            let (_, end) = client.rest();
            assert!(
                end == End::Reset || head.framing != crate::harness::Framing::Close,
                "{end:?} after {head}"
            );
        });
    }
}

#[test]
fn invalid_chunks_of_a_response_are_visibly_cut() {
    let bodies = [
        "xyz\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\r\nno trailer\r\n\r\n",
    ];
    each_row(&bodies, |body| {
        let (origin, _proxy, mut client) = setup("--max-fails 0");
        client.send(GET);
        let (mut backend, _) =
            origin.answer(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        assert_visibly_cut(&mut client);
        backend.expect_end();
    });
}

const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";

/// A method, a whole response to it, and its status. The test sends surplus bytes after each response.
const SURPLUS: &[(&str, &str, u16)] = &[
    ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200),
    ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", 200),
    ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 48\r\n\r\n", 200),
    ("GET", "HTTP/1.1 204 No Content\r\n\r\n", 204),
    ("GET", "HTTP/1.1 304 Not Modified\r\n\r\n", 304),
];

#[test]
fn surplus_bytes_after_a_response_never_reach_the_next_client() {
    each_row(SURPLUS, |(method, response, status)| {
        let (origin, proxy, mut client) = setup("--max-fails 0");
        client.send(format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let (mut backend, _) = origin.answer(format!("{response}{EVIL}"));
        assert_eq!(client.response_to(method).status(), *status);
        let mut next = proxy.connect();
        next.send(GET);
        origin.answer(ok("good"));
        assert_eq!(next.response().text(), "good");
        backend.expect_end();
    });
}

#[test]
fn bytes_on_an_idle_backend_connection_never_reach_the_next_client() {
    let (origin, proxy, mut client) = setup("--max-fails 0");
    client.send(GET);
    let (mut backend, _) = origin.answer(ok("good"));
    assert_eq!(client.response().text(), "good");
    backend.send(EVIL);
    let mut next = proxy.connect();
    next.send(GET);
    origin.answer(ok("good"));
    assert_eq!(next.response().text(), "good");
    backend.expect_end();
}

#[test]
fn a_response_sent_before_the_body_was_read_reaches_the_client() {
    let framings = [
        ("Content-Length: 1000000\r\n\r\n", "x".repeat(100_000)),
        ("Transfer-Encoding: chunked\r\n\r\n", format!("186a0\r\n{}", "x".repeat(100_000))),
    ];
    each_row(&framings, |(framing, part)| {
        let (origin, proxy, mut client) = setup("--max-fails 0");
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}"));
        let mut backend = origin.accept();
        backend.request_head();
        client.send(part);
        backend.send("HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno");
        drop(backend);
        let response = client.response();
        assert_eq!((response.status(), response.text().as_str()), (413, "no"));
        let mut next = proxy.connect();
        next.send(GET);
        origin.answer(ok("good"));
        assert_eq!(next.response().text(), "good");
    });
}

/// The backend responds and keeps its connection, but has not read the body: neither side may fall out of step.
#[test]
fn after_an_early_response_neither_connection_is_out_of_step() {
    let (origin, proxy, mut client) = setup("--max-fails 0");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let mut backend = origin.accept();
    backend.request_head();
    backend.send(ok("early"));
    assert_eq!(client.response().text(), "early");
    let body = GET.repeat(100_000 / GET.len() + 1);
    let _closed_meanwhile = client.try_send(&body[..100_000]);
    let mut next = proxy.connect();
    next.send("GET /next HTTP/1.1\r\nHost: a\r\n\r\n");
    let (_, request) = origin.answer(ok("next"));
    assert_eq!(request.target(), "/next");
    assert_eq!(next.response().text(), "next");
}

/// Where the client's connection persisted, the test above passed by chance: the first of these requests and the next one ran for
/// the same place.
#[test]
fn the_rest_of_an_upload_that_was_answered_is_no_request() {
    ronde_only!();
    let (origin, _proxy, mut client) = setup("");
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    let mut backend = origin.accept();
    backend.request_head();
    backend.send(ok("early"));
    let early = client.response();
    assert_eq!((early.text().as_str(), early.members("connection")), ("early", vec!["close".to_owned()]));
    let _closed_meanwhile = client.try_send(&GET.repeat(100_000 / GET.len() + 1)[..100_000]);
    assert_eq!(client.rest().0, b"", "one request has one response");
    origin.expect_no_connection();
}

/// Copying one direction after the other would deadlock once both directions are full.
#[test]
fn an_upload_and_its_response_flow_at_the_same_time() {
    const SIZE: usize = 8 << 20;
    let (origin, _proxy, mut client) = setup("");
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {SIZE}\r\n\r\n"));
    let mut backend = origin.accept();
    backend.request_head();
    backend.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n"));
    let echo = thread::spawn(move || {
        for _ in 0..SIZE / 4096 {
            let part = backend.take(4096);
            backend.send(part);
        }
    });
    let mut sender = client.twin();
    let upload = thread::spawn(move || sender.send(vec![b'x'; SIZE]));
    client.response_head();
    client.discard(SIZE as u64);
    upload.join().unwrap();
    echo.join().unwrap();
}

#[test]
fn a_head_response_may_declare_a_coding_without_a_body() {
    let (origin, _proxy, mut client) = setup("");
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let (mut backend, _) = origin.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    assert_eq!(client.response_to("HEAD").status(), 200);
    client.send(GET);
    backend.request();
    backend.send(ok_chunked(&["next"]));
    assert_eq!(client.response().text(), "next");
}

#[test]
fn a_1_0_backend_is_understood_and_its_connection_not_kept() {
    let origin = Origin::start();
    let proxy = Proxy::start(&[origin.address]);
    let mut client = proxy.connect();
    for body in ["one", "two"] {
        client.send(GET);
        let (backend, _) = origin.answer(format!("HTTP/1.0 200 OK\r\n\r\n{body}"));
        drop(backend);
        let response = client.response();
        assert_eq!((response.start.as_str(), response.text().as_str()), ("HTTP/1.1 200 OK", body));
    }
}
