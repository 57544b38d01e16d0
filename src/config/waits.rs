//! Every wait that is not a setting, in one table.
//!
//! The problem: a server made of blocking calls needs a bound for each of them. Kept beside the calls, those numbers
//! cannot be compared, and two of them soon mean the same thing or contradict each other.
//!
//! Not here: the waits that an admin may set (the table in `config`), and those that `pool::seats` schedules by.

use std::time::Duration;

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// A worker, in one call.

/// The longest wait in one call. After it the thread checks whether the client is gone and whether ronde is to stop, so
/// it notices either within this.
pub const ONE_CALL: Duration = seconds(1);

/// For a client's next request, while no other connection needs the worker; and for the bytes of a transfer, or a
/// response that only this worker can wait for. Varnish lingers 50 ms, too, before it gives a session to its waiter.
pub const NEXT_REQUEST: Duration = milliseconds(50);

/// For a response head. A longer wait keeps the worker from other clients, and a backend that took longer once mostly
/// does so again.
pub const RESPONSE_HEAD: Duration = milliseconds(10);

/// For a response head while connections wait for a worker: 500 heads that do not come cost eight workers an eighth of
/// a second each.
pub const RESPONSE_HEAD_WHEN_BUSY: Duration = milliseconds(2);

/// For the rest of a small request body while connections wait for a worker: 500 bodies that do not come cost eight
/// workers a sixteenth of a second each.
pub const BODY_WHEN_BUSY: Duration = milliseconds(1);

/// For the bytes of a transfer while connections wait for a worker. Not shorter: on busy cores even a fast backend
/// takes some milliseconds to be scheduled, and stepping aside may cost a new thread.
pub const TRANSFER_WHEN_BUSY: Duration = milliseconds(10);

/// The kernel counts socket timeouts in ticks of 1 to 10 ms; a wait shorter than this uses poll(2).
pub const KERNEL_TICK: Duration = milliseconds(10);

// A backend.

/// For a connect while another backend could be tried instead, or `--connect-timeout` divided by the number of
/// backends, if that is shorter. Nothing was sent, so trying another is free; and an address that no longer exists
/// stays silent. 300 ms are a round trip to the other side of the world.
pub const FIRST_CONNECT: Duration = milliseconds(300);

/// A backend whose last response took longer counts as slow: the waiter, not a worker, waits for its next one.
pub const PROMPT_RESPONSE: Duration = milliseconds(10);

/// Between two rounds of checks on all backends: one that has returned is noticed within this.
pub const BACKEND_WATCH: Duration = seconds(1);

/// For a connect to a backend that is out: silent backends must not delay the return of the others.
pub const RETURN_CONNECT: Duration = milliseconds(300);

/// For an active health check, or the interval of the checks if that is shorter.
pub const HEALTH_CHECK: Duration = seconds(2);

/// Until a name that does not resolve is looked up again, unless `--resolve-interval` is shorter: a backend that starts
/// after ronde is found within this.
pub const RESOLVE_RETRY: Duration = seconds(1);

/// Between a failed connect and the look-up that it triggers: a hundred failed connects trigger one look-up.
pub const RESOLVE_PAUSE: Duration = milliseconds(200);

/// For the first answers of the resolver, so that the first request finds backends if there are any.
pub const FIRST_ADDRESSES: Duration = seconds(1);

// A client that leaves, and one that arrives.

/// Between two reads from a client that got the last response on its connection, so that it can read it before ronde
/// closes.
pub const LINGERING_CLOSE: Duration = seconds(2);

/// For all of these reads together.
pub const LINGERING_CLOSE_TOTAL: Duration = seconds(30);

/// Until accept(2) is tried again when no descriptor is left: long enough not to spin, and too short to notice.
pub const ACCEPT_RETRY: Duration = milliseconds(20);

// The commands.

/// For the response to `ronde health`.
pub const HEALTH_ANSWER: Duration = seconds(2);

/// For the last lines of the logs to be written, at the end of the process.
pub const LAST_LINES: Duration = seconds(1);
