//! Where everything waits that has nothing for a worker to do: one epoll, in which the workers themselves wait.
//!
//! The problem: a fixed pool of blocking workers dies of connections that hold a worker without using it. An idle client,
//! a head that comes byte by byte, a backend that takes its time, a client that does not read: none of these needs a
//! thread. Each is one value that owns its sockets; parked here it costs two descriptors and the bytes in hand.
//!
//! What is parked says what it waits for ([`Wait`]): what is wanted of each of its two sockets, and a deadline. A worker
//! that has nothing to do calls [`Waiter::next`], which returns a batch of those for which something happened. So the
//! waiter is a place and not a thread. New connections come through a channel, which the acceptor fills; an eventfd in the
//! same epoll says that there are some, and a timerfd says that a deadline has come.
//!
//! A value that a worker has taken belongs to that worker: a late event of its socket carries an old key, and finds nothing.
//!
//! Not here: HTTP, what a worker does with what it takes, and how sockets are registered (`epoll`).

use crate::net::conn::Conn;
use crate::net::waker::Waker;
use crate::observe::parked::Census;
use crate::pool::deadlines::Class;
use crate::pool::edges::Happened;
use crate::pool::epoll::{Epoll, Source};
use crate::pool::park::{Park, Wait, Woken};
use crate::pool::parked::{Parked, Queue, State};
use crate::pool::stop::{Phase, Stop};
use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::event::Timespec;
use rustix::event::epoll::{Event, EventFlags};
use rustix::io::Errno;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags};
use rustix::time::{timerfd_create, timerfd_settime};
use std::io;
use std::mem::{MaybeUninit, take};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many events a worker takes at once. As many new connections may come with them, and those that are let on in queues. Of
/// 6, 8 and 16 the largest is best with 64 clients (a tenth less CPU time a request than 6), and with 16 and 1,000 all are alike.
/// With 64 the first answer waits for the last request.
pub const BATCH: usize = 16;

/// See the module.
pub struct Waiter<T> {
    epoll: Epoll,
    arrival: Waker,
    timer: OwnedFd,
    /// Stays awake once it was woken, so that every worker sees it.
    end: Waker,
    offers: Sender<Newcomer<T>>,
    offered: Receiver<Newcomer<T>>,
    state: Mutex<State<T>>,
    /// How many stand in queues.
    queued: Arc<AtomicUsize>,
    idle: AtomicUsize,
    rounds: AtomicU64,
    workers: usize,
    stop: Stop,
}

/// A new connection, and since when it waits for a worker.
struct Newcomer<T> {
    value: T,
    since: Instant,
}

impl<T: Park> Waiter<T> {
    /// For so many workers. `queue` is how many new connections may wait for one, `budget` how many bytes of memory all that
    /// is parked may keep.
    ///
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(workers: usize, queue: usize, budget: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let (arrival, end) = (Waker::new()?, Waker::new()?);
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        // Edge-triggered: each write wakes one worker, and none has to reset the counter.
        let edge = EventFlags::IN | EventFlags::ET;
        epoll.watch(&arrival, Source::Arrival, edge)?;
        epoll.watch(&timer, Source::Timer, edge)?;
        epoll.watch(&end, Source::End, EventFlags::IN)?;
        let state = State::new(budget);
        let (queued, state) = (Arc::clone(&state.queued), Mutex::new(state));
        let (offers, offered) = bounded(queue);
        let (idle, rounds, stop) = (AtomicUsize::new(0), AtomicU64::new(0), Stop::default());
        Ok(Self { epoll, arrival, timer, end, offers, offered, state, queued, idle, rounds, workers, stop })
    }

    /// Offers a new connection to the workers; it comes out as [`Woken::New`].
    ///
    /// # Errors
    /// The value, if too many wait already.
    pub fn offer(&self, value: T) -> Result<(), T> {
        let offered = self.offers.try_send(Newcomer { value, since: Instant::now() });
        self.arrival.wake();
        offered.map_err(|refused| refused.into_inner().value)
    }

