//! One request and its response.
//!
//! The problem: up to the first byte of the response head that goes to the client, everything can still be put right:
//! another backend can be asked, an error can be answered. After it nothing can, but to cut the connection so that the
//! client can tell. The two halves are different stages with different outcomes: until [`Stage::Asking`] has ended a
//! failure may be retried or become a status; in [`Stage::Relaying`] and [`Stage::Tunnelling`] it can only end the
//! connection.
//!
//! What may be sent again (RFC 9110 §9.2.2):
//! - a request of which nothing was sent, whatever it is: to each other backend, once;
//! - a request on a kept connection that turns out closed before any byte of a response: once more on a fresh connection
//!   to the same backend, then to the others, but only if it is idempotent and its body is in hand;
//! - nothing after a timeout: the backend may still be working on it.
//!
//! Reading order: this module (the stages, and which backend), `ask` (the request goes out, the response head comes in),
//! `respond` (the response goes to the client).
//!
//! Not here: reading requests, and the client's connection afterwards (`session`).

mod ask;
mod respond;

use crate::backend::{Tried, Turn, connect_failure};
use crate::config::{Config, waits};
use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::reframer::Reframer;
use crate::net::conn::{Conn, Connected};
use crate::observe::access::Record;
use crate::observe::failure::Failure;
use crate::pool::min_rate::MinRate;
use crate::pool::waiter::{Class, Wait, Want};
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Halt};
use crate::proxy::relay::{Broken, Direction};
use crate::proxy::request::{Body, Request};
use ask::Asking;
use respond::{Relaying, Tunnelling};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What is to be done with the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The next request may come.
    Persist,
    /// Everything was said, and the client must be able to read it: it may still be sending.
    Part,
    /// Nothing more can be said, and the client can tell.
    Close,
    /// The response is incomplete, and only a reset says so.
    Reset,
    /// No response was begun, and this is why.
    Answer(Failure),
}

/// See the module.
pub struct Exchange {
    pub request: Request,
    pub record: Record,
    choice: Choice,
    /// The request's body on its way, unless it was in hand.
    upload: Option<Box<Direction>>,
    /// Whether that comes fast enough.
    rate: MinRate,
    timer: Timer,
    stage: Stage,
}

/// Where an exchange stands.
#[derive(Default)]
enum Stage {
    /// The next backend is to be chosen.
    #[default]
    Choosing,
    Connecting(Connecting),
    Asking(Box<Asking>),
    Relaying(Box<Relaying>),
    Tunnelling(Box<Tunnelling>),
}

/// What a stage came to.
enum Step {
    To(Stage),
    Halt(Stage, Halt),
    Over(Fate),
}

/// Why a stage has no result.
enum Stop {
    Halt(Halt),
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How far the search for a backend came.
#[derive(Default)]
struct Choice {
    tried: Tried,
    /// Backends that did not accept the connection in the short time of the first lap.
    silent: VecDeque<Turn>,
    last: Option<Failure>,
}

/// All connects together take at most twice `--connect-timeout`: a first lap of short ones, so short that no backend is
/// left out, and, for those that did not answer in time, a second with all the time there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lap {
    First,
    Second,
}

struct Connecting {
    turn: Turn,
    lap: Lap,
    conn: Option<Conn>,
    begun: Instant,
    deadline: Instant,
}

/// Since when one side is waited for, and which failure it is when it takes too long. Progress, or waiting for the other
/// side, begins anew.
struct Timer {
    awaited: Failure,
    since: Option<Instant>,
}

impl Timer {
    fn since(&mut self, awaited: Failure, now: Instant) -> Instant {
        if self.awaited != awaited {
            (self.awaited, self.since) = (awaited, None);
        }
        *self.since.get_or_insert(now)
    }

    fn restart(&mut self) {
        self.since = None;
    }
}

/// What an exchange waits for.
struct Awaited {
    client: Want,
    backend: Want,
    /// The failure, when it takes too long.
    failure: Failure,
    limit: Duration,
}

impl Exchange {
    /// Of a request that is whole as far as its body is collected.
    pub fn new(request: Request, record: Record, config: &Config) -> Self {
        let upload = match request.meta.body {
            Body::InHand(_) | Body::Gone => None,
            Body::Streams => {
                let decoder = Decoder::new(request.meta.framing);
                let reframer = Reframer::new(decoder, request.meta.coding, request.head.len());
                Some(Box::new(Direction::new(reframer.at_most(config.max_body))))
            }
        };
        let timer = Timer { awaited: Failure::Internal, since: None };
        let rate = MinRate::new(config.min_rate);
        Self { request, record, choice: Choice::default(), upload, rate, timer, stage: Stage::Choosing }
    }

