//! Takes the framing off a message body, in place.
//!
//! The problem: reads do not respect framing. A read may end in the middle of a chunk's size line or hold a hundred
//! chunks, and the bytes after the body belong to the next message. The [`Decoder`] takes the bytes of each read,
//! reports which of them are data and how many it has consumed, and never copies data that is contiguous already.
//!
//! Not here: putting new framing on. That is `reframer`. No socket, no allocation.

use crate::http1::fields;
use crate::http1::framing::Framing;
use crate::http1::head::{self, Scan};
use std::ops::Range;

/// Bytes of a chunk extension, and separately of the white space before it. ronde drops both. AWS signs each chunk in
/// an extension of 81 bytes.
const MAX_EXTENSION: u32 = 1024;

/// Digits of a chunk's size: sixteen are 64 bits, and before them as many zeros as an extension has bytes. The grammar
/// sets no limit (RFC 9112 §7.1), and senders with a fixed width write zeros; but a size of zeros alone might never end.
const MAX_DIGITS: u32 = 16 + MAX_EXTENSION;

/// The largest size to which one more digit can be added without exceeding 63 bits, as for a Content-Length.
const MAX_BEFORE_DIGIT: u64 = i64::MAX as u64 >> 4;

/// Finds the end of one message body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoder {
    /// Bytes still to come.
    Length(u64),
    Chunked(Chunk, Blanks),
    UntilClose,
}

/// What becomes of white space between a chunk's size and its line end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blanks {
    /// The grammar has none there.
    Refused,
    /// Old servers pad their sizes. It has one reading only, and ronde writes new sizes.
    Skipped,
}

/// The part of the chunked coding (RFC 9112 §7.1) that the next byte belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk {
    Size {
        size: u64,
        digits: u32,
    },
    /// White space after the size: valid before an extension.
    Blank {
        size: u64,
        seen: u32,
    },
    Extension {
        size: u64,
        seen: u32,
    },
    SizeEnd {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataCr,
    DataLf,
    Trailers,
    Over,
}

/// The result of one call of [`Decoder::decode`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// Where the data is now, contiguous.
    pub data: Range<usize>,
    /// Bytes consumed from the front. The rest is incomplete framing, or not part of the body.
    pub consumed: usize,
    /// The trailer section with its final empty line; empty when there is none.
    pub trailers: Range<usize>,
    /// Whether the body has ended.
    pub ended: bool,
}

/// Why the bytes are not a body with this framing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    Chunk,
    Trailer,
    /// The connection ended before the body.
    Incomplete,
    /// The body exceeds its limit.
    TooLong,
}

impl Decoder {
    /// Of a request, or of another body that has to be what the grammar says.
    pub fn new(framing: Framing) -> Self {
        Self::with(framing, Blanks::Refused)
    }

    /// Of a response, whose client would lose all of it for a blank.
    pub fn of_response(framing: Framing) -> Self {
        Self::with(framing, Blanks::Skipped)
    }

    fn with(framing: Framing, blanks: Blanks) -> Self {
        match framing {
            Framing::Length(length) => Self::Length(length),
            Framing::Chunked => Self::Chunked(Chunk::Size { size: 0, digits: 0 }, blanks),
            Framing::UntilClose => Self::UntilClose,
        }
    }

