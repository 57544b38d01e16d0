//! One request and its response.
//!
//! The problem: up to the first byte of the response head that goes to the client, everything can still be put
//! right: another backend can be asked, an error can be answered. After it nothing can, but to cut the connection so
//! that the client can tell. The two halves are two functions with two kinds of failure: `obtain_response` may
//! retry and may fail with a status, `relay_response` may only succeed or be aborted.
//!
//! What may be sent again (RFC 9110 §9.2.2):
//! - a request of which nothing was sent, whatever it is: to each other backend, once;
//! - a request on a kept connection that turns out closed before any byte of a response: once more on a fresh
//!   connection to the same backend, then to the others, but only if it is idempotent and its body is in hand;
//! - nothing after a timeout: the backend may still be working on it.
//!
//! The conversation with one backend, up to the response head, is `exchange::converse`.
//!
//! Not here: reading requests and the client's connection afterwards (`session`).

mod converse;

use crate::backend::{ActiveResponse, Holds, Turn};
use crate::config::waits;
use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::forward::{Delivery, Upgrade};
use crate::http1::reframer::Reframer;
use crate::net::conn::Conn;
use crate::observe::access::Record;
use crate::observe::failure::Failure;
use crate::proxy::client::Client;
use crate::proxy::in_flight::{Age, Answer, BodyPlan, InFlight, LIGHT, Out, RequestMeta, Sent};
use crate::proxy::relay::{self, Broke, Broken, Direction, Ends, Pumped, StallTimer};
use crate::proxy::scratch::Scratch;
use crate::proxy::shared::Shared;
use crate::proxy::tunnel;
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

/// How far an exchange came.
pub enum Progress {
    Over(Fate),
    /// The request was left with a backend, where `in_flight.sent` says.
    Left,
}

/// Serves a request; or, when it was sent already, picks up its answer and serves the rest.
pub fn run(
    client: &mut Client,
    scratch: &mut Scratch,
    shared: &Shared,
    in_flight: &mut InFlight,
) -> Progress {
    Exchange::new(client, scratch, shared, in_flight).serve()
}

struct Exchange<'a> {
    client: &'a mut Client,
    scratch: &'a mut Scratch,
    shared: &'a Shared,
    /// Of the request, for the backend.
    head: &'a [u8],
    asked: &'a RequestMeta,
    record: &'a mut Record,
    /// Where the request is, while it is left.
    sent: &'a mut Option<Sent>,
    /// The request's body on its way, unless it was in hand.
    upload: Option<Reframer>,
    /// The response's, as far as it came with the head.
    download: Reframer,
    stall: StallTimer<'a>,
}

/// A final response whose head is understood, and written for the client in `scratch.response`. Its body is the exchange's
/// `download`.
struct Response {
    /// `None` is a 101: what follows is not HTTP.
    delivery: Option<Delivery>,
    /// Whether the backend's connection can serve another request afterwards.
    backend_persists: bool,
    /// What becomes of the client's connection when all goes well.
    fate: Fate,
    /// When the head was there.
    since: Instant,
}

/// The head of the response is out, and the rest of it will not come.
struct Aborted(Failure);

/// Why there is no response.
enum Unanswered {
    Failed(Failure),
    /// It is still to come.
    Left,
}

impl From<Failure> for Unanswered {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Why an attempt brought no response.
enum Missed {
    /// It is on its way, and this worker does not wait for it.
    Later(Out),
    /// The backend saw nothing of the request.
    Unsent(Failure),
    /// The connection was closed before any byte of a response. Whether the request was executed is unknown.
    Unanswered(Failure),
    /// The same on a kept connection, and the request may not be sent again. It is not the backend's failure.
    Stale(Failure),
    /// No other backend may be asked.
    Final(Failure),
}

impl<'a> Exchange<'a> {
    fn new(
        client: &'a mut Client,
        scratch: &'a mut Scratch,
        shared: &'a Shared,
        in_flight: &'a mut InFlight,
    ) -> Self {
        let InFlight { head, asked, record, sent, .. } = in_flight;
        let upload = match asked.body {
            BodyPlan::InHand(_) | BodyPlan::Gone => None,
            BodyPlan::Streams => {
                let reframer = Reframer::new(Decoder::new(asked.framing), asked.coding, head.len());
                Some(reframer.at_most(shared.config.max_body))
            }
        };
        let download = Reframer::nothing();
        let stall = StallTimer::new(shared);
        Self { client, scratch, shared, head, asked, record, sent, upload, download, stall }
    }

