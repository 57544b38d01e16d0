//! What every request is served with: the shared, which all threads share.
//!
//! The problem: a worker needs settings, backends, seats, the waiter and the logger. Globals would hide who uses
//! what; a dozen arguments would too.
//!
//! Not here: the threads themselves (`server`), and what each has alone (`scratch`).

use crate::backend::Backends;
use crate::config::Config;
use crate::http1::forward::Trust;
use crate::observe::counters::Counters;
use crate::observe::logger::Logger;
use crate::pool::seats::{Ready, Seats};
use crate::pool::stop::Stop;
use crate::pool::waiter::{Until, Waiter};
use crate::proxy::client::{Client, ConnectionLimit};
use crate::proxy::in_flight::{Answer, InFlight, Work};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What all threads share.
pub struct Shared {
    pub config: Config,
    pub backends: Arc<Backends>,
    pub seats: Seats<Work>,
    pub waiter: Waiter<Work>,
    pub connections: ConnectionLimit,
    pub logger: Logger,
    pub counters: Counters,
    pub stop: Stop,
    /// ronde's name in `Via`, unlike that of any other ronde: a chain of two is no loop.
    pub via: String,
}

impl Shared {
    pub fn trust(&self, client: IpAddr) -> Trust {
        match self.config.trust_proxy.iter().any(|network| network.contains(client)) {
            true => Trust::Proxy,
            false => Trust::Stranger,
        }
    }

    /// Offers work to the workers, which they have since then.
    ///
    /// # Errors
    /// It comes back when too many wait already, or for too long.
    pub fn offer(&self, work: Work, since: Instant) -> Result<(), Work> {
        self.seats.offer(Ready { work, since }).map_err(|ready| ready.work)
    }

    /// Leaves a client's request with its backend.
    ///
    /// # Errors
    /// It comes back when nobody else can wait for its answer: then it is to be held.
    pub fn leave(&self, client: Box<Client>, in_flight: Box<InFlight>) -> Result<(), Work> {
        let answer = in_flight.sent.as_ref().map_or(Answer::Held, |sent| sent.out.answer);
        let work = Work { in_flight: Some(in_flight), ..Work::of(client) };
        let left = match answer {
            Answer::Soon => self.offer(work, Instant::now()),
            Answer::Late if self.seats.lend() => {
                self.waiter.park(work, Until::Answer).inspect_err(|_| self.seats.unlend())
            }
            Answer::Late | Answer::Held => Err(work),
        };
        left.map_err(Work::held)
    }

    /// Whether a worker should rather serve those who wait for it than wait for a backend.
    pub fn is_hurried(&self) -> bool {
        self.seats.is_wanted() && self.stop.is_running()
    }
}
