//! Re-frames a body: takes the received framing off and puts new framing on.
//!
//! The problem: a body must be framed afresh for the next hop, should leave in one write, and may leave in several when
//! the peer is slow. A [`Reframer`] keeps the bytes that are decoded but not yet sent as a list of parts (the head
//! before the body, a chunk's size line, the data in the reader's buffer, the ending, the trailers), and counts how
//! many of these bytes have been sent.
//!
//! Not here: sockets. `relay` reads into the buffer and writes the parts, blocking or not.

use crate::http1::chunked::{Decoder, Malformed};
use crate::http1::forward::{self, Edits};
use crate::http1::framing::Coding;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

/// One direction of one message, from the first byte of its body to the last.
#[derive(Debug)]
pub struct Reframer {
    decoder: Decoder,
    coding: Coding,
    size_line: SizeLine,
    data: Range<usize>,
    consumed: usize,
    ending: &'static [u8],
    trailers: Vec<u8>,
    /// Length of the lead; zero once it has been sent.
    lead: usize,
    /// Bytes sent of all parts together, the lead included.
    sent: usize,
    state: State,
    moved: u64,
    /// The most that `moved` may become.
    max_length: u64,
    /// Those of the head, which hold for the trailers, too.
    edits: Option<Arc<Edits>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing is loaded, except perhaps the lead.
    Empty,
    Loaded,
    /// The ending is loaded, or has been sent.
    Ended,
}

/// The parts of one write: the lead, the size line, the data, the ending, the trailers.
pub type Parts<'a> = [IoSlice<'a>; 5];

impl Reframer {
    /// A body, and the lead: a head of `lead` bytes that is sent before it, in the same write.
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
            state: State::Empty,
            moved: 0,
            max_length: u64::MAX,
            edits: None,
        };
        if reframer.decoder.is_over() {
            reframer.end();
        }
        reframer
    }

    /// Limits the body to so many bytes; `None` is no limit.
    pub fn at_most(self, limit: Option<u64>) -> Self {
        Self { max_length: limit.unwrap_or(u64::MAX), ..self }
    }

    /// Leaves out the trailers that these edits do not let pass.
    pub fn edited(self, edits: Option<&Arc<Edits>>) -> Self {
        Self { edits: edits.cloned(), ..self }
    }

    /// Decodes `bytes`, all bytes in the reader's buffer. [`Reframer::sent`] returns later how many of them to drop.
    ///
    /// # Errors
    /// See [`Decoder::decode`]. [`Malformed::TooLong`] if the body exceeds its limit; no byte beyond it is sent.
    pub fn load(&mut self, bytes: &mut [u8]) -> Result<(), Malformed> {
        debug_assert!(self.state != State::Loaded);
        if self.state == State::Ended || bytes.is_empty() {
            return Ok(());
        }
        let decoded = self.decoder.decode(bytes)?;
        self.moved += decoded.data.len() as u64;
        if self.moved > self.max_length {
            return Err(Malformed::TooLong);
        }
        self.consumed = decoded.consumed;
        self.data = decoded.data;
        self.state = State::Loaded;
        if decoded.ended {
            if self.coding == Coding::Chunked && !decoded.trailers.is_empty() {
                forward::trailers(&mut self.trailers, &bytes[decoded.trailers], self.edits.as_deref());
            }
            self.end();
        } else if self.coding != Coding::Plain && !self.data.is_empty() {
            self.size_line = SizeLine::new(self.data.len());
            self.ending = b"\r\n";
        }
        Ok(())
    }

    /// How many of the next bytes go out verbatim, whatever they are: so many may be spliced.
    pub fn verbatim(&self) -> u64 {
        match (self.state, self.coding, self.lead) {
            (State::Empty, Coding::Plain, 0) => self.decoder.verbatim().min(self.max_length - self.moved),
            _ => 0,
        }
    }

    /// So many of them were spliced.
    pub fn passed(&mut self, count: usize) {
        self.moved += count as u64;
        self.decoder.pass(count as u64);
        if self.decoder.is_over() {
            self.end();
        }
    }

    /// The source has closed: no more bytes will come.
    ///
    /// # Errors
    /// [`Malformed::Incomplete`], unless the body is complete or ends with its connection.
    pub fn closed(&mut self) -> Result<(), Malformed> {
        self.decoder.closed()?;
        if self.state == State::Empty {
            self.end();
        }
        Ok(())
    }

    fn end(&mut self) {
        self.state = State::Ended;
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

    /// The bytes still to be sent: of `lead`, and of the parts loaded from `bytes`.
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

    /// Counts bytes as sent. Returns how many bytes to drop from the front of the buffer: those of data that were sent, and
    /// once all parts are sent, everything that was loaded. So what a slow peer keeps in memory is what it has not taken.
    pub fn sent(&mut self, count: usize) -> usize {
        self.sent += count;
        if self.sent >= self.loaded() {
            (self.lead, self.sent, self.data, self.ending) = (0, 0, 0..0, b"");
            self.size_line = SizeLine::default();
            self.trailers.clear();
            if self.state == State::Loaded {
                self.state = State::Empty;
            }
            return std::mem::take(&mut self.consumed);
        }
        let Some(into_data) = self.sent.checked_sub(self.lead + self.size_line.bytes().len()) else {
            return 0;
        };
        let sent = into_data.min(self.data.len());
        let dropped = self.data.start + sent;
        (self.lead, self.sent, self.data) = (0, into_data - sent, 0..self.data.len() - sent);
        self.size_line = SizeLine::default();
        self.consumed -= dropped;
        dropped
    }

    /// Whether the lead, or a part of it, is still to be sent.
    pub fn has_lead(&self) -> bool {
        self.lead > 0
    }

    /// Length of the current parts, including the bytes of them that were sent; zero when there is nothing to send.
    pub fn loaded(&self) -> usize {
        self.lead + self.size_line.bytes().len() + self.data.len() + self.ending.len() + self.trailers.len()
    }

    /// Bytes of the buffer that are loaded: of the body, with its framing.
    pub fn consumed(&self) -> usize {
        self.consumed
    }

    /// Whether the decoder needs more bytes from the source.
    pub fn is_hungry(&self) -> bool {
        self.state == State::Empty
    }

    /// Bytes of memory that it keeps, beside itself.
    pub fn weight(&self) -> usize {
        self.trailers.capacity()
    }

    /// Whether the end of the body has been decoded; it may still have to be sent.
    pub fn is_at_end(&self) -> bool {
        self.state == State::Ended
    }

    /// Whether the body has ended and all of it has been sent.
    pub fn is_over(&self) -> bool {
        self.is_at_end() && self.loaded() == 0
    }

    /// Bytes of the body decoded so far, without its framing.
    pub fn moved(&self) -> u64 {
        self.moved
    }
}

