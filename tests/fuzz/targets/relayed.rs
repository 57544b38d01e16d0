//! What a backend sends and ronde relays is one message to a second parser, and the same one.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::head::{Method, Version};
use ronde_fuzz::gateway::{Asked, Rhythm, judge_response};

fuzz_target!(|input: (bool, bool, [u8; 4], &[u8])| {
    let (is_head, is_old, [write, reads @ ..], stream) = input;
    let asked = Asked {
        method: if is_head { Method::Head } else { Method::Get },
        version: if is_old { Version::Http10 } else { Version::Http11 },
    };
    judge_response(stream, asked, Rhythm { reads: &reads.map(usize::from), write: write.into() });
});
