//! Reading until a request is there that can be sent on.
//!
//! The problem: a message comes cut anywhere, and byte by byte if its client likes. A message that is not complete needs no
//! worker, and looking at it from its beginning at each byte would cost gigabytes of copies.
//!
//! Not here: what a request is (`request`).

use super::{End, Session};
use crate::http1::head;
use crate::net::conn::{Block, Received};
use crate::observe::activity::Doing;
use crate::observe::explain::{self, Explanation, Step};
use crate::observe::failure::Failure;
use crate::pool::min_rate::MinRate;
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::client::Client;
use crate::proxy::conversation::{Context, Halt};
use crate::proxy::request::{self, Missing, Parsed, Request, Source};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// A client that has not sent a whole request yet.
#[derive(Debug)]
pub struct Reading {
    missing: Missing,
    /// When the first byte was read.
    pub(super) begun: Option<Instant>,
    /// Since when nothing has come.
    since: Instant,
    /// Whether a body comes fast enough; only once it has to be waited for.
    rate: Option<Box<MinRate>>,
    /// How long the connection waited for a worker.
    pub(super) queued: Duration,
}

impl Reading {
    /// The next request, which is waited for `since` then.
    pub fn next(since: Instant) -> Self {
        Self { missing: Missing::Everything, begun: None, since, rate: None, queued: Duration::ZERO }
    }

    /// The first request of a connection that waited for a worker.
    pub fn first(since: Instant, queued: Duration) -> Self {
        Self { queued, ..Self::next(since) }
    }

    /// Whether the client has sent a part of a request, and owes the rest.
    pub fn has_begun(&self) -> bool {
        self.missing != Missing::Everything
    }

    /// Whether this parked client has sent a request, or a part of one: a whole one may be in hand, to be served with a later
    /// batch.
    pub fn is_under_way(&self, client: &Client) -> bool {
        self.has_begun() || !client.carried.is_empty()
    }
}

impl Session<'_, '_> {
    /// Reads on where a message was parked. Its bytes are not loaded, nor looked at from the beginning, each time that
    /// one more comes: in a head of 60 KB that would be gigabytes of copies.
    pub(super) fn read_parked(&mut self, reading: &mut Reading) -> Result<(), End> {
        let carried = &mut self.client.carried;
        let before = carried.len();
        let limit = match reading.missing {
            Missing::Everything => 0,
            Missing::Head => self.context.site.config.max_head + head::EMPTY_LINES,
            Missing::Body(length) => length,
        };
        let from_client = &mut self.context.scratch.from_client;
        from_client.clear();
        let room = from_client.one_read();
        let most = room.len().min(limit.saturating_sub(before));
        if most > 0
            && let Ok(Received::Bytes(count)) = self.client.conn.receive(&mut room[..most], Block::Never)
        {
            carried.extend_from_slice(&room[..count]);
            let have = carried.len();
            let is_head = reading.missing == Missing::Head;
            if have < limit && !(is_head && head::is_worth_a_look(carried, before)) {
                return Err(self.wait_for_more(reading, have, count));
            }
            // What the head took is not charged to a body behind it.
            reading.since = self.context.allowance.now();
        }
        self.load();
        Ok(())
    }

    /// Reads until a request is there that can be sent on: with its body, if that is collected.
    pub(super) fn read_request(&mut self, reading: &mut Reading) -> Result<Request, End> {
        loop {
            if !self.context.scratch.from_client.is_empty() {
                let begun = *reading.begun.get_or_insert(self.context.allowance.now());
                self.context.recorder.go_on(Doing::Reading);
                match self.parse(begun) {
                    Ok(Parsed::Request(mut request, end)) => {
                        self.context.scratch.from_client.consume(end);
                        request.explanation = self.explain(&request, begun, reading, end);
                        return Ok(request);
                    }
                    Ok(Parsed::Options(request, end, question)) => {
                        self.context.scratch.from_client.consume(end);
                        // Before the answer, behind which the connection is parked with what it then is.
                        *reading = Reading::next(self.context.allowance.now());
                        self.answer_options(request, question)?;
                        continue;
                    }
                    Ok(Parsed::Partial(missing)) => {
                        reading.missing = missing;
                        // An empty line begins no request.
                        reading.begun = reading.begun.filter(|_| reading.has_begun());
                    }
                    Err(failure) => return Err(self.refuse(failure, begun, reading.queued)),
                }
            }
            self.read_more(reading)?;
        }
    }

