//! The response goes to the client.
//!
//! The problem: nothing can be taken back any more, so every failure here ends the connection, and the client must be able
//! to tell. And from here on either side may be slow for hours: a download, an event stream. What cannot be moved is parked
//! with the bytes in hand, and nothing else.
//!
//! Not here: which response (`ask`), how bytes are moved (`relay`).

use super::timer::{Awaited, watch};
use super::{Exchange, Fate, Stage, Step, Stop, response_failure};
use crate::backend::Turn;
use crate::config::waits;
use crate::http1::forward::Delivery;
use crate::net::buffer::READ_SIZE;
use crate::net::conn::Conn;
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::Context;
use crate::proxy::relay::{self, Direction, GIVE_WAY, Pipe, Stalled};
use crate::proxy::scratch::Scratch;
use std::mem::take;
use std::time::Instant;

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

/// A response whose head is out, or as good as out.
pub(super) struct Relaying {
    /// Gone when the response was read to its end, and another request may have the connection already.
    backend: Option<(Conn, Turn)>,
    down: Direction,
    response: FinalResponse,
    parked: Option<InHand>,
    /// Since when the client is waited for, while it is.
    waits_since: Option<Instant>,
}

/// Bytes from the backend that the client has not taken, and the head that goes before them.
#[derive(Debug, Default)]
pub(super) struct InHand {
    lead: Vec<u8>,
    bytes: Vec<u8>,
}

impl InHand {
    /// Takes them out of a worker's buffers.
    pub(super) fn take(down: &Direction, scratch: &mut Scratch) -> Self {
        let lead = if down.has_lead() { take(&mut scratch.response) } else { Vec::new() };
        Self { lead, bytes: scratch.from_backend.filled().to_vec() }
    }

    pub(super) fn give_back(self, scratch: &mut Scratch) {
        if !self.lead.is_empty() {
            scratch.response = self.lead;
        }
        scratch.from_backend.refill(&self.bytes);
    }

    pub(super) fn weight(&self) -> usize {
        self.lead.capacity() + self.bytes.capacity()
    }
}

impl Relaying {
    /// The head of the response is in `scratch.response`, and what came with it in `scratch.from_backend`.
    pub(super) fn begin(conn: Conn, turn: Turn, response: FinalResponse, down: Direction) -> Stage {
        Stage::Relaying(Box::new(Self {
            backend: Some((conn, turn)),
            down,
            response,
            parked: None,
            waits_since: None,
        }))
    }

    /// A client that had to be waited for so long is slow, and is to keep little in hand.
    fn note_wait(&mut self) {
        if self.waits_since.take().is_some_and(|since| since.elapsed() >= waits::SLOW_CLIENT) {
            self.down.use_small_reads();
        }
    }

    /// Tells the backend's health how the response ended. A stream of events ends at will: its silence and its end say
    /// nothing about the backend.
    fn end(&mut self, failure: Option<Failure>, context: &Context<'_>) {
        match (self.backend.take(), failure) {
            (Some((_, turn)), None) => turn.completed(),
            (Some((_, turn)), Some(failure)) if self.response.pauses == Pauses::Perhaps => {
                turn.failed(&context.shared.backends, failure);
            }
            _ => {}
        }
    }

    pub(super) fn conn(&self) -> Option<&Conn> {
        self.backend.as_ref().map(|(conn, _)| conn)
    }

    pub(super) fn moved(&self) -> u64 {
        self.down.moved()
    }

    /// Whether only the end of the connection is the end of the body.
    pub(super) fn is_open_ended(&self) -> bool {
        self.response.delivery == Delivery::UntilClose
    }

    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.parked.as_ref().map_or(0, InHand::weight)
    }
}

