//! The backends: the round, its turns, and the connections.
//!
//! The problem: a configured backend is a name; what takes a turn is an address. A name may have several, none yet,
//! or others than a minute ago. So every address is a [`Backend`] of its own, made when its name first resolves to
//! it and forgotten when the name no longer does; requests that are under way to it keep it alive until they end.
//!
//! A choice is an iterator: [`Backends::next`] yields the one whose turn it is, then the fallbacks, each at most once.
//! What it yields is a [`Turn`], which counts at the backend until its response has ended.
//!
//! Reading order: `balance` (the order of the turns), `choice` (which backend is next for a request), `turn` (the claim on it),
//! `kept` (the connections for reuse); `health` (whether a backend takes turns), `progress` (whether it is stuck), `standing` (what
//! became of it so far), `unreachable` (why it was not reached); `checks` (what is done while no request is), `inquiry` (one question
//! to a backend); `membership` (the addresses of the names), `names` and `resolve` (looking them up), `succession` (over a reload).
//! `affinity`, `drained`, `instead`, `never_up`, `overview`, `retry_budget` and `tried` are each a rule of their own.
//!
//! Not here: what is sent (`exchange`).

mod affinity;
pub mod balance;
pub mod checks;
mod choice;
mod drained;
pub mod health;
mod inquiry;
mod instead;
pub mod kept;
mod membership;
mod names;
mod never_up;
mod overview;
pub mod progress;
pub mod resolve;
pub mod retry_budget;
mod standing;
mod succession;
mod tried;
mod turn;
mod unreachable;

use crate::config::{Address, Balance, Config};
use crate::net::tls::{Identity, TrustError, Trusts};
use crate::observe::failure::Failure;
use checks::Check;
use drained::Drained;
use health::{Change, Health, Rules, Trouble};
use kept::{AllKept, KeptConnections, KeptId};
use membership::Membership;
use names::Names;
use standing::{History, Standing};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::num::NonZeroU32;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;
use turn::Trial;

pub use choice::{Attempt, NoTurn};
pub use tried::Tried;
pub use turn::{Pace, Turn};
pub use unreachable::connect_failure;

/// One address that takes turns.
#[derive(Debug)]
pub struct Backend {
    pub address: Address,
    /// As it stands in the configuration.
    name: String,
    /// What it has to prove, if it speaks TLS.
    identity: Option<Identity>,
    /// Why there was no TLS with it, as it was logged last.
    refusal: Mutex<Option<String>>,
    /// The Host of its checks, unless one is configured.
    authority: String,
    weight: u32,
    rank: Rank,
    /// The most requests that there may be under way.
    most: Option<usize>,
    standing: Arc<Standing>,
    kept: Arc<KeptConnections>,
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
            Some(ip) if !self.name.ends_with(&address) => write!(f, "{} ({ip})", self.name),
            _ => f.write_str(&self.name),
        }
    }
}

impl Backend {
    /// How many more requests it may have in flight.
    fn room(&self) -> usize {
        if self.standing.is_drained() {
            return 0;
        }
        self.most.map_or(usize::MAX, |most| most.saturating_sub(self.standing.active()))
    }
}

/// See the module.
pub struct Backends {
    /// ` of route /api`, for lines in the log; empty where there is one route.
    of_route: String,
    membership: Membership,
    rules: Rules,
    check: Option<Check>,
    history: Arc<History>,
    /// Those of the configuration before, until these take over.
    predecessor: Mutex<Weak<Self>>,
    limits: Limits,
    balance: Balance,
}

/// The backends that a route is to have, and those of the route that it follows.
pub struct Planned<'a> {
    /// The route's name; empty where there is one route.
    pub route: &'a str,
    pub config: &'a Config,
    pub predecessor: Option<Arc<Backends>>,
}

