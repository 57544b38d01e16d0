//! Bytes that were read and not yet consumed.
//!
//! The problem: heads, bodies and the next pipelined request arrive in one stream, split anywhere. A buffer belongs to
//! a worker, not to a connection: ten thousand idle connections need none.
//!
//! Not here: reading. `conn` fills the free part.

/// The most that one read of a body takes, in bytes. Larger reads gain nothing on loopback and cost cache misses.
pub const READ_SIZE: usize = 64 * 1024;

/// A fixed allocation; the filled part lies anywhere in it, with free space on both sides.
#[derive(Debug)]
pub struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// The kernel hands out zeroed pages on first touch, so an unused buffer costs no memory.
    pub fn new(capacity: usize) -> Self {
        Self { bytes: vec![0; capacity].into_boxed_slice(), start: 0, end: 0 }
    }

    pub fn capacity(&self) -> usize {
        self.bytes.len()
    }

    pub fn filled(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    pub fn filled_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    pub fn is_full(&self) -> bool {
        self.end - self.start == self.bytes.len()
    }

    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// The free space behind the filled part. Empty only when the buffer is full.
    pub fn room(&mut self) -> &mut [u8] {
        if self.is_empty() {
            self.clear();
        } else if self.start > 0 && self.end > self.bytes.len() / 2 {
            // Few bytes move: after a consumed message, only the start of the next one is left.
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.bytes[self.end..]
    }

    /// The same, limited to [`READ_SIZE`].
    pub fn one_read(&mut self) -> &mut [u8] {
        let room = self.room();
        let length = room.len().min(READ_SIZE);
        &mut room[..length]
    }

    /// Marks the first `count` bytes of [`Self::room`] as filled.
    pub fn grew(&mut self, count: usize) {
        self.end = (self.end + count).min(self.bytes.len());
    }

    /// Drops `count` bytes from the front.
    pub fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
    }

    pub fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }

    /// Replaces the contents with as many of `bytes` as fit.
    pub fn refill(&mut self, bytes: &[u8]) {
        self.clear();
        let count = bytes.len().min(self.bytes.len());
        self.bytes[..count].copy_from_slice(&bytes[..count]);
        self.end = count;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_order_while_the_buffer_compacts() {
        let mut buffer = Buffer::new(8);
        let (mut written, mut read) = (0u8, 0u8);
        for step in [3, 5, 8, 1, 7, 2, 6, 4].iter().cycle().take(500) {
            let room = buffer.room();
            let count = room.len().min(*step);
            for byte in &mut room[..count] {
                *byte = written;
                written = written.wrapping_add(1);
            }
            buffer.grew(count);
            let consumed = buffer.len() / 2 + 1;
            for &byte in &buffer.filled()[..consumed] {
                assert_eq!(byte, read);
                read = read.wrapping_add(1);
            }
            buffer.consume(consumed);
        }
        assert!(written > 100 || read > 100);
    }

    #[test]
    fn a_full_buffer_has_no_room_until_something_is_consumed() {
        let mut buffer = Buffer::new(4);
        buffer.refill(b"abcdef");
        assert!(buffer.is_full() && buffer.room().is_empty());
        buffer.consume(1);
        assert_eq!(buffer.room().len(), 1);
        assert_eq!(buffer.filled(), b"bcd");
    }
}
