//! Reads the command line and the environment, and combines them with the file.
//!
//! Flags win over the environment, the environment over the file, the file over the defaults. A list from a stronger
//! source replaces the weaker one: `--backend` means these backends, not these in addition.
//!
//! The problem: pico-args finds flags by name, wherever they are. That leaves two holes, which `one_word_each` closes
//! first. In `--workers --listen :80` it would take `--listen` for the number of workers. And in
//! `--backend=b --backend a` it would find `a` first, though their order is the order of the round.
//!
//! Not here: parsing of values. This module knows which words belong to which flag, not what they mean.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ffi::OsString;

use pico_args::Arguments;

use super::commands::{COMMANDS, CommandRow, Own, OwnFlag, TEXTS};
use super::error::{Error, did_you_mean, nearest, shown};
use super::retired::{RETIRED, Retired};
use super::{Config, Instruction, RawValue, Source, TABLE, Url, completions, file, help, man, row};

/// What ronde is to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Proxy.
    Serve(Config),
    /// Proxy to two small built-in backends.
    Demo(Config),
    /// Print what would be served, and what becomes of trying it once.
    Check(Config, CheckScope),
    /// Ask the running ronde whether it is well.
    Health(Config),
    /// Tell the running ronde something, or ask it how it is.
    Admin(Config, Instruction),
    /// Print this text.
    Print(String),
    /// Print [`VERSION`](super::VERSION).
    Version,
}

/// How much `ronde check` tries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckScope {
    /// The route of this request alone; `None`: all of them.
    pub url: Option<Url>,
    /// Whether no backend is tried: it may be elsewhere, or not be there yet.
    pub offline: bool,
}

/// What was loaded.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// The command; or the first mistake found in any source, in one line for the user.
    pub command: Result<Command, Error>,
    /// Warnings, one line each. They may name the cause of a failure, as in `RONDE_BACKENDS=...` and no backends.
    pub notes: Vec<String>,
}

/// What the names of all variables begin with.
const PREFIX: &str = "RONDE_";

/// The path of the configuration file is the one setting that cannot be in that file, so it is not a row of the table.
pub(super) const CONFIG_FLAG: &str = "--config";
pub(super) const CONFIG_VARIABLE: &str = "RONDE_CONFIG";

/// Reads the arguments, without the program's name, the environment, and the file that they name.
pub fn load(args: Vec<OsString>, env: impl IntoIterator<Item = (OsString, OsString)>) -> Loaded {
    let mut notes = Vec::new();
    let command = command(args, env, &mut notes);
    Loaded { command, notes }
}

fn command(
    args: Vec<OsString>,
    env: impl IntoIterator<Item = (OsString, OsString)>,
    notes: &mut Vec<String>,
) -> Result<Command, Error> {
    let first = args.first().and_then(|word| word.to_str()).unwrap_or_default();
    // Many programs have these as commands, and a user tries what those have.
    let (asks_for_help, asks_for_version) = (first == "help", first == "version");
    let mut line = Arguments::from_vec(args);
    // First, because a user who asks for help has often made a mistake elsewhere on the line.
    if asks_for_help || line.contains(["-h", "--help"]) {
        let mut words = line.finish();
        words.retain(|word| word != "help");
        return Ok(Command::Print(help::of(take_command(&mut words))));
    }
    let asks_for_version = line.contains(["-V", "--version"]) || asks_for_version;
    let mut words = line.finish();
    if asks_for_version {
        // Who writes more than this wants more than this.
        return match words.iter().find(|word| *word != "version") {
            None => Ok(Command::Version),
            Some(word) => Err(Error::new(format!(
                "the version is asked for alone; leave out {}",
                shown(&word.to_string_lossy())
            ))),
        };
    }
    if let Some(page) = take_flag(&mut words, "--man") {
        return Ok(Command::Print(man::page(page.as_deref())?));
    }
    if let Some(shell) = take_flag(&mut words, "--completions") {
        return Ok(Command::Print(completions::script(shell.as_deref())?));
    }
    let named = take_command(&mut words);
    let own = take_own(&mut words, named)?;
    let words = without_retired(words, notes);
    let variables = variables(env, notes);
    let flags = flags(words)?;
    let variables = variables?;
    let path = flags.config.or(variables.config);
    let file = match &path {
        Some(path) => file::read(path, notes)?,
        None => Source::new(),
    };
    let config = Config::from_sources(&[&file, &variables.settings, &flags.settings])?;
    config.check_conflicts()?;
    notes.extend(config.remarks());
    let command = (named.with)(config, &own)?;
    match &command {
        Command::Serve(config) | Command::Check(config, _) if config.serves_nothing() => {
            Err(no_backends(path))
        }
        Command::Demo(config) if !config.backend.is_empty() => Err(Error::new(format!(
            "the demo brings its own backends; leave out {}, or leave out `demo`",
            config.backend[0]
        ))),
        _ => Ok(command),
    }
}

