//! One client's requests, one after the other.
//!
//! The problem: between two requests, and within a request that comes slowly, there is nothing to do but wait, and waiting
//! in a worker is what starves a fixed pool. So a worker reads what is there, serves what is complete, and parks the rest.
//!
//! Not here: the request's way to a backend and back (`exchange`), and where connections wait (`pool`).

mod answer;
mod introduction;
mod lingering;
mod reading;
mod resetting;
mod securing;

pub use lingering::{Lingering, linger};
pub use reading::Reading;
pub use resetting::{Resetting, reset};

use crate::observe::access::{Line, Record, Timings};
use crate::observe::activity::Doing;
use crate::observe::explain::{Ending, Step};
use crate::observe::failure::Failure;
use crate::observe::metrics::RouteCounts;
use crate::pool::park::{Class, Wait, Want, Woken};
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Arrived, Context, Conversation, Halt, Stage};
use crate::proxy::exchange::{Exchange, Fate};
use std::mem::take;
use std::time::{Duration, Instant};

/// Pipelined requests of one client that are served in a row before other conversations are served.
const MOST_IN_A_ROW: u32 = 8;

/// What a worker is to do with a conversation that it has served.
pub enum Outcome {
    Park(Box<Conversation>, Wait),
    /// To be collected.
    SentAhead(Box<Conversation>),
    /// It is closed.
    Over,
}

/// How serving stops.
enum End {
    Halt(Halt),
    /// Close the connection.
    Close,
    /// Reset it, so that the client cannot take what it has for complete: once it has received what was sent, or was silent for
    /// so long.
    Reset(Duration),
    /// Reset it at once.
    Abort,
    /// Close it once the client has read what it was told.
    Linger,
}

impl From<Halt> for End {
    fn from(halt: Halt) -> Self {
        Self::Halt(halt)
    }
}

/// Serves a conversation as long as there is something to do, from where it stopped.
pub fn serve(mut conversation: Box<Conversation>, woken: Woken, context: &mut Context<'_>) -> Outcome {
    let Conversation { client, stage } = &mut *conversation;
    stage.explain_resumed(context.worker);
    match woken {
        // What an upload lacks is seen when it is read.
        Woken::ClientClosed if client.presence == Presence::Open => {
            client.presence = match stage.awaits_bytes() || client.conn.is_half_closed() {
                true => Presence::HalfClosed(Instant::now()),
                false => Presence::Gone,
            };
        }
        Woken::ClientGone => client.presence = Presence::Gone,
        _ => {}
    }
    if client.conn.flush().is_err() {
        client.presence = Presence::Gone;
    }
    if let Stage::Exchanging(exchange) = stage {
        exchange.flush_backend();
    }
    let end = Session { client, context, served: 0 }.take_up(stage, woken);
    conversation.end(end, context)
}

/// Goes on with a conversation whose request was sent ahead.
pub fn collect(mut conversation: Box<Conversation>, context: &mut Context<'_>) -> Outcome {
    context.allowance.begin_stage();
    let Conversation { client, stage } = &mut *conversation;
    stage.explain_resumed(context.worker);
    let mut session = Session { client, context, served: 0 };
    session.load();
    let end = session.run(stage);
    conversation.end(end, context)
}

impl Stage {
    /// Whether the client has begun a message and owes the rest.
    fn awaits_bytes(&self) -> bool {
        match self {
            Self::Introducing(_) | Self::Securing(_) => true,
            Self::Reading(reading) => reading.has_begun(),
            Self::Exchanging(exchange) => exchange.has_upload(),
            Self::Lingering(_) | Self::Resetting(_) => false,
        }
    }

    /// How long the connection waited for a worker when it was new.
    fn note_queued(&mut self, waited: Duration) {
        match self {
            Self::Introducing(Arrived { queued, .. })
            | Self::Securing(Arrived { queued, .. })
            | Self::Reading(Reading { queued, .. }) => *queued = waited,
            Self::Exchanging(_) | Self::Lingering(_) | Self::Resetting(_) => {}
        }
    }

    fn explain_resumed(&mut self, worker: usize) {
        if let Self::Exchanging(exchange) = self {
            exchange.request.explain(|| Step::Resumed { worker });
        }
    }
}

