//! Every thread and how it ends: bind, run, drain, join.
//!
//! The problem: a server that starts threads here and there cannot say when it is over. All of ronde's threads are
//! started and joined in this module, each has a name, and each ends because something it waits for is closed or
//! because a slice of its wait is over and it looks at the stop. Only look-ups of names are not waited for:
//! getaddrinfo cannot be interrupted.
//!
//! ```text
//! stop ─▶ acceptor empties the backlog ─▶ waiter closes the idle ─▶ workers finish what is in flight
//!      ─▶ (grace over: every wait ends within a slice) ─▶ workers joined ─▶ waiter closed and joined
//! ```
//!
//! Not here: signals and exit codes (`main`).

mod acceptor;
mod listeners;
mod worker;

pub use listeners::StartError;

use crate::backend::Backends;
use crate::config::Config;
use crate::config::value::time_text;
use crate::config::waits;
use crate::net::waker::Waker;
use crate::observe::counters::Counters;
use crate::observe::failure::Failure;
use crate::observe::logger::{self, Logger};
use crate::pool::seats::{self, Bounds, Ready, Seats};
use crate::pool::stop::{Phase, Stop};
use crate::pool::waiter::{Limits, Waiter};
use crate::proxy::client::ConnectionLimit;
use crate::proxy::in_flight::Work;
use crate::proxy::scratch::Scratch;
use crate::proxy::shared::Shared;
use crossbeam_channel::{Receiver, Sender, bounded};
use listeners::{listen_all, refuse_myself};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle, Thread};
use std::time::{Duration, Instant};

/// A worker's stack. The deepest call chain needs a fifth of it, most of that for the field lines of one head.
const STACK: usize = 128 * 1024;

/// Bytes of slow messages that the waiter holds, all together.
const WAITING_BUDGET: usize = 32 * 1024 * 1024;

/// Bytes of messages that wait for a worker, all together: collected ones, and pipelined ones. At 200 bytes
/// a request it is never reached; it is what a few hundred can do who send as much as they may.
const QUEUED_BUDGET: usize = 32 * 1024 * 1024;

/// Descriptors for everything that is not a connection: listeners, epoll, standard streams, look-ups.
const HOUSEKEEPING: usize = 24;

/// A server that has its addresses and is ready to run.
pub struct Server {
    shared: Arc<Shared>,
    listeners: Vec<TcpListener>,
    waker: Waker,
    orders: Orders,
    workers: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Stops a server, also one that is only about to run; may be cloned and sent anywhere.
#[derive(Clone, Debug)]
pub struct Stopper(Sender<()>);

/// Where a server hears of it. The end of every [`Stopper`] is an order, too.
#[derive(Debug)]
pub struct Orders(Receiver<()>);

/// What a server is stopped by. Made before the server, because a start may take seconds and must not be deaf.
pub fn orders() -> (Stopper, Orders) {
    let (order, orders) = bounded(1);
    (Stopper(order), Orders(orders))
}

impl Stopper {
    pub fn stop(&self) {
        // When an order is waiting already, this one is the same.
        let _ = self.0.try_send(());
    }
}

impl Server {
    /// Takes the addresses and gets everything ready. From here on the kernel accepts connections; they wait for
    /// [`Server::run`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn bind(mut config: Config, logger: Logger, orders: Orders) -> Result<Self, StartError> {
        let listeners = listen_all(&config.listen)?;
        refuse_myself(&config, &listeners)?;
        let late = afford(&mut config);
        let shared = Shared {
            backends: Backends::start(&config)?,
            seats: Seats::new(bounds(&config, late), queue_limits(&config)),
            waiter: Waiter::new(waiter_limits(&config))?,
            connections: ConnectionLimit::new(config.max_connections),
            logger,
            counters: Counters::new(),
            stop: Stop::default(),
            via: pseudonym(),
            config,
        };
        let (waker, workers) = (Waker::new()?, Arc::default());
        Ok(Self { shared: Arc::new(shared), listeners, waker, orders, workers })
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// `listening on 127.0.0.1:8080; 2 backends; ...`
    pub fn description(&self) -> String {
        let config = &self.shared.config;
        let addresses: Vec<_> = self.addresses().iter().map(SocketAddr::to_string).collect();
        let backends: Vec<_> = config.backend.iter().map(ToString::to_string).collect();
        format!(
            "listening on {}; backends {}; {} workers; at most {} connections and {} MB of memory \
             (and what the kernel takes for sockets)",
            addresses.join(", "),
            backends.join(", "),
            config.workers,
            config.max_connections,
            memory_ceiling(config).div_ceil(1_000_000),
        )
    }

