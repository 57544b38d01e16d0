//! One client's connection, from request to request.
//!
//! The problem: between two requests, and within a request that comes slowly, there is nothing to do but wait, and
//! waiting in a worker is what starves a fixed pool. So a worker serves a connection only as long as there is
//! something to serve. It lingers a moment while it has nothing better to do ([`Seats::is_calm`]), because a
//! client that is busy sends its next request within it, and that saves a trip through the waiter; then it lets go.
//!
//! Not here: the request's way to a backend and back (`exchange`), and carrying out the [`Outcome`] (`worker`).
//!
//! [`Seats::is_calm`]: crate::seats::Seats::is_calm

use crate::client::Client;
use crate::conn::{Arrived, Departed, GLANCE};
use crate::desk::{COLLECTED_BODY, Desk};
use crate::errand::{Asked, BodyPlan, Errand, line_of};
use crate::exchange::{self, Fate, Progress};
use crate::failure::{Blame, Failure};
use crate::fields::Name;
use crate::forward::{self, Origin, Persistence};
use crate::framing::Framing;
use crate::head::{self, Lines, Method, Scan, Version};
use crate::house::House;
use crate::journal::{self, Access, Line, Record, Waits};
use crate::reply;
use crate::waiter::{Until, Woken};
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

/// What the rest of a small body may take while others wait. Five hundred bodies that do not come cost eight workers a
/// sixteenth of a second.
const BREATH: Duration = Duration::from_millis(1);

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
    Leave(Box<Client>, Box<Errand>),
}

/// Serves a connection as long as it has something to do.
///
/// `queued` is how long it waited for this worker.
pub fn serve(
    mut client: Box<Client>,
    woken: Woken,
    queued: Duration,
    desk: &mut Desk,
    house: &House,
) -> Outcome {
    desk.from_client.refill(&take(&mut client.carried));
    let mut session = Session { client, desk, house, queued };
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
pub fn pick_up(mut client: Box<Client>, errand: Box<Errand>, desk: &mut Desk, house: &House) -> Outcome {
    desk.from_client.refill(&take(&mut client.carried));
    let mut session = Session { client, desk, house, queued: Duration::ZERO };
    let step = session.run(errand).unwrap_or_else(|| session.serve_requests());
    session.end(step)
}

/// Refuses a connection that waited too long for a worker, without reading what it asks.
pub fn turn_away(client: &mut Client, failure: Failure, queued: Duration, desk: &mut Desk, house: &House) {
    let bytes = reply::failed(&mut desk.response, failure, None, Persistence::Close, None);
    say(client, &desk.response, house);
    house.counters.count(Some(failure));
    if house.journal.wants_access() {
        let waits = Waits { queued, ..Waits::default() };
        let status = Some(failure.status());
        let record = Record { status, bytes, waits, failure: Some(failure), ..Record::default() };
        house.journal.access(Access { client: client.ip(), line: Line::default(), record });
    }
}

struct Session<'a> {
    client: Box<Client>,
    desk: &'a mut Desk,
    house: &'a House,
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
    Leave(Box<Errand>),
}

