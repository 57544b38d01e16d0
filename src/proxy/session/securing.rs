//! The TLS handshake, on a listener that is for it (`--tls-listen`).
//!
//! The problem: a handshake is two trips to the client and the dearest work that a stranger can ask for, and it comes before
//! the first byte of HTTP. So a slow one is parked like any slow head, for as long at most (`--head-timeout`, for the
//! whole); nothing is set up for a connection that says nothing. And the internet tries ports all day: handshakes that fail are
//! counted, and their causes are at `--log-level debug`: a line each in the access log would be most of it.
//!
//! A plain HTTP request is another matter: that is a person with a wrong URL, or a script. It gets an answer that both can
//! read, in plain HTTP, and a line in the log.
//!
//! Not here: what TLS is (`net::tls`).

use super::{End, Session};
use crate::net::conn::Received;
use crate::net::tls::{Handshake, HandshakeError};
use crate::observe::failure::Failure;
use crate::observe::metrics::Secured;
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::conversation::{Arrived, Context, Halt};
use std::fmt;
use std::time::Instant;

/// The first byte of every TLS connection: a record with a message of the handshake (RFC 8446 §5.1).
const HANDSHAKE_RECORD: u8 = 22;

impl Session<'_, '_> {
    /// Goes on until the client has TLS, and may send its first request.
    pub(super) fn be_secured(&mut self, arrived: Arrived) -> Result<(), End> {
        if !self.client.conn.is_secured() {
            self.begin_handshake(arrived)?;
        }
        let (conn, waiter) = (&self.client.conn, &self.context.shared.waiter);
        match self.context.allowance.spend(waiter, |block| conn.shake_hands(block)).0 {
            Ok(Handshake::Done) => {
                let secured = if conn.is_resumed() { Secured::Again } else { Secured::Afresh };
                self.context.recorder.note_secured(secured);
                Ok(())
            }
            Ok(Handshake::Waits) => Err(self.await_handshake(arrived)),
            Err(error) => Err(self.fail_handshake(Failure::TlsHandshake, &error)),
        }
    }

    /// Begins with the client's first bytes, which may be read already, behind the header of a proxy.
    fn begin_handshake(&mut self, arrived: Arrived) -> Result<(), End> {
        while self.context.scratch.from_client.is_empty() {
            match self.receive() {
                Ok(Received::Bytes(_)) => {}
                Ok(Received::Nothing) => return Err(self.await_handshake(arrived)),
                // A look whether the port is open.
                Ok(Received::End) | Err(_) => return Err(End::Close),
            }
        }
        let first = self.context.scratch.from_client.filled();
        match first.first() {
            Some(&HANDSHAKE_RECORD) => {}
            Some(byte) if byte.is_ascii_uppercase() => {
                return Err(self.refuse(Failure::TlsMissing, arrived.since, arrived.queued));
            }
            _ => return Err(self.fail_handshake(Failure::TlsMissing, &"the first bytes are no TLS")),
        }
        let secured = match &self.context.site.certificates {
            Some(certificates) => self.client.conn.secure(certificates, first),
            // No listener has TLS without them.
            None => return Err(End::Close),
        };
        self.context.scratch.from_client.clear();
        secured.map_err(|error: HandshakeError| self.fail_handshake(Failure::TlsHandshake, &error))
    }

    /// Its time is one for the whole: a client that drips does not prolong it.
    fn await_handshake(&mut self, arrived: Arrived) -> End {
        let Context { shared, site, .. } = &*self.context;
        let now = Instant::now();
        let deadline = shared.waiter.bound_idle(arrived.since + site.config.head_timeout);
        let class = Class::Handshake;
        if deadline <= now && !shared.is_running() {
            return End::Close;
        }
        if deadline <= now {
            let cause = match self.client.conn.is_secured() {
                true => "the client is too slow",
                false => "the client says nothing",
            };
            return self.fail_handshake(Failure::TlsTimeout, &cause);
        }
        Halt::Wait(Wait { client: Want::Read, backend: Want::Nothing, deadline, class }).into()
    }

    /// Closes a connection on which nothing can be said.
    pub(super) fn fail_handshake(&mut self, failure: Failure, cause: &dyn fmt::Display) -> End {
        self.context.recorder.note_unsecured(failure);
        log::debug!("{}: {failure}: {cause}", self.client.source());
        End::Close
    }
}
