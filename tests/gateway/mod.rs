//! ronde without its sockets: its pure functions joined as `session` and `exchange` join them, and checks of the
//! output by the second parser in `strict`.
//!
//! The problem: correct functions do not prove that a whole message is forwarded correctly. So a stream goes in, in
//! pieces as a socket would deliver it. One message must come out, or a prefix that no parser can take for a whole
//! message.
//!
//! Reading order: [`Outcome`], the functions that produce it ([`request`], [`response`], [`pump`]), then the checks.
//!
//! Not here: the grammar (`strict`) and the messages (`tests/property.rs`, `tests/fuzz`).

use crate::strict::{self, Body, Fault, Field, Message, RequestLine, StatusLine, Target};
use ronde::config::Peer;
use ronde::http1::chunked::{Decoder, Malformed};
use ronde::http1::forward::{self, Delivery, Mark, Origin, Persistence, Scheme, Trust};
use ronde::http1::framing::{self, Coding, Framing};
use ronde::http1::head::{self, Lines, MAX_TRAILERS, Method, Scan, Version};
use ronde::http1::reframer::Reframer;
use ronde::observe::failure::Failure;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const PSEUDONYM: &str = "ronde-00c0ffee";

/// Zeros before a chunk's size, and separately bytes between it and its line end. ronde must accept this many, and must
/// refuse twice as many.
const MAX_PADDING: usize = 1024;

/// The result of forwarding a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The stream holds no whole head.
    Incomplete,
    Refused(Failure),
    Sent(Sent),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The bytes that the next hop gets.
    pub bytes: Vec<u8>,
    /// How many bytes of the stream belonged to this message.
    pub taken: usize,
    pub end: Result<(), Malformed>,
}

/// The parts of a request that decide how its response is framed.
#[derive(Clone, Copy, Debug)]
pub struct RequestContext {
    pub method: Method,
    pub version: Version,
}

/// The sizes of reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct IoSizes<'a> {
    /// Sizes of the reads, repeated in a cycle.
    pub reads: &'a [usize],
    pub write: usize,
}