impl Session<'_> {
    fn serve_requests(&mut self) -> Step {
        loop {
            let mut errand = self.desk.errand();
            if let Err(step) = self.next_request(&mut errand) {
                self.desk.keep(errand);
                return step;
            }
            if let Some(step) = self.run(errand) {
                return step;
            }
        }
    }

    /// Has a request exchanged for its response; it may be sent already. `None`: the connection persists, and nobody else
    /// needs this worker.
    fn run(&mut self, mut errand: Box<Errand>) -> Option<Step> {
        let step = match exchange::run(&mut self.client, self.desk, self.house, &mut errand) {
            Progress::Left => {
                self.desk.from_client.consume(errand.asked.done_with());
                errand.asked.body = errand.asked.body_to_keep();
                return Some(Step::Leave(errand));
            }
            Progress::Over(fate) => self.settle(&mut errand, fate),
        };
        self.desk.keep(errand);
        step
    }

    /// How the connection leaves this worker.
    fn end(self, step: Step) -> Outcome {
        let Self { mut client, desk, .. } = self;
        match step {
            Step::Close => Outcome::Close(client),
            Step::Reset => Outcome::Reset(client),
            Step::Linger => Outcome::Linger(client),
            Step::Leave(errand) => {
                client.carried.extend_from_slice(desk.from_client.filled());
                Outcome::Leave(client, errand)
            }
            Step::Park(until) => {
                client.carried.extend_from_slice(desk.from_client.filled());
                Outcome::Park(client, until)
            }
            Step::GiveWay if desk.from_client.is_empty() => Outcome::Park(client, Until::Readable),
            Step::GiveWay => {
                client.carried.extend_from_slice(desk.from_client.filled());
                Outcome::Requeue(client)
            }
        }
    }

    /// Reads until a request is there that can be sent on: with its body, if that is to be collected.
    fn next_request(&mut self, errand: &mut Errand) -> Result<(), Step> {
        let mut begun = None;
        loop {
            if !self.desk.from_client.is_empty() {
                let begun = *begun.get_or_insert_with(Instant::now);
                match self.understand(errand) {
                    Ok(Understood::Request) => {
                        errand.begun = begun;
                        let waits = Waits { queued: take(&mut self.queued), ..Waits::default() };
                        errand.record = Record { waits, ..Record::default() };
                        return Ok(());
                    }
                    Ok(Understood::Options) => self.answer_options(errand, begun)?,
                    // Bytes that keep coming must not keep the worker: its moment is for the whole message.
                    Ok(Understood::Partial(until)) if begun.elapsed() >= moment(until, self.house) => {
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
        if is_idle && !self.house.stop.is_running() {
            return Err(Step::Close);
        }
        let slice = moment(until, self.house);
        match self.client.conn.receive(self.desk.from_client.room(), slice) {
            Ok(Arrived::Bytes(count)) => self.desk.from_client.grew(count),
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
        matches!(head::scan(self.desk.from_client.filled()), Scan::Complete { .. })
    }

    /// Understands what was read: a request with everything that is to be collected of it, which becomes this errand, or
    /// a part of one.
    // Room for the lines of a head is two pages of stack, which are given back here, and are used again for the response.
    #[inline(never)]
    fn understand(&mut self, errand: &mut Errand) -> Result<Understood, Failure> {
        let from_client = &mut self.desk.from_client;
        let max_head = self.house.config.max_head;
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
        let mut asked = Asked::of(&head, &self.house.via)?;
        let body = bytes.len() - end;
        if let Framing::Length(length) = asked.framing {
            if self.house.config.max_body.is_some_and(|most| length > most) {
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
        errand.line = line_of(&head, &self.house.journal);
        if forward::ends_here(&head) {
            if head.method == Method::Trace || asked.framing != Framing::Length(0) {
                return Err(Failure::LastStop);
            }
            from_client.consume(end);
            asked.body = BodyPlan::InHand(0);
            errand.asked = asked;
            return Ok(Understood::Options);
        }
        let origin = Origin {
            client: self.client.ip(),
            trust: self.house.trust(self.client.ip()),
            framing: asked.framing,
            upgrade: asked.upgrade,
            // Two system calls less for everybody who says which host is asked.
            local: if head.fields.contains(Name::Host) { None } else { self.client.conn.local() },
            via: &self.house.via,
        };
        forward::request(&mut errand.head, &head, &origin)?;
        errand.asked = asked;
        from_client.consume(end);
        Ok(Understood::Request)
    }

    /// What comes after an exchange. `None`: the connection persists, and nobody else needs this worker.
    fn settle(&mut self, errand: &mut Errand, fate: Fate) -> Option<Step> {
        if let BodyPlan::InHand(length) = errand.asked.body {
            self.desk.from_client.consume(length);
        }
        let fate = match fate {
            Fate::Answer(failure) => self.answer(failure, &errand.asked, &mut errand.record),
            fate => fate,
        };
        let bytes = errand.record.bytes;
        self.note(errand.record.failure, errand.begun, || (take(&mut errand.line), take(&mut errand.record)));
        match fate {
            Fate::Persist if self.house.seats.is_wanted() => Some(Step::GiveWay),
            Fate::Persist => None,
            Fate::Close => Some(Step::Close),
            Fate::Part | Fate::Answer(_) => Some(self.part(&errand.asked, bytes)),
            Fate::Reset => Some(Step::Reset),
        }
    }

    /// How a connection ends on which everything was said, `bytes` of body among it. A close over bytes that were not
    /// read, or before bytes that are still to come, is a reset, which takes back what the client has not read yet; so
    /// it is closed in stages (RFC 9112 §9.6). That costs a trip through the waiter, which is saved where the client
    /// has nothing more to say and what it was told has left already.
    fn part(&self, asked: &Asked, bytes: u64) -> Step {
        let is_clients_last = asked.persistence == Persistence::Close
            && asked.body != BodyPlan::Streams
            && self.desk.from_client.is_empty();
        match self.client.conn.peek() {
            Ok(Arrived::End) | Err(_) => Step::Close,
            Ok(Arrived::Nothing) if is_clients_last && bytes < FIRST_FLIGHT => Step::Close,
            Ok(Arrived::Nothing | Arrived::Bytes(_)) => Step::Linger,
        }
    }

    /// Answers a request of which no response was begun. The connection persists if the request was read to its end.
    fn answer(&mut self, failure: Failure, asked: &Asked, record: &mut Record) -> Fate {
        record.failure = Some(failure);
        if failure == Failure::ClientGone {
            return Fate::Close;
        }
        let is_read = asked.body != BodyPlan::Streams && failure.blame() != Blame::Client;
        // An HTTP/1.0 client would have to be told that it persists, and has had an error: it may come again.
        let persists = is_read
            && asked.persistence == Persistence::Persist
            && asked.version == Version::Http11
            && self.house.stop.is_running();
        let persistence = if persists { Persistence::Persist } else { Persistence::Close };
        let named =
            record.tried.last().filter(|_| self.house.config.reveal_backends).map(ToString::to_string);
        record.bytes = reply::failed(
            &mut self.desk.response,
            failure,
            Some(asked.method),
            persistence,
            named.as_deref(),
        );
        record.status = Some(failure.status());
        match say(&mut self.client, &self.desk.response, self.house) {
            true if persists => Fate::Persist,
            true => Fate::Part,
            false => Fate::Close,
        }
    }

    /// Answers what was never a request that could be sent on, and ends the connection: where the next request
    /// begins, nobody knows.
    fn refuse(&mut self, failure: Failure, begun: Instant) -> Step {
        let received = self.desk.from_client.filled();
        let asked = head::asks_for_head(received).then_some(Method::Head);
        let sent = reply::failed(&mut self.desk.response, failure, asked, Persistence::Close, None);
        let said = say(&mut self.client, &self.desk.response, self.house);
        let (status, bytes) = if said { (Some(failure.status()), sent) } else { (None, 0) };
        self.note(Some(failure), begun, || {
            let request = journal::quote(&[head::first_line(self.desk.from_client.filled())]);
            let record = Record { status, bytes, failure: Some(failure), ..Record::default() };
            (Line { request, ..Line::default() }, record)
        });
        if said { Step::Linger } else { Step::Close }
    }

    /// `OPTIONS` with `Max-Forwards: 0` asks ronde itself, and takes no turn in the round (RFC 9110 §7.6.2).
    fn answer_options(&mut self, errand: &mut Errand, begun: Instant) -> Result<(), Step> {
        let asked = &errand.asked;
        let persistence = match asked.version {
            // It would have to be told that it persists.
            Version::Http10 => Persistence::Close,
            Version::Http11 => asked.persistence,
        };
        let failure = (self.house.backends.count() == 0).then_some(Failure::NoBackend);
        match failure {
            Some(failure) => {
                reply::failed(&mut self.desk.response, failure, Some(Method::Options), persistence, None);
            }
            None => reply::options(&mut self.desk.response, persistence),
        }
        let said = say(&mut self.client, &self.desk.response, self.house);
        let status = Some(failure.map_or(200, Failure::status));
        let record = Record { status, failure, ..Record::default() };
        self.note(failure, begun, || (take(&mut errand.line), record));
        match persistence {
            Persistence::Persist if said && self.house.seats.is_wanted() => Err(Step::GiveWay),
            Persistence::Persist if said => Ok(()),
            Persistence::Close if said => Err(self.part(asked, 0)),
            _ => Err(Step::Close),
        }
    }

    /// Counts what became of a request, and has it written down.
    fn note(&self, failure: Option<Failure>, begun: Instant, what: impl FnOnce() -> (Line, Record)) {
        self.house.counters.count(failure);
        if self.house.journal.wants_access() {
            let (line, mut record) = what();
            record.waits.total = begun.elapsed();
            self.house.journal.access(Access { client: self.client.ip(), line, record });
        }
    }
}

/// How long a worker may wait for its client. A body that has begun is mostly a few packets away, and the way through the
/// waiter copies what is there twice; all else must not keep a worker that others need.
fn moment(until: Until, house: &House) -> Duration {
    match until {
        Until::Length(_) => leisure(house).max(BREATH),
        _ => leisure(house),
    }
}

/// How long a worker may wait for anything, as far as the others are concerned that wait for it.
fn leisure(house: &House) -> Duration {
    if house.seats.is_calm() { GLANCE } else { Duration::ZERO }
}

enum Understood {
    Request,
    Options,
    Partial(Until),
}

/// Sends ronde's own words, which nearly always fit into the socket at once. They are waited for only while nobody
/// else needs this worker: a client that leaves its answers unread must not be able to hold one.
fn say(client: &mut Client, mut words: &[u8], house: &House) -> bool {
    while !words.is_empty() {
        match client.conn.send(&[IoSlice::new(words)], leisure(house)) {
            Ok(Departed::Bytes(count)) => words = &words[count..],
            Ok(Departed::Nothing) | Err(_) => return false,
        }
    }
    true
}
