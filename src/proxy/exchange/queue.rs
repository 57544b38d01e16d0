//! The wait for a backend that is at its limit (`max-connections`).
//!
//! The problem: a request that comes while others wait must not take the room that one of them has waited for. So it joins
//! them, though a backend may have room at this moment.
//!
//! Not here: which request is next, and when (`pool`: each route has a queue in the waiter).

use super::timer::{Awaited, watch};
use super::{Advance, Exchange, Interruption, Stage};
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::Client;
use crate::proxy::conversation::Context;

impl Exchange {
    /// Whether others came before, and wait for a backend that is at its limit.
    pub(super) fn has_to_queue(&self, context: &Context<'_>) -> bool {
        let route = &self.request.route;
        route.backends.has_limits()
            && self.choice.tried.is_first()
            && self.timer.waited_for(Failure::BackendsBusy).is_none()
            && context.shared.waiter.queued(route.number) > 0
    }

    /// Waits until a backend that is at its limit has room.
    pub(super) fn queue(&mut self, client: &Client, context: &Context<'_>) -> Advance {
        let (failure, limit) = (Failure::BackendsBusy, self.request.route.config.queue_timeout);
        let awaited = Awaited { client: watch(client), backend: Want::Nothing, failure, limit };
        match self.wait(awaited, client, context) {
            Interruption::Halt(halt) => self.halt_in(Stage::Choosing, halt),
            Interruption::Failed(failure) => {
                self.end_queueing();
                self.fail(failure)
            }
        }
    }

    /// What it waited is time in a queue, like that before a worker took the request.
    pub(super) fn end_queueing(&mut self) {
        if let Some(queued) = self.timer.waited_for(Failure::BackendsBusy) {
            self.record.timings.queued += queued;
            self.timer.restart();
        }
    }
}
