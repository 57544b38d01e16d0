//! One setting: its row in the table, and a value of it as a user wrote it.
//!
//! The problem: a value is parsed long after it was found, by a reader that does not know where. So a value stays a text
//! with its place, whatever its source, until its row's reader takes it.
//!
//! Not here: the rows (`config`), and the readers (`value`).

use super::file::BackendOptions;
use std::collections::HashMap;

/// One row of the table.
#[derive(Debug)]
pub struct Setting {
    /// Its heading in the help.
    pub group: &'static str,
    /// `--workers`; the names of the variable and of the file's key follow from it.
    pub flag: &'static str,
    /// The placeholder for its value in the help: `N`, `TIME`, `SIZE`, ...; empty for a switch.
    pub form: &'static str,
    /// The default, as a user would write it; empty for an empty list.
    pub default: &'static str,
    /// The least and the greatest allowed value, both inclusive, written like the value.
    pub bounds: Option<(&'static str, &'static str)>,
    /// What it is, in half a line.
    pub what: &'static str,
    /// Why the default is what it is.
    pub why: &'static str,
    /// Of a list, which is a repeated flag and an array in the file: what stands between two values in the variable.
    pub separator: Option<char>,
    pub scope: Scope,
}

/// Where a setting may stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// At the top level only.
    Top,
    /// In a route as well, which inherits it otherwise.
    Route,
}

impl Setting {
    /// The key of the file: `queue-timeout`.
    pub fn key(&self) -> &'static str {
        self.flag.trim_start_matches('-')
    }

    /// The environment variable: `RONDE_QUEUE_TIMEOUT`.
    pub fn variable(&self) -> String {
        variable(self.flag)
    }
}

pub(super) fn variable(flag: &str) -> String {
    format!("RONDE_{}", flag.trim_start_matches('-').replace('-', "_").to_ascii_uppercase())
}

/// One value as the user wrote it, not yet parsed.
#[derive(Clone, Debug)]
pub(super) struct RawValue {
    pub text: String,
    /// Where an error points: `--workers`, `RONDE_WORKERS` or `ronde.toml:3:11: workers`.
    pub place: String,
    /// From a `[[backend]]` table; the default for a value from anywhere else.
    pub options: BackendOptions,
    /// The keys of a `[[route]]` table.
    pub route: Option<Source>,
}

impl RawValue {
    pub fn new(text: impl Into<String>, place: impl Into<String>) -> RawValue {
        let options = BackendOptions::default();
        RawValue { text: text.into(), place: place.into(), options, route: None }
    }
}

/// The values from one source: for each flag that it sets, in their order.
pub(super) type Source = HashMap<&'static str, Vec<RawValue>>;
