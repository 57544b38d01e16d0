//! Every setting of ronde, in one table: flag, form, default, bounds, and why.
//!
//! A setting has many faces: a flag, an environment variable, a key of the file, a field in the program, a
//! line of the help, a default, a range. Written in seven places they drift apart, and the help is the
//! first to lie. Here each setting is one row of a table (`settings!` below), and all seven are made from it:
//!
//! ```text
//! flags ───────┐
//! environment ─┼─▶ Source: flag ─▶ texts, each with its place ─▶ Config
//! file ────────┘                                        ▲
//! defaults (text, as a user would write them) ──────────┘
//! ```
//!
//! Whatever its source, a value is a text and the place it came from until the row's reader makes a typed
//! value of it. So `--workers 0`, `RONDE_WORKERS=0` and `workers = 0` go the same way and get the same
//! complaint, and a default outside its own bounds cannot exist (a test reads them all).
//!
//! Reading order: this table, then `value` and `address` (texts to values), `command` and `file` (sources to
//! texts), `error` and `help`.
//!
//! What it is not: a look at the world. It opens no socket and resolves no name; `ronde check` does that.

use std::collections::HashMap;
use std::time::Duration;

use log::LevelFilter;
use serde::Deserialize;
use toml::Spanned;

mod address;
mod command;
mod error;
mod file;
mod help;
pub mod value;
pub mod waits;

pub use address::{Backend, Cidr, Listen};
pub use command::{Command, Loaded, load};
pub use error::Error;
pub use help::{VERSION, markdown_table};
pub use value::AccessLog;

use address::{backend, cidr, listen};
use file::Entry;
use value::{Each, Maybe, One, access_log, count, level, path, size, switch, time};

/// One row of the table, as data.
#[derive(Debug)]
pub struct Setting {
    /// The heading it stands under in the help.
    pub group: &'static str,
    /// `--workers`; the variable and the key of the file follow from it.
    pub flag: &'static str,
    /// What the help calls its value: `N`, `TIME`, `SIZE`, ...; empty for a switch.
    pub form: &'static str,
    /// The default, as a user would write it; empty for an empty list.
    pub default: &'static str,
    /// The least and the most allowed, both inclusive, in the same form as the value.
    pub bounds: Option<(&'static str, &'static str)>,
    /// What it does, in half a line.
    pub what: &'static str,
    /// Why the default is what it is.
    pub why: &'static str,
    /// Whether it is a list: a repeated flag, commas in the variable, an array in the file.
    pub repeats: bool,
}

impl Setting {
    /// The key of the file: `queue-timeout`.
    pub fn key(&self) -> &'static str {
        self.flag.trim_start_matches('-')
    }

    /// The environment variable: `RONDE_QUEUE_TIMEOUT`.
    pub fn variable(&self) -> String {
        format!("RONDE_{}", self.key().replace('-', "_").to_ascii_uppercase())
    }
}

/// One value as it was given, not yet understood.
#[derive(Debug)]
struct Given {
    text: String,
    /// Where a complaint points: `--workers`, `RONDE_WORKERS` or `ronde.toml:3:11: workers`.
    place: String,
    /// What only a `[[backend]]` table can add; default everywhere else.
    options: file::Options,
}

impl Given {
    fn new(text: impl Into<String>, place: impl Into<String>) -> Given {
        Given { text: text.into(), place: place.into(), options: file::Options::default() }
    }
}

/// What one source says: for each flag it sets, the values in their order.
type Source = HashMap<&'static str, Vec<Given>>;

