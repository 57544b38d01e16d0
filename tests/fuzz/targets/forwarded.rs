//! What a client sends and ronde forwards is one message to a second parser, and the same one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde_fuzz::gateway::{Rhythm, judge_request};

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let ([write, reads @ ..], stream) = input;
    judge_request(stream, Rhythm { reads: &reads.map(usize::from), write: write.into() });
});
