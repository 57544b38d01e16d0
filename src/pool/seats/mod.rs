//! The ready channel, the workers who read it, and the seats they hold.
//!
//! The problem is the heart of a blocking server: a fixed number of threads, and work that sometimes takes
//! microseconds and sometimes an hour. A thread that relays an event stream is needed, but not as one of the
//! workers: so a *seat* is what the number is fixed for. A thread that is going to be long steps aside
//! ([`Seats::transfer`]): nothing moves, no socket, no buffer, only its seat becomes free for another thread. There
//! are `workers` seats and never more than `workers + max_transfers` threads. And work that only waits needs no thread
//! either: it is *lent* to whoever waits for it ([`Seats::lend`]), and given back.
//!
//! Resting workers sit on a stack of their own and not in the channel's queue of receivers. crossbeam wakes the
//! receiver that has waited longest, whose cache is coldest, and spins before it sleeps; a stack wakes the one that
//! went to rest last, so that of 256 workers only as many ever run as the moment needs (I/O completion ports do
//! the same). No wake-up is lost: who offers sends first and looks at the stack then, and who rests lies down first
//! and looks at the channel then.
//!
//! How many are woken is the `rotation`'s to say; a thread of its own, the prompter, wakes the missing ones. It also
//! looks after those who have waited for too long in the `queue`, because workers may all be held for longer than that.
//!
//! Not here: what the work is, and doing it (`errand`, `worker`).

mod bed;
mod queue;
mod rotation;

pub use bed::Bed;
pub use queue::Limits;

use queue::Queue;
use rotation::{OBLIVION, Rotation};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How often the prompter looks while something waits.
const TICK: Duration = Duration::from_millis(1);

/// Something for a worker to do, and since when.
#[derive(Debug)]
pub struct Ready<W> {
    pub work: W,
    pub since: Instant,
}

/// What has to be known of the work while it waits.
pub trait Waiting {
    /// Whether it is under way already: then it is not turned away, however long it waits.
    fn is_begun(&self) -> bool;

    /// Bytes that it carries, beside itself.
    fn weight(&self) -> usize;
}

/// How many threads there are, and how much waits without one.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// `--workers`.
    pub workers: usize,
    /// `--max-transfers`.
    pub max_transfers: usize,
    /// What may be [lent](Seats::lend) at once.
    pub most_away: usize,
}

/// See the module.
pub struct Seats<W> {
    queue: Queue<W>,
    resting: Mutex<Vec<Arc<Bed>>>,
    /// The length of `resting`, to look at without the lock.
    rested: AtomicUsize,
    /// Threads that hold a seat or rest: `workers`, but for moments.
    seated: AtomicUsize,
    workers: usize,
    /// All threads: those, and the ones that stepped aside. Kept as a count of its own, because a thread that steps
    /// aside changes the other two one after the other, and in between would look as if it had left.
    living: AtomicUsize,
    aside: AtomicUsize,
    max_transfers: usize,
    most_away: usize,
    /// Transfers that keep their seat because no more may step aside.
    holding: AtomicUsize,
    /// Work that waits somewhere else and will come back.
    away: AtomicUsize,
    closed: AtomicBool,
    rotation: Rotation,
    prompter: OnceLock<Arc<Bed>>,
    recruit: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
}

impl<W: Waiting> Seats<W> {
    /// `waits` is how long and how much may wait for a worker.
    pub fn new(bounds: Bounds, waits: Limits) -> Self {
        let Bounds { workers, max_transfers, most_away } = bounds;
        Self {
            queue: Queue::new(waits),
            resting: Mutex::default(),
            rested: AtomicUsize::new(0),
            seated: AtomicUsize::new(0),
            workers,
            living: AtomicUsize::new(0),
            aside: AtomicUsize::new(0),
            max_transfers,
            most_away,
            holding: AtomicUsize::new(0),
            away: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            rotation: Rotation::new(),
            prompter: OnceLock::new(),
            recruit: OnceLock::new(),
        }
    }

    /// Says how a thread is made that will call [`Seats::take`]: once, before the first is needed. The function
    /// says whether the system gave one.
    pub fn recruit_by(&self, recruit: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.recruit.set(Box::new(recruit));
    }

    /// Fills the empty seats. Returns whether all are filled.
    pub fn fill(&self) -> bool {
        while enter(&self.seated, self.workers) {
            self.living.fetch_add(1, Ordering::AcqRel);
            if !self.recruit.get().is_some_and(|recruit| recruit()) {
                self.seated.fetch_sub(1, Ordering::AcqRel);
                self.living.fetch_sub(1, Ordering::AcqRel);
                return false;
            }
        }
        true
    }

