//! TLS, on both sides.
//!
//! The certificates that clients are shown, in reading order: `pair` (two files become a certificate with its key), `leaf`
//! (what the certificate says of itself), `fault` and `remark` (what is wrong with it), `choice` (which one a client is
//! shown), `certificates` (all of them), `renewal` (new files, without a restart), `coverage` (do the names fit the routes?).
//!
//! Not here: what is said inside (`proxy`).

pub mod certificates;
mod choice;
pub mod coverage;
pub mod fault;
mod leaf;
pub mod pair;
pub mod remark;
pub mod renewal;

#[cfg(test)]
mod fixtures;
