//! ronde
#![forbid(unsafe_code)]
pub mod backend;
pub mod bell;
pub mod body;
pub mod buffer;
pub mod client;
pub mod clock;
pub mod config;
pub mod conn;
pub mod failure;
pub mod fields;
pub mod forward;
pub mod framing;
pub mod head;
pub mod journal;
pub mod passage;
pub mod reply;
pub mod seats;
pub mod stop;
pub mod waiter;
