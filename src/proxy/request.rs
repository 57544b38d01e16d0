//! A request, from the bytes a client sent to what a backend is sent.
//!
//! The problem: what is decided about a request (its framing, whether its client persists, whether it may be sent twice)
//! is needed long after its bytes are gone, perhaps by another worker. So all of it is decided once, when the head is
//! there, and kept as a small value; the head for the backend is written at the same time.
//!
//! Not here: reading (`session`), sending (`exchange`). No socket.

use crate::config::{Config, Peer};
use crate::http1::accept::Form;
use crate::http1::fields::Name;
use crate::http1::forward::{self, Mark, Origin, Persistence, Placeholders, Scheme, Trust, Upgrade};
use crate::http1::framing::{self, Coding, Framing};
use crate::http1::head::{self, Lines, Method, Scan, Version};
use crate::http1::https;
use crate::http1::target;
use crate::observe::access::{self, Line};
use crate::observe::explain::{Explanation, Step};
use crate::observe::failure::Failure;
use crate::observe::logger::Logger;
use crate::proxy::route::{Route, Routes};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// A request body up to this is read whole before a backend is chosen: the round then follows complete requests, and a slow
/// small upload holds no backend. 64 KiB is nearly every form and API call.
pub const COLLECTED_BODY: usize = 64 * 1024;

/// A request that can be sent on.
#[derive(Debug)]
pub struct Request {
    pub route: Arc<Route>,
    /// The head for the backend; kept until there is a response, since it may have to be sent again.
    pub head: Vec<u8>,
    pub meta: RequestMeta,
    /// What the route's response fields say about the request; `None` if they are the same for all.
    pub placeholders: Option<Box<Placeholders<'static>>>,
    pub line: Line,
    /// When its first byte was read.
    pub begun: Instant,
    /// With `--explain`.
    pub explanation: Option<Box<Explanation>>,
}

impl Request {
    /// Bytes of memory that it keeps, beside itself.
    pub fn weight(&self) -> usize {
        let placeholders = self.placeholders.as_ref().map_or(0, |placeholders| placeholders.weight());
        self.head.capacity() + self.line.weight() + placeholders
    }

    /// Explains a step that happens now.
    pub fn explain(&mut self, step: impl FnOnce() -> Step) {
        if let Some(explanation) = &mut self.explanation {
            explanation.note(step());
        }
    }
}

/// What is known about a request when its head has been read.
#[derive(Clone, Copy, Debug)]
pub struct RequestMeta {
    pub method: Method,
    pub version: Version,
    pub framing: Framing,
    pub coding: Coding,
    pub persistence: Persistence,
    pub upgrade: Upgrade,
    pub expectation: Expectation,
    pub body: Body,
    /// In which form the client would have ronde's own answer.
    pub form: Form,
    /// The client, as far as it is known behind trusted proxies.
    pub client: Peer,
    /// Of the connection that it came on.
    pub scheme: Scheme,
    pub admission: Admission,
}

/// Whether the request's route lets its client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Granted,
    Denied,
}

/// Whether the client waits before it sends the body (RFC 9110 §10.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expectation {
    None,
    /// For `100 Continue`; but it need not wait for ever.
    Continue,
}

/// Where the request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// All of it, this many bytes, was read: it can be sent again.
    InHand(usize),
    /// On its way; it passes through and is gone.
    Streams,
    /// All of it went out, and nothing was kept.
    Gone,
}

/// What the bytes so far are.
#[derive(Debug)]
pub enum Parsed {
    /// A request that can be sent on. Its head takes so many bytes from the front.
    Request(Request, usize),
    /// The same for `OPTIONS` with `Max-Forwards: 0`, which asks ronde itself (RFC 9110 §7.6.2).
    Options(Request, usize, Question),
    /// A part of one.
    Partial(Missing),
}

/// What ronde itself is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Whether it is well, with the words of `ronde health`.
    Health,
    Other,
}

/// What has to come before the next look is worth while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// Anything: no request has begun.
    Everything,
    /// The rest of the head.
    Head,
    /// The rest of a small body, up to so many bytes with its head.
    Body(usize),
}

/// What is known of the connection a request came on.
pub struct Source<'a> {
    pub client: Peer,
    pub scheme: Scheme,
    /// The address that the client connected to; asked for only when the request names no host.
    pub local: &'a dyn Fn() -> Option<SocketAddr>,
    /// ronde's own name.
    pub pseudonym: &'a str,
    pub routes: &'a Routes,
}

