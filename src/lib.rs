//! ronde: see `main.rs`.
#![forbid(unsafe_code)]
