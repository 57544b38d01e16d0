//! What makes the load of a cell: wrk, or the bench's own clients where wrk cannot.

use crate::cells::{Cell, Connections};
use crate::handshakes::Handshakes;
use crate::stage::tools::Tool;
use crate::wrk::{Outcome, Wrk};
use anyhow::Result;
use std::net::SocketAddr;
use std::path::Path;

#[derive(Debug)]
pub enum Load {
    Wrk(Wrk),
    Handshakes(Handshakes),
}

impl Load {
    /// # Errors
    /// It cannot be started.
    pub fn start(wrk: &Tool, cell: &Cell, address: SocketAddr, seconds: u64, scratch: &Path) -> Result<Self> {
        Ok(match (cell.connections, cell.tls) {
            (Connections::OnePerRequest, Some(kind)) => {
                Self::Handshakes(Handshakes::start(cell, kind, address, seconds)?)
            }
            _ => Self::Wrk(Wrk::start(wrk, cell, address, seconds, scratch)?),
        })
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// It failed.
    pub fn finish(self) -> Result<Outcome> {
        match self {
            Self::Wrk(wrk) => wrk.finish(),
            Self::Handshakes(clients) => clients.finish(),
        }
    }
}