impl IoSizes<'_> {
    pub const AT_ONCE: IoSizes<'static> = IoSizes { reads: &[], write: usize::MAX };

    pub fn pieces<'b>(&self, mut stream: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let mut lengths = self.reads.iter().map(|&length| length.max(1)).cycle();
        std::iter::from_fn(move || {
            let (piece, rest) = stream.split_at(lengths.next().unwrap_or(usize::MAX).min(stream.len()));
            stream = rest;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// Forwards a client's stream to a backend.
pub fn request(stream: &[u8], sizes: IoSizes<'_>) -> Outcome {
    send(stream, sizes, |bytes, out| {
        head::settle_version(bytes);
        let mut lines = Lines::new();
        let head = head::request(bytes, &mut lines)?;
        let framing = framing::of_request(head.version, head.fields)?;
        let upgrade = forward::upgrade(&head);
        let origin = Origin {
            client: Peer::Ip(CLIENT),
            scheme: Scheme::Http,
            trust: Trust::Stranger,
            framing,
            upgrade,
            local: Some(LOCAL),
            strip: "",
            pseudonym: PSEUDONYM,
            mark: Mark::Via,
        };
        forward::request(out, &head, &origin)?;
        Ok((framing, forward::coding(head.fields, framing)))
    })
}

/// Relays a backend's stream to a client. A 101 is not handled here.
pub fn response(stream: &[u8], context: RequestContext, sizes: IoSizes<'_>) -> Outcome {
    if stream.starts_with(b"\r\n") {
        return Outcome::Refused(Failure::ResponseMalformed);
    }
    send(stream, sizes, |bytes, out| {
        let mut lines = Lines::new();
        let head = head::response(bytes, &mut lines)?;
        let framed = framing::of_response(context.method, head.status, head.version, head.fields)?;
        if head.status < 200 {
            forward::interim(out, &head)?;
            return Ok((Framing::Length(0), Coding::Plain));
        }
        let delivery = Delivery::of(context.version, context.method, head.status, framed);
        forward::response(out, &head, context.version, delivery, Persistence::Persist)?;
        Ok((framed.framing, delivery.coding(head.fields)))
    })
}

fn send(
    stream: &[u8],
    sizes: IoSizes<'_>,
    forward: impl FnOnce(&mut [u8], &mut Vec<u8>) -> Result<(Framing, Coding), Failure>,
) -> Outcome {
    let mut pieces = sizes.pieces(stream);
    let mut buffer = Vec::new();
    let (start, end) = loop {
        match head::scan(&buffer) {
            Scan::Complete { start, end } => break (start, end),
            Scan::Hopeless(failure) => return Outcome::Refused(failure),
            Scan::Partial => match pieces.next() {
                Some(piece) => buffer.extend(piece),
                None => return Outcome::Incomplete,
            },
        }
    };
    let mut lead = Vec::new();
    let (framing, coding) = match forward(&mut buffer[start..end], &mut lead) {
        Ok(body) => body,
        Err(failure) => return Outcome::Refused(failure),
    };
    buffer.drain(..end);
    let reframer = Reframer::new(Decoder::new(framing), coding, lead.len());
    let mut sent = pump(reframer, &lead, buffer, pieces, sizes.write);
    sent.taken += end;
    Outcome::Sent(sent)
}

/// Pumps a body through, as `relay` does: first the bytes in the buffer, then piece by piece.
pub fn pump<'a>(
    mut reframer: Reframer,
    lead: &[u8],
    mut buffer: Vec<u8>,
    mut pieces: impl Iterator<Item = &'a [u8]>,
    write: usize,
) -> Sent {
    let mut sent = Sent { bytes: Vec::new(), taken: 0, end: Ok(()) };
    if reframer.is_hungry() {
        sent.end = reframer.load(&mut buffer);
    }
    while sent.end.is_ok() {
        let parts = reframer.parts(lead, &buffer);
        let before = sent.bytes.len();
        sent.bytes.extend(parts.iter().flat_map(|part| part.iter()).take(write.max(1)));
        let dropped = reframer.sent(sent.bytes.len() - before);
        buffer.drain(..dropped);
        sent.taken += dropped;
        if reframer.is_over() {
            break;
        }
        if reframer.is_hungry() && reframer.loaded() == 0 {
            sent.end = match pieces.next() {
                Some(piece) => {
                    buffer.extend(piece);
                    reframer.load(&mut buffer)
                }
                None => reframer.closed(),
            };
        }
    }
    sent
}

/// Checks that the forwarded part of a client's stream is exactly one message, and the one that the client sent.
pub fn check_request(stream: &[u8], sizes: IoSizes<'_>) -> Outcome {
    let mut message = stream;
    while let Some(rest) = message.strip_prefix(b"\r\n") {
        message = rest;
    }
    let outcome = request(stream, sizes);
    if let Some((received, forwarded)) = check(&outcome, message, stream.len(), strict::request) {
        compare_requests(&received, &forwarded);
    }
    outcome
}

/// The same for a backend's stream.
pub fn check_response(stream: &[u8], context: RequestContext, sizes: IoSizes<'_>) -> Outcome {
    let outcome = response(stream, context, sizes);
    let read = |bytes| strict::response(bytes, if context.method == Method::Head { "HEAD" } else { "GET" });
    // HTTP/1.0: the body may end with the connection, and then only a reset tells that it was cut.
    let is_cut =
        matches!(&outcome, Outcome::Sent(Sent { end: Err(_), .. })) && context.version == Version::Http10;
    if is_cut {
        assert!(may_be_cut(&read(stream)), "a valid response was cut: {outcome:?}");
    } else if let Some((received, forwarded)) = check(&outcome, stream, stream.len(), read) {
        compare_responses(&received, &forwarded, context);
    }
    outcome
}

/// Compares ronde's reading and the second parser's of a message somewhere in a stream of `stream` bytes. Returns a
/// whole message as it was received and as it was forwarded.
fn check<'a, Start>(
    outcome: &'a Outcome,
    message: &'a [u8],
    stream: usize,
    read: impl Fn(&'a [u8]) -> Result<(Message<Start>, &'a [u8]), Fault>,
) -> Option<(Message<Start>, Message<Start>)> {
    match (outcome, read(message)) {
        (Outcome::Refused(failure), Ok(_)) => {
            assert!(is_limit(*failure), "a valid message was refused: {failure:?}")
        }
        (Outcome::Incomplete, Ok(_)) => panic!("a whole message was not recognised"),
        (Outcome::Incomplete | Outcome::Refused(_), Err(_)) => {}
        (Outcome::Sent(Sent { bytes, end: Err(malformed), .. }), received) => {
            assert!(may_be_cut(&received), "a valid message was cut: {malformed:?}");
            assert_eq!(
                read(bytes).err(),
                Some(Fault::Incomplete),
                "{malformed:?}, but the output looks whole"
            );
        }
        (Outcome::Sent(Sent { bytes, taken, end: Ok(()) }), received) => {
            let (received, rest) =
                received.unwrap_or_else(|fault| panic!("an invalid message was forwarded: {fault:?}"));
            assert_eq!(stream - rest.len(), *taken, "the next message begins at another byte");
            let (forwarded, rest) =
                read(bytes).unwrap_or_else(|fault| panic!("the output is invalid: {fault:?}"));
            assert_eq!(rest, b"", "more than one message was forwarded");
            assert!(received.body.padding < 2 * MAX_PADDING, "the size lines of chunks are not bounded");
            return Some((received, forwarded));
        }
    }
    None
}

