//! The conversations: with a client, with a backend, and what passes between the two.
//!
//! The problem: one request is a dozen steps on two connections, and each step may fail or take long. Here each step
//! is written down in the order in which it happens, with blocking calls.
//!
//! Reading order: `conversation` (the value that is served and parked), `session` (a client's requests, one after the
//! other), `request` (what a request is), `route` (where it goes), `exchange` (one request and its response), `relay` (bytes on their way);
//! `client`, `per_client`, `scratch`, `site` and `shared` are what they work with, and `overview` is what an admin sees of it.
//!
//! Not here: threads (`server`), where connections wait (`pool`), what a message is (`http1`), whose turn it is (`backend`).

pub mod client;
pub mod conversation;
pub mod exchange;
mod overview;
pub mod per_client;
mod relay;
mod request;
pub mod route;
pub mod scratch;
pub mod session;
pub mod shared;
pub mod site;
