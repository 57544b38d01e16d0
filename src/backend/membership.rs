//! The configured names, the addresses they resolve to, and the round made of these.
//!
//! The problem: addresses come and go while requests are in flight. A backend that stays keeps its connections, its
//! health and its counts. A backend that is removed lives until the last request in flight to it ends. A reload makes a new
//! membership, whose backends take over what is known of those before (`succession` says which).
//!
//! Not here: name look-ups (`names`), whose turn it is (`balance`).

use super::drained::Drained;
use super::health::Health;
use super::kept::KeptId;
use super::names::Following;
use super::progress::Answers;
use super::resolve::Timing;
use super::standing::Standing;
use super::{Backend, Backends, Rank, Registry, balance, lock};
use crate::config::waits;
use crate::config::{self, Address, Config, Endpoint, Transport};
use crate::net::tls::{Identity, Trust, TrustError};
use crossbeam_channel::{Sender, bounded};
use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::time::{Duration, Instant};

pub(super) type Members = balance::Round<Arc<Backend>>;

/// The configured names, and the round of all addresses they resolve to.
pub(super) struct Membership {
    names: Vec<Arc<Named>>,
    round: Mutex<Members>,
    timing: Timing,
    registry: Arc<Registry>,
    keep_alive: Duration,
    has_checks: bool,
    /// The names that are looked up, as they are configured, as long as they are followed.
    followed: Mutex<Vec<(String, Arc<Following>)>>,
    /// Backends of the configuration before, whose standing those of this one take over if they are the same.
    heritage: Mutex<Vec<Arc<Backend>>>,
}

/// A configured name and the addresses it resolves to at present.
struct Named {
    spec: config::Backend,
    /// What each of its addresses has to prove, if they are to speak TLS.
    identity: Option<Identity>,
    addresses: Mutex<Vec<Arc<Backend>>>,
    /// What is known of addresses that it has no more, as long as requests are under way there. A reply may lack an address that
    /// the next one has again.
    former: Mutex<Vec<(Address, Weak<Standing>)>>,
}

impl Named {
    /// This address is gone for now.
    fn note_gone(&self, backend: &Backend) {
        let mut former = lock(&self.former);
        former.retain(|(_, standing)| standing.strong_count() > 0);
        former.push((backend.address.clone(), Arc::downgrade(&backend.standing)));
    }

    /// What is known of an address that comes back.
    fn known(&self, address: &Address) -> Option<Arc<Standing>> {
        let mut former = lock(&self.former);
        let at = former.iter().position(|(gone, _)| gone == address)?;
        former.swap_remove(at).1.upgrade()
    }
}

/// Starts to follow the names of all. Returns when every name has its first result, or after
/// [`waits::FIRST_ADDRESSES`] (1 s).
///
/// # Errors
/// The system has no thread left.
pub(super) fn follow(all: &[Arc<Backends>]) -> io::Result<()> {
    let names = all.iter().map(|backends| backends.membership.names.len()).sum();
    let (answered, answers) = bounded(names);
    let mut expected = 0;
    for backends in all {
        expected += backends.membership.follow(&Arc::downgrade(backends), &answered)?;
    }
    let deadline = Instant::now() + waits::FIRST_ADDRESSES;
    while expected > 0 && answers.recv_deadline(deadline).is_ok() {
        expected -= 1;
    }
    Ok(())
}

impl Membership {
    /// # Errors
    /// No certificate can be for the host of a backend with TLS.
    pub fn new(config: &Config, trust: Option<&Trust>, registry: Arc<Registry>) -> Result<Self, TrustError> {
        let named = |spec: &config::Backend| {
            let trust = trust.filter(|_| spec.transport == Transport::Tls);
            let identity = trust.map(|trust| trust.in_host_of(&spec.endpoint)).transpose()?;
            Ok(Arc::new(Named {
                spec: spec.clone(),
                identity,
                addresses: Mutex::default(),
                former: Mutex::default(),
            }))
        };
        Ok(Self {
            names: config.backend.iter().map(named).collect::<Result<_, _>>()?,
            round: Mutex::new(balance::Round::new([])),
            timing: Timing { interval: config.resolve_interval, hold: config.resolve_hold },
            registry,
            keep_alive: config.backend_keep_alive_timeout,
            has_checks: config.check_interval().is_some(),
            followed: Mutex::default(),
            heritage: Mutex::default(),
        })
    }

    /// Adds addresses at once and follows each name, which tells `answered` of each result. They reach the membership
    /// through `backends`. Returns how many names there are.
    fn follow(&self, backends: &Weak<Backends>, answered: &Sender<()>) -> io::Result<usize> {
        for named in &self.names {
            let endpoint = &named.spec.endpoint;
            if let Some(address) = endpoint.address() {
                self.set_addresses(named, &[address]);
            } else if let Endpoint::Tcp { host, port } = endpoint {
                let (backends, named, answered) = (backends.clone(), Arc::clone(named), answered.clone());
                let name = named.spec.to_string();
                let tell = move |addresses: &[Address]| {
                    if let Some(backends) = backends.upgrade() {
                        backends.membership.set_addresses(&named, addresses);
                    }
                    let _ = answered.try_send(());
                };
                let following = self.registry.names.follow((host, *port), self.timing, Box::new(tell))?;
                lock(&self.followed).push((name, following));
            }
        }
        Ok(lock(&self.followed).len())
    }

