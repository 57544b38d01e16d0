//! Accepts connections.
//!
//! The problem: accept fails, and mostly not for the reason one thinks. A client that is gone again is nothing; a process
//! without descriptors must neither die nor spin, since the listener stays readable. And a flood of connections must not
//! keep the acceptor from seeing the shutdown.
//!
//! Not here: waiting for a client's first byte. A worker does that, for one call at most, and then the waiter.

use crate::config::{Peer, waits};
use crate::http1::forward::{Persistence, Scheme};
use crate::http1::reply::{self, Asked};
use crate::net::conn::{Block, Conn, Sent};
use crate::net::descriptors;
use crate::net::listener::{BACKLOG, is_of_the_client};
use crate::net::waker::Waker;
use crate::observe::access::{Line, Record, Timings};
use crate::observe::failure::Failure;
use crate::observe::metrics::Recorder;
use crate::proxy::client::Client;
use crate::proxy::conversation::{Conversation, Opening, Task};
use crate::proxy::session;
use crate::proxy::shared::Shared;
use crate::proxy::site::Site;
use crate::server::listeners::Entrance;
use crossbeam_channel::Receiver;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

/// Connections accepted from one listener before the others, and the stop, are looked at.
const BATCH: usize = 64;

/// The listeners that are accepted from, and others in their place after a reload.
pub struct Doors {
    pub entrances: Vec<Entrance>,
    pub changes: Receiver<Vec<Entrance>>,
}

impl Doors {
    /// Takes what a reload has changed. Returns the listeners that are gone.
    fn change(&mut self) -> Vec<Entrance> {
        let Ok(entrances) = self.changes.try_recv() else { return Vec::new() };
        let before = std::mem::replace(&mut self.entrances, entrances);
        before.into_iter().filter(|entrance| !entrance.is_among(&self.entrances)).collect()
    }
}

/// The acceptor's thread: until the stop, and then until the kernel's queues are empty, so that no established connection
/// is turned away. When this thread ends the listeners close, and later connections are refused. From each listener it takes
/// one backlog at most, so that clients that keep coming cannot keep it alive. A Unix socket has no more clients once its
/// file is gone. What waits for a listener that was passed to ronde is left there: the next ronde takes it.
pub fn run(doors: &mut Doors, waker: &Waker, shared: &Shared, recorder: &Recorder<'_>) {
    let mut shortage = Shortage::default();
    let mut site = shared.site.get();
    loop {
        // First of all: what is told after this look wakes the acceptor again.
        waker.clear();
        if !shared.is_running() {
            break;
        }
        for gone in doors.change() {
            let site = shared.site.renew(&mut site);
            empty(&gone, waker, Context { shared, site, recorder }, &mut shortage);
        }
        let entrances = &doors.entrances;
        let mut fds: Vec<_> =
            entrances.iter().map(|entrance| PollFd::new(&*entrance.listener, PollFlags::IN)).collect();
        fds.push(PollFd::new(waker, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => {
                log::error!("the acceptor cannot wait for connections: {error}");
                thread::sleep(waits::ACCEPT_RETRY);
            }
        }
        // A change comes first: a client that connects after a reload expects the new settings. The listeners stay readable.
        if fds.last().is_some_and(|waker| !waker.revents().is_empty()) {
            continue;
        }
        let site = shared.site.renew(&mut site);
        let ready = entrances.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        for (entrance, _) in ready {
            accept_some(entrance, waker, Context { shared, site, recorder }, &mut shortage);
        }
    }
    let gone = doors.change();
    let own = gone.iter().chain(&doors.entrances).filter(|entrance| !entrance.listener.is_passed());
    for entrance in own {
        empty(entrance, waker, Context { shared, site: &site, recorder }, &mut shortage);
    }
}

/// Accepts what is in the kernel's queue of a listener that is to be closed.
fn empty(entrance: &Entrance, waker: &Waker, context: Context<'_>, shortage: &mut Shortage) {
    entrance.listener.withdraw();
    for _ in 0..=usize::from(BACKLOG) / BATCH {
        if accept_some(entrance, waker, context, shortage) == Backlog::Empty {
            break;
        }
    }
}

/// What was found of the kernel's queue of a listener.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Backlog {
    Empty,
    /// There may be more: a batch was accepted, or the system had no descriptor for the next.
    Longer,
}

/// What it accepts with.
#[derive(Clone, Copy)]
struct Context<'a> {
    shared: &'a Shared,
    site: &'a Site,
    recorder: &'a Recorder<'a>,
}

