//! One connection to the admin listener: a request, its answer, the end.
//!
//! The problem: a thread that serves thirty-two clients may block for none of them. So a connection is always in one state,
//! which says what it waits for and until when, and every step takes what is there and returns.
//!
//! ```text
//! Reading ─────────────▶ Writing ──▶ Ending ──▶ closed
//!    │                      ▲  │ ▲
//!    └──▶ AwaitsOutcome ────┘  ▼ │ an event, once a second
//!         of a reload       Listening
//! ```
//!
//! Not here: what is answered (`answers`).

use super::answers::{Answer, Answers, Then};
use super::guard::May;
use super::response::Response;
use crate::config::waits;
use crate::http1::head::{self, Scan};
use crate::net::conn::{Block, Conn, Received, Sent};
use crate::observe::failure::Failure;
use crate::server::Outcome;
use crossbeam_channel::{Receiver, TryRecvError};
use rustix::event::PollFlags;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::time::Instant;

/// The longest head of a request. A browser on `localhost` sends the cookies of everything else that runs there.
const MOST_HEAD: usize = 16 * 1024;

const STILL_RELOADING: &str = "the reload takes long, and goes on; the log says what comes of it";

/// See the module.
pub struct Connection {
    conn: Conn,
    may: May,
    state: State,
    /// `None` while nothing is to be sent on a stream.
    deadline: Option<Instant>,
}

enum State {
    /// What has come of the request's head.
    Reading(Vec<u8>),
    /// A reload is under way.
    AwaitsOutcome(Receiver<Outcome>),
    /// All streams send the same event, so its bytes are shared.
    Writing { bytes: Rc<[u8]>, sent: usize, then: Then },
    /// A stream between two events.
    Listening,
    /// All was said. A close over unread bytes would take the answer back (RFC 9112 §9.6).
    Ending,
}

/// Whether a connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stay {
    Open,
    Closed,
}

/// How far one step came.
enum Advance {
    Again,
    Waits,
    Over,
}

impl Connection {
    pub fn new(conn: Conn, may: May, now: Instant) -> Self {
        Self { conn, may, state: State::Reading(Vec::new()), deadline: Some(now + waits::ADMIN_HEAD) }
    }

    pub fn conn(&self) -> &Conn {
        &self.conn
    }

    /// What its socket is polled for. `None` while a reload is awaited: what its client sends meanwhile is not read, and that
    /// it is gone changes nothing, so poll(2) would report either over and over.
    pub fn wants(&self) -> Option<PollFlags> {
        match self.state {
            State::Reading(_) | State::Listening | State::Ending => Some(PollFlags::IN),
            State::Writing { .. } => Some(PollFlags::OUT),
            State::AwaitsOutcome(_) => None,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    /// Whether it is an event stream.
    pub fn is_stream(&self) -> bool {
        matches!(self.state, State::Listening | State::Writing { then: Then::Events, .. })
    }

    /// Whether no answer is under way: it has not asked yet, or it has the answer.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Reading(_) | State::Ending)
    }

    /// Whether it waits for what comes by no socket.
    pub fn awaits_outcome(&self) -> bool {
        matches!(self.state, State::AwaitsOutcome(_))
    }

    /// Goes as far as it can without waiting.
    pub fn go_on(&mut self, now: Instant, answers: &mut Answers<'_>) -> Stay {
        loop {
            match self.step(now, answers) {
                Ok(Advance::Again) => {}
                Ok(Advance::Waits) if !self.is_due(now) => return Stay::Open,
                // Nothing is said of a request that did not come in time: its client would not wait for it either.
                Ok(Advance::Waits | Advance::Over) | Err(_) => return Stay::Closed,
            }
        }
    }

    /// The latest event, for a stream that has sent the one before. A reader that is slower misses some.
    pub fn offer(&mut self, event: &Rc<[u8]>, now: Instant) -> Stay {
        if !matches!(self.state, State::Listening) {
            return Stay::Open;
        }
        self.begin(Rc::clone(event), Then::Events, now);
        match self.write(now) {
            Ok(Advance::Over) | Err(_) => Stay::Closed,
            Ok(Advance::Again | Advance::Waits) => Stay::Open,
        }
    }

    fn step(&mut self, now: Instant, answers: &mut Answers<'_>) -> io::Result<Advance> {
        match &mut self.state {
            State::Writing { .. } => self.write(now),
            State::AwaitsOutcome(outcome) => {
                let response = match outcome.try_recv() {
                    Ok(outcome) => Response::outcome(outcome),
                    Err(TryRecvError::Disconnected) => {
                        Response::text(503, "ronde stops, or has too many such orders")
                    }
                    Err(TryRecvError::Empty) if self.is_due(now) => Response::text(504, STILL_RELOADING),
                    // A client that is gone needs no answer; one that has closed its half does.
                    Err(TryRecvError::Empty) => return Ok(Advance::Waits),
                };
                self.begin(response.bytes().into(), Then::Close, now);
                Ok(Advance::Again)
            }
            // One request is all that a connection is for.
            State::Listening => Ok(match self.conn.receive(&mut [0; 1], Block::Never)? {
                Received::Nothing => Advance::Waits,
                Received::Bytes(_) | Received::End => Advance::Over,
            }),
            // One read a turn: a client that sends without end holds up no other, and its time runs out.
            State::Ending => Ok(match self.conn.receive(&mut [0; 16 * 1024], Block::Never)? {
                Received::Bytes(_) | Received::Nothing => Advance::Waits,
                Received::End => Advance::Over,
            }),
            State::Reading(head) => {
                let mut room = [0; 4096];
                match self.conn.receive(&mut room, Block::Never)? {
                    Received::Bytes(count) => head.extend_from_slice(&room[..count]),
                    Received::Nothing => return Ok(Advance::Waits),
                    Received::End => return Ok(Advance::Over),
                }
                let answer = match head::scan(head) {
                    Scan::Complete { start, end } if end <= MOST_HEAD => {
                        answers.answer(&head[start..end], self.may)
                    }
                    Scan::Hopeless(failure) => Answer::failed(failure),
                    _ if head.len() > MOST_HEAD => Answer::failed(Failure::HeadTooLarge),
                    Scan::Complete { .. } => return Ok(Advance::Over),
                    Scan::Partial => return Ok(Advance::Again),
                };
                match answer {
                    Answer::Now { bytes, then } => self.begin(bytes, then, now),
                    Answer::Later(outcome) => {
                        self.state = State::AwaitsOutcome(outcome);
                        self.deadline = Some(now + waits::ADMIN_RELOAD);
                    }
                }
                Ok(Advance::Again)
            }
        }
    }

    fn begin(&mut self, bytes: Rc<[u8]>, then: Then, now: Instant) {
        self.state = State::Writing { bytes, sent: 0, then };
        self.deadline = Some(now + waits::ADMIN_WRITE);
    }

    fn write(&mut self, now: Instant) -> io::Result<Advance> {
        let State::Writing { bytes, sent, then } = &mut self.state else { return Ok(Advance::Waits) };
        match self.conn.send(&[IoSlice::new(&bytes[*sent..])], Block::Never)? {
            Sent::Bytes(count) => *sent += count,
            Sent::Nothing => return Ok(Advance::Waits),
        }
        if *sent < bytes.len() {
            return Ok(Advance::Again);
        }
        match then {
            Then::Events => (self.state, self.deadline) = (State::Listening, None),
            Then::Close => {
                self.conn.finish()?;
                (self.state, self.deadline) = (State::Ending, Some(now + waits::LINGERING_CLOSE));
            }
        }
        Ok(Advance::Again)
    }
}
