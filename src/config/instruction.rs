//! What a running ronde is told by a command: `ronde status`, `drain`, `undrain`, `reload`.
//!
//! The problem: these commands take the same settings as the ronde that they speak with, so that the same file or the same
//! environment finds it. What is theirs alone (a backend, `--wait`, `--watch`) is no setting: it is in their rows of
//! `commands`.
//!
//! Not here: speaking with it (`cli::admin`).

use super::error::shown;
use super::value;
use std::str::FromStr;
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

impl FromStr for Wait {
    type Err = String;

    /// From what stands behind `--wait`: a time, or nothing.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(Self::Forever),
            _ => match value::millis(text) {
                Ok(milliseconds) => Ok(Self::For(Duration::from_millis(milliseconds))),
                Err(why) => Err(format!("{} {why}", shown(text))),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Command, load};
    use super::*;

    fn instruction(line: &str) -> Result<Option<Instruction>, String> {
        let loaded = load(line.split(' ').map(Into::into).collect(), []);
        match loaded.command.map_err(|error| error.to_string())? {
            Command::Admin(_, instruction) => Ok(Some(instruction)),
            _ => Ok(None),
        }
    }

    #[test]
    fn an_instruction_leaves_the_settings_on_the_line() {
        let drain = |backend: &str, wait| Some(Instruction::Drain { backend: backend.to_owned(), wait });
        for (line, expected) in [
            ("status", Some(Instruction::Status { watch: false })),
            ("status --admin :1 --admin-allow 10.0.0.0/8 --watch", Some(Instruction::Status { watch: true })),
            ("drain app1:8000", drain("app1:8000", Wait::No)),
            ("drain APP1:8000 --wait --admin localhost:1", drain("app1:8000", Wait::Forever)),
            ("drain --wait=2s [::1]:80", drain("[::1]:80", Wait::For(Duration::from_secs(2)))),
            ("drain unix:/run/a.sock", drain("unix:/run/a.sock", Wait::No)),
            ("drain https://APP1", drain("https://app1:443", Wait::No)),
            ("undrain app1:8000", Some(Instruction::Undrain { backend: "app1:8000".to_owned() })),
            ("reload --admin localhost:1", Some(Instruction::Reload)),
            ("serve status:80", None),
            ("--backend status:80", None),
        ] {
            assert_eq!(instruction(line), Ok(expected), "{line}");
        }
        for (line, fault) in [
            ("drain", "ronde drain needs a backend right behind it: ronde drain HOST:PORT"),
            (
                "undrain --admin localhost:1",
                "ronde undrain needs a backend right behind it: ronde undrain HOST:PORT",
            ),
            ("drain app1", "app1"),
            ("drain app1:8000 --wait=2", "has no unit"),
            ("undrain app1:8000 --wait", "is for `ronde drain` alone"),
            ("drain app1:8000 --wait 2s", "is not a backend"),
            ("status --watch=1", "--watch: it takes no value"),
            ("status --watch --watch", "--watch: it is given twice"),
            ("drain a:1 --wait=1s --wait=2s", "--wait: it is given twice"),
        ] {
            let error = instruction(line).unwrap_err();
            assert!(error.contains(fault), "{line}: {error}");
        }
    }
}
