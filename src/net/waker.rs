//! Wakes a thread from poll(2) or epoll_wait(2).
//!
//! The problem: a thread that waits for sockets cannot also wait for a channel or a condition variable. An eventfd is a
//! counter with a file descriptor, so one call waits for it and for the sockets.
//!
//! Not here: why the thread is woken. It checks its own state.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An eventfd. Wake-ups before the thread clears it merge into one.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn wake(&self) {
        // The write only fails when the counter is at its maximum, and then the thread is being woken already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Forgets the wake-ups so far. What they were for is to be looked at afterwards.
    pub fn clear(&self) {
        // Nothing to read: there were none.
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
