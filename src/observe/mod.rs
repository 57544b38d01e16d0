//! How ronde reports what it does: failures, access lines, diagnostics, metrics, dates.
//!
//! Reading order: `failure` (what can go wrong), `access` (the line of a request), `explain` (its steps), `logger` (the threads that
//! write), `destination` and `output` (what they write to), `date`; `metrics` (what is counted), `activity` (what each worker does) and
//! `parked` (what waits).
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
