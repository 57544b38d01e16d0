//! How ronde reports what it does: failures, access lines, diagnostics, metrics, dates.
//!
//! Not here: when something is worth a report. Each folder above decides that for itself.

pub mod access;
pub mod activity;
pub mod date;
pub mod destination;
pub mod explain;
pub mod failure;
pub mod logger;
pub mod metrics;
mod output;
pub mod parked;
