//! Backends that an admin has taken out, until the admin lets them in again.
//!
//! The problem: a backend that is to be updated works well until it is stopped, and then fails what it has. So it is drained
//! first: it takes no new turn, not even as a fallback, and what is under way ends as if nothing had happened. Its health
//! goes on, since that is what tells whether it may come back.
//!
//! What was drained is remembered by what it is called: a container that restarts comes back as another backend, though at
//! the same address or by the same name, and would otherwise be in the round at once.
//!
//! Not here: the order itself (`server::admin`).

use super::{Backend, Backends, lock};
use crate::config::Address;
use crate::config::value::count_text;
use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// What is drained, in all routes: names as they stand in the configuration, and addresses.
#[derive(Debug, Default)]
pub struct Drained(Mutex<HashSet<String>>);

impl Drained {
    /// Whether what is called so is drained, or will be when it comes back.
    pub(super) fn has(&self, name: &str) -> bool {
        lock(&self.0).iter().any(|drained| is_called(drained, name))
    }

    /// Applies what was ordered before to a backend that is new in the round.
    pub(super) fn remind(&self, backend: &Backend) {
        let names = lock(&self.0);
        // Nearly always there are none, and an address need not be written out.
        if !names.is_empty()
            && backend.called().iter().any(|name| names.contains(name))
            && !backend.standing.is_drained.swap(true, Ordering::Relaxed)
        {
            log::info!("{backend} is drained still, until it is undrained");
        }
    }
}

/// Whether what has this name is meant by that one. A host has no case; a path has.
fn is_called(own: &str, name: &str) -> bool {
    own == name || own == name.to_ascii_lowercase()
}

impl Backend {
    /// What it is called: its configured name, and its address.
    fn called(&self) -> [String; 2] {
        [self.name.clone(), self.address.to_string()]
    }

    fn is_called(&self, name: &str) -> bool {
        self.called().iter().any(|own| is_called(own, name))
    }
}

impl Backends {
    /// Whether anything is called so: a configured name, which may have no address now, an address, or what is drained and may come
    /// back.
    pub fn knows(&self, name: &str) -> bool {
        self.membership.drained().has(name) || !self.called_so(name).is_empty()
    }

    /// What is meant by this name, as it is configured or as its address is written.
    fn called_so(&self, name: &str) -> Vec<String> {
        let addresses = self.all().into_iter().map(|backend| backend.address.to_string());
        self.membership.names().chain(addresses).filter(|own| is_called(own, name)).collect()
    }

    /// Gives no new requests to the backends that are called so, now or when they come back. Returns where these are.
    pub fn drain(&self, name: &str) -> Vec<Address> {
        // First, and then the round is looked at again: what comes into it meanwhile is reminded.
        let called = self.called_so(name);
        lock(&self.membership.drained().0).extend(called);
        let meant = |backend: &Arc<Backend>| backend.is_called(name);
        let drain = |backend: Arc<Backend>| {
            if !backend.standing.is_drained.swap(true, Ordering::Relaxed) {
                log::info!(
                    "{backend} is drained, with {} under way",
                    count_text(backend.standing.active(), "request")
                );
            }
            backend.kept.clear();
            backend.address.clone()
        };
        self.all().into_iter().filter(meant).map(drain).collect()
    }

    /// Lets the backends that are called so take turns again, also those that are not there now. Returns where these are.
    pub fn undrain(&self, name: &str) -> Vec<Address> {
        lock(&self.membership.drained().0).retain(|drained| !is_called(drained, name));
        let meant = |backend: &Arc<Backend>| backend.is_called(name);
        let undrain = |backend: Arc<Backend>| {
            // Of a name that was drained, one address may come back: then the name is drained no more.
            lock(&self.membership.drained().0).retain(|name| !backend.called().contains(name));
            if backend.standing.is_drained.swap(false, Ordering::Relaxed) {
                log::info!("{backend} is drained no more");
            }
            backend.address.clone()
        };
        self.all().into_iter().filter(meant).map(undrain).collect()
    }
}
