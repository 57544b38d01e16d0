//! The files of the logs, as users write them.
//!
//! The problem: `--log-file stdout` and `--access-log-file off` are easily written, and would make files of these names. So
//! a path has a `/` in it, and a word without one is a mistake.
//!
//! Not here: opening them (`observe::destination`).

use super::error::shown;
use super::{RawValue, Setting};
use std::path::PathBuf;

/// The reader of `--access-log-file` and `--log-file`.
pub(super) fn log_file(raw: &RawValue, row: &Setting) -> Result<PathBuf, String> {
    let text = &raw.text;
    if !text.contains('/') {
        let (default, path) = (row.default, "/var/log/ronde/access.log");
        return Err(format!("{} is no path; give {default}, or a path such as {path}", shown(text)));
    }
    if text.ends_with('/') {
        return Err(format!("{} is a directory; give the path of a file in it", shown(text)));
    }
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::super::row;
    use super::*;

    #[test]
    fn a_path_has_a_slash_in_it() {
        let read = |text: &str| log_file(&RawValue::new(text, "--log-file"), &row::log_file);
        for text in ["/var/log/ronde/ronde.log", "./ronde.log", "logs/ronde.log", "/dev/stdout"] {
            assert_eq!(read(text), Ok(PathBuf::from(text)));
        }
        for (text, advice) in [("stdout", "give stderr, or a path"), ("/var/log/", "is a directory")] {
            assert!(read(text).unwrap_err().contains(advice), "{text}");
        }
    }
}
