//! A body that is reframed: whatever its framing on either side, and whatever the sizes of reads and writes, the same
//! body arrives, or a prefix that no parser takes for the whole.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::chunked::{Decoder, Malformed};
use ronde::http1::framing::{Coding, Framing};
use ronde::http1::reframer::Reframer;
use ronde_fuzz::chunked;
use ronde_fuzz::gateway::{IoSizes, pump};
use ronde_fuzz::strict::Fault;

const LEAD: &[u8] = b"HEAD\r\n\r\n";

fuzz_target!(|input: (u8, u16, [u8; 4], &[u8])| {
    let (choice, number, [write, reads @ ..], source) = input;
    let framing = match choice & 3 {
        0 => Framing::Length(number.into()),
        1 => Framing::UntilClose,
        _ => Framing::Chunked,
    };
    let coding = match choice >> 2 & 3 {
        0 | 1 => Coding::Plain,
        2 => Coding::Chunked,
        _ => Coding::ChunkedAlone,
    };
    let most = (choice & 16 != 0).then_some(u64::from(number / 2));
    let reads = reads.map(usize::from);
    let sizes = IoSizes { reads: &reads, write: write.into() };
    let reframer = Reframer::new(Decoder::new(framing), coding, LEAD.len()).at_most(most);
    let sent = pump(reframer, LEAD, Vec::new(), sizes.pieces(source), sizes.write);

    // The data, and the number of bytes after the body.
    let expected = match framing {
        Framing::Length(length) => {
            source.split_at_checked(length as usize).map(|(data, rest)| (data.to_vec(), rest.len()))
        }
        Framing::UntilClose => Some((source.to_vec(), 0)),
        Framing::Chunked => chunked(source).ok().map(|(body, rest)| (body.data, rest)),
    };
    let body = sent.bytes.strip_prefix(LEAD);
    let arrived = match coding {
        Coding::Plain => body.map(|body| (body.to_vec(), 0)).ok_or(Fault::Incomplete),
        Coding::Chunked | Coding::ChunkedAlone => {
            chunked(body.unwrap_or_default()).map(|(body, rest)| (body.data, rest))
        }
    };
    match (sent.end, expected) {
        (Ok(()), Some((data, rest))) => {
            assert_eq!(arrived, Ok((data, 0)));
            assert_eq!(sent.taken, source.len() - rest);
        }
        (Ok(()), None) => panic!("a body arrived from a source that holds none"),
        (Err(malformed), expected) => {
            let length = expected.map(|(data, _)| data.len() as u64);
            assert!(malformed != Malformed::TooLong || length.is_none_or(|length| Some(length) > most));
            match (coding, arrived) {
                (Coding::Plain, arrived) => {
                    assert!(arrived.map_or(0, |(data, _)| data.len() as u64) <= most.unwrap_or(u64::MAX))
                }
                (Coding::Chunked | Coding::ChunkedAlone, arrived) => {
                    assert_eq!(arrived, Err(Fault::Incomplete))
                }
            }
        }
    }
});
