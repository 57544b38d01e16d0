//! Sockets with waits that end, buffers, wakers: the only place that names socket options.
//!
//! Not here: what the bytes mean (`http1`).

pub mod buffer;
pub mod conn;
pub mod waker;
