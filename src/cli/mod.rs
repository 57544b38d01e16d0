//! The commands other than serving: `ronde demo`, `ronde check`, `ronde health`, and those that speak with the running ronde.
//!
//! Not here: parsing the command line (`config`), serving (`server`), exit codes (`main`).

pub mod admin;
pub mod check;
pub mod demo;
pub mod health;
mod routes;
