//! Backends and a crowd, as the bench sees them: processes of their own that take orders.

use crate::helper::Helper;
use crate::kinds::Kind;
use crate::stage::ports;
use crate::tally::parse;
use anyhow::{Context, Result};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

/// How long a crowd may take to be there; a proxy that cannot take it in is measured all the same.
const GATHERING: Duration = Duration::from_secs(20);

pub fn start_backends() -> Result<(Helper, [SocketAddr; 2])> {
    let addresses = [ports::free()?, ports::free()?];
    let arguments = ["backends".to_owned(), addresses[0].to_string(), addresses[1].to_string()];
    let backends = Helper::start(&arguments)?;
    backends.hear(Duration::from_secs(5))?;
    Ok((backends, addresses))
}

/// Clients in a process of their own.
pub struct Crowd {
    helper: Helper,
    pub held: usize,
    pub size: usize,
}

impl Crowd {
    /// Returns when all are there, or no more come.
    pub fn gather(address: SocketAddr, crowds: &[(Kind, usize)]) -> Result<Self> {
        let mut arguments = vec!["crowd".to_owned(), address.to_string()];
        arguments.extend(crowds.iter().map(|(kind, count)| format!("{kind:?}={count}")));
        let size = crowds.iter().map(|(_, count)| count).sum();
        let mut crowd = Self { helper: Helper::start(&arguments)?, held: 0, size };
        let deadline = Instant::now() + GATHERING;
        while crowd.held < size && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(50));
            crowd.tell("tell")?;
        }
        Ok(crowd)
    }

    /// Gives an order, and returns the tally.
    pub fn tell(&mut self, order: &str) -> Result<HashMap<String, u64>> {
        let told = parse(&self.helper.tell(order)?);
        self.held = usize::try_from(*told.get("held").context("a count")?)?;
        Ok(told)
    }
}
