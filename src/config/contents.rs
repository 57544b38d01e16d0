//! The bytes of a file that ronde is told to read: the configuration, a certificate, a key.
//!
//! The problem: a path may name a pipe or a terminal, where read(2) waits for a writer without end. At the start a person
//! sees that. At a reload nothing is seen, and no later reload is begun: the one that waits is still under way. But a pipe
//! is no mistake as such, `--config <(generate)` is one. So what is no regular file is given a time.
//!
//! Not here: what the bytes mean.

use super::waits;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::time::Instant;

/// No configuration, chain or key is this large, but `/dev/zero` is, and a disk image given by mistake.
pub const MOST: usize = 1 << 20;

/// Reads all of it, or [`MOST`] bytes and one, which says that it is too large.
///
/// # Errors
/// What the system says about the path; or `TimedOut`, when a pipe has nothing to give and is not at its end after
/// [`waits::FILE`].
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + waits::FILE;
    // A terminal must not become the one that controls ronde.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let mut file = File::from(open(path, flags, Mode::empty())?).take(MOST as u64 + 1);
    let mut bytes = Vec::new();
    loop {
        await_bytes(file.get_ref(), deadline)?;
        match file.read_to_end(&mut bytes) {
            // What is in the pipe was read, and its writer is not done.
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            read => return read.map(|_| bytes),
        }
    }
}

/// Until there are bytes or the end. A regular file is always ready.
fn await_bytes(file: &File, deadline: Instant) -> io::Result<()> {
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).ok();
        match poll(&mut [PollFd::new(file, PollFlags::IN)], left.as_ref()) {
            Ok(0) => {
                let fault =
                    format!("it is no regular file, and nothing came out of it for {:?}", waits::FILE);
                return Err(io::Error::new(ErrorKind::TimedOut, fault));
            }
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
