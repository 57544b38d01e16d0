//! Idle clients: each has sent one request and keeps its connection open.

use crate::stage::http;
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpStream};

/// Descriptors that the bench needs besides the idle connections.
const RESERVE: usize = 512;

/// Opens connections and sends one request on each; they stay idle until they are dropped. `limit` is the descriptor
/// limit.
///
/// # Errors
/// A request is not answered, or the descriptor limit is too low.
pub fn open(count: usize, address: SocketAddr, path: &str, limit: u64) -> Result<Vec<TcpStream>> {
    let needed = count + RESERVE;
    anyhow::ensure!(limit >= needed as u64, "{needed} descriptors are needed, ulimit -Hn is {limit}");
    (0..count)
        .map(|index| http::ask(address, "bench", path).with_context(|| format!("idle client {index}")))
        .collect()
}