/// A chunk's size line, at most 16 hexadecimal digits and a line end.
#[derive(Clone, Copy, Debug, Default)]
struct SizeLine {
    bytes: [u8; 18],
    /// In a byte, since each parked transfer keeps one.
    length: u8,
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
        line.length = digits as u8 + 2;
        line
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http1::framing::Framing;
    use proptest::prelude::*;

    /// Passes `input` through a re-framer, reading `read` bytes at a time and writing `write` bytes at a time.
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
                buffer.drain(..reframer.sent(bytes.len()));
                if reframer.loaded() == 0 {
                    break;
                }
            }
            if reframer.is_over() {
                return Ok(output);
            }
        }
    }

    #[test]
    fn bodies_are_framed_afresh() {
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
    fn what_passes_elsewhere_counts_as_decoded() {
        let of = |framing, coding| Reframer::new(Decoder::new(framing), coding, 0);
        let mut reframer = of(Framing::Length(10), Coding::Plain);
        assert_eq!(reframer.verbatim(), 10);
        reframer.passed(6);
        reframer.load(&mut b"abcdef".to_vec()).unwrap();
        assert_eq!((reframer.verbatim(), reframer.consumed(), reframer.moved()), (0, 4, 10));
        reframer.sent(4);
        assert!(reframer.is_over());
        let mut reframer = of(Framing::Length(3), Coding::Plain).at_most(Some(2));
        assert_eq!(reframer.verbatim(), 2);
        reframer.passed(2);
        assert_eq!((reframer.verbatim(), reframer.closed()), (0, Err(Malformed::Incomplete)));
        let mut reframer = of(Framing::UntilClose, Coding::Plain);
        reframer.passed(1 << 20);
        assert!(reframer.verbatim() > 1 << 40 && !reframer.is_at_end());
        reframer.closed().unwrap();
        assert!(reframer.is_over());
        // Where framing is put on or taken off, every byte is looked at.
        for (framing, coding) in [(Framing::Chunked, Coding::Plain), (Framing::UntilClose, Coding::Chunked)] {
            assert_eq!(of(framing, coding).verbatim(), 0);
        }
        // A head goes before, in the same write.
        assert_eq!(Reframer::new(Decoder::new(Framing::Length(10)), Coding::Plain, 5).verbatim(), 0);
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