/// Whether the message is incomplete or invalid, or has a body that ronde may refuse although the grammar allows it.
fn may_be_cut<Start>(received: &Result<(Message<Start>, &[u8]), Fault>) -> bool {
    received.as_ref().map_or(true, |(Message { body, .. }, _)| {
        body.trailers.len() > MAX_TRAILERS || body.padding > MAX_PADDING
    })
}

/// Whether ronde may refuse with this failure although the grammar allows the message.
fn is_limit(failure: Failure) -> bool {
    use Failure::*;
    matches!(failure, EmptyLines | TooManyFields | TooManyOptions | ResponseOptions | ResponseHeadTooLarge)
}

fn compare_requests(received: &Message<RequestLine>, forwarded: &Message<RequestLine>) {
    let values = |name| {
        strict::named(&forwarded.fields, name).iter().map(|field| &field.value[..]).collect::<Vec<_>>()
    };
    let asked_host = strict::named(&received.fields, "host").first().map(|field| field.value.clone());
    let (target, host) = match &received.start.target {
        Target::Absolute { authority, path } => {
            let target = match &path[..] {
                "" if received.start.method == "OPTIONS" => Target::Asterisk,
                path if path.starts_with('/') => Target::Origin(path.to_owned()),
                path => Target::Origin(format!("/{path}")),
            };
            (target, authority.clone().into_bytes())
        }
        target => (target.clone(), asked_host.unwrap_or_else(|| LOCAL.to_string().into_bytes())),
    };
    assert_eq!(forwarded.start, RequestLine { method: received.start.method.clone(), target, minor: 1 });
    assert_eq!(values("host"), [&host]);
    let length = |message: &Message<RequestLine>| strict::declared(message.start.minor, &message.fields);
    assert_eq!(length(received), length(forwarded));
    compare_end_to_end(received, forwarded);

    assert_eq!(values("x-forwarded-for"), [CLIENT.to_string().as_bytes()]);
    assert_eq!(values("x-forwarded-proto"), [b"http"]);
    for dropped in ["forwarded", "x-real-ip", "keep-alive", "proxy-connection"] {
        assert!(values(dropped).is_empty(), "{dropped}");
    }
    for Field { name, .. } in forwarded.fields.iter().filter(|field| field.name.contains('_')) {
        assert!(!is_gateway_field(name), "{name} is a gateway field, spelled with `_`");
    }
    let vias: Vec<_> =
        strict::named(&received.fields, "via").iter().map(|field| field.value.clone()).collect();
    let own = format!("1.{} {PSEUDONYM}", received.start.minor).into_bytes();
    assert_eq!(values("via"), [vias, vec![own]].concat());
    let loops = strict::named(&received.fields, "cdn-loop");
    assert_eq!(values("cdn-loop"), loops.iter().map(|field| &field.value[..]).collect::<Vec<_>>());
    let options = strict::members(&forwarded.fields, "connection");
    assert!(matches!(&options.iter().map(String::as_str).collect::<Vec<_>>()[..], [] | ["te"] | ["upgrade"]));
    for option in ["te", "upgrade"] {
        assert_eq!(options.iter().any(|member| member == option), !values(option).is_empty());
    }
    for protocol in strict::members(&forwarded.fields, "upgrade") {
        assert!(strict::is_protocol(&protocol) && protocol != "h2c", "upgrade to {protocol:?}");
    }
    assert_eq!(values("max-forwards"), forwards_left(received));
    // RFC 9110 §10.1.1: an expectation in HTTP/1.0 is ignored.
    assert!(
        received.start.minor == 1 || values("expect").is_empty(),
        "an expectation of an HTTP/1.0 client was forwarded"
    );
}

