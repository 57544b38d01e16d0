//! Both directions after a 101.
//!
//! The problem: what follows is no HTTP, and nobody knows who speaks next, so both sides are listened to at once.
//! A side that finishes may still be spoken to: a half-close is carried over and the other direction goes on. A
//! tunnel that is silent for long is not broken: WebSocket clients are silent for minutes, and nginx's 60 s are its
//! best-known surprise. So its timeout is its own, `--tunnel-timeout`, and the kernel's keep-alive finds out about
//! peers that vanished.
//!
//! Not here: whether there is to be a tunnel (`exchange`).

use crate::http1::chunked::Decoder;
use crate::http1::framing::{Coding, Framing};
use crate::http1::reframer::Reframer;
use crate::net::conn::Conn;
use crate::observe::failure::Failure;
use crate::proxy::relay::{self, Broke, Broken, Direction, Ends, StallTimer};
use crate::proxy::scratch::Scratch;

/// Relays both ways until both have ended. `scratch.response` holds the 101; the buffers hold what was read already.
/// Returns the bytes that went down to the client, and how it ended.
pub fn run(ends: Ends<'_>, scratch: &mut Scratch, stall: &mut StallTimer<'_>) -> (u64, Result<(), Failure>) {
    let Scratch { from_client, from_backend, response, .. } = scratch;
    let plain = |lead| Reframer::new(Decoder::new(Framing::UntilClose), Coding::Plain, lead);
    let (mut up, mut down) = (plain(0), plain(response.len()));
    let ways = (Direction::new(&mut up, from_client, &[]), Direction::new(&mut down, from_backend, response));
    let (Ok(mut up), Ok(mut down)) = ways else { return (0, Err(Failure::Internal)) };
    keep_alive(ends.client);
    keep_alive(ends.backend);
    let outcome = loop {
        if up.is_done() {
            up.finish(ends.backend);
        }
        if down.is_done() {
            down.finish(ends.client);
        }
        if up.is_done() && down.is_done() {
            break Ok(());
        }
        let spent = Failure::TunnelSilent;
        if let Err(failure) = relay::pump_with_timer(ends, &mut up, Some(&mut down), stall, spent, gone) {
            break Err(failure);
        }
    };
    (down.moved(), outcome)
}

/// A peer that refuses this is gone already, and the relay will notice.
fn keep_alive(conn: &Conn) {
    let _ = conn.keep_alive();
}

fn gone(snapped: Broke) -> Failure {
    match snapped {
        Broke::Up(Broken::Sink(_)) | Broke::Down(Broken::Source(_)) => Failure::ResponseIncomplete,
        Broke::Up(_) | Broke::Down(_) => Failure::ClientGone,
    }
}
