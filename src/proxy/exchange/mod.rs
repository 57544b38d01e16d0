//! One request and its response.
//!
//! The problem: up to the first byte of the response head that goes to the client, everything can still be put right:
//! another backend can be asked, an error can be answered. After that byte, the only thing left is to cut the connection,
//! so that the client can tell. The two halves are different stages with different outcomes: until `Stage::Asking` has ended a
//! failure may be retried or become a status; in `Stage::Relaying` it can only end the connection.
//!
//! What may be sent again (RFC 9110 §9.2.2):
//! - a request of which nothing was sent, whatever it is: to each other backend, once. The backends that were silent in
//!   the first, short lap of connects are connected to a second time, with all the time there is (`connect`);
//! - a request on a kept connection that turns out closed before any byte of a response: once more on a fresh connection
//!   to the same backend, then to the others, but only if it is idempotent and its body is in hand;
//! - an idempotent request whose body is in hand, and whose answer has a status of `--retry-status`: to another backend that
//!   is well (`instead`);
//! - nothing after a timeout: the backend may still be working on it.
//!
//! Reading order: this module (the stages, and which backend), `queue` (backends at their limit), `connect`, `handshake`
//! (TLS), `ask` (the request goes out, the response head comes in), `send`, `response_head` (what the backend says),
//! `interims`, `instead` (an answer that counts as none), `relaying` (what follows the head), `respond` (a body), `tunnel`,
//! `timer` (how long each side is waited for).
//!
//! Not here: reading requests, and the client's connection afterwards (`session`).

mod ask;
mod connect;
mod handshake;
mod instead;
mod interims;
mod queue;
mod relaying;
mod respond;
mod response_head;
mod send;
mod timer;
mod tunnel;

use crate::backend::{Attempt, NoTurn, Tried, Turn};
use crate::config::Action;
use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::reframer::Reframer;
use crate::net::conn::Conn;
use crate::observe::access::Record;
use crate::observe::activity::Doing;
use crate::observe::explain::{self, Awaits};
use crate::observe::failure::Failure;
use crate::observe::parked::Kind;
use crate::pool::min_rate::MinRate;
use crate::pool::park::Class;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Halt};
use crate::proxy::relay::{Broken, Direction};
use crate::proxy::request::{Admission, Body, Request};
use ask::Asking;
use connect::{Connecting, Lap};
use handshake::Handshaking;
use relaying::Relaying;
use std::collections::VecDeque;
use std::time::Instant;
use timer::Timer;

/// What is to be done with the client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The next request may come.
    Persist,
    /// Everything was said, and the client must be able to read it: it may still be sending.
    Linger,
    /// Nothing more can be said, and the client can tell.
    Close,
    /// The response is incomplete, and only a reset says so. What was sent of it is delivered before.
    Reset,
    /// The same to a client that takes nothing: at once.
    Abort,
    /// No response was begun, and this is why.
    Answer(Failure),
    /// No response was begun, and the route says which one ronde gives.
    AnswerByRoute,
}

/// See the module.
pub struct Exchange {
    pub request: Request,
    pub record: Record,
    choice: Choice,
    /// The request's body on its way, unless it was in hand.
    upload: Option<Box<Direction>>,
    /// Whether the body of the request comes fast enough.
    rate: MinRate,
    timer: Timer,
    backend: BackendEnd,
    stage: Stage,
}

/// Whether the connection to the backend still is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BackendEnd {
    Open,
    /// It is broken, or closed in both directions. What it has sent before can still be read.
    Gone,
}

/// Where an exchange stands.
#[derive(Default)]
enum Stage {
    /// The next backend is to be chosen.
    #[default]
    Choosing,
    Connecting(Connecting),
    Handshaking(Handshaking),
    Asking(Asking),
    Relaying(Relaying),
}

impl Stage {
    fn doing(&self) -> Doing {
        match self {
            Self::Choosing | Self::Connecting(_) | Self::Handshaking(_) | Self::Asking(_) => Doing::Waiting,
            Self::Relaying(_) => Doing::Relaying,
        }
    }

    fn awaits(&self) -> Awaits {
        match self {
            Self::Choosing => Awaits::Room,
            Self::Connecting(_) => Awaits::Connect,
            Self::Handshaking(_) => Awaits::Handshake,
            Self::Asking(asking) if asking.is_sending() => Awaits::Bytes,
            Self::Asking(_) => Awaits::Response,
            Self::Relaying(_) => Awaits::Bytes,
        }
    }
}

/// What a stage came to. The stage that comes next, or is to go on later, is the exchange's already: it is large, and would be
/// copied on its way through here.
enum Advance {
    On,
    Halt(Halt),
    Over(Fate),
}

