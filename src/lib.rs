//! ronde (French: a round) is an HTTP/1.1 reverse proxy and round-robin load balancer made of blocking I/O: no async
//! runtime, a fixed number of threads, and nobody, neither a slow client nor a hung backend, who can hold them all.
//!
//! ```text
//!           ┌─────── acceptor ───────┐      one bounded channel of ready connections
//!  client ─▶│ accept, cap, pace      ├──▶ ┌────────┐   serve   ┌─────────┐  exchange  ┌─────────┐
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
//! (`errand`); on a thread beside the workers, if it is a long transfer (`seats`).
//!
//! # Reading it
//!
//! The modules below are listed in the order in which a request meets them, and so is this:
//!
//! 1. [`server`] starts and joins every thread. [`acceptor`] accepts the connection and offers it to the [`seats`],
//!    from where a [`worker`] takes it.
//! 2. [`session`] reads the request, or lets the [`waiter`] collect it. [`head`] understands it, over the field lines
//!    in [`fields`]; [`framing`] decides how long it is; [`forward`] writes the head that goes on.
//! 3. [`exchange`] asks the [`backend`]s in their round until one answers, with what lies on its [`desk`] and is known
//!    of the [`errand`], and [`relay`]s the response, whose body is decoded by [`body`] and framed afresh by
//!    [`passage`]. After a 101 it is a [`tunnel`].
//! 4. What fails has its one row in [`failure`], its answer in [`reply`], and its line in the [`journal`].
//!
//! Imports point strictly down the floors (`tests/tidy.rs` sees to it):
//!
//! | floor | | |
//! |---|---|---|
//! | 5 | the program | `main` |
//! | 4 | threads and commands | [`server`] [`acceptor`] [`worker`]; [`demo`] [`check`] [`probe`] |
//! | 3 | conversations | [`session`] [`exchange`] [`relay`] [`tunnel`] |
//! | 2 | what a request is served with | [`house`] [`desk`] [`errand`] [`backend`] |
//! | 1 | mechanisms | [`seats`] [`waiter`] [`client`] [`conn`] [`buffer`] |
//! | 1 | messages, pure functions over bytes | [`head`] [`framing`] [`body`] [`passage`] [`forward`] [`reply`] |
//! | 0 | vocabulary | [`fields`] [`failure`] [`config`] [`journal`] [`clock`] [`pace`] [`stop`] [`bell`] |
//!
//! # Words
//!
//! *Client* and *backend* are the two sides; never upstream and downstream, which RFC 9110 and nginx use with opposite
//! meanings. *Field*, *field line*, *message body*, *framing*, *request target*, *hop-by-hop* and *gateway* are those
//! of RFC 9110 and 9112. A *seat* is a worker's place, a *turn* is a backend's place in the *round*; a connection
//! *lingers* with a worker, is *parked* with the waiter, and a long transfer *steps aside*. An *errand* is a request
//! under way, and its *desk* what it is worked on with. A *slice* is the longest wait in one call.

#![forbid(unsafe_code)]

// Floor 4: threads.
pub mod acceptor;
pub mod server;
pub mod worker;

// Floor 4: the other commands.
pub mod check;
pub mod demo;
pub mod probe;

// Floor 3: conversations.
pub mod exchange;
pub mod relay;
pub mod session;
pub mod tunnel;

// Floor 2: what every request is served with, and the other side.
pub mod backend;
pub mod errand;
pub mod house;

// Floor 1: mechanisms.
pub mod buffer;
pub mod client;
pub mod conn;
pub mod desk;
pub mod seats;
pub mod waiter;

// Floor 1: messages.
pub mod body;
pub mod forward;
pub mod framing;
pub mod head;
pub mod passage;
pub mod reply;

// Floor 0: vocabulary.
pub mod bell;
pub mod clock;
pub mod config;
pub mod failure;
pub mod fields;
pub mod journal;
pub mod pace;
pub mod stop;
