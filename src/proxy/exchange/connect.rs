//! Connecting to a backend.
//!
//! The problem: an address that vanished is silent, and waiting for it is lost time while another backend could be asked. But
//! a backend may also be slow to accept, and then no other may be any better.
//!
//! Not here: which backend (`exchange`), and TLS on the connection (`handshake`).

use super::ask::Asking;
use super::timer::{Awaited, watch};
use super::{Advance, Exchange, Interruption, Stage};
use crate::backend::{Turn, connect_failure};
use crate::config::waits;
use crate::net::conn::{Conn, Connected, Window};
use crate::observe::explain;
use crate::observe::failure::Failure;
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Halt};
use rustix::io::Errno;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// Slow clients from which on the kernel is to hold little for each: with a megabyte, these are some hundred megabytes.
const MANY_SLOW: usize = 256;

/// All connects together take at most twice `--connect-timeout`: a first lap of short ones, so short that no backend is
/// left out, and, for those that did not answer in time, a last one with all the time there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lap {
    /// A short time for each backend.
    First,
    /// All the time there is. Where the first would not be shorter, as with one backend, there is only this one.
    Last,
}

/// A connection that is being made.
pub(super) struct Connecting {
    pub(super) turn: Turn,
    pub(super) lap: Lap,
    pub(super) conn: Option<Conn>,
    pub(super) begun: Instant,
    pub(super) limit: Duration,
}

impl Exchange {
    pub(super) fn connecting(&self, turn: Turn, lap: Lap) -> Stage {
        let whole = self.request.route.config.connect_timeout;
        let (lap, most) = match self.at_most(waits::FIRST_CONNECT) {
            short if lap == Lap::First && short < whole => (Lap::First, short),
            _ => (Lap::Last, whole),
        };
        let left = (2 * whole).saturating_sub(self.record.timings.connect);
        Stage::Connecting(Connecting { turn, lap, conn: None, begun: Instant::now(), limit: most.min(left) })
    }

    pub(super) fn connect(
        &mut self,
        mut connecting: Connecting,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Advance {
        if client.presence == Presence::Gone {
            return self.fail(Failure::ClientGone);
        }
        let connected = match &connecting.conn {
            Some(conn) => conn.finish_connect(),
            None => begin_connect(&connecting.turn, context).map(|(conn, connected)| {
                connecting.conn = Some(conn);
                connected
            }),
        };
        let failure = match (connected, connecting.conn.take()) {
            (Ok(Connected::Yes), Some(conn)) => {
                let took = connecting.begun.elapsed();
                connecting.turn.was_connected(took);
                self.request.explain(|| explain::Step::Connected { took });
                if connecting.turn.identity().is_some() {
                    return self.go_to(self.handshaking(conn, connecting));
                }
                self.record.timings.connect += took;
                return self.go_to(Asking::on_fresh(conn, connecting.turn));
            }
            (Ok(_), conn) => {
                connecting.conn = conn;
                let awaited = Awaited {
                    client: watch(client),
                    backend: Want::Write,
                    failure: Failure::ConnectTimeout,
                    limit: connecting.limit,
                };
                match self.wait_since(connecting.begun, Instant::now(), awaited, client, context) {
                    Interruption::Halt(halt) => return self.halt_in(Stage::Connecting(connecting), halt),
                    Interruption::Failed(failure) => failure,
                }
            }
            (Err(error), None) if error.kind() == ErrorKind::WouldBlock => {
                match self.await_room(&connecting, client, context) {
                    Interruption::Halt(halt) => return self.halt_in(Stage::Connecting(connecting), halt),
                    Interruption::Failed(failure) => failure,
                }
            }
            (Err(error), _) => connect_failure(&connecting.turn.address(), &error),
        };
        let Connecting { turn, lap, begun, .. } = connecting;
        self.end_connecting(turn, lap, begun, failure)
    }

    /// There is no connection that a request could be sent on, for which it was tried since `begun`. A backend that was silent in
    /// the first lap may get more time in the last.
    pub(super) fn end_connecting(
        &mut self,
        turn: Turn,
        lap: Lap,
        begun: Instant,
        failure: Failure,
    ) -> Advance {
        self.record.timings.connect += begun.elapsed();
        match failure {
            Failure::Cut | Failure::HalfClosed => self.fail(failure),
            Failure::ConnectTimeout | Failure::BackendTlsTimeout if lap == Lap::First => {
                self.choice.silent.push_back((turn, failure));
                self.go_to(Stage::Choosing)
            }
            failure => self.ask_another(turn, failure),
        }
    }

    /// So long, or less where there are many backends; as long as there is where there is only one.
    pub(super) fn at_most(&self, most: Duration) -> Duration {
        let route = &self.request.route;
        let whole = route.config.connect_timeout;
        match u32::try_from(route.backends.count()) {
            Ok(0 | 1) => whole,
            count => most.min(whole / count.unwrap_or(u32::MAX)),
        }
    }

    /// The backlog of a Unix socket is full: no event tells of room in it, so a timer does.
    fn await_room(&self, connecting: &Connecting, client: &Client, context: &Context<'_>) -> Interruption {
        let (failure, limit) = (Failure::ConnectTimeout, connecting.limit);
        let (now, awaited) =
            (Instant::now(), Awaited { client: watch(client), backend: Want::Nothing, failure, limit });
        match self.wait_since(connecting.begun, now, awaited, client, context) {
            Interruption::Halt(Halt::Wait(wait)) => {
                let waited = now.saturating_duration_since(connecting.begun);
                let pause = waited.clamp(waits::BACKLOG_RETRY, waits::BACKLOG_RETRY_MOST);
                let deadline = wait.deadline.min(now + pause);
                Interruption::Halt(Halt::Wait(Wait { deadline, ..wait }))
            }
            interruption => interruption,
        }
    }
}

/// Where descriptors have run out, kept connections and idle clients can best be done without.
fn begin_connect(turn: &Turn, context: &mut Context<'_>) -> std::io::Result<(Conn, Connected)> {
    let Context { shared, site, allowance, .. } = context;
    let window = if shared.waiter.count(Class::Slow) > MANY_SLOW { Window::Narrow } else { Window::Wide };
    let mut connect = || allowance.spend(&shared.waiter, |block| turn.connect(window, block)).0;
    match connect() {
        Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::MFILE | Errno::NFILE)) => {
            match site.routes.let_go() || shared.waiter.evict().is_some() {
                true => connect(),
                false => Err(error),
            }
        }
        connected => connected,
    }
}
