//! What all threads share.
//!
//! The problem: a worker needs settings, backends, the waiter and the log. Globals would hide which code uses what; a dozen
//! arguments would too.
//!
//! Not here: the threads themselves (`server`), and what each has alone (`scratch`).

use crate::backend::Backends;
use crate::config::Config;
use crate::http1::forward::Trust;
use crate::observe::access::{Access, Line, Record};
use crate::observe::counters::Counters;
use crate::observe::failure::Failure;
use crate::observe::logger::Logger;
use crate::pool::stop::Phase;
use crate::pool::waiter::Waiter;
use crate::proxy::client::ConnectionLimit;
use crate::proxy::conversation::Task;
use std::net::IpAddr;
use std::sync::Arc;

/// See the module.
pub struct Shared {
    pub config: Config,
    pub backends: Arc<Backends>,
    pub waiter: Waiter<Task>,
    pub connections: ConnectionLimit,
    pub logger: Logger,
    pub counters: Counters,
    /// ronde's name in the requests that it forwards, unlike that of any other ronde: a chain of two is no loop.
    pub pseudonym: String,
}

impl Shared {
    pub fn trust(&self, client: IpAddr) -> Trust {
        match self.config.trust_proxy.iter().any(|network| network.contains(client)) {
            true => Trust::Proxy,
            false => Trust::Stranger,
        }
    }

    pub fn is_running(&self) -> bool {
        self.waiter.phase() == Phase::Running
    }

    /// Whether the grace of the shutdown is over.
    pub fn is_over(&self) -> bool {
        self.waiter.phase() == Phase::Over
    }

    /// Counts what became of a request, and has its line written.
    pub fn note(&self, client: IpAddr, failure: Option<Failure>, told: impl FnOnce() -> (Line, Record)) {
        self.counters.count(failure);
        if self.logger.wants_access() {
            let (line, record) = told();
            self.logger.access(Access { client, line, record });
        }
    }
}
