//! The waiter of step 8, in a file of its own for the steps from 9 on. It knows no HTTP: what is parked says by itself what
//! it waits for ([`Park`]).

use crossbeam_channel::Sender;
use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::retry_on_intr;
use std::collections::HashMap;
use std::io;
use std::net::TcpStream;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::time::Instant;

/// How often deadlines are looked at.
const TICK: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// What can be parked.
pub trait Park {
    /// The socket on which something has to happen, and what: there is something to read (`IN`), or room to write (`OUT`).
    fn awaited(&self) -> (&TcpStream, EventFlags);

    /// When it has waited long enough.
    fn deadline(&self) -> Instant;
}

/// The place of what has nothing for a worker to do.
pub struct Waiter<T> {
    epoll: OwnedFd,
    parked: Mutex<HashMap<u64, T>>,
}

impl<T: Park> Waiter<T> {
    pub fn new() -> io::Result<Self> {
        Ok(Self { epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?, parked: Mutex::default() })
    }

    /// Keeps a value until what it waits for happens.
    pub fn park(&self, value: T) -> io::Result<()> {
        let (socket, event) = value.awaited();
        // While the value is parked its socket is open, so no other one has this number.
        let key = socket.as_raw_fd() as u64;
        let mut parked = self.parked.lock().unwrap();
        epoll::add(&self.epoll, socket, EventData::new_u64(key), event)?;
        parked.insert(key, value);
        Ok(())
    }

    /// Sends to the workers what is ready, and drops what is late, which closes it.
    pub fn run(&self, queue: Sender<T>) {
        let mut events = Vec::with_capacity(64);
        loop {
            // Other errors than an interruption are mistakes of this program (EBADF, EINVAL): a panic shows them.
            retry_on_intr(|| epoll::wait(&self.epoll, spare_capacity(&mut events), Some(&TICK))).unwrap();
            let mut parked = self.parked.lock().unwrap();
            let ready: Vec<_> =
                events.drain(..).filter_map(|event| parked.remove(&event.data.u64())).collect();
            parked.retain(|_, value| Instant::now() < value.deadline());
            // Not under the lock: the channel may be full, and the workers that empty it may wait for the lock.
            drop(parked);
            for value in ready {
                let _ = epoll::delete(&self.epoll, value.awaited().0);
                let _ = queue.send(value);
            }
        }
    }
}
