//! Where the lines of a log go: a standard stream, or a file.
//!
//! The problem: logrotate renames a file while it is written, and a descriptor goes with the file and not with the name. So
//! a file is opened again when its program is told (SIGUSR1). Lines that are appended (O_APPEND) survive as well what
//! logrotate's `copytruncate` does to a file.
//!
//! Not here: writing (`output`), and when a file is opened again (`logger`).

use crate::config::Config;
use rustix::fs::{Access, Mode, OFlags, access, open};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    StandardOutput,
    StandardError,
    /// Appended to. Who reads it sees what clients sent, so it is made with mode 640, less what the umask takes.
    File(PathBuf),
}

/// A destination that cannot be opened, and why.
#[derive(Debug)]
pub struct OpenError {
    destination: Destination,
    error: io::Error,
}

impl Destination {
    pub fn of_access_lines(config: &Config) -> Self {
        config.access_log_file.clone().map_or(Self::StandardOutput, Self::File)
    }

    pub fn of_diagnostics(config: &Config) -> Self {
        config.log_file.clone().map_or(Self::StandardError, Self::File)
    }

    /// # Errors
    /// There is no descriptor left; or what the system says about the path. A pipe (fifo) that nothing reads is `ENXIO`: to
    /// wait for a reader would hold up the start.
    pub fn open(&self) -> Result<OwnedFd, OpenError> {
        let opened = match self {
            Self::StandardOutput => io::stdout().as_fd().try_clone_to_owned(),
            Self::StandardError => io::stderr().as_fd().try_clone_to_owned(),
            Self::File(path) => append(path, OFlags::CREATE),
        };
        opened.map_err(|error| OpenError { destination: self.clone(), error })
    }

    /// Looks whether it could be opened. Makes no file: it would belong to the user who looks, and not to ronde's.
    ///
    /// # Errors
    /// Why not.
    pub fn try_out(&self) -> Result<(), OpenError> {
        let Self::File(path) = self else { return Ok(()) };
        let found = match append(path, OFlags::empty()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
                let can_make = Access::WRITE_OK | Access::EXEC_OK;
                access(directory.unwrap_or(Path::new(".")), can_make).map_err(io::Error::from)
            }
            opened => opened.map(drop),
        };
        found.map_err(|error| OpenError { destination: self.clone(), error })
    }

    /// Whether it ends in the middle of a line, which a full disk or a crash may have torn.
    pub(super) fn is_torn(&self) -> bool {
        match self {
            Self::StandardOutput | Self::StandardError => false,
            // What cannot be read is taken for whole.
            Self::File(path) => last_byte(path).is_ok_and(|last| last.is_some_and(|last| last != b'\n')),
        }
    }

    /// What is wrong with it when it takes no lines: it `is not read` or `is not written`.
    pub(super) fn neglect(&self) -> &'static str {
        match self {
            Self::StandardOutput | Self::StandardError => "read",
            Self::File(_) => "written",
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => f.write_str("standard output"),
            Self::StandardError => f.write_str("standard error"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be opened to write a log: {}", self.destination, self.error)
    }
}

impl std::error::Error for OpenError {}

fn append(path: &Path, creation: OFlags) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    Ok(open(path, flags | creation, Mode::from_raw_mode(0o640))?)
}

/// Of a file; `None` if it is empty, or no file.
fn last_byte(path: &Path) -> io::Result<Option<u8>> {
    if !path.metadata()?.is_file() {
        return Ok(None);
    }
    let (mut file, mut last) = (File::open(path)?, [0]);
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(Some(last[0]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_made_for_its_user_and_group_and_appended_to() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("access.log");
        let destination = Destination::File(path.clone());
        destination.try_out().unwrap();
        assert!(!path.exists(), "a look makes no file");
        destination.open().unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
        fs::write(&path, "one\n").unwrap();
        rustix::io::write(destination.open().unwrap(), b"two\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\n");
        destination.try_out().unwrap();
    }

    #[test]
    fn what_cannot_be_opened_says_so_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let fifo = directory.path().join("fifo");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, Mode::from_raw_mode(0o600)).unwrap();
        for path in [fifo, directory.path().to_owned(), directory.path().join("no/access.log")] {
            let destination = Destination::File(path.clone());
            let error = destination.open().unwrap_err().to_string();
            assert!(error.starts_with(&format!("{} cannot be opened", path.display())), "{error}");
            destination.try_out().unwrap_err();
        }
    }

    #[test]
    fn a_torn_end_is_seen() {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        let destination = Destination::File(path.to_path_buf());
        for (text, is_torn) in [("", false), ("one\n", false), ("one\ntw", true)] {
            fs::write(&path, text).unwrap();
            assert_eq!(destination.is_torn(), is_torn, "{text:?}");
        }
    }
}
