//! What is done about the backends while no request is: checks, connects that look for a return, old connections.
//!
//! The problem: a backend that is out gets no requests, so requests cannot find out that it is back; idle connections grow
//! old without anything looking at them; and a check that is asked for (`--health-path`) must happen whether there is
//! traffic or not. And a backend that hangs must not delay the check of another. So a check is a value like any other
//! exchange: it is parked while it waits, all of them side by side.
//!
//! Not here: what the findings mean (`health`).

use super::inquiry::{Advance, Inquiry};
use super::{Backend, Backends};
use crate::config::{Address, Config, Statuses, waits};
use crate::net::conn::{Block, Conn};
use crate::net::tls::Identity;
use crate::observe::failure::Failure;
use crate::observe::parked::Kind;
use crate::pool::park::{Class, Park, Wait, Want};
use crate::pool::waiter::Waiter;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

/// What an active check is.
#[derive(Clone, Debug)]
pub struct Check {
    /// A GET for this; or none: a connect.
    pub path: Option<String>,
    /// Its Host, if not the backend's own.
    host: Option<String>,
    /// The statuses that are well.
    well: Vec<Statuses>,
    timeout: Duration,
    pub interval: Duration,
}

impl Check {
    /// The check that is asked for, if one is.
    pub fn configured(config: &Config) -> Option<Self> {
        let interval = config.check_interval()?;
        Some(Self {
            path: config.health_path.clone(),
            host: config.health_host.clone(),
            well: config.health_status.clone(),
            timeout: config.health_timeout.unwrap_or(waits::HEALTH_CHECK).min(interval),
            interval,
        })
    }

    fn deadline(&self) -> Instant {
        Instant::now() + self.timeout
    }

    /// What the status of a response says.
    fn judge(&self, status: u16) -> Result<(), String> {
        if self.well.iter().any(|well| well.contains(status)) {
            return Ok(());
        }
        Err(format!("{} is answered with {status}", self.path.as_deref().unwrap_or_default()))
    }

    /// Checks once, over a connection that is there already, and waits for the outcome: for the commands that have nothing
    /// else to do.
    ///
    /// # Errors
    /// Why the backend is not well, as a sentence.
    pub fn run_once(
        &self,
        address: Address,
        identity: Option<Identity>,
        conn: Conn,
        authority: &str,
    ) -> Result<(), String> {
        let Some(path) = &self.path else { return Ok(()) };
        let host = self.host.as_deref().unwrap_or(authority);
        let mut inquiry = Inquiry::get(address, identity, Some(conn), path, host);
        let deadline = self.deadline();
        loop {
            match inquiry.advance(Block::Briefly) {
                Advance::Waits(_) | Advance::Retries if Instant::now() < deadline => {}
                Advance::Waits(_) | Advance::Retries => return Err(inquiry.overdue().to_string()),
                Advance::Connected => return Ok(()),
                Advance::Answered(status) => return self.judge(status),
                Advance::Failed(failure) => return Err(failure.to_string()),
                Advance::Refused(refusal) => return Err(refusal.cause),
            }
        }
    }
}

/// One look at one backend, under way.
pub struct Probe {
    /// Those that `backend` is one of.
    backends: Arc<Backends>,
    backend: Arc<Backend>,
    purpose: Purpose,
    deadline: Instant,
    inquiry: Inquiry,
}

/// What a probe is to find out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// Whether the backend is well before it was ever asked anything.
    FirstCheck,
    Check,
    /// Whether a backend that refused connections accepts them again.
    Return,
    /// Whether the process that failed to answer is gone: then the one that comes after it is innocent.
    Restart,
}

impl Park for Box<Probe> {
    fn client(&self) -> Option<&Conn> {
        None
    }

    fn backend(&self) -> Option<&Conn> {
        self.inquiry.conn()
    }

    fn weight(&self) -> usize {
        size_of::<Probe>() + self.inquiry.weight()
    }

    fn kind(&self, _: Class) -> Kind {
        Kind::Probe
    }
}

/// Checks every backend that has an active check once, side by side, and returns when the last of these checks has ended:
/// no request is served before.
///
/// # Errors
/// The system has no descriptor left.
pub(super) fn check_first(all: &[Arc<Backends>]) -> io::Result<()> {
    let checked = all.iter().filter_map(|backends| Some((backends, backends.check.as_ref()?)));
    let of_each = |(backends, check): (&Arc<Backends>, &Check)| {
        let probe = |backend| Probe::check(backends, backend, Purpose::FirstCheck, check);
        let unchecked = backends.all().into_iter().filter(|backend| backend.standing.awaits_check());
        unchecked.map(probe).collect::<Vec<_>>()
    };
    let probes: Vec<_> = checked.flat_map(of_each).collect();
    if probes.is_empty() {
        return Ok(());
    }
    let waiter = Waiter::new(1, 1, usize::MAX)?;
    let go_on =
        |probe: Box<Probe>| probe.go_on().is_some_and(|(probe, wait)| waiter.park(probe, wait).is_ok());
    let mut going = probes.into_iter().map(go_on).filter(|is_parked| *is_parked).count();
    let mut batch = Vec::new();
    while going > 0 && waiter.next(&mut batch) {
        for (probe, _) in batch.drain(..) {
            going -= usize::from(!go_on(probe));
        }
    }
    Ok(())
}

