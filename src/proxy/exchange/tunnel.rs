//! Both directions after a 101.
//!
//! The problem: what follows is no HTTP, and either side may speak next, so both are listened to at once. A side that
//! finishes may still be spoken to: a half-close is carried over and the other direction goes on. A tunnel that is silent
//! for long is not broken: WebSocket clients are silent for minutes, and nginx's 60 s are its best-known surprise. So its
//! timeout is its own, `--tunnel-timeout`, and the kernel's keep-alive finds peers that vanished.
//!
//! Not here: whether there is to be a tunnel (`response_head`), and how it is parked (`relaying`).

use super::relaying::Relaying;
use super::timer::Awaited;
use super::{BackendEnd, Exchange, Fate, Interruption, response_failure};
use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::forward::Upgrade;
use crate::http1::framing::{Coding, Framing};
use crate::http1::reframer::Reframer;
use crate::net::conn::Conn;
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::Context;
use crate::proxy::relay::{self, Broken, Direction, Pipe, Stalled};
use crate::proxy::request::Body;
use crate::proxy::scratch::Scratch;

impl Exchange {
    /// What the client sends behind its request goes through the tunnel, and so does what the backend sends; the 101 in
    /// `scratch.response` goes before it.
    pub(super) fn begin_tunnel(&mut self, client: &Conn, conn: &Conn, scratch: &mut Scratch) -> Direction {
        scratch.from_client.consume(self.request.meta.in_hand());
        self.request.meta.body = Body::Gone;
        let plain =
            |lead| Direction::new(Reframer::new(Decoder::new(Framing::UntilClose), Coding::Plain, lead));
        for peer in [client, conn] {
            // One that refuses this is gone already, and reading from it says so.
            let _ = peer.keep_alive();
        }
        self.upload = Some(Box::new(plain(0)));
        plain(scratch.response.len())
    }

    /// Moves what can be moved until both directions have ended.
    pub(super) fn relay_both(
        &mut self,
        relaying: &mut Relaying,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Result<Fate, Interruption> {
        let mut moved = 0;
        loop {
            // Neither is taken away while there is a tunnel.
            let (Some((conn, _)), Some(up)) = (&relaying.backend, &mut self.upload) else {
                return Ok(Fate::Close);
            };
            let down = &mut relaying.down;
            let Scratch { from_client, from_backend, response: lead, .. } = &mut *context.scratch;
            let upgrade = self.request.meta.upgrade;
            let pipe = Pipe { direction: up, buffer: from_client, lead: &[] };
            let sent = pump(pipe, &client.conn, conn, upgrade).map_err(up_failure)?;
            let pipe = Pipe { direction: down, buffer: from_backend, lead };
            let received = match pump(pipe, conn, &client.conn, upgrade) {
                // Over TLS, without the word for it. Behind the client's own end nothing can be cut short by that.
                Err(Broken::Malformed(_)) if up.is_over() => return Ok(Fate::Close),
                received => received.map_err(response_failure)?,
            };
            up.finish(conn);
            down.finish(&client.conn);
            if up.is_over() && down.is_over() {
                return Ok(Fate::Close);
            }
            // After ronde's half-close, the client's own FIN is reported as a hang-up, too. A Unix socket reports any close so,
            // and before what was sent has been read.
            let has_unread = client.conn.is_local() && !up.has_read_all();
            if client.presence == Presence::Gone && !down.is_finished() && !has_unread {
                return Err(Failure::ClientGone.into());
            }
            // The client has all that the backend has sent, and nothing reaches the backend any more. Where there is nothing
            // for it, a Unix socket was closed like any other.
            if self.backend == BackendEnd::Gone && down.is_over() {
                return match conn.is_local() && up.stalled() != Stalled::OnSink {
                    true => Ok(Fate::Close),
                    false => Err(Failure::ResponseIncomplete.into()),
                };
            }
            let count = sent + received;
            moved += count;
            if count > 0 {
                self.timer.restart();
            }
            if count == 0 || context.gives_way(moved) {
                let (mut client_want, mut backend) = relay::wants(up.stalled(), down.stalled());
                // A connection of which both directions have ended would be reported for ever.
                if client_want == Want::Break && (down.is_finished() || client.presence == Presence::Gone) {
                    client_want = Want::Nothing;
                }
                if backend == Want::Break && (up.is_finished() || self.backend == BackendEnd::Gone) {
                    backend = Want::Nothing;
                }
                let (failure, limit) = (Failure::TunnelSilent, self.request.route.config.tunnel_timeout);
                let awaited = Awaited { client: client_want, backend, failure, limit };
                return Err(self.wait(awaited, client, context));
            }
        }
    }
}

/// Moves what can be moved one way. Over TLS, the end of a WebSocket is one without the word for it, too: nothing can be cut short
/// unseen where a Close has to come first, and many a server closes its socket behind it without more.
fn pump(mut pipe: Pipe<'_>, source: &Conn, sink: &Conn, upgrade: Upgrade) -> Result<usize, Broken> {
    match pipe.pump(source, sink) {
        Err(Broken::Malformed(Malformed::Incomplete)) if upgrade == Upgrade::WebSocket => pipe.close_source(),
        pumped => pumped,
    }
}

fn up_failure(broken: Broken) -> Failure {
    match broken {
        Broken::Sink => Failure::ResponseIncomplete,
        Broken::Source | Broken::Malformed(_) => Failure::ClientGone,
    }
}
