//! ronde without its sockets: its pure functions joined as `session` and `exchange` join them, and what must be true
//! of everything that comes out, by the second reading in `strict`.
//!
//! The problem: that each function is right does not say that a whole message goes through right. So here a stream
//! goes in, in pieces as a socket would deliver it, and one message comes out, or the beginning of one that nobody
//! can take for a whole.
//!
//! Reading order: [`Onward`], the ways there ([`request`], [`response`], [`pass`]), then the judges.

use crate::strict::{self, Body, Fault, Field, Message, RequestLine, StatusLine, Target};
use ronde::http1::chunked::{Decoder, Malformed};
use ronde::http1::forward::{self, Delivery, Origin, Persistence, Trust};
use ronde::http1::framing::{self, Coding, Framing};
use ronde::http1::head::{self, Lines, MAX_TRAILERS, Method, Scan, Version};
use ronde::http1::reframer::Reframer;
use ronde::observe::failure::Failure;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const LOCAL: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const VIA: &str = "ronde-00c0ffee";

/// Bytes between a chunk's size and its line end that ronde may not refuse, and not much more may pass.
const MOST_EXTENSION: usize = 1024;

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Onward {
    /// There is no whole head yet.
    Waiting,
    Refused(Failure),
    Sent(Sent),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// What the next hop gets.
    pub bytes: Vec<u8>,
    /// Bytes of the stream that were this message.
    pub taken: usize,
    pub end: Result<(), Malformed>,
}

/// The client of an exchange, as far as the way of a response depends on it.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub method: Method,
    pub version: Version,
}

/// How a stream is cut into reads, and what is read into writes.
#[derive(Clone, Copy, Debug)]
pub struct Rhythm<'a> {
    /// Lengths of reads, in turns.
    pub reads: &'a [usize],
    pub write: usize,
}

impl Rhythm<'_> {
    pub const AT_ONCE: Rhythm<'static> = Rhythm { reads: &[], write: usize::MAX };

    pub fn pieces<'b>(&self, mut stream: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        let mut lengths = self.reads.iter().map(|&length| length.max(1)).cycle();
        std::iter::from_fn(move || {
            let (piece, rest) = stream.split_at(lengths.next().unwrap_or(usize::MAX).min(stream.len()));
            stream = rest;
            (!piece.is_empty()).then_some(piece)
        })
    }
}

/// A client's stream, on its way to a backend.
pub fn request(stream: &[u8], rhythm: Rhythm<'_>) -> Onward {
    send(stream, rhythm, |bytes, out| {
        let mut lines = Lines::new();
        let head = head::request(bytes, &mut lines)?;
        let framing = framing::of_request(head.version, head.fields)?;
        let upgrade = forward::upgrade(&head, framing);
        let origin =
            Origin { client: CLIENT, trust: Trust::Stranger, framing, upgrade, local: Some(LOCAL), via: VIA };
        forward::request(out, &head, &origin)?;
        Ok((framing, forward::coding(head.fields, framing)))
    })
}

/// A backend's stream, on its way to a client. A switch of protocols is none of this.
pub fn response(stream: &[u8], asked: Asked, rhythm: Rhythm<'_>) -> Onward {
    if stream.starts_with(b"\r\n") {
        return Onward::Refused(Failure::ResponseMalformed);
    }
    send(stream, rhythm, |bytes, out| {
        let mut lines = Lines::new();
        let head = head::response(bytes, &mut lines)?;
        let framed = framing::of_response(asked.method, head.status, head.version, head.fields)?;
        if head.status < 200 {
            forward::interim(out, &head)?;
            return Ok((Framing::Length(0), Coding::Plain));
        }
        let delivery = Delivery::of(asked.version, asked.method, head.status, framed);
        forward::response(out, &head, asked.version, delivery, Persistence::Persist)?;
        Ok((framed.framing, delivery.coding(head.fields)))
    })
}

fn send(
    stream: &[u8],
    rhythm: Rhythm<'_>,
    forward: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(Framing, Coding), Failure>,
) -> Onward {
    let mut pieces = rhythm.pieces(stream);
    let mut buffer = Vec::new();
    let (start, end) = loop {
        match head::scan(&buffer) {
            Scan::Complete { start, end } => break (start, end),
            Scan::Hopeless(failure) => return Onward::Refused(failure),
            Scan::Partial => match pieces.next() {
                Some(piece) => buffer.extend(piece),
                None => return Onward::Waiting,
            },
        }
    };
    let mut lead = Vec::new();
    let (framing, coding) = match forward(&buffer[start..end], &mut lead) {
        Ok(body) => body,
        Err(failure) => return Onward::Refused(failure),
    };
    buffer.drain(..end);
    let reframer = Reframer::new(Decoder::new(framing), coding, lead.len());
    let mut sent = pass(reframer, &lead, buffer, pieces, rhythm.write);
    sent.taken += end;
    Onward::Sent(sent)
}

