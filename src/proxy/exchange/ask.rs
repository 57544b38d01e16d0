//! The request goes out, the head of the response comes in.
//!
//! The problem: neither side waits for the other to finish. A client may still be sending its body when the backend
//! answers (RFC 9112 §9.5); a backend may say `100 Continue` or `103 Early Hints` first, or close a kept connection without
//! a word, or say nothing for a minute while the client goes away. So one loop sends what can be sent, looks at what the
//! backend says, and parks when neither moves. It ends with a final response or with why there is none.
//!
//! Not here: which backend, and what to do when it did not answer (`exchange`).

use super::connect::Lap;
use super::interims::Interims;
use super::relaying::{Follows, Relaying};
use super::response_head::{Final, Head};
use super::send::Outgoing;
use super::timer::{Awaited, watch};
use super::{Advance, BackendEnd, Exchange, Interruption, Stage};
use crate::backend::{Pace, Turn};
use crate::http1::head::Version;
use crate::net::conn::{Block, Conn, Received};
use crate::net::tls::Refusal;
use crate::observe::activity::Doing;
use crate::observe::explain;
use crate::observe::failure::Failure;
use crate::pool::park::Want;
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Halt, Pass};
use crate::proxy::relay::Stalled;
use crate::proxy::request::{Body, Expectation};
use std::io::ErrorKind;
use std::mem::take;
use std::time::{Duration, Instant};

/// A request that is with a backend, or on its way there.
pub(super) struct Asking {
    pub(super) conn: Conn,
    pub(super) turn: Turn,
    age: Age,
    pub(super) outgoing: Outgoing,
    /// When the whole request was sent; of one in hand, when the connection was chosen or made, which saves a clock read.
    sent: Instant,
    sample: Sample,
    pub(super) interims: Interims,
    /// Since when the client is waited for.
    pub(super) awaits_client: Option<Instant>,
    /// What has come of the next head; only while this is parked.
    received: Vec<u8>,
}

/// Whether a connection served other requests before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Age {
    Fresh,
    /// It may turn out stale.
    Kept,
}

/// Whether a worker waits for the response although the backend counts as slow, to see whether it still is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sample {
    No,
    Yes,
}

impl Asking {
    pub(super) fn on_kept(conn: Conn, turn: Turn) -> Stage {
        let chosen = turn.since;
        Self::on(conn, turn, Age::Kept, chosen)
    }

    pub(super) fn on_fresh(conn: Conn, turn: Turn) -> Stage {
        Self::on(conn, turn, Age::Fresh, Instant::now())
    }

    fn on(conn: Conn, turn: Turn, age: Age, sent: Instant) -> Stage {
        Stage::Asking(Self {
            conn,
            turn,
            age,
            outgoing: Outgoing::Partly(0),
            sent,
            sample: Sample::No,
            interims: Interims::default(),
            awaits_client: None,
            received: Vec::new(),
        })
    }

    pub(super) fn weight(&self) -> usize {
        self.received.capacity() + self.interims.weight()
    }

    pub(super) fn is_sending(&self) -> bool {
        matches!(self.outgoing, Outgoing::Partly(_))
    }

    /// Whether a worker waits for the response all the same.
    fn begins_sample(&mut self, context: &mut Context<'_>) -> bool {
        let begins = context.allowance.may_sample();
        if begins {
            self.sample = Sample::Yes;
        }
        begins
    }

    /// The response is there, after so long. Only a sample can say that a backend is prompt again: where a tenth of the
    /// responses are late, nine prompt ones are no reason to wait for the tenth. A wait in vain costs a worker as much as three
    /// thousand trips through the waiter.
    fn note_pace(&self, took: Duration) {
        if self.sample == Sample::Yes {
            self.turn.note_pace(Pace::of(took));
        }
    }
}

