//! Counters that many threads count in and nobody waits for.
//!
//! The problem: a counter that all workers add to is one cache line, which travels from core to core with every request;
//! at 50,000 requests a second that costs more than counting. So each thread has counters of its own, in a block that no
//! other thread writes, and a reader adds them up.
//!
//! A counter with one writer needs no atomic addition: a load and a store are enough, and cost what a plain variable does.
//! It is atomic so that a reader sees whole values.
//!
//! Not here: what is counted.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A thread's place among the shards. It cannot be copied, nor shared between threads: each place has one writer.
#[derive(Debug)]
pub struct Shard {
    place: usize,
    _not_shared: PhantomData<Cell<()>>,
}

impl Shard {
    /// The acceptor is in place 0, and the workers are in those of their numbers, from 1 on. To be called once in a thread's
    /// life.
    pub(super) fn at(place: usize) -> Self {
        Self { place, _not_shared: PhantomData }
    }
}

/// One `T` for each thread, made when the thread first needs it: of ten thousand routes most are asked for nothing.
#[derive(Debug)]
pub struct Sharded<T>(Box<[OnceLock<Box<Apart<T>>>]>);

/// On cache lines of its own.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Apart<T>(T);

impl<T: Default> Sharded<T> {
    /// For so many workers, and the acceptor.
    pub fn new(workers: usize) -> Self {
        Self((0..=workers).map(|_| OnceLock::new()).collect())
    }

    /// What this thread writes.
    pub fn of(&self, shard: &Shard) -> &T {
        &self.0[shard.place].get_or_init(Box::default).0
    }

    /// Those of all threads that have one.
    pub fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().filter_map(|shard| Some(&shard.get()?.0))
    }

    /// That of one place, if it is made.
    pub fn at(&self, place: usize) -> Option<&T> {
        Some(&self.0.get(place)?.get()?.0)
    }

    /// What they count together.
    pub fn sum(&self, count: impl Fn(&T) -> &Count) -> u64 {
        self.all().map(|shard| count(shard).get()).sum()
    }
}

/// A counter with one writer.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, more: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn what_all_threads_count_is_the_sum() {
        const WORKERS: usize = 4;
        let counts = Sharded::<Count>::new(WORKERS);
        thread::scope(|scope| {
            for place in 0..=WORKERS {
                let counts = &counts;
                scope.spawn(move || {
                    let shard = Shard::at(place);
                    (0..10_000).for_each(|_| counts.of(&shard).add(1));
                });
            }
            // A sum that is read meanwhile never falls.
            let mut last = 0;
            for _ in 0..1000 {
                let sum = counts.sum(|count| count);
                assert!(sum >= last);
                last = sum;
            }
        });
        assert_eq!(counts.sum(|count| count), 10_000 * (WORKERS as u64 + 1));
    }

    #[test]
    fn two_threads_share_no_cache_line() {
        let counts = Sharded::<Count>::new(2);
        let lines = [0, 1, 2].map(|place| std::ptr::from_ref(counts.of(&Shard::at(place))).addr() / 64);
        assert!(lines[0] != lines[1] && lines[1] != lines[2] && lines[0] != lines[2], "{lines:?}");
    }
}
