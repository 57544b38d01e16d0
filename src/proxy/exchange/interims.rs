//! The interim responses to one request, on their way to the client (RFC 9110 §15.2).
//!
//! The problem: a backend may send any number of them, and they are passed on as they come. A client that does not read them
//! must not fill ronde's memory: until it has taken one, nothing more is read from the backend.
//!
//! Not here: what they say (`http1::forward`).

use crate::config::waits;
use crate::net::conn::{Block, Sent};
use crate::observe::failure::Failure;
use crate::proxy::client::Client;
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// Interim responses within a second. A backend that reports progress sends a few; each is a write to the client that
/// costs the backend next to nothing.
const FLOOD: u32 = 1000;

/// The interim responses to one request (RFC 9110 §15.2).
#[derive(Debug, Default)]
pub(super) struct Interims {
    /// What the client has not taken. Nothing more is read from the backend until it has.
    undelivered: Vec<u8>,
    pub(super) first: Option<Instant>,
    /// Those since the beginning of a second.
    second: Option<(Instant, u32)>,
}

impl Interims {
    /// Takes a response that is to be delivered.
    pub(super) fn note(&mut self, response: &[u8]) -> Result<(), Failure> {
        let now = Instant::now();
        self.first.get_or_insert(now);
        let (since, count) = match self.second {
            Some((since, count)) if now.duration_since(since) < Duration::from_secs(1) => (since, count + 1),
            _ => (now, 1),
        };
        if count > FLOOD {
            return Err(Failure::InterimFlood);
        }
        self.second = Some((since, count));
        self.undelivered.extend_from_slice(response);
        Ok(())
    }

    /// Sends what is not delivered; returns whether the client took all of it.
    pub(super) fn deliver(&mut self, client: &Client) -> Result<bool, Failure> {
        while !self.undelivered.is_empty() {
            match client.conn.send(&[IoSlice::new(&self.undelivered)], Block::Never) {
                Ok(Sent::Bytes(count)) => drop(self.undelivered.drain(..count)),
                Ok(Sent::Nothing) => return Ok(false),
                Err(_) => return Err(Failure::ClientGone),
            }
        }
        Ok(true)
    }

    /// Whether the client has all of them. A part of one may be out otherwise.
    pub(super) fn is_delivered(&self) -> bool {
        self.undelivered.is_empty()
    }

    /// Whether the final response is overdue. Each of them restarts its timeout, but not for ever.
    pub(super) fn are_endless(&self, now: Instant) -> bool {
        self.first.is_some_and(|first| now.saturating_duration_since(first) > waits::INTERIM_TOTAL)
    }

    /// Bytes of memory that they keep, beside themselves.
    pub(super) fn weight(&self) -> usize {
        self.undelivered.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_final_response_is_overdue_an_hour_after_the_first_of_them() {
        let mut interims = Interims::default();
        assert!(!interims.are_endless(Instant::now() + 2 * waits::INTERIM_TOTAL), "there is none");
        interims.note(b"HTTP/1.1 102 Processing\r\n\r\n").unwrap();
        let first = interims.first.unwrap();
        interims.note(b"HTTP/1.1 102 Processing\r\n\r\n").unwrap();
        let after = |more| interims.are_endless(first + waits::INTERIM_TOTAL + more);
        assert!(!after(Duration::ZERO) && after(Duration::from_millis(1)));
    }
}
