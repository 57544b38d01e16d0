//! A worker's buffers.
//!
//! The problem: buffers belong to workers and not to connections, since ten thousand idle ones need none. They stay with
//! their worker, so that they stay in its caches; what a parked exchange has in hand is copied out of them.
//!
//! Not here: what is done with them (`session` and `exchange`).

use crate::config::Config;
use crate::http1::head;
use crate::net::buffer::{Buffer, READ_SIZE};
use crate::net::splice::Splice;
use crate::pool::waiter::BATCH;
use crate::proxy::request::COLLECTED_BODY;

/// The least size of the buffer for a backend's bytes. Only the first [`READ_SIZE`] bytes are touched unless a head is longer.
/// The C library maps 128 KiB and more without touching the pages; 64 KiB it would clear, and so use.
const MAPPED: usize = 128 * 1024;

/// Nearly every head is shorter.
const MOST_SPARE: usize = 4096;

/// See the module.
pub struct Scratch {
    /// What the client sent: a head, and a body that is collected, or a body in passing.
    pub from_client: Buffer,
    /// What the backend sent.
    pub from_backend: Buffer,
    /// The head that goes to the client.
    pub response: Vec<u8>,
    /// Room for the next requests' heads for backends: that of those before, which were sent.
    pub spare_heads: Vec<Vec<u8>>,
    /// For what goes out verbatim.
    pub splice: Splice,
}

impl Scratch {
    pub fn new(config: &Config) -> Self {
        Self {
            from_client: Buffer::new(of_client(config)),
            from_backend: Buffer::new(of_backend(config)),
            response: Vec::new(),
            spare_heads: Vec::new(),
            splice: Splice::open(),
        }
    }

    /// Makes room for longer heads, between two batches, if these settings allow any. What is parked may be longer than they
    /// allow, so room is never taken back.
    pub fn fit(&mut self, config: &Config) {
        if self.from_client.capacity() < of_client(config) {
            self.from_client = Buffer::new(of_client(config));
            self.from_backend = Buffer::new(of_backend(config));
        }
    }

    /// Keeps the room of a head that was sent for one that is to be written.
    pub fn spare(&mut self, head: Vec<u8>) {
        if (1..=MOST_SPARE).contains(&head.capacity()) && self.spare_heads.len() < BATCH {
            self.spare_heads.push(head);
        }
    }

    /// The memory of one worker's buffers, in bytes, when every page of them was used.
    pub fn size(config: &Config) -> usize {
        // The heads are written afresh: as long as they came, and what ronde adds.
        let heads = 2 * config.max_head + BATCH * MOST_SPARE;
        head::EMPTY_LINES + config.max_head + COLLECTED_BODY + config.max_head.max(READ_SIZE) + heads
    }
}

fn of_client(config: &Config) -> usize {
    head::EMPTY_LINES + config.max_head + COLLECTED_BODY
}

fn of_backend(config: &Config) -> usize {
    config.max_head.max(MAPPED)
}