    /// Goes on until the exchange ends, or has to wait.
    ///
    /// # Errors
    /// What it waits for.
    pub fn run(&mut self, client: &mut Client, context: &mut Context<'_>) -> Result<Fate, Halt> {
        loop {
            let step = match std::mem::take(&mut self.stage) {
                Stage::Choosing => self.choose(context),
                Stage::Connecting(connecting) => self.connect(connecting, client, context),
                Stage::Asking(asking) => self.ask(asking, client, context),
                Stage::Relaying(relaying) => self.relay(relaying, client, context),
                Stage::Tunnelling(tunnelling) => self.tunnel(tunnelling, client, context),
            };
            match step {
                Step::To(stage) => self.stage = stage,
                Step::Halt(stage, halt) => {
                    self.stage = stage;
                    return Err(halt);
                }
                Step::Over(fate) => return Ok(fate),
            }
            context.allowance.begins();
        }
    }

    /// Ends the exchange where it is, for a reason that is neither side's.
    pub fn give_up(&mut self, failure: Failure) -> Fate {
        match std::mem::take(&mut self.stage) {
            Stage::Choosing | Stage::Connecting(_) | Stage::Asking(_) => Fate::Answer(failure),
            Stage::Relaying(relaying) => self.abort(failure, relaying.moved(), relaying.is_open_ended()),
            Stage::Tunnelling(tunnelling) => self.abort(failure, tunnelling.moved(), true),
        }
    }

    /// The connection to the backend.
    pub fn backend(&self) -> Option<&Conn> {
        match &self.stage {
            Stage::Choosing => None,
            Stage::Connecting(connecting) => connecting.conn.as_ref(),
            Stage::Asking(asking) => Some(&asking.conn),
            Stage::Relaying(relaying) => relaying.conn(),
            Stage::Tunnelling(tunnelling) => Some(&tunnelling.conn),
        }
    }

    /// Bytes of memory that it keeps, itself included.
    pub fn weight(&self) -> usize {
        let stage = match &self.stage {
            Stage::Choosing | Stage::Connecting(_) => 0,
            Stage::Asking(asking) => asking.weight(),
            Stage::Relaying(relaying) => relaying.weight(),
            Stage::Tunnelling(tunnelling) => tunnelling.weight(),
        };
        let upload = self.upload.as_ref().map_or(0, |_| size_of::<Direction>());
        size_of::<Self>() + self.request.head.capacity() + self.request.line.weight() + upload + stage
    }

    fn is_uploading(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| !upload.is_over())
    }

    /// Chooses the next backend to ask: a kept connection if there is one, or a fresh one.
    fn choose(&mut self, context: &mut Context<'_>) -> Step {
        let backends = &context.shared.backends;
        let (turn, lap) = match backends.next(&mut self.choice.tried) {
            Some(turn) => (turn, Lap::First),
            None => match self.choice.silent.pop_front() {
                Some(turn) => (turn, Lap::Second),
                None => {
                    let failure = self.choice.last.unwrap_or_else(|| backends.absence());
                    return self.fail(failure, context);
                }
            },
        };
        // If the last one had the request and gave no answer, asking another is paid for.
        if let Some(failure @ (Failure::BackendClosed | Failure::BackendReset)) = self.choice.last
            && !backends.may_send_again()
        {
            return self.fail(failure, context);
        }
        Step::To(match turn.kept().filter(|_| lap == Lap::First) {
            Some(conn) => Asking::on_kept(conn, turn),
            None => self.connecting(turn, lap, context),
        })
    }

    fn connecting(&self, turn: Turn, lap: Lap, context: &Context<'_>) -> Stage {
        let whole = context.shared.config.connect_timeout;
        let most = match lap {
            Lap::First => short_connect(context),
            Lap::Second => whole,
        };
        let begun = Instant::now();
        let left = (2 * whole).saturating_sub(self.record.timings.connect);
        Stage::Connecting(Connecting { turn, lap, conn: None, begun, deadline: begun + most.min(left) })
    }

    fn connect(
        &mut self,
        mut connecting: Connecting,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Step {
        if client.presence == Presence::Gone {
            return self.fail(Failure::ClientGone, context);
        }
        let connected = match &connecting.conn {
            Some(conn) => conn.finish_connect(),
            None => begin_connect(&connecting.turn, context).map(|(conn, connected)| {
                connecting.conn = Some(conn);
                connected
            }),
        };
        let failure = match (connected, connecting.conn.take()) {
            (Ok(Connected::Yes), Some(conn)) => {
                let took = connecting.begun.elapsed();
                connecting.turn.was_connected(took);
                self.record.timings.connect += took;
                return Step::To(Asking::on_fresh(conn, connecting.turn));
            }
            (Ok(_), conn) => {
                connecting.conn = conn;
                let left = connecting.deadline.saturating_duration_since(connecting.begun);
                let awaited = Awaited {
                    client: watch(client),
                    backend: Want::Write,
                    failure: Failure::ConnectTimeout,
                    limit: left,
                };
                self.timer.awaited = Failure::ConnectTimeout;
                self.timer.since = Some(connecting.begun);
                match self.wait(awaited, client, context) {
                    Stop::Halt(halt) => return Step::Halt(Stage::Connecting(connecting), halt),
                    Stop::Failed(failure) => failure,
                }
            }
            (Err(error), _) => connect_failure(&error),
        };
        self.record.timings.connect += connecting.begun.elapsed();
        let Connecting { turn, lap, .. } = connecting;
        match failure {
            Failure::Cut | Failure::HalfClosed => self.fail(failure, context),
            Failure::ConnectTimeout
                if lap == Lap::First && short_connect(context) < context.shared.config.connect_timeout =>
            {
                self.choice.silent.push_back(turn);
                Step::To(Stage::Choosing)
            }
            failure => self.ask_another(turn, failure, context),
        }
    }

    /// A backend brought nothing, and the next may be asked.
    fn ask_another(&mut self, turn: Turn, failure: Failure, context: &Context<'_>) -> Step {
        self.record.tried.push(turn.address());
        turn.failed(&context.shared.backends, failure);
        self.choice.last = Some(failure);
        Step::To(Stage::Choosing)
    }

    /// There is no response, and no backend is left to be asked, or may be.
    fn fail(&mut self, failure: Failure, context: &Context<'_>) -> Step {
        self.blame_silent(context);
        Step::Over(Fate::Answer(failure))
    }

    /// Those that did not accept a connection in the first lap, and were not needed in the second.
    fn blame_silent(&mut self, context: &Context<'_>) {
        for turn in self.choice.silent.drain(..) {
            self.record.tried.push(turn.address());
            turn.failed(&context.shared.backends, Failure::ConnectTimeout);
        }
    }

    /// The response will not be complete. A length or a last chunk that never comes tells the client enough; where the end
    /// of the connection is the end of the body, or of a tunnel, a FIN would look like success.
    fn abort(&mut self, failure: Failure, bytes: u64, is_open_ended: bool) -> Fate {
        self.record.failure = Some(failure);
        self.record.bytes = bytes;
        if is_open_ended { Fate::Reset } else { Fate::Close }
    }

    /// What an exchange has to wait for is waited for, until its time is up.
    fn wait(&mut self, awaited: Awaited, client: &Client, context: &Context<'_>) -> Stop {
        let Awaited { client: client_want, backend, failure, limit } = awaited;
        if context.shared.is_over() {
            return Stop::Failed(Failure::Cut);
        }
        let now = Instant::now();
        let since = self.timer.since(failure, now);
        let is_backends_turn = client_want != Want::Write && backend != Want::Nothing;
        let (deadline, failure) = match client.presence {
            // The client has said its last, and may be gone: it is waited for as long as an ordinary answer takes.
            Presence::HalfClosed(closed) if is_backends_turn && failure != Failure::TunnelSilent => {
                let half_closed = since.max(closed) + context.shared.config.half_close_timeout;
                match half_closed < since + limit {
                    true => (half_closed, Failure::HalfClosed),
                    false => (since + limit, failure),
                }
            }
            _ => (since + limit, failure),
        };
        if deadline <= now {
            return Stop::Failed(failure);
        }
        let class = if is_backends_turn { Class::Busy } else { Class::Slow };
        Stop::Halt(Halt::Wait(Wait { client: client_want, backend, deadline, class }))
    }
}

