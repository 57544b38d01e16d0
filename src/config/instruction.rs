//! What a running ronde is told by a command: `ronde status`, `drain`, `undrain`, `reload`.
//!
//! The problem: these commands take the same settings as the ronde that they speak with, so that the same file or the same
//! environment finds it. What is theirs alone (a backend, `--wait`, `--watch`) is no setting, and must be off the line before
//! the settings are read: a word without a flag would be taken for a backend to proxy to.
//!
//! Not here: speaking with it (`cli::admin`).

use super::error::{Error, shown};
use super::{Endpoint, value};
use std::ffi::OsString;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// Tell how it is: once, or every second until Ctrl-C.
    Status { watch: bool },
    /// Give no new requests to the backends that are called so.
    Drain { backend: String, wait: Wait },
    /// Give them requests again.
    Undrain { backend: String },
    /// Read the configuration again.
    Reload,
}

/// Whether `ronde drain` waits until nothing is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    No,
    Forever,
    For(Duration),
}

impl Instruction {
    /// The words that begin one.
    pub(super) const COMMANDS: [&str; 4] = ["status", "drain", "undrain", "reload"];

    /// The first word with what belongs to it, if it is one of them.
    pub(super) fn take(words: &mut Vec<OsString>) -> Result<Option<Self>, Error> {
        let first = words.first().and_then(|word| word.to_str()).unwrap_or_default();
        let Some(command) = Self::COMMANDS.into_iter().find(|command| *command == first) else {
            return Ok(None);
        };
        words.remove(0);
        Ok(Some(match command {
            "status" => Self::Status { watch: take_flag(words, "--watch").is_some() },
            "drain" => Self::Drain { wait: take_wait(words)?, backend: take_backend(words, command)? },
            "undrain" => Self::Undrain { backend: take_backend(words, command)? },
            _ => Self::Reload,
        }))
    }
}

/// The backend stands right behind the command. Elsewhere it could be the value of a flag.
fn take_backend(words: &mut Vec<OsString>, command: &str) -> Result<String, Error> {
    let word = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    if word.is_empty() || word.starts_with('-') {
        return Err(Error::new(format!("ronde {command} needs a backend: ronde {command} HOST:PORT")));
    }
    words.remove(0);
    word.parse::<Endpoint>().map(|endpoint| endpoint.to_string()).map_err(Error::new)
}

fn take_wait(words: &mut Vec<OsString>) -> Result<Wait, Error> {
    let fault = |fault: String| Error::at("--wait", fault);
    match take_flag(words, "--wait").as_deref() {
        None => Ok(Wait::No),
        Some("") => Ok(Wait::Forever),
        Some(text) => match value::millis(text) {
            Ok(milliseconds) => Ok(Wait::For(Duration::from_millis(milliseconds))),
            Err(why) => Err(fault(format!("{} {why}", shown(text)))),
        },
    }
}

/// The text behind `=` of this flag, if it is there: no value of any flag begins with two dashes.
fn take_flag(words: &mut Vec<OsString>, flag: &str) -> Option<String> {
    let value = |word: &OsString| {
        let rest = word.to_str()?.strip_prefix(flag)?;
        if rest.is_empty() { Some(String::new()) } else { rest.strip_prefix('=').map(str::to_owned) }
    };
    let (at, value) = words.iter().enumerate().find_map(|(at, word)| Some((at, value(word)?)))?;
    words.remove(at);
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(line: &str) -> Result<(Option<Instruction>, String), String> {
        let mut words: Vec<_> = line.split(' ').map(OsString::from).collect();
        let instruction = Instruction::take(&mut words).map_err(|error| error.to_string())?;
        let rest: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
        Ok((instruction, rest.join(" ")))
    }

    #[test]
    fn an_instruction_leaves_the_settings_on_the_line() {
        let drain = |backend: &str, wait| Some(Instruction::Drain { backend: backend.to_owned(), wait });
        for (line, instruction, rest) in [
            ("status", Some(Instruction::Status { watch: false }), ""),
            ("status --config a.toml --watch", Some(Instruction::Status { watch: true }), "--config a.toml"),
            ("drain app1:8000", drain("app1:8000", Wait::No), ""),
            ("drain APP1:8000 --wait --admin :1", drain("app1:8000", Wait::Forever), "--admin :1"),
            ("drain --wait=2s [::1]:80", drain("[::1]:80", Wait::For(Duration::from_secs(2))), ""),
            ("drain unix:/run/a.sock", drain("unix:/run/a.sock", Wait::No), ""),
            ("undrain app1:8000", Some(Instruction::Undrain { backend: "app1:8000".to_owned() }), ""),
            ("reload --config a.toml", Some(Instruction::Reload), "--config a.toml"),
            ("serve status:80", None, "serve status:80"),
            ("--listen status", None, "--listen status"),
        ] {
            assert_eq!(taken(line), Ok((instruction, rest.to_owned())), "{line}");
        }
        for (line, fault) in [
            ("drain", "ronde drain needs a backend: ronde drain HOST:PORT"),
            ("undrain --admin :1", "ronde undrain needs a backend: ronde undrain HOST:PORT"),
            ("drain app1", "app1"),
            ("drain app1:8000 --wait=2", "has no unit"),
        ] {
            let error = taken(line).unwrap_err();
            assert!(error.contains(fault), "{line}: {error}");
        }
    }
}
