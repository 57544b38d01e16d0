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
use crate::client::Client;
use crate::conn::Conn;
use crate::failure::Failure;
use crate::fields::Name;
use crate::forward::{self, Persistence, Upgrade};
use crate::framing::{self, Coding, Framing};
use crate::head::{Method, Request, Version};
use crate::journal::{self, Journal, Line, Record};
use crate::seats::Waiting;
use crate::waiter::{Guest, Woken};
use std::time::Instant;

/// Bytes to be kept of a request, and behind it, up to which it is sent ahead rather than waited for.
pub const LIGHT: usize = 4096;

/// What there is for a worker to do: a client has something to say, or its time is up, or an answer to it is to be
/// picked up.
pub struct Work {
    pub client: Box<Client>,
    /// The request that is with a backend. What lay on the desk behind it, the client carries.
    pub errand: Option<Box<Errand>>,
    pub woken: Woken,
}

impl Work {
    /// A client that has something to say.
    pub fn of(client: Box<Client>) -> Self {
        Self { client, errand: None, woken: Woken::Ready }
    }

    /// The same, for which a worker has to wait.
    pub fn held(mut self) -> Self {
        if let Some(sent) = self.errand.as_mut().and_then(|errand| errand.sent.as_mut()) {
            sent.out.answer = Answer::Held;
        }
        self
    }
}

impl Waiting for Work {
    fn is_begun(&self) -> bool {
        self.errand.is_some()
    }

    fn weight(&self) -> usize {
        let errand = self.errand.as_ref().map_or(0, |errand| errand.head.capacity());
        self.client.carried.capacity() + errand
    }
}

impl Guest for Work {
    fn conn(&mut self) -> &mut Conn {
        match self.errand.as_mut().and_then(|errand| errand.sent.as_mut()) {
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
pub struct Errand {
    /// The head for the backend; kept until there is a response, since it may have to be sent again.
    pub head: Vec<u8>,
    pub asked: Asked,
    pub line: Line,
    pub begun: Instant,
    pub record: Record,
    /// Where its answer is to be picked up, while it is left.
    pub sent: Option<Sent>,
}

impl Errand {
    /// A blank, for a request to come.
    pub fn new() -> Box<Self> {
        let (line, record) = (Line::default(), Record::default());
        Box::new(Self {
            head: Vec::new(),
            asked: Asked::NOTHING,
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
/// `desk.from_client`.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    pub method: Method,
    pub version: Version,
    pub framing: Framing,
    pub coding: Coding,
    pub persistence: Persistence,
    pub upgrade: Upgrade,
    pub expectation: Expectation,
    pub body: BodyPlan,
}

impl Asked {
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
    /// All of it, this many bytes, in `desk.from_client`: it can be sent again.
    InHand(usize),
    /// On its way; it passes through and is gone.
    Streams,
    /// All of it went out, and nothing was kept.
    Gone,
}

/// What an access line says about the request itself, as much of it as the journal writes.
pub fn line_of(head: &Request<'_>, journal: &Journal) -> Line {
    if !journal.wants_access() {
        return Line::default();
    }
    let version = if head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
    let parts = [head.token, " ", head.raw_target, " ", version].map(str::as_bytes);
    let request = journal::quote(&parts);
    if !journal.wants_agents() {
        return Line { request, ..Line::default() };
    }
    let first = |name| journal::quote(&[head.fields.lines(name).next().unwrap_or_default()]);
    Line { request, referer: first(Name::Referer), user_agent: first(Name::UserAgent) }
}