    fn serve(mut self) -> Progress {
        let (response, conn, active) = match self.obtain_response() {
            Ok(obtained) => obtained,
            Err(Unanswered::Left) => return Progress::Left,
            Err(Unanswered::Failed(failure)) => return Progress::Over(Fate::Answer(failure)),
        };
        Progress::Over(match self.relay_response(&response, conn, active) {
            Ok(()) => response.fate,
            Err(Aborted(failure)) => {
                self.record.failure = Some(failure);
                // A length or a last chunk that never comes tells the client enough; where the end of the connection
                // is the end of the body, or of a tunnel, a FIN would look like success.
                let is_open_ended = matches!(response.delivery, None | Some(Delivery::UntilClose));
                if is_open_ended { Fate::Reset } else { Fate::Close }
            }
        })
    }

    /// Asks the backends in their order until one answers; the first of them may have been asked already.
    fn obtain_response(&mut self) -> Result<(Response, Conn, ActiveResponse), Unanswered> {
        if self.asked.upgrade == Upgrade::Asked {
            // When it succeeds it is a long transfer at once: whether there is a place must be known before.
            self.stall.step_aside_for_good()?;
        }
        let backends = &self.shared.backends;
        let mut silent = VecDeque::new();
        let outcome = self.ask_all(&mut silent);
        for turn in silent {
            self.record.tried.extend(turn.address());
            turn.failed(backends, Failure::ConnectTimeout);
        }
        let (response, conn, turn) = outcome?;
        let active =
            turn.answered(backends, response.since, self.record.waits.first_byte).ok_or(Failure::Internal)?;
        self.record.backend = Some(active.address());
        Ok((response, conn, active))
    }

    /// All connects together take at most twice `--connect-timeout`: a first lap of short ones, so short that nobody
    /// is left out, and, for those that did not answer in time, a second with all the time there is. In `silent`
    /// remain those whose second was not needed.
    fn ask_all(&mut self, silent: &mut VecDeque<Turn>) -> Result<(Response, Conn, Turn), Unanswered> {
        let backends = &self.shared.backends;
        let whole = self.shared.config.connect_timeout;
        let short = match u32::try_from(backends.count()) {
            Ok(0 | 1) => whole,
            count => waits::FIRST_CONNECT.min(whole / count.unwrap_or(u32::MAX)),
        };
        let mut last = None;
        let sent = self.sent.take();
        let mut round =
            sent.as_ref().map_or_else(|| backends.round(), |sent| backends.round_behind(&sent.turn));
        let mut next = match sent {
            Some(Sent { turn, out }) => {
                turn.holds(Holds::Moment);
                Some((turn, Some(out)))
            }
            None => round.next().map(|turn| (turn, None)),
        };
        while let Some((turn, out)) = next {
            self.pay_for_another(last)?;
            match self.attempt(&turn, out, short) {
                Ok((response, conn)) => return Ok((response, conn, turn)),
                Err(Missed::Unsent(Failure::ConnectTimeout)) if short < whole => silent.push_back(turn),
                Err(missed) => last = Some(self.missed(missed, turn)?),
            }
            next = round.next().map(|turn| (turn, None));
        }
        while let Some(turn) = silent.pop_front() {
            self.pay_for_another(last)?;
            match self.attempt(&turn, None, whole) {
                Ok((response, conn)) => return Ok((response, conn, turn)),
                Err(missed) => last = Some(self.missed(missed, turn)?),
            }
        }
        Err(last.unwrap_or_else(|| backends.absence()).into())
    }