impl Backends {
    /// To be called every [`waits::BACKEND_WATCH`]. Probes that have to wait are handed to `park`.
    pub fn look_after(self: &Arc<Self>, park: impl Fn(Box<Probe>, Wait)) {
        let begin = |probe: Box<Probe>| probe.go_on().into_iter().for_each(|(probe, wait)| park(probe, wait));
        for backend in self.all() {
            backend.kept.sweep();
            if backend.standing.waits_for_connect() {
                begin(Probe::connect(self, Arc::clone(&backend), Purpose::Return));
            }
            if backend.standing.waits_for_trial() {
                begin(Probe::connect(self, Arc::clone(&backend), Purpose::Restart));
            }
            // One at a time: a check may outlast the time between two looks.
            if let Some(check) = &self.check
                && backend.standing.awaits_check()
                && !backend.standing.in_first_check.swap(true, Ordering::Relaxed)
            {
                begin(Probe::check(self, backend, Purpose::FirstCheck, check));
            }
        }
    }

    /// To be called once in each [`Self::check_interval`]: begins an active check of each backend that has had its first.
    pub fn check(self: &Arc<Self>, park: impl Fn(Box<Probe>, Wait)) {
        let Some(check) = &self.check else { return };
        let checked = self.all().into_iter().filter(|backend| !backend.standing.awaits_check());
        let probes = checked.map(|backend| Probe::check(self, backend, Purpose::Check, check));
        probes.filter_map(Probe::go_on).for_each(|(probe, wait)| park(probe, wait));
    }

    /// Between two active checks, if there are any.
    pub fn check_interval(&self) -> Option<Duration> {
        self.check.as_ref().map(|check| check.interval)
    }

    fn conclude(&self, probe: &Probe, outcome: Result<(), String>) {
        if matches!(probe.purpose, Purpose::FirstCheck | Purpose::Check) {
            probe
                .backend
                .standing
                .counts
                .checked(SystemTime::now(), outcome.as_ref().err().map(String::as_str));
        }
        match (probe.purpose, outcome) {
            (Purpose::FirstCheck, outcome) => self.note_first_check(&probe.backend, outcome),
            (Purpose::Check, outcome) => self.note_check(&probe.backend, outcome),
            (Purpose::Return, Ok(())) => self.note_connected(&probe.backend),
            (Purpose::Return, Err(cause)) => self.note_no_return(&probe.backend, &cause),
            (Purpose::Restart, _) => {}
        }
    }
}

impl Drop for Probe {
    /// With an outcome or without one, the next may begin.
    fn drop(&mut self) {
        if self.purpose == Purpose::FirstCheck {
            self.backend.standing.in_first_check.store(false, Ordering::Relaxed);
        }
    }
}

impl Probe {
    /// Goes on as far as that is possible without waiting. It comes back with what it waits for.
    pub fn go_on(mut self: Box<Self>) -> Option<(Box<Self>, Wait)> {
        let now = Instant::now();
        let outcome = match self.inquiry.advance(Block::Never) {
            Advance::Waits(want) if now < self.deadline => {
                let (client, deadline, class) = (Want::Nothing, self.deadline, Class::Busy);
                return Some((self, Wait { client, backend: want, deadline, class }));
            }
            Advance::Retries if now < self.deadline => {
                let (client, backend, class) = (Want::Nothing, Want::Nothing, Class::Busy);
                let deadline = self.deadline.min(now + waits::BACKLOG_RETRY_MOST);
                return Some((self, Wait { client, backend, deadline, class }));
            }
            Advance::Waits(_) | Advance::Retries => Err(self.inquiry.overdue().to_string()),
            Advance::Connected => Ok(()),
            Advance::Answered(status) => {
                self.backends.check.as_ref().map_or(Ok(()), |check| check.judge(status))
            }
            // What ronde's own host lacks says nothing about a backend.
            Advance::Failed(Failure::Descriptors | Failure::Ports) => return None,
            Advance::Failed(failure) => {
                // Not when it is silent: that is no sign of a restart.
                let is_gone = matches!(failure, Failure::Refused | Failure::SocketMissing);
                if self.purpose == Purpose::Restart && is_gone {
                    Backends::note_vanished(&self.backend);
                }
                Err(failure.to_string())
            }
            // It does accept connections, so what it lacks is said as it is.
            Advance::Refused(refusal) if self.purpose == Purpose::Return => {
                Backends::note_refusal(&self.backend, &refusal);
                return None;
            }
            Advance::Refused(refusal) => Err(refusal.cause),
        };
        self.backends.conclude(&self, outcome);
        None
    }

    /// Only a connect. What shows that a process is gone needs no TLS.
    fn connect(backends: &Arc<Backends>, backend: Arc<Backend>, purpose: Purpose) -> Box<Self> {
        let identity = backend.identity.clone().filter(|_| purpose == Purpose::Return);
        let most = if identity.is_some() { waits::RETURN_HANDSHAKE } else { waits::RETURN_CONNECT };
        let (deadline, inquiry) =
            (Instant::now() + most, Inquiry::connect(backend.address.clone(), identity));
        Box::new(Self { backends: Arc::clone(backends), backend, purpose, deadline, inquiry })
    }

    fn check(backends: &Arc<Backends>, backend: Arc<Backend>, purpose: Purpose, check: &Check) -> Box<Self> {
        let (address, identity) = (backend.address.clone(), backend.identity.clone());
        let inquiry = match &check.path {
            Some(path) => {
                let host = check.host.as_deref().unwrap_or(&backend.authority);
                Inquiry::get(address, identity, None, path, host)
            }
            None => Inquiry::connect(address, identity),
        };
        let backends = Arc::clone(backends);
        Box::new(Self { backends, backend, purpose, deadline: check.deadline(), inquiry })
    }
}
