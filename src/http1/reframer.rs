//! A body on its way: framing off on one side, framing on again on the other.
//!
//! The problem: what goes on must be framed afresh, must leave in one write where it can, and may leave in parts
//! when the peer is slow. A [`Reframer`] holds what was decoded and not yet sent as a list of parts (a head that
//! goes with it, a chunk's size line, the data in the reader's buffer, the ending), and knows how far they went.
//!
//! Not here: sockets. `relay` reads into the buffer and writes the parts, blocking or not.

use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::forward;
use crate::http1::framing::{Coding, Framing};
use std::io::IoSlice;
use std::ops::Range;

/// One direction of one message, from the first byte of its body to its end.
#[derive(Debug)]
pub struct Reframer {
    decoder: Decoder,
    coding: Coding,
    size_line: SizeLine,
    data: Range<usize>,
    consumed: usize,
    ending: &'static [u8],
    trailers: Vec<u8>,
    /// Length of the lead, as long as it has not gone out.
    lead: usize,
    /// Of all parts together, the lead included.
    sent: usize,
    state: State,
    moved: u64,
    most: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is loaded but, perhaps, the lead.
    Hungry,
    Loaded,
    /// The ending is loaded, or was sent.
    Last,
}

/// The parts of one write: the lead, the size line, the data, the ending, the trailers.
pub type Parts<'a> = [IoSlice<'a>; 5];

impl Reframer {
    /// A body, and a head of `lead` bytes that goes before it in the same write.
    pub fn new(decoder: Decoder, coding: Coding, lead: usize) -> Self {
        let mut reframer = Self {
            decoder,
            coding,
            size_line: SizeLine::default(),
            data: 0..0,
            consumed: 0,
            ending: b"",
            trailers: Vec::new(),
            lead,
            sent: 0,
            state: State::Hungry,
            moved: 0,
            most: u64::MAX,
        };
        if reframer.decoder.is_over() {
            reframer.end();
        }
        reframer
    }

    /// Of a body that is none.
    pub fn nothing() -> Self {
        Self::new(Decoder::new(Framing::Length(0)), Coding::Plain, 0)
    }

    /// The same, for a body that may not be longer than this.
    pub fn at_most(self, most: Option<u64>) -> Self {
        Self { most: most.unwrap_or(u64::MAX), ..self }
    }

    /// Takes what was read, all of `bytes`; [`Reframer::sent`] says later how many of them are done with.
    ///
    /// # Errors
    /// See [`Decoder::decode`]; [`Malformed::TooLong`] before a byte too many is passed on.
    pub fn load(&mut self, bytes: &mut [u8]) -> Result<(), Malformed> {
        debug_assert!(self.state != State::Loaded);
        if self.state == State::Last || bytes.is_empty() {
            return Ok(());
        }
        let decoded = self.decoder.decode(bytes)?;
        self.moved += decoded.data.len() as u64;
        if self.moved > self.most {
            return Err(Malformed::TooLong);
        }
        self.consumed = decoded.consumed;
        self.data = decoded.data;
        self.state = State::Loaded;
        if decoded.ended {
            if self.coding == Coding::Chunked && !decoded.trailers.is_empty() {
                forward::trailers(&mut self.trailers, &bytes[decoded.trailers]);
            }
            self.end();
        } else if self.coding != Coding::Plain && !self.data.is_empty() {
            self.size_line = SizeLine::new(self.data.len());
            self.ending = b"\r\n";
        }
        Ok(())
    }

    /// The source ended: what was not loaded yet never comes.
    ///
    /// # Errors
    /// [`Malformed::Incomplete`] when the body does not end with its connection.
    pub fn closed(&mut self) -> Result<(), Malformed> {
        self.decoder.closed()?;
        if self.state == State::Hungry {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.state = State::Last;
        if self.coding == Coding::Plain {
            return;
        }
        let has_data = !self.data.is_empty();
        if has_data {
            self.size_line = SizeLine::new(self.data.len());
        }
        self.ending = match (has_data, self.trailers.is_empty()) {
            (true, true) => b"\r\n0\r\n\r\n",
            (true, false) => b"\r\n0\r\n",
            (false, true) => b"0\r\n\r\n",
            (false, false) => b"0\r\n",
        };
    }

    /// What is still to be sent: `lead`, if it has not gone out, and what was loaded from `bytes`.
    pub fn parts<'a>(&'a self, lead: &'a [u8], bytes: &'a [u8]) -> Parts<'a> {
        let data = &bytes[self.data.clone()];
        let mut parts = [&lead[..self.lead], self.size_line.bytes(), data, self.ending, &self.trailers];
        let mut sent = self.sent;
        for part in &mut parts {
            let skipped = sent.min(part.len());
            *part = &part[skipped..];
            sent -= skipped;
        }
        parts.map(IoSlice::new)
    }

    /// Counts bytes as sent. When everything is out, returns how many bytes of the buffer are done with.
    pub fn sent(&mut self, count: usize) -> Option<usize> {
        self.sent += count;
        if self.sent < self.loaded() {
            return None;
        }
        self.lead = 0;
        self.sent = 0;
        self.size_line = SizeLine::default();
        self.data = 0..0;
        self.ending = b"";
        self.trailers.clear();
        if self.state == State::Loaded {
            self.state = State::Hungry;
        }
        Some(std::mem::take(&mut self.consumed))
    }

    /// Bytes for the wire that are not all out yet.
    pub fn loaded(&self) -> usize {
        self.lead + self.size_line.bytes().len() + self.data.len() + self.ending.len() + self.trailers.len()
    }

    /// Bytes of what was loaded that belong to the body.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Whether the source has to be read for anything more.
    pub fn is_hungry(&self) -> bool {
        self.state == State::Hungry
    }

    /// Whether the end of the body has been decoded; it may still have to be sent.
    pub fn is_at_end(&self) -> bool {
        self.state == State::Last
    }

    /// Whether the body has ended and all of it went out.
    pub fn is_over(&self) -> bool {
        self.is_at_end() && self.loaded() == 0
    }

    /// Bytes of body that were decoded, without any framing.
    pub fn moved(&self) -> u64 {
        self.moved
    }
}

