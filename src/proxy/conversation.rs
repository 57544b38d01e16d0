//! One client's connection with all that is going on on it: the value that is served and parked.
//!
//! The problem: whatever waits must hold no thread, wherever in an exchange it waits. So a conversation is one value that
//! owns its sockets, its bytes in hand and its deadlines; the worker that takes it out of the waiter goes on where it
//! stopped. Its stages are no one state machine: each is a loop of reads and writes that reads from top to bottom
//! (`session`, `exchange`), and only what is between two stages, or in hand when a stage is parked, stands here.
//!
//! Not here: what happens in the stages.

use crate::backend::checks::Probe;
use crate::http1::forward::Scheme;
use crate::net::conn::Conn;
use crate::observe::metrics::Recorder;
use crate::observe::parked::Kind;
use crate::pool::allowance::Allowance;
use crate::pool::park::{Class, Park, Precedence, Wait};
use crate::proxy::client::{Client, Presence};
use crate::proxy::exchange::Exchange;
use crate::proxy::scratch::Scratch;
use crate::proxy::session::{Lingering, Reading, Resetting};
use crate::proxy::shared::Shared;
use crate::proxy::site::Site;
use std::time::{Duration, Instant};

/// See the module.
pub struct Conversation {
    pub client: Client,
    pub stage: Stage,
}

/// What is going on.
pub enum Stage {
    /// The proxy at the other end has not said yet which client it is for.
    Introducing(Arrived),
    /// The TLS handshake is not over.
    Securing(Arrived),
    /// Between two requests, or in the middle of one.
    Reading(Reading),
    /// A request was read, and its response has not come to its end.
    Exchanging(Box<Exchange>),
    /// All was said, and the client is to read it before the connection is closed.
    Lingering(Lingering),
    /// Something is missing, and the client is to have the rest of it before the connection is reset.
    Resetting(Resetting),
}

/// A connection before its first request.
#[derive(Clone, Copy, Debug)]
pub struct Arrived {
    /// When it was accepted, or introduced by its proxy.
    pub since: Instant,
    /// How long it waited for a worker.
    pub queued: Duration,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// What the client itself says.
    Client,
    /// A header of the PROXY protocol (`--proxy-protocol`).
    ProxyHeader,
}

/// What workers do, and what waits for them.
pub enum Task {
    Client(Box<Conversation>),
    /// A look at a backend, without a client.
    Probe(Box<Probe>),
}

/// Why serving a conversation stops before the conversation ends.
#[derive(Debug)]
pub enum Halt {
    /// It is to be parked.
    Wait(Wait),
    /// Its request is with a backend; its answer is collected in the second pass.
    SentAhead,
}

/// What a worker serves with.
pub struct Context<'a> {
    /// The worker's number.
    pub worker: usize,
    pub shared: &'a Shared,
    /// What is in force for this batch.
    pub site: &'a Site,
    pub recorder: &'a Recorder<'a>,
    pub scratch: &'a mut Scratch,
    pub allowance: &'a mut Allowance,
    pub pass: Pass,
}

/// A batch is gone through twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Requests are sent ahead, and their answers left for the second pass.
    Ahead,
    /// Answers are collected; and where there is one conversation alone, all is done at once.
    Collect,
}

impl Context<'_> {
    /// Whether an exchange that has moved so many bytes in a row gives way to what else is ready.
    pub fn gives_way(&self, moved: usize) -> bool {
        self.allowance.is_used_up(moved, &self.shared.waiter)
    }
}

impl Conversation {
    /// With a client that has just connected.
    pub fn new(client: Client, opening: Opening) -> Box<Self> {
        let now = Instant::now();
        let stage = match opening {
            Opening::Client => Stage::first(client.scheme, now, Duration::ZERO),
            Opening::ProxyHeader => Stage::Introducing(Arrived { since: now, queued: Duration::ZERO }),
        };
        Box::new(Self { client, stage })
    }

    /// The request that is under way.
    fn exchange(&self) -> Option<&Exchange> {
        match &self.stage {
            Stage::Exchanging(exchange) => Some(exchange),
            Stage::Introducing(_)
            | Stage::Securing(_)
            | Stage::Reading(_)
            | Stage::Lingering(_)
            | Stage::Resetting(_) => None,
        }
    }
}

impl Stage {
    /// What the client itself begins with, on a connection that was accepted at `since` and then waited for a worker.
    pub fn first(scheme: Scheme, since: Instant, queued: Duration) -> Self {
        match scheme {
            Scheme::Http => Self::Reading(Reading::first(since, queued)),
            Scheme::Https => Self::Securing(Arrived { since, queued }),
        }
    }
}

impl Task {
    fn exchange(&self) -> Option<&Exchange> {
        match self {
            Self::Client(conversation) => conversation.exchange(),
            Self::Probe(_) => None,
        }
    }
}

impl Park for Task {
    fn client(&self) -> Option<&Conn> {
        match self {
            Self::Client(conversation) => Some(&conversation.client.conn),
            Self::Probe(probe) => probe.client(),
        }
    }

    fn backend(&self) -> Option<&Conn> {
        match self {
            Self::Client(conversation) => conversation.exchange().and_then(Exchange::backend),
            Self::Probe(probe) => probe.backend(),
        }
    }

    fn weight(&self) -> usize {
        match self {
            Self::Client(conversation) => {
                let Client { conn, carried, .. } = &conversation.client;
                let exchange = conversation.exchange().map_or(0, Exchange::weight);
                size_of::<Conversation>() + conn.weight() + carried.capacity() + exchange
            }
            Self::Probe(probe) => probe.weight(),
        }
    }

    fn kind(&self, class: Class) -> Kind {
        match self {
            Self::Client(conversation) => match &conversation.stage {
                Stage::Introducing(_) | Stage::Securing(_) => Kind::Handshake,
                Stage::Reading(reading) if reading.is_under_way(&conversation.client) => Kind::Request,
                Stage::Reading(_) => Kind::Idle,
                Stage::Exchanging(exchange) => exchange.kind(class),
                Stage::Lingering(_) | Stage::Resetting(_) => Kind::Closing,
            },
            Self::Probe(probe) => probe.kind(class),
        }
    }

    /// One for the backends of each route.
    fn queue(&self) -> usize {
        self.exchange().map_or(0, |exchange| exchange.request.route.number)
    }

    /// A client that has sent its FIN may still read its answer, and more often has left: a page that was closed or loaded
    /// again. At a backend that is at its limit, its answer must not delay those of clients that surely wait.
    fn precedence(&self) -> Precedence {
        match self {
            Self::Client(conversation) if conversation.client.presence != Presence::Open => Precedence::Last,
            Self::Client(_) | Self::Probe(_) => Precedence::Ordinary,
        }
    }

    /// That of the backends which it waits for; after a reload these may not be in force.
    fn room(&self) -> usize {
        self.exchange().map_or(0, |exchange| exchange.request.route.backends.room())
    }
}
