//! What the tests are made of: the proxy in a process of its own, backends, raw connections, a strict parser.
//!
//! Reading order: `message` (what is legal on the wire), `wire` (one end of a connection), `origin` (a backend that
//! the test plays itself), `backend` (one that plays alone), `proxy` and `process` (the program under test), `peers`
//! (nginx and HAProxy in its place), `programs` (clients that others wrote, and the rule for when they are missing),
//! `names` (a name service of one test's own).
//!
//! Nothing sleeps to synchronise: a test waits for the event itself and gives up after [`PATIENCE`].

mod backend;
mod message;
mod names;
mod origin;
mod peers;
mod process;
mod programs;
mod proxy;
mod wire;

pub use backend::Backend;
pub use message::{Framing, Message, ok, ok_chunked};
pub use names::{Mood, NameService};
pub use origin::{Origin, Port};
pub use process::Process;
pub use programs::{Program, chromium, curl, curl_reading, python, python_server, wrk};
pub use proxy::{Proxy, Ronde};
pub use wire::{End, Wire};

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How long an event may take before its test fails: far more than it needs on a busy machine with two cores.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing may arrive before a test believes that nothing will.
pub const SILENCE: Duration = Duration::from_millis(200);

/// The plainest request there is.
pub const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// A backend for the test to play, the proxy before it, and a client connected to that.
pub fn stage(flags: &str) -> (Origin, Proxy, Wire) {
    let origin = Origin::start();
    let proxy = Proxy::with(flags, &[origin.address]);
    let client = proxy.connect();
    (origin, proxy, client)
}

/// Polls a condition that no event announces, such as a number in `/proc`.
pub fn eventually(what: &str, condition: impl FnMut() -> bool) {
    within(PATIENCE, what, condition);
}

/// [`eventually`] with a bound of the test's own.
pub fn within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Plays one conversation for each row and names all rows that failed, not only the first.
pub fn each_row<Row: Debug>(rows: &[Row], play: impl Fn(&Row)) {
    let failed: Vec<_> =
        rows.iter().filter(|row| catch_unwind(AssertUnwindSafe(|| play(row))).is_err()).collect();
    assert!(failed.is_empty(), "{} of {} rows failed: {failed:#?}", failed.len(), rows.len());
}

/// A fresh directory below cargo's own for tests.
pub fn scratch_directory() -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&path).expect("a scratch directory");
    path
}

/// Ends a test that is about ronde alone when a peer stands in its place; `tests/peers.sh` looks for the line.
macro_rules! ronde_only {
    () => {
        if crate::harness::Proxy::is_a_peer() {
            println!("skipped: a promise of ronde alone");
            return;
        }
    };
}
pub(crate) use ronde_only;

/// Ends a test whose programs are not installed, by the rule in `programs`.
macro_rules! needs {
    ($($program:ident),+) => {
        if ![$(crate::harness::Program::$program.is_there()),+].iter().all(|there| *there) {
            return;
        }
    };
}
pub(crate) use needs;
