//! Installed programs that a bench needs.

use anyhow::{Result, bail};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An installed program.
#[derive(Clone, Debug)]
pub struct Tool {
    pub path: PathBuf,
    pub version: String,
}

impl Tool {
    /// `flag` makes the program print its version.
    pub fn at(path: PathBuf, flag: &str) -> Self {
        Self { version: version(&path, flag), path }
    }
}

/// Finds an installed program by its name, unless its path is `given`.
///
/// # Errors
/// The program is missing; the error names its package.
pub fn given_or_found(given: Option<&Path>, name: &str) -> Result<Tool> {
    match given {
        Some(path) => Ok(Tool::at(path.to_owned(), "-v")),
        None => find([name]).map(|[tool]| tool),
    }
}

/// Finds programs by name; the name is also that of the Debian package.
///
/// # Errors
/// A program is missing; the error names all missing packages at once.
pub fn find<const N: usize>(names: [&str; N]) -> Result<[Tool; N]> {
    let missing: Vec<_> = names.into_iter().filter(|name| which(name).is_none()).collect();
    if !missing.is_empty() {
        bail!("missing: {0}. On Debian: apt install {0}", missing.join(" "));
    }
    Ok(names.map(|name| Tool::at(which(name).unwrap_or_default(), "-v")))
}

/// Searches PATH, and also Debian's directories for servers, which are not in every user's PATH.
fn which(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// The first word with a digit in the first line of output. Standard output and standard error both count, and the exit
/// status does not: wrk prints its version and fails.
fn version(path: &Path, flag: &str) -> String {
    let Ok(output) = Command::new(path).arg(flag).output() else { return String::new() };
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    let mut words = line.split([' ', '/']).filter(|word| word.contains(|c: char| c.is_ascii_digit()));
    words.next().unwrap_or(line).to_owned()
}
