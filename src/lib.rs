//! ronde (French: a round) is an HTTP/1.1 reverse proxy and round-robin load balancer made of blocking I/O: no async
//! runtime, a fixed number of threads, and nobody, neither a slow client nor a hung backend, who can hold them all.
//!
//! ```text
//!           ┌─────── acceptor ───────┐      one bounded channel of ready connections
//!  client ─▶│ accept, cap, rate      ├──▶ ┌────────┐   serve   ┌─────────┐  exchange  ┌─────────┐
//!           └────────────────────────┘    │ worker ├──────────▶│ session ├───────────▶│ backend │
//!           ┌──────── waiter ────────┐    │   ×N   │◀──────────┤         │◀───────────┤         │
//!           │ epoll + deadline FIFOs ├──▶ └───┬────┘           └─────────┘            └─────────┘
//!           └───────────▲────────────┘        │
//!                       └──────── park ───────┘
//! ```
//!
//! A client's connection is always in exactly one place: in the channel, with a worker, in the waiter, or closed.
//! Whoever has it owns it, and handing it over is the change of state; there is no table of connections and no state
//! machine. A worker serves it with blocking reads and writes, written down in the order in which they happen, for
//! as long as there is something to do. What only waits, waits elsewhere: in the waiter, if it waits for a client, or
//! for a backend that takes its time; in the channel again, if it waits for a backend while others wait for the worker
//! (`in_flight`); on a thread beside the workers, if it is a long transfer (`seats`).
//!
//! # Reading it
//!
//! The modules below are listed in the order in which a request meets them, and so is this:
//!
//! 1. [`server`] starts and joins every thread. [`acceptor`] accepts the connection and offers it to the [`seats`],
//!    from where a [`worker`] takes it.
//! 2. [`session`] reads the request, or lets the [`waiter`] collect it. [`head`] understands it, over the field lines
//!    in [`fields`]; [`framing`] decides how long it is; [`forward`] writes the head that goes on.
//! 3. [`exchange`] asks the [`backend`]s in their round until one answers, with what lies on its [`scratch`] and is known
//!    of the [`in_flight`], and [`relay`]s the response, whose body is decoded by [`body`] and framed afresh by
//!    [`reframer`]. After a 101 it is a [`tunnel`].
//! 4. What fails has its one row in [`failure`], its answer in [`reply`], and its line in the [`logger`].
//!
//! Imports point strictly down the floors (`tests/tidy.rs` sees to it):
//!
//! | floor | | |
//! |---|---|---|
//! | 5 | the program | `main` |
//! | 4 | threads and commands | [`server`] [`acceptor`] [`worker`]; [`demo`] [`check`] [`probe`] |
//! | 3 | conversations | [`session`] [`exchange`] [`relay`] [`tunnel`] |
//! | 2 | what a request is served with | [`shared`] [`scratch`] [`in_flight`] [`backend`] |
//! | 1 | mechanisms | [`seats`] [`waiter`] [`client`] [`conn`] [`buffer`] |
//! | 1 | messages, pure functions over bytes | [`head`] [`framing`] [`body`] [`reframer`] [`forward`] [`reply`] |
//! | 0 | vocabulary | [`fields`] [`failure`] [`config`] [`logger`] [`clock`] [`rate`] [`stop`] [`waker`] |
//!
//! # Words
//!
//! *Client* and *backend* are the two sides; never upstream and downstream, which RFC 9110 and nginx use with opposite
//! meanings. *Field*, *field line*, *message body*, *framing*, *request target*, *hop-by-hop* and *gateway* are those
//! of RFC 9110 and 9112. A *seat* is a worker's place, a *turn* is a backend's place in the *round*; a connection
//! *lingers* with a worker, is *parked* with the waiter, and a long transfer *steps aside*. An *in_flight* is a request
//! under way, and its *scratch* what it is worked on with. A *slice* is the longest wait in one call.

#![forbid(unsafe_code)]

// Floor 6: commands.
pub mod cli;
// Floor 5: threads.
pub mod server;
// Floor 4: conversations.
pub mod proxy;
// Floor 3: the other side.
pub mod backend;
// Floor 2: the fixed threads, and what waits without one.
pub mod pool;
// Floor 1: sockets, and messages.
pub mod http1;
pub mod net;
// Floor 0: settings, and what is said about what happens.
pub mod config;
pub mod observe;
