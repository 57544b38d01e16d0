//! Ending a connection so that its client can tell that something is missing.
//!
//! The problem: where the end of the connection would be the end of a body, or of a tunnel, only a reset says that it is
//! none. But a reset throws away what is still in the socket: up to four megabytes that the backend did send (RFC 9112
//! §8, §9.6). So first all of it leaves, and then the connection is reset.
//!
//! Not here: when a connection ends so (`exchange`).

use super::{End, Session};
use crate::config::waits;
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::client::Presence;
use crate::proxy::conversation::{Conversation, Halt, Stage, Task};
use crate::proxy::shared::Shared;
use std::time::{Duration, Instant};

/// A client that is to get what is on its way, and then a reset.
#[derive(Debug)]
pub struct Resetting {
    queue: Queue,
    until: Instant,
}

/// What the socket still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Queue {
    Unsent,
    /// The last packet at most. The kernel has no event for less.
    LastPacket,
}

/// Parks a conversation until its client has what was sent, for the time that the client may be silent at most.
pub fn reset(mut conversation: Box<Conversation>, silence: Duration, shared: &Shared) {
    conversation.client.carried = Vec::new();
    // When this fails the client is gone.
    if conversation.client.conn.close_abortively().is_ok() {
        let until = Instant::now() + silence;
        let resetting = Resetting { queue: Queue::Unsent, until };
        let wait = resetting.wait();
        conversation.stage = Stage::Resetting(resetting);
        // Dropping it is the reset.
        drop(shared.waiter.park(Task::Client(conversation), wait));
    }
}

impl Resetting {
    fn wait(&self) -> Wait {
        let client = match self.queue {
            Queue::Unsent => Want::Write,
            Queue::LastPacket => Want::Break,
        };
        Wait { client, backend: Want::Nothing, deadline: self.until, class: Class::Lingering }
    }
}

impl Session<'_, '_> {
    /// The socket has become writable, or the time is over.
    pub(super) fn go_on_resetting(&self, resetting: &mut Resetting) -> End {
        let now = Instant::now();
        let is_done = resetting.queue == Queue::LastPacket || resetting.until <= now;
        if is_done || self.client.presence == Presence::Gone || self.context.shared.is_over() {
            return End::Abort;
        }
        // A part of a record is in the socket, and is nothing without the rest.
        if self.client.conn.has_unsent() {
            return Halt::Wait(resetting.wait()).into();
        }
        *resetting = Resetting { queue: Queue::LastPacket, until: now + waits::LAST_PACKET };
        Halt::Wait(resetting.wait()).into()
    }
}
