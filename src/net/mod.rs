//! Sockets with waits that end, TLS, buffers, wakers: the only place that names socket options, or rustls.
//!
//! Reading order: `conn` (a connection), `socket` (its calls, and how they come out), `buffer` (what was read), `splice` (what need
//! not be read), `tls` (what a connection says in secret), `window` (what the kernel holds for it), `moved` (what it has moved);
//! `listener` (where connections come from), `passed` (sockets of another process), `descriptors` (how many there may be), `waker`.
//! `by_deadline`, `listening` and `way` are for the commands, and for the words of errors.
//!
//! Not here: what the bytes mean (`http1`), and where a connection waits (`pool`).

pub mod buffer;
mod by_deadline;
pub mod conn;
pub mod descriptors;
#[cfg(test)]
mod fixtures;
pub mod listener;
pub mod listening;
pub mod moved;
pub mod passed;
mod socket;
pub mod splice;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(not(feature = "tls"))]
#[path = "without_tls.rs"]
pub mod tls;
pub mod waker;
pub mod way;
mod window;
