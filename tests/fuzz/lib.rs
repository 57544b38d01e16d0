//! The modules that the fuzz targets share with `tests/property.rs`: the second parser, and ronde without its sockets.
//!
//! ```text
//! cargo install cargo-fuzz
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz forwarded -- -dict=tests/fuzz/http.dict -max_total_time=600
//! ```

#[path = "../gateway/mod.rs"]
pub mod gateway;
#[path = "../strict/mod.rs"]
pub mod strict;

use strict::{Body, Fault, Field};

/// One chunked body and the number of bytes after it, by the second parser.
pub fn chunked(bytes: &[u8]) -> Result<(Body, usize), Fault> {
    let message = [b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n", bytes].concat();
    strict::response(&message, "GET").map(|(message, rest)| (message.body, rest.len()))
}

/// The fields of a trailer section, by the second parser.
pub fn section(bytes: &[u8]) -> Result<Vec<Field>, Fault> {
    chunked(&[b"0\r\n", bytes].concat()).map(|(body, _)| body.trailers)
}
