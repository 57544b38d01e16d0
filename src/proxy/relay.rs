//! Bytes on their way from one connection to another.
//!
//! The problem has two halves. One way at a time, as most responses go, it is a loop of a blocking read and a
//! blocking write, and nothing is faster. Both ways at once, as in a tunnel or an upload that is answered before it
//! ended, two such loops deadlock as soon as both sides stop reading because both are writing. So there are two
//! functions over the same [`Direction`]: [`one_way`] blocks, [`pump`] polls both sockets and never blocks on either.
//!
//! Whoever waits long steps aside: [`StallTimer`] counts the silence, gives up the seat when it has lasted a moment,
//! and ends it at its limit.
//!
//! Not here: which bytes (`reframer`), and what a failure means to the client (`exchange`).

use crate::config::waits;
use crate::http1::chunked::Malformed;
use crate::http1::reframer::{Parts, Reframer};
use crate::net::buffer::Buffer;
use crate::net::conn::{Arrived, Conn, Departed};
use crate::observe::failure::Failure;
use crate::pool::seats::Transfer;
use crate::proxy::in_flight::Work;
use crate::proxy::shared::Shared;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::time::{Duration, Instant};

/// Moves that a small message needs, however it comes: nobody looks at the clock for it.
const FEW: u32 = 4;

/// One direction: where the bytes stand and what becomes of them.
pub struct Direction<'a> {
    reframer: &'a mut Reframer,
    buffer: &'a mut Buffer,
    /// The head that goes out before the body, in the same write.
    lead: &'a [u8],
    source: End,
    sink: End,
}

/// Whether a connection still takes part in a direction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Closed,
}

/// What stopped a way.
#[derive(Debug)]
pub enum Broken {
    /// The bytes are no body.
    Malformed(Malformed),
    /// The side they come from is gone.
    Source(io::Error),
    /// The side they go to is gone.
    Sink(io::Error),
}

impl<'a> Direction<'a> {
    /// Begins a way, or goes on with one. `buffer` may hold the beginning of the body already.
    ///
    /// # Errors
    /// [`Broken::Malformed`], when that is no body.
    pub fn new(reframer: &'a mut Reframer, buffer: &'a mut Buffer, lead: &'a [u8]) -> Result<Self, Broken> {
        let mut way = Self { reframer, buffer, lead, source: End::Open, sink: End::Open };
        if way.reframer.is_hungry() {
            way.load()?;
        }
        Ok(way)
    }

    /// Whether the body has ended and all of it went out.
    pub fn is_done(&self) -> bool {
        self.reframer.is_over()
    }

    /// Whether the whole body was read, and nothing behind it.
    pub fn is_read_exactly(&self) -> bool {
        self.reframer.is_at_end() && self.reframer.consumed() == self.buffer.len()
    }

    /// Bytes of body that were read.
    pub fn moved(&self) -> u64 {
        self.reframer.moved()
    }

    /// Whether it is the source that is waited for.
    pub fn wants_input(&self) -> bool {
        self.reframer.is_hungry() && !self.has_output() && self.source == End::Open
    }

    fn has_output(&self) -> bool {
        self.reframer.loaded() > 0
    }

    /// Tells the sink, once, that the body was all: a half-close, carried over.
    pub fn finish(&mut self, sink: &Conn) {
        if self.sink == End::Open {
            self.sink = End::Closed;
            // When this fails the sink is gone, and whoever reads from it will notice.
            let _ = sink.finish();
        }
    }

    /// Takes what one receive brought.
    fn fill(&mut self, receive: impl FnOnce(&mut [u8]) -> io::Result<Arrived>) -> Result<Arrived, Broken> {
        let room = self.buffer.one_read();
        if room.is_empty() {
            // The decoder leaves only what it cannot understand in part: a trailer section, and this one is too long.
            return Err(Broken::Malformed(Malformed::Trailer));
        }
        let arrived = receive(room).map_err(Broken::Source)?;
        match arrived {
            Arrived::Bytes(count) => {
                self.buffer.grew(count);
                self.load()?;
            }
            Arrived::End => {
                self.source = End::Closed;
                self.reframer.closed().map_err(Broken::Malformed)?;
            }
            Arrived::Nothing => {}
        }
        Ok(arrived)
    }

