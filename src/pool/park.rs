//! What can be parked, what it waits for, and why it comes out again.
//!
//! The problem: the waiter knows no HTTP, and what is parked knows no epoll. These few words are all that they say to each
//! other.
//!
//! Not here: waiting (`waiter`).

use crate::net::conn::Conn;
use crate::observe::parked::Kind;
pub use crate::pool::deadlines::Class;
use crate::pool::edges::Interest;
use rustix::event::epoll::EventFlags;
use std::time::Instant;

/// What can be parked.
pub trait Park {
    /// The connection to the client, if there is one.
    fn client(&self) -> Option<&Conn>;

    /// The connection to the backend, if there is one.
    fn backend(&self) -> Option<&Conn>;

    /// Bytes of memory that it keeps, itself included.
    fn weight(&self) -> usize;

    /// As what it is counted while it is parked in this class.
    fn kind(&self, class: Class) -> Kind;

    /// In which queue it stands while its class is [`Class::Queued`].
    fn queue(&self) -> usize {
        0
    }

    /// Before which others it stands there.
    fn precedence(&self) -> Precedence {
        Precedence::Ordinary
    }

    /// How many of that queue may go on.
    fn room(&self) -> usize {
        0
    }
}

/// What goes on first in a queue; among equals, what came first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Precedence {
    Ordinary,
    /// When no other waits.
    Last,
}

/// What is wanted of a socket. Whatever is wanted, an error or a hang-up of both directions is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Not even that: both directions have ended, and epoll would report it for ever.
    Nothing,
    /// Only that the connection breaks.
    Break,
    /// That the peer sends no more, without looking at what it has sent.
    HalfClose,
    Read,
    Write,
    ReadOrWrite,
}

impl Want {
    /// Whether what the peer sends is waited for.
    pub(super) fn reads(self) -> bool {
        matches!(self, Self::Read | Self::ReadOrWrite)
    }

    pub(super) fn flags(self) -> Option<EventFlags> {
        match self {
            Self::Nothing => None,
            Self::Break => Some(EventFlags::empty()),
            Self::HalfClose => Some(EventFlags::RDHUP),
            Self::Read => Some(EventFlags::IN | EventFlags::RDHUP),
            Self::Write => Some(EventFlags::OUT),
            Self::ReadOrWrite => Some(EventFlags::IN | EventFlags::RDHUP | EventFlags::OUT),
        }
    }
}

/// What a parked value waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    pub client: Want,
    pub backend: Want,
    pub deadline: Instant,
    pub class: Class,
}

/// Why a value comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// It was just accepted, at this time.
    New(Instant),
    /// Something happened on a socket.
    Ready,
    /// The client sends no more; it may still read.
    ClientClosed,
    /// The client's connection is broken, or closed in both directions.
    ClientGone,
    /// The backend's connection is broken, or closed in both directions.
    BackendGone,
    /// Its deadline has come, or it is let on in its queue, or what it waits for is there already.
    Expired,
    /// The memory for what is parked is used up, and it can best be done without.
    OverBudget,
    /// Nothing is waited for any more: the grace of the shutdown is over.
    Stopped,
}

impl Wait {
    /// Which events take the client out, in a wait for which its registration may stay from the last one. `None` for all other
    /// waits, which are armed each time: as that of a client with unsent bytes, which also waits for room.
    pub(super) fn interest(&self, client: &Conn) -> Option<Interest> {
        match self.client {
            _ if client.has_unsent() => None,
            Want::Read if self.class == Class::Idle && client.is_drained() => Some(Interest::Any),
            Want::HalfClose => Some(Interest::End),
            _ => None,
        }
    }
}
