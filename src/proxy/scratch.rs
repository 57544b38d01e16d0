//! A worker's buffers.
//!
//! The problem: buffers belong to workers and not to connections, since ten thousand idle ones need none. They stay with
//! their worker, so that they stay in its caches; what a parked exchange has in hand is copied out of them.
//!
//! Not here: what is done with them (`session` and `exchange`).

use crate::config::Config;
use crate::http1::head;
use crate::net::buffer::{Buffer, MOUTHFUL};
use crate::proxy::request::COLLECTED_BODY;

/// The least for a backend's bytes. No more than [`MOUTHFUL`] of it is ever touched, unless a head is as long; but the C
/// library gives 128 KiB and more page by page, where 64 would be cleared and so used.
const MAPPED: usize = 128 * 1024;

/// See the module.
pub struct Scratch {
    /// What the client sent: a head, and a body that is collected, or a body in passing.
    pub from_client: Buffer,
    /// What the backend sent.
    pub from_backend: Buffer,
    /// The head that goes to the client.
    pub response: Vec<u8>,
    /// Room for the next request's head for a backend.
    pub request: Vec<u8>,
}

impl Scratch {
    pub fn new(config: &Config) -> Self {
        Self {
            from_client: Buffer::new(head::EMPTY_LINES + config.max_head + COLLECTED_BODY),
            from_backend: Buffer::new(config.max_head.max(MAPPED)),
            response: Vec::new(),
            request: Vec::new(),
        }
    }

    /// The memory of one worker's buffers, in bytes, when every page of them was used.
    pub fn size(config: &Config) -> usize {
        // The heads are written afresh: as long as they came, and what ronde adds.
        let heads = 2 * config.max_head;
        head::EMPTY_LINES + config.max_head + COLLECTED_BODY + config.max_head.max(MOUTHFUL) + heads
    }
}
