//! How many workers there are.
//!
//! The problem: a worker never waits for long, so their number follows from the cores, and not from the clients; a number
//! that suits a server with a thread for each client is a mistake here, though an allowed one.
//!
//! Not here: the setting (`config`).

use super::Config;
use std::thread;

/// Workers for each core, unless the admin says otherwise: while some wait for a moment, another serves. Measured on two
/// cores: with backends that answer at once 4 to 6 in all have the same throughput within noise, and 8 a tenth less with
/// many clients, for more requests are in the hands of a worker that has no core; with backends that take 2 to 5 ms, 6 serve
/// half as many requests again as 4.
const WORKERS_PER_CORE: usize = 3;

/// The least, since a small machine has as many things to wait for.
const LEAST_WORKERS: usize = 4;

/// Workers for each core above which their number looks like a mistake.
const MANY_WORKERS_PER_CORE: usize = 8;

fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

impl Config {
    /// How many workers there are to be.
    pub fn worker_count(&self) -> usize {
        self.workers.unwrap_or_else(|| (cores() * WORKERS_PER_CORE).max(LEAST_WORKERS))
    }

    /// A remark, if there are more than any machine needs.
    pub(super) fn many_workers(&self) -> Option<String> {
        let (workers, cores) = (self.workers?, cores());
        (workers > cores * MANY_WORKERS_PER_CORE).then(|| {
            format!(
                "--workers {workers} are many for {cores} cores: a worker never waits for long, so a few per core are \
                 enough, which is the default"
            )
        })
    }
}