/// Passes a body through, as `relay` does: what is in the buffer first, then piece by piece.
pub fn pass<'a>(
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
        if let Some(consumed) = reframer.sent(sent.bytes.len() - before) {
            buffer.drain(..consumed);
            sent.taken += consumed;
        }
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

/// Whatever of a client's stream goes on is exactly one message, and the one that the client sent.
pub fn judge_request(stream: &[u8], rhythm: Rhythm<'_>) -> Onward {
    let mut message = stream;
    while let Some(rest) = message.strip_prefix(b"\r\n") {
        message = rest;
    }
    let onward = request(stream, rhythm);
    if let Some((asked, passed)) = judge(&onward, message, stream.len(), strict::request) {
        compare_requests(&asked, &passed);
    }
    onward
}

/// The same for what a backend sends.
pub fn judge_response(stream: &[u8], asked: Asked, rhythm: Rhythm<'_>) -> Onward {
    let onward = response(stream, asked, rhythm);
    let read = |bytes| strict::response(bytes, if asked.method == Method::Head { "HEAD" } else { "GET" });
    // Where the end of the connection is the end of the body, a reset says that there is more.
    let is_cut =
        matches!(&onward, Onward::Sent(Sent { end: Err(_), .. })) && asked.version == Version::Http10;
    if is_cut {
        assert!(may_be_cut(&read(stream)), "whole, but cut: {onward:?}");
    } else if let Some((answer, passed)) = judge(&onward, stream, stream.len(), read) {
        compare_responses(&answer, &passed, asked);
    }
    onward
}

/// Compares the two readings of a message that begins somewhere in a stream of so many bytes. A whole one is returned
/// as it came and as it went.
fn judge<'a, Start>(
    onward: &'a Onward,
    message: &'a [u8],
    stream: usize,
    read: impl Fn(&'a [u8]) -> Result<(Message<Start>, &'a [u8]), Fault>,
) -> Option<(Message<Start>, Message<Start>)> {
    match (onward, read(message)) {
        (Onward::Refused(failure), Ok(_)) => assert!(is_limit(*failure), "harmed: {failure:?}"),
        (Onward::Waiting, Ok(_)) => panic!("whole, but not seen"),
        (Onward::Waiting | Onward::Refused(_), Err(_)) => {}
        (Onward::Sent(Sent { bytes, end: Err(malformed), .. }), came) => {
            assert!(may_be_cut(&came), "harmed: {malformed:?}");
            assert_eq!(read(bytes).err(), Some(Fault::Unfinished), "{malformed:?} looks whole");
        }
        (Onward::Sent(Sent { bytes, taken, end: Ok(()) }), came) => {
            let (came, behind) = came.unwrap_or_else(|fault| panic!("came with {fault:?}, and went on"));
            assert_eq!(stream - behind.len(), *taken, "the next message begins elsewhere");
            let (went, behind) = read(bytes).unwrap_or_else(|fault| panic!("goes on with {fault:?}"));
            assert_eq!(behind, b"", "more than one message goes on");
            assert!(came.body.extension < 2 * MOST_EXTENSION, "extensions without an end");
            return Some((came, went));
        }
    }
    None
}

/// Whether this is no whole message, or one whose body ronde may refuse though the grammar allows it.
fn may_be_cut<Start>(came: &Result<(Message<Start>, &[u8]), Fault>) -> bool {
    came.as_ref().map_or(true, |(Message { body, .. }, _)| {
        body.trailers.len() > MAX_TRAILERS || body.extension > MOST_EXTENSION
    })
}

/// What ronde may refuse though the grammar allows it.
fn is_limit(failure: Failure) -> bool {
    use Failure::*;
    matches!(
        failure,
        EmptyLines | TargetTooLong | TooManyFields | TooManyOptions | ResponseOptions | ResponseHeadTooLarge
    )
}