/// What is wanted of a client while its backend is waited for: to know when it leaves. After its FIN, epoll would report it
/// for ever.
fn watch(client: &Client) -> Want {
    match client.presence {
        Presence::Open => Want::HalfClose,
        Presence::HalfClosed(_) | Presence::Gone => Want::Break,
    }
}

fn short_connect(context: &Context<'_>) -> Duration {
    let whole = context.shared.config.connect_timeout;
    match u32::try_from(context.shared.backends.count()) {
        Ok(0 | 1) => whole,
        count => waits::FIRST_CONNECT.min(whole / count.unwrap_or(u32::MAX)),
    }
}

/// Where descriptors have run out, kept connections and idle clients can best be done without.
fn begin_connect(turn: &Turn, context: &mut Context<'_>) -> std::io::Result<(Conn, Connected)> {
    let Context { shared, allowance, .. } = context;
    let mut connect = || allowance.spend(&shared.waiter, |block| turn.connect(block)).0;
    match connect() {
        Err(error) if Errno::from_io_error(&error) == Some(Errno::MFILE) => {
            match shared.backends.let_go() || shared.waiter.evict().is_some() {
                true => connect(),
                false => Err(error),
            }
        }
        connected => connected,
    }
}

fn response_failure(broken: Broken) -> Failure {
    match broken {
        Broken::Malformed(fault) => malformed(fault),
        Broken::Source => Failure::ResponseIncomplete,
        Broken::Sink => Failure::ClientGone,
    }
}

fn malformed(fault: Malformed) -> Failure {
    match fault {
        Malformed::Chunk => Failure::ResponseChunk,
        Malformed::Trailer => Failure::ResponseTrailer,
        Malformed::Incomplete | Malformed::TooLong => Failure::ResponseIncomplete,
    }
}

fn upload_failure(broken: Broken) -> Failure {
    match broken {
        Broken::Malformed(Malformed::Chunk) => Failure::ChunkInvalid,
        Broken::Malformed(Malformed::Trailer) => Failure::TrailerInvalid,
        Broken::Malformed(Malformed::Incomplete) => Failure::BodyIncomplete,
        Broken::Malformed(Malformed::TooLong) => Failure::BodyTooLarge,
        Broken::Source => Failure::ClientGone,
        Broken::Sink => Failure::BackendReset,
    }
}