/// Bytes that ronde mostly adds to a head: `X-Forwarded-For` and its like.
const ADDED: usize = 160;

/// Understands the bytes that a client has sent: a request with everything that is collected of it, or a part of one.
/// Writes the head for the backend, into one of `spare_heads` if there is any. The request had `begun` when its first byte was
/// read.
///
/// # Errors
/// Why the request is refused. Where the next one would begin is unknown then.
// Room for the lines of a head is two pages of stack, which are given back here and used again for the response.
#[inline(never)]
pub fn parse(
    bytes: &mut [u8],
    spare_heads: &mut Vec<Vec<u8>>,
    source: &Source<'_>,
    begun: Instant,
    config: &Config,
    logger: &Logger,
) -> Result<Parsed, Failure> {
    head::settle_version(bytes);
    let bytes = &*bytes;
    let max_head = config.max_head;
    let (start, end) = match head::scan(bytes) {
        Scan::Complete { start, end } if end - start <= max_head => (start, end),
        Scan::Hopeless(failure) => return Err(failure),
        // Some clients send an empty line behind a body. It begins no request, whose head could be late.
        Scan::Partial if head::is_blank(bytes) => return Ok(Parsed::Partial(Missing::Everything)),
        Scan::Partial if bytes.len() - head::empty_lines(bytes) < max_head => {
            return Ok(Parsed::Partial(Missing::Head));
        }
        Scan::Complete { .. } | Scan::Partial => return Err(head::too_large(bytes, max_head)),
    };
    let mut lines = Lines::new();
    let head = head::request(&bytes[start..end], &mut lines)?;
    let mut meta = RequestMeta::of(&head, source, client_of(&head, source.client, config))?;
    let trust = trust(source.client, config);
    let route = source.routes.of(&head, https::asked_by(source.scheme, head.fields, trust))?;
    meta.admission = admission(meta.client, &route.config);
    meta.body = match arrival(&head, &meta, &route.config, bytes.len() - end)? {
        Arrival::Enough(body) => body,
        Arrival::Misses(length) => return Ok(Parsed::Partial(Missing::Body(end + length))),
    };
    let line = line_of(&head, source.client, config, logger);
    let request = |head, meta, placeholders| {
        let route = Arc::clone(route);
        Request { route, head, meta, placeholders, line, begun, explanation: None }
    };
    if forward::ends_here(&head) {
        if head.method == Method::Trace || meta.framing != Framing::Length(0) {
            return Err(Failure::LastStop);
        }
        let question = if forward::asks_for_health(&head) { Question::Health } else { Question::Other };
        let meta = RequestMeta { body: Body::InHand(0), ..meta };
        return Ok(Parsed::Options(request(Vec::new(), meta, None), end, question));
    }
    let origin = Origin {
        client: source.client,
        scheme: source.scheme,
        trust,
        framing: meta.framing,
        upgrade: meta.upgrade,
        // Two system calls less for every client that says which host it asks.
        local: if head.fields.contains(Name::Host) { None } else { (source.local)() },
        strip: &route.strip,
        pseudonym: source.pseudonym,
        mark: if config.no_via { Mark::CdnLoop } else { Mark::Via },
    };
    let mut out = spare_heads.pop().unwrap_or_else(|| Vec::with_capacity(end - start + ADDED));
    forward::request(&mut out, &head, &origin)?;
    if let Some(edits) = &route.request_edits {
        edits.request(&mut out, &head, &origin, meta.client);
    }
    let is_told = route.response_edits.as_ref().is_some_and(|edits| edits.have_placeholders());
    let placeholders = is_told.then(|| Box::new(Placeholders::of(&head, &origin, meta.client).kept()));
    Ok(Parsed::Request(request(out, meta, placeholders), end))
}

/// Whether so much of a body has come that its request can be sent on.
enum Arrival {
    Enough(Body),
    /// It is small and collected first, and has so many bytes in all.
    Misses(usize),
}

/// What is to be done about a body of which so many bytes have `come` with its head.
///
/// # Errors
/// It is longer than its route takes.
fn arrival(
    head: &head::Request<'_>,
    meta: &RequestMeta,
    config: &Config,
    come: usize,
) -> Result<Arrival, Failure> {
    let Framing::Length(length) = meta.framing else { return Ok(Arrival::Enough(Body::Streams)) };
    // A client that is not let in learns nothing but that.
    let is_let_in = meta.admission == Admission::Granted;
    if is_let_in && config.max_body.is_some_and(|most| length > most) {
        return Err(Failure::BodyTooLarge);
    }
    let is_small = length <= COLLECTED_BODY as u64 && !head.fields.contains(Name::Expect);
    let length = length as usize;
    Ok(match is_small {
        true if length <= come => Arrival::Enough(Body::InHand(length)),
        true if is_let_in => Arrival::Misses(length),
        _ => Arrival::Enough(Body::Streams),
    })
}