/// A chunk's size line, at most 16 hexadecimal digits and a line end.
#[derive(Clone, Copy, Debug, Default)]
struct SizeLine {
    bytes: [u8; 18],
    length: usize,
}

impl SizeLine {
    fn new(size: usize) -> Self {
        let mut line = Self::default();
        let digits = (usize::BITS - size.leading_zeros()).div_ceil(4).max(1) as usize;
        for (index, byte) in line.bytes[..digits].iter_mut().enumerate() {
            let nibble = size >> (4 * (digits - 1 - index)) & 0xf;
            *byte = b"0123456789abcdef"[nibble];
        }
        line.bytes[digits..digits + 2].copy_from_slice(b"\r\n");
        line.length = digits + 2;
        line
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Passes `input` through, reading `read` bytes at a time and writing `write` bytes at a time.
    fn pass(
        framing: Framing,
        coding: Coding,
        input: &[u8],
        read: usize,
        write: usize,
    ) -> Result<Vec<u8>, Malformed> {
        let lead = b"HEAD\r\n\r\n";
        let mut reframer = Reframer::new(Decoder::new(framing), coding, lead.len());
        let (mut buffer, mut output) = (vec![], vec![]);
        let mut reads = input.chunks(read);
        loop {
            if reframer.is_hungry() {
                match reads.next() {
                    Some(piece) => {
                        buffer.extend_from_slice(piece);
                        reframer.load(&mut buffer)?;
                    }
                    None => reframer.closed()?,
                }
            }
            loop {
                let parts = reframer.parts(lead, &buffer);
                let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).take(write).collect();
                output.extend_from_slice(&bytes);
                if let Some(consumed) = reframer.sent(bytes.len()) {
                    buffer.drain(..consumed);
                    break;
                }
            }
            if reframer.is_over() {
                return Ok(output);
            }
        }
    }

    #[test]
    fn framing_is_made_afresh() {
        for (framing, coding, input, output) in [
            (Framing::Length(0), Coding::Plain, &b""[..], &b"HEAD\r\n\r\n"[..]),
            (Framing::Length(3), Coding::Plain, b"abc", b"HEAD\r\n\r\nabc"),
            (Framing::Chunked, Coding::Chunked, b"0\r\n\r\n", b"HEAD\r\n\r\n0\r\n\r\n"),
            (
                Framing::Chunked,
                Coding::Chunked,
                b"1;x\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
                b"HEAD\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
            ),
            (Framing::Chunked, Coding::Plain, b"1\r\na\r\n0\r\nT: u\r\n\r\n", b"HEAD\r\n\r\na"),
            (
                Framing::Chunked,
                Coding::ChunkedAlone,
                b"1\r\na\r\n0\r\nT: u\r\n\r\n",
                b"HEAD\r\n\r\n1\r\na\r\n0\r\n\r\n",
            ),
            (
                Framing::UntilClose,
                Coding::Chunked,
                b"abcdefghijklmnopq",
                b"HEAD\r\n\r\n11\r\nabcdefghijklmnopq\r\n0\r\n\r\n",
            ),
            (
                Framing::Chunked,
                Coding::Chunked,
                b"1\r\na\r\n0\r\nT: u\r\nHost: x\r\n\r\n",
                b"HEAD\r\n\r\n1\r\na\r\n0\r\nT: u\r\n\r\n",
            ),
        ] {
            assert_eq!(pass(framing, coding, input, 1000, 1000).as_deref(), Ok(output));
        }
        assert_eq!(pass(Framing::Length(3), Coding::Plain, b"ab", 9, 9), Err(Malformed::Incomplete));
        assert_eq!(pass(Framing::Chunked, Coding::Plain, b"1\r\na", 9, 9), Err(Malformed::Incomplete));
    }

    #[test]
    fn size_lines() {
        for (size, line) in [
            (0, "0\r\n"),
            (1, "1\r\n"),
            (16, "10\r\n"),
            (65536, "10000\r\n"),
            (usize::MAX, "ffffffffffffffff\r\n"),
        ] {
            assert_eq!(SizeLine::new(size).bytes(), line.as_bytes());
        }
    }

    proptest! {
        #[test]
        fn any_rhythm_of_reads_and_writes_passes_the_same_body(
            data in prop::collection::vec(any::<u8>(), 0..300), read in 1usize..64, write in 1usize..64,
        ) {
            let plain = pass(Framing::Length(data.len() as u64), Coding::Plain, &data, read, write).unwrap();
            prop_assert_eq!(&plain[8..], &data[..]);
            let coded = pass(Framing::UntilClose, Coding::Chunked, &data, read, write).unwrap();
            let back = pass(Framing::Chunked, Coding::Plain, &coded[8..], write, read).unwrap();
            prop_assert_eq!(&back[8..], &data[..]);
        }
    }
}
