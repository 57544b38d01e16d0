//! How long anything may block, wait or be retried where no setting says so: one table.
//!
//! The problem: a server made of blocking calls is a set of promises about how long each of them may last. Kept beside
//! the calls, those numbers cannot be compared, and two of them soon mean the same thing or contradict each other.
//!
//! Not here: what an admin may set (the table in `config`).

use std::time::Duration;

const fn microseconds(count: u64) -> Duration {
    Duration::from_micros(count)
}

const fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

// A worker.

/// One blocking call: the timeout of every socket. The kernel counts it in ticks of 1 to 10 ms, so it cannot be shorter;
/// longer, and an answer that does not come would hold a worker for more than the trip through the waiter is worth.
pub const ONE_CALL: Duration = milliseconds(10);

/// What the waits of a batch may take together, where waits pay. That much a prompt backend takes with a hundred requests in
/// hand, which are those of the six workers of two cores.
pub const BATCH_LONG: Duration = milliseconds(3);

/// What the waits of a batch may take together, where waits do not pay: the work of three requests.
pub const BATCH_SHORT: Duration = microseconds(60);

/// From one trial of the other length of waits to the next: at first, and after a trial that has changed something.
pub const TRIAL_PAUSE_LEAST: Duration = milliseconds(250);

/// The same after trials that have changed nothing. In a trial, responses are late for 40 ms if the other length is worse: in one
/// percent of the time, that would be the 99th percentile.
pub const TRIAL_PAUSE_MOST: Duration = seconds(16);

/// Between the change to the other length and its measurement, so that requests which were begun before come to their end.
pub const TRIAL_SETTLING: Duration = milliseconds(15);

/// For which the throughput of one length is measured.
pub const TRIAL_WINDOW: Duration = milliseconds(25);

// A backend.

/// For a connect while another backend could be asked instead. Nothing was sent, so asking elsewhere is free; an address
/// that vanished stays silent. 300 ms reach the other side of the world.
pub const FIRST_CONNECT: Duration = milliseconds(300);

/// For the TLS handshake behind it. The backend has accepted the connection, so it is there: it gets the time of a slow machine
/// that is far away.
pub const FIRST_HANDSHAKE: Duration = milliseconds(1000);

/// Until a connect to a Unix socket with a full backlog is tried again; no event tells of room in it. The pause doubles: most
/// backends catch up within milliseconds, and a thousand requests that try one that does not must not use up a core.
pub const BACKLOG_RETRY: Duration = milliseconds(2);

/// The longest pause between two connects to a Unix socket with a full backlog.
pub const BACKLOG_RETRY_MOST: Duration = milliseconds(50);

/// How long a tunnel is silent before the kernel probes both peers (TCP keep-alive). The default of the system is two hours, which
/// is longer than most tunnels may be silent. A phone's radio wakes for each probe, so there is not one each minute.
pub const TUNNEL_PROBE: Duration = seconds(300);

/// From one probe without an answer to the next.
pub const TUNNEL_PROBE_AGAIN: Duration = seconds(30);

/// The longest connect to a backend on this host or network.
pub const NEAR_CONNECT: Duration = milliseconds(2);

/// The least for one to a backend that is far away. Between the two, either may be busy.
pub const FAR_CONNECT: Duration = milliseconds(20);

/// The longest response time after which a worker still waits for the next response of the same backend. Just below
/// [`ONE_CALL`], so that a wait that was in vain is not repeated.
pub const PROMPT_RESPONSE: Duration = milliseconds(9);

/// Between two waits of one worker for a backend that counts as slow, to see whether it still is. A wait in vain takes
/// [`ONE_CALL`], which is then a hundredth of the worker's time.
pub const SLOW_SAMPLE: Duration = seconds(1);

/// All interim responses to one request. Each is a sign of life and restarts the response timeout, and a backend may say
/// "still working" for long; one that has said nothing else for an hour is not working.
pub const INTERIM_TOTAL: Duration = seconds(3600);

/// Between two looks at all backends: a backend that came back is in the round again within this.
pub const BACKEND_WATCH: Duration = seconds(1);