impl Conversation {
    /// Carries out what serving came to.
    fn end(mut self: Box<Self>, end: End, context: &mut Context<'_>) -> Outcome {
        let (received, sent) = self.client.conn.moved.take();
        context.recorder.note_bytes(received, sent);
        match end {
            End::Halt(halt) => {
                self.client.carried.extend_from_slice(context.scratch.from_client.filled());
                match halt {
                    Halt::Wait(wait) => Outcome::Park(self, wait),
                    Halt::SentAhead => Outcome::SentAhead(self),
                }
            }
            End::Close => {
                self.client.conn.say_end();
                Outcome::Over
            }
            End::Reset(silence) => {
                reset(self, silence, context.shared);
                Outcome::Over
            }
            End::Abort => {
                // When this fails the client is gone.
                let _ = self.client.conn.close_abortively();
                Outcome::Over
            }
            End::Linger => {
                linger(self, context.shared);
                Outcome::Over
            }
        }
    }
}

struct Session<'a, 'c> {
    client: &'a mut Client,
    context: &'a mut Context<'c>,
    /// Requests in a row.
    served: u32,
}

impl Session<'_, '_> {
    /// Takes the client's bytes into the worker's buffer.
    fn load(&mut self) {
        self.context.scratch.from_client.refill(&take(&mut self.client.carried));
    }

    /// Goes on where the conversation was parked.
    fn take_up(&mut self, stage: &mut Stage, woken: Woken) -> End {
        if let Woken::New(since) = woken {
            return self.take_in(stage, since);
        }
        self.context.allowance.stop_waiting();
        match (&mut *stage, woken) {
            (Stage::Introducing(arrived), Woken::OverBudget) => {
                return self.close_unanswered(Failure::OverBudget, *arrived);
            }
            (Stage::Securing(_), Woken::OverBudget) => {
                return self.fail_handshake(Failure::OverBudget, &"in its TLS handshake");
            }
            (Stage::Introducing(_) | Stage::Securing(_), _) => self.load(),
            (Stage::Reading(reading), Woken::OverBudget) if reading.is_under_way(self.client) => {
                self.load();
                let begun = reading.begun.unwrap_or(self.context.allowance.now());
                return self.refuse(Failure::OverBudget, begun, reading.queued);
            }
            (Stage::Reading(_) | Stage::Lingering(_) | Stage::Resetting(_), Woken::OverBudget) => {
                return End::Close;
            }
            (Stage::Exchanging(exchange), Woken::OverBudget) => {
                self.load();
                let fate = exchange.give_up(Failure::OverBudget);
                // Its memory is wanted: the connection ends even if it could persist.
                return match self.settle(exchange, fate, self.context.allowance.now()) {
                    Ok(()) | Err(End::Halt(_)) => End::Linger,
                    Err(end) => end,
                };
            }
            (Stage::Reading(reading), _) => {
                if let Err(end) = self.read_parked(reading) {
                    return end;
                }
            }
            (Stage::Exchanging(exchange), Woken::BackendGone) => {
                exchange.note_backend_gone();
                self.load();
            }
            (Stage::Exchanging(_) | Stage::Lingering(_) | Stage::Resetting(_), _) => self.load(),
        }
        self.run(stage)
    }

    /// Begins with a connection that was accepted at `since`, unless it has waited for a worker for too long.
    fn take_in(&mut self, stage: &mut Stage, since: Instant) -> End {
        let Context { site, allowance, .. } = &mut *self.context;
        allowance.begin_stage();
        let queued = allowance.now().saturating_duration_since(since);
        let is_late = queued > site.config.queue_timeout;
        self.load();
        stage.note_queued(queued);
        match stage {
            Stage::Reading(_) if is_late => self.refuse(Failure::Overloaded, since, queued),
            _ if is_late => self.close_unanswered(Failure::Overloaded, Arrived { since, queued }),
            stage => self.run(stage),
        }
    }

