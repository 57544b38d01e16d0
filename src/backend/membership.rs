//! The configured names, the addresses they resolve to, and the round made of these.
//!
//! The problem: addresses come and go while requests are in flight. A backend that stays keeps its connections, its
//! health and its counts. A backend that is removed lives until the last request in flight to it ends.
//!
//! Not here: name look-ups (`resolve`), whose turn it is (`balance`).

use super::health::Health;
use super::kept::AllKept;
use super::progress::Progress;
use super::resolve::{Finding, Unresolved};
use super::{Backend, Backends, Rank, balance, lock, resolve};
use crate::config::waits;
use crate::config::{self, Address, Config, Endpoint, Transport};
use crate::net::tls::{Identity, Trust, TrustError};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::thread;
use std::time::{Duration, Instant};

pub(super) type Members = balance::Round<Arc<Backend>>;

/// The configured names, and the round of all addresses they resolve to.
pub(super) struct Membership {
    names: Vec<Arc<Named>>,
    round: Mutex<Members>,
    resolve_interval: Duration,
    resolve_hold: Duration,
    kept: Arc<AllKept>,
    keep_alive: Duration,
    has_checks: bool,
}

/// A configured name and the addresses it resolves to at present.
struct Named {
    spec: config::Backend,
    /// What each of its addresses has to prove, if they are to speak TLS.
    identity: Option<Identity>,
    addresses: Mutex<Vec<Arc<Backend>>>,
    /// Requests for an early look-up; `None` for an address, which needs none.
    look_ups: Option<(Sender<()>, Receiver<()>)>,
}

/// Whether the last look-up of a name brought addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resolved {
    Yes,
    No,
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
    pub fn new(config: &Config, trust: Option<&Trust>, kept: Arc<AllKept>) -> Result<Self, TrustError> {
        let named = |spec: &config::Backend| {
            let trust = trust.filter(|_| spec.transport == Transport::Tls);
            let identity = trust.map(|trust| trust.in_host_of(&spec.endpoint)).transpose()?;
            let look_ups = spec.endpoint.address().is_none().then(|| bounded(1));
            Ok(Arc::new(Named { spec: spec.clone(), identity, addresses: Mutex::default(), look_ups }))
        };
        Ok(Self {
            names: config.backend.iter().map(named).collect::<Result<_, _>>()?,
            round: Mutex::new(balance::Round::new([])),
            resolve_interval: config.resolve_interval,
            resolve_hold: config.resolve_hold,
            kept,
            keep_alive: config.backend_keep_alive_timeout,
            has_checks: config.check_interval().is_some(),
        })
    }

    /// Adds addresses at once and starts a look-up thread for each name, which tells `answered` of each result. The
    /// threads reach the membership through `backends`; they end when it is gone. Returns how many there are.
    fn follow(&self, backends: &Weak<Backends>, answered: &Sender<()>) -> io::Result<usize> {
        let mut followed = 0;
        for named in &self.names {
            if let Some(address) = named.spec.endpoint.address() {
                self.set_addresses(named, &[address]);
            }
            let (Some((_, look_ups)), Endpoint::Tcp { host, port }) = (&named.look_ups, &named.spec.endpoint)
            else {
                continue;
            };
            let (host, port) = (host.clone(), *port);
            let (named, look_ups, answered) = (Arc::clone(named), look_ups.clone(), answered.clone());
            let (backends, interval, hold) = (backends.clone(), self.resolve_interval, self.resolve_hold);
            thread::Builder::new().name(format!("resolve {host}")).spawn(move || {
                let mut resolved = Resolved::Yes;
                resolve::follow((&host, port), interval, hold, &look_ups, |finding| {
                    let Some(backends) = backends.upgrade() else { return resolve::Next::Stop };
                    resolved = backends.membership.note(&named, &host, finding, resolved);
                    let _ = answered.try_send(());
                    resolve::Next::GoOn
                });
            })?;
            followed += 1;
        }
        Ok(followed)
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
        let look_ups = self
            .names
            .iter()
            .filter(|named| named.spec.to_string() == backend.name)
            .filter_map(|named| named.look_ups.as_ref());
        for (look_up, _) in look_ups {
            // If the channel is full, a look-up is pending already.
            let _ = look_up.try_send(());
        }
    }

    /// What a look-up found, after one that came to `before`. Only a change is worth a line in the log.
    fn note(&self, named: &Named, host: &str, finding: Finding, before: Resolved) -> Resolved {
        let say = |why: &Unresolved| {
            if before == Resolved::Yes {
                log::warn!("{host} does not resolve, ronde keeps trying: {why}");
            }
        };
        match finding {
            Finding::Addresses(addresses) => {
                let addresses: Vec<_> = addresses.into_iter().map(Address::from).collect();
                self.set_addresses(named, &addresses);
                return Resolved::Yes;
            }
            // A name server that is down takes no backend out.
            Finding::Unknown(why) => say(&why),
            Finding::Gone => {
                say(&Unresolved::NoSuchName);
                if !lock(&named.addresses).is_empty() {
                    log::warn!("{host} is gone: its last addresses may be another's by now");
                }
                self.set_addresses(named, &[]);
            }
        }
        Resolved::No
    }

    /// Replaces the addresses of a name, and rebuilds the round if they changed.
    fn set_addresses(&self, named: &Named, addresses: &[Address]) {
        let mut current = lock(&named.addresses);
        if current.iter().map(|backend| &backend.address).eq(addresses) {
            return;
        }
        let known = std::mem::take(&mut *current);
        let say = |sign: char, address: &Address| {
            if let (Endpoint::Tcp { host, .. }, Some(_), Some(ip)) =
                (&named.spec.endpoint, &named.look_ups, address.ip())
            {
                log::info!("{host}: {sign} {ip}");
            }
        };
        for removed in known.iter().filter(|backend| !addresses.contains(&backend.address)) {
            say('-', &removed.address);
            removed.kept.clear();
        }
        let member = |address: &Address| match known.iter().find(|backend| backend.address == *address) {
            Some(backend) => Arc::clone(backend),
            None => {
                say('+', address);
                Arc::new(self.backend(named, address.clone()))
            }
        };
        *current = addresses.iter().map(member).collect();
        drop(current);
        let mut round = lock(&self.round);
        let all = self.names.iter().flat_map(|named| lock(&named.addresses).clone());
        let all: Vec<_> = all.map(|backend| (Arc::clone(&backend), backend.weight)).collect();
        round.replace(all);
    }

    fn backend(&self, named: &Named, address: Address) -> Backend {
        Backend {
            is_near: AtomicBool::new(is_local(&address)),
            kept: self.kept.to(&address, named.identity.as_ref(), self.keep_alive),
            identity: named.identity.clone(),
            refusal: Mutex::default(),
            address,
            name: named.spec.to_string(),
            authority: named.spec.authority(),
            weight: named.spec.weight,
            rank: if named.spec.backup { Rank::Backup } else { Rank::Primary },
            waiting: AtomicUsize::new(0),
            is_slow: AtomicBool::new(false),
            progress: Progress::default(),
            active: AtomicUsize::new(0),
            most: named.spec.max_connections,
            health: Mutex::new(if self.has_checks { Health::unchecked() } else { Health::new() }),
            in_first_check: AtomicBool::new(false),
            is_sound: AtomicBool::new(false),
            failed_returns: AtomicUsize::new(0),
        }
    }
}
/// Whether an address can only be one of this host or of a private network, as containers have.
fn is_local(address: &Address) -> bool {
    match address.ip().map(|ip| ip.to_canonical()) {
        None => true,
        Some(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        Some(IpAddr::V6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}
