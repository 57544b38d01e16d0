//! The backends: the round, its turns, and the connections.
//!
//! The problem: a configured backend is a name; what takes a turn is an address. A name may have several, none yet,
//! or others than a minute ago. So every address is a [`Backend`] of its own, made when its name first resolves to
//! it and forgotten when the name no longer does; requests that are under way to it keep it alive until they end.
//!
//! A choice is an iterator: [`Backends::next`] yields the one whose turn it is, then the fallbacks, each at most once.
//! What it yields is a [`Turn`], which counts at the backend until its response has ended.
//!
//! Not here: what is sent (`exchange`).

mod affinity;
pub mod balance;
pub mod checks;
pub mod health;
mod inquiry;
mod instead;
pub mod kept;
mod membership;
mod never_up;
pub mod progress;
pub mod resolve;
pub mod retry_budget;
mod tried;
mod turn;

use crate::config::{Address, Balance, Config, Peer};
use crate::observe::failure::{Blame, Failure};
use balance::Place;
use checks::Check;
use health::{Change, Health, Rules, Trouble};
use kept::{AllKept, KeptConnections};
use membership::{Members, Membership};
use progress::{Answers, Progress};
use retry_budget::RetryBudget;
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
pub use tried::Tried;
pub use turn::Turn;

/// One address that takes turns.
#[derive(Debug)]
pub struct Backend {
    pub address: Address,
    /// As it stands in the configuration.
    name: String,
    /// The Host of its checks, unless one is configured.
    authority: String,
    weight: u32,
    rank: Rank,
    /// Requests that wait for a connection or a response head.
    waiting: AtomicUsize,
    /// Whether its last response took so long that no worker should wait for the next.
    is_slow: AtomicBool,
    /// Whether it is on this host or network: its address says so at first, and then the connects.
    is_near: AtomicBool,
    /// Requests that wait, and those whose response is under way; and the most there may be.
    active: AtomicUsize,
    most: Option<usize>,
    progress: Progress,
    health: Mutex<Health>,
    /// Whether its first check is under way.
    in_first_check: AtomicBool,
    /// Whether a success would change nothing, so that the usual path takes no lock.
    is_sound: AtomicBool,
    kept: Arc<KeptConnections>,
    /// Connects that looked for its return and failed; see `never_up`.
    failed_returns: AtomicUsize,
}

/// Whether a backend serves, or stands by until no other can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rank {
    Primary,
    Backup,
}

impl fmt::Display for Backend {
    /// `app1:8000 (172.18.0.5)`, or the address alone where that is what is configured.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.address.to_string();
        match self.address.ip() {
            Some(ip) if self.name != address => write!(f, "{} ({ip})", self.name),
            _ => f.write_str(&address),
        }
    }
}

impl Backend {
    fn takes_turns(&self, now: Instant) -> bool {
        self.is_sound.load(Ordering::Acquire) || lock(&self.health).takes_turns(now)
    }

    fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    /// How many more requests it may have in flight.
    fn room(&self) -> usize {
        self.most.map_or(usize::MAX, |most| most.saturating_sub(self.active()))
    }

    fn awaits_check(&self) -> bool {
        !self.is_sound.load(Ordering::Acquire) && lock(&self.health).awaits_check()
    }

    fn waits_for_trial(&self) -> bool {
        !self.is_sound.load(Ordering::Acquire) && lock(&self.health).waits_for_trial()
    }

    fn waits_for_connect(&self) -> bool {
        !self.is_sound.load(Ordering::Acquire) && lock(&self.health).waits_for_connect()
    }

    /// Changes the health, and keeps `is_sound` true to it.
    fn change(&self, change: impl FnOnce(&mut Health) -> Option<Change>) -> Option<Change> {
        let mut health = lock(&self.health);
        let changed = change(&mut health);
        self.is_sound.store(health.is_sound(), Ordering::Release);
        changed
    }
}

/// See the module.
pub struct Backends {
    membership: Membership,
    rules: Rules,
    check: Option<Check>,
    retry_budget: RetryBudget,
    answers: Answers,
    /// Whether it has been said that all are out.
    said_all_out: AtomicBool,
    /// The names of which was said that none of their addresses was ever up.
    never_up: Mutex<HashSet<String>>,
    limits: Limits,
    balance: Balance,
}

/// Whether any backend may have only so many requests in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limits {
    None,
    Some,
}

