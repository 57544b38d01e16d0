//! How ronde reports what it does: failures, access lines, diagnostics, counters, dates.
//!
//! Not here: when something is worth a report. Each folder above decides that for itself.

pub mod access;
pub mod counters;
pub mod date;
pub mod destination;
pub mod explain;
pub mod failure;
pub mod logger;
mod output;
