//! One client's connection, from request to request.
//!
//! The problem: between two requests, and within a request that comes slowly, there is nothing to do but wait, and
//! waiting in a worker is what starves a fixed pool. So a worker serves a connection only as long as there is
//! something to serve. It lingers a moment while it has nothing better to do ([`Seats::is_calm`]), because a
//! client that is busy sends its next request within it, and that saves a trip through the waiter; then it lets go.
//!
//! Not here: the request's way to a backend and back (`exchange`), and carrying out the [`Outcome`] (`worker`).
//!
//! [`Seats::is_calm`]: crate::pool::seats::Seats::is_calm

use crate::config::waits;
use crate::http1::fields::Name;
use crate::http1::forward::{self, Origin, Persistence};
use crate::http1::framing::Framing;
use crate::http1::head::{self, Lines, Method, Scan, Version};
use crate::http1::reply;
use crate::net::conn::{Arrived, Departed};
use crate::observe::access::{self, Access, Line, Record, Waits};
use crate::observe::failure::{Blame, Failure};
use crate::pool::waiter::{Until, Woken};
use crate::proxy::client::Client;
use crate::proxy::exchange::{self, Fate, Progress};
use crate::proxy::in_flight::{BodyPlan, InFlight, RequestMeta, line_of};
use crate::proxy::scratch::{COLLECTED_BODY, Scratch};
use crate::proxy::shared::Shared;
use std::io::IoSlice;
use std::mem::take;
use std::time::{Duration, Instant};

/// What a client may go on sending after it was told no, so that it can read the answer: closing at once would send
/// a reset, which destroys what the client has not read yet.
///
/// A client that sends its whole upload before it reads anything must come to its end: 64 MiB are a second of a fast
/// network, and what is longer is mostly sent by those who ask first (`Expect`).
pub const FAREWELL: Until = Until::Closed { at_most: 64 * 1024 * 1024 };

/// Bytes that leave at once on any connection (ten segments, RFC 6928), and so before anything that comes later.
const FIRST_FLIGHT: u64 = 14_600;

/// What the worker is to do with the connection.
pub enum Outcome {
    /// Close it.
    Close(Box<Client>),
    /// Close it so that the client cannot take what it has for complete.
    Reset(Box<Client>),
    /// It has nothing to do for now.
    Park(Box<Client>, Until),
    /// It has something to do, but others have waited longer.
    Requeue(Box<Client>),
    /// It was told no: it is closed once it has read that.
    Linger(Box<Client>),
    /// Its request is with a backend, and this worker has something better to do than to wait for the answer.
    Leave(Box<Client>, Box<InFlight>),
}

/// Serves a connection as long as it has something to do.
///
/// `queued` is how long it waited for this worker.
pub fn serve(
    mut client: Box<Client>,
    woken: Woken,
    queued: Duration,
    scratch: &mut Scratch,
    shared: &Shared,
) -> Outcome {
    scratch.from_client.refill(&take(&mut client.carried));
    let mut session = Session { client, scratch, shared, queued };
    let step = match woken {
        Woken::Ready => session.serve_requests(),
        Woken::Expired if session.has_head() => session.refuse(Failure::BodyTimeout, Instant::now()),
        Woken::Expired => session.refuse(Failure::HeadTimeout, Instant::now()),
        Woken::Slow => session.refuse(Failure::BodyTooSlow, Instant::now()),
        Woken::Crowded => session.refuse(Failure::Crowded, Instant::now()),
    };
    session.end(step)
}

/// Goes on where a request was left with its backend.
pub fn pick_up(
    mut client: Box<Client>,
    in_flight: Box<InFlight>,
    scratch: &mut Scratch,
    shared: &Shared,
) -> Outcome {
    scratch.from_client.refill(&take(&mut client.carried));
    let mut session = Session { client, scratch, shared, queued: Duration::ZERO };
    let step = session.run(in_flight).unwrap_or_else(|| session.serve_requests());
    session.end(step)
}

/// Refuses a connection that waited too long for a worker, without reading what it asks.
pub fn turn_away(
    client: &mut Client,
    failure: Failure,
    queued: Duration,
    scratch: &mut Scratch,
    shared: &Shared,
) {
    let bytes = reply::failed(&mut scratch.response, failure, None, Persistence::Close, None);
    say(client, &scratch.response, shared);
    shared.counters.count(Some(failure));
    if shared.logger.wants_access() {
        let waits = Waits { queued, ..Waits::default() };
        let status = Some(failure.status());
        let record = Record { status, bytes, waits, failure: Some(failure), ..Record::default() };
        shared.logger.access(Access { client: client.ip(), line: Line::default(), record });
    }
}