    /// Before another backend is asked: if the last one had the request and gave no answer, that is paid for.
    fn pay_for_another(&self, last: Option<Failure>) -> Result<(), Failure> {
        match last {
            Some(failure @ (Failure::BackendClosed | Failure::BackendReset))
                if !self.shared.backends.may_send_again() =>
            {
                Err(failure)
            }
            _ => Ok(()),
        }
    }

    /// A turn brought nothing. If another backend may be asked, that is the result; if not, it is the error.
    fn missed(&mut self, missed: Missed, turn: Turn) -> Result<Failure, Unanswered> {
        let (failure, may_go_on) = match missed {
            Missed::Later(out) => {
                turn.holds(if out.answer == Answer::Soon { Holds::Place } else { Holds::Moment });
                *self.sent = Some(Sent { turn, out });
                return Err(Unanswered::Left);
            }
            Missed::Stale(failure) => {
                self.record.tried.extend(turn.address());
                return Err(failure.into());
            }
            Missed::Unsent(failure) => (failure, true),
            Missed::Unanswered(failure) => (failure, self.asked.may_repeat()),
            Missed::Final(failure) => (failure, false),
        };
        self.record.tried.extend(turn.address());
        turn.failed(&self.shared.backends, failure);
        if may_go_on { Ok(failure) } else { Err(failure.into()) }
    }

    /// Whether a request that is out may be left with its backend: one that is whole, for which nobody was asked in vain.
    fn may_leave(&self) -> bool {
        self.shared.seats.may_lend()
            && !self.is_uploading()
            && self.asked.upgrade == Upgrade::NotAsked
            && self.record.tried.is_empty()
    }

    /// To whom the answer is left to a request that was sent just now: if the backend takes its time, or others wait for this
    /// worker and little has to be kept. `None`: this worker waits for it.
    fn leave_to(&self, turn: &Turn) -> Option<Answer> {
        let is_light = || self.head.len() + self.scratch.from_client.len() - self.asked.done_with() <= LIGHT;
        if !self.may_leave() {
            None
        } else if turn.is_slow() {
            Some(Answer::Late)
        } else {
            let is_left = self.shared.is_hurried() && is_light() && turn.may_be_left(&self.shared.backends);
            is_left.then_some(Answer::Soon)
        }
    }

    /// Asks one backend, unless that is done and the request is `out`: on a kept connection if there is one, on a fresh
    /// one otherwise or if that was stale. The connect may take `most`, and what is left for all of them.
    fn attempt(&mut self, turn: &Turn, out: Option<Out>, most: Duration) -> Result<(Response, Conn), Missed> {
        let out = match out {
            Some(out) => Some(out),
            None => turn.kept().map(|conn| self.send(conn, turn, Age::Kept)).transpose()?,
        };
        if let Some(out) = out {
            let age = out.age;
            match self.await_response(out, turn) {
                // The backend closed it while the request was on its way. That is nobody's failure.
                Err(Missed::Unanswered(_))
                    if age == Age::Kept
                        && self.asked.may_repeat()
                        && self.shared.backends.may_send_again() => {}
                Err(Missed::Unanswered(failure)) if age == Age::Kept => return Err(Missed::Stale(failure)),
                outcome => return outcome,
            }
        }
        let begun = Instant::now();
        let left = (2 * self.shared.config.connect_timeout).saturating_sub(self.record.waits.connect);
        let connected = self.connect(turn, begun + most.min(left));
        self.record.waits.connect += begun.elapsed();
        match connected {
            Ok(conn) => {
                let out = self.send(conn, turn, Age::Fresh)?;
                self.await_response(out, turn)
            }
            Err(failure) => {
                self.look_around()?;
                Err(Missed::Unsent(failure))
            }
        }
    }

