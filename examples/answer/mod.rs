//! The answer of step 10, in a file of its own for step 11.

use crate::message::{self, Request};
use crate::socket::{receive, uninterrupted};
use crate::{MOMENT, STALL_TIMEOUT};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// An answer on its way.
pub struct Answer {
    pub backend: TcpStream,
    /// From the backend, and not yet with the client.
    in_hand: Vec<u8>,
    /// What is still to come from the backend; unknown until the head is there.
    to_come: Option<u64>,
    pub is_last: bool,
}

impl Answer {
    /// Sends the request. The answer is for later.
    pub fn to(request: &Request, mut backend: TcpStream) -> io::Result<Self> {
        backend.set_read_timeout(Some(MOMENT))?;
        backend.set_write_timeout(Some(STALL_TIMEOUT))?;
        send_all(&mut backend, &request.bytes)?;
        Ok(Self { backend, in_hand: Vec::new(), to_come: None, is_last: request.is_last })
    }

    pub fn has_output(&self) -> bool {
        self.to_come.is_some() && !self.in_hand.is_empty()
    }

    /// Relays up to the end. It is an error when only the end of the connection can say that the answer has ended.
    pub fn relay(&mut self, client: &mut TcpStream) -> io::Result<()> {
        loop {
            match self.to_come {
                None => {
                    receive(&mut self.backend, &mut self.in_hand)?;
                    self.to_come = message::begin_answer(&mut self.in_hand)?;
                }
                Some(_) if !self.in_hand.is_empty() => {
                    let taken = uninterrupted(|| client.write(&self.in_hand))?;
                    self.in_hand.drain(..taken);
                }
                Some(0) => return Ok(()),
                Some(to_come) => {
                    receive(&mut (&self.backend).take(to_come), &mut self.in_hand)?;
                    self.to_come = Some(to_come - self.in_hand.len() as u64);
                }
            }
        }
    }
}

/// Sends all of it or fails. To wait is no reason to park here, since `write_all` does not say how much was sent.
pub fn send_all(to: &mut TcpStream, all: &[u8]) -> io::Result<()> {
    to.write_all(all).map_err(io::Error::other)
}
