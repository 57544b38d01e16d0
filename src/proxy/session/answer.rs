//! ronde's own answers, and how a connection ends after an answer.
//!
//! The problem: a client is owed an answer whatever went wrong, and must be able to read it; and after some failures
//! ronde cannot tell where the next request begins.
//!
//! Not here: the text (`http1::reply`), and which failure it is.

use super::{End, Session};
use crate::config::{Action, Config};
use crate::http1::accept::Form;
use crate::http1::forward::{self, Persistence, Scheme};
use crate::http1::head::{self, Method, Version};
use crate::http1::https;
use crate::http1::reply::{self, Asked};
use crate::net::conn::{Block, Received, Sent};
use crate::observe::access::{Record, Timings};
use crate::observe::failure::{Blame, Failure};
use crate::proxy::conversation::Context;
use crate::proxy::exchange::Fate;
use crate::proxy::request::{self, Admission, Body, Question, Request, RequestMeta};
use std::io::IoSlice;
use std::time::{Duration, Instant};

/// Bytes that leave at once on any connection (ten segments, RFC 6928), and so before anything that comes later.
const FIRST_FLIGHT: u64 = 14_600;

impl Session<'_, '_> {
    /// Answers a request of which no response was begun. The connection persists if the request was read to its end.
    pub(super) fn answer(&mut self, failure: Failure, request: &Request, record: &mut Record) -> Fate {
        let Request { meta, route, .. } = request;
        record.failure = Some(failure);
        // Behind a FIN there is mostly no reader: a user has closed a tab. With an answer, that would be a 5xx in all counts.
        if matches!(failure, Failure::ClientGone | Failure::HalfClosed) {
            return Fate::Close;
        }
        let persistence = match failure.blame() {
            Blame::Client => Persistence::Close,
            Blame::Ronde | Blame::Backend => self.persistence(meta),
        };
        let reveals = self.context.site.config.reveal_backends;
        let named = record.tried.last().filter(|_| reveals).map(ToString::to_string);
        let out = &mut self.context.scratch.response;
        let asked = Asked { method: Some(meta.method), form: meta.form };
        let bytes = reply::failed(out, failure, asked, persistence, named.as_deref());
        if !self.send_reply(&route.config) {
            return Fate::Close;
        }
        (record.status, record.bytes) = (Some(failure.status()), bytes);
        fate_of(persistence)
    }

    /// Answers a request as its route says.
    pub(super) fn answer_by_route(&mut self, request: &Request, record: &mut Record) -> Fate {
        let persistence = self.persistence(&request.meta);
        let edits = request.route.response_edits.as_ref();
        // An admin who says what the text is has not written it for a page.
        let is_typed = edits.is_some_and(|edits| edits.takes(b"Content-Type"));
        let form = if is_typed { Form::Line } else { request.meta.form };
        let asked = Asked { method: Some(request.meta.method), form };
        let out = &mut self.context.scratch.response;
        let (status, bytes) = match &request.route.action {
            Some(Action::Redirect(origin)) => {
                (308, reply::redirect(out, origin, forward::target(&request.head), asked, persistence))
            }
            Some(Action::ToHttps) => {
                let (origin, target) =
                    (https::origin(forward::host(&request.head)), forward::target(&request.head));
                (308, reply::redirect(out, &origin, target, asked, persistence))
            }
            Some(Action::Respond { status, text }) => {
                (*status, reply::respond(out, *status, text, asked, persistence))
            }
            Some(Action::Proxy(_)) | None => return self.answer(Failure::NoRoute, request, record),
        };
        if let Some(edits) = edits {
            edits.response(out, request.placeholders.as_deref());
        }
        if !self.send_reply(&request.route.config) {
            return Fate::Close;
        }
        (record.status, record.bytes) = (Some(status), bytes);
        fate_of(persistence)
    }

    /// Whether the connection persists after ronde's own answer: if the request was read to its end. An HTTP/1.0 client would
    /// have to be told that it persists, and may come again.
    fn persistence(&self, meta: &RequestMeta) -> Persistence {
        let persists = meta.body != Body::Streams
            && meta.persistence == Persistence::Persist
            && meta.version == Version::Http11
            && self.client.may_stay()
            && self.context.shared.is_running();
        if persists { Persistence::Persist } else { Persistence::Close }
    }

