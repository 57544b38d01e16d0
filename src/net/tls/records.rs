//! What stands between rustls, the socket and the caller of one connection.
//!
//! The problem: rustls understands records and keeps none of them. Each call to it ends in a state that asks for something: room for
//! what it has to say, plaintext to be taken, more ciphertext. So here are three queues that are mostly empty, and what moves
//! the bytes between them and the socket.
//!
//! Not here: the calls to rustls (`machine`), and what a caller may believe of the queues (`session`).

use super::handshake::HandshakeError;
use super::machine::{Advance, Machine};
use super::queue::Queue;
use crate::net::socket::{self, Block, Left, Received, Sent};
use rustix::buffer::spare_capacity;
use std::io::{self, ErrorKind, IoSlice};
use std::mem::take;
use std::os::fd::OwnedFd;

/// The most that a record is on the wire: 16 KB, and what TLS 1.2 may add to them.
const RECORD: usize = 5 + 16 * 1024 + 2048;

/// Reads in a row that bring no plaintext. A peer that sends session tickets, or bytes of a record, as fast as they are read
/// must not keep a worker for itself.
const MOST_SILENT_READS: usize = 64;

/// Ciphertext that is kept until it is a whole message. Only a handshake message takes more than a record: those of honest
/// clients are some hundred bytes, and client certificates are not asked for; a backend's chain of certificates is a few
/// kilobytes.
const MOST_INCOMING: usize = 64 * 1024;

/// See the module.
pub(super) struct Records {
    machine: Box<dyn Machine + Send>,
    /// Ciphertext of a record, or of a handshake message, that is not whole.
    incoming: Vec<u8>,
    pub(super) plaintext: Queue,
    outgoing: Queue,
    /// Plaintext in `outgoing` that its caller does not know as sent.
    unreported: usize,
    /// Bytes of `outgoing` that the socket has taken since the last report.
    taken: usize,
    /// What the last read left in the socket.
    pub(super) left: Left,
    pub(super) source: Source,
    sink: Sink,
}

/// Whether the peer sends more, as far as that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
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

impl Records {
    /// Of a connection of which these bytes were read already.
    pub(super) fn of(machine: Box<dyn Machine + Send>, first: &[u8]) -> Self {
        Self {
            machine,
            incoming: first.to_vec(),
            plaintext: Queue::default(),
            outgoing: Queue::default(),
            unreported: 0,
            taken: 0,
            left: Left::Unknown,
            source: Source::Open,
            sink: Sink::Open,
        }
    }

    /// Whether the handshake took up a session of an earlier connection.
    pub(super) fn is_resumed(&self) -> bool {
        self.machine.is_resumed()
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.machine.is_handshaking()
    }

    pub(super) fn has_outgoing(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// Whether the caller knows of all that it has sent.
    pub(super) fn owes_nothing(&self) -> bool {
        self.unreported == 0
    }

    /// How much the caller may take as sent now. As with a plain connection, each byte that goes out is progress. The last one
    /// counts when all have left.
    pub(super) fn settle(&mut self) -> usize {
        let taken = take(&mut self.taken);
        let settled = match self.outgoing.is_empty() {
            true => self.unreported,
            false => taken.min(self.unreported.saturating_sub(1)),
        };
        self.unreported -= settled;
        settled
    }

    /// Bytes of memory, without itself and rustls.
    pub(super) fn weight(&self) -> usize {
        self.incoming.capacity() + self.plaintext.weight() + self.outgoing.weight()
    }

    /// Has plaintext in hand, or says why not.
    pub(super) fn fill(&mut self, socket: &OwnedFd, mut block: Block) -> io::Result<Received> {
        let mut once_more = Some(block);
        for _ in 0..MOST_SILENT_READS {
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
                Received::Nothing => return Ok(Received::Nothing),
                Received::End => self.source = Source::Cut,
            }
            // What TLS says for itself is not what is waited for: a backend's session tickets come just before its first
            // response. A part of a record is, and its peer is slow.
            block = match self.incoming.is_empty() {
                true => once_more.take().unwrap_or(Block::Never),
                false => Block::Never,
            };
        }
        Ok(Received::Nothing)
    }

    pub(super) fn read_and_advance(&mut self, socket: &OwnedFd, block: Block) -> io::Result<Received> {
        let received = self.read(socket, block)?;
        if let Received::Bytes(_) = received {
            let advanced = self.advance();
            // What rustls answers: an alert, new keys.
            let flushed = self.flush(socket, Block::Never);
            advanced.map_err(HandshakeError::from)?;
            // A peer that takes no more may have said why before, such as 413, and that is here.
            if self.plaintext.is_empty() && self.source == Source::Open {
                flushed?;
            }
        }
        Ok(received)
    }

    /// One read of ciphertext.
    pub(super) fn read(&mut self, socket: &OwnedFd, block: Block) -> io::Result<Received> {
        if self.incoming.len() > MOST_INCOMING {
            return Err(ErrorKind::InvalidData.into());
        }
        self.incoming.reserve_exact(RECORD);
        let room = self.incoming.capacity() - self.incoming.len();
        let received = socket::receive(socket, block, |flags| {
            socket::take(socket, spare_capacity(&mut self.incoming), flags)
        });
        self.left = Left::by(&received, room);
        if matches!(received, Ok(Received::Nothing)) {
            // The connection is parked now, mostly.
            self.incoming.shrink_to_fit();
        }
        received
    }

