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

use crate::acceptor;
use crate::backend::Backends;
use crate::bell::Bell;
use crate::client::Crowd;
use crate::config::value::time_text;
use crate::config::{Config, Listen};
use crate::conn::{self, SLICE};
use crate::desk::Desk;
use crate::errand::Work;
use crate::failure::Failure;
use crate::house::House;
use crate::journal::{self, Counters, Journal};
use crate::seats::{self, Bounds, Ready, Seats};
use crate::stop::{Phase, Stop};
use crate::waiter::{Limits, Waiter};
use crate::worker;
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
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

/// How long a client that was told no may take to read it.
const FAREWELL: Duration = Duration::from_secs(2);

/// Descriptors for everything that is not a connection: listeners, epoll, standard streams, look-ups.
const HOUSEKEEPING: usize = 24;

/// A server that has its addresses and is ready to run.
pub struct Server {
    house: Arc<House>,
    listeners: Vec<TcpListener>,
    bell: Bell,
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

/// Why a server could not start.
#[derive(Debug)]
pub enum StartError {
    Bind(SocketAddr, io::Error),
    /// A backend that is one of the listeners.
    Myself(SocketAddr),
    System(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(address, error) if error.kind() == io::ErrorKind::AddrInUse => {
                write!(f, "{address} is in use by another program; choose another address with --listen")
            }
            Self::Bind(address, error) => {
                write!(f, "cannot listen on {address}: {error}; choose another address with --listen")
            }
            Self::Myself(address) => {
                write!(f, "the backend {address} is ronde's own address; a request would go round for ever")
            }
            Self::System(error) => write!(f, "cannot start: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl Server {
    /// Takes the addresses and gets everything ready. From here on the kernel accepts connections; they wait for
    /// [`Server::run`].
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn bind(mut config: Config, journal: Journal, orders: Orders) -> Result<Self, StartError> {
        let listeners = listen_all(&config.listen)?;
        refuse_myself(&config, &listeners)?;
        let late = afford(&mut config);
        let house = House {
            backends: Backends::start(&config)?,
            seats: Seats::new(bounds(&config, late), queue_limits(&config)),
            waiter: Waiter::new(waiter_limits(&config))?,
            crowd: Crowd::new(config.max_connections),
            journal,
            counters: Counters::new(),
            stop: Stop::default(),
            via: pseudonym(),
            config,
        };
        let (bell, workers) = (Bell::new()?, Arc::default());
        Ok(Self { house: Arc::new(house), listeners, bell, orders, workers })
    }

    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// `listening on 127.0.0.1:8080; 2 backends; ...`
    pub fn description(&self) -> String {
        let config = &self.house.config;
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
        let Self { house, listeners, bell, orders: Orders(orders), workers } = self;
        house.seats.recruit_by(recruiter(&house, &workers, thread::current()));
        if !house.seats.fill() {
            return Err(io::Error::other("the system has no threads for so many --workers"));
        }
        let (watching, ended) = bounded(0);
        let (house, bell) = (&*house, &bell);
        thread::scope(|scope| {
            let named = |name: &str| thread::Builder::new().name(name.into()).stack_size(STACK);
            let start = || {
                named("waiter").spawn_scoped(scope, || wait_for_clients(house))?;
                named("watch").spawn_scoped(scope, move || house.backends.watch(&ended))?;
                named("prompter").spawn_scoped(scope, || prompt_workers(house))?;
                named("acceptor").spawn_scoped(scope, move || acceptor::run(listeners, bell, house))
            };
            let acceptor = start().inspect_err(|_| {
                house.stop.advance(Phase::Over);
                house.waiter.wake();
            })?;

            // The main thread has nothing else to do: an order, or the end of whoever could give one, is the end.
            let _ = orders.recv();
            let grace = house.config.shutdown_grace;
            log::info!("stopping: {} connections, {} of grace", house.crowd.count(), time_text(grace));
            house.stop.advance(Phase::Draining);
            bell.ring();
            house.waiter.wake();
            let _ = acceptor.join();
            house.seats.close();
            if !await_workers(house, grace) {
                log::warn!("the grace is over: {} connections are cut", house.crowd.count());
                house.stop.advance(Phase::Over);
                house.waiter.wake();
            }
            for worker in std::mem::take(&mut *workers.lock().unwrap_or_else(PoisonError::into_inner)) {
                let _ = worker.join();
            }
            house.waiter.close();
            drop(watching);
            Ok::<(), io::Error>(())
        })?;
        log::info!("stopped: {}", house.counters.summary());
        Ok(())
    }
}

fn wait_for_clients(house: &House) {
    // Behind those who run, it finds more than one who is ready each time it wakes.
    worker::yield_to_the_running();
    house.waiter.run(&house.stop, |work, woken, since| {
        let ready = Ready { work: Work { woken, ..work }, since };
        let is_back = ready.work.errand.is_some();
        let offered = if is_back { house.seats.give_back(ready) } else { house.seats.offer(ready) };
        if let Err(ready) = offered {
            acceptor::turn_away(ready.work.client, Failure::Overloaded, house);
        }
    });
}

fn prompt_workers(house: &House) {
    house.seats.prompt(|work| acceptor::turn_away(work.client, Failure::Overloaded, house));
}

/// Waits until every worker has left, or for so long.
fn await_workers(house: &House, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    while !house.seats.is_deserted() {
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
    house: &Arc<House>,
    workers: &Arc<Mutex<Vec<JoinHandle<()>>>>,
    waiting: Thread,
) -> impl Fn() -> bool + Send + Sync + use<> {
    let (house, workers) = (Arc::downgrade(house), Arc::downgrade(workers));
    move || {
        let (Some(house), Some(workers)) = (house.upgrade(), workers.upgrade()) else { return false };
        let waiting = waiting.clone();
        // The closure holds no connection: when the system refuses the thread, it is dropped with all it holds.
        let spawned = thread::Builder::new().name("worker".into()).stack_size(STACK).spawn(move || {
            worker::run(&house);
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

/// A backend that leads straight back here. What leads back by a name or by another machine is seen at the first
/// request instead: 508, by `Via`.
fn refuse_myself(config: &Config, listeners: &[TcpListener]) -> Result<(), StartError> {
    let addresses = config
        .backend
        .iter()
        .filter_map(|backend| Some(SocketAddr::new(backend.host.parse().ok()?, backend.port)));
    let own: Vec<_> = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
    let is_own = |address: &SocketAddr| {
        let leads_here = |own: &SocketAddr| {
            let every = own.ip().is_unspecified() && (own.is_ipv6() || address.is_ipv4());
            own.port() == address.port()
                && (own.ip() == address.ip()
                    || every && (address.ip().is_loopback() || address.ip().is_unspecified()))
        };
        own.iter().any(leads_here)
    };
    addresses.into_iter().find(is_own).map_or(Ok(()), |address| Err(StartError::Myself(address)))
}

fn listen_all(wanted: &[Listen]) -> Result<Vec<TcpListener>, StartError> {
    let mut listeners = Vec::new();
    for listen in wanted {
        match *listen {
            Listen::At(address) => listeners.push(listen_at(address)?),
            Listen::Every(port) => {
                // One dual-stack socket where there is IPv6.
                let every = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port);
                let listener = match listen_at(every) {
                    Err(StartError::Bind(_, error)) if error.kind() != io::ErrorKind::AddrInUse => {
                        listen_at(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port))
                    }
                    outcome => outcome,
                };
                listeners.push(listener?);
            }
            Listen::Localhost(port) => {
                let listener = listen_at(SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port))?;
                let port = listener.local_addr()?.port();
                listeners.push(listener);
                // Both loopbacks where there are two.
                listeners.extend(listen_at(SocketAddr::new(IpAddr::from(Ipv6Addr::LOCALHOST), port)).ok());
            }
        }
    }
    Ok(listeners)
}

fn listen_at(address: SocketAddr) -> Result<TcpListener, StartError> {
    conn::listen(address).map_err(|error| StartError::Bind(address, error))
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
        farewell: FAREWELL,
        slice: even_slice(config.response_timeout),
        min_rate: config.min_rate,
        budget: WAITING_BUDGET,
    }
}

/// The longest slice that is an even part of `whole`: so that the end of the last one is the end of the time.
fn even_slice(whole: Duration) -> Duration {
    let slices = whole.as_nanos().div_ceil(SLICE.as_nanos()).max(1);
    whole / u32::try_from(slices).unwrap_or(u32::MAX)
}

/// The most user-space memory that these settings can make ronde use, in bytes.
fn memory_ceiling(config: &Config) -> usize {
    /// A parked connection with its place in the roster and in the channel, rounded up.
    const CONNECTION: usize = 512;
    /// A request that waits for a backend, rounded up; what it keeps counts in the budget of the waiter.
    const ERRAND: usize = 1024;
    let threads = config.workers + config.max_transfers;
    let queue = 2 * config.queue + config.max_connections;
    threads * (STACK + Desk::size(config))
        + config.max_connections * (CONNECTION + ERRAND)
        + queue * size_of::<Ready<Work>>()
        + WAITING_BUDGET
        + QUEUED_BUDGET
        + journal::MEMORY
}

/// `ronde-` and 8 hexadecimal digits that no other ronde has: std's hash maps are seeded by the system.
fn pseudonym() -> String {
    let digits = RandomState::new().build_hasher().finish() as u32;
    format!("ronde-{digits:08x}")
}
