//! The commands, a row each.
//!
//! The problem: a command is a word of the command line, the answer to a typing error, a line of the help and of a man page,
//! and a word that three shells complete. So each command is one row, and all these are made from it.
//!
//! Not here: what a command does (`cli`), and how its words are told from others (`command`).

use std::fmt;
use std::str::FromStr;

use super::command::{CheckScope, Command};
use super::completions::SHELLS;
use super::error::Error;
use super::man::PAGES;
use super::{Backend, Config, Instruction, Wait};

/// One command.
#[derive(Debug)]
pub struct CommandRow {
    /// The first word of its command line.
    pub name: &'static str,
    /// Its command line, as the help shows it.
    pub usage: &'static str,
    /// What it does, in half a line.
    pub what: &'static str,
    /// The placeholder for the word that it needs; empty if it needs none.
    pub word: &'static str,
    /// Flags that it alone takes, beside all settings.
    pub flags: &'static [OwnFlag],
    /// What it becomes with these settings, and its own words.
    pub(super) with: fn(Config, &Own) -> Result<Command, Error>,
}

/// A flag that is no setting: no variable and no key of the file stands for it.
#[derive(Debug)]
pub struct OwnFlag {
    pub flag: &'static str,
    /// The placeholder for its value; empty for a switch. One that may have a value, behind `=`, is in brackets with it.
    pub form: &'static str,
    /// What it is, in half a line.
    pub what: &'static str,
    /// Every value that it can have; empty: not to be listed.
    pub values: &'static [&'static str],
}

impl OwnFlag {
    /// Whether it is a switch that may have a value, as `--wait[=TIME]`.
    pub fn may_have_value(&self) -> bool {
        self.form.starts_with("[=")
    }
}

impl fmt::Display for OwnFlag {
    /// As on the command line: `--url URL`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let space = if self.form.is_empty() || self.may_have_value() { "" } else { " " };
        write!(f, "{}{space}{}", self.flag, self.form)
    }
}

const URL: OwnFlag = OwnFlag {
    flag: "--url",
    form: "URL",
    what: "say which route this request takes, and why, and try its backends alone",
    values: &[],
};

const OFFLINE: OwnFlag = OwnFlag {
    flag: "--offline",
    form: "",
    what: "read the settings and the certificates, and try no backend",
    values: &[],
};

const WATCH: OwnFlag =
    OwnFlag { flag: "--watch", form: "", what: "again each second, until Ctrl-C", values: &[] };

const WAIT: OwnFlag = OwnFlag {
    flag: "--wait",
    form: "[=TIME]",
    what: "return when nothing is under way there, or fail after this time",
    values: &[],
};

/// All commands, in the order of the help. The first is meant where none is named.
pub static COMMANDS: &[CommandRow] = &[
    CommandRow {
        name: "serve",
        usage: "ronde [FLAGS] HOST:PORT ...",
        what: "proxy to these backends",
        word: "",
        flags: &[],
        with: |config, _| Ok(Command::Serve(config)),
    },
    CommandRow {
        name: "demo",
        usage: "ronde demo [FLAGS]",
        what: "proxy to two small built-in backends",
        word: "",
        flags: &[],
        with: |config, _| Ok(Command::Demo(config)),
    },
    CommandRow {
        name: "check",
        usage: "ronde check [FLAGS] ...",
        what: "try every backend once, serve nothing",
        word: "",
        flags: &[URL, OFFLINE],
        with: |config, own| {
            let scope = CheckScope { url: own.parsed(&URL)?, offline: own.has(&OFFLINE) };
            Ok(Command::Check(config, scope))
        },
    },
    CommandRow {
        name: "health",
        usage: "ronde health [FLAGS]",
        what: "ask the running ronde whether it is healthy",
        word: "",
        flags: &[],
        with: |config, _| Ok(Command::Health(config)),
    },
    CommandRow {
        name: "status",
        usage: "ronde status [FLAGS]",
        what: "ask the running ronde, at its --admin, how it is",
        word: "",
        flags: &[WATCH],
        with: |config, own| Ok(Command::Admin(config, Instruction::Status { watch: own.has(&WATCH) })),
    },
    CommandRow {
        name: "drain",
        usage: "ronde drain HOST:PORT [FLAGS]",
        what: "have it give this backend no new requests",
        word: "HOST:PORT",
        flags: &[WAIT],
        with: |config, own| {
            let (backend, wait) = (own.backend()?, own.parsed(&WAIT)?.unwrap_or(Wait::No));
            Ok(Command::Admin(config, Instruction::Drain { backend, wait }))
        },
    },
    CommandRow {
        name: "undrain",
        usage: "ronde undrain HOST:PORT [FLAGS]",
        what: "have it give this backend requests again",
        word: "HOST:PORT",
        flags: &[],
        with: |config, own| Ok(Command::Admin(config, Instruction::Undrain { backend: own.backend()? })),
    },
    CommandRow {
        name: "reload",
        usage: "ronde reload [FLAGS]",
        what: "have it read its configuration again",
        word: "",
        flags: &[],
        with: |config, _| Ok(Command::Admin(config, Instruction::Reload)),
    },
];

/// What ronde prints about itself, whatever else is on the line. The first two are also understood as commands.
pub static TEXTS: &[OwnFlag] = &[
    OwnFlag { flag: "--help", form: "", what: "print every command and setting", values: &[] },
    OwnFlag { flag: "--version", form: "", what: "print the version", values: &[] },
    OwnFlag { flag: "--man", form: "[PAGE]", what: "print a man page: ronde, or ronde.toml", values: &PAGES },
    OwnFlag {
        flag: "--completions",
        form: "SHELL",
        what: "print completions for bash, zsh or fish",
        values: &SHELLS,
    },
];

/// What was given that belongs to the command alone.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Empty if it needs none.
    pub word: String,
    /// Each with its value; that of a switch is empty.
    pub flags: Vec<(&'static str, String)>,
}

impl Own {
    pub fn has(&self, flag: &OwnFlag) -> bool {
        self.value(flag).is_some()
    }

    pub fn parsed<T: FromStr<Err = String>>(&self, flag: &OwnFlag) -> Result<Option<T>, Error> {
        self.value(flag).map(|text| text.parse().map_err(|fault| Error::at(flag.flag, fault))).transpose()
    }

    /// The word, as a backend is named in the configuration.
    pub fn backend(&self) -> Result<String, Error> {
        self.word.parse::<Backend>().map(|backend| backend.to_string()).map_err(Error::new)
    }

    fn value(&self, flag: &OwnFlag) -> Option<&str> {
        self.flags.iter().find(|(name, _)| *name == flag.flag).map(|(_, value)| &**value)
    }
}
