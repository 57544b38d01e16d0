//! Clients that asked once and have not come back yet, nor gone.

use crate::stage::http;
use anyhow::{Context, Result};
use std::net::{SocketAddr, TcpStream};

/// Descriptors that the bench needs for everything else.
const RESERVE: usize = 512;

/// Opens connections, one request on each; they idle until they are dropped.
///
/// # Errors
/// A request is not answered, or the system does not allow so many descriptors.
pub fn open(count: usize, address: SocketAddr, path: &str, limit: u64) -> Result<Vec<TcpStream>> {
    let needed = count + RESERVE;
    anyhow::ensure!(limit >= needed as u64, "{needed} descriptors are needed, ulimit -Hn is {limit}");
    (0..count).map(|index| http::ask(address, path).with_context(|| format!("idle client {index}"))).collect()
}
