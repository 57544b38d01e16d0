//! What became of one request, step by step and in words: `--explain`.
//!
//! The problem: an access line says where the time went, and not what happened in it. Whoever learns how a proxy works, or
//! asks why one request was slow, wants to see the steps in their order. They are noted while the request is served, and
//! written together when it ends, so that the lines of two requests never mix.
//!
//! Not here: the steps of the server itself (its log), and what a request asked for (`access`).

use crate::config::Address;
use crate::observe::failure::Failure;
use std::fmt;
use std::time::{Duration, Instant};

/// The steps of one request, with their times.
#[derive(Debug)]
pub struct Explanation {
    number: u64,
    /// The request line, as the access line quotes it.
    line: String,
    begun: Instant,
    steps: Vec<(Duration, Step)>,
}

/// One step, in the words of docs/tour.
#[derive(Clone, Debug)]
pub enum Step {
    /// The connection was new, and waited so long for a worker.
    Accepted {
        queued: Duration,
    },
    /// The connection was kept since an earlier request.
    Came,
    /// The whole head was read, and the body as far as it is collected.
    Read {
        worker: usize,
        head: usize,
        body: Body,
    },
    /// A backend was chosen.
    Turn {
        turn: u64,
        backend: Address,
        connection: Connection,
    },
    Connected {
        took: Duration,
    },
    /// TLS is agreed on, so long after the connect began.
    Secured {
        took: Duration,
    },
    /// The whole request is with the backend.
    Sent,
    /// The worker sends the other requests of its batch before it looks for the response.
    Ahead,
    Parked {
        awaits: Awaits,
    },
    Resumed {
        worker: usize,
    },
    /// The backend closed the connection, or another failure of one attempt.
    Missed {
        failure: Failure,
    },
    /// The head of the final response is there.
    Answered {
        status: u16,
        took: Duration,
    },
    /// It counts as none (`--retry-status`), and another backend was found.
    Dropped,
    Relayed {
        bytes: u64,
        pieces: u64,
    },
    Failed {
        failure: Failure,
    },
    Ended {
        connection: Ending,
    },
}

/// How a request's body comes.
#[derive(Clone, Copy, Debug)]
pub enum Body {
    Collected(usize),
    Streams,
}

/// Where the connection to a backend is from.
#[derive(Clone, Copy, Debug)]
pub enum Connection {
    Kept,
    Fresh,
}

/// What a parked request waits for.
#[derive(Clone, Copy, Debug)]
pub enum Awaits {
    Room,
    Connect,
    Handshake,
    Response,
    /// The rest of a body, or room for it, on either side.
    Bytes,
}

/// What becomes of the client's connection.
#[derive(Clone, Copy, Debug)]
pub enum Ending {
    Kept,
    Closed,
}

impl Explanation {
    /// Of the request `number`, of which the first byte was read at `begun`.
    pub fn begin(number: u64, line: &[u8], begun: Instant) -> Self {
        Self { number, line: line.escape_ascii().to_string(), begun, steps: Vec::new() }
    }

    /// Notes a step that happens now.
    pub fn note(&mut self, step: Step) {
        self.steps.push((self.begun.elapsed(), step));
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "request {} {}", self.number, self.line)?;
        self.steps.iter().try_for_each(|(at, step)| write!(f, "\n{:>10.2} ms  {step}", in_ms(*at)))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted { queued } => {
                write!(f, "a new connection, which waited {:.2} ms for a worker", in_ms(*queued))
            }
            Self::Came => f.write_str("a connection that was kept"),
            Self::Read { worker, head, body: Body::Collected(0) } => {
                write!(f, "worker {worker} has read a head of {head} bytes")
            }
            Self::Read { worker, head, body: Body::Collected(body) } => {
                write!(f, "worker {worker} has read a head of {head} bytes and a body of {body}")
            }
            Self::Read { worker, head, body: Body::Streams } => {
                write!(f, "worker {worker} has read a head of {head} bytes; the body streams")
            }
            Self::Turn { turn, backend, connection: Connection::Kept } => {
                write!(f, "turn {turn} of the round: {backend}, on a connection that was kept")
            }
            Self::Turn { turn, backend, connection: Connection::Fresh } => {
                write!(f, "turn {turn} of the round: {backend}, on a new connection")
            }
            Self::Connected { took } => write!(f, "connected after {:.2} ms", in_ms(*took)),
            Self::Secured { took } => {
                write!(f, "TLS agreed on, {:.2} ms after the connect began", in_ms(*took))
            }
            Self::Sent => f.write_str("the request is sent"),
            Self::Ahead => f.write_str("others of the batch are sent before the response is looked for"),
            Self::Parked { awaits } => write!(f, "parked, and no thread waits {awaits}"),
            Self::Resumed { worker } => write!(f, "worker {worker} goes on"),
            Self::Missed { failure } => write!(f, "no response: {failure}"),
            Self::Answered { status, took } => {
                write!(f, "status {status}, {:.2} ms after the request was sent", in_ms(*took))
            }
            Self::Dropped => f.write_str("dropped for its status (--retry-status): another backend is asked"),
            Self::Relayed { bytes, pieces: 1 } => write!(f, "relayed: {bytes} bytes of body in 1 piece"),
            Self::Relayed { bytes, pieces } => {
                write!(f, "relayed: {bytes} bytes of body in {pieces} pieces")
            }
            Self::Failed { failure } => write!(f, "failed: {failure}"),
            Self::Ended { connection: Ending::Kept } => f.write_str("the connection is kept"),
            Self::Ended { connection: Ending::Closed } => f.write_str("the connection is closed"),
        }
    }
}

impl fmt::Display for Awaits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Room => "for room at a backend",
            Self::Connect => "for the connect",
            Self::Handshake => "for the TLS handshake",
            Self::Response => "for the response",
            Self::Bytes => "for the bytes that a peer sends or takes",
        })
    }
}

fn in_ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