    /// Answers what was never a request that could be sent on, and ends the connection: where the next request begins is
    /// not known.
    pub(super) fn refuse(&mut self, failure: Failure, begun: Instant, queued: Duration) -> End {
        let received = self.context.scratch.from_client.filled();
        let method = head::asks_for_head(received).then_some(Method::Head);
        let asked = Asked { method, form: Form::of_bytes(received) };
        let out = &mut self.context.scratch.response;
        let sent = reply::failed(out, failure, asked, Persistence::Close, None);
        let said = self.send_reply(&self.context.site.config);
        let (status, bytes) = if said { (Some(failure.status()), sent) } else { (None, 0) };
        let Context { shared, site, scratch, .. } = &*self.context;
        let timings = Timings { queued, total: begun.elapsed(), ..Timings::default() };
        let record = Record { status, bytes, timings, failure: Some(failure), ..Record::default() };
        self.note(None, record, || {
            let received = scratch.from_client.filled();
            request::line_of_refused(received, self.client.source(), &site.config, &shared.logger)
        });
        if said { End::Linger } else { End::Close }
    }

    /// `OPTIONS` with `Max-Forwards: 0` asks ronde itself, and takes no turn in the round (RFC 9110 §7.6.2).
    ///
    /// An access list of its route holds for it as for any request; but this host's own probes get their answer, or a ronde
    /// that lets in a few clients alone would look ill to its own host.
    ///
    /// Such probes have no line while ronde is well: at one in five seconds they would be most of a quiet
    /// log.
    pub(super) fn answer_options(&mut self, request: Request, question: Question) -> Result<(), End> {
        let persistence = self.persistence(&request.meta);
        let is_own_probe = question == Question::Health && self.client.is_from_this_host();
        let failure = match request.meta.admission {
            Admission::Denied if !is_own_probe => Some(Failure::AccessDenied),
            _ => self.context.site.routes.knows_no_backend().then_some(Failure::NoBackend),
        };
        let out = &mut self.context.scratch.response;
        let (answer, sent) = match failure {
            Some(failure) => {
                let asked = Asked { method: Some(Method::Options), form: request.meta.form };
                (failure.status(), reply::failed(out, failure, asked, persistence, None))
            }
            None => {
                reply::options(out, persistence);
                (200, 0)
            }
        };
        let said = self.send_reply(&request.route.config);
        let (status, bytes) = if said { (Some(answer), sent) } else { (None, 0) };
        if !(is_own_probe && status == Some(200)) {
            let timings = Timings { total: request.begun.elapsed(), ..Timings::default() };
            let record = Record { status, bytes, failure, timings, ..Record::default() };
            self.note(Some(&request.route.counts), record, || request.line);
        }
        match persistence {
            Persistence::Persist if said => self.persist(self.context.allowance.now()),
            Persistence::Close if said => Err(self.linger_or_close(&request.meta, 0)),
            _ => Err(End::Close),
        }
    }

    /// Sends ronde's own words, which nearly always fit into the socket at once. A client that leaves its answers unread
    /// is not waited for. The settings are those that the answer is given by.
    fn send_reply(&mut self, config: &Config) -> bool {
        let words = &mut self.context.scratch.response;
        // Plain HTTP on a port for TLS gets its 400 without (RFC 6797 §7.2).
        if let (true, Some(value)) = (self.client.conn.is_secured(), &config.hsts) {
            https::add_strict_transport_security(words, value);
        }
        // Over TLS one call takes 32 KB, and a redirect has all of a target that may be longer.
        let mut left = &words[..];
        while let Ok(Sent::Bytes(count @ 1..)) = self.client.conn.send(&[IoSlice::new(left)], Block::Never) {
            left = &left[count.min(left.len())..];
            if left.is_empty() {
                return true;
            }
        }
        false
    }

    /// How a connection ends on which everything was said, `bytes` of body among it. A close over bytes that were not
    /// read, or before bytes that are still to come, is a reset, which takes back what the client has not read yet; so
    /// it is closed in stages (RFC 9112 §9.6). That costs a trip through the waiter, which is saved where the client
    /// has nothing more to say and what it was told has left already. Over TLS a client always has: its close_notify.
    pub(super) fn linger_or_close(&self, meta: &RequestMeta, bytes: u64) -> End {
        let is_clients_last = meta.persistence == Persistence::Close
            && meta.body != Body::Streams
            && self.client.scheme == Scheme::Http
            && self.context.scratch.from_client.is_empty();
        match self.client.conn.peek() {
            Ok(Received::End) | Err(_) => End::Close,
            Ok(Received::Nothing) if is_clients_last && bytes < FIRST_FLIGHT => End::Close,
            Ok(Received::Nothing | Received::Bytes(_)) => End::Linger,
        }
    }
}

fn fate_of(persistence: Persistence) -> Fate {
    match persistence {
        Persistence::Persist => Fate::Persist,
        Persistence::Close => Fate::Linger,
    }
}