impl Exchange {
    pub(super) fn ask(
        &mut self,
        mut asking: Asking,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Advance {
        // Bytes that an earlier attempt left in the buffer are not this response's.
        context.scratch.from_backend.refill(&take(&mut asking.received));
        match self.obtain(&mut asking, client, context) {
            Ok(last) => {
                let took = self.was_answered(&asking, context);
                match self.instead() {
                    Some(turn) => self.ask_instead(asking, &last, turn, context),
                    None => self.begin_response(asking, last, took, client, context),
                }
            }
            Err(Interruption::Halt(halt)) => {
                asking.received.extend_from_slice(context.scratch.from_backend.filled());
                self.halt_in(Stage::Asking(asking), halt)
            }
            Err(Interruption::Failed(failure)) if failure.is_unanswered() => {
                self.was_not_answered(asking, failure)
            }
            Err(Interruption::Failed(failure)) => {
                self.record.tried.push(asking.turn.address());
                let fate = self.answer_unless_cut(failure, &asking);
                asking.turn.failed(&self.request.route.backends, failure);
                self.blame_silent();
                Advance::Over(fate)
            }
        }
    }

    /// A final response has begun; returns how long it took.
    fn was_answered(&mut self, asking: &Asking, context: &Context<'_>) -> Duration {
        let now = context.allowance.now();
        let took = now.saturating_duration_since(asking.sent);
        context.recorder.go_on(Doing::Relaying);
        let (backends, failure) = (&self.request.route.backends, self.status_failure());
        asking.note_pace(took);
        asking.turn.answered(backends, now, took, failure);
        let status = self.record.status.unwrap_or_default();
        self.request.explain(|| explain::Step::Answered { status, took });
        self.timer.restart();
        took
    }

    /// That response is the client's.
    fn begin_response(
        &mut self,
        asking: Asking,
        last: Final,
        took: Duration,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Advance {
        let Asking { conn, turn, outgoing, .. } = asking;
        self.record.timings.first_byte = took;
        self.blame_silent();
        self.record.backend = Some(turn.address());
        if last.ends_at_will() {
            turn.completed();
        }
        match outgoing {
            Outgoing::Partly(sent) if self.upload.is_none() => self.stream_rest(sent, context.scratch),
            Outgoing::Partly(_) => {}
            Outgoing::All | Outgoing::Refused => self.upload = None,
        }
        let (follows, down) = match last {
            Final::Response(response, down) => (Follows::Body(response), down),
            Final::Switch => (Follows::Tunnel, self.begin_tunnel(&client.conn, &conn, context.scratch)),
        };
        self.go_to(Relaying::begin(conn, turn, follows, down))
    }

    /// The connection was closed before any byte of a response. Whether the request was executed is unknown.
    fn was_not_answered(&mut self, asking: Asking, failure: Failure) -> Advance {
        let Asking { turn, age, .. } = asking;
        let (backends, may_repeat) = (&self.request.route.backends, self.request.meta.may_repeat());
        match age {
            // The backend closed it while the request was on its way. That is no failure.
            Age::Kept if may_repeat && backends.spend_retry() => {
                self.request.explain(|| explain::Step::Missed { failure });
                self.backend = BackendEnd::Open;
                self.go_to(self.connecting(turn, Lap::First))
            }
            Age::Fresh if may_repeat => self.ask_another(turn, failure),
            Age::Kept | Age::Fresh => {
                self.record.tried.push(turn.address());
                if age == Age::Fresh {
                    turn.failed(backends, failure);
                }
                self.fail(failure)
            }
        }
    }

    /// Sends and receives until the final response has begun.
    fn obtain(
        &mut self,
        asking: &mut Asking,
        client: &mut Client,
        context: &mut Context<'_>,
    ) -> Result<Final, Interruption> {
        let mut moved = 0;
        loop {
            if client.presence == Presence::Gone {
                return Err(Failure::ClientGone.into());
            }
            if !asking.interims.deliver(client)? {
                return Err(self.await_client(client, context));
            }
            match self.take_head(asking.outgoing, client, context)? {
                Some(Head::Final(last)) => return Ok(last),
                Some(Head::Interim) => {
                    // An HTTP/1.0 client knows none.
                    let is_known = self.request.meta.version == Version::Http11;
                    asking.interims.note(if is_known { &context.scratch.response } else { &[] })?;
                    self.timer.restart();
                    continue;
                }
                None => {}
            }
            let mut sent = 0;
            if asking.is_sending() {
                sent = self.send(asking, client, context.scratch)?;
                moved += sent;
                if !asking.is_sending() {
                    self.was_sent(asking, client, context)?;
                    // What the backend said meanwhile may have had to wait for this.
                    continue;
                }
            }
            match self.receive(asking, context)? {
                0 if sent > 0 && asking.is_sending() && !context.gives_way(moved) => {}
                0 => return Err(self.await_either(asking, client, context)),
                _ if context.shared.is_over() => return Err(Failure::Cut.into()),
                // A head that trickles is not waited for, byte by byte.
                _ => context.allowance.stop_waiting(),
            }
        }
    }

    /// No more of the request goes out: the backend has the whole, or takes no more. Where it was late the last time, the exchange is
    /// parked at once; and while others in the batch are to be sent, it is left there.
    fn was_sent(
        &mut self,
        asking: &mut Asking,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Result<(), Interruption> {
        self.timer.restart();
        if asking.outgoing == Outgoing::All {
            self.request.explain(|| explain::Step::Sent);
        }
        if self.upload.is_some() {
            asking.sent = Instant::now();
        }
        asking.turn.was_sent(&self.request.route.backends, asking.sent);
        // A body that will not be sent again is not kept.
        if !self.request.meta.may_repeat() && self.request.meta.in_hand() > 0 {
            context.scratch.from_client.consume(self.request.meta.in_hand());
            self.request.meta.body = Body::Gone;
        }
        match (asking.outgoing, context.pass) {
            // What it said before it took no more is there already.
            (Outgoing::Refused, _) => Ok(()),
            _ if !context.scratch.from_backend.is_empty() => Ok(()),
            _ if asking.turn.is_slow() && !asking.begins_sample(context) => {
                Err(self.await_either(asking, client, context))
            }
            (_, Pass::Ahead) => Err(Interruption::Halt(Halt::SentAhead)),
            (_, Pass::Collect) => Ok(()),
        }
    }

    /// Reads what the backend says, if it says something soon; returns how many bytes that was.
    fn receive(&mut self, asking: &mut Asking, context: &mut Context<'_>) -> Result<usize, Interruption> {
        let Context { shared, scratch, allowance, .. } = context;
        let has_spoken = asking.interims.first.is_some() || !scratch.from_backend.is_empty();
        let mut receive = |block| asking.conn.receive(scratch.from_backend.one_read(), block);
        // A backend that is late is not waited for, nor is one that has not got the whole request.
        let is_late = asking.turn.is_slow() && asking.sample == Sample::No;
        let (received, waited) = match asking.is_sending() || is_late {
            true => (receive(Block::Never), Duration::ZERO),
            false => allowance.spend(&shared.waiter, receive),
        };
        // The time since the request was sent says less: on a busy machine much of it is a wait for a core.
        if Pace::of(waited) == Pace::Slow {
            asking.turn.note_pace(Pace::Slow);
        }
        match received {
            Ok(Received::Bytes(count)) => {
                scratch.from_backend.grew(count);
                Ok(count)
            }
            Ok(Received::Nothing) => Ok(0),
            Ok(Received::End) | Err(_) if has_spoken => Err(Failure::ResponseHeadCut.into()),
            Ok(Received::End) => Err(Failure::BackendClosed.into()),
            // Over TLS: without the word for it.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(Failure::BackendClosed.into()),
            Err(error) => match Refusal::by_alert(&error) {
                Some(refusal) => {
                    asking.turn.note_refusal(&refusal);
                    Err(refusal.failure.into())
                }
                None => Err(Failure::BackendReset.into()),
            },
        }
    }

    /// Neither side moves.
    fn await_either(
        &mut self,
        asking: &mut Asking,
        client: &Client,
        context: &mut Context<'_>,
    ) -> Interruption {
        // A response that was parked says nothing: it may have lain there, for 30 ms with a thousand clients.
        asking.sample = Sample::No;
        let config = &self.request.route.config;
        if asking.interims.are_endless(context.allowance.now()) {
            return Interruption::Failed(Failure::ResponseTimeout);
        }
        let wants = match (&self.upload, asking.outgoing) {
            (Some(upload), Outgoing::Partly(_)) => upload.stalled(),
            (None, Outgoing::Partly(_)) => Stalled::OnSink,
            (_, Outgoing::All | Outgoing::Refused) => Stalled::Never,
        };
        // A client that waits for the backend's word before it sends its body is not slow.
        let waits_for_word = self.request.meta.expectation == Expectation::Continue
            && asking.interims.first.is_none()
            && self.upload.as_ref().is_some_and(|upload| upload.moved() == 0);
        let (client_want, backend, failure, limit) = match wants {
            Stalled::OnSource if waits_for_word => {
                (Want::Read, Want::Read, Failure::ResponseTimeout, config.response_timeout)
            }
            Stalled::OnSource => {
                asking.awaits_client.get_or_insert_with(Instant::now);
                (Want::Read, Want::Read, Failure::BodyTimeout, config.body_timeout)
            }
            Stalled::OnSink => {
                (watch(client), Want::ReadOrWrite, Failure::SendTimeout, config.response_timeout)
            }
            Stalled::Never => (watch(client), Want::Read, Failure::ResponseTimeout, config.response_timeout),
        };
        match failure {
            Failure::BodyTimeout => asking.turn.await_client(),
            _ => asking.turn.await_backend(),
        }
        self.wait(Awaited { client: client_want, backend, failure, limit }, client, context)
    }

    /// The client does not take an interim response.
    fn await_client(&mut self, client: &Client, context: &Context<'_>) -> Interruption {
        let (failure, limit) = (Failure::ClientStalled, self.request.route.config.idle_timeout);
        self.wait(Awaited { client: Want::Write, backend: Want::Nothing, failure, limit }, client, context)
    }
}
