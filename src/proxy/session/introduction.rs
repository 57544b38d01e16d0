//! Which client a connection is from, where a proxy says so before anything else (`--proxy-protocol`).
//!
//! The problem: until the header is whole, nothing on the connection has a meaning, an answer included: what speaks no PROXY
//! protocol may speak no HTTP either. So a connection without a valid header is closed without a word, with its cause in the
//! log. And a proxy that is slow to say it must hold no worker: it is parked like any slow head, for as long at most.
//!
//! With the header it is also known whose connection it is, which `--max-per-client` may refuse.
//!
//! Not here: what a header is (`http1::proxy_header`), and whose is believed (`server::acceptor`).

use super::{End, Session};
use crate::config::Peer;
use crate::http1::forward::Scheme;
use crate::http1::proxy_header::{self, Source};
use crate::net::conn::Received;
use crate::observe::access::{Line, Record, Timings};
use crate::observe::failure::Failure;
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::conversation::{Arrived, Context, Halt};
use std::time::Instant;

impl Session<'_, '_> {
    /// Reads until the header is whole, and takes the client's address from it. A byte behind it stays for the request.
    pub(super) fn be_introduced(&mut self, arrived: Arrived) -> Result<(), End> {
        loop {
            match proxy_header::read(self.context.scratch.from_client.filled()) {
                Ok(Some((source, length))) => {
                    self.context.scratch.from_client.consume(length);
                    return match source {
                        Source::Proxy => Ok(()),
                        Source::Client(client) => self.name(client, arrived),
                    };
                }
                Ok(None) => self.read_introduction(arrived)?,
                Err(failure) => {
                    return Err(self.close_unanswered(failure, arrived));
                }
            }
        }
    }

    /// The client is known now, and counts from now on. The header was valid, so one too many can be told; but before a TLS
    /// handshake no word can be said that it understands.
    fn name(&mut self, client: Peer, arrived: Arrived) -> Result<(), End> {
        self.client.named = Some(client);
        let Context { shared, site, .. } = &*self.context;
        match shared.per_client.enter(client, &site.config) {
            Ok(counted) => {
                self.client.counted = counted;
                Ok(())
            }
            Err(failure) => Err(match self.client.scheme {
                Scheme::Http => self.refuse(failure, arrived.since, arrived.queued),
                Scheme::Https => self.close_unanswered(failure, arrived),
            }),
        }
    }

    fn read_introduction(&mut self, arrived: Arrived) -> Result<(), End> {
        match self.receive() {
            Ok(Received::Bytes(_)) => Ok(()),
            Ok(Received::Nothing) => Err(self.await_introduction(arrived)),
            // A look whether the port is open.
            Ok(Received::End) | Err(_) if self.context.scratch.from_client.is_empty() => Err(End::Close),
            Ok(Received::End) | Err(_) => {
                let failure = Failure::ProxyHeaderIncomplete;
                Err(self.close_unanswered(failure, arrived))
            }
        }
    }

    /// Its time is one for the whole: a proxy that drips does not prolong it.
    fn await_introduction(&mut self, arrived: Arrived) -> End {
        let Context { shared, site, .. } = &*self.context;
        let mut deadline = arrived.since + site.config.head_timeout;
        let is_idle = self.context.scratch.from_client.is_empty();
        if is_idle {
            deadline = shared.waiter.bound_idle(deadline);
        }
        if shared.is_over() || !shared.is_running() && is_idle && deadline <= Instant::now() {
            return End::Close;
        }
        if deadline <= Instant::now() {
            let failure = Failure::ProxyHeaderTimeout;
            return self.close_unanswered(failure, arrived);
        }
        // A stop need not wait for what has not begun.
        let class = if is_idle { Class::Handshake } else { Class::Slow };
        let (client, backend) = (Want::Read, Want::Nothing);
        Halt::Wait(Wait { client, backend, deadline, class }).into()
    }

    /// Closes a connection on which nothing can be said yet, with its cause in the log.
    pub(super) fn close_unanswered(&mut self, failure: Failure, arrived: Arrived) -> End {
        let Arrived { since, queued } = arrived;
        let timings = Timings { queued, total: since.elapsed(), ..Timings::default() };
        let record = Record { timings, failure: Some(failure), ..Record::default() };
        self.note(None, record, Line::default);
        End::Close
    }
}
