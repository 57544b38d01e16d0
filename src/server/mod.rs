//! Every thread and how it ends: bind, run, drain, join.
//!
//! The problem: a server that starts threads here and there cannot say when it is over. The workers, the acceptor and the
//! thread that looks after the backends are started and joined in this module; each has a name, and one event that ends
//! it. Some threads are not joined, since nothing can end them in time: the logger's, which [`Logger::finish`] waits for;
//! those that handle signals; one for each name that is looked up, as getaddrinfo(3) cannot be interrupted; and that of a
//! reload, which may look at a file system that hangs.
//!
//! ```text
//! stop ─▶ acceptor empties the backlog ─▶ idle clients are closed, after a moment ─▶ workers finish what is in flight
//!      ─▶ (grace over: what is parked comes out, and is cut) ─▶ the last connection has ended: workers leave
//! ```
//!
//! Reading order: `listeners` (what is opened, and why a start fails), `acceptor` (from a listener to the channel), `worker` (from
//! the waiter to the client), `watch` (the backends, beside the requests), `signals` and `orders` (what ends or changes a server),
//! `reload`, `admin` (the listener for the admin). `certificates` (what the listeners with TLS show), `activation` (sockets that were
//! passed), `description` (the first line of the log), `manager` (what systemd is told), `rehearsal` (for `ronde check`) and
//! `scheduling` are what the start works with.
//!
//! Not here: exit codes (`main`).

mod acceptor;
mod activation;
pub mod admin;
mod certificates;
mod description;
mod listeners;
mod manager;
mod orders;
pub mod rehearsal;
mod reload;
mod scheduling;
pub mod signals;
mod watch;
mod worker;

pub use listeners::StartError;
pub use orders::{Commander, Orders, Outcome, orders};
pub use reload::{Reader, Reread};

use crate::config::value::{count_text, time_text};
use crate::config::{Address, Config, waits};
use crate::net::descriptors;
use crate::net::listener::Listener;
use crate::net::passed::Passed;
use crate::net::waker::Waker;
use crate::observe::logger::Logger;
use crate::observe::metrics::Metrics;
use crate::pool::patience::Patience;
use crate::pool::waiter::Waiter;
use crate::proxy::client::ConnectionLimit;
use crate::proxy::per_client::PerClient;
use crate::proxy::route::Routes;
use crate::proxy::shared::Shared;
use crate::proxy::site::{InForce, Site};
use acceptor::Doors;
use activation::Activated;
use admin::Answers;
use crossbeam_channel::bounded;
use description::describe;
use listeners::{Entrance, listen_all, listen_for_admin, refuse_all_myself, withdraw_new};
use manager::Manager;
use orders::Next;
use reload::Reloads;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::{Duration, Instant};

/// A thread's stack. The deepest call chain needs a fifth of it, most of that for the field lines of one head.
const STACK: usize = 128 * 1024;

/// A server that has its addresses and is ready to run.
pub struct Server {
    shared: Shared,
    entrances: Vec<Entrance>,
    admin: Vec<Listener>,
    orders: Orders,
}

