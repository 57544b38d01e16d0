//! The waiter's epoll: how what is parked is registered there, and what an event says.
//!
//! The problem: an event is 64 bits and some flags, and comes some time after what it tells of. So the 64 bits name a key, which
//! finds nothing once its value is gone, and beside it which of the two sockets has the event.
//!
//! One-shot events: an event comes out once, to one worker, and then the socket is silent until it is armed again. Two waits
//! differ: an idle client, and one whose backend is waited for, keep their registration from wait to wait (`edges`).
//!
//! Not here: what becomes of the value that an event names (`waiter`).

use crate::net::conn::{Conn, Registration};
use crate::pool::edges::{Arming, Edges, Interest};
use crate::pool::park::{Park, Wait, Woken};
use crate::pool::parked::descriptor;
use crate::pool::slots::Key;
use rustix::event::epoll::{self, Event, EventData, EventFlags};
use rustix::io::Errno;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

/// See the module.
pub(super) struct Epoll(OwnedFd);

/// What an event is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// New connections, or nothing: they are looked for in any case.
    Arrival,
    /// A deadline has come.
    Timer,
    /// The workers may end.
    End,
    /// The client of the value with this key.
    Client(Key),
    /// The backend of it.
    Backend(Key),
    /// The client whose registration has this name.
    Edge(Key),
}

impl Epoll {
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(epoll::create(epoll::CreateFlags::CLOEXEC)?))
    }

    /// Registers what is no socket, for as long as it lives.
    pub fn watch(&self, descriptor: impl AsFd, source: Source, flags: EventFlags) -> io::Result<()> {
        Ok(epoll::add(&self.0, descriptor, source.data(), flags)?)
    }

    /// Waits for events.
    pub fn wait<'r>(&self, room: &'r mut [MaybeUninit<Event>]) -> Result<&'r [Event], Errno> {
        epoll::wait(&self.0, room, None).map(|(events, _)| &*events)
    }

    /// Registers the sockets of a value that is parked under this key.
    pub fn arm<T: Park>(&self, edges: &mut Edges, key: Key, value: &T, wait: Wait) -> io::Result<()> {
        let mut client = value.client();
        if let Some(armed) = client
            && let Some(interest) = wait.interest(armed)
        {
            self.arm_edge(edges, armed, key, interest)?;
            client = None;
        }
        let sides = [
            (client, wait.client, Source::Client(key)),
            (value.backend(), wait.backend, Source::Backend(key)),
        ];
        for (conn, want, source) in sides {
            let (Some(conn), Some(flags)) = (conn, want.flags()) else { continue };
            let mut flags = flags | EventFlags::ONESHOT;
            // What TLS has encrypted is sent as soon as the socket takes it, whatever else is waited for.
            flags.set(EventFlags::OUT, flags.contains(EventFlags::OUT) || conn.has_unsent());
            self.register(conn, Registration::OneShot, source, flags)?;
        }
        Ok(())
    }

    /// Waits for a client. What was armed for its last wait mostly holds for the next.
    fn arm_edge(&self, edges: &mut Edges, client: &Conn, key: Key, interest: Interest) -> io::Result<()> {
        let descriptor = descriptor(client);
        if client.registration.get() == Registration::Edge
            && edges.park(descriptor, key, interest) == Arming::Holds
        {
            return Ok(());
        }
        let source = Source::Edge(edges.arm(descriptor, key, interest));
        self.register(client, Registration::Edge, source, EventFlags::IN | EventFlags::RDHUP | EventFlags::ET)
    }

    /// Keeps a client from making events until it is armed again. A break is reported all the same, but takes nothing out.
    pub fn silence(&self, client: &Conn) -> io::Result<()> {
        match client.registration.get() {
            Registration::Edge => {
                self.register(client, Registration::OneShot, Source::Arrival, EventFlags::ONESHOT)
            }
            // Its one event was used up, or there was none.
            Registration::OneShot | Registration::Unknown => Ok(()),
        }
    }

    fn register(
        &self,
        conn: &Conn,
        registration: Registration,
        source: Source,
        flags: EventFlags,
    ) -> io::Result<()> {
        match conn.registration.get() {
            Registration::Unknown => epoll::add(&self.0, conn.as_fd(), source.data(), flags)?,
            Registration::OneShot | Registration::Edge => {
                epoll::modify(&self.0, conn.as_fd(), source.data(), flags)?
            }
        }
        conn.registration.set(registration);
        Ok(())
    }
}

impl Source {
    const CLIENT: u8 = 0;
    const BACKEND: u8 = 1;
    const EDGE: u8 = 2;
    /// The slot says of what.
    const NO_SOCKET: u8 = 3;

    fn data(self) -> EventData {
        let no_socket = |slot| Key { slot, generation: 0 }.with_tag(Self::NO_SOCKET);
        EventData::new_u64(match self {
            Self::Client(key) => key.with_tag(Self::CLIENT),
            Self::Backend(key) => key.with_tag(Self::BACKEND),
            Self::Edge(key) => key.with_tag(Self::EDGE),
            Self::Arrival => no_socket(0),
            Self::Timer => no_socket(1),
            Self::End => no_socket(2),
        })
    }

    pub fn of(event: &Event) -> Self {
        match Key::from_bits(event.data.u64()) {
            (key, Self::CLIENT) => Self::Client(key),
            (key, Self::BACKEND) => Self::Backend(key),
            (key, Self::EDGE) => Self::Edge(key),
            (Key { slot: 1, .. }, _) => Self::Timer,
            (Key { slot: 2, .. }, _) => Self::End,
            _ => Self::Arrival,
        }
    }

    /// Why such an event takes a value out.
    pub fn wakes(self, flags: EventFlags) -> Woken {
        let is_broken = flags.intersects(EventFlags::ERR | EventFlags::HUP);
        match self {
            Self::Backend(_) if is_broken => Woken::BackendGone,
            Self::Backend(_) => Woken::Ready,
            _ if is_broken => Woken::ClientGone,
            _ if flags.contains(EventFlags::RDHUP) => Woken::ClientClosed,
            _ => Woken::Ready,
        }
    }
}
