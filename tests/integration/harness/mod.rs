//! The tools of the tests: the proxy in a process of its own, backends, raw connections, a strict parser.
//!
//! Reading order: `message` (the valid messages), `wire` (one end of a connection), `origin` (a backend that the test
//! drives step by step), `backend` (a backend that runs by itself), `gate` (where several of its requests wait),
//! `authority` (certificates for backends), `silent` (no backend at all), `unix` (a backend on a Unix socket), `tls`
//! (clients that speak it), `anybody` (clients that believe every certificate), `proxy`, `process` and `admin` (the program
//! under test), `peers` (nginx and HAProxy in its place), `programs` (third-party clients, and the rule for when they are
//! missing), `names` (a name service for one test).
//!
//! No test sleeps to synchronise: it waits for the event itself and gives up after [`TIMEOUT`].
//!
//! Not here: the tests.

mod admin;
mod anybody;
mod authority;
mod backend;
mod gate;
mod message;
mod names;
mod origin;
mod peers;
mod process;
mod programs;
mod proxy;
mod silent;
pub mod tls;
mod unix;
mod wire;

pub use admin::{ADMIN, Admin, next_event};
pub use anybody::Anybody;
pub use authority::{Authority, Issued};
pub use backend::Backend;
pub use gate::Gate;
pub use message::{CHUNKED, Framing, Message, SWITCH, UPGRADE, noise, ok, ok_chunked};
pub use names::{DnsReply, NameService};
pub use origin::{Origin, Port};
pub use peers::free_address;
pub use process::{Lines, Process, Thread};
pub use programs::{
    Program, certbot, chromium, curl, curl_reading, open_many_files, openssl, pebble, python, python_module,
    python_server, wrk,
};
pub use proxy::{Proxy, Ronde};
pub use silent::Silent;
pub use unix::{serve_unix, socket_path};
pub use wire::{End, Stream, Wire};

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// The longest wait for an event before its test fails: far more than it takes on a busy machine with two cores.
pub const TIMEOUT: Duration = Duration::from_secs(10);

/// A connection without a byte for this long counts as silent.
pub const SILENCE: Duration = Duration::from_millis(200);

/// Longer than a worker waits for a byte: a connection without one for this long is parked.
pub const PARKED: Duration = Duration::from_millis(40);

/// The simplest request.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A backend that the test drives, the proxy in front of it, and a client connected to the proxy.
pub fn setup(flags: &str) -> (Origin, Proxy, Wire) {
    let origin = Origin::start();
    let proxy = Proxy::with(flags, &[origin.address]);
    let client = proxy.connect();
    (origin, proxy, client)
}

/// Polls a condition that no event signals, such as a number in `/proc`.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(TIMEOUT, what, condition);
}

/// [`eventually`] with another timeout.
pub fn within(timeout: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {timeout:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the check for every row and reports all rows that failed, not only the first.
pub fn each_row<Row: Debug>(rows: &[Row], check: impl Fn(&Row)) {
    let failed: Vec<_> =
        rows.iter().filter(|row| catch_unwind(AssertUnwindSafe(|| check(row))).is_err()).collect();
    assert!(failed.is_empty(), "{} of {} rows failed: {failed:#?}", failed.len(), rows.len());
}

/// A fresh directory below cargo's directory for tests.
pub fn scratch_directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).expect("a scratch directory");
    path
}

/// Skips a test of a promise that only ronde makes, when a peer runs in its place. `tests/peers.sh` looks for the line.
macro_rules! ronde_only {
    () => {
        if crate::harness::Proxy::is_a_peer() {
            println!("skipped: only ronde promises this");
            return;
        }
    };
}
pub(crate) use ronde_only;

/// Skips a test of what a client with TLS cannot see, or sees otherwise, when the suite runs over TLS.
macro_rules! plain_only {
    ($why:literal) => {
        if crate::harness::tls::is_on() {
            println!("skipped over TLS: {}", $why);
            return;
        }
    };
}
pub(crate) use plain_only;

/// Skips a test whose programs are not installed, by the rule in `programs`.
macro_rules! needs {
    ($($program:ident),+) => {
        if ![$(crate::harness::Program::$program.is_installed()),+].iter().all(|installed| *installed) {
            return;
        }
    };
}
pub(crate) use needs;
