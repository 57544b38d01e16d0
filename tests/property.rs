//! A message that passes through ronde arrives as one message, and unchanged: a valid one however it is split, a
//! damaged one as what the second parser reads in it, or not at all.
//!
//! Not here: the checks of a forwarded message (`gateway`, which the fuzz targets share). Here are the messages.

mod gateway;
mod strict;

use gateway::{IoSizes, Outcome, RequestContext, Sent, check_request, check_response};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use ronde::http1::head::{Method, Version};
use std::fmt;
use strict::{Message, RequestLine};

/// Fields with a meaning for a gateway, each valid on its own.
const FIELDS: &[&str] = &[
    "Connection: close, X-A",
    "connection: keep-alive,, Host, content-length",
    "Connection: Upgrade",
    "Upgrade: websocket, h2c, x/1",
    "TE: gzip, trailers",
    "Expect: 100-continue",
    "Keep-Alive: timeout=5",
    "Max-Forwards: 3",
    "Proxy-Connection: close",
    "Via: 1.0 fred, 1.1 ronde-12345678",
    "CDN-Loop: fred; a=b",
    "CDN_Loop: fred",
    "Forwarded: for=192.0.2.1",
    "X-Forwarded-For: 192.0.2.1",
    "x-forwarded-anything: x",
    "X_Forwarded_Proto: https",
    "Transfer_Encoding: chunked",
    "X-Real-IP: 192.0.2.1",
    "Date: Tue, 15 Nov 1994 08:12:31 GMT",
    "Cookie: a=b; c=\"d\"",
    "X-A:",
    "X-A: \t b ",
    "x_a:c",
];

/// Bytes that parsers may read differently.
const SNIPPETS: &[&[u8]] = &[
    b"",
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b" ",
    b"\t",
    b"\x0b",
    b":",
    b",",
    b";",
    b"%",
    b"#",
    b"0",
    b"1",
    b"f",
    b"-",
    b"_",
    b"\xff",
    b"\x7f_",
    b"\r\n ",
    b"\r\n\t",
    b"\r\n \r\n",
    b" :",
    b"\r\n Content-Length: 3",
    b"\r\nTransfer-Encoding : chunked",
    b"HTTP/1.2",
    b"\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\nHost: b",
    b"00000000000000000000",
    b"\r\nContent-Length: 3",
    b"\r\nContent-Length: 03",
    b"\r\nTransfer-Encoding: chunked",
    b"\r\nTransfer-Encoding: identity",
    b"\r\nTransfer-Encoding:\x0bchunked",
    b"GET /smuggled HTTP/1.1\r\nHost: c\r\n\r\n",
];

/// Bytes that a failing test shows as text.
#[derive(Clone)]
struct Wire(Vec<u8>);

impl fmt::Debug for Wire {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.0.escape_ascii())
    }
}

/// A body with the field that declares it, and the empty line between them.
fn body() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![Just(b"\r\n".to_vec()), plain_body(), chunked_body()]
}

fn plain_body() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 0..100), 1..30usize).prop_map(|(data, digits)| {
        [format!("Content-Length: {:0digits$}\r\n\r\n", data.len()).as_bytes(), &data].concat()
    })
}

fn chunked_body() -> impl Strategy<Value = Vec<u8>> {
    let extension = select(&["", ";a", " ;b=\"c\"", "\t; d=e ; f"][..]);
    let chunk =
        (vec(any::<u8>(), 1..40), 2..20usize, extension.clone()).prop_map(|(data, digits, extension)| {
            [format!("{:0digits$X}{extension}\r\n", data.len()).as_bytes(), &data, b"\r\n"].concat()
        });
    (vec(chunk, 0..5), extension, fields(3)).prop_map(|(chunks, extension, trailers)| {
        let last = format!("0{extension}\r\n{trailers}\r\n");
        [b"transfer-encoding: Chunked\r\n\r\n", &chunks.concat()[..], last.as_bytes()].concat()
    })
}