    /// Has rustls take apart all that came, and keeps what it has to say.
    pub(super) fn advance(&mut self) -> Result<(), rustls::Error> {
        let advanced = loop {
            match self.machine.step(&mut self.incoming, &mut self.plaintext, &mut self.outgoing) {
                Ok(Advance::GoesOn) => {}
                Ok(Advance::PeerClosed) => self.source = Source::Closed,
                Ok(Advance::Rests) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        if advanced.is_err() {
            // What rustls has to say of an error goes out, which is mostly an alert, and nothing else comes or goes.
            (self.source, self.sink) = (Source::Cut, Sink::Closed);
            self.machine.give_up(&mut self.incoming, &mut self.outgoing)?;
            self.incoming = Vec::new();
        }
        if self.incoming.is_empty() {
            self.incoming = Vec::new();
        }
        advanced
    }

    /// Adds the records of `piece` to what goes out.
    pub(super) fn encrypt(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.sink != Sink::Open {
            return Err(ErrorKind::BrokenPipe.into());
        }
        self.machine.encrypt(piece, &mut self.incoming, &mut self.outgoing)?;
        (self.unreported, self.taken) = (piece.len(), 0);
        Ok(())
    }

    /// Adds close_notify to what goes out. Where there is no TLS yet, or none any more, there is nothing to be said.
    pub(super) fn say_end(&mut self) -> io::Result<()> {
        if self.sink != Sink::Open {
            return Ok(());
        }
        self.sink = Sink::Closing;
        self.machine.say_end(&mut self.incoming, &mut self.outgoing)
    }

    /// Sends what is in hand, as far as one call does.
    pub(super) fn flush(&mut self, socket: &OwnedFd, block: Block) -> io::Result<()> {
        if !self.outgoing.is_empty()
            && let Sent::Bytes(sent) = socket::send(socket, &[IoSlice::new(self.outgoing.rest())], block)?
        {
            self.outgoing.consume(sent);
            self.taken += sent;
            if !self.outgoing.is_empty() {
                // The connection is parked now, mostly.
                self.outgoing.shrink();
            }
        }
        if self.outgoing.is_empty() && self.sink == Sink::Closing {
            self.sink = Sink::Closed;
            socket::finish(socket)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    /// What the records of a piece add to it.
    const ADDED: usize = 29;

    /// Takes all that comes for plaintext, or for what TLS says for itself.
    struct Plain {
        is_silent: bool,
    }

    impl Machine for Plain {
        fn is_handshaking(&self) -> bool {
            false
        }

        fn is_resumed(&self) -> bool {
            false
        }

        fn step(
            &mut self,
            incoming: &mut Vec<u8>,
            plaintext: &mut Queue,
            _: &mut Queue,
        ) -> Result<Advance, rustls::Error> {
            let came = take(incoming);
            if !self.is_silent {
                plaintext.push(&came);
            }
            Ok(if came.is_empty() { Advance::Rests } else { Advance::GoesOn })
        }

        fn give_up(&mut self, _: &mut [u8], _: &mut Queue) -> Result<(), rustls::Error> {
            Ok(())
        }

        fn encrypt(&mut self, piece: &[u8], _: &mut [u8], outgoing: &mut Queue) -> io::Result<()> {
            outgoing.push(piece);
            outgoing.push(&[0; ADDED]);
            Ok(())
        }

        fn say_end(&mut self, _: &mut [u8], _: &mut Queue) -> io::Result<()> {
            Ok(())
        }
    }

    fn records(is_silent: bool) -> Records {
        Records::of(Box::new(Plain { is_silent }), &[])
    }

    #[test]
    fn the_last_byte_is_sent_when_its_whole_record_has_left() {
        let mut records = records(false);
        records.encrypt(b"hello").unwrap();
        let mut leave = |count| {
            records.outgoing.consume(count);
            records.taken += count;
            (records.settle(), records.owes_nothing())
        };
        assert_eq!(leave(0), (0, false));
        assert_eq!(leave(2), (2, false));
        assert_eq!(leave(ADDED), (2, false));
        assert_eq!(leave(2), (0, false));
        assert_eq!(leave(1), (1, true));
    }

    #[test]
    fn what_a_peer_said_before_it_took_no_more_is_read() {
        for is_silent in [false, true] {
            let (ours, mut peers) = UnixStream::pair().unwrap();
            let socket = OwnedFd::from(ours);
            let mut records = records(is_silent);
            records.encrypt(b"the rest of a body").unwrap();
            peers.write_all(b"413").unwrap();
            // Nothing can be sent any more.
            socket::finish(&socket).unwrap();
            let filled = records.fill(&socket, Block::Briefly).map_err(|error| error.kind());
            assert_eq!(filled, if is_silent { Err(ErrorKind::BrokenPipe) } else { Ok(Received::Bytes(3)) });
        }
    }
}