    /// Parks a value until something of what it wants happens.
    ///
    /// # Errors
    /// The value, if it is not waited for: the shutdown does not wait for it so long, or the system refuses.
    pub fn park(&self, value: T, wait: Wait) -> Result<(), T> {
        let weight = u32::try_from(value.weight()).unwrap_or(u32::MAX);
        let kind = value.kind(wait.class);
        let mut state = self.state();
        let is_welcome = match (self.stop.phase(), wait.class) {
            (Phase::Running, _) => true,
            (Phase::Draining, class) if Class::WITHOUT_REQUEST.contains(&class) => {
                self.stop.bound_idle(wait.deadline) == wait.deadline
            }
            (Phase::Draining, _) => true,
            (Phase::Over, _) => false,
        };
        if !is_welcome {
            return Err(value);
        }
        // What TLS has decrypted already makes no event: it is due at once.
        let is_ready = wait.client.reads() && value.client().is_some_and(Conn::has_unread)
            || wait.backend.reads() && value.backend().is_some_and(Conn::has_unread);
        let deadline = if is_ready { Instant::now() } else { wait.deadline };
        let key = state.insert(Parked { value, deadline, class: wait.class, kind, weight });
        // epoll_ctl under the lock: it waits for no peer, and outside of the lock another worker could take the value,
        // close its socket and reuse the number before this call names it.
        let State { parked, edges, .. } = &mut *state;
        let armed = parked.get(key).map_or(Ok(()), |parked| self.epoll.arm(edges, key, &parked.value, wait));
        if let Err(error) = armed {
            log::error!("a connection cannot be waited for: {error}");
            return state.take(key).map_or(Ok(()), Err);
        }
        let due = if state.weight > state.budget { Instant::now() } else { deadline };
        self.set_timer_by(&mut state, due);
        Ok(())
    }

    /// Waits until there is something to do, and fills `batch` with it: up to [`BATCH`] parked values, fewer while other
    /// workers have nothing to do, as many new connections, and those that were let on in queues. Returns false when the worker may end.
    pub fn next(&self, batch: &mut Vec<(T, Woken)>) -> bool {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        while batch.is_empty() {
            let others_idle = self.idle.fetch_add(1, Ordering::Relaxed);
            let most = if others_idle > 0 { BATCH / 2 } else { BATCH };
            let waited = self.epoll.wait(&mut events[..most]);
            self.idle.fetch_sub(1, Ordering::Relaxed);
            match waited {
                Ok(events) if events.iter().any(|event| Source::of(event) == Source::End) => return false,
                Ok(events) => {
                    self.sort(events, batch);
                    self.rounds.fetch_add(1, Ordering::Relaxed);
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    log::error!("a worker cannot wait: {error}");
                    return false;
                }
            }
        }
        true
    }

    /// Takes out what the events name.
    fn sort(&self, events: &[Event], batch: &mut Vec<(T, Woken)>) {
        let mut is_due = false;
        let mut state = self.state();
        // First, since other requests may take the room that they are let on for.
        for key in take(&mut state.let_on) {
            batch.extend(state.take(key).map(|value| (value, Woken::Expired)));
        }
        for event in events {
            let source = Source::of(event);
            let woken = source.wakes(event.flags);
            let happened = if woken == Woken::Ready { Happened::Bytes } else { Happened::End };
            let key = match source {
                Source::Client(key) | Source::Backend(key) => Some(key),
                Source::Edge(name) => state.edges.fire(name, happened),
                Source::Timer => {
                    is_due = true;
                    None
                }
                Source::Arrival | Source::End => None,
            };
            let value = key.and_then(|key| state.take(key));
            batch.extend(value.map(|value| (value, woken)));
        }
        if is_due {
            self.expire(&mut state, batch);
        }
        drop(state);
        self.admit(batch);
    }

    /// Takes up to [`BATCH`] new connections with each batch. If they only got the room that parked values leave, a busy epoll
    /// would keep them out. Another worker is woken for the rest.
    fn admit(&self, batch: &mut Vec<(T, Woken)>) {
        let newcomers = self.offered.try_iter().take(BATCH);
        batch.extend(newcomers.map(|Newcomer { value, since }| (value, Woken::New(since))));
        if !self.offered.is_empty() {
            self.arrival.wake();
        }
    }

    /// Takes out what is due, as far as the batch has room for it, and sets the timer for the next.
    fn expire(&self, state: &mut State<T>, batch: &mut Vec<(T, Woken)>) {
        let now = Instant::now();
        let is_over = self.stop.phase() == Phase::Over;
        state.timer_due = None;
        while let Some((deadline, key)) = state.deadlines.first() {
            let (key, woken) = match state.first_of(&Class::BY_LOSS) {
                _ if is_over => (key, Woken::Stopped),
                _ if deadline <= now => (key, Woken::Expired),
                Some(key) if state.weight > state.budget => (key, Woken::OverBudget),
                _ => return self.set_timer(state, deadline),
            };
            if batch.len() >= BATCH {
                return self.set_timer(state, now);
            }
            batch.extend(state.take(key).map(|value| (value, woken)));
        }
    }

    /// Changes how many bytes of memory all that is parked may keep.
    pub fn set_budget(&self, budget: usize) {
        let mut state = self.state();
        state.budget = budget;
        if state.weight > budget {
            self.set_timer(&mut state, Instant::now());
        }
    }

    /// Takes a connection with which nothing is lost, if there is one.
    pub fn evict(&self) -> Option<T> {
        let mut state = self.state();
        let key = state.first_of(&[Class::Lingering, Class::Idle, Class::Handshake])?;
        let evicted = state.take(key);
        drop(state);
        if let Some(client) = evicted.as_ref().and_then(T::client) {
            client.say_end();
        }
        evicted
    }

