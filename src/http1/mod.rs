//! HTTP/1.1 messages (RFC 9110, RFC 9112) as pure functions over bytes.
//!
//! The problem: a proxy that misreads a message by one byte hands one client's answer to another. So everything that
//! decides what a message is stands here, where it can be tested, fuzzed and read without a socket.
//!
//! Reading order: `head` (is it HTTP), `fields` (what stands in it), `framing` (how long is the body), `chunked` (framing
//! off), `reframer` (framing on again), `forward` (the head that goes on), `reply` (ronde's own answers).
//!
//! Not here: sockets, threads, clocks of its own.

pub mod chunked;
pub mod fields;
pub mod forward;
pub mod framing;
pub mod head;
pub mod reframer;
pub mod reply;
