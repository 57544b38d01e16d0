//! Where one thread rests until another wakes it.
//!
//! The problem: [`thread::park`] returns when it likes, and whoever unparks cannot know whether the thread sleeps
//! already. A bed is occupied from before the last look at what there is to do, so a wake-up that comes in between
//! finds it occupied, and empties it.
//!
//! Not here: who is woken and when (`seats`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Thread};
use std::time::Duration;

/// See the module.
#[derive(Debug)]
pub struct Bed {
    thread: Thread,
    occupied: AtomicBool,
}

impl Bed {
    /// For the calling thread.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { thread: thread::current(), occupied: AtomicBool::new(false) })
    }

    pub(super) fn lie_down(&self) {
        self.occupied.store(true, Ordering::SeqCst);
    }

    /// Until another thread empties the bed, which may have been before.
    pub(super) fn sleep(&self) {
        while self.occupied.load(Ordering::Acquire) {
            thread::park();
        }
    }

    /// The same for so long at the most, and perhaps for less.
    pub(super) fn doze(&self, most: Duration) {
        if self.occupied.load(Ordering::Acquire) {
            thread::park_timeout(most);
        }
    }

    /// The thread need not get up after all.
    pub(super) fn vacate(&self) {
        self.occupied.store(false, Ordering::Release);
    }

    pub(super) fn wake(&self) {
        self.thread.unpark();
    }

    /// Empties the bed, if it is occupied. That it mostly is not costs a look and no more.
    pub(super) fn leave(&self) {
        if self.occupied.load(Ordering::SeqCst) && self.occupied.swap(false, Ordering::AcqRel) {
            self.thread.unpark();
        }
    }
}
