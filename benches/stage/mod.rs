//! The stage on which ronde and its peers appear: other programs, as processes that end with the bench.
//!
//! Everything listens on 127.0.0.1, everything is started for one run and ended after it, and every proxy gets the
//! same means: two threads or processes, a backlog of 4096, kept connections to the backends, no access log.
//!
//! Not here: load, and what is measured (`versus`, `hazards`).

pub mod account;
pub mod backends;
pub mod http;
pub mod ports;
pub mod process;
pub mod proxies;
pub mod tools;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit of descriptors, for this process and all that it starts, as far as the system allows; returns it.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> Result<u64> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .context("raising the descriptor limit")?;
    Ok(most.unwrap_or(u64::MAX))
}