/// What all routes share, as long as the process lives.
#[derive(Default)]
pub struct Registry {
    names: Names,
    kept: AllKept,
    drained: Drained,
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
    /// After a reload, what is known of a backend that stays need not be waited for. Nothing of those `before` is changed:
    /// they are in force until these take over.
    ///
    /// # Errors
    /// The system has no thread left, or no descriptor; or backends with TLS cannot be checked ([`TrustError`]).
    pub fn start<'a>(
        planned: impl Iterator<Item = Planned<'a>>,
        before: &[Arc<Self>],
        registry: &Arc<Registry>,
    ) -> io::Result<Vec<Arc<Self>>> {
        let mut trusts = Trusts::default();
        let all = planned.map(|planned| Self::new(planned, &mut trusts, registry).map(Arc::new));
        let all = all.collect::<Result<Vec<_>, _>>()?;
        succession::arrange(&all, before);
        membership::follow(&all)?;
        checks::check_first(&all)?;
        never_up::look_for_listeners(&all);
        Ok(all)
    }

    /// Starts following the names of backends that run only now and then: nothing is said of one that is not there.
    ///
    /// # Errors
    /// See [`Self::start`].
    pub fn start_occasional(planned: Planned<'_>, registry: &Arc<Registry>) -> io::Result<Arc<Self>> {
        let all = [Arc::new(Self::new(planned, &mut Trusts::default(), registry)?)];
        succession::arrange(&all, &[]);
        membership::follow(&all)?;
        let [backends] = all;
        Ok(backends)
    }

    fn new(
        Planned { route, config, predecessor }: Planned<'_>,
        trusts: &mut Trusts,
        registry: &Arc<Registry>,
    ) -> Result<Self, TrustError> {
        let trust = trusts.of(config)?;
        let has_limits = config.backend.iter().any(|backend| backend.max_connections.is_some());
        Ok(Self {
            of_route: if route.is_empty() { String::new() } else { format!(" of route {route}") },
            membership: Membership::new(config, trust.as_ref(), Arc::clone(registry))?,
            rules: Rules {
                max_fails: NonZeroU32::new(config.max_fails),
                fail_timeout: config.fail_timeout,
                rise: config.health_rise,
                fall: config.health_fall,
            },
            check: Check::configured(config),
            history: predecessor.as_ref().map_or_else(Arc::default, |before| Arc::clone(&before.history)),
            predecessor: Mutex::new(predecessor.as_ref().map_or_else(Weak::new, Arc::downgrade)),
            limits: if has_limits { Limits::Some } else { Limits::None },
            balance: config.balance,
        })
    }

    /// Whether they follow these, after one reload or several.
    pub fn follows(&self, before: &Self) -> bool {
        Arc::ptr_eq(&self.history, &before.history)
    }

    /// They are about to be in force, and go on where those that they follow stand. Those are forgotten: even a weak pointer
    /// would keep half a kilobyte of each.
    pub fn take_over(&self) {
        let before = std::mem::take(&mut *lock(&self.predecessor)).upgrade();
        let before = before.as_ref().map(|before| &before.membership);
        self.membership.take_over(before, &self.history.answers);
    }

    /// They are in force no more. Of their kept connections, those `stay`.
    pub fn retire(&self, stay: &HashSet<KeptId>) {
        self.membership.retire(stay);
    }

    /// Where their connections are kept.
    pub fn kept(&self) -> impl Iterator<Item = KeptId> {
        self.all().into_iter().map(|backend| Arc::as_ptr(&backend.kept))
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
        let is_any_well = round.iter().any(|backend| backend.standing.takes_turns(now));
        let asked = round.iter().filter(|backend| !is_any_well || backend.standing.takes_turns(now));
        asked.map(|backend| backend.room()).fold(0, usize::saturating_add)
    }

    /// Closes the kept connections to all of them, as descriptors have run out. Returns whether there were any.
    pub fn let_go(&self) -> bool {
        self.all().iter().map(|backend| backend.kept.clear()).sum::<usize>() > 0
    }

    fn all(&self) -> Vec<Arc<Backend>> {
        self.membership.all()
    }

    fn note_success(&self, backend: &Backend, now: Instant) {
        self.history.retry_budget.earn();
        let is_news = !backend.standing.is_sound();
        if is_news && backend.standing.change(|health| health.answered(&self.rules, now)) == Some(Change::In)
        {
            self.say_in(backend, "it answers again");
        }
    }

    fn note_connected(&self, backend: &Backend) {
        if backend.standing.change(Health::connected) == Some(Change::In) {
            self.say_in(backend, "it accepts connections again");
        }
    }

    fn note_failure(&self, backend: &Backend, failure: Failure, trial: Trial) {
        backend.standing.counts.failed();
        let trouble = Trouble::of(failure);
        if trouble == Trouble::Connect {
            // It may have moved.
            self.membership.look_up_again(backend);
            backend.kept.clear();
        }
        let changed = backend.standing.change(|health| {
            // What was on its way before the trial does not speak for it.
            let is_late = health.is_tried() && trial == Trial::No && trouble == Trouble::Answer;
            if is_late { None } else { health.failed(trouble, &self.rules, Instant::now()) }
        });
        if changed == Some(Change::Out) {
            let how_back = match backend.standing.waits_for_connect() {
                true => "ronde tries to connect every second",
                false => "a single request will try it",
            };
            let times = match self.rules.max_fails {
                Some(times) if times > NonZeroU32::MIN => format!(", {times} times in a row"),
                _ => String::new(),
            };
            self.say_out(backend, &format!("{failure}{times}; {how_back}"));
        }
    }

    fn note_vanished(backend: &Backend) {
        backend.standing.change(|health| {
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
        match backend.standing.change(|health| health.checked(outcome.is_ok(), trouble, &self.rules)) {
            Some(Change::In) => self.say_in(backend, "it passes its health check again"),
            Some(Change::Out) => self.say_out(backend, &outcome.err().unwrap_or_default()),
            None => {}
        }
    }

    fn note_first_check(&self, backend: &Backend, outcome: Result<(), String>) {
        backend.standing.change(|health| {
            health.first_checked(outcome.is_ok());
            None
        });
        if let Err(cause) = outcome {
            backend.standing.set_why_out(Some(&cause));
            log::warn!("{backend}{} does not pass its first health check: {cause}", self.of_route);
        }
    }

    fn say_in(&self, backend: &Backend, why: &str) {
        *lock(&backend.refusal) = None;
        backend.standing.set_why_out(None);
        self.history.said_all_out.store(false, Ordering::Relaxed);
        log::info!("{backend}{} is in the round: {why}", self.of_route);
    }

    /// An address that never worked is no news: `localhost` may be `::1` too, where nothing listens.
    fn say_out(&self, backend: &Backend, why: &str) {
        backend.standing.set_why_out(Some(why));
        let level = if backend.standing.has_worked() { log::Level::Warn } else { log::Level::Info };
        log::log!(level, "{backend}{} is out of the round: {why}", self.of_route);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