/// A row is its comment, whose first line the help shows; then, left of the arrow, what a user sees; right of
/// it, what the program gets and which reader makes it, of one value, maybe one, or each of a list.
macro_rules! settings {
    ($( $group:literal { $(
        #[doc = $what:literal] $(#[doc = $why:literal])*
        $flag:literal $form:literal, default $default:literal $([$least:literal to $most:literal])?
            => $field:ident: $type:ty = $arity:ident($reader:ident);
    )* } )*) => {
        /// The rows by name, for whoever speaks of one: `row::listen.flag`.
        #[allow(non_upper_case_globals)]
        pub mod row {
            use super::{Each, Maybe, One, Setting};

            $($(
                #[doc = $what]
                pub static $field: Setting = Setting {
                    group: $group,
                    flag: $flag,
                    form: $form,
                    default: $default,
                    bounds: [$(Some(($least, $most)),)? None][0],
                    what: $what.trim_ascii(),
                    why: concat!($($why),*).trim_ascii(),
                    repeats: $arity::REPEATS,
                };
            )*)*
        }

        /// All rows, in the order of the help.
        pub static TABLE: &[&Setting] = &[$($( &row::$field ),*),*];

        /// Every setting as the program uses it: typed, and within its bounds.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Config {$($(
            #[doc = $what] #[doc = ""] $(#[doc = $why])* #[doc = ""]
            #[doc = concat!("`", $flag, " ", $form, "`, default `", $default, "`" $(, ", `", $least, "` to `", $most, "`")?)]
            pub $field: $type,
        )*)*}

        impl Config {
            /// Settles every setting from its sources, the weakest first.
            fn settle(sources: &[Source]) -> Result<Config, Error> {
                Ok(Config {$($( $field: value::settle(&row::$field, sources, $arity::read, $reader)?, )*)*})
            }
        }

        /// The configuration file: one key for each row, and no other.
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields, rename_all = "kebab-case")]
        struct Document {$($( $field: Option<Spanned<Entry>>, )*)*}

        impl Document {
            /// The rows it sets, each with what it says.
            fn entries(self) -> impl Iterator<Item = (&'static Setting, Spanned<Entry>)> {
                let entries = [$($( (&row::$field, self.$field) ),*),*];
                entries.into_iter().filter_map(|(row, entry)| Some((row, entry?)))
            }
        }
    };
}