impl Server {
    /// Takes the addresses, beside the sockets that were passed to this process, and gets everything ready. From here on the
    /// kernel accepts connections; they wait for [`Server::run`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn bind(
        config: Config,
        passed: Vec<Passed>,
        logger: Logger,
        orders: Orders,
    ) -> Result<Self, StartError> {
        // Before anything depends on this process: a system call filter may kill it for the attempt.
        scheduling::set(config.scheduling);
        let activated = Activated::of(passed, &config)?;
        let entrances = listen_all(&config, &activated.entrances)?;
        let admin =
            listen_for_admin(&config, activated.admin).inspect_err(|_| withdraw_new(&entrances, &[]))?;
        match Self::share(config, logger, &entrances) {
            Ok(shared) => Ok(Self { shared, entrances, admin, orders }),
            Err(error) => {
                withdraw_new(&entrances, &[]);
                admin.iter().for_each(Listener::withdraw);
                Err(error)
            }
        }
    }

    fn share(mut config: Config, logger: Logger, entrances: &[Entrance]) -> Result<Shared, StartError> {
        refuse_all_myself(&config, entrances)?;
        bound_by_descriptors(&mut config, None);
        let metrics = Arc::new(Metrics::new(config.worker_count()));
        let certificates = certificates::load(&config, entrances, None)?;
        let routes = Routes::start(&config, None, &metrics)?;
        Ok(Shared {
            waiter: Waiter::new(config.worker_count(), config.queue, config.parked_memory)?,
            patience: Patience::new(),
            per_client: PerClient::default(),
            connections: ConnectionLimit::default(),
            logger,
            metrics,
            explained: AtomicU64::new(0),
            pseudonym: pseudonym(),
            site: InForce::new(Site::new(config, routes, certificates)),
        })
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.entrances.iter().filter_map(|entrance| entrance.listener.address()).collect()
    }

    /// Serves the admin by this listener as well, which was opened elsewhere.
    pub fn open_admin_to(&mut self, listener: Option<Listener>) {
        self.admin.extend(listener);
    }

    /// Of the admin listener; none if it is off.
    pub fn admin_addresses(&self) -> Vec<Address> {
        addresses_of(&self.admin)
    }

    /// `listening on 127.0.0.1:8080; backends ...; 6 workers ...`
    pub fn description(&self) -> String {
        describe(&self.shared.site.get().config, &self.entrances, &self.admin_addresses())
    }

    /// Serves until it is told to stop, and returns when everything has ended. An order to reload has the configuration read
    /// again by `read`.
    ///
    /// # Errors
    /// The system refused a thread, and which.
    pub fn run(self, read: Reader) -> io::Result<()> {
        let Self { shared, entrances, admin, orders } = self;
        let admin_addresses = addresses_of(&admin);
        let workers = shared.site.get().config.worker_count();
        let (shared, waker, admin_end) = (&shared, &Waker::new()?, &Waker::new()?);
        let (watching, ended) = bounded::<()>(0);
        let (acceptor, changes) = bounded(1);
        let reloads = Reloads::new(shared, read, entrances.clone(), acceptor, waker);
        let doors = Doors { entrances, changes };
        let answers = Answers::new(reloads.reached.clone(), shared, orders.reloader());
        thread::scope(|scope| {
            let started = (|| {
                for number in 1..=workers {
                    start(scope, &format!("worker {number}"), move || worker::run(shared, number))?;
                }
                if !admin.is_empty() {
                    start(scope, "admin", move || admin::run(admin, answers, admin_end))?;
                }
                start(scope, "backends", move || watch::run(shared, &ended))?;
                start(scope, "acceptor", move || accept(doors, waker, shared))
            })();
            let served = started.map(|acceptor| {
                let mut manager = Manager::new(&shared.waiter);
                await_stop(&orders, reloads, &mut manager, &admin_addresses);
                drain(shared, waker, acceptor, &manager);
            });
            // Also when a thread could not be started: those that were end, and the scope joins them.
            shared.waiter.release_workers();
            admin_end.wake();
            drop(watching);
            served
        })?;
        log::info!("stopped: {}", shared.metrics.summary());
        Ok(())
    }
}

