//! One client's requests, one after the other.
//!
//! The problem: between two requests, and within a request that comes slowly, there is nothing to do but wait, and waiting
//! in a worker is what starves a fixed pool. So a worker reads what is there, serves what is complete, and parks the rest.
//!
//! Not here: the request's way to a backend and back (`exchange`), and who waits where (`pool`).

use crate::config::waits;
use crate::http1::forward::Persistence;
use crate::http1::head::{self, Method, Version};
use crate::http1::reply;
use crate::net::conn::{Block, Received, Sent};
use crate::observe::access::{self, Line, Record, Timings};
use crate::observe::failure::{Blame, Failure};
use crate::pool::min_rate::MinRate;
use crate::pool::waiter::{Class, Wait, Want, Woken};
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Conversation, Halt, Stage, Task};
use crate::proxy::exchange::{Exchange, Fate};
use crate::proxy::request::{self, Body, Missing, Parsed, Request, RequestMeta, Source};
use crate::proxy::shared::Shared;
use std::io::IoSlice;
use std::mem::take;
use std::time::{Duration, Instant};

/// What a client may go on sending after it was told no, so that it can read the answer: closing at once would send a
/// reset, which destroys what the client has not read yet.
///
/// A client that sends its whole upload before it reads anything must come to its end: 64 MiB are a second of a fast
/// network, and clients with longer uploads mostly ask first (`Expect`).
const MOST_DISCARDED: usize = 64 * 1024 * 1024;

/// Bytes that leave at once on any connection (ten segments, RFC 6928), and so before anything that comes later.
const FIRST_FLIGHT: u64 = 14_600;

/// Pipelined requests of one client that are served in a row before the others in the epoll have their turn.
const MOST_IN_A_ROW: u32 = 8;

/// A client that has not sent a whole request yet.
#[derive(Debug)]
pub struct Reading {
    missing: Missing,
    /// When the first byte was read.
    begun: Option<Instant>,
    /// Since when nothing has come.
    since: Instant,
    rate: MinRate,
    /// How long the connection waited for a worker.
    queued: Duration,
}

impl Reading {
    /// A new connection.
    pub fn first() -> Self {
        Self::next(MinRate::new(0))
    }

    fn next(rate: MinRate) -> Self {
        let since = Instant::now();
        Self { missing: Missing::Everything, begun: None, since, rate, queued: Duration::ZERO }
    }
}

/// A client that was told everything.
#[derive(Debug)]
pub struct Lingering {
    since: Instant,
    until: Instant,
    discarded: usize,
}

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
    /// Close it so that the client cannot take what it has for complete.
    Reset,
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
    match woken {
        Woken::New(_) => context.allowance.begins(),
        _ => context.allowance.goes_on(),
    }
    if let (Stage::Reading(reading), Woken::New(since)) = (&mut *stage, woken) {
        reading.queued = since.elapsed();
    }
    match woken {
        Woken::ClientClosed if client.presence == Presence::Open => {
            client.presence = Presence::HalfClosed(Instant::now());
        }
        Woken::ClientGone => client.presence = Presence::Gone,
        _ => {}
    }
    let mut session = Session { client, context, served: 0 };
    let end = match (stage, woken) {
        (Stage::Reading(reading), Woken::New(since)) if reading.queued > session.queue_timeout() => {
            session.load();
            session.refuse(Failure::Overloaded, since, reading.queued)
        }
        (Stage::Reading(reading), Woken::OverBudget) => {
            session.load();
            session.refuse(Failure::OverBudget, Instant::now(), reading.queued)
        }
        (Stage::Exchanging(exchange), Woken::OverBudget) => {
            let fate = exchange.give_up(Failure::OverBudget);
            session.load();
            session.settle(exchange, fate).err().unwrap_or(End::Close)
        }
        (stage, _) => match session.collect(stage) {
            Collected::Enough => session.run(stage),
            Collected::Wait(wait) => return Outcome::Park(conversation, wait),
        },
    };
    conversation.end(end, context)
}