    /// A fresh connection. Where descriptors have run out, the kept ones are what can be done without.
    fn connect(&self, turn: &Turn, deadline: Instant) -> Result<Conn, Failure> {
        let (client, stop) = (&self.client.conn, &self.shared.stop);
        let connect = || turn.connect(deadline, || stop.is_over() || client.is_gone());
        match connect() {
            Err(Failure::Descriptors) if self.shared.backends.let_go() => connect(),
            connected => connected,
        }
    }

    /// Sends the head, and passes the body through as it comes. From here on nothing can be taken back.
    fn relay_response(
        &mut self,
        response: &Response,
        conn: Conn,
        active: ActiveResponse,
    ) -> Result<(), Aborted> {
        match response.delivery {
            Some(_) => self.relay_body(response, conn, active),
            None => {
                self.stall.allow(self.shared.config.tunnel_timeout);
                let ends = Ends { client: &self.client.conn, backend: &conn };
                let (bytes, outcome) = tunnel::run(ends, self.scratch, &mut self.stall);
                self.record.bytes = bytes;
                outcome.map_err(Aborted)
            }
        }
    }

    fn relay_body(
        &mut self,
        response: &Response,
        mut conn: Conn,
        active: ActiveResponse,
    ) -> Result<(), Aborted> {
        let Scratch { from_client, from_backend, response: lead, .. } = &mut *self.scratch;
        let (client, stall, reframer) = (&mut self.client.conn, &mut self.stall, &mut self.download);
        stall.allow(self.shared.config.idle_timeout);
        let came_at_once = reframer.is_at_end();
        let relay = || {
            let mut down = Direction::new(&mut *reframer, from_backend, lead).map_err(response_failure)?;
            if let Some(upload) = self.upload.as_mut().filter(|reframer| !reframer.is_over())
                && let Ok(mut up) = Direction::new(upload, from_client, self.head)
            {
                relay_both(Ends { client, backend: &conn }, &mut up, &mut down, stall)?;
            }
            let spent = [Failure::ResponseStalled, Failure::ClientStalled];
            relay::one_way(&mut down, &mut conn, client, stall, response_failure, spent)?;
            // The backend is done before its client is: another request may have the connection already. Bytes
            // behind the response are nobody's, and then it is not used again.
            if response.backend_persists && down.is_read_exactly() {
                active.keep(conn, if came_at_once { response.since } else { Instant::now() });
            }
            relay::send_rest(&mut down, client, stall, response_failure, Failure::ClientStalled)
        };
        let outcome = relay();
        self.record.bytes = reframer.moved();
        outcome.map_err(Aborted)
    }
}

/// Relays a response that came before the request's body ended, while the body goes on. If the upload breaks, the
/// response still counts: the client may have stopped sending because of it.
fn relay_both(
    ends: Ends<'_>,
    up: &mut Direction<'_>,
    down: &mut Direction<'_>,
    stall: &mut StallTimer<'_>,
) -> Result<(), Failure> {
    while !down.is_done() && !up.is_done() {
        match relay::pump(ends, up, Some(down), stall.slice()) {
            Ok(Pumped::Silence(slice)) => stall.waited(slice, Failure::ResponseStalled)?,
            Ok(Pumped::Moved | Pumped::Answer) => stall.progressed()?,
            Err(Broke::Up(_)) => return Ok(()),
            Err(Broke::Down(broken)) => return Err(response_failure(broken)),
        }
    }
    Ok(())
}

fn response_failure(broken: Broken) -> Failure {
    match broken {
        Broken::Malformed(fault) => malformed(fault),
        Broken::Source(_) => Failure::ResponseIncomplete,
        Broken::Sink(_) => Failure::ClientGone,
    }
}

fn malformed(fault: Malformed) -> Failure {
    match fault {
        Malformed::Chunk => Failure::ResponseChunk,
        Malformed::Trailer => Failure::ResponseTrailer,
        Malformed::Incomplete | Malformed::TooLong => Failure::ResponseIncomplete,
    }
}
