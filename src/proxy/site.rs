//! What a configuration makes of ronde: settings, routes and certificates, as one value that a reload swaps.
//!
//! The problem: a reload must change everything at one moment or nothing, and a request must end with what it began with.
//! And looking up what is in force must cost a request nothing: a lock or a count that all workers share is what they would
//! wait for.
//!
//! The idea: a site never changes. A thread holds the one in force, and looks once a batch whether there is a newer one,
//! which is one load of a number that hardly ever changes. A request takes its route when its head is understood, and
//! with it all that it needs to its end; what is between two requests goes by the site of the moment.
//!
//! Not here: what lives as long as the process (`shared`), and how a new site comes to be (`server`).

use crate::config::Config;
use crate::net::tls::Certificates;
use crate::proxy::route::Routes;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
pub struct Site {
    pub config: Config,
    pub routes: Routes,
    /// For the listeners with TLS; `None` when there are none.
    pub certificates: Option<Certificates>,
    /// How many sites were in force before it.
    generation: u64,
}

/// The site in force. On a cache line of its own, since every worker looks at it.
#[repr(align(64))]
pub struct InForce {
    /// Of the site below.
    generation: AtomicU64,
    site: Mutex<Arc<Site>>,
}

impl Site {
    pub fn new(config: Config, routes: Routes, certificates: Option<Certificates>) -> Self {
        Self { config, routes, certificates, generation: 0 }
    }
}

impl InForce {
    pub fn new(site: Site) -> Self {
        Self { generation: AtomicU64::new(site.generation), site: Mutex::new(Arc::new(site)) }
    }

    /// The site in force, to hold on to.
    pub fn get(&self) -> Arc<Site> {
        Arc::clone(&self.lock())
    }

    /// Replaces what a thread holds by what is in force, and returns it.
    pub fn renew<'a>(&self, held: &'a mut Arc<Site>) -> &'a Site {
        if !self.is(held) {
            *held = self.get();
        }
        held
    }

    /// Whether this is the one in force.
    pub fn is(&self, held: &Site) -> bool {
        self.generation.load(Ordering::Acquire) == held.generation
    }

    /// Puts another site in force. Returns the one before, which others may still hold.
    pub fn replace(&self, site: Site) -> Arc<Site> {
        let mut current = self.lock();
        let generation = current.generation + 1;
        let before = std::mem::replace(&mut *current, Arc::new(Site { generation, ..site }));
        self.generation.store(generation, Ordering::Release);
        before
    }

    fn lock(&self) -> MutexGuard<'_, Arc<Site>> {
        self.site.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::metrics::Metrics;

    fn site(max_head: usize) -> Site {
        let config = Config { max_head, ..Config::default() };
        let routes = Routes::start(&config, None, &Metrics::new(1)).unwrap();
        Site::new(config, routes, None)
    }

    #[test]
    fn a_thread_takes_a_new_site_when_it_looks_and_not_before() {
        let in_force = InForce::new(site(1));
        let (mut held, mut other) = (in_force.get(), in_force.get());
        assert_eq!(in_force.replace(site(2)).config.max_head, 1);
        assert_eq!((held.config.max_head, in_force.renew(&mut held).config.max_head), (1, 2));
        in_force.replace(site(3));
        in_force.replace(site(4));
        assert_eq!(in_force.renew(&mut held).config.max_head, 4);
        assert_eq!((other.config.max_head, in_force.renew(&mut other).config.max_head), (1, 4));
    }
}
