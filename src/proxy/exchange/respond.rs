//! The body of a response goes to the client.
//!
//! The problem: most bodies go one way and are never waited for, and then a loop of a blocking read and a blocking write is
//! the fastest there is. But an upload may go on beside its response, a backend may pause, and a client may be slow: then
//! neither side is waited for with a blocking call, and what does not move is parked.
//!
//! Not here: what becomes of it afterwards (`relaying`), how bytes are moved (`relay`).

use super::relaying::{FinalResponse, Pauses, Relaying};
use super::timer::{Awaited, watch};
use super::{Exchange, Fate, Interruption, response_failure};
use crate::config::waits;
use crate::net::buffer::READ_SIZE;
use crate::net::conn::Block;
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::Context;
use crate::proxy::relay::{self, Broken, Pipe, Stalled};
use crate::proxy::scratch::Scratch;
use std::time::Instant;

impl Exchange {
    /// Moves what can be moved until the client has all of the response. An upload goes on meanwhile; if it breaks, the
    /// response still counts: the client may have stopped sending because of it.
    pub(super) fn relay_body(
        &mut self,
        relaying: &mut Relaying,
        response: FinalResponse,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Result<Fate, Interruption> {
        relaying.note_wait();
        if response.pauses == Pauses::Surely {
            context.allowance.stop_waiting();
        }
        let (mut moved, mut granted) = (0, 0);
        loop {
            if client.presence == Presence::Gone {
                return Err(Failure::ClientGone.into());
            }
            relaying.keep_backend(response, context.scratch, context.allowance.now());
            if relaying.down.is_over() {
                relaying.say_end_to_backend();
                return Ok(response.fate);
            }
            let down = self.move_down(relaying, client, context).map_err(response_failure)?;
            let count = down + self.move_up(relaying, client, context.scratch);
            moved += count;
            if count > 0 {
                self.timer.restart();
            }
            // Bulk is worth waiting for, as long as its client is fast; a trickle is not.
            if moved - granted >= READ_SIZE && !relaying.down.reads_little() {
                granted = moved;
                context.allowance.begin_stage();
            }
            if (count == 0 || context.gives_way(moved)) && !relaying.down.is_over() {
                return Err(self.await_relay(relaying, client, context));
            }
        }
    }

    /// One way, and so with blocking calls; beside an upload without them, since two ways would wait for each other.
    fn move_down(
        &self,
        relaying: &mut Relaying,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Result<usize, Broken> {
        let Context { shared, scratch, allowance, .. } = context;
        let (direction, waiter) = (&mut relaying.down, &shared.waiter);
        let (stalled, splice) = (direction.stalled(), &mut scratch.splice);
        let mut pipe = Pipe { direction, buffer: &mut scratch.from_backend, lead: &scratch.response };
        match &relaying.backend {
            Some((conn, _)) if self.upload.is_some() => pipe.pump(conn, &client.conn),
            Some((conn, _)) if stalled == Stalled::OnSource => {
                let may_pass = pipe.may_pass() && splice.connects(conn, &client.conn);
                // splice(2) knows no wait but the timeout of the sockets. A client that is slow would be waited for as long, and by
                // each worker in turn when five hundred of them begin at once.
                let fill = |block| match block {
                    Block::Briefly if may_pass => pipe.pass(splice, conn, &client.conn),
                    block => pipe.fill(|room| conn.receive(room, block)),
                };
                allowance.spend(waiter, fill).0
            }
            _ => pipe.empty(|parts| allowance.spend(waiter, |block| client.conn.send(parts, block)).0),
        }
    }

    /// An upload that ends, or breaks, is over.
    fn move_up(&mut self, relaying: &Relaying, client: &Client, scratch: &mut Scratch) -> usize {
        let (Some(direction), Some((conn, _))) = (&mut self.upload, &relaying.backend) else { return 0 };
        let lead = &self.request.head;
        let mut pipe = Pipe { direction, buffer: &mut scratch.from_client, lead };
        let pumped = pipe.pump(&client.conn, conn);
        if pumped.is_err() || pipe.direction.is_over() {
            self.upload = None;
        }
        pumped.unwrap_or(0)
    }

    fn await_relay(
        &mut self,
        relaying: &mut Relaying,
        client: &Client,
        context: &Context<'_>,
    ) -> Interruption {
        let limit = self.request.route.config.idle_timeout;
        let up = match (&self.upload, &relaying.backend) {
            (Some(upload), Some(_)) => upload.stalled(),
            _ => Stalled::Never,
        };
        let down = relaying.down.stalled();
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

impl Relaying {
    /// A client that had to be waited for so long is slow, and is to keep little in hand.
    fn note_wait(&mut self) {
        if self.waits_since.take().is_some_and(|since| since.elapsed() >= waits::SLOW_CLIENT) {
            self.down.use_small_reads();
        }
    }

    /// The backend is done before its client is: another request may have the connection already. Bytes behind the response
    /// belong to no request; such a connection is not reused.
    fn keep_backend(&mut self, response: FinalResponse, scratch: &Scratch, now: Instant) {
        let is_reusable = response.backend_persists && self.down.has_read_exactly(&scratch.from_backend);
        if let Some((conn, turn)) = self.backend.take_if(|_| is_reusable) {
            turn.keep(conn, now);
        }
    }

    /// The response is complete. A connection that was not kept ends regularly all the same.
    fn say_end_to_backend(&self) {
        if let Some((conn, _)) = &self.backend {
            conn.say_end();
        }
    }
}
