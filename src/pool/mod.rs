//! A fixed number of threads, and the one place where everything waits that has nothing for them to do.
//!
//! The rule: a worker serves with plain blocking calls while bytes flow; what waits is parked.
//!
//! Reading order: `park` (what can wait, and for what), `waiter` (where it waits, and where workers get their batches),
//! `parked`, `slots`, `deadlines`, `epoll` and `edges` (what the waiter is made of), `allowance` (how long a worker may block
//! in one call), `patience` (and in one batch), `min_rate` (whether a body comes fast enough), `stop`.
//!
//! Not here: HTTP. What is parked and how it is served is a type parameter.

pub mod allowance;
mod deadlines;
mod edges;
mod epoll;
pub mod min_rate;
pub mod park;
mod parked;
pub mod patience;
mod slots;
pub mod stop;
pub mod waiter;
