//! The TLS handshake with a backend.
//!
//! The problem: it is a wait like any other, and comes when nothing of the request was sent. So it is parked while the
//! backend thinks, within the time that the connect has; in a batch its first message is sent ahead like a request; and
//! whatever it comes to, another backend may be asked, by any method.
//!
//! Not here: what a backend has to prove, and why it is not believed (`net::tls`).

use super::ask::Asking;
use super::connect::{Connecting, Lap};
use super::timer::{Awaited, watch};
use super::{Advance, Exchange, Interruption, Stage};
use crate::backend::Turn;
use crate::config::waits;
use crate::net::conn::{Block, Conn};
use crate::net::tls::{Handshake, HandshakeError, Refusal};
use crate::observe::explain;
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Halt, Pass};
use std::time::{Duration, Instant};

/// A connection on which TLS is being agreed on.
pub(super) struct Handshaking {
    turn: Turn,
    lap: Lap,
    pub(super) conn: Conn,
    /// With the connect.
    begun: Instant,
    limit: Duration,
}

impl Exchange {
    /// The connect has succeeded just now.
    pub(super) fn handshaking(&self, conn: Conn, connecting: Connecting) -> Stage {
        let Connecting { turn, lap, begun, limit, .. } = connecting;
        let whole = self.request.route.config.connect_timeout;
        let short = begun.elapsed() + self.at_most(waits::FIRST_HANDSHAKE);
        let (lap, limit) = match lap {
            Lap::First if short < whole => (Lap::First, short),
            Lap::First => (Lap::Last, whole),
            Lap::Last => (Lap::Last, limit),
        };
        Stage::Handshaking(Handshaking { turn, lap, conn, begun, limit })
    }

    /// Goes on until TLS is agreed on, or is not.
    pub(super) fn shake_hands(
        &mut self,
        mut handshaking: Handshaking,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Advance {
        if client.presence == Presence::Gone {
            return self.fail(Failure::ClientGone);
        }
        let is_new = !handshaking.conn.is_secured();
        let failure = match handshaking.go_on(context) {
            Ok(Handshake::Done) => {
                let Handshaking { turn, conn, begun, .. } = handshaking;
                let took = begun.elapsed();
                self.record.timings.connect += took;
                self.request.explain(|| explain::Step::Secured { took });
                return self.go_to(Asking::on_fresh(conn, turn));
            }
            Ok(Handshake::Waits) if is_new && context.pass == Pass::Ahead => {
                return self.halt_in(Stage::Handshaking(handshaking), Halt::SentAhead);
            }
            Ok(Handshake::Waits) => {
                let Handshaking { begun, limit, .. } = handshaking;
                let (failure, backend) = (Failure::BackendTlsTimeout, Want::Read);
                let awaited = Awaited { client: watch(client), backend, failure, limit };
                match self.wait_since(begun, Instant::now(), awaited, client, context) {
                    Interruption::Halt(halt) => return self.halt_in(Stage::Handshaking(handshaking), halt),
                    Interruption::Failed(failure) => failure,
                }
            }
            Err(error) => {
                let refusal = Refusal::from(error);
                handshaking.turn.note_refusal(&refusal);
                refusal.failure
            }
        };
        let Handshaking { turn, lap, begun, .. } = handshaking;
        self.end_connecting(turn, lap, begun, failure)
    }
}

impl Handshaking {
    fn go_on(&mut self, context: &mut Context<'_>) -> Result<Handshake, HandshakeError> {
        let Self { turn, conn, .. } = self;
        let Some(identity) = turn.identity() else { return Ok(Handshake::Done) };
        let Context { shared, allowance, pass, .. } = context;
        match pass {
            // The answer is collected later.
            Pass::Ahead if !conn.is_secured() => conn.secured_to(identity, Block::Never),
            Pass::Ahead | Pass::Collect => {
                allowance.spend(&shared.waiter, |block| conn.secured_to(identity, block)).0
            }
        }
    }
}
