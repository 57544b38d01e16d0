//! Understanding what a backend says.
//!
//! The problem: here the response is decided: whether it is one, how its body ends on either side, whether each of the two
//! connections persists. Up to here every fault of it can still be answered with a status.
//!
//! Not here: reading (`ask`), the grammar (`http1`).

use super::relaying::{FinalResponse, Pauses};
use super::send::Outgoing;
use super::{Exchange, Fate, malformed};
use crate::http1::chunked::Decoder;
use crate::http1::fields::Name;
use crate::http1::forward::{self, Delivery, Persistence, Scheme};
use crate::http1::framing::{self, Framing, OfResponse};
use crate::http1::head::{self, Lines, Scan};
use crate::http1::https;
use crate::http1::reframer::Reframer;
use crate::net::buffer::Buffer;
use crate::observe::failure::Failure;
use crate::proxy::client::Client;
use crate::proxy::conversation::Context;
use crate::proxy::relay::{Broken, Direction, Pipe};
use crate::proxy::request::Request;
use crate::proxy::scratch::Scratch;

/// A body of which little is read at first, until its client has shown that it is fast: it might keep what it does not take
/// for hours. Shorter ones are not worth the extra calls.
const LONG: u64 = 1024 * 1024;

/// What the backend said, written for the client in `scratch.response`.
pub(super) enum Head {
    Interim,
    Final(Final),
}

/// What follows the head that ends the asking.
pub(super) enum Final {
    /// A body, of which what came along with the head is loaded.
    Response(FinalResponse, Direction),
    /// Another protocol.
    Switch,
}

impl Final {
    /// Whether no end of it says anything about the backend: a stream of events, or another protocol.
    pub(super) fn ends_at_will(&self) -> bool {
        match self {
            Self::Response(response, _) => response.pauses == Pauses::Surely,
            Self::Switch => true,
        }
    }

    /// Whether the whole of it is in the `buffer`, and its connection could serve another request.
    pub(super) fn leaves_reusable(&self, buffer: &Buffer) -> bool {
        match self {
            Self::Response(response, down) => response.backend_persists && down.has_read_exactly(buffer),
            Self::Switch => false,
        }
    }
}

impl Exchange {
    /// Takes a response head out of what the backend sent, if one is there, and writes it for the client.
    pub(super) fn take_head(
        &mut self,
        outgoing: Outgoing,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Result<Option<Head>, Failure> {
        let Context { scratch, shared, .. } = context;
        let Scratch { from_backend, response: out, .. } = &mut **scratch;
        let bytes = from_backend.filled();
        if bytes.is_empty() {
            return Ok(None);
        }
        let max_head = self.request.route.config.max_head;
        let end = match head::scan(bytes) {
            Scan::Complete { start: 0, end } if end <= max_head => end,
            Scan::Complete { start: 0, .. } => return Err(Failure::ResponseHeadTooLarge),
            Scan::Partial if !head::may_be_response(bytes) => return Err(Failure::ResponseMalformed),
            Scan::Partial if bytes.len() > max_head || from_backend.is_full() => {
                return Err(Failure::ResponseHeadTooLarge);
            }
            Scan::Partial => return Ok(None),
            Scan::Complete { .. } | Scan::Hopeless(_) => return Err(Failure::ResponseMalformed),
        };
        let mut lines = Lines::new();
        let head = head::response(&mut from_backend.filled_mut()[..end], &mut lines)?;
        let Request { meta, route, placeholders, .. } = &self.request;
        let edits = route.response_edits.as_ref();
        let framed = framing::of_response(meta.method, head.status, head.version, head.fields)?;
        let mut last = match head.status {
            101 if !forward::is_asked_for(&head, &self.request.head) => return Err(Failure::UpgradeUnasked),
            // The protocol must not change in the middle of a request (RFC 9110 §7.8).
            101 if matches!(outgoing, Outgoing::Partly(_)) => return Ok(None),
            101 => {
                forward::switch(out, &head)?;
                if let Some(edits) = edits {
                    edits.response(out, placeholders.as_deref());
                }
                Final::Switch
            }
            100..=199 => {
                forward::interim(out, &head)?;
                if let Some(edits) = edits {
                    edits.interim(out);
                }
                from_backend.consume(end);
                return Ok(Some(Head::Interim));
            }
            _ => {
                let may_stay = client.may_stay() && shared.is_running();
                let kept = if may_stay { Persistence::Persist } else { Persistence::Close };
                let (response, down) = self.write_response(out, &head, framed, outgoing, kept)?;
                Final::Response(response, down)
            }
        };
        self.record.status = Some(head.status);
        from_backend.consume(end);
        if let Final::Response(_, down) = &mut last {
            // What came along is looked at as long as its faults can still be answered with a status.
            let loaded = Pipe { direction: down, buffer: from_backend, lead: out }.load();
            loaded.map_err(|broken| match broken {
                Broken::Malformed(fault) => malformed(fault),
                Broken::Source | Broken::Sink => Failure::Internal,
            })?;
        }
        Ok(Some(Head::Final(last)))
    }

    /// Writes the head of a final response, to a client whose connection is `kept` as far as that is up to ronde. What becomes
    /// of the two connections is decided once, from both halves of the exchange: behind a request that is not out whole there is
    /// no next one, on either.
    fn write_response(
        &self,
        out: &mut Vec<u8>,
        head: &head::Response<'_>,
        framed: OfResponse,
        outgoing: Outgoing,
        kept: Persistence,
    ) -> Result<(FinalResponse, Direction), Failure> {
        let Request { meta, route, placeholders, .. } = &self.request;
        let edits = route.response_edits.as_ref();
        let is_whole = outgoing == Outgoing::All;
        let delivery = Delivery::of(meta.version, meta.method, head.status, framed);
        let persists = is_whole
            && kept == Persistence::Persist
            && meta.persistence == Persistence::Persist
            && delivery != Delivery::UntilClose;
        let (persistence, fate) = match persists {
            true => (Persistence::Persist, Fate::Persist),
            false => (Persistence::Close, Fate::Linger),
        };
        forward::response(out, head, meta.version, delivery, persistence)?;
        if let Some(edits) = edits {
            edits.response(out, placeholders.as_deref());
        }
        // Behind the edits: a backend's own field that is removed makes room for this one.
        if let (Scheme::Https, Some(value)) = (meta.scheme, &route.config.hsts) {
            https::add_strict_transport_security(out, value);
        }
        let backend_persists =
            is_whole && framing::persists(head.version, head.fields) && framed.framing != Framing::UntilClose;
        let decoder = Decoder::of_response(framed.framing);
        let reframer = Reframer::new(decoder, delivery.coding(head.fields), out.len());
        let mut down = Direction::new(reframer.edited(edits));
        if matches!(framed.framing, Framing::Length(length) if length > LONG) {
            down.use_small_reads();
        }
        let pauses = match head.fields.lines(Name::ContentType).any(is_event_stream) {
            true => Pauses::Surely,
            false => Pauses::Perhaps,
        };
        Ok((FinalResponse { delivery, backend_persists, fate, pauses }, down))
    }
}

fn is_event_stream(content_type: &[u8]) -> bool {
    const EVENT_STREAM: &[u8] = b"text/event-stream";
    content_type.get(..EVENT_STREAM.len()).is_some_and(|start| start.eq_ignore_ascii_case(EVENT_STREAM))
}