impl Backends {
    /// Starts following the names, for each of these configurations. Returns when every name has an answer, or soon; and,
    /// where there are active checks, when each backend was checked once. All of them are waited for side by side.
    ///
    /// # Errors
    /// The system has no thread left, or no descriptor.
    pub fn start<'a>(configs: impl Iterator<Item = &'a Config>) -> io::Result<Vec<Arc<Self>>> {
        let kept = Arc::new(AllKept::default());
        let all: Vec<_> = configs.map(|config| Arc::new(Self::new(config, &kept))).collect();
        membership::follow(&all)?;
        checks::check_first(&all)?;
        never_up::look_for_listeners(&all);
        Ok(all)
    }

    /// Starts following the names of backends that run only now and then: nothing is said of one that is not there.
    ///
    /// # Errors
    /// The system has no thread left, or no descriptor.
    pub fn start_occasional(config: &Config) -> io::Result<Arc<Self>> {
        let backends = Arc::new(Self::new(config, &Arc::default()));
        membership::follow(std::slice::from_ref(&backends))?;
        Ok(backends)
    }

    fn new(config: &Config, kept: &Arc<AllKept>) -> Self {
        let has_limits = config.backend.iter().any(|backend| backend.max_connections.is_some());
        Self {
            membership: Membership::new(config, Arc::clone(kept)),
            rules: Rules {
                max_fails: config.max_fails,
                fail_timeout: config.fail_timeout,
                rise: config.health_rise,
                fall: config.health_fall,
            },
            check: Check::configured(config),
            retry_budget: RetryBudget::new(RETRIES),
            answers: Answers::default(),
            said_all_out: AtomicBool::new(false),
            never_up: Mutex::default(),
            limits: if has_limits { Limits::Some } else { Limits::None },
            balance: config.balance,
        }
    }

    /// How many addresses there are.
    pub fn count(&self) -> usize {
        self.membership.count()
    }

    /// Whether requests may have to wait for room.
    pub fn has_limits(&self) -> bool {
        self.limits == Limits::Some
    }

    /// How many requests the backends that take turns have room for.
    pub fn room(&self) -> usize {
        let (now, round) = (Instant::now(), self.membership.round());
        // As in `next`: those that are out are asked where there are no others.
        let is_any_well = round.iter().any(|backend| backend.takes_turns(now));
        let asked = round.iter().filter(|backend| !is_any_well || backend.takes_turns(now));
        asked.map(|backend| backend.room()).fold(0, usize::saturating_add)
    }

    /// Why there was no turn: no backend is known, or all are at their limit.
    pub fn absence(&self) -> Failure {
        if self.count() == 0 { Failure::NoBackend } else { Failure::BackendsBusy }
    }

    /// Whether a request that was sent once may be sent again, as far as the load on all backends is concerned.
    pub fn may_send_again(&self) -> bool {
        self.retry_budget.spend()
    }

    /// Closes the kept connections to all of them, as descriptors have run out. Returns whether there were any.
    pub fn let_go(&self) -> bool {
        self.all().iter().map(|backend| backend.kept.clear()).sum::<usize>() > 0
    }

    fn all(&self) -> Vec<Arc<Backend>> {
        self.membership.all()
    }

    /// The next backend for a request of this client: the one whose turn it is, then the fallbacks, each at most once.
    ///
    /// A backend that is stuck gets no more requests: what it does not answer others can. Where all of them are stuck,
    /// that is no reason to refuse anything.
    pub fn next(&self, tried: &mut Tried, client: Peer, now: Instant) -> Option<Turn> {
        let mut round = self.membership.round();
        round.skip_missed();
        let is_well = |backend: &Backend| backend.takes_turns(now);
        let is_free = |backend: &Backend| tried.is_free(backend) && backend.room() > 0;
        let is_candidate = |backend: &Backend| is_free(backend) && is_well(backend);
        let mut chosen = self
            .choose_prompt(&round, client, now, is_candidate)
            .or_else(|| choose(&round, self.balance, client, is_candidate));
        // No backend that is well is left to try: asking one that is out is better than refusing. The news may be old.
        if chosen.is_none() && !round.iter().any(|backend| tried.is_free(backend) && is_well(backend)) {
            chosen = round.first(|backend| is_free(backend));
            if chosen.is_some() && tried.is_first() && !self.said_all_out.swap(true, Ordering::Relaxed) {
                log::warn!("all backends are out: ronde asks them all the same");
            }
        }
        give(&mut round, chosen?, tried, now)
    }

    /// The next of these that is not stuck.
    fn choose_prompt(
        &self,
        round: &Members,
        client: Peer,
        now: Instant,
        may_take: impl Fn(&Backend) -> bool,
    ) -> Option<Place> {
        let waiting = || round.iter().map(|backend| backend.waiting()).sum();
        let is_stuck =
            |backend: &Backend| backend.progress.is_stuck(&self.answers, backend.waiting(), waiting, now);
        choose(round, self.balance, client, |backend| may_take(backend) && !is_stuck(backend))
    }

    fn note_success(&self, backend: &Backend, now: Instant) {
        self.retry_budget.earn();
        let is_news = !backend.is_sound.load(Ordering::Acquire);
        if is_news && backend.change(|health| health.answered(&self.rules, now)) == Some(Change::In) {
            self.say_in(backend, "it answers again");
        }
    }

    fn note_connected(&self, backend: &Backend) {
        if backend.change(Health::connected) == Some(Change::In) {
            self.say_in(backend, "it accepts connections again");
        }
    }

    fn note_failure(&self, backend: &Backend, failure: Failure, is_trial: bool) {
        if failure.blame() != Blame::Backend {
            return;
        }
        let trouble = Trouble::of(failure);
        if trouble == Trouble::Connect {
            // It may have moved.
            self.membership.look_up_again(backend);
            backend.kept.clear();
        }
        let changed = backend.change(|health| {
            // What was on its way before the trial does not speak for it.
            let is_late = health.is_tried() && !is_trial && trouble == Trouble::Answer;
            if is_late { None } else { health.failed(trouble, &self.rules, Instant::now()) }
        });
        if changed == Some(Change::Out) {
            let how_back = match backend.waits_for_connect() {
                true => "ronde tries to connect every second",
                false => "a single request will try it",
            };
            let times = match self.rules.max_fails {
                1 => String::new(),
                times => format!(", {times} times in a row"),
            };
            self.say_out(backend, &format!("{failure}{times}; {how_back}"));
        }
    }

    fn note_vanished(backend: &Backend) {
        backend.change(|health| {
            health.vanished();
            None
        });
        backend.kept.clear();
    }

    fn note_check(&self, backend: &Backend, outcome: Result<(), String>) {
        let trouble = match &self.check {
            Some(Check { path: Some(_), .. }) => Trouble::Answer,
            _ => Trouble::Connect,
        };
        match backend.change(|health| health.checked(outcome.is_ok(), trouble, &self.rules)) {
            Some(Change::In) => self.say_in(backend, "it passes its health check again"),
            Some(Change::Out) => self.say_out(backend, &outcome.err().unwrap_or_default()),
            None => {}
        }
    }

    fn note_first_check(&self, backend: &Backend, outcome: Result<(), String>) {
        backend.change(|health| {
            health.first_checked(outcome.is_ok());
            None
        });
        if let Err(cause) = outcome {
            log::warn!("{backend} does not pass its first health check: {cause}");
        }
    }

    fn say_in(&self, backend: &Backend, why: &str) {
        self.said_all_out.store(false, Ordering::Relaxed);
        log::info!("{backend} is in the round: {why}");
    }

    /// An address that never worked is no news: `localhost` may be `::1` too, where nothing listens.
    fn say_out(&self, backend: &Backend, why: &str) {
        let level = if lock(&backend.health).has_worked { log::Level::Warn } else { log::Level::Info };
        log::log!(level, "{backend} is out of the round: {why}");
    }
}