    /// The configured names that have no address now.
    pub fn absent(&self) -> impl Iterator<Item = &config::Backend> {
        self.names.iter().filter(|named| lock(&named.addresses).is_empty()).map(|named| &named.spec)
    }

    /// The configured names, whether they have addresses or not.
    pub fn names(&self) -> impl Iterator<Item = String> {
        self.names.iter().map(|named| named.spec.to_string())
    }

    /// Whether one of the configured names is this one.
    pub fn has_name(&self, name: &str) -> bool {
        self.names().any(|own| own == name)
    }

    /// Those of the configuration before that it may have something from.
    pub fn inherit(&self, from: Vec<Arc<Backend>>) {
        *lock(&self.heritage) = from;
    }

    /// It is about to be in force, and goes on where the one before stands. Its backends' answers are counted among these.
    pub fn take_over(&self, before: Option<&Self>, answers: &Answers) {
        lock(&self.heritage).clear();
        let mut round = lock(&self.round);
        let standing = |backend: &Arc<Backend>| Arc::as_ptr(&backend.standing);
        let mut known = HashSet::new();
        if let Some(before) = before {
            let before = lock(&before.round);
            round.go_on_from(&before, standing);
            known.extend(before.iter().map(standing));
        }
        for backend in round.iter() {
            backend.kept.open(self.keep_alive);
            // It is new, or was in another route, among whose answers its own were counted.
            if !known.contains(&standing(backend)) {
                backend.standing.progress.begin_among(answers);
            }
            backend.standing.change(|health| {
                if self.has_checks {
                    health.begin_checks()
                } else {
                    health.end_checks()
                }
                None
            });
        }
    }

    /// It is in force no more: it follows no name, and a request that is under way to a backend that is gone does not put its
    /// connection back. Over TLS a backend is also gone if it has to prove something else from now on.
    pub fn retire(&self, stay: &HashSet<KeptId>) {
        let followed = std::mem::take(&mut *lock(&self.followed));
        drop(followed);
        for gone in self.all().iter().filter(|backend| !stay.contains(&Arc::as_ptr(&backend.kept))) {
            gone.kept.close();
        }
    }

    /// What is drained, in all routes.
    pub fn drained(&self) -> &Drained {
        &self.registry.drained
    }

    /// Locks the round, to take a turn.
    pub fn round(&self) -> MutexGuard<'_, Members> {
        lock(&self.round)
    }

    pub fn count(&self) -> usize {
        lock(&self.round).count()
    }

    pub fn all(&self) -> Vec<Arc<Backend>> {
        lock(&self.round).iter().cloned().collect()
    }

    /// Asks for an early look-up of a backend that refuses connects: its name may resolve to another address by now.
    pub fn look_up_again(&self, backend: &Backend) {
        let followed = lock(&self.followed);
        let of_its_name = followed.iter().filter(|(name, _)| *name == backend.name);
        of_its_name.for_each(|(_, following)| following.look_up_again());
    }

    /// Replaces the addresses of a name. If they have changed, those that stay keep their places in the round.
    fn set_addresses(&self, named: &Named, addresses: &[Address]) {
        let mut current = lock(&named.addresses);
        if current.iter().map(|backend| &backend.address).eq(addresses) {
            return;
        }
        let known = std::mem::take(&mut *current);
        for removed in known.iter().filter(|backend| !addresses.contains(&backend.address)) {
            removed.kept.clear();
            named.note_gone(removed);
        }
        let member = |address: &Address| match known.iter().find(|backend| backend.address == *address) {
            Some(backend) => Arc::clone(backend),
            None => Arc::new(self.backend(named, address.clone())),
        };
        *current = addresses.iter().map(member).collect();
        drop(current);
        let mut before = lock(&self.round);
        let all = self.names.iter().flat_map(|named| lock(&named.addresses).clone());
        let all = all.inspect(|backend| self.registry.drained.remind(backend));
        let all: Vec<_> = all.map(|backend| (Arc::clone(&backend), backend.weight)).collect();
        let mut round = balance::Round::new(all);
        // Before its first turn there are no places to keep.
        if before.turns() > 0 {
            round.go_on_from(&before, |backend| Arc::as_ptr(&backend.standing));
        }
        *before = round;
    }

    fn backend(&self, named: &Named, address: Address) -> Backend {
        let name = named.spec.to_string();
        let new = || {
            let health = if self.has_checks { Health::unchecked() } else { Health::new() };
            Arc::new(Standing::new(&address, health))
        };
        Backend {
            standing: self.inherited(&name, &address).or_else(|| named.known(&address)).unwrap_or_else(new),
            kept: self.registry.kept.to(&address, named.identity.as_ref(), self.keep_alive),
            identity: named.identity.clone(),
            refusal: Mutex::default(),
            address,
            name,
            authority: named.spec.authority(),
            weight: named.spec.weight,
            rank: if named.spec.backup { Rank::Backup } else { Rank::Primary },
            most: named.spec.max_connections,
        }
    }

    /// What is known of this backend from the configuration before.
    fn inherited(&self, name: &str, address: &Address) -> Option<Arc<Standing>> {
        let mut heritage = lock(&self.heritage);
        let is_same = |before: &Arc<Backend>| before.name == name && before.address == *address;
        let at = heritage.iter().position(is_same)?;
        Some(Arc::clone(&heritage.swap_remove(at).standing))
    }
}
