//! A worker: takes a ready connection, has it served, and carries out what became of it.
//!
//! The problem: somebody has to own the moves between the places a connection can be in, so that `session` can
//! speak HTTP and `waiter` can wait, and neither knows the other.
//!
//! Not here: how many workers there are and who wakes them (`seats`).

use crate::client::Client;
use crate::failure::Failure;
use crate::house::{Desk, House};
use crate::seats::{Bed, Ready};
use crate::session::{self, Outcome};
use crate::waiter::Woken;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

/// The life of a worker's thread.
pub fn run(house: &House) {
    let bed = Bed::new();
    let mut desk = Desk::new(&house.config);
    while let Some(ready) = house.seats.take(&bed) {
        // A panic is a bug, and it is logged as one; but it is one request's bug, and must not cost a worker.
        if catch_unwind(AssertUnwindSafe(|| serve(ready, &mut desk, house))).is_err() {
            log::error!("a worker panicked: please report this");
            desk = Desk::new(&house.config);
        }
    }
}

fn serve(ready: Ready, desk: &mut Desk, house: &House) {
    let Ready { mut client, since, woken } = ready;
    let queued = since.elapsed();
    if queued > house.config.queue_timeout {
        session::turn_away(&mut client, Failure::Overloaded, queued, desk, house);
        return linger(client, house);
    }
    match session::serve(client, woken, queued, desk, house) {
        Outcome::Close(client) => drop(client),
        Outcome::Reset(client) => client.conn.cut(),
        Outcome::Park(client, until) => house.waiter.park(client, until),
        Outcome::Linger(client) => linger(client, house),
        Outcome::Requeue(client) => {
            let ready = Ready { client, since: Instant::now(), woken: Woken::Ready };
            if let Err(Ready { mut client, .. }) = house.seats.offer(ready) {
                session::turn_away(&mut client, Failure::Overloaded, queued, desk, house);
                linger(client, house);
            }
        }
    }
}

/// Closes a connection so that the client can still read what it was told.
fn linger(client: Client, house: &House) {
    // When this fails the client is gone, and nothing is left to be read.
    if client.conn.finish().is_ok() {
        house.waiter.park(client, session::FAREWELL);
    }
}