/// Goes on with a conversation whose request was sent ahead.
pub fn collect(mut conversation: Box<Conversation>, context: &mut Context<'_>) -> Outcome {
    context.allowance.begins();
    let Conversation { client, stage } = &mut *conversation;
    let mut session = Session { client, context, served: 0 };
    session.load();
    let end = session.run(stage);
    conversation.end(end, context)
}

impl Conversation {
    /// Carries out what serving came to.
    fn end(mut self: Box<Self>, end: End, context: &mut Context<'_>) -> Outcome {
        match end {
            End::Halt(halt) => {
                self.client.carried.extend_from_slice(context.scratch.from_client.filled());
                match halt {
                    Halt::Wait(wait) => Outcome::Park(self, wait),
                    Halt::SentAhead => Outcome::SentAhead(self),
                }
            }
            End::Close => Outcome::Over,
            End::Reset => {
                self.client.conn.reset();
                Outcome::Over
            }
            End::Linger => {
                linger(self, context.shared);
                Outcome::Over
            }
        }
    }
}

/// Parks a conversation whose client was told everything, until the client closes.
pub fn linger(mut conversation: Box<Conversation>, shared: &Shared) {
    conversation.client.carried = Vec::new();
    // When the half-close fails the client is gone, and nothing is left to be read.
    if conversation.client.conn.finish().is_ok() {
        let now = Instant::now();
        let lingering = Lingering { since: now, until: now + waits::LINGERING_CLOSE_TOTAL, discarded: 0 };
        let wait = lingering.wait(Want::Read);
        conversation.stage = Stage::Lingering(lingering);
        drop(shared.waiter.park(Task::Client(conversation), wait));
    }
}

impl Lingering {
    fn wait(&self, client: Want) -> Wait {
        let deadline = self.until.min(self.since + waits::LINGERING_CLOSE);
        Wait { client, backend: Want::Nothing, deadline, class: Class::Lingering }
    }
}

/// What a look at a message that comes slowly found.
enum Collected {
    /// There is something for a worker to do.
    Enough,
    Wait(Wait),
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

    fn queue_timeout(&self) -> Duration {
        self.context.shared.config.queue_timeout
    }

    /// Loads the client's bytes. Those of a message that comes byte by byte are not loaded, nor looked at from the
    /// beginning, each time that one comes: a head of 60 KB would cost gigabytes of copies.
    fn collect(&mut self, stage: &mut Stage) -> Collected {
        let Stage::Reading(reading) = stage else {
            self.load();
            return Collected::Enough;
        };
        let carried = &mut self.client.carried;
        let (limit, before) = match reading.missing {
            Missing::Everything => (0, 0),
            Missing::Head => (self.context.shared.config.max_head, carried.len()),
            Missing::Body(length) => (length, carried.len()),
        };
        if before < limit {
            let from_client = &mut self.context.scratch.from_client;
            from_client.clear();
            let room = from_client.one_read();
            let most = room.len().min(limit - before);
            if let Ok(Received::Bytes(count)) = self.client.conn.receive(&mut room[..most], Block::Never) {
                carried.extend_from_slice(&room[..count]);
                let is_enough = match reading.missing {
                    Missing::Head => carried.len() >= limit || head::is_worth_a_look(carried, before),
                    Missing::Everything | Missing::Body(_) => carried.len() >= limit,
                };
                let have = carried.len();
                if !is_enough && let Ok(wait) = self.wait_for_more(reading, have, count) {
                    return Collected::Wait(wait);
                }
            }
        }
        self.load();
        Collected::Enough
    }

    fn run(&mut self, stage: &mut Stage) -> End {
        loop {
            let next = match stage {
                Stage::Reading(reading) => self.read_request(reading).map(|request| {
                    let timings = Timings { queued: take(&mut reading.queued), ..Timings::default() };
                    let record = Record { timings, ..Record::default() };
                    let exchange = Exchange::new(request, record, &self.context.shared.config);
                    Stage::Exchanging(Box::new(exchange))
                }),
                Stage::Exchanging(exchange) => match exchange.run(self.client, self.context) {
                    Ok(fate) => self.settle(exchange, fate).map(|()| {
                        Stage::Reading(Reading::next(MinRate::new(self.context.shared.config.min_rate)))
                    }),
                    Err(halt) => Err(halt.into()),
                },
                Stage::Lingering(lingering) => Err(self.discard(lingering)),
            };
            match next {
                Ok(next) => *stage = next,
                Err(end) => return end,
            }
            self.context.allowance.begins();
        }
    }