/// For a connect to a backend that is out of the round: shorter than [`BACKEND_WATCH`], so that there is never more than
/// one at a time.
pub const RETURN_CONNECT: Duration = milliseconds(300);

/// The same with a TLS handshake, which is two more trips and some work for the backend; shorter than [`BACKEND_WATCH`], too.
pub const RETURN_HANDSHAKE: Duration = milliseconds(900);

/// For an active health check without a `--health-timeout`, or its interval if that is shorter.
pub const HEALTH_CHECK: Duration = seconds(2);

/// Until a name that does not resolve is looked up again: a backend that starts after ronde is found within this.
pub const RESOLVE_RETRY: Duration = seconds(1);

/// Between a failed connect and the look-up it asks for: a hundred failed connects ask for one look-up.
pub const RESOLVE_PAUSE: Duration = milliseconds(200);

/// For the first answers of the name service, so that the first request finds backends where there are any.
pub const FIRST_ADDRESSES: Duration = seconds(1);

// A client.

/// For a client to take what fills its socket. One that takes longer is slow. A fast one far away needs a round trip.
pub const SLOW_CLIENT: Duration = milliseconds(500);

/// Between two reads from a client that was told no, so that it can read the answer before the connection closes.
pub const LINGERING_CLOSE: Duration = seconds(2);

/// For all reads from such a client together.
pub const LINGERING_CLOSE_TOTAL: Duration = seconds(30);

/// At a stop, for a client that has no request under way: one may be on its way, a round trip to the other side of the world.
/// It is served, and told that the connection ends.
pub const LAST_REQUEST: Duration = milliseconds(300);

/// For the last packet to leave, and to be read, before a reset: a round trip to the other side of the world.
pub const LAST_PACKET: Duration = milliseconds(300);

/// Until accept(2) is tried again when no descriptor is left. Long enough not to spin, short enough not to be noticed.
pub const ACCEPT_RETRY: Duration = milliseconds(20);

// The process.

/// Until another Ctrl-C is a second one. A wrapper that passes a signal on does so within milliseconds, and on a busy
/// machine within a tenth of a second; a person who presses again because nothing happens takes longer than this.
pub const SECOND_CTRL_C: Duration = milliseconds(300);

/// Between two looks at the files of the certificates. Renewed weeks before its end, a certificate has time; a person who
/// waits for it sends SIGHUP.
pub const CERTIFICATE_WATCH: Duration = seconds(60);

/// From the opening of a file that is a pipe: one that has nothing more to give after that, and is not at its end, is given up.
/// What generates a configuration takes a moment; a pipe that nothing writes into would hold up each later reload.
pub const FILE: Duration = seconds(5);

/// Between two reports to the service manager how many connections a stop still waits for.
pub const DRAIN_STATUS: Duration = seconds(1);

/// For a report to the service manager to come; after that the service manager takes the stop for one that hangs, and kills. Many reports
/// long, because a busy machine delays them, and as long as the unit's own `TimeoutStopSec=`.
pub const DRAIN_REPORT: Duration = seconds(10);

/// For the last lines of the log to be written.
pub const LAST_LINES: Duration = seconds(1);

// The admin listener.

/// For the head of a request. Its clients are on this host or near it.
pub const ADMIN_HEAD: Duration = seconds(5);

/// For a client to take an answer, or one event. A reader that is slower loses its connection, of which there are few.
pub const ADMIN_WRITE: Duration = seconds(5);

/// Between two events. A person sees no more, and each costs a look at every backend.
pub const ADMIN_EVENT: Duration = seconds(1);

/// For the outcome of a reload, which reads files and looks up names; after that its outcome is in the log alone.
pub const ADMIN_RELOAD: Duration = seconds(60);

/// Between two looks whether the outcome of a reload is there.
pub const ADMIN_OUTCOME_LOOK: Duration = milliseconds(50);

// The commands.

/// For the answer of the admin listener to a command.
pub const ADMIN_ANSWER: Duration = seconds(5);

/// For the answer that `ronde health` asks for.
pub const HEALTH_ANSWER: Duration = seconds(2);
