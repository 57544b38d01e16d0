//! The thread that looks after the backends while nobody asks them anything.
//!
//! The problem: a backend that is out gets no requests, so requests cannot find out that it is back; idle connections
//! grow old without anybody looking; and a check that is asked for (`--health-path`) must happen whether there is
//! traffic or not. One thread does all three, one backend after the other, each within a bounded time; only the first
//! checks of all are made at once, because the start waits for them.
//!
//! Not here: what the findings mean (`health`).

use super::{Backend, Backends};
use crate::config::waits;
use crate::http1::head::{self, Lines, Scan};
use crate::net::buffer::Buffer;
use crate::net::conn::{Arrived, Conn};
use crate::observe::failure::Failure;
use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};
use std::io::IoSlice;
use std::thread;
use std::time::{Duration, Instant};

/// What an active check is.
#[derive(Clone, Debug)]
pub struct Check {
    /// A GET for this, which must be answered with 2xx or 3xx; or none: a connect.
    pub path: Option<String>,
    pub interval: Duration,
}

/// Watches until the other end of `ended` is gone.
pub fn run(backends: &Backends, check: Option<&Check>, ended: &Receiver<()>) {
    let mut next_check = check.map(|check| Instant::now() + check.interval);
    loop {
        let pause = next_check.map_or(waits::BACKEND_WATCH, |next| {
            next.saturating_duration_since(Instant::now()).min(waits::BACKEND_WATCH)
        });
        match ended.recv_timeout(pause) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
        }
        // It may take long, if many are silent; the end does not wait for it.
        let is_over = || ended.try_recv() == Err(TryRecvError::Disconnected);
        let all = backends.all();
        for backend in all.iter().take_while(|_| !is_over()) {
            backend.kept.sweep();
            if backend.waits_for_connect() && connect(backend, waits::RETURN_CONNECT).is_ok() {
                backends.note_connected(backend);
            }
            // Not when it is silent: that is no sign of a restart.
            if backend.waits_for_trial()
                && connect(backend, waits::RETURN_CONNECT).err() == Some(Failure::Refused)
            {
                Backends::note_vanished(backend);
            }
            if let Some(check) = check.filter(|_| backend.awaits_check()) {
                backends.note_first_check(backend, passes(backend, check));
            }
        }
        if let (Some(check), Some(next)) = (check, next_check)
            && next <= Instant::now()
        {
            for backend in all.iter().take_while(|_| !is_over()) {
                backends.note_check(backend, passes(backend, check));
            }
            next_check = Some(Instant::now() + check.interval);
        }
    }
}

/// The checks before the first request is served: all at once, as nobody is served before the last of them has ended.
pub fn check_first(backends: &Backends, check: &Check) {
    let check_one = |backend: &Backend| backends.note_first_check(backend, passes(backend, check));
    let all = backends.all();
    thread::scope(|scope| {
        for backend in &all {
            let named = thread::Builder::new().name("check".into());
            // Where the system has no thread for it, it costs its time here.
            if named.spawn_scoped(scope, || check_one(backend)).is_err() {
                check_one(backend);
            }
        }
    });
}

fn connect(backend: &Backend, within: Duration) -> Result<Conn, Failure> {
    Conn::connect(backend.address, Instant::now() + within, || false)
        .map_err(|error| super::connect_failure(&error))
}

/// Whether a backend passes the check; if not, why.
fn passes(backend: &Backend, check: &Check) -> Result<(), String> {
    let deadline = Instant::now() + waits::HEALTH_CHECK.min(check.interval);
    let conn =
        connect(backend, waits::HEALTH_CHECK.min(check.interval)).map_err(|failure| failure.to_string())?;
    match &check.path {
        None => Ok(()),
        Some(path) => ask(conn, backend, path, deadline),
    }
}

fn ask(mut conn: Conn, backend: &Backend, path: &str, deadline: Instant) -> Result<(), String> {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {}\r\nUser-Agent: ronde-health\r\nConnection: close\r\n\r\n",
        backend.name
    );
    conn.send(&[IoSlice::new(request.as_bytes())], waits::HEALTH_CHECK).map_err(|error| error.to_string())?;
    let mut buffer = Buffer::new(16 * 1024);
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::ResponseTimeout.to_string());
        }
        match conn.receive(buffer.room(), left).map_err(|error| error.to_string())? {
            Arrived::Bytes(count) => buffer.grew(count),
            Arrived::Nothing => {}
            Arrived::End => return Err(Failure::BackendClosed.to_string()),
        }
        match head::scan(buffer.filled()) {
            Scan::Complete { start, end } => {
                let mut lines = Lines::new();
                let response = head::response(&buffer.filled()[start..end], &mut lines);
                return match response.map_err(|failure| failure.to_string())?.status {
                    200..=399 => Ok(()),
                    status => Err(format!("{path} is answered with {status}")),
                };
            }
            Scan::Partial if buffer.is_full() => return Err(Failure::ResponseHeadTooLarge.to_string()),
            Scan::Partial => {}
            Scan::Hopeless(_) => return Err(Failure::ResponseMalformed.to_string()),
        }
    }
}
