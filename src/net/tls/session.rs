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
//! Both sides are the same in all of that.
//!
//! Not here: certificates, and the socket's calls.

use super::certificates::Certificates;
use super::handshake::{Handshake, HandshakeError};
use super::records::{Records, Source};
use super::trust::Identity;
use crate::net::socket::{Block, Left, Received, Sent};
use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use std::borrow::Cow;
use std::cell::RefCell;
use std::fmt;
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// Plaintext that is encrypted at once: two records. They are what a client that stops reading keeps in memory beside its
/// response. One at a time would be a call more for every 16 KB.
const MOST_ENCRYPTED: usize = 32 * 1024;

/// Plaintext that is read ahead, to learn how the peer has ended.
const MOST_READ_AHEAD: usize = 64 * 1024;

/// See the module. A connection is with one worker at a time, so nothing borrows it twice.
pub struct Session(RefCell<Records>);

impl Session {
    /// Of a client whose first bytes were read already.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn accept(certificates: &Certificates, first: &[u8]) -> Result<Self, HandshakeError> {
        let machine = UnbufferedServerConnection::new(certificates.server_config())?;
        Ok(Self(RefCell::new(Records::of(Box::new(machine), first))))
    }

    /// With a backend, which has to prove this identity.
    ///
    /// # Errors
    /// The configuration contradicts itself.
    pub fn connect(identity: &Identity) -> Result<Self, HandshakeError> {
        let Identity { trust, name } = identity.clone();
        let machine = UnbufferedClientConnection::new(Arc::clone(&trust.0), name)?;
        Ok(Self(RefCell::new(Records::of(Box::new(machine), &[]))))
    }

    /// Goes on with the handshake as far as what came allows.
    ///
    /// # Errors
    /// Why there will be no TLS.
    pub fn shake_hands(&self, socket: &OwnedFd, mut block: Block) -> Result<Handshake, HandshakeError> {
        let records = &mut *self.0.borrow_mut();
        loop {
            let advanced = records.advance();
            // An alert tells the client more than a closed connection.
            let flushed = records.flush(socket, Block::Never);
            advanced?;
            flushed?;
            if !records.is_handshaking() {
                return Ok(Handshake::Done);
            }
            match records.read(socket, block)? {
                Received::Bytes(_) => {}
                Received::Nothing => return Ok(Handshake::Waits),
                Received::End => return Err(HandshakeError::Left),
            }
            block = Block::Never;
        }
    }

    pub fn is_handshaking(&self) -> bool {
        self.0.borrow().is_handshaking()
    }

    /// Whether the handshake took up a session of an earlier connection.
    pub fn is_resumed(&self) -> bool {
        self.0.borrow().is_resumed()
    }

    pub fn receive(&self, socket: &OwnedFd, room: &mut [u8], block: Block) -> io::Result<Received> {
        let records = &mut *self.0.borrow_mut();
        Ok(match records.fill(socket, block)? {
            Received::Bytes(_) => Received::Bytes(records.plaintext.take_into(room)),
            other => other,
        })
    }

    pub fn peek(&self, socket: &OwnedFd) -> io::Result<Received> {
        self.0.borrow_mut().fill(socket, Block::Never)
    }

    pub fn send(&self, socket: &OwnedFd, parts: &[IoSlice<'_>], block: Block) -> io::Result<Sent> {
        let records = &mut *self.0.borrow_mut();
        if records.owes_nothing() {
            records.encrypt(&first_of(parts))?;
        }
        records.flush(socket, block)?;
        Ok(match records.settle() {
            0 => Sent::Nothing,
            count => Sent::Bytes(count),
        })
    }

    pub fn flush(&self, socket: &OwnedFd) -> io::Result<()> {
        self.0.borrow_mut().flush(socket, Block::Never)
    }

    /// Says that nothing more will be sent, behind what is in hand. The FIN follows when all has left.
    pub fn finish(&self, socket: &OwnedFd) -> io::Result<()> {
        let records = &mut *self.0.borrow_mut();
        records.say_end()?;
        records.flush(socket, Block::Never)
    }

    pub fn has_unsent(&self) -> bool {
        self.0.borrow().has_outgoing()
    }

    /// What the last read left in the socket.
    pub fn left(&self) -> Left {
        self.0.borrow().left
    }

    pub fn has_unread(&self) -> bool {
        let records = self.0.borrow();
        !records.plaintext.is_empty() || records.source != Source::Open
    }

    /// Whether the FIN that has come is behind the peer's last word. What it said before stays in hand.
    pub fn is_half_closed(&self, socket: &OwnedFd) -> bool {
        let records = &mut *self.0.borrow_mut();
        while records.source == Source::Open && records.plaintext.weight() < MOST_READ_AHEAD {
            match records.read_and_advance(socket, Block::Never) {
                Ok(Received::Bytes(_)) => {}
                Ok(Received::Nothing) => break,
                Ok(Received::End) | Err(_) => records.source = Source::Cut,
            }
        }
        records.source != Source::Cut
    }

    /// Bytes of memory, itself included, and those that rustls keeps for keys as far as that is known.
    pub fn weight(&self) -> usize {
        /// Two cipher states of AES-GCM and a hash, on the heap.
        const KEYS: usize = 2048;
        size_of::<Self>() + KEYS + self.0.borrow().weight()
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Nothing of keys belongs into a log.
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

/// What is encrypted at once: a part as it is if it is long or alone, or the parts together, since a record for each would
/// cost more than the copy.
fn first_of<'a>(parts: &'a [IoSlice<'_>]) -> Cow<'a, [u8]> {
    let mut filled = parts.iter().filter(|part| !part.is_empty());
    let Some(first) = filled.next() else { return Cow::Borrowed(&[]) };
    if first.len() >= MOST_ENCRYPTED || filled.next().is_none() {
        return Cow::Borrowed(&first[..first.len().min(MOST_ENCRYPTED)]);
    }
    let mut piece =
        Vec::with_capacity(parts.iter().map(|part| part.len()).sum::<usize>().min(MOST_ENCRYPTED));
    for part in parts {
        piece.extend_from_slice(&part[..part.len().min(MOST_ENCRYPTED - piece.len())]);
    }
    Cow::Owned(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_copied_only_where_it_is_encrypted_together_with_another() {
        let long = vec![b'x'; MOST_ENCRYPTED + 1];
        for (parts, expected, is_copied) in [
            ([&b""[..], b"", b""], &b""[..], false),
            ([b"", b"body", b""], b"body", false),
            ([b"", b"head", b"body"], b"headbody", true),
            ([b"", &long, b"end"], &long[1..], false),
            ([b"x", &long, b""], &long[1..], true),
        ] {
            let piece = first_of(&parts.map(IoSlice::new)).into_owned();
            assert_eq!(piece, expected);
            assert_eq!(matches!(first_of(&parts.map(IoSlice::new)), Cow::Owned(_)), is_copied);
        }
    }
}
