//! The settings of older versions.
//!
//! The problem: an upgrade meets a configuration that served for years, and a start that fails is an outage. So a setting
//! that has nothing left to do is warned about, and ignored.
//!
//! Not here: reading past them (`command`, `file`).

use super::variable;

/// A setting of an older version. A configuration that still has it is warned about, and works.
#[derive(Debug)]
pub(super) struct Retired {
    pub flag: &'static str,
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
    pub fn note(&self, place: &str) -> String {
        format!("{place} is ignored: {}", self.why)
    }

    pub fn variable(&self) -> String {
        variable(self.flag)
    }
}
