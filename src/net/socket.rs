//! The calls on a stream socket that move bytes, and their few outcomes.
//!
//! The problem: recv(2) and send(2) speak in counts and error numbers, where zero is an end and an interrupted call is
//! nothing. Here each outcome has a name, once for plain connections and for what TLS puts on the wire.
//!
//! Not here: what a connection is (`conn`), and socket options.

use rustix::buffer::Buffer;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, recv, send as send_one, sendmsg, shutdown,
};
use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Whether a call may wait for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Never,
    /// For [`ONE_CALL`](crate::config::waits::ONE_CALL): by the timeout of the socket, which costs no call.
    Briefly,
    /// For less. The kernel counts a socket's timeout in ticks of 1 to 10 ms, so this is a poll(2) between two calls, where the
    /// first brings nothing.
    For(Duration),
}

/// What a receive brought. The error says that the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    Bytes(usize),
    /// No byte is there, yet.
    Nothing,
    /// The peer sends no more; it may still read.
    End,
}

/// What a receive left in the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: what comes later is an event of its own (epoll(7): a read that returns less than was asked for has drained the
    /// socket).
    Nothing,
    Unknown,
}

impl Left {
    /// By a receive into so much room.
    pub fn by(received: &io::Result<Received>, room: usize) -> Self {
        match received {
            Ok(Received::Nothing) => Self::Nothing,
            Ok(Received::Bytes(count)) if *count < room => Self::Nothing,
            _ => Self::Unknown,
        }
    }
}

/// What a send took. The error says that the connection is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Bytes(usize),
    /// The peer does not read fast enough: no byte went out.
    Nothing,
}

/// Bytes of a message that is copied into one piece before it is sent: most heads with a short body.
const SHORT: usize = 1024;

/// Receives with one call of [`take`] or, after a poll(2), with two.
pub(super) fn receive(
    socket: &OwnedFd,
    block: Block,
    mut take: impl FnMut(RecvFlags) -> Result<usize, Errno>,
) -> io::Result<Received> {
    let flags = match block {
        Block::Never | Block::For(_) => RecvFlags::DONTWAIT,
        Block::Briefly => RecvFlags::empty(),
    };
    match (received(take(flags))?, block) {
        (Received::Nothing, Block::For(most)) if becomes(socket, PollFlags::IN, most) => {
            received(take(flags))
        }
        (received, _) => Ok(received),
    }
}

/// Into a slice, or behind what a vector holds.
pub(super) fn take(
    socket: &OwnedFd,
    room: impl Buffer<u8, Output = usize>,
    flags: RecvFlags,
) -> Result<usize, Errno> {
    recv(socket, room, flags).map(|(count, _)| count)
}

pub(super) fn peek(socket: &OwnedFd) -> io::Result<Received> {
    received(recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::PEEK).map(|(count, _)| count))
}

fn received(outcome: Result<usize, Errno>) -> io::Result<Received> {
    match outcome {
        Ok(0) => Ok(Received::End),
        Ok(count) => Ok(Received::Bytes(count)),
        // A receive with a timeout is interrupted by signals even under SA_RESTART (signal(7)): as if its time were over.
        Err(Errno::AGAIN | Errno::INTR) => Ok(Received::Nothing),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn send(socket: &OwnedFd, parts: &[IoSlice<'_>], block: Block) -> io::Result<Sent> {
    let flags = match block {
        Block::Never | Block::For(_) => SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
        Block::Briefly => SendFlags::NOSIGNAL,
    };
    match (send_once(socket, parts, flags)?, block) {
        (Sent::Nothing, Block::For(most)) if becomes(socket, PollFlags::OUT, most) => {
            send_once(socket, parts, flags)
        }
        (sent, _) => Ok(sent),
    }
}

fn send_once(socket: &OwnedFd, parts: &[IoSlice<'_>], flags: SendFlags) -> io::Result<Sent> {
    // send(2) is 0.3 µs cheaper than sendmsg(2), and a short message is copied together in less.
    let sent = match parts {
        [piece] => send_one(socket, piece, flags),
        pieces if pieces.iter().map(|piece| piece.len()).sum::<usize>() <= SHORT => {
            send_one(socket, gather(pieces, &mut [0; SHORT]), flags)
        }
        pieces => sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), flags),
    };
    match sent {
        Ok(count) => Ok(Sent::Bytes(count)),
        Err(Errno::AGAIN | Errno::INTR) => Ok(Sent::Nothing),
        Err(error) => Err(error.into()),
    }
}

/// Waits until there is an event. Returns whether there was one; an interrupted wait is over.
fn becomes(socket: &OwnedFd, event: PollFlags, most: Duration) -> bool {
    let most = Timespec::try_from(most).ok();
    poll(&mut [PollFd::new(socket, event)], most.as_ref()).is_ok_and(|events| events > 0)
}

pub(super) fn finish(socket: &OwnedFd) -> io::Result<()> {
    Ok(shutdown(socket, Shutdown::Write)?)
}

/// The pieces, which fit, as one.
fn gather<'a>(pieces: &[IoSlice<'_>], room: &'a mut [u8; SHORT]) -> &'a [u8] {
    let mut length = 0;
    for piece in pieces {
        room[length..][..piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    &room[..length]
}
