//! Accepts connections, at a rate.
//!
//! The problem: accept fails, and mostly not for the reason one thinks. A client that is gone again is nothing; a
//! process without descriptors must neither die nor spin, since the listener stays readable. And whoever floods
//! ronde with connections must not keep it from seeing the stop.
//!
//! Not here: waiting for a client's first byte. That is a worker's, for a moment, and then the waiter's.

use crate::config::waits;
use crate::http1::forward::Persistence;
use crate::http1::reply;
use crate::net::conn::{BACKLOG, Conn};
use crate::net::waker::Waker;
use crate::observe::failure::Failure;
use crate::proxy::client::Client;
use crate::proxy::in_flight::Work;
use crate::proxy::shared::Shared;
use crate::server::worker;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// Connections accepted from one listener before the others, and the stop, are looked at.
const BATCH: usize = 64;

/// The acceptor's thread: until the stop, and then until the kernel's queues are empty, so that nobody whose
/// connection was established is turned away. With it the listeners end: who comes later is refused. Those who keep
/// coming meanwhile must not keep it from ending: a queue holds one backlog, and no more is taken from it.
pub fn run(listeners: Vec<TcpListener>, waker: &Waker, shared: &Shared) {
    // Behind those who run, it finds clients who have sent what they have to say.
    worker::yield_to_the_running();
    let mut shortage = Shortage::default();
    while shared.stop.is_running() {
        let mut fds: Vec<_> = listeners.iter().map(|listener| PollFd::new(listener, PollFlags::IN)).collect();
        fds.push(PollFd::new(waker, PollFlags::IN));
        match poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => log::error!("the acceptor cannot wait for connections: {error}"),
        }
        let ready = listeners.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        for (listener, _) in ready {
            accept_some(listener, waker, shared, &mut shortage);
        }
    }
    for listener in &listeners {
        for _ in 0..=usize::from(BACKLOG) / BATCH {
            if accept_some(listener, waker, shared, &mut shortage) < BATCH {
                break;
            }
        }
    }
}

/// Accepts what is there, within bounds. Returns how many it was.
fn accept_some(listener: &TcpListener, waker: &Waker, shared: &Shared, shortage: &mut Shortage) -> usize {
    for count in 0..BATCH {
        match listener.accept() {
            Ok((stream, address)) => {
                shortage.end();
                admit(stream, address, shared);
            }
            Err(error) => match Errno::from_io_error(&error) {
                Some(Errno::AGAIN) => return count,
                // The client was gone before we came, or its network was: accept(2) says to try the next.
                Some(Errno::CONNABORTED | Errno::INTR | Errno::PROTO | Errno::PERM) => {}
                _ => {
                    shortage.begin(&error);
                    // An idle connection's descriptor is worth less than a newcomer's, and a backend's least of all.
                    if !shared.backends.let_go() && !shared.waiter.evict() {
                        wait_for(waker, waits::ACCEPT_RETRY);
                    }
                    return count;
                }
            },
        }
    }
    BATCH
}

fn admit(stream: TcpStream, address: SocketAddr, shared: &Shared) {
    let conn = Conn::accepted(stream);
    let place = match shared.connections.enter() {
        // The one that has been idle for the longest goes; the newcomer has something to ask.
        None if shared.waiter.evict() => shared.connections.enter(),
        place => place,
    };
    let Some(place) = place else {
        say_no(&conn, Failure::ConnectionLimit, shared);
        // It has no place in which to linger. What it sent so far is read, or closing would take the answer back.
        let _ = conn.receive_now(&mut [0; 4096]);
        return;
    };
    let client = Box::new(Client::new(conn, address, place));
    if let Err(work) = shared.offer(Work::of(client), Instant::now()) {
        turn_away(work.client, Failure::Overloaded, shared);
    }
}

/// Says no to a connection that no worker will take, without waiting for anything; what it asked is not even read.
pub fn turn_away(client: Box<Client>, failure: Failure, shared: &Shared) {
    say_no(&client.conn, failure, shared);
    worker::linger(client, shared);
}

/// The answer is small: it fits, unless there is much already that the client has not read; nor would it read this.
fn say_no(conn: &Conn, failure: Failure, shared: &Shared) {
    let mut words = Vec::new();
    reply::failed(&mut words, failure, None, Persistence::Close, None);
    let _ = conn.send_now(&[IoSlice::new(&words)]);
    shared.counters.count(Some(failure));
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
