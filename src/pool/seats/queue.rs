//! What waits for a worker, in its order, and for how long.
//!
//! The problem: two kinds of work wait. *Newcomers* have something to say that nobody has looked at yet. What is
//! *begun* is with a backend, and needs a worker again when the answer is there; of what was sent ahead nobody can see
//! that from here, and what was lent comes back when somebody has. So newcomers go first, and their requests are under
//! way meanwhile; but once [`DEPTH`] of those are, the oldest of them is next, whose answer has had the most time. A
//! worker then hardly ever waits for a backend, however many the clients.
//!
//! And workers may be busy for long, so whoever waits for too long has to be found without them. A channel gives out its
//! first, but does not show it. So whoever looks for the overdue takes the first out, and if it is not overdue it must
//! not lose its place: it stands in *front* of the channel from then on, and the next worker takes it from there. While
//! nobody waits for too long the front is empty, and costs one look at a flag that never changes.
//!
//! Not here: who takes them (`seats`), and what the overdue are told.

use super::{Ready, Waiting};
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded, unbounded};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Requests under way behind which newcomers wait.
const DEPTH: usize = 64;

/// What may wait, and for how long.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// `--queue`; of newcomers, and of what is sent ahead.
    pub most: usize,
    /// Bytes that newcomers carry, all together: what they have sent already, and that alone can be a hundred times as
    /// much as themselves.
    pub budget: usize,
    /// `--queue-timeout`.
    pub patience: Duration,
}

/// See the module.
pub(super) struct Queue<W> {
    newcomers: Lane<W>,
    front: Mutex<Option<Ready<W>>>,
    /// Whether somebody stands there, to look at without the lock; or is on the way.
    is_fronted: AtomicBool,
    begun: Lane<W>,
    carried: AtomicUsize,
    limits: Limits,
}