    /// Whether the body has ended, so that the next byte belongs to another message.
    pub fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunk::Over, _))
    }

    /// Decodes `bytes`, which begin where the last call stopped consuming.
    ///
    /// # Errors
    /// [`Malformed::Chunk`] or [`Malformed::Trailer`]; after either, the decoder must not be used again.
    pub fn decode(&mut self, bytes: &mut [u8]) -> Result<Decoded, Malformed> {
        let plain =
            |length: usize, ended| Decoded { data: 0..length, consumed: length, trailers: 0..0, ended };
        match self {
            Self::Length(left) => {
                let length = bytes.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= length as u64;
                Ok(plain(length, *left == 0))
            }
            Self::UntilClose => Ok(plain(bytes.len(), false)),
            Self::Chunked(chunk, blanks) => decode_chunks(chunk, *blanks, bytes),
        }
    }

    /// How many of the next bytes are data, whatever they are.
    pub fn verbatim(&self) -> u64 {
        match self {
            Self::Length(left) => *left,
            Self::UntilClose => u64::MAX,
            // Long chunks are rare.
            Self::Chunked(..) => 0,
        }
    }

    /// So many of them were spliced.
    pub fn pass(&mut self, count: u64) {
        if let Self::Length(left) = self {
            *left = left.saturating_sub(count);
        }
    }

    /// The connection has ended, after bytes that were all passed to [`Decoder::decode`].
    ///
    /// # Errors
    /// [`Malformed::Incomplete`], unless the body ends with its connection or had ended before.
    pub fn closed(&mut self) -> Result<(), Malformed> {
        match self {
            Self::UntilClose => {
                *self = Self::Length(0);
                Ok(())
            }
            _ if self.is_over() => Ok(()),
            _ => Err(Malformed::Incomplete),
        }
    }
}

/// The first run of data stays in place; later runs move down to it, over the framing between them. Most reads lie
/// within one chunk, and move nothing.
fn decode_chunks(state: &mut Chunk, blanks: Blanks, bytes: &mut [u8]) -> Result<Decoded, Malformed> {
    let mut data = 0..0;
    let mut at = 0;
    let mut trailers = 0..0;
    while at < bytes.len() && *state != Chunk::Over {
        match state {
            Chunk::Data { left } => {
                let length = (bytes.len() - at).min(usize::try_from(*left).unwrap_or(usize::MAX));
                if data.is_empty() {
                    data = at..at + length;
                } else {
                    bytes.copy_within(at..at + length, data.end);
                    data.end += length;
                }
                at += length;
                *left -= length as u64;
                if *left == 0 {
                    *state = Chunk::DataCr;
                }
            }
            Chunk::Trailers => {
                let Some(length) = trailer_section(&bytes[at..])? else { break };
                if length > 2 {
                    trailers = at..at + length;
                }
                at += length;
                *state = Chunk::Over;
            }
            _ => {
                *state = state.after(bytes[at], blanks)?;
                at += 1;
            }
        }
    }
    Ok(Decoded { data, consumed: at, trailers, ended: *state == Chunk::Over })
}