    /// Offers work to the workers. Never waits.
    ///
    /// # Errors
    /// It comes back when too many wait already, or when those who wait have done so for too long: it
    /// would only join them.
    pub fn offer(&self, ready: Ready<W>) -> Result<(), Ready<W>> {
        self.queue.push(ready)?;
        self.announce();
        Ok(())
    }

    /// Whether work may wait somewhere else, holding neither a seat nor a thread. It has to be [given
    /// back](Self::give_back), or was [never lent](Self::unlend).
    pub fn lend(&self) -> bool {
        enter(&self.away, self.most_away)
    }

    /// Whether what is begun may be lent, and what waits to be picked up as well.
    pub fn may_lend(&self) -> bool {
        self.away.load(Ordering::Relaxed) + self.queue.begun() < self.most_away
    }

    /// Offers work that was lent.
    ///
    /// # Errors
    /// None while the queue is there: room was kept for it.
    pub fn give_back(&self, ready: Ready<W>) -> Result<(), Ready<W>> {
        let offered = self.queue.push_back(ready).map(|()| self.announce());
        self.unlend();
        offered
    }

    /// Nothing is away after all.
    pub fn unlend(&self) {
        self.away.fetch_sub(1, Ordering::SeqCst);
        if self.is_ending() {
            self.rouse_all();
        }
    }

    /// Sees to it that somebody comes to what was pushed.
    fn announce(&self) {
        fence(Ordering::SeqCst);
        let rested = self.rested.load(Ordering::SeqCst);
        if rested > 0 && self.rotation.has_room(self.awake(rested)) {
            self.rouse();
        } else if let Some(prompter) = self.prompter.get() {
            prompter.leave();
        }
    }

    /// The prompter's thread: while something waits, sees to it that enough workers are awake, and hands to `turn_away`
    /// who has waited for longer than anybody may, whether or not a worker ever comes back.
    pub fn prompt(&self, turn_away: impl Fn(W)) {
        let bed = Bed::new();
        let _ = self.prompter.set(Arc::clone(&bed));
        let mut relaxed = Instant::now();
        while !self.is_done() {
            if relaxed.elapsed() >= OBLIVION {
                self.rotation.relax();
                relaxed = Instant::now();
            }
            if self.queue.is_empty() {
                let pause = if self.rotation.is_relaxed() { Duration::MAX } else { OBLIVION };
                bed.lie_down();
                fence(Ordering::SeqCst);
                if self.queue.is_empty() && !self.is_ending() {
                    bed.doze(pause);
                }
                bed.vacate();
            } else {
                while let Some(overdue) = self.queue.pop_overdue() {
                    turn_away(overdue.work);
                }
                let rested = self.rested.load(Ordering::SeqCst);
                if rested > 0 {
                    let missing =
                        self.rotation.missing(self.awake(rested), self.queue.longest_wait(Instant::now()));
                    (0..missing).for_each(|_| self.rouse());
                }
            }
            thread::park_timeout(TICK);
        }
    }

    /// Whether it is closed, and nobody waits or nobody is left to be waited for.
    fn is_done(&self) -> bool {
        self.is_ending() && (self.queue.is_empty() || self.is_deserted())
    }

