//! What ronde says about itself: failures, access lines, counters, dates.
//!
//! Not here: when something is worth saying. Each floor above decides that for itself.

pub mod access;
pub mod counters;
pub mod date;
pub mod failure;
pub mod logger;
