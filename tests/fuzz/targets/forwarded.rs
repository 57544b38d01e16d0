//! A request that ronde forwards is one message to the second parser, and the one that the client sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde_fuzz::gateway::{IoSizes, check_request};

fuzz_target!(|input: ([u8; 4], &[u8])| {
    let ([write, reads @ ..], stream) = input;
    check_request(stream, IoSizes { reads: &reads.map(usize::from), write: write.into() });
});