fn no_backends(file: Option<String>) -> Error {
    Error::new(match file {
        Some(path) => {
            let path = path.escape_debug();
            format!("no backends; name them in {path}, as in `backend = \"HOST:PORT\"`, or with --backend")
        }
        None => "no backends; name them, as in `ronde HOST:PORT ...`, with --backend or in a file; or try `ronde demo`"
            .to_owned(),
    })
}

/// The command that the first word names; serving, if it names none.
fn take_command(words: &mut Vec<OsString>) -> &'static CommandRow {
    let first = words.first().and_then(|word| word.to_str());
    let named = COMMANDS.iter().find(|row| Some(row.name) == first);
    if named.is_some() {
        words.remove(0);
    }
    named.unwrap_or(&COMMANDS[0])
}

/// The words that can come first, for a hint.
fn first_words() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|row| row.name).chain(["help", "version"])
}

/// Takes what belongs to this command out of the words. Its word stands right behind it, or behind a flag of its own:
/// elsewhere it could be the value of a setting.
fn take_own(words: &mut Vec<OsString>, named: &CommandRow) -> Result<Own, Error> {
    let mut own = Own::default();
    for row in named.flags {
        let OwnFlag { flag, form, .. } = row;
        let value = match form.is_empty() || row.may_have_value() {
            true => take_switch(words, row),
            false => take_flag(words, flag)
                .map(|value| value.ok_or_else(|| Error::new(format!("{flag} needs a value: {flag} {form}"))))
                .transpose()?,
        };
        own.flags.extend(value.map(|value| (*flag, value)));
        if let Some(word) = words.iter().find(|word| is_flag(word, flag)) {
            let is_valued = form.is_empty() && word.to_string_lossy().contains('=');
            return Err(Error::at(flag, if is_valued { "it takes no value" } else { "it is given twice" }));
        }
    }
    if !named.word.is_empty() {
        let CommandRow { name, word, .. } = named;
        match words.first().filter(|word| !word.to_string_lossy().starts_with('-')) {
            Some(_) => own.word = words.remove(0).to_string_lossy().into_owned(),
            None => {
                return Err(Error::new(format!(
                    "ronde {name} needs a backend right behind it: ronde {name} {word}"
                )));
            }
        }
    }
    let others = COMMANDS.iter().flat_map(|row| row.flags.iter().map(move |own| (row, own.flag)));
    for (row, flag) in others {
        if !named.flags.iter().any(|own| own.flag == flag) && words.iter().any(|word| is_flag(word, flag)) {
            return Err(Error::at(flag, format_args!("is for `ronde {}` alone", row.name)));
        }
    }
    Ok(own)
}

/// Takes a switch out of the words. Returns what stands behind its `=`, if it may have a value.
fn take_switch(words: &mut Vec<OsString>, row: &OwnFlag) -> Option<String> {
    let is_given = |word: &OsString| word == row.flag || row.may_have_value() && is_flag(word, row.flag);
    let word = words.remove(words.iter().position(is_given)?);
    let text = word.to_string_lossy();
    Some(text.split_once('=').map_or(String::new(), |(_, value)| value.to_owned()))
}

