//! The chunked coding: a body is the same however it is cut, ends where it ends, and is what a naive parser reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::chunked::{Decoder, Malformed};
use ronde::http1::framing::Framing;
use ronde::http1::head::MAX_TRAILERS;
use ronde_fuzz::gateway::Rhythm;
use ronde_fuzz::{chunked, section};

/// Data, trailer section, and what is left.
type Found = (Vec<u8>, Vec<u8>, Vec<u8>);

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let (lengths, bytes) = input;
    let found = decode([bytes].into_iter());
    let rhythm = Rhythm { reads: &lengths.map(usize::from), ..Rhythm::AT_ONCE };
    assert_eq!(decode(rhythm.pieces(bytes)), found);
    match (found, chunked(bytes)) {
        (Ok((data, trailers, left)), Ok((body, behind))) => {
            assert_eq!((data, left.len()), (body.data, behind));
            let trailers = if trailers.is_empty() { Ok(vec![]) } else { section(&trailers) };
            assert_eq!(trailers, Ok(body.trailers));
        }
        (Err(_), Ok((body, _))) => assert!(body.trailers.len() > MAX_TRAILERS || body.extension > 1024),
        (Err(_), Err(_)) => {}
        (Ok(_), Err(fault)) => panic!("{fault:?}"),
    }
});

/// Feeds the pieces as a socket would.
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
        assert!(!was_over || decoded.consumed == 0, "consumed behind the end");
        data.extend(&buffer[decoded.data]);
        section.extend(&buffer[decoded.trailers]);
        buffer.drain(..decoded.consumed);
    }
    decoder.closed()?;
    Ok((data, section, buffer))
}
