//! What may stand in a `[[backend]]` and a `[[tls]]` of the file.
//!
//! The problem: these keys are no settings, since no flag stands for them, and the man page has to name them all the same. So
//! they are rows of the same kind, beside the types that serde reads (`file`).
//!
//! Not here: the keys of a `[[route]]` (`route`).

use super::Setting;
use super::route::key;

pub(super) static BACKEND_KEYS: [Setting; 4] = [
    key("--address", "HOST:PORT", None, "where it is"),
    Setting {
        default: "1",
        bounds: Some(("1", "256")),
        ..key("--weight", "N", None, "turns per round, beside those of the others")
    },
    Setting {
        default: "false",
        ..key(
            "--backup",
            "",
            None,
            "it gets requests only while every other is out of the round or at its max-connections",
        )
    },
    Setting {
        default: "unlimited",
        bounds: Some(("1", "1048576")),
        ..key(
            "--max-connections",
            "N",
            None,
            "requests at once; more go to others, or wait for queue-timeout",
        )
    },
];

pub(super) static PAIR_KEYS: [Setting; 2] = [
    key("--certificate", "FILE", None, "a chain in PEM, its own certificate first"),
    key("--key", "FILE", None, "its private key in PEM, not encrypted"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings::Document;

    /// The keys that serde says it expects in this table.
    fn expected(table: &str) -> Vec<String> {
        let error =
            toml::from_str::<Document>(&format!("[[{table}]]\nnonsense = 1\n")).err().expect("an error");
        let message = error.message().to_owned();
        let (_, names) = message.split_once("expected ").expect("the names");
        names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn every_key_that_a_table_may_have_is_a_row() {
        let keys = |rows: &[Setting]| rows.iter().map(|row| row.key().to_owned()).collect::<Vec<_>>();
        assert_eq!(keys(&BACKEND_KEYS), expected("backend"));
        assert_eq!(keys(&PAIR_KEYS), expected("tls"));
    }
}
