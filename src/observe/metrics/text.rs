//! A snapshot in Prometheus' text format.
//!
//! Not here: who asks for it.
