//! One warning for a backend that was never up.
//!
//! The problem: a port that was mistyped, or an application that was not started, should not show first as a client's 502.
//! On this host the kernel knows at the start whether anything listens. Of another backend only its refusals tell; it gets
//! a moment, since it may only be starting. No connect is made for the warning: the backend would see it.
//!
//! A name is down when all of its addresses are: `localhost` may be `::1` too, where nothing listens.
//!
//! Not here: what follows for the round (`health`), and the first of the active checks, which has its own line.

use super::{Backend, Backends, lock};
use crate::net::listening::Listening;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Connects that look for the return of a backend that is out; there is one a second. Most applications start within this.
const RETURNS_BEFORE_WARNING: usize = 3;

/// Warns at the start of each backend of this host on whose port nothing listens, unless a check says so.
pub(super) fn look_for_listeners(all: &[Arc<Backends>]) {
    let Some(listening) = Listening::now() else { return };
    for backends in all.iter().filter(|backends| backends.check.is_none()) {
        backends.look_for_listeners(&listening);
    }
}

impl Backends {
    fn look_for_listeners(&self, listening: &Listening) {
        for backend in self.all() {
            let is_said = backend.failed_returns.load(Ordering::Relaxed) > 0;
            if !is_said && self.all_named(&backend.name).all(|other| listening.would_refuse(other.address)) {
                self.say_never_up(&backend.name, "nothing listens on its port");
            }
        }
    }

    /// A connect that looked for the return of a backend failed.
    pub(super) fn note_no_return(&self, backend: &Backend, cause: &str) {
        let is_time = backend.failed_returns.fetch_add(1, Ordering::Relaxed) + 1 == RETURNS_BEFORE_WARNING;
        if is_time && !self.all_named(&backend.name).any(|other| lock(&other.health).has_worked) {
            self.say_never_up(&backend.name, cause);
        }
    }

    fn say_never_up(&self, name: &str, cause: &str) {
        log::warn!("{name} has accepted no connection yet: {cause}; does it run, on this port?");
        for backend in self.all_named(name) {
            backend.failed_returns.store(RETURNS_BEFORE_WARNING, Ordering::Relaxed);
        }
    }

    fn all_named(&self, name: &str) -> impl Iterator<Item = Arc<Backend>> {
        self.all().into_iter().filter(move |backend| backend.name == name)
    }
}
