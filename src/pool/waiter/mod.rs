//! Where connections wait that have nothing for a worker to do.
//!
//! The problem: a fixed pool of blocking workers dies of whoever holds a worker without using it. An idle
//! keep-alive client, a head that comes byte by byte, a slow small body, a client that got its error and stays, a
//! request that its backend takes its time with: none of these needs a thread. They wait here, all in one thread, in
//! one epoll, and cost a descriptor and a few hundred bytes each; they come out when there is something to do.
//!
//! A connection that is parked says what it waits for ([`Until`]); the waiter collects bytes until then, or until
//! its time is up. It knows no HTTP: whether a message is complete is a function over bytes that came with the
//! parking. Varnish's waiter is the model, with one addition: that one hands every byte to a worker, and so a
//! client that drips its head wakes a worker at each drop.
//!
//! Not here: what happens next (`session`), and who does it (`seats`).

mod deadlines;

use crate::config::waits;
use crate::net::conn::{Arrived, Conn, Registration};
use crate::net::waker::Waker;
use crate::pool::min_rate::MinRate;
use crate::pool::stop::{Phase, Stop};
use deadlines::{Deadlines, Key};
use rustix::event::{Timespec, epoll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Bytes taken from one connection before the next has its turn.
const MOUTHFUL: usize = 16 * 1024;

/// Events taken from the kernel in one call. More only makes the first of them wait for the last.
const EVENTS: usize = 128;

/// What waits here: a connection, and whatever comes along with it.
pub trait Guest {
    /// The connection on which something is to happen.
    fn conn(&mut self) -> &mut Conn;

    /// What was read from it and is not understood yet.
    fn carried(&mut self) -> &mut Vec<u8>;

    /// Bytes that it keeps, those among them.
    fn weight(&self) -> usize;
}

/// What a parked connection waits for. Each kind has a queue of its own, since all of one kind wait equally long.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    /// Anything at all. When its time is up, it is closed without a word.
    Readable,
    /// `enough(bytes, from)` is true of what was collected, of which it has seen the first `from` bytes before; or
    /// there are `at_most` bytes. Its time is one for the whole: dripping does not prolong it.
    Enough { enough: fn(&[u8], usize) -> bool, at_most: usize },
    /// So many bytes are there. Its time begins again with each of them, but they must keep a minimum rate.
    Length(usize),
    /// The peer closes. Until then what it sends is thrown away, `at_most` bytes of it. Its time begins again with each
    /// of them, within bounds.
    Closed { at_most: usize },
    /// Anything at all; or a slice is over, after which whoever brought it here wants to look around.
    Answer,
}

/// Why a connection comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// What it waited for is there, or will never be: the connection ended.
    Ready,
    /// Its time was up.
    Expired,
    /// It was too slow.
    Slow,
    /// The memory for collected bytes is used up, and it was the oldest.
    Crowded,
}

/// How long each kind may wait.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub idle: Duration,
    pub total: Duration,
    pub pause: Duration,
    pub farewell: Duration,
    /// After so long whoever waits for an answer looks around.
    pub slice: Duration,
    /// Bytes a second; zero for any.
    pub min_rate: u64,
    /// The memory of all collected bytes together.
    pub budget: usize,
}

/// The waiting room. [`Waiter::run`] is its thread; everybody else parks and leaves.
pub struct Waiter<G> {
    epoll: OwnedFd,
    waker: Waker,
    limits: Limits,
    room: Mutex<Room<G>>,
    closing: AtomicBool,
}

struct Room<G> {
    deadlines: Deadlines<Parked<G>, QUEUES>,
    collected: usize,
    /// When the thread will wake by itself: an earlier deadline has to wake it.
    wakes_at: Option<Instant>,
    /// How far the shutdown has come in here.
    phase: Phase,
}

struct Parked<G> {
    /// Taken out while the thread reads from it, so that no lock is held meanwhile.
    guest: Option<G>,
    until: Until,
    /// When it came, or, as long as it collects, brought something.
    since: Instant,
    rate: MinRate,
    discarded: usize,
}

/// The one key that is no connection.
const BELL: u64 = u64::MAX;

