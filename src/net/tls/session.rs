//! The TLS of one connection.
//!
//! The problem: callers of a connection believe three things, and a record layer breaks each of them. That an event of the
//! socket means something to read: ciphertext that is no whole record is nothing, and plaintext in hand makes no event.
//! That what was sent has left for the kernel: a record is encrypted as a whole, and the socket takes a part of it. That an
//! end is an end: anybody on the way can forge a FIN, so TLS has an end of its own (close_notify, RFC 8446 §6.1).
//!
//! So a receive takes apart all whole records that came, and what does not fit stands in `plaintext`. A send counts bytes
//! as taken when their records have left, and not before: until then the caller keeps them, with its deadline, as if the
//! socket had refused them, and comes again with the same bytes in front. A response that was sent has left, and nothing
//! has to be flushed for it when the conversation goes on to the next request. What can be in hand beside is small: the end of
//! a handshake, or close_notify.
//!
//! rustls without its own buffers: what stands here is all there is, an idle connection keeps none, and the bytes are
//! counted.
//!
//! Not here: certificates, and the socket's calls.

use super::certificates::Certificates;
use super::handshake::{Handshake, HandshakeError};
use super::queue::Queue;
use crate::net::socket::{self, Block, Received, Sent};
use rustix::buffer::spare_capacity;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::take;
use std::os::fd::OwnedFd;

/// The most that a record is on the wire: 16 KB, and what TLS 1.2 may add to them.
const RECORD: usize = 5 + 16 * 1024 + 2048;

/// Plaintext that is encrypted at once: two records. They are what a client that stops reading keeps in memory beside its
/// response. One at a time would be a call more for every 16 KB.
const MOST_ENCRYPTED: usize = 32 * 1024;

/// What the records of as much plaintext may add to it: 29 bytes each at most (TLS 1.2, AES-GCM), and what rustls has to say
/// itself.
const OVERHEAD: usize = 512;

/// Ciphertext that is kept until it is a whole message. Only a handshake message takes more than a record; those of honest
/// clients are some hundred bytes, and client certificates are not asked for.
const MOST_INCOMING: usize = 64 * 1024;

/// Plaintext that is read ahead, to learn how the peer has ended.
const MOST_READ_AHEAD: usize = 64 * 1024;

/// See the module. A connection is with one worker at a time, so nothing borrows it twice.
pub struct Session(RefCell<State>);

struct State {
    machine: UnbufferedServerConnection,
    /// Ciphertext of a record, or of a handshake message, that is not whole.
    incoming: Vec<u8>,
    plaintext: Queue,
    outgoing: Queue,
    /// Plaintext in `outgoing` that its caller does not know as sent.
    owed: usize,
    /// Bytes that have left since it was told.
    left: usize,
    source: Source,
    sink: Sink,
}

/// Whether the peer sends more, as far as that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    Open,
    /// It said that it does not.
    Closed,
    /// It does not, and did not say so.
    Cut,
}

/// Whether anything more is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sink {
    Open,
    /// The last word is in `outgoing`; a FIN comes behind it.
    Closing,
    Closed,
}

