//! Bytes on their way from one connection to another.
//!
//! The problem has two halves. One way at a time, as most responses go, it is a loop of a read and a write, and nothing is
//! faster. Both ways at once, as in a tunnel or an upload that is answered before it ended, two blocking copies deadlock
//! as soon as both peers stop reading because both are writing. So a [`Pipe`] never decides to wait: it moves what can be
//! moved, and its direction says what it is [stalled](Direction::stalled) on when it can move nothing.
//!
//! What lasts is the [`Direction`]: how far the body came. The bytes stand in a worker's buffer while they flow, and with
//! the parked exchange while they do not.
//!
//! Not here: which bytes (`http1::reframer`), and what a failure means to the client (`exchange`).

use crate::http1::chunked::Malformed;
use crate::http1::reframer::Reframer;
use crate::net::buffer::Buffer;
use crate::net::conn::{Block, Conn, Received, Sent};
use crate::net::splice::{Gone, Passed, Splice};
use crate::pool::park::Want;
use std::io;

/// What one read takes from the source of a sink that does not keep up: it is what a slow client keeps in memory.
const SMALL_READ: usize = 16 * 1024;

/// What is left of a body from which on splice(2) is cheaper than a read and a write: by a third of a body of 256 KB, by half
/// of a megabyte, and by nothing of 64 KB.
const LEAST_PASSED: u64 = 16 * 1024;

/// How many of these, taken whole, make a sink fast again.
const FAST_AGAIN: u32 = 128;

/// One direction: how far its body came, and whether its two ends are open.
#[derive(Debug)]
pub struct Direction {
    reframer: Reframer,
    source: End,
    sink: End,
    reads: Reads,
    /// Sends that took something.
    pieces: u64,
}

/// Whether a connection still takes part in a direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// How much is read at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reads {
    Whole,
    /// The sink had to be waited for, so reads stay small: what it does not take is what a parked client keeps. After
    /// `to_go` more small reads that it takes whole, reads are large again. Together they are 2 MB. That is more than the third of
    /// the largest send buffer (tcp_wmem, 4 MB) that the kernel lets drain before it calls a socket writable, so only a sink
    /// that reads takes so many in a row.
    Small {
        to_go: u32,
    },
}

/// What stopped a direction.
#[derive(Debug)]
pub enum Broken {
    /// The bytes are no body.
    Malformed(Malformed),
    /// The side they come from is gone.
    Source,
    /// The side they go to is gone.
    Sink,
}

/// Which side holds a pipe up when nothing moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stalled {
    OnSource,
    OnSink,
    /// It has come to its end.
    Never,
}

impl Direction {
    pub fn new(reframer: Reframer) -> Self {
        Self { reframer, source: End::Open, sink: End::Open, reads: Reads::Whole, pieces: 0 }
    }

    /// Bytes of memory that it keeps, beside itself and the bytes in hand.
    pub fn weight(&self) -> usize {
        self.reframer.weight()
    }

    /// Whether the body has ended and all of it went out.
    pub fn is_over(&self) -> bool {
        self.reframer.is_over()
    }

    /// Whether the whole body was read into `buffer`, and nothing behind it.
    pub fn has_read_exactly(&self, buffer: &Buffer) -> bool {
        self.reframer.is_at_end() && self.reframer.consumed() == buffer.len()
    }

    /// Whether nothing more will come from the source.
    pub fn has_read_all(&self) -> bool {
        self.source == End::Closed
    }

    pub fn stalled(&self) -> Stalled {
        if self.has_output() {
            Stalled::OnSink
        } else if self.reframer.is_hungry() && self.source == End::Open {
            Stalled::OnSource
        } else {
            Stalled::Never
        }
    }

    fn has_output(&self) -> bool {
        self.reframer.loaded() > 0
    }

    /// Whether the head that goes before the body is still to be sent, or a part of it.
    pub fn has_lead(&self) -> bool {
        self.reframer.has_lead()
    }

    /// Bytes of body that were read.
    pub fn moved(&self) -> u64 {
        self.reframer.moved()
    }

    /// In how many pieces it went out.
    pub fn pieces(&self) -> u64 {
        self.pieces
    }

    /// The sink had to be waited for, or may have to be for long: little is read from now on.
    pub fn use_small_reads(&mut self) {
        self.reads = Reads::Small { to_go: FAST_AGAIN };
    }

    /// Tells the sink, once, that the body was all: a half-close, carried over.
    pub fn finish(&mut self, sink: &Conn) {
        if self.is_over() && self.sink == End::Open {
            self.sink = End::Closed;
            // When this fails the sink is gone, and reading from it will say so.
            let _ = sink.finish();
        }
    }

    /// Whether reads are small, because the sink is slow or may be.
    pub fn reads_little(&self) -> bool {
        self.reads != Reads::Whole
    }

    /// Whether the half-close was sent to the sink.
    pub fn is_finished(&self) -> bool {
        self.sink == End::Closed
    }
}

/// A direction with its bytes.
pub struct Pipe<'a> {
    pub direction: &'a mut Direction,
    pub buffer: &'a mut Buffer,
    /// The head that goes out before the body, in the same write.
    pub lead: &'a [u8],
}