    /// Gives what one send takes.
    fn empty(&mut self, send: impl FnOnce(&Parts<'_>) -> io::Result<Departed>) -> Result<Departed, Broken> {
        let departed = send(&self.reframer.parts(self.lead, self.buffer.filled())).map_err(Broken::Sink)?;
        if let Departed::Bytes(count) = departed {
            self.settle(count);
        }
        Ok(departed)
    }

    fn load(&mut self) -> Result<(), Broken> {
        self.reframer.load(self.buffer.filled_mut()).map_err(Broken::Malformed)?;
        // What was only framing is done with already.
        self.settle(0);
        Ok(())
    }

    /// Counts bytes as sent, and drops what is done with.
    fn settle(&mut self, count: usize) {
        if let Some(consumed) = self.reframer.sent(count) {
            self.buffer.consume(consumed);
        }
    }
}

/// How long a silence may last, and what a thread does about it meanwhile.
pub struct StallTimer<'a> {
    shared: &'a Shared,
    limit: Duration,
    silence: Duration,
    /// How often bytes have moved, and since when it has been often.
    moves: u32,
    since: Option<Instant>,
    transfer: Option<Transfer<'a, Work>>,
}

impl<'a> StallTimer<'a> {
    pub fn new(shared: &'a Shared) -> Self {
        Self { shared, limit: Duration::MAX, silence: Duration::ZERO, moves: 0, since: None, transfer: None }
    }

    /// From now on, a silence may last so long.
    pub fn allow(&mut self, limit: Duration) {
        self.limit = limit;
        self.silence = Duration::ZERO;
        self.moves = 0;
        self.since = None;
    }

    /// Gives up the seat, for the rest of the exchange.
    ///
    /// # Errors
    /// [`Failure::TransferLimit`]: too many have done so.
    pub fn step_aside(&mut self) -> Result<(), Failure> {
        if self.transfer.is_none() {
            self.transfer = Some(self.shared.seats.transfer().ok_or(Failure::TransferLimit)?);
        }
        Ok(())
    }

    /// The same for a transfer that may last for hours: it may not keep a seat instead.
    ///
    /// # Errors
    /// [`Failure::TransferLimit`].
    pub fn step_aside_for_good(&mut self) -> Result<(), Failure> {
        self.transfer = Some(self.shared.seats.step_aside().ok_or(Failure::TransferLimit)?);
        Ok(())
    }

    /// Whether the seat was given up.
    pub fn is_aside(&self) -> bool {
        self.transfer.is_some()
    }

    /// Whether others wait for this worker.
    fn is_hurried(&self) -> bool {
        !self.is_aside() && self.shared.seats.is_wanted()
    }

    /// What one call may wait.
    pub fn slice(&self) -> Duration {
        match self.is_hurried() {
            // Five hundred downloads that begin at once would each wait a little in each of eight workers.
            true if self.shared.seats.is_full() => Duration::ZERO,
            true => self.at_most(waits::TRANSFER_WHEN_BUSY),
            false => self.slice_at_ease(),
        }
    }

    /// The same for a send. Small responses always fit into a socket at once, so what does not is not waited for with a
    /// seat while others wait for it.
    fn slice_to_send(&self) -> Duration {
        if self.is_hurried() { Duration::ZERO } else { self.slice_at_ease() }
    }

    fn slice_at_ease(&self) -> Duration {
        self.at_most(if self.is_aside() { waits::ONE_CALL } else { waits::NEXT_REQUEST })
    }

