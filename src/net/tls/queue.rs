//! Bytes that are taken from the front and added at the back.
//!
//! The problem: what waits between the socket and the conversation is nearly always nothing, and ten thousand idle clients
//! must not keep room for it. So an empty queue has no memory. But safe code has to fill room with zeros before rustls may
//! write to it, and for a long response that took a sixth of all instructions. So each thread keeps the memory of one queue
//! that has run empty, for the next one that needs as much.

use std::cell::Cell;

/// Room that is worth keeping: zeros for less are made sooner than they are found.
const LARGE: usize = 4 * 1024;

/// The most that a thread keeps.
const MOST_KEPT: usize = 64 * 1024;

thread_local! {
    /// Bytes that were written once. Only [`Queue::push_with`] uses it, so they are never anybody's plaintext.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    /// Those in the queue are from `start` to `end`; behind them is room.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.truncate(self.end);
        self.bytes.extend_from_slice(bytes);
        self.end = self.bytes.len();
    }

    /// Adds what `write` puts into `room` bytes; it returns how many those are.
    pub fn push_with<E>(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        if self.bytes.is_empty() && room >= LARGE {
            self.bytes = SPARE.take();
        }
        let end = self.end + room;
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        let written = write(&mut self.bytes[self.end..end]);
        self.end += written.as_ref().copied().unwrap_or(0).min(room);
        self.give_back();
        written.map(|_| ())
    }

    /// Drops `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        self.give_back();
    }

    /// Moves as much as fits into `room`; returns how much that is.
    pub fn take_into(&mut self, room: &mut [u8]) -> usize {
        let count = room.len().min(self.rest().len());
        room[..count].copy_from_slice(&self.rest()[..count]);
        self.consume(count);
        count
    }

    /// Keeps memory for its bytes alone: whatever they wait for may take long.
    pub fn shrink(&mut self) {
        let rest = self.rest().to_vec();
        let end = rest.len();
        let Self { bytes, .. } = std::mem::replace(self, Self { bytes: rest, start: 0, end });
        spare(bytes);
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.bytes.capacity()
    }

    /// An empty queue has no memory.
    fn give_back(&mut self) {
        if self.is_empty() {
            spare(std::mem::take(self).bytes);
        }
    }
}

/// Keeps memory for the next queue.
fn spare(bytes: Vec<u8>) {
    if (LARGE..=MOST_KEPT).contains(&bytes.len()) {
        SPARE.set(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_taken_in_order_and_nothing_is_kept() {
        let mut queue = Queue::default();
        queue.push(b"abc");
        queue
            .push_with(8, |room| {
                room[..2].copy_from_slice(b"de");
                Ok::<_, ()>(2)
            })
            .unwrap();
        assert_eq!(queue.push_with(8, |_| Err(())), Err(()));
        queue.push(b"f");
        let mut room = [0; 4];
        assert_eq!((queue.take_into(&mut room), &room), (4, b"abcd"));
        assert_eq!(queue.rest(), b"ef");
        assert_eq!((queue.take_into(&mut room), &room[..2]), (2, &b"ef"[..]));
        assert!(queue.is_empty() && queue.weight() == 0);
    }

    #[test]
    fn what_waits_keeps_memory_for_its_bytes_alone() {
        let mut queue = Queue::default();
        queue
            .push_with(2 * LARGE, |room| {
                room[..5].copy_from_slice(b"abcde");
                Ok::<_, ()>(5)
            })
            .unwrap();
        queue.consume(2);
        queue.shrink();
        assert_eq!((queue.rest(), queue.weight()), (&b"cde"[..], 3));
        queue.push(b"f");
        assert_eq!(queue.rest(), b"cdef");
    }

    #[test]
    fn memory_goes_from_an_empty_queue_to_the_next_and_not_with_its_bytes() {
        let fill = |queue: &mut Queue, byte| {
            queue.push_with(LARGE, |room| {
                room[..100].fill(byte);
                Ok::<_, ()>(100)
            })
        };
        let (mut first, mut second) = (Queue::default(), Queue::default());
        fill(&mut first, b'x').unwrap();
        let memory = first.rest().as_ptr();
        first.consume(100);
        assert_eq!(first.weight(), 0);
        second.push_with(LARGE, |_| Ok::<_, ()>(0)).unwrap();
        assert_eq!((second.rest(), second.weight()), (&b""[..], 0));
        fill(&mut second, b'y').unwrap();
        assert_eq!((second.rest(), second.rest().as_ptr()), (&[b'y'; 100][..], memory));
    }
}
