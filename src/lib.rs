//! ronde
#![forbid(unsafe_code)]
pub mod body;
pub mod clock;
pub mod config;
pub mod failure;
pub mod fields;
pub mod forward;
pub mod framing;
pub mod head;
pub mod passage;
pub mod reply;
