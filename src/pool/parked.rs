//! What is parked, as the waiter keeps it under its lock.
//!
//! The problem: a parked value stands in several places at once: under its key, among the deadlines of its class, perhaps in
//! a queue, and with its weight in a sum. If two of these disagree, a connection is never woken again or a budget is used
//! up by what is gone. So all of them change together, here, and nothing of it waits for anything.
//!
//! Not here: the sockets and the timer (`waiter`).

use crate::net::conn::Conn;
use crate::observe::parked::{Census, Kind};
use crate::pool::deadlines::{Class, Deadlines};
use crate::pool::edges::Edges;
use crate::pool::park::{Park, Precedence};
use crate::pool::slots::{Key, Slots};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// See the module.
pub(super) struct State<T> {
    pub parked: Slots<Parked<T>>,
    pub edges: Edges,
    pub deadlines: Deadlines,
    /// Those of [`Class::Queued`], of each queue by itself; none is empty.
    pub queues: BTreeMap<usize, Queue>,
    /// How many these are, to be read without the lock.
    pub queued: Arc<AtomicUsize>,
    /// Those in queues that are to go on. They stand there until they are taken out, so that nothing that comes now is before them.
    pub let_on: Vec<Key>,
    /// When the timer fires; an earlier deadline has to set it again.
    pub timer_due: Option<Instant>,
    pub weight: usize,
    pub budget: usize,
    pub census: Census,
}

/// In the order in which they go on.
pub(super) type Queue = BTreeSet<(Precedence, Instant, Key)>;

/// A value that waits.
pub(super) struct Parked<T> {
    pub value: T,
    pub deadline: Instant,
    pub class: Class,
    pub kind: Kind,
    /// Bytes of memory that it keeps: some buffers at most, and ten thousand of these structs are to be small.
    pub weight: u32,
}

impl<T: Park> State<T> {
    /// `budget` is how many bytes of memory all that is parked may keep.
    pub fn new(budget: usize) -> Self {
        Self {
            parked: Slots::new(),
            edges: Edges::new(),
            deadlines: Deadlines::default(),
            queues: BTreeMap::new(),
            queued: Arc::default(),
            let_on: Vec::new(),
            timer_due: None,
            weight: 0,
            budget,
            census: Census::default(),
        }
    }

    pub fn insert(&mut self, parked: Parked<T>) -> Key {
        let Parked { ref value, deadline, class, kind, weight } = parked;
        let (queue, precedence) = (value.queue(), value.precedence());
        let key = self.parked.insert(parked);
        self.deadlines.insert(class, deadline, key);
        if class == Class::Queued {
            self.queues.entry(queue).or_default().insert((precedence, deadline, key));
            self.queued.fetch_add(1, Ordering::Relaxed);
        }
        self.weight += weight as usize;
        self.census.enter(kind);
        key
    }

    pub fn take(&mut self, key: Key) -> Option<T> {
        let Parked { value, deadline, class, kind, weight } = self.parked.remove(key)?;
        self.deadlines.remove(class, deadline, key);
        if class == Class::Queued {
            leave(&mut self.queues, &value, deadline, key);
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
        if let Some(client) = value.client() {
            self.edges.leave(descriptor(client));
        }
        self.weight -= weight as usize;
        self.census.leave(kind);
        Some(value)
    }

    /// For what waits in no queue.
    pub fn set_deadline(&mut self, key: Key, class: Class, deadline: Instant) {
        if let Some(parked) = self.parked.get_mut(key) {
            self.deadlines.remove(parked.class, parked.deadline, key);
            (parked.class, parked.deadline) = (class, deadline);
            self.deadlines.insert(class, deadline, key);
        }
    }

    /// Of the first class that there is, the next to expire.
    pub fn first_of(&self, classes: &[Class]) -> Option<Key> {
        classes.iter().find_map(|class| self.deadlines.first_of(*class))
    }
}

pub(super) fn descriptor(conn: &Conn) -> RawFd {
    conn.as_fd().as_raw_fd()
}

fn leave<T: Park>(queues: &mut BTreeMap<usize, Queue>, value: &T, deadline: Instant, key: Key) {
    if let Entry::Occupied(mut queue) = queues.entry(value.queue()) {
        queue.get_mut().remove(&(value.precedence(), deadline, key));
        if queue.get().is_empty() {
            queue.remove();
        }
    }
}
