//! How long an exchange waits, and for which side.
//!
//! The problem: a timeout counts for the side that is waited for, and has the name of what is late. It begins anew with
//! progress, or when the other side is waited for instead.
//!
//! Not here: where it waits (`pool`).

use super::{Exchange, Interruption};
use crate::observe::failure::Failure;
use crate::pool::park::{Class, Wait, Want};
use crate::proxy::client::{Client, Presence};
use crate::proxy::conversation::{Context, Halt};
use std::time::{Duration, Instant};

/// Since when one side is waited for, and which failure it is when it takes too long.
#[derive(Debug, Default)]
pub(super) struct Timer(Option<(Failure, Instant)>);

/// What an exchange waits for.
pub(super) struct Awaited {
    pub client: Want,
    pub backend: Want,
    /// The failure, when it takes too long.
    pub failure: Failure,
    pub limit: Duration,
}

impl Timer {
    /// Something moved: the next wait begins anew.
    pub fn restart(&mut self) {
        self.0 = None;
    }

    /// How long this was waited for, if it is what was waited for last.
    pub fn waited_for(&self, failure: Failure) -> Option<Duration> {
        self.0.filter(|(awaited, _)| *awaited == failure).map(|(_, since)| since.elapsed())
    }

    /// Since when this is waited for; from now on, if something else was until now.
    fn since(&mut self, failure: Failure, now: Instant) -> Instant {
        let (_, since) = self.0.filter(|(awaited, _)| *awaited == failure).unwrap_or((failure, now));
        self.0 = Some((failure, since));
        since
    }
}

impl Exchange {
    /// Parks the exchange until the deadline, or returns the failure if that has passed.
    pub(super) fn wait(&mut self, awaited: Awaited, client: &Client, context: &Context<'_>) -> Interruption {
        let now = Instant::now();
        let since = self.timer.since(awaited.failure, now);
        self.wait_since(since, now, awaited, client, context)
    }

    /// The same for what has been awaited `since` then.
    pub(super) fn wait_since(
        &self,
        since: Instant,
        now: Instant,
        awaited: Awaited,
        client: &Client,
        context: &Context<'_>,
    ) -> Interruption {
        if context.shared.is_over() {
            return Interruption::Failed(Failure::Cut);
        }
        let Awaited { client: client_want, backend, failure, limit } = awaited;
        let is_for_client = matches!(failure, Failure::BodyTimeout | Failure::ClientStalled);
        let class = match failure {
            _ if is_for_client => Class::Slow,
            Failure::BackendsBusy => Class::Queued,
            _ => Class::Busy,
        };
        let (mut deadline, mut failure) = (since + limit, failure);
        // A half-closed client may be gone, so it is served only for so much silence of its backend.
        if let Presence::HalfClosed(closed) = client.presence
            && !is_for_client
            && failure != Failure::TunnelSilent
        {
            let half_closed = since.max(closed) + self.request.route.config.half_close_timeout;
            if half_closed < deadline {
                (deadline, failure) = (half_closed, Failure::HalfClosed);
            }
        }
        if deadline <= now {
            return Interruption::Failed(failure);
        }
        Interruption::Halt(Halt::Wait(Wait { client: client_want, backend, deadline, class }))
    }
}

/// What is wanted of a client while its backend is waited for: to know when it leaves. After its FIN, epoll would report it
/// for ever.
pub(super) fn watch(client: &Client) -> Want {
    match client.presence {
        Presence::Open => Want::HalfClose,
        Presence::HalfClosed(_) | Presence::Gone => Want::Break,
    }
}
