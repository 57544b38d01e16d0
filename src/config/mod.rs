//! Every setting of ronde, in one table: flag, form, default, bounds, and why.
//!
//! The problem: a setting is a flag, an environment variable, a key of the file, a field in the program, a line of the
//! help, a default and a range. Written in seven places these drift apart, and the help is the first to be wrong. So
//! each setting is one row of a table (`settings`), and all seven are made from it:
//!
//! ```text
//! flags ───────┐
//! environment ─┼─▶ Source: flag ─▶ texts, each with its place ─▶ Config
//! file ────────┘                                        ▲
//! defaults (text, as a user would write them) ──────────┘
//! ```
//!
//! Whatever its source, a value is a text with the place it came from, until the row's reader parses it. So `--workers
//! 0`, `RONDE_WORKERS=0` and `workers = 0` take the same path and get the same error. And no default can be outside its
//! own bounds (a test reads them all).
//!
//! Reading order: `settings` (the table), `table` (what becomes of a row), `setting` (a row, and a text); `command`, `instruction`,
//! `file`, `keys`, `entry` and `contents` (sources to texts); `value`, `address`, `authority`, `unix`, `url`, `backend`, `route`, `check`,
//! `access`, `admin`, `fields`, `log_file`, `tls` and `workers` (texts to values); `conflicts`, `remarks`, `retired` and `error` (what is
//! wrong with them); `endpoint` (what an address is to the rest of ronde), `health`; `commands` (their table), `help`, `man`, `roff` and
//! `completions` (what is made of both tables). `waits` has the times that no setting gives.
//!
//! Not here: sockets and name look-ups. `ronde check` makes those.

use std::time::Duration;

mod access;
mod address;
mod admin;
pub mod authority;
mod backend;
mod check;
mod command;
mod commands;
mod completions;
mod conflicts;
pub mod contents;
mod endpoint;
mod entry;
mod error;
mod fields;
mod file;
mod health;
mod help;
mod instruction;
mod keys;
mod log_file;
mod man;
mod remarks;
mod retired;
mod roff;
mod route;
mod setting;
mod settings;
mod table;
mod tls;
mod unix;
mod url;
pub mod value;
pub mod waits;
mod workers;

pub use access::Clients;
pub use address::{Cidr, Endpoint, Listen, Network};
pub use backend::{Backend, Transport};
pub use check::Statuses;
pub use command::{CheckScope, Command, Loaded, load};
pub use commands::{COMMANDS, CommandRow, OwnFlag, TEXTS};
pub use endpoint::{Address, Peer};
pub use error::Error;
pub use fields::{FieldName, Part, SetField, Template, as_cgi};
pub use help::{VERSION, markdown_table};
pub use instruction::{Instruction, Wait};
pub use route::{Action, Host, Prefix, Route};
pub use setting::{Scope, Setting};
pub use settings::{Config, TABLE, row};
pub use tls::CertificateFiles;
pub use url::Url;
pub use value::{AccessLog, Balance, Explain, Scheduling};

use setting::{RawValue, Source, variable};

/// What `--health-interval` is when only `--health-path` is set.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

impl Config {
    /// Between two health checks; `None`: there are none.
    pub fn check_interval(&self) -> Option<Duration> {
        self.health_interval.or(self.health_path.as_ref().map(|_| CHECK_INTERVAL))
    }

    /// Whether what this client says about its own client is believed.
    pub fn trusts(&self, client: Peer) -> bool {
        self.trust_proxy.iter().any(|network| network.contains(client))
    }
}

impl Default for Config {
    /// The defaults of the table.
    fn default() -> Config {
        Config::from_sources(&[]).expect("the defaults are constants, and a test reads each of them")
    }
}

#[cfg(test)]
mod tests;
