//! Bytes that are taken from the front and added at the back.
//!
//! The problem: what waits between the socket and the conversation is nearly always nothing, and ten thousand idle clients
//! must not keep room for it. So an empty queue has no memory.

/// See the module.
#[derive(Debug, Default)]
pub struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub fn rest(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Adds what `write` puts into `room` bytes; it returns how many those are.
    pub fn push_with<E>(
        &mut self,
        room: usize,
        write: impl FnOnce(&mut [u8]) -> Result<usize, E>,
    ) -> Result<(), E> {
        let end = self.bytes.len();
        self.bytes.resize(end + room, 0);
        let written = write(&mut self.bytes[end..]);
        self.bytes.truncate(end + written.as_ref().copied().unwrap_or(0).min(room));
        written.map(|_| ())
    }

    /// Drops `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        self.start += count;
        if self.start >= self.bytes.len() {
            *self = Self::default();
        }
    }

    /// Moves as much as fits into `room`; returns how much that is.
    pub fn take_into(&mut self, room: &mut [u8]) -> usize {
        let count = room.len().min(self.rest().len());
        room[..count].copy_from_slice(&self.rest()[..count]);
        self.consume(count);
        count
    }

    /// Bytes of memory.
    pub fn weight(&self) -> usize {
        self.bytes.capacity()
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
        let mut room = [0; 4];
        assert_eq!((queue.take_into(&mut room), &room), (4, b"abcd"));
        assert_eq!(queue.rest(), b"e");
        assert_eq!((queue.take_into(&mut room), room[0]), (1, b'e'));
        assert!(queue.is_empty() && queue.weight() == 0);
    }
}
