//! One request under way: what was asked, what became of it so far, and, once it was sent, where to pick it up again.
//!
//! The problem: usually one worker sees a request from its first byte to the last of its response. But a worker for
//! which others wait does not wait for a backend: it sends the request ahead, and whoever comes to it next, this worker
//! or another, picks up the answer, which is nearly always there by then. And no worker waits for a backend that takes its
//! time: a hundred requests that take a second each would be a hundred threads. Such an answer is the waiter's to wait
//! for. What picking up needs to know stands here, and no more than that.
//!
//! Not here: doing it (`session` and `exchange`).

use crate::backend::Turn;
use crate::http1::fields::Name;
use crate::http1::forward::{self, Persistence, Upgrade};
use crate::http1::framing::{self, Coding, Framing};
use crate::http1::head::{Method, Request, Version};
use crate::net::conn::Conn;
use crate::observe::access::{self, Line, Record};
use crate::observe::failure::Failure;
use crate::observe::logger::Logger;
use crate::pool::seats::Waiting;
use crate::pool::waiter::{Guest, Woken};
use crate::proxy::client::Client;
use std::time::Instant;

/// Bytes to be kept of a request, and behind it, up to which it is sent ahead rather than waited for.
pub const LIGHT: usize = 4096;

/// What there is for a worker to do: a client has something to say, or its time is up, or an answer to it is to be
/// picked up.
pub struct Work {
    pub client: Box<Client>,
    /// The request that is with a backend. What lay on the scratch behind it, the client carries.
    pub in_flight: Option<Box<InFlight>>,
    pub woken: Woken,
}

impl Work {
    /// A client that has something to say.
    pub fn of(client: Box<Client>) -> Self {
        Self { client, in_flight: None, woken: Woken::Ready }
    }

    /// The same, for which a worker has to wait.
    pub fn held(mut self) -> Self {
        if let Some(sent) = self.in_flight.as_mut().and_then(|in_flight| in_flight.sent.as_mut()) {
            sent.out.answer = Answer::Held;
        }
        self
    }
}

impl Waiting for Work {
    fn is_begun(&self) -> bool {
        self.in_flight.is_some()
    }

    fn weight(&self) -> usize {
        let in_flight = self.in_flight.as_ref().map_or(0, |in_flight| in_flight.head.capacity());
        self.client.carried.capacity() + in_flight
    }
}

impl Guest for Work {
    fn conn(&mut self) -> &mut Conn {
        match self.in_flight.as_mut().and_then(|in_flight| in_flight.sent.as_mut()) {
            Some(sent) => &mut sent.out.conn,
            None => &mut self.client.conn,
        }
    }

    fn carried(&mut self) -> &mut Vec<u8> {
        &mut self.client.carried
    }

    fn weight(&self) -> usize {
        Waiting::weight(self)
    }
}

/// A request and what became of it so far. Boxed, as it moves between workers; and the boxes are used again.
pub struct InFlight {
    /// The head for the backend; kept until there is a response, since it may have to be sent again.
    pub head: Vec<u8>,
    pub asked: RequestMeta,
    pub line: Line,
    pub begun: Instant,
    pub record: Record,
    /// Where its answer is to be picked up, while it is left.
    pub sent: Option<Sent>,
}

impl InFlight {
    /// A blank, for a request to come.
    pub fn new() -> Box<Self> {
        let (line, record) = (Line::default(), Record::default());
        Box::new(Self {
            head: Vec::new(),
            asked: RequestMeta::NOTHING,
            line,
            begun: Instant::now(),
            record,
            sent: None,
        })
    }
}

/// Whose turn a request was that is out.
pub struct Sent {
    pub turn: Turn,
    pub out: Out,
}

/// A request that is out on a connection, and since when.
pub struct Out {
    pub conn: Conn,
    pub since: Instant,
    pub age: Age,
    pub answer: Answer,
    /// Interim responses that have come.
    pub interims: u32,
    /// What has come of the next head.
    pub partial: Vec<u8>,
}

/// Whether a connection served others before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Age {
    Fresh,
    /// It may turn out stale.
    Kept,
}

/// Who waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Whoever comes to it, for a moment: it comes soon.
    Soon,
    /// The waiter, for it takes its time.
    Late,
    /// A worker, as nobody else can.
    Held,
}

/// What is known about a request when its head has been read. Whatever of its body is there stands in
/// `scratch.from_client`.
#[derive(Clone, Copy, Debug)]
pub struct RequestMeta {
    pub method: Method,
    pub version: Version,
    pub framing: Framing,
    pub coding: Coding,
    pub persistence: Persistence,
    pub upgrade: Upgrade,
    pub expectation: Expectation,
    pub body: BodyPlan,
}

impl RequestMeta {
    /// Of a request that is still to come.
    const NOTHING: Self = Self {
        method: Method::Other,
        version: Version::Http11,
        framing: Framing::Length(0),
        coding: Coding::Plain,
        persistence: Persistence::Close,
        upgrade: Upgrade::NotAsked,
        expectation: Expectation::None,
        body: BodyPlan::InHand(0),
    };

    /// What the head says; its body is still to come.
    ///
    /// # Errors
    /// Why the request is refused, whatever it asks for.
    pub fn of(head: &Request<'_>, via: &str) -> Result<Self, Failure> {
        let framing = framing::of_request(head.version, head.fields)?;
        if forward::is_loop(head.fields, via) {
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
            upgrade: forward::upgrade(head, framing),
            expectation: if waits { Expectation::Continue } else { Expectation::None },
            body: BodyPlan::Streams,
        })
    }

    /// How much of the body in hand is not needed any more once it was sent: all of it, if it may not be sent again.
    pub fn done_with(&self) -> usize {
        match (self.body, self.body_to_keep()) {
            (BodyPlan::InHand(length), BodyPlan::Gone) => length,
            _ => 0,
        }
    }

    /// What is kept of the body once it was sent.
    pub fn body_to_keep(&self) -> BodyPlan {
        if self.may_repeat() { self.body } else { BodyPlan::Gone }
    }

    /// Whether the request may be sent though it was sent before: it is idempotent, and its body is still in hand.
    pub fn may_repeat(&self) -> bool {
        self.method.is_idempotent() && matches!(self.body, BodyPlan::InHand(_))
    }
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
pub enum BodyPlan {
    /// All of it, this many bytes, in `scratch.from_client`: it can be sent again.
    InHand(usize),
    /// On its way; it passes through and is gone.
    Streams,
    /// All of it went out, and nothing was kept.
    Gone,
}

/// What an access line says about the request itself, as much of it as the logger writes.
pub fn line_of(head: &Request<'_>, logger: &Logger) -> Line {
    if !logger.wants_access() {
        return Line::default();
    }
    let version = if head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let parts = [head.token, " ", head.raw_target, " ", version].map(str::as_bytes);
    let request = access::quote(&parts);
    if !logger.wants_agents() {
        return Line { request, ..Line::default() };
    }
    let first = |name| access::quote(&[head.fields.lines(name).next().unwrap_or_default()]);
    Line { request, referer: first(Name::Referer), user_agent: first(Name::UserAgent) }
}