/// Why a stage has no result.
enum Interruption {
    Halt(Halt),
    Failed(Failure),
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// How far the search for a backend came.
#[derive(Default)]
struct Choice {
    tried: Tried,
    /// Backends that did not accept the connection, or did not agree on TLS, in the short time of the first lap.
    silent: VecDeque<(Turn, Failure)>,
    last: Option<Failure>,
}

impl Exchange {
    /// Of a request that is whole as far as its body is collected.
    pub fn new(request: Request, record: Record) -> Self {
        let config = &request.route.config;
        let upload = match request.meta.body {
            Body::InHand(_) | Body::Gone => None,
            Body::Streams => {
                let decoder = Decoder::new(request.meta.framing);
                let reframer = Reframer::new(decoder, request.meta.coding, request.head.len());
                let reframer = reframer.at_most(config.max_body).edited(request.route.request_edits.as_ref());
                Some(Box::new(Direction::new(reframer)))
            }
        };
        let timer = Timer::default();
        let rate = MinRate::new(config.min_rate);
        let (choice, backend, stage) = (Choice::default(), BackendEnd::Open, Stage::Choosing);
        Self { request, record, choice, upload, rate, timer, backend, stage }
    }

    /// Goes on until the exchange ends, or has to wait.
    ///
    /// # Errors
    /// What it waits for.
    pub fn run(&mut self, client: &mut Client, context: &mut Context<'_>) -> Result<Fate, Halt> {
        context.recorder.go_on(self.stage.doing());
        loop {
            let advance = match std::mem::take(&mut self.stage) {
                Stage::Choosing => self.choose(client, context),
                Stage::Connecting(connecting) => self.connect(connecting, client, context),
                Stage::Handshaking(handshaking) => self.shake_hands(handshaking, client, context),
                Stage::Asking(asking) => self.ask(asking, client, context),
                Stage::Relaying(relaying) => self.relay(relaying, client, context),
            };
            match advance {
                Advance::On => context.allowance.begin_stage(),
                Advance::Halt(halt) => {
                    let awaits = self.stage.awaits();
                    self.request.explain(|| match halt {
                        Halt::SentAhead => explain::Step::Ahead,
                        Halt::Wait(_) => explain::Step::Parked { awaits },
                    });
                    if matches!(halt, Halt::Wait(_)) {
                        self.request.head.shrink_to_fit();
                    }
                    return Err(halt);
                }
                Advance::Over(fate) => return Ok(fate),
            }
        }
    }

    /// This stage comes next.
    fn go_to(&mut self, stage: Stage) -> Advance {
        self.stage = stage;
        Advance::On
    }

    /// This stage goes on when what it waits for has come.
    fn halt_in(&mut self, stage: Stage, halt: Halt) -> Advance {
        self.stage = stage;
        Advance::Halt(halt)
    }

    /// Sends what TLS has encrypted for the backend and its socket did not take.
    pub fn flush_backend(&mut self) {
        if self.backend().is_some_and(|conn| conn.flush().is_err()) {
            self.note_backend_gone();
        }
    }

    /// The backend's connection is broken, or closed in both directions.
    pub fn note_backend_gone(&mut self) {
        self.backend = BackendEnd::Gone;
    }

    /// Ends the exchange where it is, for a reason that is neither side's.
    pub fn give_up(&mut self, failure: Failure) -> Fate {
        match std::mem::take(&mut self.stage) {
            Stage::Choosing | Stage::Connecting(_) | Stage::Handshaking(_) => Fate::Answer(failure),
            Stage::Asking(asking) => self.answer_unless_cut(failure, &asking),
            Stage::Relaying(relaying) => self.break_off(failure, &relaying),
        }
    }

    /// Whether the client has not sent its whole request yet, as far as that is known.
    pub fn has_upload(&self) -> bool {
        self.upload.is_some()
    }

    /// The connection to the backend.
    pub fn backend(&self) -> Option<&Conn> {
        match &self.stage {
            Stage::Choosing => None,
            Stage::Connecting(connecting) => connecting.conn.as_ref(),
            Stage::Handshaking(handshaking) => Some(&handshaking.conn),
            Stage::Asking(asking) => Some(&asking.conn),
            Stage::Relaying(relaying) => relaying.conn(),
        }
    }

    /// Bytes of memory that it keeps, itself included.
    pub fn weight(&self) -> usize {
        let stage = match &self.stage {
            Stage::Choosing | Stage::Connecting(_) | Stage::Handshaking(_) => 0,
            Stage::Asking(asking) => asking.weight(),
            Stage::Relaying(relaying) => relaying.weight(),
        };
        let upload = self.upload.as_ref().map_or(0, |upload| size_of::<Direction>() + upload.weight());
        let backend = self.backend().map_or(0, Conn::weight);
        size_of::<Self>() + self.request.weight() + upload + stage + backend
    }