    /// Serves until it is told to stop, and returns when everything has ended.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn run(self) -> io::Result<()> {
        let Self { shared, listeners, waker, orders: Orders(orders), workers } = self;
        shared.seats.recruit_by(recruiter(&shared, &workers, thread::current()));
        if !shared.seats.fill() {
            return Err(io::Error::other("the system has no threads for so many --workers"));
        }
        let (watching, ended) = bounded(0);
        let (shared, waker) = (&*shared, &waker);
        thread::scope(|scope| {
            let named = |name: &str| thread::Builder::new().name(name.into()).stack_size(STACK);
            let start = || {
                named("waiter").spawn_scoped(scope, || wait_for_clients(shared))?;
                named("watch").spawn_scoped(scope, move || shared.backends.watch(&ended))?;
                named("prompter").spawn_scoped(scope, || prompt_workers(shared))?;
                named("acceptor").spawn_scoped(scope, move || acceptor::run(listeners, waker, shared))
            };
            let acceptor = start().inspect_err(|_| {
                shared.stop.advance(Phase::Over);
                shared.waiter.wake();
            })?;

            // The main thread has nothing else to do: an order, or the end of whoever could give one, is the end.
            let _ = orders.recv();
            let grace = shared.config.shutdown_grace;
            log::info!("stopping: {} connections, {} of grace", shared.connections.count(), time_text(grace));
            shared.stop.advance(Phase::Draining);
            waker.wake();
            shared.waiter.wake();
            let _ = acceptor.join();
            shared.seats.close();
            if !await_workers(shared, grace) {
                log::warn!("the grace is over: {} connections are cut", shared.connections.count());
                shared.stop.advance(Phase::Over);
                shared.waiter.wake();
            }
            for worker in std::mem::take(&mut *workers.lock().unwrap_or_else(PoisonError::into_inner)) {
                let _ = worker.join();
            }
            shared.waiter.close();
            drop(watching);
            Ok::<(), io::Error>(())
        })?;
        log::info!("stopped: {}", shared.counters.summary());
        Ok(())
    }
}

fn wait_for_clients(shared: &Shared) {
    // Behind those who run, it finds more than one who is ready each time it wakes.
    worker::yield_to_the_running();
    shared.waiter.run(&shared.stop, |work, woken, since| {
        let ready = Ready { work: Work { woken, ..work }, since };
        let is_back = ready.work.in_flight.is_some();
        let offered = if is_back { shared.seats.give_back(ready) } else { shared.seats.offer(ready) };
        if let Err(ready) = offered {
            acceptor::turn_away(ready.work.client, Failure::Overloaded, shared);
        }
    });
}

fn prompt_workers(shared: &Shared) {
    shared.seats.prompt(|work| acceptor::turn_away(work.client, Failure::Overloaded, shared));
}

/// Waits until every worker has left, or for so long.
fn await_workers(shared: &Shared, stall: Duration) -> bool {
    let deadline = Instant::now() + stall;
    while !shared.seats.is_deserted() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        thread::park_timeout(left);
    }
    true
}