    fn run(&mut self, stage: &mut Stage) -> End {
        loop {
            let next = match stage {
                Stage::Introducing(arrived) => self
                    .be_introduced(*arrived)
                    .map(|()| Stage::first(self.client.scheme, Instant::now(), arrived.queued)),
                Stage::Securing(arrived) => self
                    .be_secured(*arrived)
                    .map(|()| Stage::Reading(Reading::first(Instant::now(), arrived.queued))),
                Stage::Reading(reading) => self.read_request(reading).map(|request| {
                    let timings = Timings { queued: reading.queued, ..Timings::default() };
                    let record = Record { timings, ..Record::default() };
                    Stage::Exchanging(Box::new(Exchange::new(request, record)))
                }),
                Stage::Exchanging(exchange) => match exchange.run(self.client, self.context) {
                    Ok(fate) => {
                        let now = self.context.allowance.now();
                        self.context.recorder.begin(Doing::Reading, now);
                        let settled = self.settle(exchange, fate, now);
                        let next = Stage::Reading(Reading::next(now));
                        match settled {
                            Ok(()) => Ok(next),
                            Err(end) => {
                                // If the client is parked now, it is for its next request.
                                *stage = next;
                                Err(end)
                            }
                        }
                    }
                    Err(halt) => Err(halt.into()),
                },
                Stage::Lingering(lingering) => Err(self.discard(lingering)),
                Stage::Resetting(resetting) => Err(self.go_on_resetting(resetting)),
            };
            match next {
                Ok(next) => *stage = next,
                Err(end) => return end,
            }
            self.context.allowance.begin_stage();
        }
    }

    /// What comes after an exchange that has ended `now`: the connection persists, or that is how it ends.
    fn settle(&mut self, exchange: &mut Exchange, fate: Fate, now: Instant) -> Result<(), End> {
        let Exchange { request, record, .. } = exchange;
        self.context.scratch.from_client.consume(request.meta.in_hand());
        let fate = match fate {
            Fate::Answer(failure) => self.answer(failure, request, record),
            Fate::AnswerByRoute => self.answer_by_route(request, record),
            fate => fate,
        };
        let bytes = record.bytes;
        if let Some(mut explanation) = request.explanation.take() {
            if let Some(failure) = record.failure {
                explanation.note(Step::Failed { failure });
            }
            let connection = if fate == Fate::Persist { Ending::Kept } else { Ending::Closed };
            explanation.note(Step::Ended { connection });
            log::info!("{explanation}");
        }
        record.timings.total = now.saturating_duration_since(request.begun);
        self.note(Some(&request.route.counts), take(record), || take(&mut request.line));
        self.context.scratch.spare(take(&mut request.head));
        self.context.allowance.note_response();
        match fate {
            Fate::Persist => self.persist(now),
            Fate::Close => Err(End::Close),
            Fate::Linger | Fate::Answer(_) | Fate::AnswerByRoute => {
                Err(self.linger_or_close(&request.meta, bytes))
            }
            Fate::Reset => Err(End::Reset(request.route.config.idle_timeout)),
            Fate::Abort => Err(End::Abort),
        }
    }

    /// Counts what became of a request, and has its line written, with the client that a proxy has named.
    fn note(&self, route: Option<&RouteCounts>, record: Record, line: impl FnOnce() -> Line) {
        let Context { shared, recorder, .. } = &*self.context;
        shared.note(recorder, self.client.peer, route, record, || {
            let line = line();
            Line { client: line.client.or(self.client.named), ..line }
        });
    }

    /// The connection persists, and is idle since `now`. A client that is busy sends its next request soon; waiting for it
    /// saves the trip through the waiter, which pays only while there is no other client.
    fn persist(&mut self, now: Instant) -> Result<(), End> {
        let Context { shared, site, scratch, allowance, .. } = &*self.context;
        self.served += 1;
        if !scratch.from_client.is_empty() {
            return if self.served < MOST_IN_A_ROW { Ok(()) } else { Err(self.serve_later(now)) };
        }
        if allowance.is_alone() && shared.waiter.is_only_one_busy() {
            shared.waiter.silence(&self.client.conn);
            return Ok(());
        }
        let deadline = shared.waiter.bound_idle(now + site.config.keep_alive_timeout);
        if deadline <= now {
            return Err(End::Close);
        }
        let (client, class) = (Want::Read, Class::Idle);
        Err(Halt::Wait(Wait { client, backend: Want::Nothing, deadline, class }).into())
    }

    /// What is in hand is served with a later batch, after other conversations: a client can nearly always be written to.
    fn serve_later(&self, now: Instant) -> End {
        let Context { shared, site, .. } = &*self.context;
        let deadline = shared.waiter.bound_idle(now + site.config.keep_alive_timeout);
        let (client, class) = (Want::Write, Class::Busy);
        Halt::Wait(Wait { client, backend: Want::Nothing, deadline, class }).into()
    }
}