impl RequestMeta {
    /// What the head says; its body is still to come.
    fn of(head: &head::Request<'_>, source: &Source<'_>, client: Peer) -> Result<Self, Failure> {
        let framing = framing::of_request(head.version, head.fields)?;
        if forward::is_loop(head.fields, source.pseudonym) {
            return Err(Failure::Loop);
        }
        // An expectation in HTTP/1.0 is ignored, and so is one without a body (RFC 9110 §10.1.1).
        let is_known = |expectation: &[u8]| expectation.eq_ignore_ascii_case(b"100-continue");
        if head.version == Version::Http11 && !head.fields.members(Name::Expect).all(is_known) {
            return Err(Failure::Expectation);
        }
        let persists = framing::persists(head.version, head.fields);
        let waits = head.version == Version::Http11 && head.fields.contains(Name::Expect);
        Ok(Self {
            method: head.method,
            version: head.version,
            framing,
            coding: forward::coding(head.fields, framing),
            persistence: if persists { Persistence::Persist } else { Persistence::Close },
            upgrade: forward::upgrade(head),
            expectation: if waits { Expectation::Continue } else { Expectation::None },
            body: Body::Streams,
            form: Form::of(head.fields),
            client,
            // Until its route is known.
            admission: Admission::Denied,
            scheme: source.scheme,
        })
    }

    /// Whether the request may be sent though it was sent before: it is idempotent, and its body is still in hand.
    pub fn may_repeat(&self) -> bool {
        self.method.is_idempotent() && matches!(self.body, Body::InHand(_))
    }

    /// Bytes of body that are in hand.
    pub fn in_hand(&self) -> usize {
        match self.body {
            Body::InHand(length) => length,
            Body::Streams | Body::Gone => 0,
        }
    }
}

/// Whether what this client says about its own client is believed.
fn trust(client: Peer, config: &Config) -> Trust {
    if config.trusts(client) { Trust::Proxy } else { Trust::Stranger }
}

/// The client that a request comes from: its peer, or what a trusted proxy says. One that trusted proxies leave unnamed is not
/// known; with the proxy's address it would have the proxy's rights, here and in the application.
fn client_of(head: &head::Request<'_>, peer: Peer, config: &Config) -> Peer {
    let is_trusted = |address| config.trusts(Peer::Ip(address));
    match config.trusts(peer) {
        true if forward::is_unnamed(head.fields, is_trusted) => Peer::Unknown,
        true => forward::client(head.fields, peer, is_trusted),
        false => peer,
    }
}

/// Whether the route lets the client in.
fn admission(client: Peer, config: &Config) -> Admission {
    if !config.has_access_list() || config.lets_in(client) { Admission::Granted } else { Admission::Denied }
}

/// What an access line says about the request itself, as much of it as the log quotes.
fn line_of(head: &head::Request<'_>, peer: Peer, config: &Config, logger: &Logger) -> Line {
    if !logger.wants_access() {
        return Line::default();
    }
    let version = if head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let parts = [head.token, " ", head.raw_target, " ", version].map(str::as_bytes);
    let mut line = Line { request: access::quote(&parts), ..Line::default() };
    if trust(peer, config) == Trust::Proxy {
        line.client = Some(client_of(head, peer, config));
    }
    let first = |name| head.fields.lines(name).next().unwrap_or_default();
    if logger.wants_host() {
        line.host = access::quote(&[target::authority_of(head).unwrap_or_default()]);
    }
    if logger.wants_agents() {
        line.referer = access::quote(&[first(Name::Referer)]);
        line.user_agent = access::quote(&[first(Name::UserAgent)]);
    }
    line
}

/// The same of a request that is refused: what its head says if it is one, or else its first line as it came.
pub fn line_of_refused(bytes: &[u8], peer: Peer, config: &Config, logger: &Logger) -> Line {
    let mut lines = Lines::new();
    if let Scan::Complete { start, end } = head::scan(bytes)
        && let Ok(head) = head::request(&bytes[start..end], &mut lines)
    {
        return line_of(&head, peer, config, logger);
    }
    Line { request: access::quote(&[head::first_line(bytes)]), ..Line::default() }
}
