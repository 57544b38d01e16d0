//! Who there is: names, the addresses they stand for now, and the round made of them.
//!
//! The problem: addresses come and go while requests are under way. A backend that stays keeps its connections, its
//! health and its counts; one that is gone is finished by those who are still with it.
//!
//! Not here: looking names up (`resolve`), whose turn it is (`balance`).

use super::health::Health;
use super::kept::KeptConnections;
use super::progress::Progress;
use super::{Backend, Backends, Rank, balance, lock, resolve};
use crate::config::waits;
use crate::config::{self, Config};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

pub(super) type Members = balance::Round<Arc<Backend>>;

/// The configured names, and the round of everybody they stand for.
pub(super) struct Membership {
    names: Vec<Arc<Named>>,
    round: Mutex<Members>,
    resolve_interval: Duration,
    keep_alive: Duration,
    has_checks: bool,
}

/// A name from the configuration and what it stands for now.
struct Named {
    spec: config::Backend,
    addresses: Mutex<Vec<Arc<Backend>>>,
    /// Wishes for a new look-up; none for an address, which is no name.
    wishes: Option<(Sender<()>, Receiver<()>)>,
}

impl Membership {
    pub fn new(config: &Config) -> Self {
        let named = |spec: &config::Backend| {
            let is_name = spec.host.parse::<IpAddr>().is_err();
            let wishes = is_name.then(|| bounded(1));
            Arc::new(Named { spec: spec.clone(), addresses: Mutex::default(), wishes })
        };
        Self {
            names: config.backend.iter().map(named).collect(),
            round: Mutex::new(balance::Round::new([])),
            resolve_interval: config.resolve_interval,
            keep_alive: config.backend_keep_alive_timeout,
            has_checks: config.health_path.is_some() || config.health_interval.is_some(),
        }
    }

    /// Addresses are there at once; each name gets a thread, and the first answers are waited for together.
    /// `backends` leads the threads back here for as long as there is a here.
    pub fn follow(
        &self,
        backends: impl Fn() -> Option<Arc<Backends>> + Clone + Send + 'static,
    ) -> io::Result<()> {
        for named in &self.names {
            if let Ok(ip) = named.spec.host.parse() {
                self.become_addresses(named, &[SocketAddr::new(ip, named.spec.port)]);
            }
        }
        let (answered, answers) = bounded(self.names.len());
        let mut expected = 0;
        for named in &self.names {
            let Some((_, wishes)) = &named.wishes else { continue };
            let (named, wishes, answered) = (Arc::clone(named), wishes.clone(), answered.clone());
            let (backends, interval) = (backends.clone(), self.resolve_interval);
            thread::Builder::new().name(format!("resolve {}", named.spec.host)).spawn(move || {
                let mut is_lost = false;
                resolve::follow(&named.spec.host, named.spec.port, interval, &wishes, |answer| {
                    let Some(backends) = backends() else { return resolve::Next::Stop };
                    match answer {
                        Ok(addresses) => {
                            is_lost = false;
                            backends.membership.become_addresses(&named, &addresses);
                        }
                        // The last good answer stays: a name server that is down takes nobody out.
                        Err(error) if !is_lost => {
                            is_lost = true;
                            log::warn!("{} does not resolve, ronde keeps trying: {error}", named.spec.host);
                        }
                        Err(_) => {}
                    }
                    let _ = answered.try_send(());
                    resolve::Next::GoOn
                });
            })?;
            expected += 1;
        }
        let deadline = Instant::now() + waits::FIRST_ADDRESSES;
        while expected > 0 && answers.recv_deadline(deadline).is_ok() {
            expected -= 1;
        }
        Ok(())
    }

    /// The round, to take a turn.
    pub fn round(&self) -> MutexGuard<'_, Members> {
        lock(&self.round)
    }

    pub fn count(&self) -> usize {
        lock(&self.round).iter().count()
    }

    pub fn all(&self) -> Vec<Arc<Backend>> {
        lock(&self.round).iter().cloned().collect()
    }

    /// A backend does not answer: perhaps its name stands for another address by now.
    pub fn look_up_again(&self, backend: &Backend) {
        let wishes = self
            .names
            .iter()
            .filter(|named| named.spec.to_string() == backend.name)
            .filter_map(|named| named.wishes.as_ref());
        for (wish, _) in wishes {
            // A wish that waits already is the same.
            let _ = wish.try_send(());
        }
    }

    /// A name stands for these addresses now.
    fn become_addresses(&self, named: &Named, addresses: &[SocketAddr]) {
        let mut current = lock(&named.addresses);
        if current.iter().map(|backend| &backend.address).eq(addresses) {
            return;
        }
        let known = std::mem::take(&mut *current);
        for gone in known.iter().filter(|backend| !addresses.contains(&backend.address)) {
            log::info!("{}: - {}", named.spec.host, gone.address.ip());
            gone.kept.clear();
        }
        let member = |address: &SocketAddr| match known.iter().find(|backend| backend.address == *address) {
            Some(backend) => Arc::clone(backend),
            None => {
                if named.wishes.is_some() {
                    log::info!("{}: + {}", named.spec.host, address.ip());
                }
                Arc::new(self.backend(named, *address))
            }
        };
        *current = addresses.iter().map(member).collect();
        drop(current);
        let mut round = lock(&self.round);
        let all = self.names.iter().flat_map(|named| lock(&named.addresses).clone());
        let all: Vec<_> = all.map(|backend| (Arc::clone(&backend), backend.weight)).collect();
        round.replace(all);
    }

    fn backend(&self, named: &Named, address: SocketAddr) -> Backend {
        Backend {
            address,
            name: named.spec.to_string(),
            weight: named.spec.weight,
            rank: if named.spec.backup { Rank::Backup } else { Rank::Primary },
            waiting: AtomicUsize::new(0),
            is_slow: AtomicBool::new(false),
            progress: Progress::default(),
            active: AtomicUsize::new(0),
            most: named.spec.max_connections,
            health: Mutex::new(if self.has_checks { Health::unchecked() } else { Health::new() }),
            is_sound: AtomicBool::new(false),
            kept: KeptConnections::new(self.keep_alive),
        }
    }
}