/// Makes workers; each tells `waiting` when it has left.
fn recruiter(
    shared: &Arc<Shared>,
    workers: &Arc<Mutex<Vec<JoinHandle<()>>>>,
    waiting: Thread,
) -> impl Fn() -> bool + Send + Sync + use<> {
    let (shared, workers) = (Arc::downgrade(shared), Arc::downgrade(workers));
    move || {
        let (Some(shared), Some(workers)) = (shared.upgrade(), workers.upgrade()) else { return false };
        let waiting = waiting.clone();
        // The closure holds no connection: when the system refuses the thread, it is dropped with all it holds.
        let spawned = thread::Builder::new().name("worker".into()).stack_size(STACK).spawn(move || {
            worker::run(&shared);
            waiting.unpark();
        });
        match spawned {
            Ok(handle) => {
                let mut workers = workers.lock().unwrap_or_else(PoisonError::into_inner);
                workers.retain(|worker| !worker.is_finished());
                workers.push(handle);
                true
            }
            Err(error) => {
                log::error!("the system has no thread left: {error}");
                false
            }
        }
    }
}

/// Raises the limit of open files as far as it goes, and bounds the clients by it: every request needs a connection to a
/// backend too, and running out of descriptors there would look like a backend's failure. Returns how many requests may
/// wait for backends that take their time, without a thread: one a client, if that can be had.
fn afford(config: &mut Config) -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // The hard limit may be raised to by anybody; should this fail, the soft one holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
    }
    let Some(descriptors) = getrlimit(Resource::Nofile).current else { return config.max_connections };
    let usable = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(HOUSEKEEPING);
    let for_threads = (config.workers + config.max_transfers).min(usable / 2);
    let rest = usable - for_threads;
    // Most clients of most proxies are idle; where there is too little for everybody, a third of them may be waiting.
    let affordable = (rest - rest / 4).max(1);
    if affordable < config.max_connections {
        config.max_connections = affordable;
        log::info!(
            "at most {affordable} connections, as the limit of open files is {descriptors} (ulimit -n)"
        );
    }
    rest.saturating_sub(config.max_connections).min(config.max_connections)
}

fn bounds(config: &Config, most_away: usize) -> Bounds {
    Bounds { workers: config.workers, max_transfers: config.max_transfers, most_away }
}

fn queue_limits(config: &Config) -> seats::Limits {
    seats::Limits { most: config.queue, budget: QUEUED_BUDGET, patience: config.queue_timeout }
}

fn waiter_limits(config: &Config) -> Limits {
    Limits {
        idle: config.keep_alive_timeout,
        total: config.head_timeout,
        pause: config.body_timeout,
        farewell: waits::LINGERING_CLOSE,
        slice: even_slice(config.response_timeout),
        min_rate: config.min_rate,
        budget: WAITING_BUDGET,
    }
}

/// The longest slice that is an even part of `whole`: so that the end of the last one is the end of the time.
fn even_slice(whole: Duration) -> Duration {
    let slices = whole.as_nanos().div_ceil(waits::ONE_CALL.as_nanos()).max(1);
    whole / u32::try_from(slices).unwrap_or(u32::MAX)
}

/// The most user-space memory that these settings can make ronde use, in bytes.
fn memory_ceiling(config: &Config) -> usize {
    /// A parked connection with its place in the deadlines and in the channel, rounded up.
    const CONNECTION: usize = 512;
    /// A request that waits for a backend, rounded up; what it keeps counts in the budget of the waiter.
    const ERRAND: usize = 1024;
    let threads = config.workers + config.max_transfers;
    let queue = 2 * config.queue + config.max_connections;
    threads * (STACK + Scratch::size(config))
        + config.max_connections * (CONNECTION + ERRAND)
        + queue * size_of::<Ready<Work>>()
        + WAITING_BUDGET
        + QUEUED_BUDGET
        + logger::MEMORY
}

/// `ronde-` and 8 hexadecimal digits that no other ronde has: std's hash maps are seeded by the system.
fn pseudonym() -> String {
    let digits = RandomState::new().build_hasher().finish() as u32;
    format!("ronde-{digits:08x}")
}