impl<G: Guest> Waiter<G> {
    /// # Errors
    /// The system has no descriptor left.
    pub fn new(limits: Limits) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let waker = Waker::new()?;
        epoll::add(&epoll, &waker, epoll::EventData::new_u64(BELL), epoll::EventFlags::IN)?;
        let room = Room { deadlines: Deadlines::new(), collected: 0, wakes_at: None, phase: Phase::Running };
        Ok(Self { epoll, waker, limits, room: Mutex::new(room), closing: AtomicBool::new(false) })
    }

    /// Parks a connection. What was read from it stands in its `carried`.
    ///
    /// # Errors
    /// It comes back when nobody can be waited for any more, or not for this one: at the end; when the system refuses; an
    /// answer also when the memory is used up, for it cannot be told to go.
    pub fn park(&self, guest: G, until: Until) -> Result<(), G> {
        let (since, weight) = (Instant::now(), guest.weight());
        let deadline = since + self.stall(until);
        let mut room = self.room();
        let is_welcome = match until {
            Until::Closed { .. } => true,
            Until::Answer => room.phase < Phase::Over && room.collected + weight <= self.limits.budget,
            Until::Readable | Until::Enough { .. } | Until::Length(_) => room.phase == Phase::Running,
        };
        if !is_welcome {
            return Err(guest);
        }
        let rate = MinRate::new(self.limits.min_rate);
        let parked = Parked { guest: Some(guest), until, since, rate, discarded: 0 };
        let key = match room.deadlines.enter(until.queue(), deadline, parked) {
            Ok(key) => key,
            Err(Parked { guest, .. }) => return guest.map_or(Ok(()), Err),
        };
        room.collected += weight;
        // epoll_ctl under a lock: it waits for no peer, and outside the lock the event could come, and the socket
        // be closed and its number given to another, before this call names it.
        if let Some(refused) = self.arm(&mut room, key) {
            return Err(refused);
        }
        let is_earlier = room.wakes_at.is_none_or(|wakes_at| deadline < wakes_at);
        let is_crowded = room.collected > self.limits.budget;
        drop(room);
        if is_earlier || is_crowded {
            self.waker.wake();
        }
        Ok(())
    }

    /// Closes a connection that was told no, or else the one that has been idle for the longest, to make room for
    /// another.
    pub fn evict(&self) -> bool {
        let mut room = self.room();
        let longest = room.deadlines.first(CLOSED).or_else(|| room.deadlines.first(READABLE));
        let evicted = longest.and_then(|(key, _)| room.leave(key));
        drop(room);
        evicted.is_some()
    }

    /// Serves the room until [`Waiter::close`] was called and nobody is left in it, or the stop is over. Whoever waits for
    /// an answer is handed over in any case.
    pub fn run(&self, stop: &Stop, mut hand_over: impl FnMut(G, Woken, Instant)) {
        self.serve(stop, &mut hand_over);
        let now = Instant::now();
        self.dismiss(Phase::Over, &[ANSWER])
            .into_iter()
            .for_each(|guest| hand_over(guest, Woken::Expired, now));
    }

    fn serve(&self, stop: &Stop, hand_over: &mut impl FnMut(G, Woken, Instant)) {
        let mut events = Vec::with_capacity(EVENTS);
        let mut one_read = vec![0; MOUTHFUL];
        let mut out = Vec::new();
        while !stop.is_over() {
            if stop.phase() == Phase::Draining {
                drop(self.dismiss(Phase::Draining, &[READABLE, ENOUGH, LENGTH]));
            }
            if self.closing.load(Ordering::Acquire) && self.room().deadlines.is_empty() {
                return;
            }
            events.clear();
            let timeout = self.until_next_deadline();
            match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    log::error!("the waiter cannot wait: {error}");
                    return;
                }
            }
            let collecting = self.sort(&events, &mut out);
            for key in collecting {
                self.collect(key, &mut one_read, &mut out);
            }
            let now = self.expire(&mut out);
            for (guest, woken) in out.drain(..) {
                hand_over(guest, woken, now);
            }
        }
    }

    /// Ends [`Waiter::run`] as soon as the room is empty.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Has [`Waiter::run`] look at the stop.
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// A panic in another thread leaves the room as it was: every change to it is complete before anything that
    /// could panic.
    fn room(&self) -> MutexGuard<'_, Room<G>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stall(&self, until: Until) -> Duration {
        match until {
            Until::Readable => self.limits.idle,
            Until::Enough { .. } => self.limits.total,
            Until::Length(_) => self.limits.pause,
            Until::Closed { .. } => self.limits.farewell,
            Until::Answer => self.limits.slice,
        }
    }

    /// Has epoll tell us once. Whoever cannot be waited for leaves.
    fn arm(&self, room: &mut Room<G>, key: Key) -> Option<G> {
        let Parked { guest: Some(guest), .. } = room.deadlines.get_mut(key)? else { return None };
        let conn = guest.conn();
        let data = epoll::EventData::new_u64(key.to_bits());
        let flags = epoll::EventFlags::IN | epoll::EventFlags::RDHUP | epoll::EventFlags::ONESHOT;
        let armed = match conn.registration {
            Registration::Known => epoll::modify(&self.epoll, conn.as_fd(), data, flags),
            Registration::Unknown => epoll::add(&self.epoll, conn.as_fd(), data, flags),
        };
        conn.registration = Registration::Known;
        let error = armed.err()?;
        log::error!("a connection cannot be waited for: {error}");
        room.leave(key)
    }

    fn until_next_deadline(&self) -> Option<Timespec> {
        let (mut room, now) = (self.room(), Instant::now());
        // A moment that is set stays, though nobody may wait for it any more: waking once for nothing costs less than a
        // waker for everybody who parks with a deadline before all others.
        let set = room.wakes_at.filter(|at| *at > now);
        room.wakes_at = set.into_iter().chain(room.deadlines.next_deadline()).min();
        let left = room.wakes_at?.saturating_duration_since(now);
        // Never a moment too early, which would be a turn for nothing.
        Timespec::try_from(left + Duration::from_millis(1)).ok()
    }

    /// Takes out those who only waited for anything to happen; returns the keys of those who collect.
    fn sort(&self, events: &[epoll::Event], out: &mut Vec<(G, Woken)>) -> Vec<Key> {
        let mut collecting = Vec::new();
        let mut room = self.room();
        for event in events {
            let data = event.data;
            if data.u64() == BELL {
                self.waker.clear();
                continue;
            }
            let key = Key::from_bits(data.u64());
            match room.deadlines.get_mut(key).map(|parked| parked.until) {
                Some(Until::Readable | Until::Answer) => {
                    out.extend(room.leave(key).map(|guest| (guest, Woken::Ready)));
                }
                Some(_) => collecting.push(key),
                None => {}
            }
        }
        collecting
    }

    /// Reads what is there, once, and decides. No lock is held while it reads.
    fn collect(&self, key: Key, one_read: &mut [u8], out: &mut Vec<(G, Woken)>) {
        let mut room = self.room();
        let Some(parked) = room.deadlines.get_mut(key) else { return };
        let Some(mut guest) = parked.guest.take() else { return };
        let (until, since, mut rate, discarded) = (parked.until, parked.since, parked.rate, parked.discarded);
        drop(room);

        let (before, held) = (guest.carried().len(), guest.weight());
        let limit = until.limit().saturating_sub(before.max(discarded)).min(one_read.len());
        let arrived = guest.conn().receive_now(&mut one_read[..limit]);
        let verdict = match (until, arrived) {
            (_, Ok(Arrived::Nothing)) => Verdict::Wait,
            (Until::Closed { .. }, Ok(Arrived::Bytes(count))) => Verdict::Discarded(count),
            (Until::Closed { .. }, _) | (_, Err(_)) => Verdict::Leave,
            (_, Ok(Arrived::End)) => Verdict::Out(Woken::Ready),
            (_, Ok(Arrived::Bytes(count))) => {
                guest.carried().extend_from_slice(&one_read[..count]);
                judge(until, &mut rate, since, guest.carried(), before)
            }
        };

        let mut room = self.room();
        room.collected += guest.weight() - held;
        let Some(parked) = room.deadlines.get_mut(key) else { return };
        parked.guest = Some(guest);
        match verdict {
            Verdict::Leave => drop(room.leave(key)),
            Verdict::Out(woken) => out.extend(room.leave(key).map(|guest| (guest, woken))),
            Verdict::Discarded(count) => {
                parked.discarded += count;
                // Past its bound nothing more is read: closing now would take back what it was told, so it stays for
                // its time, and cannot send.
                if parked.discarded < until.limit() {
                    if since.elapsed() < waits::LINGERING_CLOSE_TOTAL && !self.closing.load(Ordering::Acquire)
                    {
                        room.deadlines.renew(key, Instant::now() + self.limits.farewell);
                    }
                    drop(self.arm(&mut room, key));
                }
            }
            Verdict::Wait => drop(self.arm(&mut room, key)),
            Verdict::Renew => {
                (parked.since, parked.rate) = (Instant::now(), rate);
                room.deadlines.renew(key, Instant::now() + self.limits.pause);
                drop(self.arm(&mut room, key));
            }
        }
    }

    /// Lets those go whose time is up, and the oldest of those who collect when they are too many. Returns when that was.
    fn expire(&self, out: &mut Vec<(G, Woken)>) -> Instant {
        let now = Instant::now();
        let mut closed = Vec::new();
        let mut room = self.room();
        for queue in 0..QUEUES {
            while let Some((key, deadline)) = room.deadlines.first(queue) {
                if deadline > now {
                    break;
                }
                let is_silent = queue == Until::Readable.queue() || queue == CLOSED;
                match room.leave(key) {
                    Some(guest) if is_silent => closed.push(guest),
                    guest => out.extend(guest.map(|guest| (guest, Woken::Expired))),
                }
            }
        }
        while room.collected > self.limits.budget {
            let oldest = room.deadlines.first(LENGTH).or_else(|| room.deadlines.first(ENOUGH));
            let Some((key, _)) = oldest else { break };
            out.extend(room.leave(key).map(|guest| (guest, Woken::Crowded)));
        }
        // Closing is a system call: not under the lock.
        drop(room);
        now
    }

    /// Takes everybody out of these queues; who comes to them later is not let in.
    fn dismiss(&self, phase: Phase, queues: &[usize]) -> Vec<G> {
        let mut dismissed = Vec::new();
        let mut room = self.room();
        room.phase = phase;
        for queue in queues {
            while let Some((key, _)) = room.deadlines.first(*queue) {
                dismissed.extend(room.leave(key));
            }
        }
        dismissed
    }
}

