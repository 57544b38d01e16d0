//! The conversations: with a client, with a backend, and what passes between the two.
//!
//! The problem: one request is a dozen steps on two connections, and each step may fail or take long. Here each step
//! is written down in the order in which it happens, with blocking calls.
//!
//! Reading order: `session` (requests of one client), `exchange` (one request and its response), `relay` and `tunnel`
//! (bytes on their way).
//!
//! Not here: threads (`server`), who waits where (`pool`), what a message is (`http1`), whose turn it is (`backend`).

pub mod client;
pub mod exchange;
pub mod in_flight;
pub mod relay;
pub mod scratch;
pub mod session;
pub mod shared;
pub mod tunnel;
