//! What the main thread does while the others serve: it waits for orders, looks after the certificates, and tells the service
//! manager that ronde is alive.
//!
//! The problem: a signal means that something is to be done, and the thread that handles signals must do none of it:
//! the next signal may be the one that ends a hung process. The main thread has nothing else to do, and it may read
//! files. But what takes long it leaves to another thread, or the order to stop would have to wait for it.
//!
//! A channel for each kind of order: an order to stop must not be lost behind one that is still being carried out. Two
//! waiting orders of a kind are one. What is due from time to time comes from a ticker: a timeout would begin anew with each order.
//!
//! Not here: which signal is which order (`signals`), the stop itself (`server`), and the reload (`reload`).

use crate::config::waits;
use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use std::time::Instant;

/// Gives orders to a server, also to one that is only about to run; may be cloned and sent anywhere.
#[derive(Clone, Debug)]
pub struct Commander {
    stop: Sender<()>,
    reloader: Reloader,
    reopen: Sender<()>,
}

/// Gives the order to reload alone: for the server's own threads, whose end must not be waited for by the server.
#[derive(Clone, Debug)]
pub struct Reloader(Sender<Asker>);

/// Where a server hears of them. The end of every [`Commander`] is an order to stop, too.
#[derive(Debug)]
pub struct Orders {
    stop: Receiver<()>,
    reload: Receiver<Asker>,
    reloader: Reloader,
    reopen: Receiver<()>,
    looks: Receiver<Instant>,
}

/// What came of an order to reload, for an admin: what is in force now, with a line for each remark, or why nothing has
/// changed.
pub type Outcome = Result<String, String>;

/// Where the outcome of a reload is told.
pub(super) type Asker = Sender<Outcome>;

/// Orders to reload that may wait for the one that is being carried out; together they are one.
const MOST_ASKERS: usize = 64;

/// What the main thread is to do next.
pub(super) enum Next<T> {
    Stop,
    /// To read the configuration again, and to tell these what came of it.
    Reload(Vec<Asker>),
    /// What was under way has come to this; `None` if its thread has panicked.
    Ready(Option<T>),
    /// To open the files of the logs again.
    Reopen,
    /// To look at the certificates, from time to time.
    Look,
    /// To prove to the service manager that ronde is alive.
    Prove,
}

/// What a server is ordered by. Made before the server, because a start may take seconds and must not be deaf.
pub fn orders() -> (Commander, Orders) {
    let ((stop, to_stop), (reload, to_reload)) = (bounded(1), bounded(MOST_ASKERS));
    let ((reopen, to_reopen), looks) = (bounded(1), tick(waits::CERTIFICATE_WATCH));
    let (reloader, own) = (Reloader(reload.clone()), Reloader(reload));
    let orders = Orders { stop: to_stop, reload: to_reload, reloader: own, reopen: to_reopen, looks };
    (Commander { stop, reloader, reopen }, orders)
}

impl Commander {
    pub fn stop(&self) {
        // When an order is waiting already, this one is the same.
        let _ = self.stop.try_send(());
    }

    /// Has the whole configuration read again. The outcome comes out of the channel; the channel ends without one when the
    /// server stops before, or when 64 wait for one already.
    pub fn reload(&self) -> Receiver<Outcome> {
        self.reloader.reload()
    }

    /// Has the files of the logs opened again.
    pub fn reopen(&self) {
        let _ = self.reopen.try_send(());
    }
}

impl Reloader {
    /// Has the whole configuration read again. The outcome comes out of the channel; the channel ends without one when the
    /// server stops before, or when [`MOST_ASKERS`] (64) wait for one already.
    pub fn reload(&self) -> Receiver<Outcome> {
        let (asker, outcome) = bounded(1);
        let _ = self.0.try_send(asker);
        outcome
    }
}

impl Orders {
    /// Gives orders to reload that come out here.
    pub(super) fn reloader(&self) -> Reloader {
        self.reloader.clone()
    }

    /// Waits for what is to be done next. While something is under way, no reload is begun. A proof is wanted at each of
    /// `proofs`.
    pub(super) fn next<T>(&self, under_way: Option<&Receiver<T>>, proofs: &Receiver<Instant>) -> Next<T> {
        let (no_order, nothing) = (never(), never());
        let reload = if under_way.is_some() { &no_order } else { &self.reload };
        select! {
            recv(self.stop) -> _ => Next::Stop,
            recv(reload) -> asker => match asker {
                Ok(asker) => Next::Reload([asker].into_iter().chain(self.reload.try_iter()).collect()),
                Err(_) => Next::Stop,
            },
            recv(under_way.unwrap_or(&nothing)) -> ready => Next::Ready(ready.ok()),
            recv(self.reopen) -> order => order.map_or(Next::Stop, |()| Next::Reopen),
            recv(self.looks) -> _ => Next::Look,
            recv(proofs) -> _ => Next::Prove,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Without a service manager.
    fn next<T>(orders: &Orders, under_way: Option<&Receiver<T>>) -> Next<T> {
        orders.next(under_way, &never())
    }

    #[test]
    fn an_order_to_stop_is_heard_behind_any_number_of_others() {
        let (commander, orders) = orders();
        for _ in 0..2 * MOST_ASKERS {
            commander.reload();
            commander.stop();
        }
        let nexts = [(); 2].map(|()| next::<()>(&orders, None));
        assert!(nexts.iter().any(|next| matches!(next, Next::Stop)));
    }

    #[test]
    fn orders_to_reload_that_wait_are_one_and_all_hear_of_it() {
        let (commander, orders) = orders();
        let outcomes: Vec<_> = (0..MOST_ASKERS + 1).map(|_| commander.reload()).collect();
        let Next::Reload(askers) = next::<()>(&orders, None) else { panic!("no order to reload") };
        askers.iter().for_each(|asker| asker.send(Ok("done".to_owned())).unwrap());
        drop(askers);
        let (last, heard) = outcomes.split_last().unwrap();
        assert!(heard.iter().all(|outcome| outcome.recv() == Ok(Ok("done".to_owned()))));
        assert!(last.recv().is_err(), "one too many");
    }

    #[test]
    fn while_a_reload_is_under_way_none_begins_but_a_stop_and_a_reopen_are_heard() {
        let (commander, orders) = orders();
        let (done, under_way) = bounded(1);
        commander.reload();
        done.send(7).unwrap();
        assert!(matches!(next(&orders, Some(&under_way)), Next::Ready(Some(7))));
        commander.reopen();
        assert!(matches!(next(&orders, Some(&under_way)), Next::Reopen));
        commander.stop();
        assert!(matches!(next(&orders, Some(&under_way)), Next::Stop));
        drop(done);
        assert!(matches!(next(&orders, Some(&under_way)), Next::Ready(None)));
        assert!(matches!(next::<()>(&orders, None), Next::Reload(_)));
    }

    #[test]
    fn a_proof_is_wanted_while_there_are_no_orders() {
        let (_commander, orders) = orders();
        assert!(matches!(orders.next::<()>(None, &tick(Duration::from_millis(1))), Next::Prove));
    }

    #[test]
    fn a_server_that_nobody_can_give_orders_stops() {
        let (commander, orders) = orders();
        drop(commander.clone());
        drop(commander);
        assert!(matches!(next::<()>(&orders, None), Next::Stop));
    }
}
