//! What follows the head of a final response: its body, or after a 101 another protocol.
//!
//! The problem: nothing can be taken back any more, so every failure here ends the connection, and the client must be able
//! to tell. And from here on either side may be slow for hours: a download, an event stream, a WebSocket. What cannot be
//! moved is parked with the bytes in hand, and nothing else.
//!
//! Not here: which response (`ask`), and the two loops that move the bytes (`respond`, `tunnel`).

use super::{Advance, Exchange, Fate, Interruption, Stage};
use crate::backend::{Backends, Turn};
use crate::http1::forward::Delivery;
use crate::net::conn::Conn;
use crate::observe::explain;
use crate::observe::failure::Failure;
use crate::proxy::client::Client;
use crate::proxy::conversation::Context;
use crate::proxy::relay::Direction;
use crate::proxy::scratch::Scratch;
use std::mem::take;
use std::time::Instant;

/// A response whose head is out, or as good as out.
pub(super) struct Relaying {
    /// Gone when the response was read to its end, and another request may have the connection already.
    pub(super) backend: Option<(Conn, Turn)>,
    pub(super) down: Direction,
    pub(super) follows: Follows,
    parked: Option<InHand>,
    /// Since when the client is waited for, while it is.
    pub(super) waits_since: Option<Instant>,
}

/// What follows the head.
#[derive(Clone, Copy, Debug)]
pub(super) enum Follows {
    Body(FinalResponse),
    /// Bytes in both directions, which are no HTTP.
    Tunnel,
}

/// A final response whose head is understood.
#[derive(Clone, Copy, Debug)]
pub(super) struct FinalResponse {
    pub delivery: Delivery,
    /// Whether the backend's connection can serve another request afterwards.
    pub backend_persists: bool,
    /// What becomes of the client's connection when all goes well.
    pub fate: Fate,
    pub pauses: Pauses,
}

/// Whether the backend is known to pause within its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pauses {
    Perhaps,
    /// It is a stream of events, and not waited for at all.
    Surely,
}

/// Bytes from the backend that the client has not taken, and the head that goes before them.
#[derive(Debug, Default)]
struct InHand {
    lead: Vec<u8>,
    bytes: Vec<u8>,
}

impl Relaying {
    /// The head is in `scratch.response`, and what came with it in `scratch.from_backend`.
    pub(super) fn begin(conn: Conn, turn: Turn, follows: Follows, down: Direction) -> Stage {
        let (backend, parked, waits_since) = (Some((conn, turn)), None, None);
        Stage::Relaying(Self { backend, down, follows, parked, waits_since })
    }

    pub(super) fn conn(&self) -> Option<&Conn> {
        self.backend.as_ref().map(|(conn, _)| conn)
    }

    /// Tells the backend's health how the response ended. A stream of events and a tunnel end at will: their silence and
    /// their end say nothing about the backend.
    fn end(&mut self, failure: Option<Failure>, backends: &Backends) {
        match (self.backend.take(), self.follows, failure) {
            (Some((_, turn)), Follows::Body(_), None) => turn.completed(),
            (
                Some((_, turn)),
                Follows::Body(FinalResponse { pauses: Pauses::Perhaps, .. }),
                Some(failure),
            ) => {
                turn.failed(backends, failure);
            }
            _ => {}
        }
    }

    /// Bytes of memory that it keeps, beside itself.
    pub(super) fn weight(&self) -> usize {
        let in_hand =
            self.parked.as_ref().map_or(0, |parked| parked.lead.capacity() + parked.bytes.capacity());
        in_hand + self.down.weight()
    }

    pub(super) fn is_tunnel(&self) -> bool {
        matches!(self.follows, Follows::Tunnel)
    }

    /// Whether only the end of the connection is the end of what follows.
    fn is_open_ended(&self) -> bool {
        match &self.follows {
            Follows::Body(response) => response.delivery == Delivery::UntilClose,
            Follows::Tunnel => true,
        }
    }
}

impl Exchange {
    pub(super) fn relay(
        &mut self,
        mut relaying: Relaying,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Advance {
        if let Some(in_hand) = relaying.parked.take() {
            in_hand.give_back(context.scratch);
        }
        let relayed = match relaying.follows {
            Follows::Body(response) => self.relay_body(&mut relaying, response, client, context),
            Follows::Tunnel => self.relay_both(&mut relaying, client, context),
        };
        match relayed {
            Ok(fate) => {
                relaying.end(None, &self.request.route.backends);
                let (bytes, pieces) = (relaying.down.moved(), relaying.down.pieces());
                self.record.bytes = bytes;
                self.request.explain(|| explain::Step::Relayed { bytes, pieces });
                Advance::Over(fate)
            }
            Err(Interruption::Halt(halt)) => {
                // The request is not sent again. An upload that goes on may still have to send its head.
                if self.upload.as_ref().is_none_or(|upload| !upload.has_lead()) {
                    self.request.head = Vec::new();
                }
                relaying.parked = Some(InHand::take(&relaying.down, context.scratch));
                self.halt_in(Stage::Relaying(relaying), halt)
            }
            Err(Interruption::Failed(failure)) => {
                relaying.end(Some(failure), &self.request.route.backends);
                Advance::Over(self.break_off(failure, &relaying))
            }
        }
    }

    /// What follows will not be complete. A length or a last chunk that never comes tells the client enough, once it has read
    /// what did come; where the end of the connection is the end of the body, or of a tunnel, a FIN would look like success.
    pub(super) fn break_off(&mut self, failure: Failure, relaying: &Relaying) -> Fate {
        self.record.failure = Some(failure);
        self.record.bytes = relaying.down.moved();
        match (failure, relaying.is_open_ended()) {
            (Failure::ClientGone | Failure::ClientStalled, true) => Fate::Abort,
            (Failure::ClientGone | Failure::ClientStalled, false) => Fate::Close,
            (_, true) => Fate::Reset,
            (_, false) => Fate::Linger,
        }
    }
}

impl InHand {
    /// Takes them out of a worker's buffers.
    fn take(down: &Direction, scratch: &mut Scratch) -> Self {
        let lead = if down.has_lead() { take(&mut scratch.response) } else { Vec::new() };
        Self { lead, bytes: scratch.from_backend.filled().to_vec() }
    }

    fn give_back(self, scratch: &mut Scratch) {
        if !self.lead.is_empty() {
            scratch.response = self.lead;
        }
        scratch.from_backend.refill(&self.bytes);
    }
}