impl Chunk {
    /// The state after one byte of framing. A bare LF is refused: a line end that only one of two implementations sees
    /// smuggles a chunk.
    fn after(self, byte: u8, blanks: Blanks) -> Result<Self, Malformed> {
        match (self, byte) {
            (Self::Size { size, digits }, _) if byte.is_ascii_hexdigit() => {
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                if size > MAX_BEFORE_DIGIT || digits == MAX_DIGITS {
                    return Err(Malformed::Chunk);
                }
                Ok(Self::Size { size: size << 4 | digit, digits: digits + 1 })
            }
            (Self::Size { digits: 0, .. }, _) => Err(Malformed::Chunk),
            (Self::Size { size, .. }, b'\r') => Ok(Self::SizeEnd { size }),
            (Self::Size { size, .. } | Self::Blank { size, .. }, b';') => {
                Ok(Self::Extension { size, seen: 0 })
            }
            (Self::Size { size, .. }, b' ' | b'\t') => Ok(Self::Blank { size, seen: 0 }),
            (Self::Blank { size, seen }, b' ' | b'\t') if seen < MAX_EXTENSION => {
                Ok(Self::Blank { size, seen: seen + 1 })
            }
            (Self::Blank { size, .. }, b'\r') if blanks == Blanks::Skipped => Ok(Self::SizeEnd { size }),
            (Self::Extension { size, .. }, b'\r') => Ok(Self::SizeEnd { size }),
            (Self::Extension { size, seen }, _) if fields::is_value_byte(byte) && seen < MAX_EXTENSION => {
                Ok(Self::Extension { size, seen: seen + 1 })
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Ok(Self::Trailers),
            (Self::SizeEnd { size }, b'\n') => Ok(Self::Data { left: size }),
            (Self::DataCr, b'\r') => Ok(Self::DataLf),
            (Self::DataLf, b'\n') => Ok(Self::Size { size: 0, digits: 0 }),
            _ => Err(Malformed::Chunk),
        }
    }
}

/// The length of the trailer section with its final empty line; `None` until all of it has been received.
fn trailer_section(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    match bytes {
        [] | [b'\r'] => return Ok(None),
        [b'\r', b'\n', ..] => return Ok(Some(2)),
        _ => {}
    }
    match head::scan(bytes) {
        Scan::Complete { end, .. } => head::trailers(&bytes[..end], |_| Some(end)).ok_or(Malformed::Trailer),
        Scan::Partial => Ok(None),
        Scan::Hopeless(_) => Err(Malformed::Trailer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Data, trailers, and the bytes left over.
    type Found = (Vec<u8>, Vec<u8>, Vec<u8>);

    /// Decodes the pieces as separate reads would bring them.
    fn decode(framing: Framing, pieces: &[&[u8]]) -> Result<Found, Malformed> {
        let mut decoder = Decoder::new(framing);
        let (mut buffer, mut data, mut trailers) = (vec![], vec![], vec![]);
        for piece in pieces {
            buffer.extend_from_slice(piece);
            let decoded = decoder.decode(&mut buffer)?;
            data.extend_from_slice(&buffer[decoded.data]);
            trailers.extend_from_slice(&buffer[decoded.trailers]);
            buffer.drain(..decoded.consumed);
            assert_eq!(decoded.ended, decoder.is_over());
        }
        decoder.closed()?;
        Ok((data, trailers, buffer))
    }

    #[test]
    fn bodies() {
        for (framing, bytes, data, trailers, rest) in [
            (Framing::Length(3), &b"abcd"[..], &b"abc"[..], &b""[..], &b"d"[..]),
            (Framing::Length(0), b"abc", b"", b"", b"abc"),
            (Framing::UntilClose, b"abc", b"abc", b"", b""),
            (Framing::Chunked, b"0\r\n\r\nGET", b"", b"", b"GET"),
            (Framing::Chunked, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", b"", b""),
            (Framing::Chunked, b"00A;x=\"y\"\r\n0123456789\r\n0 ;z\r\n\r\n", b"0123456789", b"", b""),
            (Framing::Chunked, b"0000000000000005\r\nabcde\r\n00000000000000000\r\n\r\n", b"abcde", b"", b""),
            (Framing::Chunked, b"1\r\na\r\n0\r\nT: u\r\nV: w\r\n\r\nx", b"a", b"T: u\r\nV: w\r\n\r\n", b"x"),
        ] {
            let expected = Ok((data.to_vec(), trailers.to_vec(), rest.to_vec()));
            assert_eq!(decode(framing, &[bytes]), expected);
        }
    }

    #[test]
    fn a_response_may_pad_its_sizes() {
        let mut decoder = Decoder::of_response(Framing::Chunked);
        let mut bytes = *b"2  \r\nab\r\n1\t \r\nc\r\n0 \r\n\r\nx";
        let decoded = decoder.decode(&mut bytes).unwrap();
        assert_eq!(
            (&bytes[decoded.data], decoded.consumed, decoded.ended),
            (&b"abc"[..], bytes.len() - 1, true)
        );
        for bytes in [&b" 1\r\na\r\n"[..], b"1 1\r\n", b"1 \n", b" \r\n"] {
            let decoded = Decoder::of_response(Framing::Chunked).decode(&mut bytes.to_vec());
            assert_eq!(decoded, Err(Malformed::Chunk), "{bytes:?}");
        }
        let blanks = [&b"1"[..], &[b' '; MAX_EXTENSION as usize + 2], b"\r\n"].concat();
        assert_eq!(Decoder::of_response(Framing::Chunked).decode(&mut blanks.clone()), Err(Malformed::Chunk));
    }

    #[test]
    fn malformed_bodies() {
        for bytes in [
            &b"\r\n"[..],
            b"g\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\na\r\n",
            b" 1\r\na\r\n",
            b"1 \r\na\r\n",
            b"1\na\n",
            b"1\r\nab\r\n",
            b"1\r\na\n",
            b"1\r\na\rb",
            b"1;a\nb\r\n",
            b"1;a\rb\r\n",
            b"1;\0\r\n",
            b"8000000000000000\r\n",
            b"10000000000000000\r\n",
            b"fffffffffffffffff\r\n",
        ] {
            assert_eq!(decode(Framing::Chunked, &[bytes]), Err(Malformed::Chunk), "{bytes:?}");
        }
        for bytes in [
            &b"0\r\nT : u\r\n\r\n"[..],
            b"0\r\nT: u\n\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\nT: u\r\n v\r\n\r\n",
        ] {
            assert_eq!(decode(Framing::Chunked, &[bytes]), Err(Malformed::Trailer), "{bytes:?}");
        }
        for bytes in [&b""[..], b"5", b"5\r\nabc", b"3\r\nabc\r\n", b"0\r\n", b"0\r\nT: u\r\n"] {
            assert_eq!(decode(Framing::Chunked, &[bytes]), Err(Malformed::Incomplete), "{bytes:?}");
        }
        assert_eq!(decode(Framing::Length(4), &[b"abc"]), Err(Malformed::Incomplete));
        let extended = |count: usize| [&b"1;"[..], &vec![b'x'; count], b"\r\na\r\n0\r\n\r\n"].concat();
        assert_eq!(decode(Framing::Chunked, &[&extended(MAX_EXTENSION as usize + 1)]), Err(Malformed::Chunk));
        assert!(decode(Framing::Chunked, &[&extended(MAX_EXTENSION as usize)]).is_ok());
        let zeros = |count: usize| [&vec![b'0'; count][..], b"1\r\na\r\n0\r\n\r\n"].concat();
        assert_eq!(decode(Framing::Chunked, &[&zeros(MAX_DIGITS as usize)]), Err(Malformed::Chunk));
        assert!(decode(Framing::Chunked, &[&zeros(MAX_DIGITS as usize - 1)]).is_ok());
        // The largest size: its data is still to come.
        for largest in ["7fffffffffffffff", "00007FFFFFFFFFFFFFFF"] {
            let bytes = format!("{largest}\r\n");
            assert_eq!(decode(Framing::Chunked, &[bytes.as_bytes()]), Err(Malformed::Incomplete));
        }
    }

    fn chunked(chunks: &[Vec<u8>], trailers: &[u8]) -> Vec<u8> {
        let mut bytes = vec![];
        for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
            bytes.extend(format!("{:x}\r\n", chunk.len()).bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend(b"\r\n");
        }
        [&bytes, &b"0\r\n"[..], trailers, b"\r\n"].concat()
    }

    proptest! {
        #[test]
        fn any_split_gives_the_same_body(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            with_trailers: bool,
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let trailers = if with_trailers { &b"T: u\r\n"[..] } else { b"" };
            let mut bytes = chunked(&chunks, trailers);
            bytes.extend(b"next");
            let mut ends: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            ends.push(bytes.len());
            ends.sort_unstable();
            let pieces: Vec<_> = std::iter::once(&0).chain(&ends).zip(&ends).map(|(a, b)| &bytes[*a..*b]).collect();
            let (data, found, rest) = decode(Framing::Chunked, &pieces).unwrap();
            prop_assert_eq!(data, chunks.concat());
            prop_assert_eq!(found.is_empty(), !with_trailers);
            prop_assert_eq!(rest, b"next");
        }

        #[test]
        fn garbage_never_panics_and_never_consumes_too_much(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = bytes;
            if let Ok(decoded) = Decoder::new(Framing::Chunked).decode(&mut bytes) {
                prop_assert!(decoded.consumed <= bytes.len() && decoded.data.end <= decoded.consumed);
            }
        }
    }
}