    /// Reads until a request is there that can be sent on: with its body, if that is collected.
    fn read_request(&mut self, reading: &mut Reading) -> Result<Request, End> {
        loop {
            if !self.context.scratch.from_client.is_empty() {
                let begun = *reading.begun.get_or_insert_with(Instant::now);
                match self.parse() {
                    Ok(Parsed::Request(request, end)) => {
                        self.context.scratch.from_client.consume(end);
                        return Ok(Request { begun, ..request });
                    }
                    Ok(Parsed::Options(request, end)) => {
                        self.context.scratch.from_client.consume(end);
                        self.answer_options(Request { begun, ..request })?;
                        *reading = Reading::next(reading.rate);
                        continue;
                    }
                    Ok(Parsed::Partial(missing)) => reading.missing = missing,
                    Err(failure) => return Err(self.refuse(failure, begun, reading.queued)),
                }
            }
            self.read_more(reading)?;
        }
    }

    fn parse(&mut self) -> Result<Parsed, Failure> {
        let Context { shared, scratch, .. } = &mut *self.context;
        let (ip, conn) = (self.client.ip(), &self.client.conn);
        let source =
            Source { client: ip, trust: shared.trust(ip), local: &|| conn.local(), via: &shared.via };
        let bytes = scratch.from_client.filled_mut();
        request::parse(bytes, &mut scratch.request, &source, &shared.config, &shared.logger)
    }

    /// Reads what is there, or comes soon.
    fn read_more(&mut self, reading: &mut Reading) -> Result<(), End> {
        let is_idle = reading.missing == Missing::Everything;
        if is_idle && !self.context.shared.is_running() {
            return Err(End::Close);
        }
        let Context { shared, scratch, allowance, .. } = &mut *self.context;
        let conn = &self.client.conn;
        let (received, _) =
            allowance.spend(&shared.waiter, |block| conn.receive(scratch.from_client.room(), block));
        match received {
            Ok(Received::Bytes(count)) => {
                scratch.from_client.grew(count);
                // A few bytes at a time could go on for ever: whatever comes after this read is not waited for.
                allowance.goes_on();
                Ok(())
            }
            Ok(Received::Nothing) => {
                let have = scratch.from_client.len();
                let wait = self.wait_for_more(reading, have, 0);
                Err(wait.map_or_else(
                    |failure| match failure {
                        Some(failure) => {
                            self.refuse(failure, reading.begun.unwrap_or(reading.since), reading.queued)
                        }
                        None => End::Close,
                    },
                    |wait| Halt::Wait(wait).into(),
                ))
            }
            Ok(Received::End) if is_idle => Err(End::Close),
            Ok(Received::End) => {
                let failure = match reading.missing {
                    Missing::Body(_) => Failure::BodyIncomplete,
                    Missing::Everything | Missing::Head => Failure::HeadIncomplete,
                };
                Err(self.refuse(failure, Instant::now(), reading.queued))
            }
            Err(_) => Err(End::Close),
        }
    }

