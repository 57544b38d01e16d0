//! One request under way: what was asked, what became of it so far, and, once it was sent, where to pick it up again.
//!
//! The problem: usually one worker sees a request from its first byte to the last of its response. But a worker for
//! which others wait does not wait for a backend: it sends the request ahead, and whoever comes to it next, this worker
//! or another, picks up the answer. What that needs to know stands here, and no more than that.
//!
//! Not here: doing it (`session` and `exchange`).

use crate::backend::Turn;
use crate::client::Client;
use crate::conn::Conn;
use crate::failure::Failure;
use crate::fields::Name;
use crate::forward::{Persistence, Upgrade};
use crate::framing::{Coding, Framing};
use crate::head::{Method, Request, Version};
use crate::journal::{self, Access, Journal, Waits};
use crate::seats::Waiting;
use crate::waiter::Woken;
use std::net::SocketAddr;
use std::time::Instant;

/// What there is for a worker to do.
pub enum Work {
    /// A client has something to say, or its time is up.
    Client(Client, Woken),
    /// An answer to a client is to be picked up.
    Answer(Client, Box<Pending>),
}

impl Waiting for Work {
    /// A request that is with a backend gets its answer, however late.
    fn may_be_turned_away(&self) -> bool {
        matches!(self, Self::Client(..))
    }

    fn weight(&self) -> usize {
        match self {
            Self::Client(client, _) => client.carried.capacity(),
            Self::Answer(client, pending) => client.carried.capacity() + pending.head.len(),
        }
    }
}

/// A request that was sent, and that nobody waits for just now.
pub struct Pending {
    /// As it was sent, should it have to be sent again. What else lay on the desk, the client carries.
    pub head: Box<[u8]>,
    pub errand: Errand,
    pub sent: Sent,
}

/// A request and what became of it so far.
pub struct Errand {
    pub asked: Asked,
    pub line: Line,
    pub begun: Instant,
    pub record: Record,
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
}

/// What is known about a request when its head has been read. The head for the backend stands in `desk.request`, and
/// whatever of the body is there in `desk.from_client`.
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
}

/// What an access line says about the request itself.
#[derive(Default)]
pub struct Line {
    pub request: Vec<u8>,
    pub referer: Vec<u8>,
    pub user_agent: Vec<u8>,
}

impl Line {
    /// As much of it as the journal writes.
    pub fn of(head: &Request<'_>, journal: &Journal) -> Self {
        if !journal.wants_access() {
            return Self::default();
        }
        let version = if head.version == Version::Http10 { "HTTP/1.0" } else { "HTTP/1.1" };
        let parts = [head.token, " ", head.raw_target, " ", version].map(str::as_bytes);
        let request = journal::quote(&parts);
        if !journal.wants_agents() {
            return Self { request, ..Self::default() };
        }
        let first = |name| journal::quote(&[head.fields.lines(name).next().unwrap_or_default()]);
        Self { request, referer: first(Name::Referer), user_agent: first(Name::UserAgent) }
    }
}

/// What became of an exchange, for the access line.
#[derive(Debug, Default)]
pub struct Record {
    pub status: Option<u16>,
    pub bytes: u64,
    pub backend: Option<SocketAddr>,
    pub tried: Vec<SocketAddr>,
    pub waits: Waits,
    pub failure: Option<Failure>,
}

/// What is written down about a request when it is over.
pub fn access(client: &Client, line: Line, record: Record) -> Access {
    let Line { request, referer, user_agent } = line;
    let Record { status, bytes, backend, tried, waits, failure } = record;
    Access {
        client: client.ip(),
        request,
        referer,
        user_agent,
        status,
        bytes,
        backend,
        tried,
        waits,
        failure,
    }
}
