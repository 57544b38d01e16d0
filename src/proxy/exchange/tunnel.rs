//! Both directions after a 101.
//!
//! The problem: what follows is no HTTP, and either side may speak next, so both are listened to at once. A side that
//! finishes may still be spoken to: a half-close is carried over and the other direction goes on. A tunnel that is silent
//! for long is not broken: WebSocket clients are silent for minutes, and nginx's 60 s are its best-known surprise. So its
//! timeout is its own, `--tunnel-timeout`, and the kernel's keep-alive finds peers that vanished.
//!
//! Not here: whether there is to be a tunnel (`response_head`).

use super::respond::InHand;
use super::timer::Awaited;
use super::{BackendEnd, Exchange, Fate, Stage, Step, Stop, response_failure};
use crate::backend::Turn;
use crate::http1::chunked::Decoder;
use crate::http1::framing::{Coding, Framing};
use crate::http1::reframer::Reframer;
use crate::net::conn::Conn;
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::Context;
use crate::proxy::relay::{self, Broken, Direction, GIVE_WAY, Pipe};
use crate::proxy::scratch::Scratch;

/// A connection that has become something other than HTTP.
pub(super) struct Tunnelling {
    pub(super) conn: Conn,
    _turn: Turn,
    up: Direction,
    down: Direction,
    parked: Option<InHand>,
}

impl Tunnelling {
    /// The 101, of `lead` bytes, is in `scratch.response`, and what came with it in `scratch.from_backend`.
    pub(super) fn begin(conn: Conn, turn: Turn, lead: usize) -> Stage {
        let plain =
            |lead| Direction::new(Reframer::new(Decoder::new(Framing::UntilClose), Coding::Plain, lead));
        // A peer that refuses this is gone already, and reading from it says so.
        let _ = conn.keep_alive();
        Stage::Tunnelling(Box::new(Self { conn, _turn: turn, up: plain(0), down: plain(lead), parked: None }))
    }

    pub(super) fn moved(&self) -> u64 {
        self.down.moved()
    }

    pub(super) fn weight(&self) -> usize {
        size_of::<Self>() + self.parked.as_ref().map_or(0, InHand::weight)
    }
}

impl Exchange {
    pub(super) fn tunnel(
        &mut self,
        mut tunnelling: Box<Tunnelling>,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Step {
        if let Some(in_hand) = tunnelling.parked.take() {
            in_hand.give_back(context.scratch);
        }
        let stop = match self.relay_both(&mut tunnelling, client, context) {
            Ok(()) => {
                self.record.bytes = tunnelling.moved();
                return Step::Over(Fate::Close);
            }
            Err(stop) => stop,
        };
        match stop {
            Stop::Halt(halt) => {
                self.request.head = Vec::new();
                tunnelling.parked = Some(InHand::take(&tunnelling.down, context.scratch));
                Step::Halt(Stage::Tunnelling(tunnelling), halt)
            }
            Stop::Failed(failure) => Step::Over(self.abort(failure, tunnelling.moved(), true)),
        }
    }

    /// Moves what can be moved until both directions have ended.
    fn relay_both(
        &mut self,
        tunnelling: &mut Tunnelling,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Result<(), Stop> {
        let Tunnelling { conn, up, down, .. } = tunnelling;
        let mut moved = 0;
        loop {
            let Scratch { from_client, from_backend, response: lead, .. } = &mut *context.scratch;
            let (mut up, mut down) = (
                Pipe { direction: &mut *up, buffer: from_client, lead: &[] },
                Pipe { direction: &mut *down, buffer: from_backend, lead },
            );
            let now = {
                let pumped = up.load().and_then(|()| up.pump(&client.conn, conn)).map_err(up_failure)?;
                let answered =
                    down.load().and_then(|()| down.pump(conn, &client.conn)).map_err(response_failure)?;
                pumped + answered
            };
            up.direction.finish(conn);
            down.direction.finish(&client.conn);
            if up.direction.is_over() && down.direction.is_over() {
                return Ok(());
            }
            // After ronde's half-close, the client's own FIN is reported as a hang-up, too.
            if client.presence == Presence::Gone && !down.direction.is_finished() {
                return Err(Failure::ClientGone.into());
            }
            // The client has all that the backend has sent, and nothing reaches the backend any more.
            if self.backend == BackendEnd::Gone && down.direction.is_over() {
                return Err(Failure::ResponseIncomplete.into());
            }
            moved += now;
            if now > 0 {
                self.timer.restart();
            }
            if now == 0 || moved >= GIVE_WAY {
                let (up_wants, down_wants) = (up.stalled(), down.stalled());
                let ends = (up.direction.is_finished(), down.direction.is_finished());
                let (mut client_want, mut backend) = relay::wants(up_wants, down_wants);
                // A connection of which both directions have ended would be reported for ever.
                if client_want == Want::Break && ends.1 {
                    client_want = Want::Nothing;
                }
                if backend == Want::Break && (ends.0 || self.backend == BackendEnd::Gone) {
                    backend = Want::Nothing;
                }
                let (failure, limit) = (Failure::TunnelSilent, context.shared.config.tunnel_timeout);
                return Err(self.wait(
                    Awaited { client: client_want, backend, failure, limit },
                    client,
                    context,
                ));
            }
        }
    }
}

fn up_failure(broken: Broken) -> Failure {
    match broken {
        Broken::Sink => Failure::ResponseIncomplete,
        Broken::Source | Broken::Malformed(_) => Failure::ClientGone,
    }
}