/// Carries out all other orders until that to stop. Then the acceptor alone has the listeners: they are closed when it ends.
fn await_stop(orders: &Orders, mut reloads: Reloads<'_>, manager: &mut Manager<'_>, admin: &[Address]) {
    let (shared, proofs) = (reloads.shared, manager.proofs());
    let status = |reloads: &Reloads<'_>| describe(&shared.site.get().config, &reloads.entrances, admin);
    manager.ready(&status(&reloads));
    loop {
        match orders.next(reloads.under_way(), &proofs) {
            Next::Stop => return,
            Next::Reload(askers) => {
                log::info!("the configuration is read again");
                manager.reloading();
                reloads.begin(askers);
                if reloads.under_way().is_none() {
                    manager.ready(&status(&reloads));
                }
            }
            Next::Ready(built) => {
                reloads.finish(built);
                manager.ready(&status(&reloads));
            }
            Next::Reopen if !shared.logger.reopen() => {
                log::warn!("SIGUSR1 has no meaning for a ronde without log files, and is ignored");
            }
            Next::Reopen => {}
            Next::Look => reloads.look_at_certificates(),
            Next::Prove => manager.prove(),
        }
    }
}

/// Ends everything that is in flight: what can be finished within the grace, and the rest at its end.
fn drain(
    shared: &Shared,
    waker: &Waker,
    acceptor: ScopedJoinHandle<'_, Vec<Entrance>>,
    manager: &Manager<'_>,
) {
    let (grace, begun) = (shared.site.get().config.shutdown_grace, Instant::now());
    let connections = || count_text(shared.connections.count(), "connection");
    // At most half of the grace: at its end only clients with a request under way are left to be cut.
    shared.waiter.drain(begun + waits::LAST_REQUEST.min(grace / 2));
    // Not before it is so: each response from here on is the last of its connection.
    log::info!("stopping: {}, {} of grace", connections(), time_text(grace));
    waker.wake();
    let _passed = acceptor.join();
    loop {
        manager.stopping(shared.connections.count());
        let left = grace.saturating_sub(begun.elapsed());
        if shared.connections.wait_until_empty(left.min(waits::DRAIN_STATUS)) {
            return;
        }
        if left <= waits::DRAIN_STATUS {
            break;
        }
    }
    log::warn!("the grace is over, and cuts {}", connections());
    shared.waiter.cut();
    shared.connections.wait_until_empty(Duration::MAX);
}

/// Starts a thread.
///
/// # Errors
/// The system has none; the error says for what.
fn start<'scope, 'env, R: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    name: &str,
    run: impl FnOnce() -> R + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, R>> {
    let builder = thread::Builder::new().name(name.into()).stack_size(STACK);
    builder.spawn_scoped(scope, run).map_err(|error| {
        io::Error::new(error.kind(), format!("the system has no thread for the {name}: {error}"))
    })
}

/// Accepts until the stop. A panic is a bug; it must not leave a proxy that listens and never answers. Returns the listeners
/// that were passed to ronde: they are closed with the process, so that clients wait even where nothing else keeps them.
fn accept(mut doors: Doors, waker: &Waker, shared: &Shared) -> Vec<Entrance> {
    let recorder = shared.metrics.of_acceptor();
    while catch_unwind(AssertUnwindSafe(|| acceptor::run(&mut doors, waker, shared, &recorder))).is_err() {
        log::error!("the acceptor panicked, and goes on: please report this");
    }
    activation::passed(&doors.entrances)
}

/// Raises the limit of open files as far as it goes. There cannot be more clients than sockets; how many of these are for
/// clients and how many for backends is settled as they are needed. It is said unless it was so before a reload.
fn bound_by_descriptors(config: &mut Config, before: Option<&Config>) {
    if let Some(sockets) = descriptors::raise_limit()
        && sockets < config.max_connections
    {
        config.max_connections = sockets;
        if before.is_none_or(|before| before.max_connections != sockets) {
            log::info!(
                "at most {sockets} connections to clients and backends together: raise the limit of open files (ulimit -n) for more"
            );
        }
    }
}

fn addresses_of(listeners: &[Listener]) -> Vec<Address> {
    listeners.iter().filter_map(Listener::address).collect()
}

/// `ronde-` and 8 hexadecimal digits that no other ronde has: std's hash maps are seeded by the system.
fn pseudonym() -> String {
    let digits = RandomState::new().build_hasher().finish() as u32;
    format!("ronde-{digits:08x}")
}
