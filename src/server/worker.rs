//! A worker: takes batches out of the waiter and serves them.
//!
//! The problem: a blocking call to a backend takes as long as the backend takes. One request at a time, a worker would wait
//! for most of its life, and with many workers the machine would switch between them twice a request. So a worker goes
//! through its batch twice: first it reads each request and sends it ahead, then it collects the answers in the same order.
//! By the time the first answer is collected it is mostly there, and the waits overlap.
//!
//! Not here: what is said to clients and backends (`proxy`), and what waits (`pool`).

use crate::observe::activity::Doing;
use crate::observe::metrics::Recorder;
use crate::pool::allowance::Allowance;
use crate::pool::park::Woken;
use crate::pool::waiter::BATCH;
use crate::proxy::conversation::{Context, Conversation, Pass, Task};
use crate::proxy::scratch::Scratch;
use crate::proxy::session::{self, Outcome};
use crate::proxy::shared::Shared;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// The life of a worker's thread; its `number` is that in the thread's name.
pub fn run(shared: &Shared, number: usize) {
    let recorder = shared.metrics.of_worker(number);
    while survive(|| serve_batches(shared, number, &recorder)).is_none() {}
}

/// A panic is a bug, and it is logged as one; but it is one conversation's bug, and must cost neither a worker nor the other
/// conversations of its batch.
fn survive<R>(serve: impl FnOnce() -> R) -> Option<R> {
    let served = catch_unwind(AssertUnwindSafe(serve));
    served.inspect_err(|_| log::error!("a worker panicked, and goes on: please report this")).ok()
}

/// Serves until the end.
fn serve_batches(shared: &Shared, worker: usize, recorder: &Recorder<'_>) {
    let mut site = shared.site.get();
    let (mut scratch, mut allowance) = (Scratch::new(&site.config), Allowance::new());
    let (mut batch, mut ahead) = (Vec::with_capacity(2 * BATCH), Vec::with_capacity(2 * BATCH));
    while shared.waiter.next(&mut batch) {
        let site = shared.site.renew(&mut site);
        scratch.fit(&site.config);
        allowance.begin_batch(batch.len(), &shared.patience);
        let (scratch, allowance) = (&mut scratch, &mut allowance);
        recorder.begin(Doing::Reading, allowance.now());
        let pass = if batch.len() > 1 { Pass::Ahead } else { Pass::Collect };
        let mut context = Context { worker, shared, site, recorder, scratch, allowance, pass };
        for (task, woken) in batch.drain(..) {
            ahead.extend(survive(|| go_on(task, woken, &mut context)).flatten());
        }
        context.pass = Pass::Collect;
        for conversation in ahead.drain(..) {
            survive(|| put_away(session::collect(conversation, &mut context), &mut context));
        }
        // A request that ended in this batch has freed room, and one that was parked in it for want of room may have missed what
        // another worker freed before. No event tells of either.
        shared.waiter.let_on();
        recorder.go_on(Doing::Resting);
    }
}

/// Goes on with what was parked. A conversation comes back when its answer is to be collected.
fn go_on(task: Task, woken: Woken, context: &mut Context<'_>) -> Option<Box<Conversation>> {
    match task {
        Task::Client(conversation) => put_away(session::serve(conversation, woken, context), context),
        Task::Probe(_) if woken == Woken::Stopped => None,
        Task::Probe(probe) => {
            if let Some((probe, wait)) = probe.go_on() {
                // At the end of the shutdown no finding matters.
                drop(context.shared.waiter.park(Task::Probe(probe), wait));
            }
            None
        }
    }
}

/// Moves a conversation to where it belongs now.
fn put_away(outcome: Outcome, context: &mut Context<'_>) -> Option<Box<Conversation>> {
    let (conversation, wait) = match outcome {
        Outcome::Over => return None,
        Outcome::SentAhead(conversation) => return Some(conversation),
        Outcome::Park(conversation, wait) => (conversation, wait),
    };
    let refused = context.shared.waiter.park(Task::Client(conversation), wait);
    let Err(Task::Client(conversation)) = refused else { return None };
    // It is served once more, as stopped. If it still has to wait, dropping it closes it; its next request may have come just
    // now, and be with a backend.
    match session::serve(conversation, Woken::Stopped, context) {
        Outcome::Over => None,
        Outcome::SentAhead(conversation) => Some(conversation),
        Outcome::Park(conversation, wait) => {
            drop(context.shared.waiter.park(Task::Client(conversation), wait));
            None
        }
    }
}
