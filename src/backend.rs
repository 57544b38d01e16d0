//! The backends: who is in the round, whose turn it is, and the connections to them.
//!
//! The problem: a configured backend is a name; what takes a turn is an address. A name may have several, none yet,
//! or others than a minute ago. So every address is a [`Backend`] of its own, made when its name first resolves to
//! it and forgotten when the name no longer does; requests that are under way to it keep it alive until they end.
//!
//! A choice is an iterator: [`Backends::round`] yields the one whose turn it is, then the fallbacks, each at most
//! once. What is yielded is a [`Turn`], which counts as waiting for its backend until it says otherwise, so that one
//! backend that hangs cannot hold all workers (a bulkhead).
//!
//! Not here: what is sent (`exchange`).

pub mod balance;
pub mod pool;
pub mod resolve;

use crate::config::{self, Config};
use crate::conn::Conn;
use crate::failure::Failure;
use crossbeam_channel::{Receiver, Sender, bounded};
use pool::Pool;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How long `Backends::start` waits for the first answers of the name service, so that the first request finds
/// backends where there are any.
const FIRST_ANSWERS: Duration = Duration::from_secs(1);

/// One address that takes turns.
#[derive(Debug)]
pub struct Backend {
    pub address: SocketAddr,
    weight: u32,
    rank: Rank,
    /// Requests that wait for a connection or a response head, and the most there may be.
    waiting: AtomicUsize,
    most: Option<usize>,
    pool: Pool,
}

/// Whether a backend serves, or stands by until no other can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Primary,
    Backup,
}

impl Backend {
    /// Keeps a connection for the next request.
    pub fn keep(&self, conn: Conn) {
        self.pool.put(conn);
    }
}

/// A name from the configuration and what it stands for now.
struct Named {
    spec: config::Backend,
    addresses: Mutex<Vec<Arc<Backend>>>,
    /// Wishes for a new look-up; none for an address that is no name.
    wanted: Option<Sender<()>>,
}

/// See the module.
pub struct Backends {
    names: Vec<Arc<Named>>,
    round: Mutex<balance::Round<Arc<Backend>>>,
    settings: Settings,
}

#[derive(Clone, Copy)]
struct Settings {
    most_waiting: usize,
    most_idle: usize,
    keep_alive: Duration,
    connect: Duration,
    resolve_interval: Duration,
}