    /// What a client is waited for that has sent `have` bytes of a message, `fresh` of them just now.
    ///
    /// # Errors
    /// Why it is not waited for any longer; without a word if it has not begun to say anything.
    fn wait_for_more(
        &self,
        reading: &mut Reading,
        have: usize,
        fresh: usize,
    ) -> Result<Wait, Option<Failure>> {
        let (now, config) = (Instant::now(), &self.context.shared.config);
        let begun = reading.begun.unwrap_or(now);
        let (since, limit, class, failure) = match reading.missing {
            Missing::Everything => (reading.since, config.keep_alive_timeout, Class::Idle, None),
            // Its time is one for the whole: dripping does not prolong it.
            Missing::Head => (begun, config.head_timeout, Class::Slow, Some(Failure::HeadTimeout)),
            Missing::Body(_) => {
                let waited = now.saturating_duration_since(reading.since.max(begun));
                if fresh > 0 {
                    reading.since = now;
                    if !reading.rate.is_kept(have as u64, waited) {
                        return Err(Some(Failure::BodyTooSlow));
                    }
                }
                (reading.since.max(begun), config.body_timeout, Class::Slow, Some(Failure::BodyTimeout))
            }
        };
        let deadline = since + limit;
        if deadline <= now {
            return Err(failure);
        }
        Ok(Wait { client: Want::Read, backend: Want::Nothing, deadline, class })
    }

    /// What comes after an exchange: the connection persists, or that is how it ends.
    fn settle(&mut self, exchange: &mut Exchange, fate: Fate) -> Result<(), End> {
        let Exchange { request, record, .. } = exchange;
        self.context.scratch.from_client.consume(request.meta.in_hand());
        let fate = match fate {
            Fate::Answer(failure) => self.answer(failure, &request.meta, record),
            fate => fate,
        };
        let bytes = record.bytes;
        record.timings.total = request.begun.elapsed();
        self.context
            .shared
            .note(self.client.ip(), record.failure, || (take(&mut request.line), take(record)));
        // The next request's head goes where this one's was.
        self.context.scratch.request = take(&mut request.head);
        match fate {
            Fate::Persist => self.persist(),
            Fate::Close => Err(End::Close),
            Fate::Part | Fate::Answer(_) => Err(self.part(&request.meta, bytes)),
            Fate::Reset => Err(End::Reset),
        }
    }

    /// The connection persists. A client that is busy sends its next request soon; waiting for it saves the trip through
    /// the waiter, which pays only while there is no other client.
    fn persist(&mut self) -> Result<(), End> {
        let Context { shared, scratch, .. } = &*self.context;
        self.served += 1;
        let now = Instant::now();
        let (deadline, class) = (now + shared.config.keep_alive_timeout, Class::Idle);
        let is_piped = !scratch.from_client.is_empty();
        if is_piped && self.served >= MOST_IN_A_ROW {
            // What is in hand is served when the others had their turn: a client can nearly always be written to.
            return Err(
                Halt::Wait(Wait { client: Want::Write, backend: Want::Nothing, deadline, class }).into()
            );
        }
        if is_piped || shared.waiter.is_only_one_busy() {
            return Ok(());
        }
        if !shared.is_running() {
            return Err(End::Close);
        }
        Err(Halt::Wait(Wait { client: Want::Read, backend: Want::Nothing, deadline, class }).into())
    }

    /// How a connection ends on which everything was said, `bytes` of body among it. A close over bytes that were not
    /// read, or before bytes that are still to come, is a reset, which takes back what the client has not read yet; so
    /// it is closed in stages (RFC 9112 §9.6). That costs a trip through the waiter, which is saved where the client
    /// has nothing more to say and what it was told has left already.
    fn part(&self, meta: &RequestMeta, bytes: u64) -> End {
        let is_clients_last = meta.persistence == Persistence::Close
            && meta.body != Body::Streams
            && self.context.scratch.from_client.is_empty();
        match self.client.conn.peek() {
            Ok(Received::End) | Err(_) => End::Close,
            Ok(Received::Nothing) if is_clients_last && bytes < FIRST_FLIGHT => End::Close,
            Ok(Received::Nothing | Received::Bytes(_)) => End::Linger,
        }
    }