    fn at_most(&self, slice: Duration) -> Duration {
        slice.min(self.limit.saturating_sub(self.silence)).max(Duration::from_millis(1))
    }

    /// Bytes moved. Whoever never pauses, in whichever direction and however little at a time, is long too: after a
    /// glance it steps aside as soon as others wait, and at the end of the shutdown it is cut.
    ///
    /// # Errors
    /// [`Failure::Cut`]; [`Failure::TransferLimit`].
    pub fn progressed(&mut self) -> Result<(), Failure> {
        self.silence = Duration::ZERO;
        if self.shared.stop.is_over() {
            return Err(Failure::Cut);
        }
        self.moves += 1;
        if self.moves > FEW && self.is_hurried() {
            let since = *self.since.get_or_insert_with(Instant::now);
            if self.shared.seats.is_full() || since.elapsed() >= waits::NEXT_REQUEST {
                self.step_aside()?;
            }
        }
        Ok(())
    }

    /// A slice of silence passed.
    ///
    /// # Errors
    /// `spent` at the limit; [`Failure::Cut`] at the end of the shutdown; [`Failure::TransferLimit`].
    pub fn waited(&mut self, slice: Duration, spent: Failure) -> Result<(), Failure> {
        self.silence += slice;
        if self.shared.stop.is_over() {
            return Err(Failure::Cut);
        }
        if self.silence >= self.limit {
            return Err(spent);
        }
        self.step_aside()
    }
}

/// Relays one way until the end of the body was read: a read, a write, a read, a write. The last piece is not sent
/// yet: see [`send_rest`].
///
/// # Errors
/// What `broken` makes of a failure, or what ended the wait: `starved` on the source's side, `stalled` on the sink's.
pub fn one_way(
    way: &mut Direction<'_>,
    source: &mut Conn,
    sink: &mut Conn,
    stall: &mut StallTimer<'_>,
    broken: impl Fn(Broken) -> Failure,
    [starved, stalled]: [Failure; 2],
) -> Result<(), Failure> {
    while !way.reframer.is_at_end() {
        send_rest(way, sink, stall, &broken, stalled)?;
        let slice = stall.slice();
        match way.fill(|room| source.receive(room, slice)).map_err(&broken)? {
            Arrived::Bytes(_) | Arrived::End => stall.progressed()?,
            Arrived::Nothing if sink.is_gone() => {
                return Err(broken(Broken::Sink(io::ErrorKind::ConnectionReset.into())));
            }
            Arrived::Nothing => stall.waited(slice, starved)?,
        }
    }
    Ok(())
}

/// Sends what was read.
///
/// # Errors
/// As [`one_way`].
pub fn send_rest(
    way: &mut Direction<'_>,
    sink: &mut Conn,
    stall: &mut StallTimer<'_>,
    broken: impl Fn(Broken) -> Failure,
    stalled: Failure,
) -> Result<(), Failure> {
    while way.has_output() {
        let slice = stall.slice_to_send();
        match way.empty(|parts| sink.send(parts, slice)).map_err(&broken)? {
            Departed::Bytes(_) => {
                stall.progressed()?;
                // A send takes less than it was given only when the sink is full: this was a wait, or begins one.
                if way.has_output() {
                    stall.step_aside()?;
                }
            }
            Departed::Nothing => stall.waited(slice, stalled)?,
        }
    }
    Ok(())
}

/// The two sides of an exchange.
#[derive(Clone, Copy)]
pub struct Ends<'a> {
    pub client: &'a Conn,
    pub backend: &'a Conn,
}

/// What one turn of [`pump`] came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pumped {
    /// Bytes moved.
    Moved,
    /// The backend has something to say, and no way down takes it.
    Answer,
    /// Nothing happened for so long.
    Silence(Duration),
}

/// Which way broke, and how.
#[derive(Debug)]
pub enum Broke {
    Up(Broken),
    Down(Broken),
}

