//! What is allowed, and surely not meant.
//!
//! The problem: some mistakes are no errors. Each is within its bounds, and so it serves; but an admin wants to know.
//!
//! Not here: errors (`value`, `command`).

use super::{Config, cores};

/// Workers for each core above which their number looks like a mistake.
const MANY_WORKERS_PER_CORE: usize = 8;

impl Config {
    /// One warning each.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.many_workers().into_iter().collect()
    }

    fn many_workers(&self) -> Option<String> {
        let (workers, cores) = (self.workers?, cores());
        (workers > cores * MANY_WORKERS_PER_CORE).then(|| {
            format!(
                "--workers {workers} are many for {cores} cores: a worker never waits for long, so a few per core are \
                 enough, which is the default"
            )
        })
    }
}
