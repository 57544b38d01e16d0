//! Idle clients: each has sent one request and keeps its connection open.

use crate::cells::Cell;
use crate::stage::{http, tls};
use anyhow::{Context, Result};
use rustls::client::Resumption;
use std::net::{SocketAddr, TcpStream};

/// Descriptors that the bench needs besides the idle connections.
const RESERVE: usize = 512;

/// Opens the idle connections of a cell and sends one request on each; they stay idle until they are dropped. `limit` is
/// the descriptor limit.
///
/// # Errors
/// A request is not answered, or the descriptor limit is too low.
pub fn open(cell: &Cell, address: SocketAddr, limit: u64) -> Result<Vec<TcpStream>> {
    let needed = cell.idle + RESERVE;
    anyhow::ensure!(limit >= needed as u64, "{needed} descriptors are needed, ulimit -Hn is {limit}");
    let config = tls::client(Resumption::disabled())?;
    let ask = || match cell.tls {
        None => http::ask(address, "bench", cell.path),
        Some(_) => tls::ask(address, &config, "bench", cell.path),
    };
    (0..cell.idle).map(|index| ask().with_context(|| format!("idle client {index}"))).collect()
}