    /// More workers are awake than the moment needs. The prompter is told, as this one does not look again.
    fn rest_though_wanted(&self, bed: &Arc<Bed>) {
        self.lie_down(bed);
        if self.is_closed() {
            return self.rise(bed);
        }
        if let Some(prompter) = self.prompter.get() {
            prompter.leave();
        }
        bed.sleep();
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether it is closed, and nothing will come back any more.
    fn is_ending(&self) -> bool {
        self.is_closed() && self.away.load(Ordering::SeqCst) == 0
    }

    fn awake(&self, rested: usize) -> usize {
        self.seated.load(Ordering::Relaxed).saturating_sub(rested)
    }

    /// Takes what is next, resting until there is something. `None` ends the thread: its seat is taken by another,
    /// or everything is closed and done.
    pub fn take(&self, bed: &Arc<Bed>) -> Option<Ready<W>> {
        loop {
            if self.seated.load(Ordering::Acquire) > self.workers && self.leave_if_surplus() {
                self.living.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
            let rested = self.rested.load(Ordering::Relaxed);
            if !self.rotation.has_room(self.awake(rested + 1)) && self.is_wanted() && !self.is_closed() {
                self.rest_though_wanted(bed);
            }
            // In this order: what comes back is in the queue before it is away no more.
            let is_ending = self.is_ending();
            if let Some(ready) = self.queue.pop() {
                return Some(ready);
            }
            if is_ending {
                self.seated.fetch_sub(1, Ordering::AcqRel);
                self.living.fetch_sub(1, Ordering::AcqRel);
                return None;
            }
            self.rest(bed);
        }
    }

    /// Whether a worker may wait a moment for a client that has nothing to do yet: only while nothing waits for a worker,
    /// and another would be woken for it. With as many busy clients as workers in rotation or more, waiting for each of
    /// them costs two context switches a request, and the way through the waiter a third of one.
    pub fn is_calm(&self) -> bool {
        let rested = self.rested.load(Ordering::Relaxed);
        rested > 0 && self.queue.is_empty() && self.rotation.has_room(self.awake(rested))
    }

    /// Whether nobody rests: every worker has something to do, or waits in the middle of it.
    pub fn is_full(&self) -> bool {
        self.rested.load(Ordering::Relaxed) == 0
    }

    /// Whether connections wait for a worker.
    pub fn is_wanted(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Gives up the seat for a long transfer, or keeps it if no more threads may be had: then at most half of the
    /// seats may be held so. `None`: the transfer must be cut.
    pub fn transfer(&self) -> Option<Transfer<'_, W>> {
        if let Some(transfer) = self.step_aside() {
            return Some(transfer);
        }
        enter(&self.holding, self.workers / 2).then_some(Transfer { seats: self, place: Place::Seated })
    }

    /// Gives up the seat. `None` when `max_transfers` have done so, or the system has no thread to take it.
    pub fn step_aside(&self) -> Option<Transfer<'_, W>> {
        if !enter(&self.aside, self.max_transfers) {
            return None;
        }
        self.seated.fetch_sub(1, Ordering::AcqRel);
        // From here on dropping undoes it.
        let transfer = Transfer { seats: self, place: Place::Aside };
        self.fill().then_some(transfer)
    }

    /// Has every worker end when the channel is empty and nothing is away any more.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        fence(Ordering::SeqCst);
        if self.is_ending() {
            self.rouse_all();
        }
    }

    /// Wakes every resting worker for the last time, and the prompter.
    fn rouse_all(&self) {
        while self.rested.load(Ordering::SeqCst) > 0 {
            self.rouse();
        }
        if let Some(prompter) = self.prompter.get() {
            prompter.leave();
        }
    }

    /// Whether every thread has left.
    pub fn is_deserted(&self) -> bool {
        self.living.load(Ordering::Acquire) == 0
    }

    /// Wakes the worker that went to rest last.
    fn rouse(&self) {
        let mut resting = self.resting();
        let Some(bed) = resting.pop() else { return };
        // Under the lock: a bed is occupied exactly as long as it is on the stack. Afterwards its worker may have lain
        // down again already, and would be put out of a bed that stays on the stack.
        bed.vacate();
        self.rested.store(resting.len(), Ordering::SeqCst);
        drop(resting);
        bed.wake();
    }

    fn lie_down(&self, bed: &Arc<Bed>) {
        bed.lie_down();
        let mut resting = self.resting();
        resting.push(Arc::clone(bed));
        self.rested.store(resting.len(), Ordering::SeqCst);
        drop(resting);
        fence(Ordering::SeqCst);
    }

    fn rest(&self, bed: &Arc<Bed>) {
        self.lie_down(bed);
        if !self.queue.is_empty() || self.is_ending() {
            // Something came in between. It may have roused another, or this one: then the bed is empty already.
            self.rise(bed);
            return;
        }
        bed.sleep();
    }

    fn rise(&self, bed: &Arc<Bed>) {
        let mut resting = self.resting();
        if let Some(index) = resting.iter().rposition(|other| Arc::ptr_eq(other, bed)) {
            resting.remove(index);
            self.rested.store(resting.len(), Ordering::SeqCst);
        }
    }

    fn resting(&self) -> MutexGuard<'_, Vec<Arc<Bed>>> {
        self.resting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A transfer that ended came back to a seat that another had taken: one of the threads is too many.
    fn leave_if_surplus(&self) -> bool {
        let leave = |seated: usize| (seated > self.workers).then(|| seated - 1);
        self.seated.fetch_update(Ordering::AcqRel, Ordering::Acquire, leave).is_ok()
    }
}

/// A long transfer's permission to go on; dropping it takes the seat back.
#[must_use]
pub struct Transfer<'a, W> {
    seats: &'a Seats<W>,
    place: Place,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Aside,
    Seated,
}

impl<W> Drop for Transfer<'_, W> {
    fn drop(&mut self) {
        match self.place {
            Place::Aside => {
                self.seats.seated.fetch_add(1, Ordering::AcqRel);
                self.seats.aside.fetch_sub(1, Ordering::AcqRel);
            }
            Place::Seated => {
                self.seats.holding.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}

/// Counts up, unless `most` is reached.
fn enter(count: &AtomicUsize, most: usize) -> bool {
    count
        .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| (count < most).then_some(count + 1))
        .is_ok()
}