/// The next of those that may take a turn: a backup only when no primary can.
fn choose(
    round: &Members,
    balance: Balance,
    client: Peer,
    may_take: impl Fn(&Backend) -> bool,
) -> Option<Place> {
    [Rank::Primary, Rank::Backup].into_iter().find_map(|rank| {
        let takes = |backend: &Arc<Backend>| backend.rank == rank && may_take(backend);
        match balance {
            Balance::RoundRobin => round.first(takes),
            Balance::LeastConnections => round
                .cheapest(|backend| takes(backend).then(|| affinity::load(backend.active(), backend.weight))),
            Balance::ClientAddress => round.cheapest(|backend| {
                takes(backend).then(|| affinity::distance(client, &backend.address, backend.weight))
            }),
        }
    })
}

/// Gives a turn to the one that was chosen.
fn give(round: &mut Members, chosen: Place, tried: &mut Tried, now: Instant) -> Option<Turn> {
    let backend = Arc::clone(round.take(chosen)?);
    tried.note(&backend);
    // Still under the lock of the round: of two requests at once only one may be the trial.
    let is_trial = !backend.is_sound.load(Ordering::Acquire) && lock(&backend.health).was_chosen();
    Some(Turn::new(backend, is_trial, round.turns(), now))
}

/// Requests that may be sent again at once: so many may well be under way to one backend when it is restarted.
const RETRIES: usize = 100;

/// What a connect that failed is called. What the system, and not the backend, refused is no failure of the
/// backend: no descriptor, no memory, no port of ours is left.
pub fn connect_failure(to: &Address, error: &io::Error) -> Failure {
    use rustix::io::Errno;
    match Errno::from_io_error(error) {
        Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL) => {
            Failure::Descriptors
        }
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => Failure::Refused,
        Some(Errno::NOENT) => Failure::SocketMissing,
        // To a TCP connect a packet filter says it.
        Some(Errno::ACCESS) if matches!(to, Address::Unix(_)) => Failure::SocketForbidden,
        _ if error.kind() == io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Unreachable,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
