//! The admin listener: what ronde does, seen and changed from outside, by a thread of its own.
//!
//! The problem: when something is wrong, all workers may be busy, the queue full and the descriptors used up, and just then an
//! admin must see why. So nothing of this listener goes through the workers. One thread polls a few connections, and each of
//! them is a small state machine: one that does not read, or sends its head byte by byte, keeps no other waiting.
//!
//! There are [`MOST`] connections at most. Event streams last for as long as a page is open, so when one more client comes,
//! the oldest stream gives way, and its page connects anew; a scrape is never turned away because of pages. Where there is
//! no stream, the oldest gives way that has not sent its request, or has its answer: connections that are opened and left
//! alone, as a web page can have a browser do, must not keep an admin out. Where an answer is under way on each, the newcomer
//! is told 503.
//!
//! Reading order: `connection` (its states), `guard` (who may ask for what), `answers` (what is asked for), `response` (how it
//! is written), `status` (what it says), `snapshot` (where that comes from), `page` (what draws it).
//!
//! Not here: TLS, and requests for anybody but admins.

mod answers;
mod connection;
mod guard;
mod page;
pub mod response;
mod snapshot;
pub mod status;

use crate::config::waits;
use crate::net::conn::{Block, Conn};
use crate::net::listener::{Listener, is_of_the_client};
use crate::net::waker::Waker;
pub(super) use answers::Answers;
use connection::{Connection, Stay};
use response::Response;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{ErrorKind, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

/// Connections at once.
pub const MOST: usize = 32;

/// The thread: until `end` is woken, which is after the last worker has nothing left.
pub(super) fn run(listeners: Vec<Listener>, mut answers: Answers<'_>, end: &Waker) {
    loop {
        match catch_unwind(AssertUnwindSafe(|| Admin::new(&listeners, end, &mut answers).serve())) {
            Ok(open) => {
                listeners.iter().for_each(Listener::withdraw);
                // Before the streams: what connects anew when its stream ends is refused, and not accepted and then cut.
                drop(listeners);
                return drop(open);
            }
            // It is a bug, and costs the connections of the moment; it must not cost the view on a proxy that goes on.
            Err(_) => log::error!("the admin listener panicked, and goes on: please report this"),
        }
    }
}

struct Admin<'a, 's> {
    listeners: &'a [Listener],
    end: &'a Waker,
    answers: &'a mut Answers<'s>,
    /// The oldest first.
    connections: Vec<Connection>,
    next_event: Instant,
    /// Not before then is anything accepted: no descriptor was left.
    accepts_from: Option<Instant>,
}

/// What poll(2) has found.
struct Found {
    is_over: bool,
    is_offered: bool,
    /// For each connection that is polled.
    ready: Vec<bool>,
}

impl<'a, 's> Admin<'a, 's> {
    fn new(listeners: &'a [Listener], end: &'a Waker, answers: &'a mut Answers<'s>) -> Self {
        let (connections, next_event) = (Vec::new(), Instant::now() + waits::ADMIN_EVENT);
        Self { listeners, end, answers, connections, next_event, accepts_from: None }
    }

    /// Returns the connections that are open at the end.
    fn serve(mut self) -> Vec<Connection> {
        loop {
            let found = self.wait();
            if found.is_over {
                return self.connections;
            }
            let now = Instant::now();
            let mut ready = found.ready.into_iter();
            self.connections.retain_mut(|connection| {
                let is_ready = connection.wants().is_some() && ready.next().unwrap_or_default();
                let goes_on = is_ready || connection.is_due(now) || connection.awaits_outcome();
                !goes_on || connection.go_on(now, self.answers) == Stay::Open
            });
            if found.is_offered {
                self.accept(now);
            }
            if self.next_event <= now {
                self.next_event = now + waits::ADMIN_EVENT;
                self.send_events(now);
            }
        }
    }

    fn wait(&self) -> Found {
        let due = self.connections.iter().filter_map(Connection::deadline);
        let next = due.chain([self.next_event]).chain(self.accepts_from).min().unwrap_or(self.next_event);
        let mut left = next.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
        // Nothing that poll(2) sees tells of it.
        if self.connections.iter().any(Connection::awaits_outcome) {
            left = left.min(waits::ADMIN_OUTCOME_LOOK);
        }
        let polled = |connection| Some(PollFd::new(Connection::conn(connection), connection.wants()?));
        let mut fds: Vec<_> = self.connections.iter().filter_map(polled).collect();
        let count = fds.len();
        fds.push(PollFd::new(self.end, PollFlags::IN));
        if self.accepts_from.is_none_or(|from| from <= Instant::now()) {
            fds.extend(self.listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)));
        }
        match poll(&mut fds, Timespec::try_from(left).ok().as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                log::error!("the admin listener cannot wait: {error}");
                thread::sleep(waits::ACCEPT_RETRY);
            }
        }
        let mut ready: Vec<_> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut others = ready.split_off(count).into_iter();
        let is_over = others.next().unwrap_or_default();
        Found { is_over, is_offered: others.any(|is_ready| is_ready), ready }
    }

    /// The latest state to each stream whose last event is out.
    fn send_events(&mut self, now: Instant) {
        self.answers.note_rate(now);
        if self.connections.iter().any(Connection::is_stream) {
            let event = self.answers.event();
            self.connections.retain_mut(|connection| connection.offer(&event, now) == Stay::Open);
        }
    }

    fn accept(&mut self, now: Instant) {
        self.accepts_from = None;
        for listener in self.listeners {
            // One that comes later is there at the next turn.
            for _ in 0..MOST {
                match listener.accept() {
                    Ok((conn, peer)) => match self.answers.may(peer) {
                        Some(may) => self.admit(Connection::new(conn, may, now), now),
                        None => refuse(&conn, &Response::text(403, NOT_ALLOWED)),
                    },
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if is_of_the_client(&error) => {}
                    Err(_) => {
                        self.accepts_from = Some(now + waits::ACCEPT_RETRY);
                        return;
                    }
                }
            }
        }
    }

    fn admit(&mut self, connection: Connection, now: Instant) {
        let Self { connections, answers, .. } = self;
        if connections.len() >= MOST {
            // Which of them have asked meanwhile, or have ended.
            connections.retain_mut(|known| !known.is_idle() || known.go_on(now, answers) == Stay::Open);
        }
        if self.connections.len() >= MOST {
            let oldest = |is: fn(&Connection) -> bool| self.connections.iter().position(is);
            match oldest(Connection::is_stream).or_else(|| oldest(Connection::is_idle)) {
                Some(oldest) => drop(self.connections.remove(oldest)),
                None => return refuse(connection.conn(), &Response::text(503, TOO_MANY)),
            }
        }
        self.connections.push(connection);
    }
}

const NOT_ALLOWED: &str = "this address may not read here: see --admin-allow";
const TOO_MANY: &str = "there are too many connections to the admin listener; they end within seconds";

/// Says why, in one call that waits for nothing, and closes.
fn refuse(conn: &Conn, why: &Response) {
    let _ = conn.send(&[IoSlice::new(&why.bytes())], Block::Never);
}
