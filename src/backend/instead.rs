//! Another backend for a request that has an answer already, one that counts as none (`--retry-status`).
//!
//! The problem: the answer in hand is real, and once it is dropped it is gone. So only a backend that will probably give a
//! better one is worth it: one that is well, answers, and has room. No backend that is out is asked here, which also keeps
//! the load what it was when all of them are in maintenance.
//!
//! Not here: which answers count as none (`proxy::exchange`), and the choice for a request without an answer (`choice`).

use super::{Backend, Backends, Tried, Turn};
use crate::config::Peer;
use std::time::Instant;

impl Backends {
    /// Its turn, if there is such a backend and the retry budget allows it. Under the lock of the round, so that neither a turn
    /// nor a retry is taken in vain.
    pub fn instead(&self, tried: &mut Tried, client: Peer) -> Option<Turn> {
        let now = Instant::now();
        let mut round = self.membership.round();
        round.skip_missed();
        let is_good = |backend: &Backend| {
            tried.is_free(backend) && backend.room() > 0 && backend.standing.takes_turns(now)
        };
        let chosen = self.choose_prompt(&round, client, now, is_good)?;
        if !self.spend_retry() {
            return None;
        }
        self.give(&mut round, chosen, tried, now)
    }
}