fn fields(most: usize) -> impl Strategy<Value = String> {
    let known = select(FIELDS).prop_map(str::to_owned);
    let unknown = "X-[!#$%&'*+.^_`|~0-9A-Za-z-]{0,8}:[ \t]?[!-~\u{80}-\u{ff}]{0,12}";
    let line = prop_oneof![known, unknown].prop_map(|field| field + "\r\n");
    vec(line, 0..most).prop_map(|lines| lines.concat())
}

fn request() -> impl Strategy<Value = Wire> {
    prop_oneof![4 => new_request(), 1 => old_request()]
}

fn new_request() -> impl Strategy<Value = Wire> {
    let origin = r#"/[!"$-~]{0,20}"#;
    let absolute = r#"(http|HTTPS)://([a-z][a-z0-9-]{0,3}(\.[a-z0-9-]{1,3}){0,2}\.?|127\.0\.0\.1|\[::1\]|%41b)(:8?0?)?([/?][!"$-~]{0,9})?"#;
    let method = "(GET|HEAD|POST|PUT|DELETE|OPTIONS|TRACE|BREW|get)";
    let start = prop_oneof![(method, prop_oneof![origin, absolute]), ("OPTIONS", "\\*")];
    let host = select(&["a", "Example.org:80", "a:000000443", "[::1]:", "%C3%a9", "a_b"][..]);
    let empty = select(&["", "\r\n", "\r\n\r\n"][..]);
    (empty, start, 1..=9u8, fields(6), host, fields(6), body()).prop_map(
        |(empty, (method, target), minor, before, host, after, body)| {
            let head = format!("{empty}{method} {target} HTTP/1.{minor}\r\n{before}hOST: {host}\r\n{after}");
            Wire([head.as_bytes(), &body].concat())
        },
    )
}

/// HTTP/1.0 has no chunked coding and needs no Host.
fn old_request() -> impl Strategy<Value = Wire> {
    let host = select(&["", "Host: a\r\n"][..]);
    (host, fields(6), plain_body()).prop_map(|(host, fields, body)| {
        Wire([format!("POST /old HTTP/1.0\r\n{host}{fields}").as_bytes(), &body].concat())
    })
}

fn response() -> impl Strategy<Value = Wire> {
    let status = "(200 OK|103 Early Hints|204|304 |404 N\u{f6}|599 \t)";
    (1..=9u8, status, fields(8), odd_fields(), body()).prop_map(|(minor, status, fields, odd, body)| {
        Wire([format!("HTTP/1.{minor} {status}\r\n{fields}{odd}").as_bytes(), &body].concat())
    })
}

/// Field lines that a proxy mends in a response (RFC 9112 §5.1 and §5.2).
fn odd_fields() -> impl Strategy<Value = String> {
    let line = "X-[a-z]{0,3}[ \t]{0,2}:[ \t]{0,2}[!-~]{0,5}([ \t]{0,2}\r\n[ \t]{1,2}[!-9;-~]{1,5}){0,2}\r\n";
    vec(line, 0..3).prop_map(|lines| lines.concat())
}

fn damaged(message: impl Strategy<Value = Wire>) -> impl Strategy<Value = Wire> {
    let edit = (any::<Index>(), 0..4usize, select(SNIPPETS));
    (message, vec(edit, 1..4)).prop_map(|(Wire(mut bytes), edits)| {
        for (at, length, snippet) in edits {
            let at = at.index(bytes.len() + 1);
            let end = bytes.len().min(at + length);
            bytes.splice(at..end, snippet.iter().copied());
        }
        Wire(bytes)
    })
}

fn request_context() -> impl Strategy<Value = RequestContext> {
    let methods = select(&[Method::Get, Method::Head][..]);
    let versions = select(&[Version::Http10, Version::Http11][..]);
    (methods, versions).prop_map(|(method, version)| RequestContext { method, version })
}

/// Reads and writes of a few bytes each.
fn sizes() -> impl Strategy<Value = (Vec<usize>, usize)> {
    (vec(1..50usize, 1..4), 1..50usize)
}