fn compare_requests(came: &Message<RequestLine>, went: &Message<RequestLine>) {
    let values =
        |name| strict::named(&went.fields, name).iter().map(|field| &field.value[..]).collect::<Vec<_>>();
    let asked_host = strict::named(&came.fields, "host").first().map(|field| field.value.clone());
    let (target, host) = match &came.start.target {
        Target::Absolute { authority, path } => {
            let target = match &path[..] {
                "" if came.start.method == "OPTIONS" => Target::Asterisk,
                path if path.starts_with('/') => Target::Origin(path.to_owned()),
                path => Target::Origin(format!("/{path}")),
            };
            (target, authority.clone().into_bytes())
        }
        target => (target.clone(), asked_host.unwrap_or_else(|| LOCAL.to_string().into_bytes())),
    };
    assert_eq!(went.start, RequestLine { method: came.start.method.clone(), target, minor: 1 });
    assert_eq!(values("host"), [&host]);
    let length = |message: &Message<RequestLine>| strict::declared(message.start.minor, &message.fields);
    assert_eq!(length(came), length(went));
    compare_end_to_end(came, went);

    assert_eq!(values("x-forwarded-for"), [CLIENT.to_string().as_bytes()]);
    assert_eq!(values("x-forwarded-proto"), [b"http"]);
    for gone in ["forwarded", "x-real-ip", "keep-alive", "proxy-connection"] {
        assert!(values(gone).is_empty(), "{gone}");
    }
    for Field { name, .. } in went.fields.iter().filter(|field| field.name.contains('_')) {
        assert!(!is_gateways(name), "{name} is in disguise");
    }
    let vias: Vec<_> = strict::named(&came.fields, "via").iter().map(|field| field.value.clone()).collect();
    let own = format!("1.{} {VIA}", came.start.minor).into_bytes();
    assert_eq!(values("via"), [vias, vec![own]].concat());
    let options = strict::members(&went.fields, "connection");
    assert!(matches!(&options.iter().map(String::as_str).collect::<Vec<_>>()[..], [] | ["te"] | ["upgrade"]));
    for option in ["te", "upgrade"] {
        assert_eq!(options.iter().any(|member| member == option), !values(option).is_empty());
    }
    for protocol in strict::members(&went.fields, "upgrade") {
        assert!(strict::is_protocol(&protocol) && protocol != "h2c", "upgrade to {protocol:?}");
    }
    assert_eq!(values("max-forwards"), forwards_left(came));
    // RFC 9110 §10.1.1: an expectation in HTTP/1.0 is ignored.
    assert!(came.start.minor == 1 || values("expect").is_empty(), "an expectation that nobody has");
}

/// RFC 9110 §7.6.2: `1*DIGIT`, counted down for two methods; whatever else it is passes like other fields.
fn forwards_left(came: &Message<RequestLine>) -> Vec<Vec<u8>> {
    let is_counted = ["OPTIONS", "TRACE"].contains(&&came.start.method[..]);
    let is_nominated = strict::members(&came.fields, "connection").contains(&"max-forwards".to_owned());
    let left = |value: &[u8]| match std::str::from_utf8(value).ok().map(str::parse::<u64>) {
        Some(Ok(left)) if is_counted && value[0] != b'+' => Some(left.saturating_sub(1).to_string().into()),
        _ => (!is_nominated).then(|| value.to_vec()),
    };
    strict::named(&came.fields, "max-forwards").iter().filter_map(|field| left(&field.value)).collect()
}

fn compare_responses(came: &Message<StatusLine>, went: &Message<StatusLine>, asked: Asked) {
    let count = |message: &Message<_>, name| strict::named(&message.fields, name).len();
    assert_eq!(went.start, StatusLine { minor: 1, ..came.start.clone() });
    compare_end_to_end(came, went);
    if went.start.status >= 200 {
        assert_eq!(count(went, "date"), count(came, "date").max(1));
    }
    let framing = count(went, "content-length") + count(went, "transfer-encoding");
    match went.start.status {
        100..=199 | 204 => assert_eq!(framing, 0, "a body that cannot be"),
        _ => assert!(framing < 2),
    }
    assert!(asked.version == Version::Http11 || count(went, "transfer-encoding") == 0);
    let protocols = |message: &Message<_>| strict::members(&message.fields, "upgrade");
    for option in strict::members(&went.fields, "connection") {
        assert!(["close", "keep-alive", "upgrade"].contains(&&option[..]), "{option}");
        assert!(option != "upgrade" || !protocols(went).is_empty());
    }
    let is_http2 = |protocol: &str| ["h2c", "h2"].contains(&protocol.split('/').next().unwrap_or_default());
    let is_offer = |protocol: &String| strict::is_protocol(protocol) && !is_http2(protocol);
    let offered = protocols(came).into_iter().filter(is_offer).filter(|_| came.start.status == 426);
    assert_eq!(protocols(went), offered.collect::<Vec<_>>(), "what 426 requires");
}

/// The fields that are nobody's on the way arrive in order, and so does the body.
fn compare_end_to_end<Start>(came: &Message<Start>, went: &Message<Start>) {
    let nominated = strict::members(&came.fields, "connection");
    let end_to_end = |message: &Message<Start>| {
        let is_end_to_end = |Field { name, .. }: &&Field| {
            let name = name.to_ascii_lowercase();
            !is_gateways(&name) && !nominated.contains(&name) && name != "date"
        };
        message.fields.iter().filter(is_end_to_end).cloned().collect::<Vec<_>>()
    };
    assert_eq!(end_to_end(came), end_to_end(went));
    let Body { data, trailers, .. } = &went.body;
    assert_eq!(data, &came.body.data);
    let mut came = came.body.trailers.iter();
    for trailer in trailers {
        assert!(came.any(|other| other == trailer), "{trailer:?} was not sent, or not here");
        let name = trailer.name.to_ascii_lowercase();
        assert!(!is_gateways(&name) && !nominated.contains(&name), "{trailer:?} ends here");
    }
}

/// Fields that a gateway may add, change or drop, also where `_` is read as `-`.
fn is_gateways(name: &str) -> bool {
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
            "x-real-ip",
        ]
        .contains(&&name[..])
}