/// Takes a flag and its value out of the words. `None`: the flag is not there; `Some(None)`: it has no value.
fn take_flag(words: &mut Vec<OsString>, flag: &str) -> Option<Option<String>> {
    let at = words.iter().position(|word| is_flag(word, flag))?;
    let word = words.remove(at).to_string_lossy().into_owned();
    let value = match word.split_once('=') {
        Some((_, value)) => Some(value.to_owned()),
        // No value begins with two dashes; a flag does.
        None if words.get(at).is_some_and(|next| !next.to_string_lossy().starts_with("--")) => {
            Some(words.remove(at).to_string_lossy().into_owned())
        }
        None => None,
    };
    Some(value.filter(|value| !value.is_empty()))
}

fn is_flag(word: &OsString, flag: &str) -> bool {
    word.to_str().is_some_and(|word| word.split('=').next() == Some(flag))
}

/// The words without the flags of older versions and their values; and a note for each of these flags.
fn without_retired(words: Vec<OsString>, notes: &mut Vec<String>) -> Vec<OsString> {
    let mut kept = Vec::new();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        let text = word.to_string_lossy();
        let (flag, value) = text.split_once('=').map_or((&*text, None), |(flag, value)| (flag, Some(value)));
        match RETIRED.iter().find(|retired| retired.flag == flag) {
            Some(retired) => {
                notes.push(retired.note(retired.flag));
                if value.is_none() {
                    words.next();
                }
            }
            None => kept.push(word),
        }
    }
    kept
}

/// The values of the flags, or of the variables.
#[derive(Default)]
struct Parsed {
    settings: Source,
    config: Option<String>,
}

fn flags(words: Vec<OsString>) -> Result<Parsed, Error> {
    let mut line = Arguments::from_vec(one_word_each(words)?);
    let mut parsed = Parsed::default();
    for row in TABLE {
        let texts = values(&mut line, row.flag)?;
        if !texts.is_empty() {
            let values = texts.into_iter().map(|text| RawValue::new(text, row.flag)).collect();
            parsed.settings.insert(row.flag, values);
        }
    }
    let mut paths = values(&mut line, CONFIG_FLAG)?.into_iter();
    parsed.config = paths.next();
    if paths.next().is_some() {
        return Err(Error::at(CONFIG_FLAG, "given twice; it takes one value"));
    }
    Ok(parsed)
}

fn values(line: &mut Arguments, flag: &'static str) -> Result<Vec<String>, Error> {
    line.values_from_fn(flag, |text| Ok::<_, Infallible>(text.to_string())).map_err(|_| needs_a_value(flag))
}

/// Joins each flag and its value to one word, `--flag=value`, so that neither can be taken for anything else. A word
/// without a flag is a backend.
fn one_word_each(words: Vec<OsString>) -> Result<Vec<OsString>, Error> {
    let text = |word: OsString| {
        word.into_string()
            .map_err(|word| Error::new(format!("{} is not UTF-8", shown(&word.to_string_lossy()))))
    };
    let mut words = words.into_iter().map(text).peekable();
    let mut joined = Vec::new();
    while let Some(word) = words.next().transpose()? {
        let flag = word.split('=').next().unwrap_or_default();
        let row = TABLE.iter().find(|row| row.flag == flag);
        if !word.starts_with('-') {
            if !word.contains([':', '/']) {
                // A command in the wrong place needs no hint to itself.
                let guess = did_you_mean(&word, first_words().filter(|command| *command != word));
                let commands: Vec<_> = COMMANDS.iter().map(|row| row.name).collect();
                return Err(Error::new(format!(
                    "{} is not a backend HOST:PORT; a command ({}) comes first{guess}",
                    shown(&word),
                    commands.join(", ")
                )));
            }
            joined.push(format!("{}={word}", row::backend.flag));
        } else if row.is_none() && flag != CONFIG_FLAG {
            let others = COMMANDS.iter().flat_map(|row| row.flags).chain(TEXTS).map(|own| own.flag);
            let known = TABLE.iter().map(|row| row.flag).chain([CONFIG_FLAG]).chain(others);
            return Err(Error::new(format!("unknown flag {}{}", shown(flag), did_you_mean(flag, known))));
        } else if word.contains('=') {
            joined.push(word);
        } else if row.is_some_and(|row| row.form.is_empty()) {
            // A switch needs no value; the words that other programs take here are no backends.
            let is_value = |word: &Result<String, _>| word.as_ref().is_ok_and(|word| is_switch_value(word));
            let value = words.next_if(is_value).transpose()?;
            joined.push(format!("{word}={}", value.as_deref().unwrap_or("true")));
        } else {
            match words.next().transpose()? {
                // No value begins with two dashes; a flag does.
                Some(value) if !value.starts_with("--") => joined.push(format!("{word}={value}")),
                _ => return Err(needs_a_value(&word)),
            }
        }
    }
    Ok(joined.into_iter().map(OsString::from).collect())
}

