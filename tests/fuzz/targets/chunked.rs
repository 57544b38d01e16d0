//! The chunked coding: however a body is split, the decoder yields the same data and the same end as the second parser.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::chunked::{Decoder, Malformed};
use ronde::http1::framing::Framing;
use ronde::http1::head::MAX_TRAILERS;
use ronde_fuzz::gateway::IoSizes;
use ronde_fuzz::{chunked, section};

/// Data, trailer section, and the bytes after the body.
type Found = (Vec<u8>, Vec<u8>, Vec<u8>);

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let (lengths, bytes) = input;
    let found = decode([bytes].into_iter());
    let sizes = IoSizes { reads: &lengths.map(usize::from), ..IoSizes::AT_ONCE };
    assert_eq!(decode(sizes.pieces(bytes)), found);
    match (found, chunked(bytes)) {
        (Ok((data, trailers, left)), Ok((body, rest))) => {
            assert_eq!((data, left.len()), (body.data, rest));
            let trailers = if trailers.is_empty() { Ok(vec![]) } else { section(&trailers) };
            assert_eq!(trailers, Ok(body.trailers));
        }
        (Err(_), Ok((body, _))) => assert!(body.trailers.len() > MAX_TRAILERS || body.padding > 1024),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(fault)) => panic!("{fault:?}"),
    }
});

/// Feeds the pieces to a decoder as a socket would.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Found, Malformed> {
    let mut decoder = Decoder::new(Framing::Chunked);
    let (mut data, mut section, mut buffer) = Found::default();
    for piece in pieces {
        buffer.extend(piece);
        let before = buffer.clone();
        let was_over = decoder.is_over();
        let decoded = decoder.decode(&mut buffer)?;
        assert_eq!(decoded.ended, decoder.is_over());
        assert!(decoded.data.end <= decoded.consumed);
        assert_eq!(buffer[decoded.consumed..], before[decoded.consumed..]);
        assert!(!was_over || decoded.consumed == 0, "bytes after the end were consumed");
        data.extend(&buffer[decoded.data]);
        section.extend(&buffer[decoded.trailers]);
        buffer.drain(..decoded.consumed);
    }
    decoder.closed()?;
    Ok((data, section, buffer))
}