    /// As what it is counted while it is parked.
    pub fn kind(&self, class: Class) -> Kind {
        match (&self.stage, class) {
            (Stage::Choosing, _) => Kind::Room,
            (Stage::Connecting(_) | Stage::Handshaking(_), _) => Kind::Connect,
            (Stage::Asking(asking), Class::Slow) if asking.is_sending() => Kind::Upload,
            (Stage::Relaying(relaying), _) if relaying.is_tunnel() => Kind::Tunnel,
            (Stage::Asking(_) | Stage::Relaying(_), Class::Slow) => Kind::SlowClient,
            (Stage::Asking(_), _) => Kind::Response,
            (Stage::Relaying(_), _) => Kind::Body,
        }
    }

    /// Chooses the next backend to ask.
    fn choose(&mut self, client: &Client, context: &mut Context<'_>) -> Advance {
        if let Some(fate) = self.fate_without_backend(client) {
            self.blame_silent();
            return Advance::Over(fate);
        }
        if self.has_to_queue(context) {
            return self.queue(client, context);
        }
        match self.next_turn(context.allowance.now()) {
            Ok((turn, lap)) => {
                self.end_queueing();
                self.begin(turn, lap)
            }
            Err(Failure::BackendsBusy) if self.choice.tried.is_first() => self.queue(client, context),
            Err(failure) => self.fail(failure),
        }
    }

    /// What becomes of a request that no backend is asked for.
    fn fate_without_backend(&self, client: &Client) -> Option<Fate> {
        let Request { route, meta, .. } = &self.request;
        match route.action {
            _ if client.presence == Presence::Gone => Some(Fate::Answer(Failure::ClientGone)),
            // Before all that the route does: a redirect or a 404 would tell, too, what is there.
            _ if meta.admission == Admission::Denied => Some(Fate::Answer(Failure::AccessDenied)),
            Some(Action::Proxy(_)) => None,
            Some(Action::Redirect(_) | Action::ToHttps | Action::Respond { .. }) => Some(Fate::AnswerByRoute),
            None => Some(Fate::Answer(Failure::NoRoute)),
        }
    }

    /// The next backend in the round, or, once no other is left, the next of those that were silent in the first lap.
    fn next_turn(&mut self, now: Instant) -> Result<(Turn, Lap), Failure> {
        let Request { route, meta, .. } = &self.request;
        let Choice { tried, silent, last } = &mut self.choice;
        // The last one had the request and gave no response: asking another is a retry.
        let attempt = match *last {
            Some(failure) if failure.is_unanswered() => Attempt::Again(failure),
            _ => Attempt::First,
        };
        let absence = match route.backends.next(tried, meta.client, now, attempt) {
            Ok(turn) => return Ok((turn, Lap::First)),
            Err(NoTurn::OverBudget(failure)) => return Err(failure),
            Err(NoTurn::Nobody(absence)) => absence,
        };
        let may_ask = !silent.is_empty() && (attempt == Attempt::First || route.backends.spend_retry());
        // The one that is not asked stays among those that are blamed.
        match may_ask.then(|| silent.pop_front()).flatten() {
            Some((turn, _)) => Ok((turn, Lap::Last)),
            None => Err(last.unwrap_or(absence)),
        }
    }

    /// Asks this backend, on a kept connection if there is one, or a fresh one.
    fn begin(&mut self, turn: Turn, lap: Lap) -> Advance {
        self.backend = BackendEnd::Open;
        let kept = turn.take_kept();
        self.request.explain(|| explain::Step::Turn {
            turn: turn.number,
            backend: turn.address(),
            connection: if kept.is_some() { explain::Connection::Kept } else { explain::Connection::Fresh },
        });
        self.go_to(match kept {
            Some(conn) => Asking::on_kept(conn, turn),
            None => self.connecting(turn, lap),
        })
    }

    /// A backend brought nothing, and the next may be asked.
    fn ask_another(&mut self, turn: Turn, failure: Failure) -> Advance {
        self.request.explain(|| explain::Step::Missed { failure });
        self.record.tried.push(turn.address());
        turn.failed(&self.request.route.backends, failure);
        self.choice.last = Some(failure);
        self.go_to(Stage::Choosing)
    }

    /// There is no response, and no backend is left to be asked, or may be.
    fn fail(&mut self, failure: Failure) -> Advance {
        self.blame_silent();
        Advance::Over(Fate::Answer(failure))
    }

    /// Those that did not accept a connection in the first lap, and were not needed in the last.
    fn blame_silent(&mut self) {
        for (turn, failure) in self.choice.silent.drain(..) {
            self.record.tried.push(turn.address());
            turn.failed(&self.request.route.backends, failure);
        }
    }

    /// An answer in the middle of an interim response would be no answer.
    fn answer_unless_cut(&mut self, failure: Failure, asking: &Asking) -> Fate {
        if asking.interims.is_delivered() {
            return Fate::Answer(failure);
        }
        self.record.failure = Some(failure);
        Fate::Close
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