/// Only `true` and `false` are valid; the others get their error as values.
fn is_switch_value(word: &str) -> bool {
    ["true", "false", "on", "off", "yes", "no", "1", "0"].contains(&word)
}

fn needs_a_value(flag: &str) -> Error {
    let form = TABLE.iter().find(|row| row.flag == flag).map_or("FILE", |row| row.form);
    Error::new(format!("{flag} needs a value: {flag} {form}"))
}

/// The values of the variables, and a note for each `RONDE_` variable that is unknown.
///
/// A note and not an error, because other programs write such variables: for a container called `ronde`, Docker's links
/// and Kubernetes put `RONDE_PORT=tcp://10.0.0.1:8080` and the like into the environment of every container.
fn variables(
    env: impl IntoIterator<Item = (OsString, OsString)>,
    notes: &mut Vec<String>,
) -> Result<Parsed, Error> {
    let mut ours: BTreeMap<String, OsString> = env
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // First, because an unknown variable may be why another value is missing.
    let settings = TABLE.iter().map(|row| row.variable());
    let known: Vec<String> = settings.chain([CONFIG_VARIABLE.to_string()]).collect();
    let retired: Vec<String> = RETIRED.iter().map(Retired::variable).collect();
    notes.extend(ours.keys().filter(|name| !known.contains(name) && !retired.contains(name)).map(|name| {
        // What all have in common says nothing.
        let rest = |name| str::strip_prefix(name, PREFIX).unwrap_or(name);
        let nearest = nearest(rest(name), known.iter().map(|name| rest(name)));
        let guess = nearest.map_or(String::new(), |name| format!("; did you mean {PREFIX}{name}?"));
        format!("unknown variable {} is ignored{guess}", shown(name))
    }));

    let mut take = |name: &str| match ours.remove(name).map(OsString::into_string) {
        None => Ok(None),
        Some(Ok(text)) if text.is_empty() => Err(Error::at(name, "the value is empty; unset it instead")),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_)) => Err(Error::at(name, "the value is not UTF-8")),
    };
    for (retired, name) in RETIRED.iter().zip(&retired) {
        if take(name)?.is_some() {
            notes.push(retired.note(name));
        }
    }
    let mut parsed = Parsed { config: take(CONFIG_VARIABLE)?, ..Parsed::default() };
    for row in TABLE {
        let name = row.variable();
        if let Some(text) = take(&name)? {
            // If the setting takes no list, a comma is part of the value.
            let texts: Vec<&str> = match row.separator {
                // A line end behind the last line is none between two.
                Some(separator) => text.trim().split(separator).map(str::trim).collect(),
                None => vec![&text],
            };
            let values = texts.into_iter().map(|text| RawValue::new(text, name.as_str())).collect();
            parsed.settings.insert(row.flag, values);
        }
    }
    Ok(parsed)
}
