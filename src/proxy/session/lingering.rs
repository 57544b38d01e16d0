//! Closing a connection so that the client can still read what it was told.
//!
//! The problem: a close over bytes that were not read, or before bytes that are still to come, is a reset, which destroys
//! what the client has not read yet. So a connection is closed in stages (RFC 9112 §9.6): ronde sends no more, reads and
//! throws away what still comes, and closes when the client has closed, or when it takes too long.
//!
//! Not here: when a connection ends so (`session`).

use super::{End, Session};
use crate::config::waits;
use crate::net::conn::{Block, Received};
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::conversation::{Conversation, Halt, Stage, Task};
use crate::proxy::shared::Shared;
use std::time::Instant;

/// The most that is thrown away. A client that sends its whole upload before it reads anything must come to its end: 64 MiB
/// are a second of a fast network, and clients with longer uploads mostly ask first (`Expect`).
const MOST_DISCARDED: usize = 64 * 1024 * 1024;

/// Reads in a row before other conversations are served.
const READS: usize = 16;

/// A client that was told everything.
#[derive(Debug)]
pub struct Lingering {
    /// When the last of its bytes came.
    since: Instant,
    until: Instant,
    discarded: usize,
}

/// Parks a conversation whose client was told everything, until the client closes.
pub fn linger(mut conversation: Box<Conversation>, shared: &Shared) {
    conversation.client.carried = Vec::new();
    // When the half-close fails the client is gone, and nothing is left to be read.
    if conversation.client.conn.finish().is_ok() {
        let now = Instant::now();
        let lingering = Lingering { since: now, until: now + waits::LINGERING_CLOSE_TOTAL, discarded: 0 };
        let wait = lingering.wait(Want::Read);
        conversation.stage = Stage::Lingering(lingering);
        drop(shared.waiter.park(Task::Client(conversation), wait));
    }
}

impl Lingering {
    fn wait(&self, client: Want) -> Wait {
        let deadline = self.until.min(self.since + waits::LINGERING_CLOSE);
        Wait { client, backend: Want::Nothing, deadline, class: Class::Lingering }
    }
}

impl Session<'_, '_> {
    /// Throws away what the client sends after it was told everything, until it closes.
    pub(super) fn discard(&mut self, lingering: &mut Lingering) -> End {
        let room = self.context.scratch.from_client.one_read();
        for _ in 0..READS {
            match self.client.conn.receive(room, Block::Never) {
                Ok(Received::Bytes(count)) => {
                    lingering.discarded += count;
                    lingering.since = Instant::now();
                }
                Ok(Received::Nothing) => break,
                Ok(Received::End) | Err(_) => return End::Close,
            }
        }
        // Past the bound nothing more is read: closing now would take back what the client was told, so it stays for its
        // time, and cannot send.
        let want = if lingering.discarded < MOST_DISCARDED { Want::Read } else { Want::Break };
        let wait = lingering.wait(want);
        if self.context.shared.is_over() || wait.deadline <= Instant::now() {
            return End::Close;
        }
        Halt::Wait(wait).into()
    }
}