/// Accepts what is there, within bounds.
fn accept_some(entrance: &Entrance, waker: &Waker, context: Context<'_>, shortage: &mut Shortage) -> Backlog {
    for _ in 0..BATCH {
        match entrance.listener.accept() {
            Ok((conn, peer)) => {
                shortage.end();
                admit(conn, peer, entrance, context);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Backlog::Empty,
            Err(error) if is_of_the_client(&error) => {}
            Err(error) => {
                shortage.begin(&error);
                if !make_room(context) {
                    wait_for(waker, waits::ACCEPT_RETRY);
                    return Backlog::Longer;
                }
            }
        }
    }
    Backlog::Longer
}

/// Closes what can best be done without. A kept connection to a backend costs the next request a connect, an idle client's
/// costs the client one.
fn make_room(Context { shared, site, .. }: Context<'_>) -> bool {
    site.routes.let_go() || shared.waiter.evict().is_some()
}

fn admit(conn: Conn, peer: Peer, entrance: &Entrance, context: Context<'_>) {
    let Context { shared, site, .. } = context;
    let &Entrance { opening, scheme, .. } = entrance;
    if opening == Opening::ProxyHeader && !site.config.trusts(peer) {
        return note(peer, Failure::ProxyHeaderUntrusted, Record::default(), context);
    }
    // Before room is made: what others have must not give way to one client's many.
    let counted = match shared.per_client.enter(peer, &site.config) {
        Ok(counted) => counted,
        Err(failure) => return refuse(&conn, peer, scheme, failure, context),
    };
    if !descriptors::has_room_for_one_more() && !make_room(context) {
        return refuse(&conn, peer, scheme, Failure::Descriptors, context);
    }
    if shared.waiter.is_full() {
        return refuse(&conn, peer, scheme, Failure::OverBudget, context);
    }
    let most = site.config.max_connections;
    let permit = match shared.connections.enter(most) {
        // A lingering connection gives way first, then the client that has been idle for the longest.
        None if shared.waiter.evict().is_some() => shared.connections.enter(most),
        permit => permit,
    };
    let Some(permit) = permit else { return refuse(&conn, peer, scheme, Failure::ConnectionLimit, context) };
    let client = Client::new(conn, peer, scheme, counted, permit, Arc::clone(&entrance.closing));
    let conversation = Conversation::new(client, opening);
    if let Err(Task::Client(conversation)) = shared.waiter.offer(Task::Client(conversation)) {
        send_refusal(&conversation.client.conn, peer, scheme, Failure::Overloaded, context);
        note_bytes(&conversation.client.conn, context);
        session::linger(conversation, shared);
    }
}

/// Says no to a connection that has no place in which to linger. What it sent so far is read, or closing would take the
/// answer back.
fn refuse(conn: &Conn, client: Peer, scheme: Scheme, failure: Failure, context: Context<'_>) {
    send_refusal(conn, client, scheme, failure, context);
    let _ = conn.receive(&mut [0; 4096], Block::Never);
    note_bytes(conn, context);
}

/// Answers without waiting for anything; what the client asks is not even read. The answer is small: it fits. Over TLS nothing
/// can be said before the handshake, which is more work than the refused request.
fn send_refusal(conn: &Conn, client: Peer, scheme: Scheme, failure: Failure, context: Context<'_>) {
    let begun = Instant::now();
    let mut words = Vec::new();
    let sent = reply::failed(&mut words, failure, Asked::default(), Persistence::Close, None);
    let said = scheme == Scheme::Http && {
        let answer = conn.send(&[IoSlice::new(&words)], Block::Never);
        matches!(answer, Ok(Sent::Bytes(count)) if count == words.len())
    };
    let (status, bytes) = if said { (Some(failure.status()), sent) } else { (None, 0) };
    let timings = Timings { total: begun.elapsed(), ..Timings::default() };
    note(client, failure, Record { status, bytes, timings, ..Record::default() }, context);
}

fn note(client: Peer, failure: Failure, record: Record, context: Context<'_>) {
    let record = Record { failure: Some(failure), ..record };
    context.shared.note(context.recorder, client, None, record, Line::default);
}

fn note_bytes(conn: &Conn, context: Context<'_>) {
    let (received, sent) = conn.moved.take();
    context.recorder.note_bytes(received, sent);
}

/// A lack of descriptors is said once when it begins and once when it ends.
#[derive(Default)]
struct Shortage(Option<Instant>);

impl Shortage {
    fn begin(&mut self, error: &io::Error) {
        if self.0.is_none() {
            log::warn!(
                "cannot accept connections: {error}; raise the limit of open files, or lower --max-connections"
            );
            self.0 = Some(Instant::now());
        }
    }

    fn end(&mut self) {
        if let Some(since) = self.0.take() {
            log::info!("accepting connections again, after {:.1} s", since.elapsed().as_secs_f32());
        }
    }
}

fn wait_for(waker: &Waker, pause: Duration) {
    let _ = poll(&mut [PollFd::new(waker, PollFlags::IN)], Timespec::try_from(pause).ok().as_ref());
}
