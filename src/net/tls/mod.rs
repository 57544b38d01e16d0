//! TLS, on both sides.
//!
//! Not here: what is said inside (`proxy`).

pub mod certificates;
