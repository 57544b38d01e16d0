//! A fixed number of threads, the work that waits for them, and the work that waits without one.
//!
//! Not here: HTTP. What the work is and how it is done is a type parameter.

pub mod min_rate;
pub mod seats;
pub mod stop;
pub mod waiter;
