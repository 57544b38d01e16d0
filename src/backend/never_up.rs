//! One warning for a backend that was never up.
//!
//! The problem: a port that was mistyped, or an application that was not started, should not show first as a client's 502.
//! On this host the kernel knows at the start whether anything listens, and a Unix socket has a file. Of another backend only
//! its refusals tell; it gets a moment, since it may only be starting. No connect is made for the warning: the backend would
//! see it.
//!
//! A name is down when all of its addresses are: `localhost` may be `::1` too, where nothing listens.
//!
//! Not here: what follows for the round (`health`), and the first of the active checks, which has its own line.

use super::{Backend, Backends, lock};
use crate::config::Address;
use crate::net::listening::Listening;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Connects that look for the return of a backend that is out; there is one a second. Most applications start within this.
const RETURNS_BEFORE_WARNING: usize = 3;

/// Warns at the start of each backend of this host on whose port nothing listens, unless a check says so.
pub(super) fn look_for_listeners(all: &[Arc<Backends>]) {
    let unchecked = || all.iter().filter(|backends| backends.check.is_none());
    let is_here = |backend: Arc<Backend>| matches!(backend.address, Address::Tcp(address) if address.ip().is_loopback());
    // The kernel's list has all sockets of the host: with a hundred thousand of them it takes half a second.
    let is_of_use = unchecked().any(|backends| backends.all().into_iter().any(is_here));
    let listening = is_of_use.then(Listening::now).flatten();
    unchecked().for_each(|backends| backends.look_for_listeners(listening.as_ref()));
}

impl Backends {
    fn look_for_listeners(&self, listening: Option<&Listening>) {
        let is_down = |backend: Arc<Backend>| match &backend.address {
            Address::Tcp(address) => listening.is_some_and(|listening| listening.would_refuse(*address)),
            Address::Unix(path) => !path.exists(),
        };
        for backend in self.all().into_iter().filter(|backend| !backend.standing.has_worked()) {
            if self.all_named(&backend.name).all(is_down) {
                let why = match backend.address {
                    Address::Tcp(_) => "nothing listens on its port",
                    Address::Unix(_) => "there is no such socket",
                };
                self.say_never_up(&backend, why);
            }
        }
    }

    /// A connect that looked for the return of a backend failed.
    pub(super) fn note_no_return(&self, backend: &Backend, cause: &str) {
        let is_time =
            backend.standing.failed_returns.fetch_add(1, Ordering::Relaxed) + 1 == RETURNS_BEFORE_WARNING;
        if is_time && !self.all_named(&backend.name).any(|other| other.standing.has_worked()) {
            self.say_never_up(backend, cause);
        }
    }

    /// Once for each name: two workers may find its addresses down at the same time.
    fn say_never_up(&self, backend: &Backend, cause: &str) {
        let name = &backend.name;
        if !lock(&self.history.never_up).insert(name.clone()) {
            return;
        }
        let place = match backend.address {
            Address::Tcp(_) => "on this port",
            Address::Unix(_) => "with this socket",
        };
        log::warn!("{name} has accepted no connection yet: {cause}; does it run, {place}?");
    }

    fn all_named(&self, name: &str) -> impl Iterator<Item = Arc<Backend>> {
        self.all().into_iter().filter(move |backend| backend.name == name)
    }
}
