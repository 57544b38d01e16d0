//! What is done about the backends while no request is: checks, connects that look for a return, old connections.
//!
//! The problem: a backend that is out gets no requests, so requests cannot find out that it is back; idle connections grow
//! old without anything looking at them; and a check that is asked for (`--health-path`) must happen whether there is
//! traffic or not. And a backend that hangs must not delay the check of another. So a check is a value like any other
//! exchange: it is parked while it waits, all of them side by side.
//!
//! Not here: what the findings mean (`health`).

use super::{Backend, Backends, connect_failure};
use crate::config::waits;
use crate::http1::head::{self, Lines, Scan};
use crate::net::conn::{Block, Conn, Connected, Received, Sent, Window};
use crate::observe::failure::Failure;
use crate::pool::park::{Class, Park, Wait, Want};
use crate::pool::waiter::Waiter;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The longest response head that a check reads.
const MAX_HEAD: usize = 16 * 1024;

/// What an active check is.
#[derive(Clone, Debug)]
pub struct Check {
    /// A GET for this, which must be answered with 2xx or 3xx; or none: a connect.
    pub path: Option<String>,
    pub interval: Duration,
}

impl Check {
    fn deadline(&self) -> Instant {
        Instant::now() + waits::HEALTH_CHECK.min(self.interval)
    }
}

/// One look at one backend, under way.
#[derive(Debug)]
pub struct Probe {
    backend: Arc<Backend>,
    purpose: Purpose,
    conn: Option<Conn>,
    deadline: Instant,
    question: Question,
}

/// What is asked once the connect has succeeded.
#[derive(Debug)]
enum Question {
    /// Nothing: the connect is the answer.
    None,
    /// Not sent yet, or only in part.
    Request(Vec<u8>),
    /// What has come of the response.
    Response(Vec<u8>),
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

/// How far a probe came.
enum Advance {
    Passed,
    Failed(Failure),
    /// It was answered with this status, which is not good.
    Unwell(u16),
    Waits(Want),
}

impl Park for Box<Probe> {
    fn client(&self) -> Option<&Conn> {
        None
    }

    fn backend(&self) -> Option<&Conn> {
        self.conn.as_ref()
    }

    fn weight(&self) -> usize {
        let bytes = match &self.question {
            Question::None => 0,
            Question::Request(bytes) | Question::Response(bytes) => bytes.capacity(),
        };
        size_of::<Probe>() + bytes
    }
}

impl Backends {
    /// Checks every backend once, side by side, and returns when the last of these checks has ended: no request is served
    /// before.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub(super) fn check_first(&self, check: &Check) -> io::Result<()> {
        let waiter = Waiter::new(1, 1, usize::MAX)?;
        let mut going = 0;
        let mut begin = |probe: Box<Probe>| {
            let parked = self.go_on(probe).is_some_and(|(probe, wait)| waiter.park(probe, wait).is_ok());
            going += usize::from(parked);
        };
        for backend in self.all() {
            begin(Probe::check(backend, Purpose::FirstCheck, check));
        }
        let mut batch = Vec::new();
        while going > 0 && waiter.next(&mut batch) {
            for (probe, _) in batch.drain(..) {
                let parked = self.go_on(probe).is_some_and(|(probe, wait)| waiter.park(probe, wait).is_ok());
                going -= usize::from(!parked);
            }
        }
        Ok(())
    }

    /// What is due: to be called every [`waits::BACKEND_WATCH`]. Probes that have to wait are handed to `park`.
    pub fn look_after(&self, is_check_due: bool, park: impl Fn(Box<Probe>, Wait)) {
        let begin = |probe| {
            if let Some((probe, wait)) = self.go_on(probe) {
                park(probe, wait);
            }
        };
        for backend in self.all() {
            backend.kept.sweep();
            let deadline = Instant::now() + waits::RETURN_CONNECT;
            if backend.waits_for_connect() {
                begin(Probe::new(Arc::clone(&backend), Purpose::Return, deadline));
            }
            if backend.waits_for_trial() {
                begin(Probe::new(Arc::clone(&backend), Purpose::Restart, deadline));
            }
            match &self.check {
                Some(check) if backend.awaits_check() => {
                    begin(Probe::check(backend, Purpose::FirstCheck, check));
                }
                Some(check) if is_check_due => begin(Probe::check(backend, Purpose::Check, check)),
                Some(_) | None => {}
            }
        }
    }

    /// Between two active checks, if there are any.
    pub fn check_interval(&self) -> Option<Duration> {
        self.check.as_ref().map(|check| check.interval)
    }