struct Session<'a> {
    client: Box<Client>,
    scratch: &'a mut Scratch,
    shared: &'a Shared,
    /// For the first request; the others did not wait.
    queued: Duration,
}

/// How serving ended: an [`Outcome`] without the connection.
enum Step {
    Close,
    Reset,
    Park(Until),
    /// Persists, but this worker is needed elsewhere.
    GiveWay,
    Linger,
    Leave(Box<InFlight>),
}

impl Session<'_> {
    fn serve_requests(&mut self) -> Step {
        loop {
            let mut in_flight = self.scratch.in_flight();
            if let Err(step) = self.next_request(&mut in_flight) {
                self.scratch.keep(in_flight);
                return step;
            }
            if let Some(step) = self.run(in_flight) {
                return step;
            }
        }
    }

    /// Has a request exchanged for its response; it may be sent already. `None`: the connection persists, and nobody else
    /// needs this worker.
    fn run(&mut self, mut in_flight: Box<InFlight>) -> Option<Step> {
        let step = match exchange::run(&mut self.client, self.scratch, self.shared, &mut in_flight) {
            Progress::Left => {
                self.scratch.from_client.consume(in_flight.asked.done_with());
                in_flight.asked.body = in_flight.asked.body_to_keep();
                return Some(Step::Leave(in_flight));
            }
            Progress::Over(fate) => self.settle(&mut in_flight, fate),
        };
        self.scratch.keep(in_flight);
        step
    }

    /// How the connection leaves this worker.
    fn end(self, step: Step) -> Outcome {
        let Self { mut client, scratch, .. } = self;
        match step {
            Step::Close => Outcome::Close(client),
            Step::Reset => Outcome::Reset(client),
            Step::Linger => Outcome::Linger(client),
            Step::Leave(in_flight) => {
                client.carried.extend_from_slice(scratch.from_client.filled());
                Outcome::Leave(client, in_flight)
            }
            Step::Park(until) => {
                client.carried.extend_from_slice(scratch.from_client.filled());
                Outcome::Park(client, until)
            }
            Step::GiveWay if scratch.from_client.is_empty() => Outcome::Park(client, Until::Readable),
            Step::GiveWay => {
                client.carried.extend_from_slice(scratch.from_client.filled());
                Outcome::Requeue(client)
            }
        }
    }

    /// Reads until a request is there that can be sent on: with its body, if that is to be collected.
    fn next_request(&mut self, in_flight: &mut InFlight) -> Result<(), Step> {
        let mut begun = None;
        loop {
            if !self.scratch.from_client.is_empty() {
                let begun = *begun.get_or_insert_with(Instant::now);
                match self.understand(in_flight) {
                    Ok(Understood::Request) => {
                        in_flight.begun = begun;
                        let waits = Waits { queued: take(&mut self.queued), ..Waits::default() };
                        in_flight.record = Record { waits, ..Record::default() };
                        return Ok(());
                    }
                    Ok(Understood::Options) => self.answer_options(in_flight, begun)?,
                    // Bytes that keep coming must not keep the worker: its moment is for the whole message.
                    Ok(Understood::Partial(until)) if begun.elapsed() >= moment(until, self.shared) => {
                        return Err(Step::Park(until));
                    }
                    Ok(Understood::Partial(until)) => self.read_more(until)?,
                    Err(failure) => return Err(self.refuse(failure, begun)),
                }
            } else {
                self.read_more(Until::Readable)?;
            }
        }
    }

    /// Waits a moment for more bytes if nobody else needs this worker, and lets the waiter do it otherwise.
    fn read_more(&mut self, until: Until) -> Result<(), Step> {
        let is_idle = matches!(until, Until::Readable);
        if is_idle && !self.shared.stop.is_running() {
            return Err(Step::Close);
        }
        let slice = moment(until, self.shared);
        match self.client.conn.receive(self.scratch.from_client.room(), slice) {
            Ok(Arrived::Bytes(count)) => self.scratch.from_client.grew(count),
            Ok(Arrived::Nothing) => return Err(Step::Park(until)),
            Ok(Arrived::End) if is_idle => return Err(Step::Close),
            Ok(Arrived::End) if self.has_head() => {
                return Err(self.refuse(Failure::BodyIncomplete, Instant::now()));
            }
            Ok(Arrived::End) => return Err(self.refuse(Failure::HeadIncomplete, Instant::now())),
            Err(_) => return Err(Step::Close),
        }
        Ok(())
    }

    fn has_head(&self) -> bool {
        matches!(head::scan(self.scratch.from_client.filled()), Scan::Complete { .. })
    }

    /// Understands what was read: a request with everything that is to be collected of it, which becomes this in_flight, or
    /// a part of one.
    // Room for the lines of a head is two pages of stack, which are given back here, and are used again for the response.
    #[inline(never)]
    fn understand(&mut self, in_flight: &mut InFlight) -> Result<Understood, Failure> {
        let from_client = &mut self.scratch.from_client;
        let max_head = self.shared.config.max_head;
        head::settle_version(from_client.filled_mut());
        let bytes = from_client.filled();
        let (start, end) = match head::scan(bytes) {
            Scan::Complete { start, end } if end - start <= max_head => (start, end),
            Scan::Hopeless(failure) => return Err(failure),
            // Some clients send an empty line behind a body. It begins no request, whose head could be late.
            Scan::Partial if head::is_blank(bytes) => return Ok(Understood::Partial(Until::Readable)),
            Scan::Partial if bytes.len() < max_head => {
                let until = Until::Enough { enough: head::is_worth_a_look, at_most: max_head };
                return Ok(Understood::Partial(until));
            }
            Scan::Complete { .. } | Scan::Partial => return Err(head::too_large(bytes, max_head)),
        };
        let mut lines = Lines::new();
        let head = head::request(&bytes[start..end], &mut lines)?;
        let mut asked = RequestMeta::of(&head, &self.shared.via)?;
        let body = bytes.len() - end;
        if let Framing::Length(length) = asked.framing {
            if self.shared.config.max_body.is_some_and(|most| length > most) {
                return Err(Failure::BodyTooLarge);
            }
            let is_small = length <= COLLECTED_BODY as u64 && !head.fields.contains(Name::Expect);
            let length = length as usize;
            match asked.body {
                _ if !is_small => {}
                _ if body < length => return Ok(Understood::Partial(Until::Length(end + length))),
                _ => asked.body = BodyPlan::InHand(length),
            }
        }
        in_flight.line = line_of(&head, &self.shared.logger);
        if forward::ends_here(&head) {
            if head.method == Method::Trace || asked.framing != Framing::Length(0) {
                return Err(Failure::LastStop);
            }
            from_client.consume(end);
            asked.body = BodyPlan::InHand(0);
            in_flight.asked = asked;
            return Ok(Understood::Options);
        }
        let origin = Origin {
            client: self.client.ip(),
            trust: self.shared.trust(self.client.ip()),
            framing: asked.framing,
            upgrade: asked.upgrade,
            // Two system calls less for everybody who says which host is asked.
            local: if head.fields.contains(Name::Host) { None } else { self.client.conn.local() },
            via: &self.shared.via,
        };
        forward::request(&mut in_flight.head, &head, &origin)?;
        in_flight.asked = asked;
        from_client.consume(end);
        Ok(Understood::Request)
    }

    /// What comes after an exchange. `None`: the connection persists, and nobody else needs this worker.
    fn settle(&mut self, in_flight: &mut InFlight, fate: Fate) -> Option<Step> {
        if let BodyPlan::InHand(length) = in_flight.asked.body {
            self.scratch.from_client.consume(length);
        }
        let fate = match fate {
            Fate::Answer(failure) => self.answer(failure, &in_flight.asked, &mut in_flight.record),
            fate => fate,
        };
        let bytes = in_flight.record.bytes;
        self.note(in_flight.record.failure, in_flight.begun, || {
            (take(&mut in_flight.line), take(&mut in_flight.record))
        });
        match fate {
            Fate::Persist if self.shared.seats.is_wanted() => Some(Step::GiveWay),
            Fate::Persist => None,
            Fate::Close => Some(Step::Close),
            Fate::Part | Fate::Answer(_) => Some(self.part(&in_flight.asked, bytes)),
            Fate::Reset => Some(Step::Reset),
        }
    }

    /// How a connection ends on which everything was said, `bytes` of body among it. A close over bytes that were not
    /// read, or before bytes that are still to come, is a reset, which takes back what the client has not read yet; so
    /// it is closed in stages (RFC 9112 §9.6). That costs a trip through the waiter, which is saved where the client
    /// has nothing more to say and what it was told has left already.
    fn part(&self, asked: &RequestMeta, bytes: u64) -> Step {
        let is_clients_last = asked.persistence == Persistence::Close
            && asked.body != BodyPlan::Streams
            && self.scratch.from_client.is_empty();
        match self.client.conn.peek() {
            Ok(Arrived::End) | Err(_) => Step::Close,
            Ok(Arrived::Nothing) if is_clients_last && bytes < FIRST_FLIGHT => Step::Close,
            Ok(Arrived::Nothing | Arrived::Bytes(_)) => Step::Linger,
        }
    }

    /// Answers a request of which no response was begun. The connection persists if the request was read to its end.
    fn answer(&mut self, failure: Failure, asked: &RequestMeta, record: &mut Record) -> Fate {
        record.failure = Some(failure);
        if failure == Failure::ClientGone {
            return Fate::Close;
        }
        let is_read = asked.body != BodyPlan::Streams && failure.blame() != Blame::Client;
        // An HTTP/1.0 client would have to be told that it persists, and has had an error: it may come again.
        let persists = is_read
            && asked.persistence == Persistence::Persist
            && asked.version == Version::Http11
            && self.shared.stop.is_running();
        let persistence = if persists { Persistence::Persist } else { Persistence::Close };
        let named =
            record.tried.last().filter(|_| self.shared.config.reveal_backends).map(ToString::to_string);
        record.bytes = reply::failed(
            &mut self.scratch.response,
            failure,
            Some(asked.method),
            persistence,
            named.as_deref(),
        );
        record.status = Some(failure.status());
        match say(&mut self.client, &self.scratch.response, self.shared) {
            true if persists => Fate::Persist,
            true => Fate::Part,
            false => Fate::Close,
        }
    }

    /// Answers what was never a request that could be sent on, and ends the connection: where the next request
    /// begins, nobody knows.
    fn refuse(&mut self, failure: Failure, begun: Instant) -> Step {
        let received = self.scratch.from_client.filled();
        let asked = head::asks_for_head(received).then_some(Method::Head);
        let sent = reply::failed(&mut self.scratch.response, failure, asked, Persistence::Close, None);
        let said = say(&mut self.client, &self.scratch.response, self.shared);
        let (status, bytes) = if said { (Some(failure.status()), sent) } else { (None, 0) };
        self.note(Some(failure), begun, || {
            let request = access::quote(&[head::first_line(self.scratch.from_client.filled())]);
            let record = Record { status, bytes, failure: Some(failure), ..Record::default() };
            (Line { request, ..Line::default() }, record)
        });
        if said { Step::Linger } else { Step::Close }
    }

    /// `OPTIONS` with `Max-Forwards: 0` asks ronde itself, and takes no turn in the round (RFC 9110 §7.6.2).
    fn answer_options(&mut self, in_flight: &mut InFlight, begun: Instant) -> Result<(), Step> {
        let asked = &in_flight.asked;
        let persistence = match asked.version {
            // It would have to be told that it persists.
            Version::Http10 => Persistence::Close,
            Version::Http11 => asked.persistence,
        };
        let failure = (self.shared.backends.count() == 0).then_some(Failure::NoBackend);
        match failure {
            Some(failure) => {
                reply::failed(&mut self.scratch.response, failure, Some(Method::Options), persistence, None);
            }
            None => reply::options(&mut self.scratch.response, persistence),
        }
        let said = say(&mut self.client, &self.scratch.response, self.shared);
        let status = Some(failure.map_or(200, Failure::status));
        let record = Record { status, failure, ..Record::default() };
        self.note(failure, begun, || (take(&mut in_flight.line), record));
        match persistence {
            Persistence::Persist if said && self.shared.seats.is_wanted() => Err(Step::GiveWay),
            Persistence::Persist if said => Ok(()),
            Persistence::Close if said => Err(self.part(asked, 0)),
            _ => Err(Step::Close),
        }
    }

    /// Counts what became of a request, and has it written down.
    fn note(&self, failure: Option<Failure>, begun: Instant, what: impl FnOnce() -> (Line, Record)) {
        self.shared.counters.count(failure);
        if self.shared.logger.wants_access() {
            let (line, mut record) = what();
            record.waits.total = begun.elapsed();
            self.shared.logger.access(Access { client: self.client.ip(), line, record });
        }
    }
}

/// How long a worker may wait for its client. A body that has begun is mostly a few packets away, and the way through the
/// waiter copies what is there twice; all else must not keep a worker that others need.
fn moment(until: Until, shared: &Shared) -> Duration {
    match until {
        Until::Length(_) => leisure(shared).max(waits::BODY_WHEN_BUSY),
        _ => leisure(shared),
    }
}

/// How long a worker may wait for anything, as far as the others are concerned that wait for it.
fn leisure(shared: &Shared) -> Duration {
    if shared.seats.is_calm() { waits::NEXT_REQUEST } else { Duration::ZERO }
}

enum Understood {
    Request,
    Options,
    Partial(Until),
}

/// Sends ronde's own words, which nearly always fit into the socket at once. They are waited for only while nobody
/// else needs this worker: a client that leaves its answers unread must not be able to hold one.
fn say(client: &mut Client, mut words: &[u8], shared: &Shared) -> bool {
    while !words.is_empty() {
        match client.conn.send(&[IoSlice::new(words)], leisure(shared)) {
            Ok(Departed::Bytes(count)) => words = &words[count..],
            Ok(Departed::Nothing) | Err(_) => return false,
        }
    }
    true
}