/// The forwarded request, and how many bytes of the stream it was. It is parsed again, because its chunks depend on how
/// the stream was split.
fn arrived(outcome: Outcome) -> (Message<RequestLine>, usize) {
    match outcome {
        Outcome::Sent(Sent { bytes, taken, end: Ok(()) }) => {
            (strict::request(&bytes).expect("checked").0, taken)
        }
        other => panic!("{other:?}"),
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(512))]

    #[test]
    fn a_valid_request_arrives_however_it_is_read_and_written(
        message in request(), rest in vec(any::<u8>(), 0..9), (reads, write) in sizes(),
    ) {
        let stream = [&message.0[..], &rest].concat();
        let at_once = arrived(check_request(&stream, IoSizes::AT_ONCE));
        prop_assert_eq!(at_once.1, message.0.len());
        prop_assert_eq!(arrived(check_request(&stream, IoSizes { reads: &reads, write })), at_once);
    }

    #[test]
    fn a_damaged_request_arrives_as_one_valid_message_or_not_at_all(
        stream in damaged(request()), (reads, write) in sizes(),
    ) {
        check_request(&stream.0, IoSizes { reads: &reads, write });
    }

    #[test]
    fn a_valid_response_arrives_however_it_is_read_and_written(
        message in response(), context in request_context(), (reads, write) in sizes(),
    ) {
        for sizes in [IoSizes::AT_ONCE, IoSizes { reads: &reads, write }] {
            let outcome = check_response(&message.0, context, sizes);
            prop_assert!(matches!(outcome, Outcome::Sent(Sent { end: Ok(()), .. })), "{outcome:?}");
        }
    }

    #[test]
    fn a_damaged_response_arrives_as_one_valid_message_or_not_at_all(
        stream in damaged(response()), context in request_context(), (reads, write) in sizes(),
    ) {
        check_response(&stream.0, context, IoSizes { reads: &reads, write });
    }
}

proptest! {
    #![proptest_config(cases(48))]

    #[test]
    fn a_valid_request_arrives_split_at_any_byte(message in request()) {
        let whole = arrived(check_request(&message.0, IoSizes::AT_ONCE));
        for at in 1..message.0.len() {
            let halves = IoSizes { reads: &[at, usize::MAX], ..IoSizes::AT_ONCE };
            prop_assert_eq!(&arrived(check_request(&message.0, halves)), &whole, "split at {}", at);
        }
    }
}

/// Regressions found by the fuzz targets.
mod found_by_fuzzing {
    use super::*;

    fn check(stream: &[u8]) {
        check_request(stream, IoSizes::AT_ONCE);
    }

    /// RFC 9110 §10.1.1: a server ignores an expectation in HTTP/1.0. ronde forwards as HTTP/1.1, where it would count.
    #[test]
    fn an_expectation_in_http_1_0_is_not_forwarded() {
        check(b"POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na");
    }

    /// RFC 9112 §3.2 and RFC 3986 §2.1: an invalid Host is refused, and `%` without two hex digits makes it invalid.
    #[test]
    fn an_invalid_escape_in_a_host_is_refused() {
        check(b"GET / HTTP/1.1\r\nHost: a%\r\n\r\n");
        check(b"GET http://a%4g/ HTTP/1.1\r\nHost: a\r\n\r\n");
    }

    /// RFC 9110 §7.8 and §2.2: the protocols that ronde lists in `Upgrade` are tokens.
    #[test]
    fn an_upgrade_to_an_invalid_protocol_is_not_forwarded() {
        check(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: \"websocket\r\n\r\n");
    }

    /// RFC 9110 §7.6.2: `Max-Forwards = 1*DIGIT`.
    #[test]
    fn a_signed_max_forwards_is_not_counted() {
        check(b"TRACE / HTTP/1.1\r\nHost: a\r\nMax-Forwards: +3\r\n\r\n");
    }

    /// RFC 9110 §7.6.1: "any header or trailer field" that `Connection` names is removed.
    #[test]
    fn a_trailer_named_in_connection_is_not_forwarded() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nConnection: x-sum\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&[&head[..], b"1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"].concat());
    }

    /// RFC 9112 §7.1.1 asks for a limit on chunk extensions. White space before an extension counts too.
    #[test]
    fn white_space_after_a_chunk_size_is_bounded() {
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1";
        check(&[&head[..], &b" ".repeat(100_000), b";\r\na\r\n0\r\n\r\n"].concat());
    }
}
