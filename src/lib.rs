//! ronde (French: a round) is an HTTP/1.1 reverse proxy and round-robin load balancer made of blocking I/O, without an
//! async runtime. A fixed number of threads serves thousands of clients, whatever slow clients and hung backends do.
//!
//! > **A worker serves with plain blocking calls while bytes flow. What waits is parked.**
//!
//! ```text
//!  clients ──▶ acceptor ──▶ bounded channel + eventfd ─┐     ┌─ thread `backends`: probes
//!                                                      ▼     ▼
//!       ┌──────────── the waiter: one epoll, a place and not a thread ─────────────┐
//!  ┌───▶│ parked: idle clients, half a head, late answers, slow transfers, tunnels │
//!  │    └──────┬───────────────────────┬─────────────────────────────┬─────────────┘
//!  │           ▼ a batch, up to 16     ▼                             ▼
//!  │        worker 1                worker 2          ...         worker N
//!  │          1. each request: read it, send it ahead  ──▶  backends, in the round
//!  │          2. each answer: collect it, relay it     ◀──
//!  └─ park ───┘
//! ```
//!
//! Everything that can wait is one value. It owns its sockets, the bytes in hand and its deadlines, and it says what it
//! waits for. All workers wait in the same epoll; the one that wakes takes a batch of these values and goes on with
//! each where it stopped. Handing a value over is the change of state: there is no table of connections.
//!
//! # Reading it
//!
//! Follow a request through the nine folders. The head of each file says what the file is, which problem it solves, and
//! what is not in it.
//!
//! 1. `main.rs` reads the settings ([`config`]: one table) and starts a [`server::Server`], which starts and joins
//!    every thread.
//! 2. `server::acceptor` accepts a connection ([`net::listener`], [`net::conn`]), wraps it in a [`proxy::client`] and a
//!    [`proxy::conversation`], and offers it to the waiter. What TLS is on it stands in [`net::tls`].
//! 3. [`pool::waiter`] is where everything waits, and where `server::worker` takes its batches. [`pool::allowance`]
//!    says how long a worker may block in one call, [`pool::patience`] how long in a batch.
//! 4. [`proxy::session`] reads the request, behind a proxy's own header ([`http1::proxy_header`]) if there is one, and
//!    parks what is not complete. `proxy::request` understands it: [`http1::head`] and [`http1::fields`] (is it HTTP?),
//!    [`http1::framing`] (how long is it?), [`http1::routing`] (its [`proxy::route`]), [`http1::forward`] (the head for
//!    the backend).
//! 5. [`proxy::exchange`] asks [`backend::Backends`] for a [`backend::Turn`]. [`backend::balance`] says whose turn it
//!    is, [`backend::health`] and [`backend::progress`] which backends take none. `exchange::ask` then sends the
//!    request and receives the response head.
//! 6. `exchange::respond` relays the response, `exchange::tunnel` both directions of a tunnel, with `proxy::relay`.
//!    [`http1::chunked`] takes the framing off a body and [`http1::reframer`] puts new framing on.
//! 7. Back in [`proxy::session`], the connection serves its next request, is parked, or is closed so that the client
//!    can read its answer.
//! 8. What fails has its row in [`observe::failure`], its response in [`http1::reply`], and its line in
//!    [`observe::access`], which [`observe::logger`] writes.
//! 9. Beside the requests, [`backend::checks`] probes the backends and [`backend::resolve`] follows their names.
//!    [`server::admin`] shows what is going on, and [`cli::admin`] asks it. The main thread takes renewed certificates
//!    (`net::tls`), tells the service manager that ronde is alive (`server::manager`), and waits for orders: to reload,
//!    which puts another [`proxy::site`] in force (`server::reload`), or to stop; the shutdown is in [`server`], phase by
//!    phase ([`pool::stop`]).
//!
//! Imports point strictly down the floors (`tests/tidy.rs` checks it):
//!
//! | floor | folder | what is in it |
//! |---|---|---|
//! | 6 | `main.rs`, [`cli`] | the program; the commands `demo`, `check`, `health`, `status`, `drain`, ... |
//! | 5 | [`server`] | every thread and how it ends: acceptor, workers, backends, admin, reload, drain |
//! | 4 | [`proxy`] | the conversations: session, request, exchange, relay |
//! | 3 | [`backend`] | the round, turns, kept connections, health, names |
//! | 2 | [`pool`] | the waiter, and how long a worker may block. Knows no HTTP |
//! | 1 | [`net`] | sockets, TLS, buffers, wakers. The only folder that names a socket option |
//! | 1 | [`http1`] | messages: pure functions over bytes, without a socket |
//! | 0 | [`observe`], [`config`] | failures, access lines, counters; below these, every setting with its reason |
//!
//! How to run, test and extend it: `docs/architecture.md`.
//!
//! # Words
//!
//! *Client* and *backend* are the two sides. Upstream and downstream, which RFC 9110 and nginx use with opposite
//! meanings, do not occur. The terms of RFC 9110 and 9112 keep their meaning.
//!
//! | word | meaning |
//! |---|---|
//! | client | what connects to ronde, and its connection; behind a trusted proxy, that is its *peer*, and the log names both |
//! | backend | one address that ronde sends requests to; a configured name can resolve to several |
//! | round | the backends in the order of their turns |
//! | turn | one request's claim on one backend, from the choice to the end of the response |
//! | route | the requests of some hosts and a path, with their own backends and settings |
//! | site | what a configuration makes: settings, routes, certificates; a reload puts another in force |
//! | park | to leave a value in the waiter, with what it waits for and a deadline |
//! | waiter | the epoll in which workers wait, and the parked values |
//! | batch | what a worker takes out of the waiter at once; it sends all requests, then collects all answers |
//! | conversation | a client's connection with all that is going on on it: the value that is served and parked |
//! | exchange | one request and its response |
//! | stage | a step of a conversation or an exchange: a loop of reads and writes that can be parked and resumed |
//! | failure | one row of the closed table of everything that can go wrong; its *blame* is the side that it counts against |

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
