//! What the service manager is told: that ronde serves, reloads and stops, and that it is alive (`sd_notify(3)`).
//!
//! The problem: a service manager sees a process, and not whether it serves. Without being told, it starts what depends on
//! ronde too early; and a ronde that hangs looks like one that has nothing to do. With `WatchdogSec=` it is ended and started
//! again when it has not said for so long that it is alive. A thread that says so by itself would prove nothing but its own
//! life. So the main thread asks for a proof: it wakes a worker, and reports only what a worker has done since. A worker that
//! comes for work, or finds none, has passed the epoll and the lock of the waiter, and counts it. While any worker does,
//! ronde serves; when all of them hang, none does.
//!
//! Without a service manager (`NOTIFY_SOCKET`) all of this does nothing.
//!
//! Not here: the sockets that a service manager passes (`activation`).

use crate::config::value::count_text;
use crate::config::waits;
use crate::pool::waiter::Waiter;
use crate::proxy::conversation::Task;
use crossbeam_channel::{Receiver, never, tick};
use sd_notify::NotifyState;
use std::time::Instant;

/// In the time after which the service manager takes silence for death.
const PROOFS: u32 = 4;

/// See the module.
pub struct Manager<'a> {
    waiter: &'a Waiter<Task>,
    /// What the workers had done when a proof was last asked for.
    done: u64,
}

impl<'a> Manager<'a> {
    pub fn new(waiter: &'a Waiter<Task>) -> Self {
        Self { waiter, done: 0 }
    }

    /// The server serves, from now on or again; what, `status` says in one line.
    pub fn ready(&self, status: &str) {
        tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The settings are read again, until [`Self::ready`].
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            // `Type=notify-reload` wants the time as well: it tells this reload from the one before.
            Ok(now) => tell(&[NotifyState::Reloading, now]),
            Err(error) => log::warn!("the system does not tell the time: {error}"),
        }
    }

    /// The server stops, and so many connections are left. The service manager waits for the next report, also where the
    /// grace is longer than its own timeout (`TimeoutStopSec=`): otherwise it would kill ronde in the middle of the grace.
    pub fn stopping(&self, connections: usize) {
        let status = format!("draining: {}", count_text(connections, "connection"));
        let more = u32::try_from(waits::DRAIN_REPORT.as_micros()).unwrap_or(u32::MAX);
        tell(&[NotifyState::Stopping, NotifyState::ExtendTimeoutUsec(more), NotifyState::Status(&status)]);
    }

    /// When a proof is due; never, if nobody wants one.
    pub fn proofs(&self) -> Receiver<Instant> {
        sd_notify::watchdog_enabled().map_or_else(never, |most| tick(most / PROOFS))
    }

    /// Says that ronde is alive, if a worker has done something since the last call; and asks for the next proof.
    pub fn prove(&mut self) {
        if self.is_proved() {
            // A lost one is made good by the next.
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        }
    }

    fn is_proved(&mut self) -> bool {
        let done = self.waiter.rounds();
        let is_proved = done != self.done;
        self.done = done;
        self.waiter.wake_one();
        is_proved
    }
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        log::warn!("the service manager (NOTIFY_SOCKET) cannot be told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_worker_that_comes_back_is_a_proof_and_one_that_does_not_is_none() {
        let waiter = Waiter::new(1, 1, 1).unwrap();
        let mut manager = Manager::new(&waiter);
        assert!(!manager.is_proved() && !manager.is_proved(), "there is no worker");
        thread::scope(|scope| {
            scope.spawn(|| waiter.next(&mut Vec::new()));
            for _ in 0..3 {
                while !manager.is_proved() {
                    thread::yield_now();
                }
            }
            waiter.release_workers();
        });
        manager.is_proved();
        assert!(!manager.is_proved() && !manager.is_proved(), "the worker is gone");
    }
}
