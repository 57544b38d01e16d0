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
use crate::proxy::conversation::{Context, Halt};
use std::time::{Duration, Instant};

/// A connection whose header has not come, or only a part of it.
#[derive(Debug)]
pub struct Introduction {
    pub(super) since: Instant,
    /// How long the connection waited for a worker.
    pub(super) queued: Duration,
}

impl Introduction {
    /// Of a connection that was accepted then.
    pub fn awaited(since: Instant) -> Self {
        Self { since, queued: Duration::ZERO }
    }
}

impl Session<'_, '_> {
    /// Reads until the header is whole, and takes the client's address from it. A byte behind it stays for the request.
    pub(super) fn be_introduced(&mut self, introduction: &Introduction) -> Result<(), End> {
        loop {
            match proxy_header::read(self.context.scratch.from_client.filled()) {
                Ok(Some((source, length))) => {
                    self.context.scratch.from_client.consume(length);
                    return match source {
                        Source::Proxy => Ok(()),
                        Source::Client(client) => self.name(client, introduction),
                    };
                }
                Ok(None) => self.read_introduction(introduction)?,
                Err(failure) => {
                    return Err(self.close_unanswered(failure, introduction.since, introduction.queued));
                }
            }
        }
    }

    /// The client is known now, and counts from now on. The header was valid, so one too many can be told; but before a TLS
    /// handshake no word can be said that it understands.
    fn name(&mut self, client: Peer, introduction: &Introduction) -> Result<(), End> {
        self.client.named = Some(client);
        let Context { shared, site, .. } = &*self.context;
        match shared.per_client.enter(client, &site.config) {
            Ok(counted) => {
                self.client.counted = counted;
                Ok(())
            }
            Err(failure) => Err(match self.client.scheme {
                Scheme::Http => self.refuse(failure, introduction.since, introduction.queued),
                Scheme::Https => self.close_unanswered(failure, introduction.since, introduction.queued),
            }),
        }
    }

    fn read_introduction(&mut self, introduction: &Introduction) -> Result<(), End> {
        match self.receive() {
            Ok(Received::Bytes(_)) => Ok(()),
            Ok(Received::Nothing) => Err(self.await_introduction(introduction)),
            // A look whether the port is open.
            Ok(Received::End) | Err(_) if self.context.scratch.from_client.is_empty() => Err(End::Close),
            Ok(Received::End) | Err(_) => {
                let failure = Failure::ProxyHeaderIncomplete;
                Err(self.close_unanswered(failure, introduction.since, introduction.queued))
            }
        }
    }

    /// Its time is one for the whole: a proxy that drips does not prolong it.
    fn await_introduction(&mut self, introduction: &Introduction) -> End {
        let Context { shared, site, .. } = &*self.context;
        let mut deadline = introduction.since + site.config.head_timeout;
        let is_idle = self.context.scratch.from_client.is_empty();
        if is_idle {
            deadline = shared.waiter.bound_idle(deadline);
        }
        if shared.is_over() || !shared.is_running() && is_idle && deadline <= Instant::now() {
            return End::Close;
        }
        if deadline <= Instant::now() {
            let failure = Failure::ProxyHeaderTimeout;
            return self.close_unanswered(failure, introduction.since, introduction.queued);
        }
        // A stop need not wait for what has not begun.
        let class = if is_idle { Class::Handshake } else { Class::Slow };
        let (client, backend) = (Want::Read, Want::Nothing);
        Halt::Wait(Wait { client, backend, deadline, class }).into()
    }

    /// Closes a connection on which nothing can be said yet, with its cause in the log.
    pub(super) fn close_unanswered(&mut self, failure: Failure, since: Instant, queued: Duration) -> End {
        let timings = Timings { queued, total: since.elapsed(), ..Timings::default() };
        let record = Record { timings, failure: Some(failure), ..Record::default() };
        self.note(None, record, Line::default);
        End::Close
    }
}