// Bounds keep out what can only be a slip. A time under 10ms is less than a scheduler or a network needs,
// and would fail everything; one over a day is "never" by another name, and never is how workers starve. (A
// tunnel holds no worker's seat, so it may be silent for a week.)
settings! {
    "Listening" {
        /// where to accept; :8080 means every address
        /// Loopback, because nobody should be on the internet by accident.
        "--listen" "ADDR", default "127.0.0.1:8080"
            => listen: Vec<Listen> = Each(listen);

        /// open clients; past it the longest idle goes
        /// With a backend's connection each, 65536 descriptors: within the hard limits of systemd and Docker.
        "--max-connections" "N", default "32768" ["1" to "1048576"]
            => max_connections: usize = One(count);
    }

    "Workers" {
        /// requests worked on at once, a thread each
        /// A request that waits for a slow backend needs none, so a few per core are at work; the others are for
        /// what cannot be left, and an unused one costs a stack it never touched.
        "--workers" "N", default "256" ["1" to "16384"]
            => workers: usize = One(count);

        /// connections that may wait for a worker
        /// Sixteen for each worker; it bounds memory only, for --queue-timeout ends the wait long before.
        "--queue" "N", default "4096" ["1" to "1048576"]
            => queue: usize = One(count);

        /// how long one may wait; then 503 with Retry-After
        /// Past a second people reload, and a queue longer than their patience serves only those who left.
        "--queue-timeout" "TIME", default "1s" ["10ms" to "1h"]
            => queue_timeout: Duration = One(time);

        /// long transfers, threads beside the workers
        /// So many WebSockets, event streams and long downloads, a thread each: as many as a small host can hold. Late
        /// answers are not among them; they take no thread.
        "--max-transfers" "N", default "1024" ["0" to "16384"]
            => max_transfers: usize = One(count);

        /// workers one backend may hold; auto is 3/4
        /// In a connect, or in a wait that nothing else can do: a backend that hangs must leave workers for the
        /// others; three quarters is room enough for one that is only busy.
        "--max-per-backend" "N", default "auto" ["1" to "16384"]
            => max_per_backend: Option<usize> = Maybe(count);
    }

    "Timeouts" {
        /// a client's whole request head; then 408
        /// Enough for a phone in a tunnel; the clock does not restart at each byte, so a slowloris gets no
        /// more.
        "--head-timeout" "TIME", default "10s" ["10ms" to "24h"]
            => head_timeout: Duration = One(time);

        /// between two reads of a request body
        /// A radio link comes back within it; what trickles just fast enough meets --min-rate.
        "--body-timeout" "TIME", default "30s" ["10ms" to "24h"]
            => body_timeout: Duration = One(time);

        /// an idle client, between two requests
        /// An idle client costs a descriptor and no worker; a new connection costs it a round trip.
        "--keep-alive-timeout" "TIME", default "60s" ["10ms" to "24h"]
            => keep_alive_timeout: Duration = One(time);

        /// to connect to a backend
        /// Room for one lost SYN, which the kernel sends again after a second.
        "--connect-timeout" "TIME", default "3s" ["10ms" to "2m"]
            => connect_timeout: Duration = One(time);

        /// from request sent to response head; then 504
        /// nginx's, so most applications already live with it.
        "--response-timeout" "TIME", default "60s" ["10ms" to "24h"]
            => response_timeout: Duration = One(time);

        /// silence inside a response
        /// Servers of event streams commonly send a comment every 15 or 30 seconds.
        "--idle-timeout" "TIME", default "60s" ["10ms" to "24h"]
            => idle_timeout: Duration = One(time);

        /// silence in both directions of a tunnel
        /// A WebSocket may be silent for long and mean it; a dead peer is found by TCP keep-alive instead.
        "--tunnel-timeout" "TIME", default "1h" ["10ms" to "168h"]
            => tunnel_timeout: Duration = One(time);

        /// an idle connection to a backend
        /// Below the 5s after which Node closes: whoever closes second never sends a request into a closing
        /// socket.
        "--backend-keep-alive-timeout" "TIME", default "4s" ["10ms" to "24h"]
            => backend_keep_alive_timeout: Duration = One(time);

        /// for requests in flight when asked to stop
        /// Docker kills after 10s: what is cut at the end of the grace needs a second to end, and the log one.
        "--shutdown-grace" "TIME", default "8s" ["0s" to "24h"]
            => shutdown_grace: Duration = One(time);
    }

    "Limits" {
        /// a request or response head
        /// Twice what nginx takes, for large cookies. Each busy worker holds one, so a megabyte is the most.
        "--max-head" "SIZE", default "64k" ["1k" to "1m"]
            => max_head: usize = One(size);

        /// a request body; then 413
        /// Bodies stream in constant memory, so the application knows better what is too large for it.
        "--max-body" "SIZE", default "unlimited" ["0" to "1024t"]
            => max_body: Option<u64> = Maybe(size);

        /// bytes a second an upload must bring; 0: off
        /// A bad radio link carries more; a client that trickles a byte at a time, to hold a place, does not.
        "--min-rate" "SIZE", default "500" ["0" to "1g"]
            => min_rate: u64 = One(size);
    }

    "Backends and health" {
        /// a server to proxy to; arguments without a flag are these, too
        /// None: only the person who starts ronde can know.
        "--backend" "HOST:PORT", default ""
            => backend: Vec<Backend> = Each(backend);

        /// failures that take a backend out; 0: never
        /// One failure is chance, three in a row are not.
        "--max-fails" "N", default "3" ["0" to "1000"]
            => max_fails: u32 = One(count);

        /// how long failures count, and one stays out
        /// Most restarts are over by then, and trying again costs one request in ten seconds.
        "--fail-timeout" "TIME", default "10s" ["10ms" to "24h"]
            => fail_timeout: Duration = One(time);

        /// path to ask for to see whether a backend is well
        /// Off, because no path is right for every application.
        "--health-path" "PATH", default "off"
            => health_path: Option<String> = Maybe(path);

        /// between two checks; auto: 5s with a path
        /// Two answers at 5s notice a return, and three a death, within a quarter of a minute.
        "--health-interval" "TIME", default "auto" ["100ms" to "24h"]
            => health_interval: Option<Duration> = Maybe(time);

        /// good checks in a row that bring one back
        /// One may be luck in the middle of a restart.
        "--health-rise" "N", default "2" ["1" to "100"]
            => health_rise: u32 = One(count);

        /// bad checks in a row that take one out
        /// More than to come back: losing a good backend hurts more than waiting for one.
        "--health-fall" "N", default "3" ["1" to "100"]
            => health_fall: u32 = One(count);

        /// between two look-ups of a backend's name
        /// Containers get new addresses when they restart, and Docker's resolver answers from memory.
        "--resolve-interval" "TIME", default "5s" ["100ms" to "24h"]
            => resolve_interval: Duration = One(time);
    }

    "Proxying" {
        /// proxies whose X-Forwarded-For is believed
        /// None: anybody can write that field, and an address one believes is an address one can be lied to
        /// about.
        "--trust-proxy" "CIDR", default ""
            => trust_proxy: Vec<Cidr> = Each(cidr);

        /// name the backend in the Proxy-Status of errors
        /// Off: inner addresses are nobody's business outside.
        "--reveal-backends" "", default "false"
            => reveal_backends: bool = One(switch);
    }

    "Logging" {
        /// a line a request, on stdout: off, plain, combined, json
        /// On and readable, because the first question after an incident is who asked what.
        "--access-log" "FORM", default "plain"
            => access_log: AccessLog = One(access_log);

        /// on stderr: off, error, warn, info, debug or trace
        /// Info says what starts, stops and changes, and nothing for each request.
        "--log-level" "LEVEL", default "info"
            => log_level: LevelFilter = One(level);
    }
}

impl Default for Config {
    /// The defaults of the table.
    fn default() -> Config {
        Config::settle(&[]).expect("the defaults are constants, and a test reads each of them")
    }
}

#[cfg(test)]
mod tests;
