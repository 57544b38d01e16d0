//! Connecting and shaking hands for the commands, which have nothing else to do, and so wait here.
//!
//! Not here: how a server waits (`pool`).

use crate::config::Address;
use crate::net::conn::{Block, Conn, Connected, Window};
use crate::net::tls::{Handshake, HandshakeError, Identity};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io::{self, ErrorKind};
use std::time::Instant;

impl Conn {
    /// Connects, and waits until that is decided: for the commands that have nothing else to do.
    ///
    /// # Errors
    /// What connect(2) says; [`ErrorKind::TimedOut`] at the deadline.
    pub fn connect_by(to: &Address, deadline: Instant) -> io::Result<Self> {
        let time_left = || {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() { Err(io::Error::from(ErrorKind::TimedOut)) } else { Ok(left) }
        };
        let (conn, mut connected) = loop {
            match Self::connect(to, Window::Automatic, Block::Briefly) {
                // It has waited for one call.
                Err(error) if error.kind() == ErrorKind::WouldBlock => time_left()?,
                connected => break connected?,
            };
        };
        while connected == Connected::NotYet {
            let left = time_left()?;
            poll(&mut [PollFd::new(&conn, PollFlags::OUT)], Timespec::try_from(left).ok().as_ref())?;
            connected = conn.finish_connect()?;
        }
        Ok(conn)
    }

    /// Shakes hands with a backend, and waits until that is done: for the commands that have nothing else to do.
    ///
    /// # Errors
    /// Why there is no TLS; [`ErrorKind::TimedOut`] at the deadline.
    pub fn secure_by(&mut self, identity: &Identity, deadline: Instant) -> Result<(), HandshakeError> {
        while self.secured_to(identity, Block::Briefly)? == Handshake::Waits {
            if Instant::now() >= deadline {
                return Err(io::Error::from(ErrorKind::TimedOut).into());
            }
        }
        Ok(())
    }
}
