//! What the main thread does while the others serve: it waits for orders, looks after the certificates, and tells the service
//! manager that ronde is alive.
//!
//! The problem: a signal means that something is to be done, and the thread that handles signals must do none of it:
//! the next signal may be the one that ends a hung process. The main thread has nothing else to do, and it may read
//! files.
//!
//! A channel for each order, with room for one: an order to stop must not be lost behind one that is still being carried
//! out, and two of a kind are one.
//!
//! Not here: which signal is which order (`signals`), and the stop itself (`server`).

use crate::config::waits;
use crate::net::tls::{News, Renewal};
use crate::observe::logger::Logger;
use crate::server::manager::Manager;
use crossbeam_channel::{Receiver, Sender, bounded, select, tick};
use std::time::SystemTime;

/// Gives orders to a server, also to one that is only about to run; may be cloned and sent anywhere.
#[derive(Clone, Debug)]
pub struct Commander {
    stop: Sender<()>,
    reread: Sender<()>,
    reopen: Sender<()>,
}

/// Where a server hears of them. The end of every [`Commander`] is an order to stop, too.
#[derive(Debug)]
pub struct Orders {
    stop: Receiver<()>,
    reread: Receiver<()>,
    reopen: Receiver<()>,
}

/// What a server is ordered by. Made before the server, because a start may take seconds and must not be deaf.
pub fn orders() -> (Commander, Orders) {
    let ((stop, to_stop), (reread, to_reread), (reopen, to_reopen)) = (bounded(1), bounded(1), bounded(1));
    (Commander { stop, reread, reopen }, Orders { stop: to_stop, reread: to_reread, reopen: to_reopen })
}

impl Commander {
    pub fn stop(&self) {
        // When an order is waiting already, this one is the same.
        let _ = self.stop.try_send(());
    }

    /// Has the certificates read again.
    pub fn reread(&self) {
        let _ = self.reread.try_send(());
    }

    /// Has the files of the logs opened again.
    pub fn reopen(&self) {
        let _ = self.reopen.try_send(());
    }
}

impl Orders {
    /// Waits for the order to stop.
    pub(super) fn await_stop(
        &self,
        mut renewal: Option<Renewal>,
        logger: &Logger,
        manager: &mut Manager<'_>,
    ) {
        let (looks, proofs) = (tick(waits::CERTIFICATE_WATCH), manager.proofs());
        loop {
            select! {
                recv(self.stop) -> _ => return,
                recv(self.reread) -> order => match order {
                    Ok(()) => {
                        manager.reloading();
                        reread(renewal.as_mut());
                        manager.ready();
                    }
                    Err(_) => return,
                },
                recv(self.reopen) -> order => match order {
                    Ok(()) => reopen(logger),
                    Err(_) => return,
                },
                recv(looks) -> _ => {
                    if let Some(renewal) = &mut renewal {
                        report(renewal.look(SystemTime::now()));
                    }
                }
                recv(proofs) -> _ => manager.prove(),
            }
        }
    }
}

fn reread(renewal: Option<&mut Renewal>) {
    match renewal {
        Some(renewal) => {
            log::info!("SIGHUP: the certificates are read again");
            report(renewal.look_afresh(SystemTime::now()));
        }
        None => log::warn!("SIGHUP has no meaning for a ronde without certificates, and is ignored"),
    }
}

fn reopen(logger: &Logger) {
    if !logger.reopen() {
        log::warn!("SIGUSR1 has no meaning for a ronde without log files, and is ignored");
    }
}

fn report(news: Vec<News>) {
    for news in news {
        match news.is_a_warning() {
            true => log::warn!("{news}"),
            false => log::info!("{news}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::pool::waiter::Waiter;

    /// Waits without anything to look after.
    fn await_stop(orders: &Orders) {
        let (logger, waiter) = (Logger::start(&Config::default()).unwrap(), Waiter::new(1, 1, 1).unwrap());
        orders.await_stop(None, &logger, &mut Manager::new(&waiter, String::new()));
    }

    #[test]
    fn an_order_to_stop_is_heard_behind_any_number_of_others() {
        let (commander, orders) = orders();
        for _ in 0..3 {
            commander.reread();
            commander.stop();
        }
        await_stop(&orders);
    }

    #[test]
    fn a_server_that_nobody_can_give_orders_stops() {
        let (commander, orders) = orders();
        drop(commander.clone());
        drop(commander);
        await_stop(&orders);
    }
}
