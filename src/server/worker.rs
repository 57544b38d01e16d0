//! A worker: takes a ready connection, has it served, and carries out what became of it.
//!
//! The problem: somebody has to own the moves between the places a connection can be in, so that `session` can
//! speak HTTP and `waiter` can wait, and neither knows the other.
//!
//! Not here: how many workers there are and who wakes them (`seats`).

use crate::observe::failure::Failure;
use crate::pool::seats::{Bed, Ready};
use crate::pool::waiter::Woken;
use crate::proxy::client::Client;
use crate::proxy::in_flight::{InFlight, Work};
use crate::proxy::scratch::Scratch;
use crate::proxy::session::{self, Outcome};
use crate::proxy::shared::Shared;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};
use thread_priority::{NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy};
use thread_priority::{set_thread_priority_and_policy, thread_native_id};

/// The life of a worker's thread.
pub fn run(shared: &Shared) {
    yield_to_the_running();
    let bed = Bed::new();
    // Only when there is something to do: most workers of a small host never get one, and it is what they would cost.
    let mut scratch = None;
    while let Some(ready) = shared.seats.take(&bed) {
        let in_use = scratch.get_or_insert_with(|| Scratch::new(&shared.config));
        // A panic is a bug, and it is logged as one; but it is one request's bug, and must not cost a worker.
        if catch_unwind(AssertUnwindSafe(|| serve(ready, in_use, shared))).is_err() {
            log::error!("a worker panicked: please report this");
            scratch = None;
        }
    }
}

/// A worker that is woken does not push aside the one that is running (SCHED_BATCH): the one that runs is about to
/// wait for a socket anyway, and each switch that is saved is a microsecond. 15 to 20 % more requests at 16 clients
/// and more, on two cores. Where it is not permitted, it is only not faster.
pub fn yield_to_the_running() {
    // The call sets the niceness as well, and can name it only in parts of a hundred: this is zero. A ronde that
    // somebody made nicer on purpose stays as it is.
    const NOT_NICE: u8 = 47;
    if rustix::process::getpriority_process(None) != Ok(0) {
        return;
    }
    let batch = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Batch);
    if let Ok(priority) = ThreadPriority::try_from(NOT_NICE) {
        let _ = set_thread_priority_and_policy(thread_native_id(), priority, batch);
    }
}

fn serve(ready: Ready<Work>, scratch: &mut Scratch, shared: &Shared) {
    let Ready { work: Work { client, in_flight, woken }, since } = ready;
    let mut outcome = match in_flight {
        None => greet(client, woken, since.elapsed(), scratch, shared),
        Some(in_flight) => session::pick_up(client, in_flight, scratch, shared),
    };
    while let Some((client, in_flight)) = carry_out(outcome, scratch, shared) {
        outcome = session::pick_up(client, in_flight, scratch, shared);
    }
}

/// Moves the connection to where it belongs now. It comes back when its request cannot be left with the backend: then
/// its answer is waited for.
fn carry_out(
    outcome: Outcome,
    scratch: &mut Scratch,
    shared: &Shared,
) -> Option<(Box<Client>, Box<InFlight>)> {
    match outcome {
        Outcome::Close(client) => drop(client),
        Outcome::Reset(client) => client.conn.cut(),
        // At the end it is closed: nothing new begins.
        Outcome::Park(client, until) => drop(shared.waiter.park(Work::of(client), until)),
        Outcome::Linger(client) => linger(client, shared),
        Outcome::Requeue(client) => {
            if let Err(Work { mut client, .. }) = shared.offer(Work::of(client), Instant::now()) {
                session::turn_away(&mut client, Failure::Overloaded, Duration::ZERO, scratch, shared);
                linger(client, shared);
            }
        }
        Outcome::Leave(client, in_flight) => {
            let Work { client, in_flight, .. } = shared.leave(client, in_flight).err()?;
            return Some((client, in_flight?));
        }
    }
    None
}

/// Serves a client that waited for so long, unless that was too long.
fn greet(
    mut client: Box<Client>,
    woken: Woken,
    queued: Duration,
    scratch: &mut Scratch,
    shared: &Shared,
) -> Outcome {
    if queued > shared.config.queue_timeout {
        session::turn_away(&mut client, Failure::Overloaded, queued, scratch, shared);
        return Outcome::Linger(client);
    }
    session::serve(client, woken, queued, scratch, shared)
}

/// Closes a connection so that the client can still read what it was told.
pub fn linger(mut client: Box<Client>, shared: &Shared) {
    // Nobody will read what it sent before.
    client.carried = Vec::new();
    // When this fails the client is gone, and nothing is left to be read.
    if client.conn.finish().is_ok() {
        drop(shared.waiter.park(Work::of(client), session::FAREWELL));
    }
}