impl Backends {
    /// Starts following the names. Returns when every name has an answer, or soon.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(config: &Config) -> io::Result<Arc<Self>> {
        let settings = Settings {
            most_waiting: config.max_per_backend.unwrap_or((config.workers * 3).div_ceil(4)),
            most_idle: config.workers,
            keep_alive: config.backend_keep_alive_timeout,
            connect: config.connect_timeout,
            resolve_interval: config.resolve_interval,
        };
        let mut wishes = Vec::new();
        let names = config.backend.iter().map(|spec| {
            let wanted = match spec.host.parse::<IpAddr>() {
                Ok(_) => None,
                Err(_) => {
                    let (wanted, wish) = bounded(1);
                    wishes.push(wish);
                    Some(wanted)
                }
            };
            Arc::new(Named { spec: spec.clone(), addresses: Mutex::default(), wanted })
        });
        let names: Vec<_> = names.collect();
        let round = Mutex::new(balance::Round::new([]));
        let backends = Arc::new(Self { names, round, settings });
        backends.follow_names(wishes)?;
        Ok(backends)
    }

    /// The backends in the order in which this request should try them.
    pub fn round(&self) -> Round<'_> {
        Round { backends: self, tried: Vec::new(), current: None }
    }

    /// How many addresses there are.
    pub fn count(&self) -> usize {
        lock(&self.round).iter().count()
    }

    /// Why there was no turn: nobody is known, or everybody is busy.
    pub fn absence(&self) -> Failure {
        if self.count() == 0 { Failure::NoBackend } else { Failure::BackendsBusy }
    }

    /// Closes connections that have been idle for too long. To be called every second or so.
    pub fn sweep(&self) {
        let all: Vec<_> = lock(&self.round).iter().cloned().collect();
        all.iter().for_each(|backend| backend.pool.sweep());
    }

    /// Addresses are there at once; each name gets a thread, and the first answers are waited for together.
    fn follow_names(self: &Arc<Self>, wishes: Vec<Receiver<()>>) -> io::Result<()> {
        let (names, literals): (Vec<_>, Vec<_>) =
            self.names.iter().cloned().partition(|named| named.wanted.is_some());
        for named in literals {
            if let Ok(ip) = named.spec.host.parse() {
                self.become_addresses(&named, vec![SocketAddr::new(ip, named.spec.port)]);
            }
        }
        let (answered, answers) = bounded(names.len());
        for (named, wish) in names.iter().cloned().zip(wishes) {
            let backends = Arc::downgrade(self);
            let (interval, answered) = (self.settings.resolve_interval, answered.clone());
            let name = format!("resolve {}", named.spec.host);
            thread::Builder::new().name(name).spawn(move || {
                let (host, port) = (named.spec.host.clone(), named.spec.port);
                let mut failed_before = false;
                resolve::follow(&host, port, interval, &wish, |answer| {
                    let Some(backends) = backends.upgrade() else { return };
                    match answer {
                        Ok(addresses) => {
                            failed_before = false;
                            backends.become_addresses(&named, addresses);
                        }
                        // The last good answer stays: a name server that is down takes nobody out.
                        Err(error) if !failed_before => {
                            failed_before = true;
                            log::warn!("{host} does not resolve: {error}; ronde keeps trying");
                        }
                        Err(_) => {}
                    }
                    let _ = answered.try_send(());
                });
            })?;
        }
        let deadline = Instant::now() + FIRST_ANSWERS;
        for _ in names {
            if answers.recv_deadline(deadline).is_err() {
                break;
            }
        }
        Ok(())
    }

    /// A name stands for these addresses now.
    fn become_addresses(&self, named: &Named, addresses: Vec<SocketAddr>) {
        let mut current = lock(&named.addresses);
        if current.iter().map(|backend| backend.address).eq(addresses.iter().copied()) {
            return;
        }
        let is_first = current.is_empty();
        let known = std::mem::take(&mut *current);
        for gone in known.iter().filter(|backend| !addresses.contains(&backend.address)) {
            log::info!("{}: - {}", named.spec, gone.address.ip());
            gone.pool.clear();
        }
        *current = addresses
            .into_iter()
            .map(|address| match known.iter().find(|backend| backend.address == address) {
                Some(backend) => Arc::clone(backend),
                None => {
                    if !is_first || named.wanted.is_some() {
                        log::info!("{}: + {}", named.spec, address.ip());
                    }
                    Arc::new(self.backend(named, address))
                }
            })
            .collect();
        drop(current);
        self.replace_round();
    }

    fn backend(&self, named: &Named, address: SocketAddr) -> Backend {
        Backend {
            address,
            weight: named.spec.weight,
            rank: if named.spec.backup { Rank::Backup } else { Rank::Primary },
            waiting: AtomicUsize::new(0),
            most: named.spec.max_connections,
            pool: Pool::new(self.settings.most_idle, self.settings.keep_alive),
        }
    }

    fn replace_round(&self) {
        let mut round = lock(&self.round);
        let all: Vec<_> = self.names.iter().flat_map(|named| lock(&named.addresses).clone()).collect();
        round.replace(all.into_iter().map(|backend| {
            let weight = backend.weight;
            (backend, weight)
        }));
    }

    /// The next turn for a request that has tried `tried`.
    fn next(&self, tried: &[Arc<Backend>]) -> Option<Turn> {
        let mut round = lock(&self.round);
        // With one backend in the round there is nobody to protect from it.
        let most = if round.iter().nth(1).is_some() { self.settings.most_waiting } else { usize::MAX };
        let is_free = |backend: &Arc<Backend>, rank| {
            backend.rank == rank
                && backend.waiting.load(Ordering::Relaxed) < backend.most.unwrap_or(usize::MAX).min(most)
                && !tried.iter().any(|tried| Arc::ptr_eq(tried, backend))
        };
        let chosen = [Rank::Primary, Rank::Backup]
            .into_iter()
            .find_map(|rank| round.next(|backend| is_free(backend, rank)).cloned())?;
        chosen.waiting.fetch_add(1, Ordering::Relaxed);
        Some(Turn { backend: chosen, limit: self.settings.connect })
    }
}

/// One request's way through the backends: an iterator over [`Turn`]s.
pub struct Round<'a> {
    backends: &'a Backends,
    /// Without the current one, so that the first turn allocates nothing.
    tried: Vec<Arc<Backend>>,
    current: Option<Arc<Backend>>,
}

impl Iterator for Round<'_> {
    type Item = Turn;

    fn next(&mut self) -> Option<Turn> {
        self.tried.extend(self.current.take());
        let turn = self.backends.next(&self.tried)?;
        self.current = Some(Arc::clone(&turn.backend));
        Some(turn)
    }
}

/// A backend's turn with one request. It counts as waiting until it is dropped.
#[derive(Debug)]
pub struct Turn {
    backend: Arc<Backend>,
    limit: Duration,
}

impl Turn {
    pub fn address(&self) -> SocketAddr {
        self.backend.address
    }

    /// A connection that was used before and seems to be alive.
    pub fn kept(&self) -> Option<Conn> {
        self.backend.pool.take()
    }

    /// A fresh connection, until `deadline` and within `--connect-timeout`. `give_up` is asked every second.
    ///
    /// # Errors
    /// Why there is none. What is ronde's own lack is not the backend's failure.
    pub fn connect(&self, deadline: Instant, give_up: impl FnMut() -> bool) -> Result<Conn, Failure> {
        let deadline = deadline.min(Instant::now() + self.limit);
        Conn::connect(self.backend.address, deadline, give_up).map_err(|error| match error.kind() {
            io::ErrorKind::TimedOut => Failure::ConnectTimeout,
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => Failure::Refused,
            _ if is_shortage(&error) => Failure::Descriptors,
            _ => Failure::Unreachable,
        })
    }

    /// The backend itself, for when the request no longer waits for it.
    pub fn backend(&self) -> Arc<Backend> {
        Arc::clone(&self.backend)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.backend.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the system, and not the backend, said no: no descriptor, no memory, no port of ours left.
fn is_shortage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| shortages.iter().any(|errno| errno.raw_os_error() == code))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
