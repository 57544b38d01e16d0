//! A response that ronde relays is one message to the second parser, and the one that the backend sent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use ronde::http1::head::{Method, Version};
use ronde_fuzz::gateway::{IoSizes, RequestContext, check_response};

fuzz_target!(|input: (bool, bool, [u8; 4], &[u8])| {
    let (is_head, is_old, [write, reads @ ..], stream) = input;
    let context = RequestContext {
        method: if is_head { Method::Head } else { Method::Get },
        version: if is_old { Version::Http10 } else { Version::Http11 },
    };
    check_response(stream, context, IoSizes { reads: &reads.map(usize::from), write: write.into() });
});