    /// How many there are of a class.
    pub fn count(&self, class: Class) -> usize {
        self.state().deadlines.count(class)
    }

    /// How many there are of each kind, and how many bytes of memory they keep.
    pub fn census(&self) -> (Census, usize) {
        let state = self.state();
        (state.census, state.weight)
    }

    /// How many new connections wait for a worker.
    pub fn newcomers(&self) -> usize {
        self.offered.len()
    }

    /// How many stand in a queue.
    pub fn queued(&self, queue: usize) -> usize {
        self.state().queues.get(&queue).map_or(0, Queue::len)
    }

    /// Brings the first of each queue out at once, as many of them as there is room for. It costs nothing while the queues are
    /// empty: every batch ends with it.
    pub fn let_on(&self) {
        // Of two workers, one has freed room and one has joined a queue, and both come here. Without the fence each could miss
        // what the other has done.
        fence(Ordering::SeqCst);
        if self.queued.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = self.state();
        let firsts = |queue: &Queue| {
            let first = queue.first().and_then(|(.., key)| state.parked.get(*key));
            let room = first.map_or(0, |first| first.value.room());
            // No more than a worker takes: those behind them come with its next batch.
            queue.iter().take(room.min(BATCH)).map(|(.., key)| *key).collect::<Vec<_>>()
        };
        let mut firsts: Vec<_> = state.queues.values().flat_map(firsts).collect();
        firsts.retain(|key| !state.let_on.contains(key));
        if !firsts.is_empty() {
            state.let_on.append(&mut firsts);
            self.set_timer(&mut state, Instant::now());
        }
    }

    /// Whether what is parked keeps all the memory that it may, and only requests that wait for a backend are left to give way.
    pub fn is_full(&self) -> bool {
        let state = self.state();
        let before_those = [Class::Lingering, Class::Idle, Class::Slow, Class::Handshake];
        state.weight > state.budget && state.first_of(&before_those).is_none()
    }

    /// Keeps a client from making events while a worker waits for it itself. The client may still be registered from an earlier
    /// wait, and then each of its requests would also wake an idle worker, which finds nothing. The next wait registers it again.
    pub fn silence(&self, client: &Conn) {
        // If this fails, workers come in vain, and nothing else is lost.
        let _ = self.epoll.silence(client);
    }

    /// Whether another worker has nothing to do.
    pub fn has_idle_workers(&self) -> bool {
        self.idle.load(Ordering::Relaxed) > 0
    }

    /// Whether all other workers have nothing to do.
    pub fn is_only_one_busy(&self) -> bool {
        self.idle.load(Ordering::Relaxed) + 1 >= self.workers
    }

    /// How often a worker has come for something to do, whether there was any or not. It has passed the epoll and the lock.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Has an idle worker, or the next that becomes idle, come for something to do.
    pub fn wake_one(&self) {
        self.arrival.wake();
    }

    /// How far the shutdown has come.
    pub fn phase(&self) -> Phase {
        self.stop.phase()
    }

    /// Until when a client with no request under way is waited for, if it would be until `deadline` without a shutdown.
    pub fn bound_idle(&self, deadline: Instant) -> Instant {
        self.stop.bound_idle(deadline)
    }

    /// The shutdown begins: those that are idle are waited for until `idle_end` and no longer.
    pub fn drain(&self, idle_end: Instant) {
        self.stop.begin(idle_end);
        let mut state = self.state();
        for class in Class::WITHOUT_REQUEST {
            while let Some((deadline, key)) = state.deadlines.last_of(class)
                && deadline > idle_end
            {
                state.set_deadline(key, class, idle_end);
            }
        }
        self.set_timer_by(&mut state, idle_end);
    }

    /// The grace is over: everything that is parked comes out, and nothing is parked any more.
    pub fn cut(&self) {
        self.stop.cut();
        self.set_timer(&mut self.state(), Instant::now());
    }

    /// Lets the workers go; to be called when nothing is left for them.
    pub fn release_workers(&self) {
        self.end.wake();
    }

    /// A panic in another thread leaves the state as it was: every change to it is complete before anything that could
    /// panic.
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has the timer fire then, unless it does so earlier.
    fn set_timer_by(&self, state: &mut State<T>, at: Instant) {
        if state.timer_due.is_none_or(|due| at < due) {
            self.set_timer(state, at);
        }
    }

    fn set_timer(&self, state: &mut State<T>, at: Instant) {
        state.timer_due = Some(at);
        // Rounded up: an early wake-up would find nothing due. Zero would disarm the timer.
        let left = at.saturating_duration_since(Instant::now()) + Duration::from_micros(100);
        let once = Timespec { tv_sec: 0, tv_nsec: 0 };
        let Ok(left) = Timespec::try_from(left) else { return };
        let setting = Itimerspec { it_interval: once, it_value: left };
        if let Err(error) = timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &setting) {
            log::error!("the timer cannot be set: {error}");
        }
    }
}
