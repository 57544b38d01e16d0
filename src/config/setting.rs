//! A row of the table of settings, and a value of it that is still a text.
//!
//! The problem: flags, variables and keys of the file are three spellings of one name, and an error has to point to the one
//! that the user wrote.
//!
//! Not here: the rows (`config`), and what a text means (`value`).

use std::collections::HashMap;

use super::file::BackendOptions;

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
    /// Whether it takes a list: a repeated flag, commas in the variable, an array in the file.
    pub repeats: bool,
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
#[derive(Debug)]
pub(super) struct RawValue {
    pub text: String,
    /// Where an error points: `--workers`, `RONDE_WORKERS` or `ronde.toml:3:11: workers`.
    pub place: String,
    /// From a `[[backend]]` table; the default for a value from anywhere else.
    pub options: BackendOptions,
}

impl RawValue {
    pub fn new(text: impl Into<String>, place: impl Into<String>) -> RawValue {
        RawValue { text: text.into(), place: place.into(), options: BackendOptions::default() }
    }
}

/// The values from one source: for each flag that it sets, in their order.
pub(super) type Source = HashMap<&'static str, Vec<RawValue>>;