    /// Answers a request of which no response was begun. The connection persists if the request was read to its end.
    fn answer(&mut self, failure: Failure, meta: &RequestMeta, record: &mut Record) -> Fate {
        record.failure = Some(failure);
        if failure == Failure::ClientGone {
            return Fate::Close;
        }
        let is_read = meta.body != Body::Streams && failure.blame() != Blame::Client;
        // An HTTP/1.0 client would have to be told that it persists, and has had an error: it may come again.
        let persists = is_read
            && meta.persistence == Persistence::Persist
            && meta.version == Version::Http11
            && self.context.shared.is_running();
        let persistence = if persists { Persistence::Persist } else { Persistence::Close };
        let reveals = self.context.shared.config.reveal_backends;
        let named = record.tried.last().filter(|_| reveals).map(ToString::to_string);
        let out = &mut self.context.scratch.response;
        record.bytes = reply::failed(out, failure, Some(meta.method), persistence, named.as_deref());
        record.status = Some(failure.status());
        match self.say() {
            true if persists => Fate::Persist,
            true => Fate::Part,
            false => Fate::Close,
        }
    }

    /// Answers what was never a request that could be sent on, and ends the connection: where the next request begins is
    /// not known.
    fn refuse(&mut self, failure: Failure, begun: Instant, queued: Duration) -> End {
        let received = self.context.scratch.from_client.filled();
        let asked = head::asks_for_head(received).then_some(Method::Head);
        let line = access::quote(&[head::first_line(received)]);
        let out = &mut self.context.scratch.response;
        let sent = reply::failed(out, failure, asked, Persistence::Close, None);
        let said = self.say();
        let (status, bytes) = if said { (Some(failure.status()), sent) } else { (None, 0) };
        self.context.shared.note(self.client.ip(), Some(failure), || {
            let timings = Timings { queued, total: begun.elapsed(), ..Timings::default() };
            let record = Record { status, bytes, timings, failure: Some(failure), ..Record::default() };
            (Line { request: line, ..Line::default() }, record)
        });
        if said { End::Linger } else { End::Close }
    }

    /// `OPTIONS` with `Max-Forwards: 0` asks ronde itself, and takes no turn in the round (RFC 9110 §7.6.2).
    fn answer_options(&mut self, request: Request) -> Result<(), End> {
        let persistence = match request.meta.version {
            // It would have to be told that it persists.
            Version::Http10 => Persistence::Close,
            Version::Http11 => request.meta.persistence,
        };
        let failure = (self.context.shared.backends.count() == 0).then_some(Failure::NoBackend);
        let out = &mut self.context.scratch.response;
        match failure {
            Some(failure) => {
                reply::failed(out, failure, Some(Method::Options), persistence, None);
            }
            None => reply::options(out, persistence),
        }
        let said = self.say();
        let status = Some(failure.map_or(200, Failure::status));
        let timings = Timings { total: request.begun.elapsed(), ..Timings::default() };
        self.context.shared.note(self.client.ip(), failure, || {
            (request.line, Record { status, failure, timings, ..Record::default() })
        });
        match persistence {
            Persistence::Persist if said => self.persist(),
            Persistence::Close if said => Err(self.part(&request.meta, 0)),
            _ => Err(End::Close),
        }
    }

    /// Sends ronde's own words, which nearly always fit into the socket at once. A client that leaves its answers unread
    /// is not waited for.
    fn say(&mut self) -> bool {
        let words = &self.context.scratch.response;
        let sent = self.client.conn.send(&[IoSlice::new(words)], Block::Never);
        matches!(sent, Ok(Sent::Bytes(count)) if count == words.len())
    }

    /// Throws away what the client sends after it was told everything, until it closes.
    fn discard(&mut self, lingering: &mut Lingering) -> End {
        let room = self.context.scratch.from_client.one_read();
        for _ in 0..MOST_IN_A_ROW {
            match self.client.conn.receive(room, Block::Never) {
                Ok(Received::Bytes(count)) => {
                    lingering.discarded += count;
                    lingering.since = Instant::now();
                }
                Ok(Received::Nothing) => break,
                Ok(Received::End) | Err(_) => return End::Close,
            }
        }
        // Past the bound nothing more is read: closing now would take back what the client was told, so it stays for its
        // time, and cannot send.
        let want = if lingering.discarded < MOST_DISCARDED { Want::Read } else { Want::Break };
        let wait = lingering.wait(want);
        if self.context.shared.is_over() || wait.deadline <= Instant::now() {
            return End::Close;
        }
        Halt::Wait(wait).into()
    }
}
