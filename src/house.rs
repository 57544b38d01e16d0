//! What every request is served with: the house, which all threads share.
//!
//! The problem: a worker needs settings, backends, seats, the waiter and the journal. Globals would hide who uses
//! what; a dozen arguments would too.
//!
//! Not here: the threads themselves (`server`), and what each has alone (`desk`).

use crate::backend::Backends;
use crate::client::{Client, Crowd};
use crate::config::Config;
use crate::errand::Work;
use crate::forward::Trust;
use crate::journal::{Counters, Journal};
use crate::seats::{Ready, Seats};
use crate::stop::Stop;
use crate::waiter::{Waiter, Woken};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

/// What all threads share.
pub struct House {
    pub config: Config,
    pub backends: Arc<Backends>,
    pub seats: Seats<Work>,
    pub waiter: Waiter,
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

    /// Offers a connection to the workers, which has something for them to do since then.
    ///
    /// # Errors
    /// It comes back when too many wait already, or for too long.
    pub fn offer(&self, client: Box<Client>, woken: Woken, since: Instant) -> Result<(), Box<Client>> {
        let ready = Ready { work: Work::Client(client, woken), since };
        match self.seats.offer(ready) {
            Err(Ready { work: Work::Client(client, _), .. }) => Err(client),
            Ok(()) | Err(Ready { work: Work::Answer(..), .. }) => Ok(()),
        }
    }

    /// Whether a worker should rather serve those who wait for it than wait for a backend.
    pub fn is_hurried(&self) -> bool {
        self.seats.is_wanted() && self.stop.is_running()
    }
}
