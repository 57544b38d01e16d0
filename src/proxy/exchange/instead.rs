//! An answer that counts as none (`--retry-status`).
//!
//! The problem: a backend in maintenance says 503 to everybody, and another could serve. But a 503 in hand is a real answer,
//! and no error of ronde's own is any better. So the other backend is found first; where there is none, the client gets the
//! answer as it is. When the other one then brings no answer, and no backend after it does, the client is told of that: the
//! dropped answer is gone. To keep it would mean two backends and two bodies for one request.
//!
//! Not here: which backend (`backend::instead`).

use super::ask::Asking;
use super::connect::Lap;
use super::response_head::Final;
use super::{Advance, Exchange};
use crate::backend::Turn;
use crate::observe::explain;
use crate::observe::failure::Failure;
use crate::proxy::conversation::Context;

impl Exchange {
    /// What the status says about the backend. Of those that count as no answer, those below 500 speak of the request. The
    /// others are failures of the backend, also where the client gets them: so a backend in maintenance leaves the round, and
    /// where all have left it, all are asked.
    pub(super) fn status_failure(&self) -> Option<Failure> {
        self.is_no_answer().filter(|status| *status >= 500).map(|_| Failure::RetryStatus)
    }

    fn is_no_answer(&self) -> Option<u16> {
        let is_listed =
            |status: &u16| self.request.route.config.retry_status.iter().any(|some| some.contains(*status));
        self.record.status.filter(is_listed)
    }

    /// The backend to be asked instead of the one that has answered, if the answer counts as none.
    pub(super) fn instead(&mut self) -> Option<Turn> {
        self.is_no_answer().filter(|_| self.request.meta.may_repeat())?;
        self.request.route.backends.instead(&mut self.choice.tried, self.request.meta.client)
    }

    /// Drops an answer. Its connection is kept if the whole of it came in one piece, and closed otherwise: what is still to
    /// come is no other client's.
    pub(super) fn ask_instead(
        &mut self,
        asking: Asking,
        last: &Final,
        next: Turn,
        context: &Context<'_>,
    ) -> Advance {
        let Asking { conn, turn, .. } = asking;
        self.request.explain(|| explain::Step::Dropped);
        self.record.tried.push(turn.address());
        self.record.status = None;
        self.choice.last = None;
        if last.leaves_reusable(&context.scratch.from_backend) {
            turn.keep(conn, context.allowance.now());
        }
        self.begin(next, Lap::First)
    }
}