/// RFC 9110 §7.6.2: `1*DIGIT`, counted down for two methods. Any other value passes like other fields.
fn forwards_left(received: &Message<RequestLine>) -> Vec<Vec<u8>> {
    let is_counted = ["OPTIONS", "TRACE"].contains(&&received.start.method[..]);
    let is_nominated = strict::members(&received.fields, "connection").contains(&"max-forwards".to_owned());
    let left = |value: &[u8]| {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        if !is_counted || !is_number {
            return (!is_nominated).then(|| value.to_vec());
        }
        let left = String::from_utf8_lossy(value).parse::<u64>().unwrap_or(u64::MAX);
        Some(left.saturating_sub(1).to_string().into())
    };
    strict::named(&received.fields, "max-forwards").iter().filter_map(|field| left(&field.value)).collect()
}

fn compare_responses(
    received: &Message<StatusLine>,
    forwarded: &Message<StatusLine>,
    context: RequestContext,
) {
    let count = |message: &Message<_>, name| strict::named(&message.fields, name).len();
    assert_eq!(forwarded.start, StatusLine { minor: 1, ..received.start.clone() });
    compare_end_to_end(received, forwarded);
    if forwarded.start.status >= 200 {
        assert_eq!(count(forwarded, "date"), count(received, "date").max(1));
    }
    let framing = count(forwarded, "content-length") + count(forwarded, "transfer-encoding");
    match forwarded.start.status {
        100..=199 | 204 => assert_eq!(framing, 0, "a body is declared where none is allowed"),
        _ => assert!(framing < 2),
    }
    assert!(context.version == Version::Http11 || count(forwarded, "transfer-encoding") == 0);
    let protocols = |message: &Message<_>| strict::members(&message.fields, "upgrade");
    for option in strict::members(&forwarded.fields, "connection") {
        assert!(["close", "keep-alive", "upgrade"].contains(&&option[..]), "{option}");
        assert!(option != "upgrade" || !protocols(forwarded).is_empty());
    }
    let is_http2 = |protocol: &str| ["h2c", "h2"].contains(&protocol.split('/').next().unwrap_or_default());
    let is_offer = |protocol: &String| strict::is_protocol(protocol) && !is_http2(protocol);
    let offered = protocols(received).into_iter().filter(is_offer).filter(|_| received.start.status == 426);
    assert_eq!(protocols(forwarded), offered.collect::<Vec<_>>(), "the protocols that a 426 requires");
}

/// End-to-end fields and the body arrive unchanged and in order.
fn compare_end_to_end<Start>(received: &Message<Start>, forwarded: &Message<Start>) {
    let nominated = strict::members(&received.fields, "connection");
    let end_to_end = |message: &Message<Start>| {
        let is_end_to_end = |Field { name, .. }: &&Field| {
            let name = name.to_ascii_lowercase();
            !is_gateway_field(&name) && !nominated.contains(&name) && name != "date"
        };
        message.fields.iter().filter(is_end_to_end).cloned().collect::<Vec<_>>()
    };
    assert_eq!(end_to_end(received), end_to_end(forwarded));
    let Body { data, trailers, .. } = &forwarded.body;
    assert_eq!(data, &received.body.data);
    let mut received = received.body.trailers.iter();
    for trailer in trailers {
        assert!(received.any(|other| other == trailer), "{trailer:?} was not sent, or not in this order");
        let name = trailer.name.to_ascii_lowercase();
        assert!(!is_gateway_field(&name) && !nominated.contains(&name), "{trailer:?} must not be forwarded");
    }
}

/// Fields that a gateway may add, change or drop, also where `_` is read as `-`.
fn is_gateway_field(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('_', "-");
    name.starts_with("x-forwarded-")
        || [
            "connection",
            "content-length",
            "expect",
            "forwarded",
            "host",
            "keep-alive",
            "max-forwards",
            "proxy-connection",
            "te",
            "transfer-encoding",
            "upgrade",
            "via",
            "cdn-loop",
            "x-real-ip",
        ]
        .contains(&&name[..])
}
