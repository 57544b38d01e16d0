//! The commands beside serving: `ronde demo`, `ronde check`, `ronde health`.
//!
//! Not here: reading the command line (`config`), serving (`server`), exit codes (`main`).

pub mod check;
pub mod demo;
pub mod health;
