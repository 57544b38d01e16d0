//! What every request is served with: the house, which all threads share, and the desk, which each has alone.
//!
//! The problem: a worker needs settings, backends, seats, the waiter and the journal. Globals would hide who uses
//! what; a dozen arguments would too.
//!
//! Not here: the threads themselves (`server`).

use crate::backend::Backends;
use crate::buffer::Buffer;
use crate::client::Crowd;
use crate::config::Config;
use crate::forward::Trust;
use crate::head;
use crate::journal::{Counters, Journal};
use crate::seats::Seats;
use crate::stop::Stop;
use crate::waiter::Waiter;
use std::net::IpAddr;
use std::sync::Arc;

/// A request body up to this is read whole before a backend is chosen: the round then follows complete requests,
/// and a slow small upload holds neither a worker nor a backend. 64 KiB is nearly every form and API call.
pub const COLLECTED_BODY: usize = 64 * 1024;

/// What one read of a body takes at most. From 64 KiB on, a larger buffer gains nothing on loopback and loses
/// cache.
const RELAY: usize = 64 * 1024;

/// What all threads share.
pub struct House {
    pub config: Config,
    pub backends: Arc<Backends>,
    pub seats: Seats,
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
}

/// What one worker works with. Buffers belong to workers: an idle connection needs none.
pub struct Desk {
    /// What the client sent: a head, and a body that is collected, or a body in passing.
    pub from_client: Buffer,
    /// What the backend sent.
    pub from_backend: Buffer,
    /// The head that goes to the backend; kept until there is a response, since it may have to be sent again.
    pub request: Vec<u8>,
    /// The head that goes to the client.
    pub response: Vec<u8>,
}

impl Desk {
    pub fn new(config: &Config) -> Self {
        Self {
            from_client: Buffer::new(head::EMPTY_LINES + config.max_head + COLLECTED_BODY),
            from_backend: Buffer::new(config.max_head.max(RELAY)),
            request: Vec::new(),
            response: Vec::new(),
        }
    }

    /// The memory of one desk, in bytes, when every page of it was used.
    pub fn size(config: &Config) -> usize {
        // The heads are written afresh: as long as they came, and what ronde adds.
        config.max_head + COLLECTED_BODY + config.max_head.max(RELAY) + 2 * config.max_head
    }
}
