//! What every request is served with: the house, which all threads share.
//!
//! The problem: a worker needs settings, backends, seats, the waiter and the journal. Globals would hide who uses
//! what; a dozen arguments would too.
//!
//! Not here: the threads themselves (`server`), and what each has alone (`desk`).

use crate::backend::Backends;
use crate::client::{Client, Crowd};
use crate::config::Config;
use crate::errand::{Answer, Errand, Work};
use crate::forward::Trust;
use crate::journal::{Counters, Journal};
use crate::seats::{Ready, Seats};
use crate::stop::Stop;
use crate::waiter::{Until, Waiter};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What all threads share.
pub struct House {
    pub config: Config,
    pub backends: Arc<Backends>,
    pub seats: Seats<Work>,
    pub waiter: Waiter<Work>,
    pub crowd: Crowd,
    pub journal: Journal,
    pub counters: Counters,
    pub stop: Stop,
    /// ronde's name in `Via`, unlike that of any other ronde: a chain of two is no loop.
    pub via: String,
}

impl House {
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
    pub fn leave(&self, client: Box<Client>, errand: Box<Errand>) -> Result<(), Work> {
        let answer = errand.sent.as_ref().map_or(Answer::Held, |sent| sent.out.answer);
        let work = Work { errand: Some(errand), ..Work::of(client) };
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
