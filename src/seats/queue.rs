//! What waits for a worker, in its order, and for how long.
//!
//! The problem: workers may be busy for long, so whoever waits for too long has to be found without them. A channel
//! gives out its first, but does not show it. So whoever looks for the overdue takes the first out, and if it is not
//! overdue it must not lose its place: it stands in *front* of the channel from then on, and the next worker takes it
//! from there; and so does what may not be turned away. While nobody waits for too long the front is empty, and costs
//! one look at a number that never changes.
//!
//! Not here: who takes them (`seats`), and what the overdue are told.

use super::{Ready, Waiting};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--queue`.
    pub most: usize,
    /// Bytes that those who wait carry, all together: what they have sent already, and that alone can be a hundred
    /// times as much as themselves.
    pub budget: usize,
    /// `--queue-timeout`.
    pub patience: Duration,
}

/// See the module.
pub(super) struct Queue<W> {
    sender: Sender<Ready<W>>,
    receiver: Receiver<Ready<W>>,
    front: Mutex<VecDeque<Ready<W>>>,
    /// The length of `front`, to look at without the lock; and one more while the next is on its way there.
    fronted: AtomicUsize,
    carried: AtomicUsize,
    limits: Limits,
    begun: Instant,
    /// Nobody has waited for longer than since then, in milliseconds after `begun`.
    waiting_since: AtomicU64,
}

impl<W: Waiting> Queue<W> {
    pub fn new(limits: Limits) -> Self {
        let (sender, receiver) = bounded(limits.most);
        Self {
            sender,
            receiver,
            front: Mutex::default(),
            fronted: AtomicUsize::new(0),
            carried: AtomicUsize::new(0),
            limits,
            begun: Instant::now(),
            waiting_since: AtomicU64::new(0),
        }
    }

    pub fn is_empty(&self) -> bool {
        // In this order: one that moves is seen in at least one of the two places.
        self.receiver.is_empty() && self.fronted.load(Ordering::SeqCst) == 0
    }

    /// Appends it.
    ///
    /// # Errors
    /// It comes back when too many wait already or carry too much, or when those who wait have done so for too long: it
    /// would only join them.
    pub fn push(&self, ready: Ready<W>) -> Result<(), Ready<W>> {
        if self.is_empty() {
            self.waits_since(ready.since);
        } else if self.longest_wait(ready.since) > self.limits.patience {
            return Err(ready);
        }
        if !self.load(ready.work.weight()) {
            return Err(ready);
        }
        self.sender.try_send(ready).map_err(|error| match error {
            TrySendError::Full(ready) | TrySendError::Disconnected(ready) => self.unload(ready),
        })
    }

    /// Takes the first.
    pub fn pop(&self) -> Option<Ready<W>> {
        let ready = self.pop_front().or_else(|| self.receiver.try_recv().ok())?;
        self.waits_since(ready.since);
        Some(self.unload(ready))
    }

    fn pop_front(&self) -> Option<Ready<W>> {
        if self.fronted.load(Ordering::SeqCst) == 0 {
            return None;
        }
        let mut front = self.front();
        let ready = front.pop_front();
        self.fronted.store(front.len(), Ordering::SeqCst);
        ready
    }

    /// Takes out the first of those who have waited for too long and may be turned away.
    pub fn pop_overdue(&self) -> Option<Ready<W>> {
        if self.longest_wait(Instant::now()) <= self.limits.patience {
            return None;
        }
        let is_overdue = |ready: &Ready<W>| ready.since.elapsed() > self.limits.patience;
        let mut front = self.front();
        let overdue = loop {
            if let Some(index) =
                front.iter().position(|ready| is_overdue(ready) && ready.work.may_be_turned_away())
            {
                break front.remove(index);
            }
            // Whoever stands behind one that came lately came later still.
            if front.back().is_some_and(|last| !is_overdue(last)) {
                break None;
            }
            self.fronted.store(front.len() + 1, Ordering::SeqCst);
            match self.receiver.try_recv() {
                Ok(next) => front.push_back(next),
                Err(_) => break None,
            }
        };
        self.fronted.store(front.len(), Ordering::SeqCst);
        if let (None, Some(first)) = (&overdue, front.front()) {
            self.waits_since(first.since);
        }
        overdue.map(|ready| self.unload(ready))
    }

    /// Takes so many bytes into the budget, if they fit. Nearly always there are none, and nothing is counted.
    fn load(&self, weight: usize) -> bool {
        let more = |carried: usize| carried.checked_add(weight).filter(|sum| *sum <= self.limits.budget);
        weight == 0 || self.carried.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn unload(&self, ready: Ready<W>) -> Ready<W> {
        let weight = ready.work.weight();
        if weight > 0 {
            self.carried.fetch_sub(weight, Ordering::Relaxed);
        }
        ready
    }

    /// How long the one that has waited longest may have waited. They are taken in their order, so the rest have
    /// waited no longer than the one that was taken last, or that came when nobody was there.
    pub fn longest_wait(&self, now: Instant) -> Duration {
        let since = Duration::from_millis(self.waiting_since.load(Ordering::Relaxed));
        now.saturating_duration_since(self.begun).saturating_sub(since)
    }

    fn waits_since(&self, since: Instant) {
        let since = since.saturating_duration_since(self.begun);
        self.waiting_since.store(since.as_millis() as u64, Ordering::Relaxed);
    }

    fn front(&self) -> MutexGuard<'_, VecDeque<Ready<W>>> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each carries ten bytes.
    #[derive(Debug)]
    enum Work {
        Refusable,
        Sent,
    }

    impl Waiting for Work {
        fn may_be_turned_away(&self) -> bool {
            matches!(self, Self::Refusable)
        }

        fn weight(&self) -> usize {
            10
        }
    }

    /// What has waited for so many seconds.
    fn waiting(work: Work, seconds: u64) -> Ready<Work> {
        Ready { work, since: Instant::now() - Duration::from_secs(seconds) }
    }

    /// A minute after its beginning, with a patience of ten seconds.
    fn queue(waits: impl IntoIterator<Item = (Work, u64)>) -> Queue<Work> {
        let limits = Limits { most: 8, budget: 40, patience: Duration::from_secs(3600) };
        let queue = Queue { begun: Instant::now() - Duration::from_secs(60), ..Queue::new(limits) };
        waits.into_iter().for_each(|(work, seconds)| queue.push(waiting(work, seconds)).unwrap());
        Queue { limits: Limits { patience: Duration::from_secs(10), ..limits }, ..queue }
    }

    fn refusables<const COUNT: usize>(waits: [u64; COUNT]) -> Queue<Work> {
        queue(waits.map(|seconds| (Work::Refusable, seconds)))
    }

    fn waits(mut pop: impl FnMut() -> Option<Ready<Work>>) -> Vec<u64> {
        std::iter::from_fn(|| Some(pop()?.since.elapsed().as_secs())).collect()
    }

    #[test]
    fn the_overdue_come_out_without_a_worker_and_the_others_keep_their_order() {
        let queue = refusables([20, 15, 5, 4]);
        assert_eq!(waits(|| queue.pop_overdue()), [20, 15]);
        assert!(!queue.is_empty() && queue.longest_wait(Instant::now()) < Duration::from_secs(10));
        queue.push(waiting(Work::Refusable, 3)).unwrap();
        assert_eq!(waits(|| queue.pop()), [5, 4, 3]);
        assert!(queue.is_empty() && queue.pop_overdue().is_none());
    }

    #[test]
    fn what_may_not_be_turned_away_keeps_its_place_and_protects_nobody() {
        let queue = queue([(Work::Sent, 30), (Work::Refusable, 20), (Work::Sent, 15), (Work::Refusable, 5)]);
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        assert_eq!(waits(|| queue.pop()), [30, 15, 5]);
    }

    #[test]
    fn nobody_joins_those_who_have_waited_for_too_long() {
        let queue = refusables([20]);
        assert!(queue.push(waiting(Work::Refusable, 0)).is_err());
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        queue.push(waiting(Work::Refusable, 0)).unwrap();
    }

    #[test]
    fn they_carry_no_more_than_the_budget_in_whichever_way_they_leave() {
        let queue = refusables([20, 5, 4, 3]);
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        queue.push(waiting(Work::Sent, 2)).unwrap();
        assert!(queue.push(waiting(Work::Refusable, 1)).is_err());
        assert_eq!(waits(|| queue.pop()), [5, 4, 3, 2]);
        assert_eq!(queue.carried.into_inner(), 0);
    }

    #[test]
    fn one_that_becomes_overdue_in_front_is_found_there() {
        let mut queue = refusables([20, 5]);
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        queue.limits.patience = Duration::from_secs(2);
        assert_eq!(waits(|| queue.pop_overdue()), [5]);
        assert!(queue.is_empty());
    }
}
