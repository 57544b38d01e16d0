//! How long anything may block, wait or be retried where no setting says so: one table.
//!
//! The problem: a server made of blocking calls is a set of promises about how long each of them may last. Kept beside
//! the calls, those numbers cannot be compared, and two of them soon mean the same thing or contradict each other.
//!
//! Not here: what an admin may set (the table in `config`), and waits that `pool::seats` schedules by.

use std::time::Duration;

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// A worker, in one call.

/// The longest wait in one call. After it a thread checks that its client is still there and that ronde is not to stop,
/// so this is also how late it notices either.
pub const ONE_CALL: Duration = seconds(1);

/// For a client that has nothing to say yet, while no other needs the worker. Varnish lingers 50 ms, too, before it gives
/// a session to its waiter.
pub const NEXT_REQUEST: Duration = milliseconds(50);

/// For a response head. A longer wait is lost to other clients, and a backend that took longer once mostly does again.
pub const RESPONSE_HEAD: Duration = milliseconds(10);

/// For a response head while others wait for the worker: five hundred that do not come are a tenth of a second in eight
/// workers.
pub const RESPONSE_HEAD_WHEN_BUSY: Duration = milliseconds(2);

/// For the rest of a small request body while others wait for the worker: five hundred bodies that do not come cost eight
/// workers a sixteenth of a second.
pub const BODY_WHEN_BUSY: Duration = milliseconds(1);

/// For bytes of a transfer while others wait for the worker. Not shorter: when the cores are busy, a backend that is not
/// slow takes some milliseconds to be scheduled, and stepping aside may cost making a thread.
pub const TRANSFER_WHEN_BUSY: Duration = milliseconds(10);

/// The kernel counts socket timeouts in ticks of 1 to 10 ms. A shorter wait needs poll(2).
pub const KERNEL_TICK: Duration = milliseconds(10);

// A backend.

/// For a connect while another backend could be asked instead. Nothing was sent, so asking elsewhere is free; an address
/// that vanished stays silent. 300 ms reach the other side of the world.
pub const FIRST_CONNECT: Duration = milliseconds(300);

/// The longest response time after which workers still wait for the next response of the same backend.
pub const PROMPT_RESPONSE: Duration = milliseconds(10);

/// Between two looks at all backends: a backend that came back is in the round again within this.
pub const BACKEND_WATCH: Duration = seconds(1);

/// For a connect to a backend that is out, so that silent ones do not delay the others' return.
pub const RETURN_CONNECT: Duration = milliseconds(300);

/// For an active health check, or its interval if that is shorter.
pub const HEALTH_CHECK: Duration = seconds(2);

/// Until a name that does not resolve is looked up again: a backend that starts after ronde is found within this.
pub const RESOLVE_RETRY: Duration = seconds(1);

/// Between a failed connect and the look-up it asks for: a hundred failed connects ask for one look-up.
pub const RESOLVE_PAUSE: Duration = milliseconds(200);

/// For the first answers of the name service, so that the first request finds backends where there are any.
pub const FIRST_ADDRESSES: Duration = seconds(1);

// A client that leaves, and one that arrives.

/// Between two reads from a client that was told no, so that it can read the answer before the connection closes.
pub const LINGERING_CLOSE: Duration = seconds(2);

/// For all of these together.
pub const LINGERING_CLOSE_TOTAL: Duration = seconds(30);

/// Until accept(2) is tried again when no descriptor is left. Long enough not to spin, short enough not to be noticed.
pub const ACCEPT_RETRY: Duration = milliseconds(20);

// The commands.

/// For the answer that `ronde health` asks for.
pub const HEALTH_ANSWER: Duration = seconds(2);

/// For the last lines of the log to be written.
pub const LAST_LINES: Duration = seconds(1);