/// Waits until either side can do something, for one slice at most, and does it, without blocking on either.
/// Up is from the client to the backend; without a way down, the backend's first byte is [`Pumped::Answer`].
///
/// # Errors
/// See [`Broken`].
pub fn pump(
    ends: Ends<'_>,
    up: &mut Direction<'_>,
    mut down: Option<&mut Direction<'_>>,
    slice: Duration,
) -> Result<Pumped, Broke> {
    let when = |condition, flags| if condition { flags } else { PollFlags::empty() };
    let listens = down.as_ref().is_none_or(|down| down.wants_input());
    let answers = down.as_ref().is_some_and(|down| down.has_output());
    let client_for = when(up.wants_input(), PollFlags::IN) | when(answers, PollFlags::OUT);
    let backend_for = when(listens, PollFlags::IN) | when(up.has_output(), PollFlags::OUT);
    // Errors and hang-ups are reported unasked, again and again. The client's are always wanted, to stop working
    // for one that is gone; but once we have said our last to it, its own last, which may stand behind bytes that
    // were not read yet, is a hang-up too.
    let is_told_all = down.as_ref().is_some_and(|down| down.sink == End::Closed);
    let first = usize::from(is_told_all && client_for.is_empty());
    let last = 1 + usize::from(!backend_for.is_empty());
    let mut fds = [PollFd::new(ends.client, client_for), PollFd::new(ends.backend, backend_for)];
    let timeout = Timespec::try_from(slice).ok();
    match poll(&mut fds[first.min(last)..last], timeout.as_ref()) {
        Ok(0) => return Ok(Pumped::Silence(slice)),
        Ok(_) => {}
        // A signal: as if something had moved.
        Err(rustix::io::Errno::INTR) => return Ok(Pumped::Moved),
        Err(error) => return Err(Broke::Up(Broken::Source(error.into()))),
    }
    let (client, backend) = (fds[0].revents(), fds[1].revents());
    let gone = PollFlags::ERR | PollFlags::HUP;
    if client.intersects(gone) && !client.intersects(client_for) {
        return Err(Broke::Up(Broken::Source(io::ErrorKind::ConnectionReset.into())));
    }
    if let Some(down) = &mut down {
        if down.wants_input() && backend.intersects(PollFlags::IN | gone) {
            down.fill(|room| ends.backend.receive_now(room)).map_err(Broke::Down)?;
        }
        // What has just come is tried at once: a client nearly always has room.
        if down.has_output() && (client.contains(PollFlags::OUT) || !answers) {
            down.empty(|parts| ends.client.send_now(parts)).map_err(Broke::Down)?;
        }
    }
    let had_output = up.has_output();
    if up.wants_input() && client.intersects(PollFlags::IN | gone) {
        up.fill(|room| ends.client.receive_now(room)).map_err(Broke::Up)?;
    }
    if up.has_output() && (backend.contains(PollFlags::OUT) || !had_output) {
        up.empty(|parts| ends.backend.send_now(parts)).map_err(Broke::Up)?;
    }
    match down.is_none() && backend.intersects(PollFlags::IN | gone) {
        true => Ok(Pumped::Answer),
        false => Ok(Pumped::Moved),
    }
}

/// [`pump`] with stall, which ends when both sides have been silent for longer than it allows.
///
/// # Errors
/// What `snapped` makes of a broken way, or what ended the wait.
pub fn pump_with_timer(
    ends: Ends<'_>,
    up: &mut Direction<'_>,
    down: Option<&mut Direction<'_>>,
    stall: &mut StallTimer<'_>,
    spent: Failure,
    snapped: impl Fn(Broke) -> Failure,
) -> Result<Pumped, Failure> {
    let stirred = pump(ends, up, down, stall.slice()).map_err(snapped)?;
    match stirred {
        Pumped::Silence(slice) => stall.waited(slice, spent)?,
        Pumped::Moved | Pumped::Answer => stall.progressed()?,
    }
    Ok(stirred)
}