impl Session {
    /// Of a client whose first bytes were read already.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn accept(certificates: &Certificates, first: &[u8]) -> Result<Self, HandshakeError> {
        Ok(Self(RefCell::new(State {
            machine: UnbufferedServerConnection::new(certificates.server_config())?,
            incoming: first.to_vec(),
            plaintext: Queue::default(),
            outgoing: Queue::default(),
            owed: 0,
            left: 0,
            source: Source::Open,
            sink: Sink::Open,
        })))
    }

    /// Goes on with the handshake as far as what came allows.
    ///
    /// # Errors
    /// Why there will be no TLS.
    pub fn shake_hands(&self, socket: &OwnedFd, mut block: Block) -> Result<Handshake, HandshakeError> {
        let state = &mut *self.0.borrow_mut();
        loop {
            let advanced = state.advance();
            // An alert tells the client more than a closed connection.
            let flushed = state.flush(socket, Block::Never);
            advanced?;
            flushed?;
            if !state.machine.is_handshaking() {
                return Ok(Handshake::Done);
            }
            match state.read(socket, block)? {
                Received::Bytes(_) => {}
                Received::Nothing => return Ok(Handshake::Waits),
                Received::End => return Err(HandshakeError::Left),
            }
            block = Block::Never;
        }
    }

    pub fn receive(&self, socket: &OwnedFd, room: &mut [u8], block: Block) -> io::Result<Received> {
        let state = &mut *self.0.borrow_mut();
        Ok(match state.fill(socket, block)? {
            Received::Bytes(_) => Received::Bytes(state.plaintext.take_into(room)),
            other => other,
        })
    }

    pub fn peek(&self, socket: &OwnedFd) -> io::Result<Received> {
        self.0.borrow_mut().fill(socket, Block::Never)
    }

    pub fn send(&self, socket: &OwnedFd, parts: &[IoSlice<'_>], block: Block) -> io::Result<Sent> {
        let state = &mut *self.0.borrow_mut();
        if state.owed == 0 {
            let piece = first_of(parts);
            state.encrypt(&piece)?;
            (state.owed, state.left) = (piece.len(), 0);
        }
        state.flush(socket, block)?;
        let left = take(&mut state.left);
        // As with a plain connection, each byte that goes out is progress. The last one counts when all have left.
        let taken = match state.outgoing.is_empty() {
            true => state.owed,
            false => left.min(state.owed.saturating_sub(1)),
        };
        state.owed -= taken;
        Ok(if taken > 0 { Sent::Bytes(taken) } else { Sent::Nothing })
    }

    pub fn flush(&self, socket: &OwnedFd) -> io::Result<()> {
        self.0.borrow_mut().flush(socket, Block::Never)
    }

    /// Says that nothing more will be sent, behind what is in hand. The FIN follows when all has left.
    pub fn finish(&self, socket: &OwnedFd) -> io::Result<()> {
        let state = &mut *self.0.borrow_mut();
        if state.sink == Sink::Open {
            state.say_end()?;
            state.sink = Sink::Closing;
        }
        state.flush(socket, Block::Never)
    }

    pub fn has_unsent(&self) -> bool {
        !self.0.borrow().outgoing.is_empty()
    }

    pub fn has_unread(&self) -> bool {
        let state = self.0.borrow();
        !state.plaintext.is_empty() || state.source != Source::Open
    }

    /// Whether the FIN that has come is behind the peer's last word. What it said before stays in hand.
    pub fn is_half_closed(&self, socket: &OwnedFd) -> bool {
        let state = &mut *self.0.borrow_mut();
        while state.source == Source::Open && state.plaintext.weight() < MOST_READ_AHEAD {
            match state.read_and_advance(socket, Block::Never) {
                Ok(Received::Bytes(_)) => {}
                Ok(Received::Nothing) => break,
                Ok(Received::End) | Err(_) => state.source = Source::Cut,
            }
        }
        state.source != Source::Cut
    }

    /// Bytes of memory, itself included, and those that rustls keeps for keys as far as that is known.
    pub fn weight(&self) -> usize {
        /// Two cipher states of AES-GCM and a hash, on the heap.
        const KEYS: usize = 2048;
        let state = self.0.borrow();
        size_of::<Self>()
            + KEYS
            + state.incoming.capacity()
            + state.plaintext.weight()
            + state.outgoing.weight()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of keys belongs into a log.
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl State {
    /// Has plaintext in hand, or says why not.
    fn fill(&mut self, socket: &OwnedFd, mut block: Block) -> io::Result<Received> {
        loop {
            if !self.plaintext.is_empty() {
                return Ok(Received::Bytes(self.plaintext.rest().len()));
            }
            match self.source {
                Source::Open => {}
                Source::Closed => return Ok(Received::End),
                Source::Cut => return Err(ErrorKind::UnexpectedEof.into()),
            }
            match self.read_and_advance(socket, block)? {
                Received::Bytes(_) => {}
                Received::Nothing => {
                    // The connection is parked now, mostly.
                    self.incoming.shrink_to_fit();
                    return Ok(Received::Nothing);
                }
                Received::End => self.source = Source::Cut,
            }
            block = Block::Never;
        }
    }

    fn read_and_advance(&mut self, socket: &OwnedFd, block: Block) -> io::Result<Received> {
        let received = self.read(socket, block)?;
        if let Received::Bytes(_) = received {
            let advanced = self.advance();
            // What rustls answers: an alert, new keys.
            self.flush(socket, Block::Never)?;
            advanced.map_err(HandshakeError::from)?;
        }
        Ok(received)
    }

    /// One read of ciphertext.
    fn read(&mut self, socket: &OwnedFd, block: Block) -> io::Result<Received> {
        if self.incoming.len() > MOST_INCOMING {
            return Err(ErrorKind::InvalidData.into());
        }
        self.incoming.reserve_exact(RECORD);
        socket::receive(socket, spare_capacity(&mut self.incoming), block)
    }

    /// Has rustls take apart all that came, and keeps what it has to say.
    fn advance(&mut self) -> Result<(), rustls::Error> {
        let advanced = loop {
            let UnbufferedStatus { mut discard, state, .. } =
                self.machine.process_tls_records(&mut self.incoming);
            let is_done = match state {
                Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                    while let Some(record) = traffic.next_record() {
                        let record = record?;
                        discard += record.discard;
                        self.plaintext.push(record.payload);
                    }
                    false
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    encode(&mut self.outgoing, |room| message.encode(room))?;
                    false
                }
                // It stands in `outgoing`, in front of everything later.
                Ok(ConnectionState::TransmitTlsData(message)) => {
                    message.done();
                    false
                }
                Ok(ConnectionState::PeerClosed) => {
                    self.source = Source::Closed;
                    false
                }
                Ok(_) => true,
                Err(error) => break Err(error),
            };
            self.incoming.drain(..discard);
            if is_done {
                break Ok(());
            }
        };
        if advanced.is_err() {
            self.give_up()?;
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        advanced
    }

    /// After an error what rustls has to say of it goes out, which is mostly an alert, and nothing else comes or goes. Asked
    /// for more, rustls would meet the same error again.
    fn give_up(&mut self) -> Result<(), rustls::Error> {
        (self.source, self.sink) = (Source::Cut, Sink::Closed);
        while self.machine.wants_write()
            && let Ok(ConnectionState::EncodeTlsData(mut message)) =
                self.machine.process_tls_records(&mut self.incoming).state
        {
            encode(&mut self.outgoing, |room| message.encode(room))?;
        }
        self.incoming = Vec::new();
        Ok(())
    }

    /// Adds the records of `piece` to what goes out.
    fn encrypt(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.sink != Sink::Open {
            return Err(ErrorKind::BrokenPipe.into());
        }
        match self.machine.process_tls_records(&mut self.incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let encrypted =
                    self.outgoing.push_with(piece.len() + OVERHEAD, |room| traffic.encrypt(piece, room));
                encrypted.map_err(refused)
            }
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    /// Adds close_notify to what goes out. Where there is no TLS yet, or none any more, there is nothing to be said.
    fn say_end(&mut self) -> io::Result<()> {
        match self.machine.process_tls_records(&mut self.incoming).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                let said = self.outgoing.push_with(OVERHEAD, |room| traffic.queue_close_notify(room));
                said.map_err(refused)
            }
            _ => Ok(()),
        }
    }

    /// Sends what is in hand, as far as one call does.
    fn flush(&mut self, socket: &OwnedFd, block: Block) -> io::Result<()> {
        if !self.outgoing.is_empty()
            && let Sent::Bytes(sent) = socket::send(socket, &[IoSlice::new(self.outgoing.rest())], block)?
        {
            self.outgoing.consume(sent);
            self.left += sent;
        }
        if self.outgoing.is_empty() && self.sink == Sink::Closing {
            self.sink = Sink::Closed;
            socket::finish(socket)?;
        }
        Ok(())
    }
}

fn encode(
    outgoing: &mut Queue,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, EncodeError>,
) -> Result<(), rustls::Error> {
    let unusable = |error: EncodeError| rustls::Error::General(error.to_string());
    match outgoing.push_with(OVERHEAD, &mut write) {
        Err(EncodeError::InsufficientSize(error)) => {
            outgoing.push_with(error.required_size, write).map_err(unusable)
        }
        written => written.map_err(unusable),
    }
}

/// The keys are used up, which is the end of the connection. Room there is enough.
fn refused(error: EncryptError) -> io::Error {
    io::Error::new(ErrorKind::BrokenPipe, error)
}

/// What is encrypted at once: a part as it is if it is long, or the parts together, since a record for each would cost
/// more than the copy.
fn first_of<'a>(parts: &'a [IoSlice<'_>]) -> Cow<'a, [u8]> {
    match parts {
        [] => Cow::default(),
        [first, rest @ ..] if rest.is_empty() || first.len() >= MOST_ENCRYPTED => {
            Cow::Borrowed(&first[..first.len().min(MOST_ENCRYPTED)])
        }
        parts => {
            let mut piece =
                Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>().min(MOST_ENCRYPTED));
            for part in parts {
                piece.extend_from_slice(&part[..part.len().min(MOST_ENCRYPTED - piece.len())]);
            }
            Cow::Owned(piece)
        }
    }
}