    /// Goes on with a probe as far as that is possible without waiting. It comes back with what it waits for.
    pub fn go_on(&self, mut probe: Box<Probe>) -> Option<(Box<Probe>, Wait)> {
        match probe.advance() {
            Advance::Waits(want) if Instant::now() < probe.deadline => {
                let (client, deadline, class) = (Want::Nothing, probe.deadline, Class::Busy);
                return Some((probe, Wait { client, backend: want, deadline, class }));
            }
            Advance::Waits(_) => {
                let failure = match probe.question {
                    Question::None | Question::Request(_) => Failure::ConnectTimeout,
                    Question::Response(_) => Failure::ResponseTimeout,
                };
                self.conclude(&probe, Err(failure.to_string()));
            }
            Advance::Passed => self.conclude(&probe, Ok(())),
            // ronde's own lack of descriptors says nothing about a backend.
            Advance::Failed(Failure::Descriptors) => {}
            Advance::Failed(failure) => {
                // Not when it is silent: that is no sign of a restart.
                if probe.purpose == Purpose::Restart && failure == Failure::Refused {
                    Self::note_vanished(&probe.backend);
                }
                self.conclude(&probe, Err(failure.to_string()));
            }
            Advance::Unwell(status) => {
                let path = self.check.as_ref().and_then(|check| check.path.as_deref()).unwrap_or_default();
                self.conclude(&probe, Err(format!("{path} is answered with {status}")));
            }
        }
        None
    }

    fn conclude(&self, probe: &Probe, outcome: Result<(), String>) {
        match (probe.purpose, outcome) {
            (Purpose::FirstCheck, outcome) => self.note_first_check(&probe.backend, outcome),
            (Purpose::Check, outcome) => self.note_check(&probe.backend, outcome),
            (Purpose::Return, Ok(())) => self.note_connected(&probe.backend),
            (Purpose::Return, Err(_)) | (Purpose::Restart, _) => {}
        }
    }
}

impl Probe {
    fn new(backend: Arc<Backend>, purpose: Purpose, deadline: Instant) -> Box<Self> {
        Box::new(Self { backend, purpose, conn: None, deadline, question: Question::None })
    }

    fn check(backend: Arc<Backend>, purpose: Purpose, check: &Check) -> Box<Self> {
        let mut probe = Self::new(backend, purpose, check.deadline());
        if let Some(path) = &check.path {
            let host = &probe.backend.name;
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ronde-health\r\nConnection: close\r\n\r\n"
            );
            probe.question = Question::Request(request.into_bytes());
        }
        probe
    }

    /// Connects, sends, receives: as far as it comes.
    fn advance(&mut self) -> Advance {
        let connected = match &self.conn {
            None => Conn::connect(self.backend.address, Window::Automatic, Block::Never).map(
                |(conn, connected)| {
                    self.conn = Some(conn);
                    connected
                },
            ),
            Some(conn) => conn.finish_connect(),
        };
        let conn = match (connected, &self.conn) {
            (Ok(Connected::Yes), Some(conn)) => conn,
            (Ok(_), _) => return Advance::Waits(Want::Write),
            (Err(error), _) => return Advance::Failed(connect_failure(&error)),
        };
        loop {
            match &mut self.question {
                Question::None => return Advance::Passed,
                Question::Request(request) => match conn.send(&[IoSlice::new(request)], Block::Never) {
                    Ok(Sent::Bytes(count)) if count == request.len() => {
                        self.question = Question::Response(Vec::new());
                    }
                    Ok(Sent::Bytes(count)) => drop(request.drain(..count)),
                    Ok(Sent::Nothing) => return Advance::Waits(Want::Write),
                    Err(_) => return Advance::Failed(Failure::BackendReset),
                },
                Question::Response(response) => {
                    let mut room = [0; 4096];
                    match conn.receive(&mut room, Block::Never) {
                        Ok(Received::Bytes(count)) => response.extend_from_slice(&room[..count]),
                        Ok(Received::Nothing) => return Advance::Waits(Want::Read),
                        Ok(Received::End) => return Advance::Failed(Failure::BackendClosed),
                        Err(_) => return Advance::Failed(Failure::BackendReset),
                    }
                    if let Some(verdict) = verdict(response) {
                        return verdict;
                    }
                }
            }
        }
    }
}

/// What a response says, once its head is there.
fn verdict(bytes: &mut [u8]) -> Option<Advance> {
    match head::scan(bytes) {
        Scan::Complete { start, end } => {
            let mut lines = Lines::new();
            Some(match head::response(&mut bytes[start..end], &mut lines) {
                Ok(response) if (200..400).contains(&response.status) => Advance::Passed,
                Ok(response) => Advance::Unwell(response.status),
                Err(failure) => Advance::Failed(failure),
            })
        }
        Scan::Partial if bytes.len() > MAX_HEAD => Some(Advance::Failed(Failure::ResponseHeadTooLarge)),
        Scan::Partial => None,
        Scan::Hopeless(_) => Some(Advance::Failed(Failure::ResponseMalformed)),
    }
}