impl Pipe<'_> {
    /// Takes the bytes of the body that stand in the buffer already.
    ///
    /// # Errors
    /// [`Broken::Malformed`], when they are no body.
    pub fn load(&mut self) -> Result<(), Broken> {
        if self.direction.reframer.is_hungry() {
            self.direction.reframer.load(self.buffer.filled_mut()).map_err(Broken::Malformed)?;
            // What was only framing is done with already.
            self.settle(0);
        }
        Ok(())
    }

    /// Moves what can be moved by a read and a write, without waiting. Returns how many bytes moved, in or out. With
    /// zero nothing can move, and [`Direction::stalled`] says which side holds it up.
    ///
    /// # Errors
    /// See [`Broken`].
    pub fn pump(&mut self, source: &Conn, sink: &Conn) -> Result<usize, Broken> {
        let mut moved = 0;
        self.load()?;
        if self.direction.stalled() == Stalled::OnSource {
            moved += self.fill(|room| source.receive(room, Block::Never))?;
        }
        if self.direction.stalled() == Stalled::OnSink {
            moved += self.empty(|parts| sink.send(parts, Block::Never))?;
        }
        Ok(moved)
    }

    /// Takes what one receive brings. An end counts as a byte: something happened.
    pub fn fill(&mut self, receive: impl FnOnce(&mut [u8]) -> io::Result<Received>) -> Result<usize, Broken> {
        let room = self.buffer.one_read();
        if room.is_empty() {
            // The decoder leaves only what it cannot understand in part: a trailer section, and this one is too long.
            return Err(Broken::Malformed(Malformed::Trailer));
        }
        let most = match self.direction.reads {
            Reads::Whole => room.len(),
            Reads::Small { .. } => room.len().min(SMALL_READ),
        };
        match receive(&mut room[..most]).map_err(source_failure)? {
            Received::Bytes(count) => {
                self.buffer.grew(count);
                self.load()?;
                Ok(count)
            }
            Received::End => self.close_source(),
            Received::Nothing => Ok(0),
        }
    }

    /// The source has come to its end, which counts as a byte.
    ///
    /// # Errors
    /// [`Broken::Malformed`], when that is no end of a body.
    pub fn close_source(&mut self) -> Result<usize, Broken> {
        self.direction.source = End::Closed;
        self.direction.reframer.closed().map_err(Broken::Malformed)?;
        Ok(1)
    }

    /// Whether so much of the body is to go out verbatim that it is better not copied into the buffer.
    pub fn may_pass(&self) -> bool {
        let is_long = self.direction.reframer.verbatim() >= LEAST_PASSED;
        is_long && self.direction.reads == Reads::Whole && self.buffer.is_empty()
    }

    /// Passes bytes of the body from one connection to the other. What the sink does not take is in the buffer then.
    pub fn pass(&mut self, splice: &mut Splice, source: &Conn, sink: &Conn) -> Result<usize, Broken> {
        let room = self.buffer.one_read();
        let most = room.len().min(usize::try_from(self.direction.reframer.verbatim()).unwrap_or(usize::MAX));
        match splice.pass(source, sink, &mut room[..most]) {
            Ok(Passed::Bytes { sent, rest }) => {
                self.direction.reframer.passed(sent);
                self.direction.pieces += 1;
                self.buffer.grew(rest);
                self.load()?;
                Ok(sent + rest)
            }
            Ok(Passed::End) => self.close_source(),
            Ok(Passed::Nothing) => Ok(0),
            Err(Gone::Source) => Err(Broken::Source),
            Err(Gone::Sink) => Err(Broken::Sink),
        }
    }

    /// Gives what one send takes.
    pub fn empty(
        &mut self,
        send: impl FnOnce(&[io::IoSlice<'_>]) -> io::Result<Sent>,
    ) -> Result<usize, Broken> {
        let sent = send(&self.direction.reframer.parts(self.lead, self.buffer.filled()))
            .map_err(|_| Broken::Sink)?;
        match sent {
            Sent::Bytes(count) => {
                self.settle(count);
                self.direction.pieces += 1;
                self.direction.reads = match self.direction.reads {
                    Reads::Small { to_go: 1.. } if self.direction.has_output() => {
                        Reads::Small { to_go: FAST_AGAIN }
                    }
                    Reads::Small { to_go: to_go @ 1.. } => Reads::Small { to_go: to_go - 1 },
                    Reads::Small { to_go: 0 } | Reads::Whole => Reads::Whole,
                };
                Ok(count)
            }
            Sent::Nothing => Ok(0),
        }
    }

    /// Counts bytes as sent, and drops what is done with.
    pub fn settle(&mut self, count: usize) {
        self.buffer.consume(self.direction.reframer.sent(count));
    }
}

/// An end without TLS's own word for it may be anybody's: the body, or the tunnel, is not over.
fn source_failure(error: io::Error) -> Broken {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => Broken::Malformed(Malformed::Incomplete),
        _ => Broken::Source,
    }
}

/// What is wanted of the two connections when neither direction moves: `up` is from the client to the backend.
pub fn wants(up: Stalled, down: Stalled) -> (Want, Want) {
    let want = |reads, writes| match (reads, writes) {
        (true, true) => Want::ReadOrWrite,
        (true, false) => Want::Read,
        (false, true) => Want::Write,
        (false, false) => Want::Break,
    };
    let client = want(up == Stalled::OnSource, down == Stalled::OnSink);
    let backend = want(down == Stalled::OnSource, up == Stalled::OnSink);
    (client, backend)
}