enum Verdict {
    Wait,
    Renew,
    Discarded(usize),
    Out(Woken),
    Leave,
}

fn judge(until: Until, rate: &mut MinRate, since: Instant, bytes: &[u8], seen: usize) -> Verdict {
    let is_enough = match until {
        Until::Enough { enough, .. } => enough(bytes, seen),
        Until::Readable | Until::Length(_) | Until::Closed { .. } | Until::Answer => false,
    };
    if is_enough || bytes.len() >= until.limit() {
        return Verdict::Out(Woken::Ready);
    }
    match until {
        Until::Length(_) if rate.is_kept(bytes.len() as u64, since.elapsed()) => Verdict::Renew,
        Until::Length(_) => Verdict::Out(Woken::Slow),
        _ => Verdict::Wait,
    }
}

const READABLE: usize = 0;
const ENOUGH: usize = 1;
const LENGTH: usize = 2;
const CLOSED: usize = 3;
const ANSWER: usize = 4;
const QUEUES: usize = 5;

impl Until {
    fn queue(&self) -> usize {
        match self {
            Self::Readable => READABLE,
            Self::Enough { .. } => ENOUGH,
            Self::Length(_) => LENGTH,
            Self::Closed { .. } => CLOSED,
            Self::Answer => ANSWER,
        }
    }

    /// The most that is ever read from the connection.
    fn limit(&self) -> usize {
        match *self {
            Self::Readable | Self::Answer => 0,
            Self::Enough { at_most, .. } | Self::Closed { at_most } => at_most,
            Self::Length(length) => length,
        }
    }
}

impl<G: Guest> Room<G> {
    fn leave(&mut self, key: Key) -> Option<G> {
        let guest = self.deadlines.leave(key)?.guest;
        self.collected -= guest.as_ref().map_or(0, Guest::weight);
        guest
    }
}
