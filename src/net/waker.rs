//! A waker that wakes a thread out of poll(2) or epoll_wait(2).
//!
//! The problem: a thread that waits for sockets does not see a channel or a condition variable. An eventfd is a
//! counter with a file descriptor: waiting for it and for sockets is one wait.
//!
//! Not here: what the ringing means. The woken thread looks for itself.

use rustix::event::{EventfdFlags, eventfd};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Ringing twice before anybody listens is ringing once.
#[derive(Debug)]
pub struct Waker(OwnedFd);

impl Waker {
    /// # Errors
    /// The system has no descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub fn wake(&self) {
        // This can only fail when the counter is at its end, and then the waker is ringing already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Stops the ringing.
    pub fn clear(&self) {
        let _ = rustix::io::read(&self.0, &mut [0; 8]);
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
