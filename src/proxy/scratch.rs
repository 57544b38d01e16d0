//! What requests are worked on with: two buffers, a head, and blank in_flights.
//!
//! The problem: buffers belong to workers and not to connections, since ten thousand idle ones need none. And they stay
//! with their worker, so that they stay in its caches: what a request that is left with its backend needs of them is
//! copied, or goes with its in_flight.
//!
//! Not here: what is done with them (`session` and `exchange`).

use crate::config::Config;
use crate::http1::head;
use crate::net::buffer::{Buffer, MOUTHFUL};
use crate::proxy::in_flight::{InFlight, LIGHT};

/// A request body up to this is read whole before a backend is chosen: the round then follows complete requests,
/// and a slow small upload holds neither a worker nor a backend. 64 KiB is nearly every form and API call.
pub const COLLECTED_BODY: usize = 64 * 1024;

/// The least for a backend's bytes. No more than a [one_read](Buffer::one_read) of it is ever touched, unless a head is as
/// long; but the C library gives 128 KiB and more page by page, where 64 would be cleared and so used: each worker that
/// was ever at work is a fifth smaller.
const MAPPED: usize = 128 * 1024;

/// See the module.
pub struct Scratch {
    /// What the client sent: a head, and a body that is collected, or a body in passing.
    pub from_client: Buffer,
    /// What the backend sent.
    pub from_backend: Buffer,
    /// The head that goes to the client.
    pub response: Vec<u8>,
    /// Those that are done, for the next requests.
    #[expect(clippy::vec_box, reason = "the boxes are what comes and goes")]
    in_flights: Vec<Box<InFlight>>,
}

/// Errands that a scratch keeps. A worker picks up about as many as it leaves.
const ERRANDS: usize = 8;

impl Scratch {
    pub fn new(config: &Config) -> Self {
        Self {
            from_client: Buffer::new(head::EMPTY_LINES + config.max_head + COLLECTED_BODY),
            from_backend: Buffer::new(config.max_head.max(MAPPED)),
            response: Vec::new(),
            in_flights: Vec::new(),
        }
    }

    /// A blank in_flight; what stands in it is overwritten.
    pub fn in_flight(&mut self) -> Box<InFlight> {
        self.in_flights.pop().unwrap_or_else(InFlight::new)
    }

    /// Keeps an in_flight that is done for the next request.
    pub fn keep(&mut self, in_flight: Box<InFlight>) {
        if self.in_flights.len() < ERRANDS && in_flight.head.capacity() <= LIGHT {
            self.in_flights.push(in_flight);
        }
    }

    /// The memory of one scratch, in bytes, when every page of it was used.
    pub fn size(config: &Config) -> usize {
        // The heads are written afresh: as long as they came, and what ronde adds.
        let heads = 2 * config.max_head + ERRANDS * LIGHT;
        head::EMPTY_LINES + config.max_head + COLLECTED_BODY + config.max_head.max(MOUTHFUL) + heads
    }
}
