//! How many workers run at once.
//!
//! The problem: a pool must be large, because a worker that waits for a slow backend is lost to the others; and it must
//! be small, because of those that do not wait, more than a few only take turns on the same cores: each switch costs
//! microseconds and cold caches, and with 64 of them a proxy of 256 busy clients answers a fifth less than with 8. Which
//! of the two it is cannot be seen from the queue: in both cases somebody waits in it. It can be seen from the machine:
//! if work waits *and* a core is idle, workers are missing; if every core is busy, one more would only be in the way.
//!
//! So few workers are woken at first, and while something waits and a core is idle, more, a quarter at a time. I/O
//! completion ports limit the running threads with the help of the scheduler; this gets by with a look into
//! /proc/loadavg, a thousand times a second and only while something waits. That counts the whole machine, and others may
//! keep its cores busy for ever: so whoever has waited for long is served in any case. And what such a wait has taught is
//! forgotten slowly, or on a machine that is always busy every newcomer would have to wait for it again.
//!
//! Not here: waking (`seats`).

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// Workers for each core that are woken without asking. A worker that sends ahead hardly ever waits while others do, so
/// few are enough. Measured on two cores: with 16 clients 3 a core give 15 % more requests a second than 2, which leave a
/// tenth of the machine idle, and 2 % more than 4; with 64 clients and more it makes no difference.
const WORKERS_PER_CORE: usize = 3;

/// Looks in a row that must find a core idle. On two cores that are 93 % busy one look in ten does, between two workers;
/// three in a row are no chance, and delay the help against slow backends by 2 ms.
const CONVINCED: u32 = 3;

/// A wait that is none: of those who come at once the last waits for a moment, though the core that will serve it is still
/// idle. Without it, a thousand clients on slow backends wake two hundred workers where six are enough.
const MOMENT: Duration = Duration::from_millis(3);

/// A wait that ends all considerations. A thousand clients that keep two cores busy wait 20 ms.
const OVERDUE: Duration = Duration::from_millis(50);

/// How often a part of what was learned is forgotten. Longer than the [`OVERDUE`] that learning it costs, so that few wait
/// for it; and from a thousand workers back to eight it is four seconds, in which they only share the cores less well.
pub(super) const OBLIVION: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub(super) struct Rotation {
    cores: usize,
    target: AtomicUsize,
    /// How often in a row a core was seen idle while something waited.
    idle: AtomicU32,
    /// The kernel's count of threads that run or could run; none where there is no /proc.
    running: Option<File>,
}

impl Rotation {
    pub fn new() -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let target = AtomicUsize::new(cores * WORKERS_PER_CORE);
        Self { cores, target, idle: AtomicU32::new(0), running: File::open("/proc/loadavg").ok() }
    }

    /// Whether so many workers are fewer than should be awake.
    pub fn has_room(&self, awake: usize) -> bool {
        awake < self.target.load(Ordering::Relaxed)
    }

    /// Something has waited for so long although `awake` workers are awake: how many more should be? To be asked every
    /// millisecond.
    pub fn missing(&self, awake: usize, waited: Duration) -> usize {
        let idle = if self.is_core_idle() { self.idle.fetch_add(1, Ordering::Relaxed) + 1 } else { 0 };
        self.idle.store(idle, Ordering::Relaxed);
        if waited < MOMENT || waited < OVERDUE && idle < CONVINCED {
            return 0;
        }
        let missing = awake / 4 + 1;
        self.target.store(awake + missing, Ordering::Relaxed);
        missing
    }

    /// Forgets an eighth of what was learned. To be told every [`OBLIVION`], until it [is relaxed](Self::is_relaxed).
    pub fn relax(&self) {
        let target = self.target.load(Ordering::Relaxed);
        // Rounded up: an eighth of seven would be nothing, for ever.
        self.target.store(self.base().max(target - target.div_ceil(8)), Ordering::Relaxed);
    }

    /// Whether everything is as it was at the beginning.
    pub fn is_relaxed(&self) -> bool {
        self.target.load(Ordering::Relaxed) <= self.base()
    }

    fn base(&self) -> usize {
        self.cores * WORKERS_PER_CORE
    }

    /// The fourth field of /proc/loadavg is `running/all`, and counts the thread that asks. Where it cannot be read,
    /// a core counts as idle, and the pool behaves like any other.
    fn is_core_idle(&self) -> bool {
        let mut text = [0; 64];
        let read = self.running.as_ref().and_then(|file| file.read_at(&mut text, 0).ok());
        let running = read.and_then(|length| parse_running(&text[..length]));
        running.is_none_or(|running| running <= self.cores)
    }
}

fn parse_running(loadavg: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(loadavg).ok()?;
    text.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_understood() {
        assert_eq!(parse_running(b"0.20 0.18 0.12 3/80 11206\n"), Some(3));
        assert_eq!(parse_running(b"0.20 0.18"), None);
        assert!(parse_running(&std::fs::read("/proc/loadavg").unwrap()).is_some_and(|running| running >= 1));
    }

    #[test]
    fn what_a_long_wait_taught_outlasts_the_next() {
        let busy = File::open("/proc/loadavg").ok();
        let rotation =
            Rotation { cores: 0, target: AtomicUsize::new(40), idle: AtomicU32::new(0), running: busy };
        assert_eq!(rotation.missing(40, OVERDUE / 2), 0, "no core is ever idle");
        let awake = 40 + rotation.missing(40, OVERDUE);
        rotation.relax();
        assert!(rotation.has_room(awake - 8), "{awake}");
    }

    #[test]
    fn it_grows_while_a_core_is_idle_and_shrinks_when_nothing_waits() {
        let rotation =
            Rotation { cores: 2, target: AtomicUsize::new(6), idle: AtomicU32::new(0), running: None };
        let (mut awake, mut ticks) = (6, 0);
        assert!((0..10).all(|_| rotation.missing(awake, MOMENT / 2) == 0));
        while awake < 1024 {
            assert!(!rotation.has_room(awake));
            awake += rotation.missing(awake, MOMENT);
            ticks += 1;
        }
        assert!(ticks < 30, "a thousand workers within 30 ms, not {ticks}");
        let mut forgotten = Duration::ZERO;
        while !rotation.is_relaxed() {
            rotation.relax();
            forgotten += OBLIVION;
        }
        assert!(forgotten < Duration::from_secs(5), "{forgotten:?}");
        assert!(rotation.has_room(5) && !rotation.has_room(6));
    }
}