impl Exchange {
    pub(super) fn relay(
        &mut self,
        mut relaying: Box<Relaying>,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Step {
        if let Some(in_hand) = relaying.parked.take() {
            in_hand.give_back(context.scratch);
        }
        match self.relay_body(&mut relaying, client, context) {
            Ok(()) => {
                relaying.end(None, context);
                self.record.bytes = relaying.moved();
                Step::Over(relaying.response.fate)
            }
            Err(Stop::Halt(halt)) => {
                // The request is not sent again. An upload that goes on may still have to send its head.
                if self.upload.as_ref().is_none_or(|upload| !upload.has_lead()) {
                    self.request.head = Vec::new();
                }
                relaying.parked = Some(InHand::take(&relaying.down, context.scratch));
                Step::Halt(Stage::Relaying(relaying), halt)
            }
            Err(Stop::Failed(failure)) => {
                relaying.end(Some(failure), context);
                Step::Over(self.abort(failure, relaying.moved(), relaying.is_open_ended()))
            }
        }
    }

    /// Moves what can be moved until the client has all of the response. An upload goes on meanwhile; if it breaks, the
    /// response still counts: the client may have stopped sending because of it.
    fn relay_body(
        &mut self,
        relaying: &mut Relaying,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        relaying.note_wait();
        if relaying.response.pauses == Pauses::Surely {
            context.allowance.stop_waiting();
        }
        let (mut moved, mut granted) = (0, 0);
        loop {
            if client.presence == Presence::Gone {
                return Err(Failure::ClientGone.into());
            }
            let Context { shared, scratch, allowance, .. } = &mut *context;
            let Relaying { backend, down, response, .. } = relaying;
            let mut pipe =
                Pipe { direction: down, buffer: &mut scratch.from_backend, lead: &scratch.response };
            // The backend is done before its client is: another request may have the connection already. Bytes behind the
            // response belong to no request; such a connection is not reused.
            let is_reusable = response.backend_persists && pipe.is_read_exactly();
            if let Some((conn, turn)) = backend.take_if(|_| is_reusable) {
                turn.keep(conn, Instant::now());
            }
            if pipe.direction.is_over() {
                return Ok(());
            }
            if self.upload.as_ref().is_some_and(|upload| upload.is_over()) {
                self.upload = None;
            }
            let mut count = match (pipe.stalled(), &*backend, &self.upload) {
                // One way, and so with blocking calls. Two ways would wait for each other.
                (Stalled::OnSource, Some((conn, _)), None) => {
                    pipe.fill(|room| allowance.spend(&shared.waiter, |block| conn.receive(room, block)).0)
                }
                (Stalled::OnSink, _, None) | (_, None, _) => pipe
                    .empty(|parts| allowance.spend(&shared.waiter, |block| client.conn.send(parts, block)).0),
                (_, Some((conn, _)), _) => pipe.pump(conn, &client.conn),
            }
            .map_err(response_failure)?;
            let down_wants = pipe.stalled();
            let up_wants = match (&*backend, &mut self.upload) {
                (Some((conn, _)), Some(upload)) => {
                    let lead = &self.request.head;
                    let mut pipe = Pipe { direction: upload, buffer: &mut scratch.from_client, lead };
                    match pipe.pump(&client.conn, conn) {
                        Ok(uploaded) => {
                            count += uploaded;
                            pipe.stalled()
                        }
                        Err(_) => {
                            self.upload = None;
                            Stalled::Never
                        }
                    }
                }
                _ => Stalled::Never,
            };
            moved += count;
            if count > 0 {
                self.timer.restart();
            }
            // Bulk is worth waiting for, as long as its client is fast; a trickle is not.
            if moved - granted >= READ_SIZE && !relaying.down.reads_little() {
                granted = moved;
                context.allowance.begin_stage();
            }
            if count == 0 || moved >= GIVE_WAY {
                if relaying.down.is_over() {
                    continue;
                }
                return Err(self.await_relay(relaying, up_wants, down_wants, client, context));
            }
        }
    }

    fn await_relay(
        &mut self,
        relaying: &mut Relaying,
        up: Stalled,
        down: Stalled,
        client: &Client,
        context: &Context<'_>,
    ) -> Stop {
        let limit = context.shared.config.idle_timeout;
        let (mut client_want, mut backend) = relay::wants(up, down);
        if client_want == Want::Break {
            client_want = watch(client);
        }
        // That the backend breaks is seen when it is read again; until then epoll would report it over and over.
        if backend == Want::Break {
            backend = Want::Nothing;
        }
        let failure = match down {
            Stalled::OnSink => Failure::ClientStalled,
            Stalled::OnSource | Stalled::Never => Failure::ResponseStalled,
        };
        relaying.waits_since = (down == Stalled::OnSink).then(Instant::now);
        self.wait(Awaited { client: client_want, backend, failure, limit }, client, context)
    }
}