impl<W: Waiting> Queue<W> {
    pub fn new(limits: Limits) -> Self {
        Self {
            newcomers: Lane::new(bounded(limits.most)),
            front: Mutex::default(),
            is_fronted: AtomicBool::new(false),
            // What was lent may come back all at once; how much that is, is known before it is lent.
            begun: Lane::new(unbounded()),
            carried: AtomicUsize::new(0),
            limits,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.has_no_newcomers() && self.begun.receiver.is_empty()
    }

    /// How much waits that is begun.
    pub fn begun(&self) -> usize {
        self.begun.receiver.len()
    }

    fn has_no_newcomers(&self) -> bool {
        // In this order: one that moves is seen in at least one of the two places.
        self.newcomers.receiver.is_empty() && !self.is_fronted.load(Ordering::SeqCst)
    }

    /// Appends it.
    ///
    /// # Errors
    /// It comes back when too many wait already or carry too much; a newcomer also when those who wait have done so for
    /// too long: it would only join them.
    pub fn push(&self, ready: Ready<W>) -> Result<(), Ready<W>> {
        let is_begun = ready.work.is_begun();
        let (lane, is_first) = match is_begun {
            true => (&self.begun, self.begun.receiver.is_empty()),
            false => (&self.newcomers, self.has_no_newcomers()),
        };
        if is_first {
            lane.waits_since(ready.since);
        } else if !is_begun && lane.longest_wait(ready.since) > self.limits.patience {
            return Err(ready);
        }
        if is_begun && lane.receiver.len() >= self.limits.most || !self.load(&ready) {
            return Err(ready);
        }
        lane.push(ready).map_err(|ready| self.unload(ready))
    }

    /// Appends what comes back, for which there is room in any case.
    ///
    /// # Errors
    /// None while the queue is there.
    pub fn push_back(&self, ready: Ready<W>) -> Result<(), Ready<W>> {
        if self.begun.receiver.is_empty() {
            self.begun.waits_since(ready.since);
        }
        self.begun.push(ready)
    }

    /// Takes the next.
    pub fn pop(&self) -> Option<Ready<W>> {
        let ready = match self.begun.receiver.len() < DEPTH {
            true => self.pop_newcomer().or_else(|| self.begun.pop()),
            false => self.begun.pop().or_else(|| self.pop_newcomer()),
        };
        Some(self.unload(ready?))
    }

    fn pop_newcomer(&self) -> Option<Ready<W>> {
        if self.is_fronted.load(Ordering::SeqCst) {
            let mut front = self.front();
            let first = front.take();
            self.is_fronted.store(false, Ordering::SeqCst);
            if let Some(first) = first {
                self.newcomers.waits_since(first.since);
                return Some(first);
            }
        }
        self.newcomers.pop()
    }

    /// Takes out the first of the newcomers, if it has waited for too long.
    pub fn pop_overdue(&self) -> Option<Ready<W>> {
        if self.has_no_newcomers() || self.newcomers.longest_wait(Instant::now()) <= self.limits.patience {
            return None;
        }
        let mut front = self.front();
        self.is_fronted.store(true, Ordering::SeqCst);
        if front.is_none() {
            *front = self.newcomers.pop();
        }
        let overdue = front.take_if(|first| first.since.elapsed() > self.limits.patience);
        self.is_fronted.store(front.is_some(), Ordering::SeqCst);
        overdue.map(|ready| self.unload(ready))
    }

    /// How long the one that has waited longest may have waited.
    pub fn longest_wait(&self, now: Instant) -> Duration {
        let of =
            |is_there: bool, lane: &Lane<W>| if is_there { lane.longest_wait(now) } else { Duration::ZERO };
        let newcomers = of(!self.has_no_newcomers(), &self.newcomers);
        newcomers.max(of(!self.begun.receiver.is_empty(), &self.begun))
    }

    /// Takes what a newcomer carries into the budget, if it fits. Nearly always that is nothing, and nothing is counted.
    fn load(&self, ready: &Ready<W>) -> bool {
        let weight = weight(&ready.work);
        let more = |carried: usize| carried.checked_add(weight).filter(|sum| *sum <= self.limits.budget);
        weight == 0 || self.carried.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn unload(&self, ready: Ready<W>) -> Ready<W> {
        let weight = weight(&ready.work);
        if weight > 0 {
            self.carried.fetch_sub(weight, Ordering::Relaxed);
        }
        ready
    }

    fn front(&self) -> MutexGuard<'_, Option<Ready<W>>> {
        self.front.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What counts of it in the budget: what is begun was weighed when it was left.
fn weight<W: Waiting>(work: &W) -> usize {
    if work.is_begun() { 0 } else { work.weight() }
}

/// A channel, and since when its first may have waited.
struct Lane<W> {
    sender: Sender<Ready<W>>,
    receiver: Receiver<Ready<W>>,
    begun: Instant,
    /// In milliseconds after `begun`.
    waiting_since: AtomicU64,
}

impl<W> Lane<W> {
    fn new((sender, receiver): (Sender<Ready<W>>, Receiver<Ready<W>>)) -> Self {
        Self { sender, receiver, begun: Instant::now(), waiting_since: AtomicU64::new(0) }
    }

    fn push(&self, ready: Ready<W>) -> Result<(), Ready<W>> {
        self.sender.try_send(ready).map_err(|error| match error {
            TrySendError::Full(ready) | TrySendError::Disconnected(ready) => ready,
        })
    }

    fn pop(&self) -> Option<Ready<W>> {
        let ready = self.receiver.try_recv().ok()?;
        self.waits_since(ready.since);
        Some(ready)
    }

    /// They are taken in their order, so nobody has waited for longer than the one that was taken last, or that came when
    /// nobody was there.
    fn longest_wait(&self, now: Instant) -> Duration {
        let since = Duration::from_millis(self.waiting_since.load(Ordering::Relaxed));
        now.saturating_duration_since(self.begun).saturating_sub(since)
    }

    fn waits_since(&self, since: Instant) {
        let since = since.saturating_duration_since(self.begun);
        self.waiting_since.store(since.as_millis() as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each carries ten bytes.
    #[derive(Debug)]
    enum Work {
        New,
        Begun,
    }

    impl Waiting for Work {
        fn is_begun(&self) -> bool {
            matches!(self, Self::Begun)
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
        let limits = Limits { most: 100, budget: 1000, patience: Duration::from_secs(3600) };
        let mut queue = Queue::new(limits);
        for lane in [&mut queue.newcomers, &mut queue.begun] {
            lane.begun = Instant::now() - Duration::from_secs(60);
        }
        waits.into_iter().for_each(|(work, seconds)| queue.push(waiting(work, seconds)).unwrap());
        queue.limits.patience = Duration::from_secs(10);
        queue
    }

    fn newcomers<const COUNT: usize>(waits: [u64; COUNT]) -> Queue<Work> {
        queue(waits.map(|seconds| (Work::New, seconds)))
    }

    fn waits(mut pop: impl FnMut() -> Option<Ready<Work>>) -> Vec<u64> {
        std::iter::from_fn(|| Some(pop()?.since.elapsed().as_secs())).collect()
    }

    #[test]
    fn the_overdue_come_out_without_a_worker_and_the_others_keep_their_order() {
        let queue = newcomers([20, 15, 5, 4]);
        assert_eq!(waits(|| queue.pop_overdue()), [20, 15]);
        assert!(!queue.is_empty() && queue.longest_wait(Instant::now()) < Duration::from_secs(10));
        queue.push(waiting(Work::New, 3)).unwrap();
        assert_eq!(waits(|| queue.pop()), [5, 4, 3]);
        assert!(queue.is_empty() && queue.pop_overdue().is_none());
    }

    #[test]
    fn what_is_begun_comes_behind_the_newcomers_and_is_never_turned_away() {
        let queue = queue([(Work::Begun, 30), (Work::New, 20), (Work::Begun, 15), (Work::New, 5)]);
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        assert_eq!(queue.longest_wait(Instant::now()).as_secs(), 30);
        assert_eq!(waits(|| queue.pop()), [5, 30, 15]);
        assert_eq!(queue.longest_wait(Instant::now()), Duration::ZERO);
    }

    #[test]
    fn when_enough_is_begun_its_oldest_is_next() {
        let begun = (0..=DEPTH as u64).rev().map(|at| (Work::Begun, 100 + at));
        let queue = queue(begun.chain([(Work::New, 5), (Work::New, 4)]));
        let order = waits(|| queue.pop());
        assert_eq!(order[..4], [100 + DEPTH as u64, 99 + DEPTH as u64, 5, 4]);
    }

    #[test]
    fn nobody_joins_those_who_have_waited_for_too_long() {
        let queue = newcomers([20]);
        assert!(queue.push(waiting(Work::New, 0)).is_err());
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        queue.push(waiting(Work::New, 0)).unwrap();
    }

    #[test]
    fn they_carry_no_more_than_the_budget_in_whichever_way_they_leave() {
        let mut queue = newcomers([20, 5, 4, 3]);
        queue.limits.budget = 30;
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        queue.push(waiting(Work::Begun, 2)).unwrap();
        assert!(queue.push(waiting(Work::New, 1)).is_err());
        assert_eq!(waits(|| queue.pop()), [5, 4, 3, 2]);
        assert_eq!(queue.carried.into_inner(), 0);
    }

    #[test]
    fn one_that_becomes_overdue_in_front_is_found_there() {
        let mut queue = newcomers([20, 5]);
        assert_eq!(waits(|| queue.pop_overdue()), [20]);
        queue.limits.patience = Duration::from_secs(2);
        assert_eq!(waits(|| queue.pop_overdue()), [5]);
        assert!(queue.is_empty());
    }
}
