//! HTTP/1.1 messages (RFC 9110, RFC 9112) as functions over bytes. But for the date in a response they are pure.
//!
//! The problem: a proxy that misreads a message by one byte hands one client's response to another client. So all code
//! that interprets a message is in this folder, where it can be tested, fuzzed and read without a socket.
//!
//! Reading order: `head` (is it HTTP?), `mend` (what a backend may get wrong), `fields` (its field lines), `framing` (how long is the body?), `chunked` (takes
//! the framing off), `reframer` (puts new framing on), `target` (what is asked for), `https` (is it led to https?), `routing`
//! (which route), `plain_path` (whether a path has one reading only), `forward` (the head for the next hop),
//! `reply` (ronde's own responses) and `accept` (a page or a line). `proxy_header` is no HTTP: it may stand in front of
//! all that.
//!
//! Not here: sockets, threads, deadlines.

pub mod accept;
pub mod chunked;
pub mod fields;
pub mod forward;
pub mod framing;
pub mod head;
pub mod https;
pub mod mend;
pub mod plain_path;
pub mod proxy_header;
pub mod reframer;
pub mod reply;
pub mod routing;
pub mod target;
