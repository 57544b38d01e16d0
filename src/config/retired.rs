//! The settings of older versions.
//!
//! The problem: a configuration outlives the version that it was written for. One that still has a setting that is gone is
//! warned about, and works.
//!
//! Not here: the keys of the file that stand for them (`Document` in `config`).

use super::variable;

/// A setting of an older version.
#[derive(Debug)]
pub(super) struct Retired {
    pub(super) flag: &'static str,
    why: &'static str,
}

/// In the order of their keys in `Document`.
pub(super) static RETIRED: [Retired; 2] = [
    Retired {
        flag: "--max-transfers",
        why: "a transfer that waits takes no thread any more, so their number needs no limit; see --parked-memory",
    },
    Retired {
        flag: "--max-per-backend",
        why: "a backend that hangs holds no worker any more; see max-connections of a [[backend]]",
    },
];

impl Retired {
    pub(super) fn note(&self, place: &str) -> String {
        format!("{place} is ignored: {}", self.why)
    }

    pub(super) fn variable(&self) -> String {
        variable(self.flag)
    }
}
