//! The programs that the benches run: proxies and backends, as processes that end with the bench.
//!
//! Every program listens on 127.0.0.1 and runs only as long as it is needed. nginx and HAProxy get two processes or
//! threads and ronde its defaults; all have a backlog of 4096, kept connections to the backends and no access log.
//!
//! Not here: the load and the measurements (`versus`, `hazards`).

pub mod account;
pub mod backends;
pub mod http;
pub mod ports;
pub mod process;
pub mod proxies;
pub mod tools;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the descriptor limit of this process and its children to the hard limit, and returns it.
///
/// # Errors
/// The system refuses.
pub fn raise_descriptor_limit() -> Result<u64> {
    let most = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: most, maximum: most })
        .context("raising the descriptor limit")?;
    Ok(most.unwrap_or(u64::MAX))
}