    /// Begins to explain a request that was read, if it is to be explained.
    fn explain(
        &self,
        request: &Request,
        begun: Instant,
        reading: &Reading,
        head: usize,
    ) -> Option<Box<Explanation>> {
        let mut explanation =
            self.context.shared.explain(&request.route.config, &request.line.request, begun)?;
        explanation.note(match reading.queued {
            Duration::ZERO => Step::Came,
            queued => Step::Accepted { queued },
        });
        let body = match request.meta.body {
            request::Body::InHand(length) => explain::Body::Collected(length),
            request::Body::Streams | request::Body::Gone => explain::Body::Streams,
        };
        explanation.note(Step::Read { worker: self.context.worker, head, body });
        Some(explanation)
    }

    fn parse(&mut self, begun: Instant) -> Result<Parsed, Failure> {
        let Context { shared, site, scratch, .. } = &mut *self.context;
        let (client, scheme, conn) = (self.client.source(), self.client.scheme, &self.client.conn);
        let (local, pseudonym, routes) = (&|| conn.local(), &shared.pseudonym, &site.routes);
        let source = Source { client, scheme, local, pseudonym, routes };
        let bytes = scratch.from_client.filled_mut();
        request::parse(bytes, &mut scratch.spare_heads, &source, begun, &site.config, &shared.logger)
    }

    /// Reads what is there, or comes soon.
    fn read_more(&mut self, reading: &mut Reading) -> Result<(), End> {
        let is_idle = reading.missing == Missing::Everything;
        if is_idle && self.context.shared.is_over() {
            return Err(End::Close);
        }
        match self.receive() {
            // A site is taken with a batch. This worker has waited for a client that is busy, and a reload came before the request.
            Ok(Received::Bytes(_)) if is_idle && !self.context.shared.site.is(self.context.site) => {
                Err(self.serve_later(self.context.allowance.now()))
            }
            Ok(Received::Bytes(_)) => Ok(()),
            Ok(Received::Nothing) => {
                let have = self.context.scratch.from_client.len();
                Err(self.wait_for_more(reading, have, 0))
            }
            Ok(Received::End) | Err(_) if is_idle => Err(End::Close),
            Err(error) if error.kind() != ErrorKind::UnexpectedEof => Err(End::Close),
            Ok(Received::End) | Err(_) => {
                let failure = match reading.missing {
                    Missing::Body(_) => Failure::BodyIncomplete,
                    Missing::Everything | Missing::Head => Failure::HeadIncomplete,
                };
                let begun = reading.begun.unwrap_or(self.context.allowance.now());
                Err(self.refuse(failure, begun, reading.queued))
            }
        }
    }

    /// One read into the worker's buffer.
    pub(super) fn receive(&mut self) -> io::Result<Received> {
        let Context { shared, scratch, allowance, .. } = &mut *self.context;
        let conn = &self.client.conn;
        let (received, _) =
            allowance.spend(&shared.waiter, |block| conn.receive(scratch.from_client.room(), block));
        if let Ok(Received::Bytes(count)) = received {
            scratch.from_client.grew(count);
            // A few bytes at a time could go on for ever: whatever comes after this read is not waited for.
            allowance.stop_waiting();
        }
        received
    }

    /// A client has sent `have` bytes of a message, `fresh` of them just now, and is waited for, unless it takes too long.
    fn wait_for_more(&mut self, reading: &mut Reading, have: usize, fresh: usize) -> End {
        let (now, config) = (Instant::now(), &self.context.site.config);
        let begun = reading.begun.unwrap_or(now);
        let last = reading.begun.map_or(reading.since, |begun| reading.since.max(begun));
        let is_fast_enough = fresh == 0
            || reading.missing == Missing::Head
            || reading
                .rate
                .get_or_insert_with(|| Box::new(MinRate::new(config.min_rate)))
                .is_kept(have as u64, now.saturating_duration_since(last));
        reading.since = if fresh > 0 { now } else { last };
        let (deadline, class, failure) = match reading.missing {
            // A client that has sent nothing gets no 408.
            Missing::Everything => {
                let deadline = reading.since + config.keep_alive_timeout;
                (self.context.shared.waiter.bound_idle(deadline), Class::Idle, None)
            }
            // Its time is one for the whole: a client that drips does not prolong it.
            Missing::Head => (begun + config.head_timeout, Class::Slow, Some(Failure::HeadTimeout)),
            Missing::Body(_) => {
                (reading.since + config.body_timeout, Class::Slow, Some(Failure::BodyTimeout))
            }
        };
        let failure = if self.context.shared.is_over() {
            failure.and(Some(Failure::Cut))
        } else if !is_fast_enough {
            Some(Failure::BodyTooSlow)
        } else if deadline > now {
            let (client, backend) = (Want::Read, Want::Nothing);
            return Halt::Wait(Wait { client, backend, deadline, class }).into();
        } else {
            failure
        };
        if self.context.scratch.from_client.is_empty() {
            self.load();
        }
        failure.map_or(End::Close, |failure| self.refuse(failure, begun, reading.queued))
    }
}
